# SPDX-License-Identifier: Apache-2.0
"""What the clients of an http_proxy are told for every way in which an upstream, a name or a next proxy can fail, each made to happen."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import struct
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING

from tests.functional.peers import start_dnsmasq
from tests.functional.rawhttp import RawClient
from tests.functional.stage import StageTestCase

if TYPE_CHECKING:
    from collections.abc import Callable

CONFIG = """
runtime: {thread_number: 0}
log: discard
resolver:
  - {name: dns, type: c_ares, server: 127.0.0.1}
  - {name: none, type: deny_all}
escaper:
  - &direct
    name: direct
    type: direct_fixed
    resolver: dns
    no_ipv6: true
    resolve_redirection: {elsewhere.test: ["2001:db8::1"]}
    egress_network_filter: {default: allow, allow: 127.0.0.1}
  - {<<: *direct, name: hasty, tcp_connect: {max_retry: 0, each_timeout: 1s}}
  - {<<: *direct, name: nameless, resolver: none}
  - {name: next, type: proxy_http, proxy_addr: "127.0.0.1:9000", peer_negotiation_timeout: 1s}
  - {name: closed, type: proxy_http, proxy_addr: "127.0.0.1:9009"}
  - {name: lost, type: proxy_http, proxy_addr: "nx.test:9009", resolver: dns}
server:
"""
SERVER = """
  - name: {name}
    type: http_proxy
    listen: 127.0.0.1:{port}
    escaper: {name}
    rsp_header_recv_timeout: 2s
    tls_client: {{handshake_timeout: 1s}}
