# SPDX-License-Identifier: Apache-2.0
"""direct_fixed in a running daemon: which of a name's addresses are tried, which are never, and from where."""

from __future__ import annotations

import contextlib
import socket
import threading
import time
from typing import TYPE_CHECKING

from tests.functional.leftover import WITNESS, holdings, wait_until_as_before
from tests.functional.peers import start_dnsmasq, start_nginx
from tests.functional.rawhttp import RawClient
from tests.functional.stage import StageTestCase

if TYPE_CHECKING:
    from tests.functional.rawhttp import Answer

CONFIG = """
runtime: {thread_number: 0}
log: discard
resolver:
  - {name: dns, type: c_ares, server: 127.0.0.1}
escaper:
  - &direct
    name: direct
    type: direct_fixed
    resolver: dns
    resolve_strategy: Ipv6First
    egress_network_filter: {default: allow, allow: ["127.0.0.1", "::1"]}
    resolve_redirection:
      - {exact: both.test, to: ["127.0.0.1", "::1"]}
      - {exact: half.test, to: ["127.0.0.2", "::1"]}
      - {parent: old.test, to: new.test}
  - {name: witness, type: witness}
  - {<<: *direct, name: narrow, bind_ip: 127.0.0.1}
  - {<<: *direct, name: v1, use_proxy_protocol: 1}
  - {<<: *direct, name: v2, use_proxy_protocol: 2}
server:
"""
SERVER = """
  - {{name: {name}, type: http_proxy, listen: "127.0.0.1:{port}", escaper: {name}, server_id: id, task_idle_check_interval: 2s}}
"""
OK = b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"


