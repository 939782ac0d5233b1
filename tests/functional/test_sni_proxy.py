# SPDX-License-Identifier: Apache-2.0
"""sni_proxy: whom the first bytes name, who may be named, and that every byte arrives as it was sent."""

from __future__ import annotations

import os
import socket
import ssl
import subprocess
import time

from tests.functional.needs import need
from tests.functional.observed import ObservedCase
from tests.functional.peers import start_nginx
from tests.functional.processes import free_port
from tests.functional.rawhttp import RawClient
from tests.functional.streams import DigestUpstream, digest, exchange
from tests.hellos import hello_with, openssl_hello, server_name, split_records

SERVER = """
  - name: sni
    type: sni_proxy
    listen: 127.0.0.1:{port}
    escaper: e
    task_idle_check_interval: 2s
    {more}
"""
NGINX = """
server {{
    listen 127.0.0.2:{port} ssl;
    ssl_protocols TLSv1.2 TLSv1.3;
    ssl_certificate {directory}/a.pem;
    ssl_certificate_key {directory}/a-key.pem;
    return 200 "$ssl_server_name $ssl_protocol";
}}
"""


class SNIProxyCase(ObservedCase):
    """One sni_proxy on 127.0.0.1; a.test and b.test have the same port on addresses of their own."""

    def setUp(self) -> None:
        super().setUp()
        self.port = free_port()

    def start(self, more: str = "", after: str = "") -> None:
        self.serve(SERVER.format(port=self.port, more=more) + after, self.port)

    def upstream(self, host: str = "127.0.0.2", port: int | None = None) -> DigestUpstream:
        upstream = DigestUpstream(address=(host, self.port if port is None else port))
        self.addCleanup(upstream.close)
        return upstream

    def send(self, data: bytes) -> bytes:
        """What comes back when we send this and end our direction."""
        with socket.create_connection(("127.0.0.1", self.port), 10) as sock:
            return exchange(sock, data)

    def closed(self, *pieces: bytes) -> float:
        """Seconds until a client that sends so is closed, without a byte."""
        started = time.monotonic()
        with RawClient(self.port) as client:
            for piece in pieces:
                client.send(piece)
                time.sleep(0.02)
            self.assertTrue(client.ended(), pieces)
        return time.monotonic() - started


