# SPDX-License-Identifier: Apache-2.0
"""http_rproxy: requests go where their Host belongs, by the rules of that host."""

from __future__ import annotations

import socket
import ssl
import time
from typing import TYPE_CHECKING

from tests.functional import framing
from tests.functional.needs import need
from tests.functional.observed import ObservedCase
from tests.functional.peers import RecordingOrigin, ScriptedOrigin, answer_ok, read_head, start_nginx
from tests.functional.processes import free_port
from tests.functional.rawhttp import Answer, RawClient
from tests.hellos import hello_with, openssl_hello, server_name, split_records

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.functional.harness import Daemon

PLAIN = """
  - name: web
    type: http_rproxy
    listen: 127.0.0.1:{port}
    escaper: e
    {more}
    hosts:
      - exact_match: one.test
        upstream: 127.0.0.1:{one}
      - child_match: two.test
        upstream: 127.0.0.1:{two}
      - exact_match: closed.test
        upstream: 127.0.0.1:{closed}
"""

SECURE = """
  - name: secure
    type: http_rproxy
    listen: 127.0.0.1:{port}
    escaper: e
    enable_tls_server: true
    client_hello_recv_timeout: 1700ms
    tls_ticketer: {{}}
    global_tls_server: {{cert_pairs: {{certificate: global.pem, private_key: global-key.pem}}}}
    hosts:
      - exact_match: own.test
        upstream: 127.0.0.1:{one}
        tls_server: {{cert_pairs: {{certificate: own.pem, private_key: own-key.pem}}}}
      - exact_match: shared.test
        upstream: 127.0.0.1:{one}
      - exact_match: closed.test
        upstream: 127.0.0.1:{two}
        tls_server:
          cert_pairs: {{certificate: closed.pem, private_key: closed-key.pem}}
          enable_client_auth: true
          client_auth_certificate: ca.pem
  - name: no_default
    type: http_rproxy
    listen: 127.0.0.1:{other}
    escaper: e
    enable_tls_server: true
    hosts:
      - exact_match: own.test
        upstream: 127.0.0.1:{one}
        tls_server: {{cert_pairs: {{certificate: own.pem, private_key: own-key.pem}}}}
  - name: front
    type: plain_tls_port
    listen: 127.0.0.1:{front}
    server: web
    tls_server: {{cert_pairs: {{certificate: global.pem, private_key: global-key.pem}}}}
"""


class BadRequestTests(framing.BadRequests):
    """No byte of a bad request reaches an origin."""

    server = "type: http_rproxy\n    hosts: [{{exact_match: 127.0.0.1, upstream: '127.0.0.1:{origin}'}}]"