class DirectFixedTests(StageTestCase):
    """One daemon in a namespace, one server for each escaper."""

    def setUp(self) -> None:
        super().setUp()
        names = {"bad.test": "127.0.0.2", "mapped.test": "::ffff:127.0.0.2", "a.new.test": "127.0.0.1"}
        self.keep(start_dnsmasq(self.namespace, self.directory, **names))
        self.ports = {"direct": 8000, "narrow": 8001, "v1": 8002, "v2": 8003}
        config = CONFIG + "".join(SERVER.format(name=name, port=port) for name, port in self.ports.items())
        self.daemon = self.start_daemon(config, ports=list(self.ports.values()), namespace=self.namespace, packages=[WITNESS])
        self.addCleanup(wait_until_as_before, self.daemon, holdings(self.daemon))
        self.accepted: list[str] = []

    def listen(self, host: str, port: int, backlog: int = 16) -> socket.socket:
        listener = self.namespace.socket(socket.AF_INET6 if ":" in host else socket.AF_INET)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((host, port))
        listener.listen(backlog)
        self.addCleanup(listener.close)
        return listener

    def origin(self, host: str, port: int) -> None:
        """An origin that serves one request on each connection and keeps it open."""
        listener = self.listen(host, port)

        def serve() -> None:
            with contextlib.suppress(OSError):
                while True:
                    connection, _ = listener.accept()
                    self.addCleanup(connection.close)
                    self.accepted.append(host)
                    if connection.recv(1 << 16):
                        connection.sendall(OK)

        threading.Thread(target=serve, daemon=True).start()
        self.addCleanup(listener.shutdown, socket.SHUT_RDWR)

    def silent(self, host: str, port: int) -> None:
        """A host that answers no handshake."""
        self.listen(host, port, 0)
        for _ in range(2):
            waiting = self.namespace.socket(socket.AF_INET6 if ":" in host else socket.AF_INET)
            waiting.setblocking(False)
            waiting.connect_ex((host, port))
            self.addCleanup(waiting.close)

    def ask(self, server: str, request: str) -> Answer:
        with RawClient(0, sock=self.namespace.connect(("127.0.0.1", self.ports[server]), 20)) as client:
            return client.ask(request.encode(), request.partition(" ")[0])

    def get(self, host: str, port: int, server: str = "direct") -> Answer:
        return self.ask(server, f"GET http://{host}:{port}/ HTTP/1.1\r\nHost: x\r\n\r\n")

    def test_a_dead_family_costs_a_moment(self) -> None:
        """The preferred address is silent: the other family is tried after a quarter of a second, for a tunnel as for a request."""
        self.silent("::1", 9001)
        self.origin("127.0.0.1", 9001)
        for request in ("GET http://both.test:9001/ HTTP/1.1", "CONNECT both.test:9001 HTTP/1.1"):
            spent = []
            for _ in range(8):
                began = time.monotonic()
                answer = self.ask("direct", f"{request}\r\nHost: x\r\n\r\n")
                spent.append(time.monotonic() - began)
                self.assertEqual(answer.status, 200)
                self.assertIn("remote=127.0.0.1:9001", answer.headers["X-BD-Remote-Connection-Info"])
                if spent[-1] < 0.35:
                    break
            # Whatever else the machine does: once it was as quick as it is.
            self.assertTrue(0.2 < min(spent) < 0.35, spent)

    def test_the_preferred_family_is_taken_where_it_answers(self) -> None:
        self.origin("::1", 9001)
        self.origin("127.0.0.1", 9001)
        for _ in range(5):
            self.assertIn("remote=[::1]:9001", self.get("both.test", 9001).headers["X-BD-Remote-Connection-Info"])

    def test_forbidden_addresses_are_reached_by_no_name_and_no_spelling(self) -> None:
        """Names, an AAAA record that is an IPv4 address, and literals in IPv6's clothes; the allowed half of a name does not open the other."""
        self.origin("127.0.0.2", 9001)
        self.origin("127.0.0.1", 9002)
        for host in ("bad.test", "mapped.test", "half.test", "127.0.0.2", "[::ffff:127.0.0.2]", "[::ffff:7f00:2]"):
            self.assertEqual(self.get(host, 9001).status, 403, host)
            self.assertEqual(self.ask("direct", f"CONNECT {host}:9001 HTTP/1.1\r\nHost: x\r\n\r\n").status, 403, host)
        self.assertEqual(self.get("[::ffff:127.0.0.1]", 9002).status, 200)
        self.assertEqual(self.get("a.old.test", 9002).status, 200, "a redirected parent")
        self.assertEqual(self.accepted, ["127.0.0.1", "127.0.0.1"])

    def test_an_origin_behind_proxy_protocol_hears_who_the_client_is(self) -> None:
        """nginx reads both versions, for each connection once however many requests follow, and in a tunnel."""
        said = "$proxy_protocol_addr:$proxy_protocol_port $connection_requests"
        servers = f'server {{ listen 127.0.0.1:9001 proxy_protocol; location / {{ return 200 "{said}"; }} }}'
        self.keep(start_nginx(self.directory, servers, 9001, namespace=self.namespace))
        for name in ("v1", "v2"):
            with RawClient(0, sock=self.namespace.connect(("127.0.0.1", self.ports[name]))) as client:
                me = f"127.0.0.1:{client.sock.getsockname()[1]}"
                for number in (1, 2):
                    self.assertEqual(client.ask(b"GET http://127.0.0.1:9001/ HTTP/1.1\r\nHost: x\r\n\r\n").body.decode(), f"{me} {number}")
                self.assertEqual(client.ask(b"CONNECT 127.0.0.1:9001 HTTP/1.1\r\nHost: x\r\n\r\n", "CONNECT").status, 200)
                self.assertEqual(client.ask(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n").body.decode(), f"{me} 1")

    def test_no_local_port_left(self) -> None:
        """One port to connect from, and it is taken: a 502; given back it serves again."""
        self.origin("127.0.0.1", 9001)
        self.namespace.run("sysctl", "-w", "net.ipv4.ip_local_port_range=40000 40000")
        with RawClient(0, sock=self.connect_from(41000)) as first:
            self.assertEqual(first.ask(b"CONNECT 127.0.0.1:9001 HTTP/1.1\r\nHost: x\r\n\r\n", "CONNECT").status, 200)
            with RawClient(0, sock=self.connect_from(41001)) as second:
                for request in (b"GET http://127.0.0.1:9001/ HTTP/1.1\r\nHost: x\r\n\r\n", b"CONNECT 127.0.0.1:9001 HTTP/1.1\r\nHost: x\r\n\r\n"):
                    self.assertEqual(second.ask(request).status, 502)

    def connect_from(self, port: int) -> socket.socket:
        """A client of the server narrow from a port of its own choice."""
        connection = self.namespace.socket()
        connection.settimeout(20)
        connection.bind(("127.0.0.1", port))
        connection.connect(("127.0.0.1", self.ports["narrow"]))
        return connection