class TLSTests(SNIProxyCase):
    """The name is in a client hello."""

    def nginx(self) -> ssl.SSLContext:
        """An origin for a.test on the port that the proxy has; what trusts it."""
        self.certificate("a", "a.test")
        for path in (self.directory, *self.directory.iterdir()):
            path.chmod(0o755)
        nginx = start_nginx(self.directory, NGINX.format(port=self.port, directory=self.directory), self.port)
        self.addCleanup(nginx.kill)
        return ssl.create_default_context(cafile=str(self.directory / "ca.pem"))

    def test_the_handshake_is_with_the_host_that_is_named(self) -> None:
        """On the port the client came to; a changed byte would break it."""
        context = self.nginx()
        self.start()
        for version in (ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3):
            context.maximum_version = version
            sock = context.wrap_socket(socket.create_connection(("127.0.0.1", self.port), 10), server_hostname="a.test")
            with RawClient(self.port, sock=sock) as client:
                answer = client.ask(b"GET / HTTP/1.1\r\nHost: a.test\r\n\r\n")
                self.assertEqual(answer.body.decode(), f"a.test {version.name.replace('_', '.')}")
        record = self.finished()
        self.assertEqual((record["server_type"], record["upstream"], record["reason"]), ("SniProxy", f"a.test:{self.port}", "ClosedByClient"))
        self.assertEqual(record["c_rd_bytes"], record["r_wr_bytes"])

    def test_openssl_and_curl_reach_it(self) -> None:
        """openssl s_client -servername, curl --connect-to."""
        need("openssl", "curl")
        self.nginx()
        self.start()
        ask = ["openssl", "s_client", "-connect", f"127.0.0.1:{self.port}", "-servername", "A.Test", "-CAfile", "ca.pem", "-verify_return_error"]
        ran = subprocess.run(ask, input=b"", cwd=self.directory, capture_output=True, timeout=20, check=False)
        self.assertIn(b"Verify return code: 0 (ok)", ran.stdout)
        curl = ["curl", "-sS", "--cacert", "ca.pem", "--connect-to", f"a.test:443:127.0.0.1:{self.port}", "https://a.test/"]
        ran = subprocess.run(curl, cwd=self.directory, capture_output=True, timeout=20, check=False)
        self.assertEqual((ran.stdout, ran.stderr), (b"a.test TLSv1.3", b""))

    def test_every_byte_of_a_hello_arrives_as_it_was_sent(self) -> None:
        """One record or many, one segment or one for each byte, 60 kB, and what is sent behind it at once."""
        self.upstream()
        self.start()
        hello = openssl_hello("a.test")
        large = hello_with(server_name(b"a.test"), padding=60000)
        for data in (hello, split_records(hello, 1), split_records(hello, 7), large, split_records(large, 1)):
            sent = data + os.urandom(100_000)
            self.assertEqual(self.send(sent), digest(sent))
        with socket.create_connection(("127.0.0.1", self.port), 10) as sock:
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            for byte in hello:
                sock.send(bytes([byte]))
            self.assertEqual(exchange(sock, b""), digest(hello))

    def test_odd_names_get_the_right_host_or_nothing(self) -> None:
        """Upper case and a last dot are the name; all else is closed at once, and nobody is connected to."""
        upstream = self.upstream()
        self.start()
        for name in (b"A.TEST", b"a.test.", b"A.tEsT."):
            hello = hello_with(server_name(name))
            self.assertEqual(self.send(hello), digest(hello), name)
        self.assertEqual(upstream.connections, 3)
        addresses, long = ((b"127.0.0.2",), (b"[::1]",), (b"::1",)), (b"a." * 127 + b"a",)
        for names in (*addresses, long, (b"a.test\0.b.test",), (b"a.test", b"b.test"), (b"",), (b"\xc3\xbc.test",)):
            self.assertLess(self.closed(hello_with(server_name(*names))), 2, names)
        self.assertLess(self.closed(openssl_hello(None)), 2, "no name")
        self.assertLess(self.closed(hello_with(server_name(b"a.test"), server_name(b"b.test"))), 2, "two extensions")
        self.assertLess(self.closed(openssl_hello("a.test", maximum=ssl.TLSVersion.TLSv1_1)), 2, "an old version")
        self.assertEqual(upstream.connections, 3)
        self.assertEqual(self.counted("server.task.total", "server:sni", least=3), 3)

    def test_a_hello_has_a_size(self) -> None:
        """tls_max_client_hello_size: known from its first bytes, so that no more is read."""
        self.upstream()
        self.start("tls_max_client_hello_size: 2K")
        self.assertLess(self.closed(hello_with(server_name(b"a.test"), padding=3000)[:20]), 2)
        hello = hello_with(server_name(b"a.test"), padding=1000)
        self.assertEqual(self.send(hello), digest(hello))

    def test_a_port_may_be_before_it(self) -> None:
        """Then the port is the one of the PROXY protocol header; a port that speaks TLS has its clients closed."""
        self.certificate("a", "a.test")
        port, secure, named = free_port(), free_port(), free_port()
        self.upstream(port=named)
        pair = "{cert_pairs: {certificate: a.pem, private_key: a-key.pem}}"
        after = f"  - {{name: port, type: plain_tcp_port, listen: '127.0.0.1:{port}', server: sni, proxy_protocol: 1}}\n"
        after += f"  - {{name: tls, type: plain_tls_port, listen: '127.0.0.1:{secure}', server: sni, tls_server: {pair}}}\n"
        self.start(after=after)
        hello = openssl_hello("a.test")
        with socket.create_connection(("127.0.0.1", port), 10) as sock:
            self.assertEqual(exchange(sock, b"PROXY TCP4 203.0.113.7 198.51.100.9 4711 %d\r\n" % named + hello), digest(hello))
        self.assertEqual(self.finished()["client_addr"], "203.0.113.7:4711")
        context = ssl.create_default_context(cafile=str(self.directory / "ca.pem"))
        with context.wrap_socket(socket.create_connection(("127.0.0.1", secure), 10), server_hostname="a.test") as sock:
            self.assertEqual(sock.recv(1), b"")