class PlainTests(ObservedCase):
    """Over TCP."""

    def setUp(self) -> None:
        super().setUp()
        self.one, self.two = RecordingOrigin(), RecordingOrigin()
        self.addCleanup(self.one.close)
        self.addCleanup(self.two.close)
        self.port = free_port()

    def start(self, more: str = "", two: int = 0) -> Daemon:
        ports = {"one": self.one.port, "two": two or self.two.port, "closed": free_port()}
        return self.serve(PLAIN.format(port=self.port, more=more, **ports), self.port)

    def ask(self, *lines: bytes, first: bytes = b"GET /a?b HTTP/1.1") -> Answer:
        with RawClient(self.port) as client:
            return client.ask(b"\r\n".join([first, *lines, b"", b""]))

    def sent(self, origin: RecordingOrigin) -> list[bytes]:
        """The lines of the last head that an origin got."""
        return origin.everything.rpartition(b"\r\n\r\n")[0].rpartition(b"\r\n\r\n")[2].split(b"\r\n")

    def test_a_request_goes_where_its_host_belongs(self) -> None:
        """Its head goes on as it came, with Via and X-Forwarded-For behind; the log has upstream's fields."""
        self.start()
        answer = self.ask(b"hOST: One.test:81", b"Authorization: Bearer of the origin", b"X-Forwarded-For: 192.0.2.1", b"Connection: close, X-Hop")
        self.assertEqual((answer.status, answer.body), (200, b"ok"))
        self.assertEqual(
            self.sent(self.one),
            [
                b"GET /a?b HTTP/1.1",
                b"hOST: One.test:81",
                b"Authorization: Bearer of the origin",
                b"X-Forwarded-For: 192.0.2.1",
                b"Via: HTTP/1.1 one.test",
                b"X-Forwarded-For: 127.0.0.1",
                b"Connection: close",
            ],
        )
        record = self.finished()
        for key, value in {
            "server_type": "HttpRProxy",
            "server_name": "web",
            "task_type": "HttpForward",
            "uri": "/a?b",
            "upstream": f"127.0.0.1:{self.one.port}",
            "reason": "Finished",
            "rsp_status": "200",
        }.items():
            self.assertEqual(record[key], value)
        self.assertEqual(self.ask(b"Host: deep.below.two.test").status, 200)
        self.assertEqual(self.sent(self.two)[1], b"Host: deep.below.two.test")
        self.assertEqual(self.counted("server.task.total", "server:web", least=2), 2)
        self.assertEqual(self.total("server.connection.total", "server:web"), 2)

    def test_absolute_targets_have_to_name_the_same_host(self) -> None:
        """And their port is the one that counts."""
        self.start()
        self.assertEqual(self.ask(b"Host: one.test", first=b"GET http://one.test:81/x HTTP/1.1").status, 200)
        self.assertEqual(self.sent(self.one)[:2], [b"GET /x HTTP/1.1", b"Host: one.test:81"])
        self.assertEqual(self.ask(b"Host: one.test", first=b"OPTIONS * HTTP/1.1").status, 200)
        self.assertEqual(self.sent(self.one)[0], b"OPTIONS * HTTP/1.1")
        seen = self.one.everything
        for status, first, *lines in (
            (409, b"GET http://two.test/ HTTP/1.1", b"Host: one.test"),
            (501, b"GET https://one.test/ HTTP/1.1", b"Host: one.test"),
            (501, b"CONNECT one.test:80 HTTP/1.1", b"Host: one.test:80"),
            (501, b"GET / HTTP/1.1", b"Host: one.test", b"Connection: upgrade", b"Upgrade: websocket"),
            (400, b"GET / HTTP/1.0"),
            (400, b"GET / HTTP/1.1", b"Host:"),
            (400, b"GET / HTTP/1.1", b"Host: unknown.test"),
            (508, b"GET / HTTP/1.1", b"Host: one.test", b"Via: 1.0 x", b"Via: 1.1 y (c, d), HTTP/1.1 ONE.test"),
        ):
            answer = self.ask(*lines, first=first)
            self.assertEqual((answer.status, answer.headers["Connection"].lower()), (status, "close"), (first, lines))
        self.assertEqual(self.ask(b"Host: closed.test").status, 521)
        self.assertEqual((self.one.everything, self.two.everything), (seen, b""))
        self.assertEqual(self.counted("server.task.total", "server:web", least=3), 3)

    def test_a_name_of_its_own(self) -> None:
        """server_id is in Via and in the answers; Forwarded is the standard header. A circle is noticed the second time round."""
        self.start("server_id: edge-1\n    append_forwarded_for: standard", two=self.port)
        with RawClient(self.port) as client:
            answer = client.ask(b"GET / HTTP/1.1\r\nHost: one.test\r\nVia: 1.1 one.test\r\n\r\n")
            here = f"127.0.0.1:{client.sock.getsockname()[1]}"
        self.assertRegex(answer.headers["X-BD-Remote-Connection-Info"], rf"^edge-1; .*remote=127\.0\.0\.1:{self.one.port}$")
        expected = [b"Via: 1.1 one.test", b"Via: HTTP/1.1 edge-1", f'Forwarded: for="{here}";by="127.0.0.1:{self.port}"'.encode()]
        self.assertEqual(self.sent(self.one)[2:], expected)
        self.assertEqual(self.ask(b"Host: one.test", b"Via: 1.1 edge-1").status, 508)
        self.assertEqual(self.ask(b"Host: x.two.test").status, 508)
        self.assertEqual(self.counted("server.task.total", "server:web", least=2), 2)

    def test_connections_are_kept_on_both_sides(self) -> None:
        """And requests that come ahead are answered in their order, whoever answers them."""
        self.one.answer = lambda request: answer_ok(request).replace(b"ok", b"1:") * request.count(b"GET")
        self.start("append_forwarded_for: none")
        with RawClient(self.port) as client:
            for _ in range(3):
                self.assertEqual(client.ask(b"GET / HTTP/1.1\r\nHost: one.test\r\n\r\n").body, b"1:")
            one, two = (b"GET / HTTP/1.1\r\nHost: %b.test\r\n\r\n" % name for name in (b"one", b"two"))
            client.send(one + two + one + one)
            self.assertEqual([client.answer().body for _ in range(4)], [b"1:", b"ok", b"1:", b"1:"])
        self.assertEqual((self.one.connections, self.two.connections), (2, 1))
        self.assertNotIn(b"Forwarded", self.one.everything)
        self.assertEqual([record["reuse_connection"] for record in self.tasks(7)].count("true"), 4)

    def test_a_client_that_a_port_names_and_a_reload(self) -> None:
        """The upstream hears of the client in the PROXY protocol header. A reload is for new connections; an old one ends with an answer."""
        port = free_port()
        front = f"  - {{name: front, type: plain_tcp_port, listen: '127.0.0.1:{port}', server: web, proxy_protocol: 1}}\n"
        ports = {"port": self.port, "one": self.one.port, "two": self.two.port, "closed": free_port()}
        text = PLAIN.format(more="append_forwarded_for: standard", **ports) + front
        daemon = self.serve(text, self.port, port)
        request = b"GET / HTTP/1.1\r\nHost: one.test\r\n\r\n"
        with RawClient(port) as client:
            self.assertEqual(client.ask(b"PROXY TCP4 203.0.113.7 198.51.100.9 4711 80\r\n" + request).status, 200)
            self.assertEqual(self.sent(self.one)[-1], b'Forwarded: for="203.0.113.7:4711";by="198.51.100.9:80"')
            self.rewrite(text.replace("one.test", "three.test"))
            self.assertEqual(daemon.ctl("reload").returncode, 0)
            self.assertEqual(client.ask(request).headers["Connection"], "Close")
        self.assertEqual(self.ask(b"Host: one.test").status, 400)
        self.assertEqual(self.ask(b"Host: three.test").status, 200)

    def test_a_body_waits_for_the_origin_s_100(self) -> None:
        """The origin answers Expect, and its 103 is passed on."""

        def script(connection: socket.socket, _number: int) -> None:
            self.assertIn(b"\r\nExpect: 100-continue\r\n", read_head(connection))
            connection.sendall(b"HTTP/1.1 103 Early Hints\r\nLink: </x>\r\n\r\nHTTP/1.1 100 Continue\r\n\r\n")
            body = connection.recv(100)
            connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%b" % (len(body), body))

        origin = ScriptedOrigin(script)
        self.addCleanup(origin.close)
        self.start(two=origin.port)
        with RawClient(self.port) as client:
            client.send(b"POST / HTTP/1.1\r\nHost: x.two.test\r\nExpect: 100-continue\r\nContent-Length: 5\r\n\r\n")
            lines = [client.file.readline() for _ in range(5)]
            self.assertEqual((lines[0][9:12], lines[3][9:12]), (b"103", b"100"), lines)
            self.assertEqual(client.ask(b"hello").body, b"hello")


