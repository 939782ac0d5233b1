# SPDX-License-Identifier: Apache-2.0
"""intelli_proxy: the first byte decides, and is not taken."""

from __future__ import annotations

import subprocess
import time

from tests.functional.needs import need
from tests.functional.observed import ObservedCase
from tests.functional.peers import RecordingOrigin
from tests.functional.processes import free_port
from tests.functional.rawhttp import RawClient

SERVERS = """
  - name: port
    type: intelli_proxy
    listen: 127.0.0.1:{port}
    http_server: http
    socks_server: {socks}
    protocol_detection_timeout: 1s
    protocol_detection_channel_size: 10
    protocol-detection-max-jobs: 4
    {more}
  - {{name: http, type: http_proxy, escaper: e}}
  - {{name: other, type: http_proxy, escaper: e}}
  - {{name: socks, type: socks_proxy, escaper: e}}
"""


class IntelliProxyTests(ObservedCase):
    """Mostly both next servers are http_proxies, whose counters say who got a client; a SOCKS request is one that they answer with 400."""

    def setUp(self) -> None:
        super().setUp()
        self.origin = RecordingOrigin()
        self.addCleanup(self.origin.close)
        self.port = free_port()

    def start(self, more: str = "", socks: str = "missing") -> None:
        self.serve(SERVERS.format(port=self.port, more=more, socks=socks), self.port)

    def test_http_clients_get_the_http_server(self) -> None:
        """Every letter a method begins with; the byte is still there."""
        self.start()
        for method in ("GET", "HEAD", "POST", "PUT", "DELETE", "OPTIONS", "TRACE"):
            with RawClient(self.port) as client:
                request = f"{method} http://127.0.0.1:{self.origin.port}/ HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n"
                self.assertEqual(client.ask(request.encode(), method).status, 200, method)
        with RawClient(self.port) as client:
            self.assertEqual(client.ask(b"CONNECT 127.0.0.1:%d HTTP/1.1\r\nHost: x\r\n\r\n" % self.origin.port, "CONNECT").status, 200)

    def test_socks_clients_get_the_socks_server(self) -> None:
        """Versions 4 and 5, the byte still there."""
        self.start(socks="other")
        for version in (b"\x04", b"\x05"):
            with RawClient(self.port) as client:
                client.send(version + b"\x01\x00\r\n\r\n")
                self.assertEqual(client.answer().status, 400)
        self.assertEqual(self.counted("server.connection.total", "server:other", least=2), 2)
        self.assertEqual(self.total("server.connection.total", "server:http"), 0)

    def test_curl_may_speak_either_to_one_port(self) -> None:
        """An http_proxy and a socks_proxy behind it."""
        need("curl")
        self.start(socks="socks")
        for proxy in ("http", "socks4", "socks4a", "socks5", "socks5h"):
            url = f"http://127.0.0.1:{self.origin.port}/{proxy}"
            ran = subprocess.run(["curl", "-sS", "-x", f"{proxy}://127.0.0.1:{self.port}", url], capture_output=True, timeout=20, check=False)
            self.assertEqual((ran.stdout, ran.stderr), (b"ok", b""), proxy)
        self.assertEqual(self.counted("server.task.total", "server:socks", least=4), 4)

    def test_without_a_socks_server_its_clients_are_closed(self) -> None:
        """dummy_close stands in."""
        self.start()
        with RawClient(self.port) as client:
            client.send(b"\x05\x01\x00")
            self.assertTrue(client.ended())

    def test_anything_else_is_closed(self) -> None:
        """A TLS hello, a small letter, and a client that leaves at once."""
        self.start()
        for first in (b"\x16\x03\x01", b"get / HTTP/1.1\r\n\r\n", b"\x00"):
            with RawClient(self.port) as client:
                client.send(first)
                self.assertTrue(client.ended())
        RawClient(self.port).close()
        self.assertEqual(self.counted("listen.failed", "server:port", least=4), 4)

    def test_a_silent_client_is_closed_in_time(self) -> None:
        """protocol_detection_timeout."""
        self.start()
        started = time.monotonic()
        with RawClient(self.port) as client:
            self.assertTrue(client.ended())
        self.assertTrue(0.9 < time.monotonic() - started < 4)
        self.assertEqual(self.counted("listen.failed", "server:port"), 1)

    def test_a_proxy_header_comes_first(self) -> None:
        """Then the byte."""
        self.start("proxy_protocol: 1")
        with RawClient(self.port) as client:
            head = b"PROXY TCP4 203.0.113.7 198.51.100.9 4711 3128\r\n"
            client.ask(head + b"GET http://127.0.0.1:%d/ HTTP/1.1\r\nHost: x\r\n\r\n" % self.origin.port)
        self.assertEqual(self.finished()["client_addr"], "203.0.113.7:4711")