class HTTPTests(SNIProxyCase):
    """The name is in a request."""

    def test_host_or_an_absolute_target_names_the_upstream(self) -> None:
        """Its port, or the one the client came to; CONNECT names one too."""
        self.upstream()
        other = self.upstream("127.0.0.3", free_port())
        self.start()
        for request in (
            b"GET / HTTP/1.1\r\nHost: a.test\r\n\r\n",
            b"GET / HTTP/1.1\r\nhost:A.TEST.\r\n\r\n",
            b"POST /x HTTP/1.0\r\nUser-Agent: x\r\nHost: 127.0.0.2:%d\r\nContent-Length: 5\r\n\r\nbody!GET" % self.port,
            b"GET http://a.test/ HTTP/1.1\r\nHost: b.test\r\n\r\n",
            b"OPTIONS * HTTP/1.1\r\nHost: a.test\r\n\r\n",
            b"GET /\xff HTTP/1.1\r\nHost: a.test\r\nX: \xff\r\n\r\n" + os.urandom(100),
        ):
            self.assertEqual(self.send(request), digest(request), request)
        for request in (b"GET / HTTP/1.1\r\nHost: b.test:%d\r\n\r\n", b"CONNECT b.test:%d HTTP/1.1\r\nHost: b.test\r\n\r\n"):
            request %= (other.port,)
            self.assertEqual(self.send(request), digest(request), request)

    def test_a_head_may_come_in_single_bytes(self) -> None:
        """And is waited for to its end."""
        self.upstream()
        self.start()
        request = b"GET / HTTP/1.1\r\nHost: a.test\r\n\r\n"
        with socket.create_connection(("127.0.0.1", self.port), 10) as sock:
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            for byte in request:
                sock.send(bytes([byte]))
                time.sleep(0.001)
            self.assertEqual(exchange(sock, b"and more"), digest(request + b"and more"))

    def test_what_names_nobody_is_closed(self) -> None:
        """No Host, two of them, a bad one; another protocol; a head or a target without end; a client that ends before."""
        upstream = self.upstream()
        self.start()
        for data in (
            b"GET / HTTP/1.0\r\n\r\n",
            b"GET / HTTP/1.1\r\n\r\n",
            b"GET / HTTP/1.1\r\nHost:\r\n\r\n",
            b"GET / HTTP/1.1\r\nHost: a.test\r\nHost: b.test\r\n\r\n",
            b"GET / HTTP/1.1\r\nHost: a test\r\n\r\n",
            b"GET / HTTP/1.1\r\nHost: a.test:0\r\n\r\n",
            b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
            b"SSH-2.0-OpenSSH_9.2\r\n\r\n",
            b"\x05\x01\x00",
            b"\x00" * 10,
            b"GET /" + b"x" * 5000,
            b"GET / HTTP/1.1\r\nX: " + b"x" * 70000,
        ):
            self.assertLess(self.closed(data), 2, data[:50])
        self.assertEqual(self.send(b"GET / HT"), b"")
        self.assertEqual(upstream.connections, 0)

    def test_a_target_has_a_size(self) -> None:
        """protocol_inspection: data0_size_limit: http_request_uri."""
        self.upstream()
        self.start("protocol_inspection: {data0_size_limit: {http_request_uri: 100}}\n    server_tcp_portmap: {8080: [http, tls]}")
        request = b"GET /%b HTTP/1.1\r\nHost: a.test\r\n\r\n"
        self.assertEqual(self.send(request % (b"x" * 99)), digest(request % (b"x" * 99)))
        self.assertLess(self.closed(request % (b"x" * 100)), 2)


class RuleTests(SNIProxyCase):
    """Who may be named, and for how long a client may think about it."""

    def test_only_allowed_hosts_and_where_they_are_led(self) -> None:
        """Exactly, below a domain, and everything else."""
        first, second = self.upstream("127.0.0.3", free_port()), self.upstream("127.0.0.1", free_port())
        self.upstream("127.0.0.2")
        self.start(f"""allowed_sites:
      - {{exact_match: a.test}}
      - {{exact_match: [c.test, 192.0.2.1], redirect_host: b.test, redirect_port: {first.port}}}
      - {{child_match: d.test, redirect_host: 127.0.0.1, redirect_port: {second.port}}}""")
        for name, upstream in (("a.test", None), ("c.test", first), ("192.0.2.1", first), ("d.test", second), ("x.y.d.test", second)):
            request = b"GET / HTTP/1.1\r\nHost: %b\r\n\r\n" % name.encode()
            self.assertEqual(self.send(request), digest(request), name)
            if upstream is not None:
                self.assertGreater(upstream.connections, 0, name)
        self.assertEqual((first.connections, second.connections), (2, 2))
        for name in ("b.test", "xd.test", "sub.a.test", "127.0.0.2"):
            self.assertLess(self.closed(b"GET / HTTP/1.1\r\nHost: %b\r\n\r\n" % name.encode()), 2, name)
        hello = openssl_hello("c.test")
        self.assertEqual(self.send(hello), digest(hello))

    def test_a_default_takes_the_rest(self) -> None:
        """A map without match keys is the default."""
        upstream = self.upstream("127.0.0.1", free_port())
        self.start(f"allowed_hosts: {{redirect_host: 127.0.0.1, redirect_port: {upstream.port}}}")
        hello = openssl_hello("anything.test")
        self.assertEqual(self.send(hello), digest(hello))

    def test_a_client_has_time_to_begin_and_to_end(self) -> None:
        """request_wait_timeout for the first byte, request_recv_timeout from there on, however busily it sends."""
        self.start("request_wait_timeout: 1s\n    request_recv_timeout: 1s")
        self.assertTrue(0.9 < self.closed() < 4)
        pieces = split_records(openssl_hello("a.test"), 1)
        started = time.monotonic()
        with socket.create_connection(("127.0.0.1", self.port), 10) as sock, self.assertRaises(OSError):
            for at in range(0, len(pieces), 6):
                sock.send(pieces[at : at + 6])
                time.sleep(0.05)
        self.assertTrue(0.9 < time.monotonic() - started < 4)

    def test_a_host_that_does_not_resolve_closes_the_client(self) -> None:
        """The task record has why, and the bytes that were read."""
        self.start()
        hello = openssl_hello("nosuch.test")
        self.closed(hello)
        record = self.finished()
        self.assertEqual((record["upstream"], record["c_rd_bytes"]), (f"nosuch.test:{self.port}", str(len(hello))))
        self.assertEqual(record["stage"], "Connecting")