class SecureTests(ObservedCase):
    """Over TLS."""

    def setUp(self) -> None:
        super().setUp()
        for name in ("global", "own", "closed"):
            self.certificate(name, *(["shared.test", "unknown.test"] if name == "global" else [f"{name}.test"]))
        self.certificate("client", "client", client=True)
        self.one, self.two = RecordingOrigin(), RecordingOrigin()
        self.addCleanup(self.one.close)
        self.addCleanup(self.two.close)
        self.port, self.other, self.front, plain = (free_port() for _ in range(4))
        ports = {"one": self.one.port, "two": self.two.port}
        servers = PLAIN.format(port=plain, more="", closed=free_port(), **ports)
        servers += SECURE.format(port=self.port, other=self.other, front=self.front, **ports)
        self.serve(servers, self.port, self.other, self.front)

    def context(self, *, certificate: bool = False) -> ssl.SSLContext:
        context = ssl.create_default_context(cafile=str(self.directory / "ca.pem"))
        if certificate:
            context.load_cert_chain(self.directory / "client.pem", self.directory / "client-key.pem")
        return context

    def connect(self, name: str, context: ssl.SSLContext, port: int = 0, session: ssl.SSLSession | None = None) -> RawClient:
        plain = socket.create_connection(("127.0.0.1", port or self.port), 10)
        return RawClient(0, sock=context.wrap_socket(plain, server_hostname=name, session=session))

    def ask(self, client: RawClient, host: str) -> int:
        return client.ask(f"GET / HTTP/1.1\r\nHost: {host}\r\n\r\n".encode()).status

    def test_each_host_has_its_certificate(self) -> None:
        """The verification of the client says so; a host without one has the global one, and what is no host too."""
        context = self.context()
        for name in ("own.test", "shared.test"):
            with self.connect(name, context) as client:
                self.assertEqual(self.ask(client, name), 200)
        with self.connect("unknown.test", context) as client:
            self.assertEqual(self.ask(client, "unknown.test"), 400)
        context.check_hostname = False
        with self.connect("own.test", context, self.other) as client:
            self.assertEqual(self.ask(client, "own.test"), 200)
        for name in ("unknown.test", None):
            with self.assertRaises(OSError):
                self.connect(name, context, self.other)  # type: ignore[arg-type]
        self.assertEqual(self.counted("listen.failed", "server:no_default", least=2), 2)
        context.set_alpn_protocols(["h2", "http/1.1"])
        with self.connect("own.test", context, self.port) as client:
            assert isinstance(client.sock, ssl.SSLSocket)
            self.assertEqual(client.sock.selected_alpn_protocol(), "http/1.1")

    def test_a_host_that_asks_for_certificates_is_for_those_who_have_one(self) -> None:
        """Neither the Host of a request nor a session of another host gets anybody else in."""
        with self.assertRaises(OSError), self.connect("closed.test", self.context()) as client:
            self.ask(client, "closed.test")
        context, session = self.context(), None
        for resumed in (False, True):
            with self.connect("own.test", context, session=session) as client:
                self.assertEqual(self.ask(client, "own.test"), 200)
                self.assertEqual(self.ask(client, "closed.test"), 421)
                assert isinstance(client.sock, ssl.SSLSocket)
                session = client.sock.session
                self.assertEqual(client.sock.session_reused, resumed)
        with self.assertRaises(OSError), self.connect("closed.test", context, session=session) as client:
            self.ask(client, "closed.test")
        self.assertEqual(self.two.everything, b"")
        context = self.context(certificate=True)
        for _ in range(2):
            with self.connect("closed.test", context) as client:
                self.assertEqual(self.ask(client, "closed.test"), 200)
                self.assertEqual(self.ask(client, "own.test"), 200)
        with self.connect("shared.test", self.context(), self.front) as client:
            self.assertEqual(self.ask(client, "one.test"), 200)

    def speak(self, context: ssl.SSLContext, record: int, piece: int) -> bytes:
        """What is answered to a client whose hello goes out in records and segments of so many bytes."""
        incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        tls = context.wrap_bio(incoming, outgoing, server_hostname="own.test")
        with self.assertRaises(ssl.SSLWantReadError):
            tls.do_handshake()
        with socket.create_connection(("127.0.0.1", self.port), 10) as sock:
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            hello = split_records(outgoing.read(), record)
            for at in range(0, len(hello), piece):
                sock.sendall(hello[at : at + piece])

            def pump(step: Callable[[], bytes | None]) -> bytes:
                while True:
                    try:
                        return step() or b""
                    except ssl.SSLWantReadError:
                        sock.sendall(outgoing.read())
                        incoming.write(sock.recv(65536))

            pump(tls.do_handshake)
            tls.write(b"GET / HTTP/1.1\r\nHost: own.test\r\nConnection: close\r\n\r\n")
            sock.sendall(outgoing.read())
            return pump(lambda: tls.read(65536))

    def test_hellos_of_every_kind(self) -> None:
        """Byte by byte, in records of a byte or a few and 50 kB long it is served; silence, another protocol and half a hello end."""
        large = self.context()
        large.set_alpn_protocols(["http/1.1", *(f"{number:03}" * 80 for number in range(210))])
        for context, record, piece in ((self.context(), 16384, 1), (self.context(), 1, 65536), (large, 16384, 65536), (large, 7, 997)):
            answer = self.speak(context, record, piece)
            self.assertTrue(answer.startswith(b"HTTP/1.1 200 "), (record, piece))
        with RawClient(self.port) as client:
            client.send(b"GET / HTTP/1.1\r\nHost: own.test\r\n\r\n")
            self.assertTrue(client.ended())
        self.assertEqual(self.counted("listen.failed", "server:secure"), 1)
        started = time.monotonic()
        with RawClient(self.port) as silent, RawClient(self.port) as half:
            half.send(openssl_hello("own.test")[:50])
            self.assertTrue(silent.ended() and half.ended())
        self.assertGreater(time.monotonic() - started, 1.6)
        self.assertEqual(self.counted("listen.timeout", "server:secure", least=2), 2)

    def test_odd_names_in_hellos(self) -> None:
        """Upper case and a last dot are the host; what is no name is closed, and no certificate is shown."""
        for name in (b"OWN.test", b"own.test."):
            with RawClient(self.other) as client:
                client.send(hello_with(server_name(name)))
                self.assertEqual(client.file.read(1), b"\x15", "an alert: this hello offers too little")
        long = b"a." * 127 + b"a"
        wrong = ((b"127.0.0.1",), (b"[::1]",), (b"::1",), (long,), (b"own.test\0.b.test",), (b"own.test", b"own.test"), (b"",), (b"own..test",))
        for names in wrong:
            with RawClient(self.other) as client:
                client.send(hello_with(server_name(*names)))
                self.assertTrue(client.ended(), names)
        self.assertEqual(self.counted("listen.failed", "server:no_default", least=2 + len(wrong)), 2 + len(wrong))


