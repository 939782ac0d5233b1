# SPDX-License-Identifier: Apache-2.0
"""plain_tcp_port: who a client is to the next server, and what becomes of a client that does not say it right."""

from __future__ import annotations

import socket
import subprocess
import time

from tests.functional.haproxy import start_haproxy
from tests.functional.needs import need
from tests.functional.observed import ObservedCase
from tests.functional.peers import RecordingOrigin
from tests.functional.processes import free_port
from tests.functional.rawhttp import RawClient

PORT = """
  - name: port
    type: plain_tcp_port
    listen: 127.0.0.1:{port}
    server: http
    {more}
"""
HTTP = """
  - name: http
    type: http_proxy
    listen: 127.0.0.1:{http}
    escaper: e
    {more}
"""
V2 = b"\r\n\r\n\0\r\nQUIT\n"


def get(port: int) -> bytes:
    return b"GET http://127.0.0.1:%d/ HTTP/1.1\r\nHost: x\r\n\r\n" % port


class PlainTCPPortTests(ObservedCase):
    """An http_proxy is the next server."""

    def setUp(self) -> None:
        super().setUp()
        self.origin = RecordingOrigin()
        self.addCleanup(self.origin.close)
        self.port, self.http = free_port(), free_port()

    def start(self, more: str = "", http: str = "") -> None:
        servers = PORT.format(port=self.port, more=more) + HTTP.format(http=self.http, more=http)
        self.daemon = self.serve(servers, self.port, self.http)

    def said(self, header: bytes) -> str:
        """The client address in the task record of a request behind C{header}."""
        with RawClient(self.port) as client:
            self.assertEqual(client.ask(header + get(self.origin.port)).status, 200)
        return self.finished()["client_addr"]

    def refused(self, *pieces: bytes) -> None:
        """What begins so is closed without a word."""
        with RawClient(self.port) as client:
            for piece in pieces:
                client.send(piece)
                time.sleep(0.05)
            self.assertTrue(client.ended())

    def test_without_proxy_protocol_the_client_is_the_socket_s(self) -> None:
        """A second address of the server, no more."""
        self.start()
        with RawClient(self.port) as client:
            mine = client.sock.getsockname()
            self.assertEqual(client.ask(get(self.origin.port)).body, b"ok")
        record = self.finished()
        self.assertEqual(record["client_addr"], f"127.0.0.1:{mine[1]}")
        self.assertEqual(record["server_addr"], f"127.0.0.1:{self.port}")
        self.assertEqual(self.counted("listen.accepted", "server:port"), 1)
        self.assertEqual(self.counted("server.connection.total", "server:http"), 1)

    def test_version_1_names_the_client(self) -> None:
        """Also when it comes byte by byte, the last with the request."""
        self.start("proxy_protocol: 1")
        header = b"PROXY TCP4 203.0.113.7 198.51.100.9 4711 3128\r\n"
        with RawClient(self.port) as client:
            for byte in header[:-1]:
                client.send(bytes([byte]))
                time.sleep(0.001)
            self.assertEqual(client.ask(header[-1:] + get(self.origin.port)).status, 200)
        record = self.finished()
        self.assertEqual((record["client_addr"], record["server_addr"]), ("203.0.113.7:4711", "198.51.100.9:3128"))
        self.assertTrue(self.origin.everything.startswith(b"GET / HTTP/1.1\r\n"))

    def test_version_2_names_the_client(self) -> None:
        """IPv6, with a TLV behind the addresses."""
        self.start("proxy_protocol: 2")
        addresses = socket.inet_pton(socket.AF_INET6, "2001:db8::7") + socket.inet_pton(socket.AF_INET6, "2001:db8::9") + b"\x12\x67\x0c\x38"
        body = addresses + b"\xea\x00\x03abc"
        self.assertEqual(self.said(V2 + b"\x21\x21" + len(body).to_bytes(2, "big") + body), "[2001:db8::7]:4711")

    def test_local_leaves_the_socket_s_addresses(self) -> None:
        """A health check of the load balancer speaks for itself."""
        self.start("proxy_protocol: 2")
        self.assertTrue(self.said(V2 + b"\x20\x00\x00\x00").startswith("127.0.0.1:"))

    def test_the_next_server_s_filter_tests_whom_the_header_names(self) -> None:
        """And the port's own the real peer, which is on loopback here and may always come in."""
        theirs = "ingress_network_filter: {default: permit, forbid: 203.0.113.0/24}"
        self.start("proxy_protocol: 1\n    ingress_network_filter: {default: forbid}", theirs)
        with RawClient(self.port) as client:
            client.send(b"PROXY TCP4 203.0.113.7 198.51.100.9 4711 3128\r\n" + get(self.origin.port))
            self.assertTrue(client.ended())
        self.assertEqual(self.counted("listen.dropped", "server:http"), 1)
        self.assertEqual(self.said(b"PROXY TCP4 203.0.114.7 198.51.100.9 4711 3128\r\n"), "203.0.114.7:4711")

    def test_what_is_no_such_header_is_closed_and_counted(self) -> None:
        """A plain request, the other version, an endless line: each at its first wrong byte or at the limit."""
        self.start("proxy_protocol: 1")
        self.refused(get(self.origin.port))
        self.refused(V2 + b"\x20\x00\x00\x00")
        self.refused(b"PROXY TCP4 ", b"1" * 200)
        self.refused(b"PROXY TCP4 999.0.113.7 198.51.100.9 4711 3128\r\n")
        self.assertEqual(self.counted("listen.dropped", "server:port", least=4), 4)
        self.assertEqual(self.origin.connections, 0)

    def test_what_is_no_such_header_of_version_2_is_closed_and_counted(self) -> None:
        """Another signature, version, command or length than there are; of the longest header no more than needed is kept."""
        self.start("proxy_protocol: 2")
        address = b"\xcb\0\x71\7\xc6\x33\x64\x09\x12\x67\x0c\x38"
        wrong = [
            b"PROXY TCP4 203.0.113.7 198.51.100.9 4711 3128\r\n",
            V2[:11] + b"\r\x21\x11\0\x0c" + address,
            V2 + b"\x11\x11\0\x0c" + address,
            V2 + b"\x2f\x11\0\x0c" + address,
            V2 + b"\x21\x11\0\x0b" + address,
            V2 + b"\x21\x21\0\x0c" + address,
            V2 + b"\x21\x11\0\x0f" + address + b"\4\xff\xff",
            V2 + b"\x21\x11\xff\xff" + address + b"\xff" * 65523,
        ]
        for header in wrong:
            self.refused(header + get(self.origin.port))
        self.assertEqual(self.counted("listen.dropped", "server:port", least=len(wrong)), len(wrong))
        self.assertEqual(self.origin.connections, 0)

    def test_a_client_that_leaves_before_is_a_failure(self) -> None:
        """Half a header, then the end."""
        self.start("proxy_protocol: 2")
        with RawClient(self.port) as client:
            client.send(V2[:5])
        self.assertEqual(self.counted("listen.failed", "server:port"), 1)

    def test_one_that_is_not_there_in_time_is_closed(self) -> None:
        """A byte now and then does not help."""
        self.start("proxy_protocol: 2\n    proxy_protocol_read_timeout: 1s")
        started = time.monotonic()
        self.refused(*(V2[number : number + 1] for number in range(5)))
        self.assertTrue(0.9 < time.monotonic() - started < 4, time.monotonic() - started)
        self.assertEqual(self.counted("listen.timeout", "server:port"), 1)

    def test_haproxy_sends_either_version(self) -> None:
        """The client's own address arrives, from a program that is not ours; with its checksum and more behind the addresses, too."""
        for version, how in ((1, "send-proxy"), (2, "send-proxy-v2"), (2, "send-proxy-v2 proxy-v2-options crc32c,authority,ssl")):
            self.port, self.http = free_port(), free_port()
            self.syslog.lines.clear()
            self.start(f"proxy_protocol: {version}")
            front = free_port()
            peer = start_haproxy(self.directory, front, self.port, how)
            self.addCleanup(peer.kill)
            with RawClient(front) as client:
                mine = client.sock.getsockname()
                self.assertEqual(client.ask(get(self.origin.port)).body, b"ok")
            self.assertEqual(self.finished()["client_addr"], f"127.0.0.1:{mine[1]}")

    def test_curl_sends_version_1(self) -> None:
        """--haproxy-protocol, to a port before the proxy's easy-proxy URLs."""
        need("curl")
        self.start("proxy_protocol: 1")
        url = f"http://127.0.0.1:{self.port}/.well-known/easy-proxy/http/127.0.0.1/{self.origin.port}/"
        ran = subprocess.run(["curl", "-sS", "--haproxy-protocol", url], capture_output=True, text=True, timeout=20, check=False)
        self.assertEqual((ran.stdout, ran.stderr), ("ok", ""))

    def test_a_port_before_a_port(self) -> None:
        """The second one reads the header that the first one leaves."""
        servers = PORT.format(port=self.port, more="").replace("server: http", "server: inner")
        inner = PORT.format(port=free_port(), more="proxy_protocol: 1").replace("name: port", "name: inner")
        self.serve(servers + inner + HTTP.format(http=self.http, more=""), self.port)
        self.assertEqual(self.said(b"PROXY TCP4 203.0.113.7 198.51.100.9 4711 3128\r\n"), "203.0.113.7:4711")

    def test_a_next_server_that_is_missing_closes_until_a_reload_brings_it(self) -> None:
        """dummy_close stands in; the port's socket stays."""
        self.daemon = self.serve(PORT.format(port=self.port, more=""), self.port)
        self.refused()
        self.rewrite(PORT.format(port=self.port, more="") + HTTP.format(http=self.http, more=""))
        self.assertEqual(self.daemon.ctl("reload").returncode, 0)
        with RawClient(self.port) as client:
            self.assertEqual(client.ask(get(self.origin.port)).body, b"ok")