"""
ESCAPERS = ("direct", "hasty", "nameless", "next", "closed", "lost")


class StatusTests(StageTestCase):
    """One daemon in a namespace with no way out; one server for each escaper."""

    def setUp(self) -> None:
        super().setUp()
        self.keep(start_dnsmasq(self.namespace, self.directory, **{"nx.test": "", "here.test": "127.0.0.1"}))
        self.namespace.run("sysctl", "-w", "net.ipv4.tcp_syn_retries=1")
        self.ports = {name: 8000 + number for number, name in enumerate(ESCAPERS)}
        config = CONFIG + "".join(SERVER.format(name=name, port=port) for name, port in self.ports.items())
        self.daemon = self.start_daemon(config, ports=list(self.ports.values()), namespace=self.namespace)

    def listen(self, port: int, serve: Callable[[socket.socket], object] | None, backlog: int = 16) -> None:
        """Something inside that does C{serve} with each connection; None: never accept any."""
        listener = self.namespace.socket()
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(("127.0.0.1", port))
        listener.listen(backlog)
        self.addCleanup(listener.close)

        def accept() -> None:
            while True:
                try:
                    connection, _ = listener.accept()
                except OSError:
                    return
                with connection, contextlib.suppress(OSError):
                    assert serve is not None
                    serve(connection)

        if serve is not None:
            threading.Thread(target=accept, daemon=True).start()
            self.addCleanup(listener.shutdown, socket.SHUT_RDWR)

    def ask(self, server: str, request: str) -> tuple[int, bool]:
        """The status of the answer, and whether the connection serves another request."""
        with RawClient(0, sock=self.namespace.connect(("127.0.0.1", self.ports[server]))) as client:
            answer = client.ask(request.encode())
            self.assertEqual(int(answer.headers["Content-Length"]), len(answer.body))
            self.assertIn(str(answer.status).encode(), answer.body)
            kept = (answer.headers["Connection"] or "").lower() != "close"
            if kept:
                self.assertIn(client.ask(request.encode()).status, {answer.status})
            else:
                self.assertTrue(client.ended())
            return answer.status, kept

    def both(self, server: str, host: str, port: int, status: int, kept: bool = True) -> None:
        """Forward and CONNECT."""
        for request in (f"GET http://{host}:{port}/ HTTP/1.1\r\nHost: {host}\r\n\r\n", f"CONNECT {host}:{port} HTTP/1.1\r\nHost: {host}\r\n\r\n"):
            self.assertEqual(self.ask(server, request), (status, kept), (server, request))

    def test_names_and_addresses(self) -> None:
        """Refused, unreachable, no such name, no resolver, a forbidden family, a forbidden address."""
        self.both("direct", "127.0.0.1", 9, 521)
        self.both("direct", "here.test", 9, 521)
        self.both("direct", "198.51.100.1", 80, 523)
        self.both("direct", "nx.test", 80, 530)
        self.both("direct", "unknown.test", 80, 530)
        self.both("nameless", "here.test", 80, 530)
        self.both("direct", "elsewhere.test", 80, 502)  # all it leads to is of a family that is not used
        self.both("direct", "[2001:db8::1]", 80, 403)
        self.both("direct", "127.0.0.2", 80, 403)

    def test_a_reset_while_connecting(self) -> None:
        """Between the last packet of the handshake and our look at it: the daemon is stopped for so long."""
        listener = self.namespace.socket()
        self.addCleanup(listener.close)
        listener.bind(("127.0.0.1", 9001))
        listener.listen(0)
        listener.settimeout(20)
        filler = self.namespace.connect(("127.0.0.1", 9001))
        self.addCleanup(filler.close)
        for request in (b"GET http://127.0.0.1:9001/ HTTP/1.1\r\nHost: x\r\n\r\n", b"CONNECT 127.0.0.1:9001 HTTP/1.1\r\nHost: x\r\n\r\n"):
            with RawClient(0, sock=self.namespace.connect(("127.0.0.1", self.ports["direct"]), 20)) as client:
                client.send(request)
                self.daemon.wait_until(lambda: self.connecting_to(9001), "its connect is under way")
                os.kill(self.daemon.pid, signal.SIGSTOP)
                try:
                    listener.accept()[0].close()  # makes room for the one that knocks
                    reset, _ = listener.accept()
                    reset.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                    reset.close()
                    filler = self.namespace.connect(("127.0.0.1", 9001))
                    self.addCleanup(filler.close)
                finally:
                    os.kill(self.daemon.pid, signal.SIGCONT)
                self.assertEqual(client.answer().status, 521)

    def connecting_to(self, port: int) -> bool:
        """Whether a handshake with 127.0.0.1 is half done."""
        return f" 0100007F:{port:04X} 02 " in Path(f"/proc/{self.namespace.pid}/net/tcp").read_text()

    def test_time(self) -> None:
        """The rule's time is a 504, the operating system's a 522."""
        self.listen(9001, None, backlog=0)
        for _ in range(2):
            waiting = self.namespace.socket()
            waiting.setblocking(False)
            waiting.connect_ex(("127.0.0.1", 9001))
            self.addCleanup(waiting.close)
        time.sleep(0.1)
        forward = "GET http://127.0.0.1:9001/ HTTP/1.1\r\nHost: x\r\n\r\n"
        self.assertEqual(self.ask("hasty", forward), (504, True))
        with RawClient(0, sock=self.namespace.connect(("127.0.0.1", self.ports["direct"]), 20)) as client:
            self.assertEqual(client.ask(forward.encode()).status, 522)

    def test_tls_with_the_origin(self) -> None:
        """No TLS there, silence there, and nobody there."""
        self.listen(9002, lambda connection: connection.sendall(b"HTTP/1.1 400 Bad Request\r\n\r\n"))
        self.listen(9003, lambda connection: connection.recv(1 << 16) and time.sleep(3))
        for port, status in ((9002, 525), (9003, 525), (9, 521)):
            self.assertEqual(self.ask("direct", f"GET https://127.0.0.1:{port}/ HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n"), (status, True), port)

    def test_an_origin_that_says_nothing_or_nonsense(self) -> None:
        answers = {9010: b"", 9011: b"nonsense\r\n\r\n", 9012: b"HTTP/1.1 200 OK\r\nContent-Length: x\r\n\r\n"}
        for port, words in answers.items():
            self.listen(port, lambda connection, words=words: connection.recv(1 << 16) and connection.sendall(words))
            self.assertEqual(self.ask("direct", f"GET http://127.0.0.1:{port}/ HTTP/1.1\r\nHost: x\r\n\r\n"), (502, False))
        self.listen(9013, lambda connection: connection.recv(1 << 16) and time.sleep(4))
        self.assertEqual(self.ask("direct", "GET http://127.0.0.1:9013/ HTTP/1.1\r\nHost: x\r\n\r\n"), (504, False))

    def test_a_next_proxy_that_is_not_there(self) -> None:
        self.both("closed", "a.test", 80, 521)
        self.both("lost", "a.test", 80, 530)

    def test_a_next_proxy_that_says_no(self) -> None:
        """Its refusals, its timeouts, and what is no answer to CONNECT; to a forwarded request its answer is the answer."""
        cases = [
            (b"HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\n\r\n", 502, False),
            (b"HTTP/1.1 407 Proxy Authentication Required\r\nContent-Length: 0\r\n\r\n", 502, False),
            (b"HTTP/1.1 504 Gateway Timeout\r\nContent-Length: 0\r\n\r\n", 504, True),
            (b"HTTP/1.1 522 Connection Timed Out\r\nContent-Length: 0\r\n\r\n", 504, True),
            (b"SSH-2.0-nonsense\r\n\r\n", 502, False),
            (b"", 502, False),
            (b"HTTP/1.1 200 OK\r\nX: " + b"x" * 5000 + b"\r\n\r\n", 502, False),
            (None, 504, True),
        ]
        words: list[bytes | None] = [b""]

        def serve(connection: socket.socket) -> None:
            connection.settimeout(3)
            if connection.recv(1 << 16) and words[0] is not None:
                connection.sendall(words[0])
            else:
                connection.recv(1)

        self.listen(9000, serve)
        for answer, status, kept in cases:
            words[0] = answer
            self.assertEqual(self.ask("next", "CONNECT a.test:443 HTTP/1.1\r\nHost: a.test\r\n\r\n"), (status, kept), answer)
            if answer is not None:
                self.assertEqual(self.ask("next", "GET https://a.test/ HTTP/1.1\r\nHost: a.test\r\n\r\n"), (status, kept), answer)
        words[0] = b"HTTP/1.1 403 Forbidden\r\nContent-Length: 3\r\nConnection: close\r\n\r\n403"
        self.assertEqual(self.ask("next", "GET http://a.test/ HTTP/1.1\r\nHost: a.test\r\n\r\n"), (403, True))
        words[0] = b""
        self.assertEqual(self.ask("next", "GET http://a.test/ HTTP/1.1\r\nHost: a.test\r\n\r\n"), (502, False))