class UpstreamTLSTests(ObservedCase):
    """TLS with upstreams."""

    def test_each_host_speaks_tls_with_its_upstream_in_its_own_way(self) -> None:
        """Another certificate is another connection, though upstream and name are the same; what does not verify is a 525."""
        need("nginx")
        self.certificate("upstream", "upstream.test")
        for name in ("red", "blue"):
            self.certificate(name, name, client=True)
        for path in (self.directory, *self.directory.iterdir()):
            path.chmod(0o755)
        to, port = free_port(), free_port()
        block = f"""
            server {{
                listen 127.0.0.1:{to} ssl;
                ssl_certificate {self.directory}/upstream.pem;
                ssl_certificate_key {self.directory}/upstream-key.pem;
                ssl_client_certificate {self.directory}/ca.pem;
                ssl_verify_client on;
                return 200 "$ssl_client_s_dn $ssl_server_name $http_host";
            }}
        """
        nginx = start_nginx(self.directory, block, to)
        self.addCleanup(nginx.kill)
        server = f"\n  - name: web\n    type: http_reverse_proxy\n    listen: 127.0.0.1:{port}\n    escaper: e\n    sites:\n"
        for name in ("red", "blue"):
            pair = f"{{certificate: {name}.pem, private_key: {name}-key.pem}}"
            server += f"      - {{exact_match: {name}.test, upstream: '127.0.0.1:{to}', tls_name: upstream.test, "
            server += f"tls_client: {{ca_certificate: ca.pem, cert_pair: {pair}}}}}\n"
        server += f"      - {{set_default: true, upstream: '127.0.0.1:{to}', tls_client: {{ca_certificate: ca.pem}}}}\n"
        self.serve(server, port)
        with RawClient(port) as client:
            for name in ("red", "blue", "red", "red"):
                answer = client.ask(f"GET / HTTP/1.1\r\nHost: {name}.test\r\n\r\n".encode())
                self.assertEqual(answer.body, f"CN={name} upstream.test {name}.test".encode())
            self.assertEqual(client.ask(b"GET / HTTP/1.1\r\nHost: else.test\r\n\r\n").status, 525)
        self.assertEqual([record["reuse_connection"] for record in self.tasks(5)], ["false", "false", "false", "true", "false"])
