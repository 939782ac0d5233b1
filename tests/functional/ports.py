# SPDX-License-Identifier: Apache-2.0
"""What every TLS port server must do, whichever library upstream has behind it."""

from __future__ import annotations

import contextlib
import socket
import ssl
import subprocess
import time
from typing import TYPE_CHECKING

from tests.functional.haproxy import start_haproxy
from tests.functional.needs import need
from tests.functional.observed import ObservedCase
from tests.functional.peers import RecordingOrigin
from tests.functional.processes import free_port
from tests.functional.rawhttp import RawClient
from tests.hellos import hello_with, openssl_hello, record, server_name, split_records

if TYPE_CHECKING:
    from typing import ClassVar

SERVERS = """
  - name: port
    type: {type}
    listen: 127.0.0.1:{port}
    server: http
    {more}
    tls_server:
      cert_pairs: {{certificate: server.pem, private_key: server-key.pem}}
      {tls}
  - name: http
    type: http_proxy
    listen: 127.0.0.1:{http}
    escaper: e
    {http_more}
"""
HEADER = b"PROXY TCP4 203.0.113.7 198.51.100.9 4711 3128\r\n"


class TLSPortCase(ObservedCase):
    """An http_proxy is the next server. C{type} is the word of the port server."""

    type: ClassVar[str]

    def setUp(self) -> None:
        super().setUp()
        self.certificate("server", "g3proxy.local", "127.0.0.1")
        self.origin = RecordingOrigin()
        self.addCleanup(self.origin.close)
        self.port, self.http = free_port(), free_port()
        self.context = ssl.create_default_context(cafile=str(self.directory / "ca.pem"))

    def start(self, more: str = "", tls: str = "", http: str = "") -> None:
        self.serve(SERVERS.format(type=self.type, port=self.port, http=self.http, more=more, tls=tls, http_more=http), self.port)

    def connect(self, port: int = 0, first: bytes = b"") -> ssl.SSLSocket:
        """A TLS connection; C{first} goes before the handshake."""
        sock = socket.create_connection(("127.0.0.1", port or self.port), 10)
        if first:
            sock.sendall(first)
        return self.context.wrap_socket(sock, server_hostname="g3proxy.local")

    def ask(self, sock: ssl.SSLSocket) -> int:
        with RawClient(self.port, sock=sock) as client:
            return client.ask(b"GET http://127.0.0.1:%d/ HTTP/1.1\r\nHost: x\r\n\r\n" % self.origin.port).status

    def test_what_is_in_tls_is_served(self) -> None:
        """By the next server, which knows the client's address."""
        self.start()
        sock = self.connect()
        mine = sock.getsockname()
        self.assertEqual(self.ask(sock), 200)
        self.assertEqual(self.finished()["client_addr"], f"127.0.0.1:{mine[1]}")

    def test_sessions_are_resumed(self) -> None:
        """The second handshake is a short one, with TLS 1.2 too."""
        self.start()
        for version in (ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3):
            self.context.maximum_version = version
            with self.connect() as sock:
                sock.sendall(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
                sock.recv(100)
                session = sock.session
            again = self.context.wrap_socket(socket.create_connection(("127.0.0.1", self.port), 10), server_hostname="g3proxy.local", session=session)
            self.assertTrue(again.session_reused)
            again.close()

    def test_client_certificates_are_demanded(self) -> None:
        """enable_client_auth, by openssl s_client with and without one."""
        need("openssl")
        self.certificate("client", "client", client=True)
        self.start(tls="enable_client_auth: true\n      client_auth_certificate: ca.pem")
        own = ["-cert", "client.pem", "-key", "client-key.pem"]
        for with_one, expected in ((own, True), ([], False)):
            ran = subprocess.run(
                ["openssl", "s_client", "-connect", f"127.0.0.1:{self.port}", "-CAfile", "ca.pem", "-verify_return_error", "-quiet", *with_one],
                input=f"GET http://127.0.0.1:{self.origin.port}/ HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n",
                cwd=self.directory,
                capture_output=True,
                text=True,
                timeout=20,
                check=False,
            )
            self.assertEqual("200 OK" in ran.stdout, expected, ran.stdout + ran.stderr)
        self.assertEqual(self.counted("listen.failed", "server:port"), 1)

    def test_the_proxy_header_comes_before_tls(self) -> None:
        """In the same segment as the ClientHello, or long before."""
        self.start("proxy_protocol: 1")
        self.assertEqual(self.ask(self.connect(first=HEADER)), 200)
        self.assertEqual(self.finished()["client_addr"], "203.0.113.7:4711")
        hello, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        tls = self.context.wrap_bio(hello, outgoing, server_hostname="g3proxy.local")
        with self.assertRaises(ssl.SSLWantReadError):
            tls.do_handshake()
        with socket.create_connection(("127.0.0.1", self.port), 10) as sock:
            sock.sendall(HEADER + outgoing.read())
            self.assertEqual(sock.recv(1), b"\x16", "a ServerHello")

    def test_haproxy_before_it(self) -> None:
        """send-proxy-v2, TLS passed through."""
        self.start("proxy_protocol: 2")
        front = free_port()
        peer = start_haproxy(self.directory, front, self.port)
        self.addCleanup(peer.kill)
        sock = self.connect(front)
        mine = sock.getsockname()
        self.assertEqual(self.ask(sock), 200)
        self.assertEqual(self.finished()["client_addr"], f"127.0.0.1:{mine[1]}")

    def test_what_speaks_no_tls_fails(self) -> None:
        """A plain request is answered by an alert at most."""
        self.start()
        with RawClient(self.port) as client:
            client.send(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
            self.assertNotIn(b"HTTP", client.everything())
        self.assertEqual(self.counted("listen.failed", "server:port"), 1)

    def test_hellos_of_every_kind(self) -> None:
        """In records of a byte and 50 kB long they are answered; two names, NUL in one and a hello without end get an alert or are closed."""
        self.start()
        small, large = (openssl_hello("g3proxy.local", alpn) for alpn in ((), tuple(f"{number:03}" * 80 for number in range(210))))
        for hello in (small, split_records(small, 1), split_records(large, 7), split_records(large, 1)):
            with RawClient(self.port) as client:
                client.send(hello)
                self.assertEqual(client.file.read(1), b"\x16", "a ServerHello")
        endless = record(b"\1\xff\xff\xff\3\3") + record(bytes(16384)) * 64
        wrong = (hello_with(server_name(b"a.test", b"b.test")), hello_with(server_name(b"a\0.test")), endless)
        for hello in wrong:
            with RawClient(self.port) as client, contextlib.suppress(OSError):
                client.send(hello)
                self.assertIn(client.everything()[:1], (b"\x15", b""))
        self.assertGreaterEqual(self.counted("listen.failed", "server:port", least=len(wrong)), len(wrong))

    def test_a_handshake_that_stalls_ends_by_time(self) -> None:
        """handshake_timeout: half a hello, then nothing."""
        self.start(tls="handshake_timeout: 1s")
        started = time.monotonic()
        with RawClient(self.port) as client:
            client.send(b"\x16\x03\x01\x02\x00\x01\x00")
            self.assertTrue(client.ended())
        self.assertTrue(0.9 < time.monotonic() - started < 4)
        self.assertEqual(self.counted("listen.timeout", "server:port"), 1)

    def test_the_next_server_speaks_no_second_tls(self) -> None:
        """One with a tls_server of its own takes the client as it comes (as upstream), and speaks TLS on its own port."""
        self.start(http="tls_server: {cert_pairs: {certificate: server.pem, private_key: server-key.pem}}")
        self.assertEqual(self.ask(self.connect()), 200)
        self.assertEqual(self.ask(self.connect(self.http)), 200)
