# SPDX-License-Identifier: Apache-2.0
"""The end of a daemon: whoever was let in is served, who comes later is refused."""

from __future__ import annotations

import contextlib
import signal
import socket
import time
from typing import TYPE_CHECKING

from tests.functional.certificates import Authority, pem
from tests.functional.h2client import H2Client
from tests.functional.processes import free_port
from tests.functional.rawhttp import RawClient
from tests.functional.slow_link import SlowClient
from tests.functional.stage import StageTestCase
from tests.functional.test_upgrade import UpgradeCase
from tests.functional.test_workers import get, wait_for
from tests.functional.traffic import Traffic

if TYPE_CHECKING:
    from tests.functional.harness import Daemon

MORE = """
  - {{name: socks, type: socks_proxy, listen: "127.0.0.1:{socks}", escaper: out}}
  - {{name: port, type: plain_tcp_port, listen: "127.0.0.1:{port}", server: web, proxy_protocol: 1}}
  - name: two
    type: http_proxy
    listen: 127.0.0.1:{two}
    escaper: out
    enable_http2: true
    tls_server: {{cert_pairs: {{certificate: server.pem, private_key: server-key.pem}}}}
"""
NEAR, PORT = "198.51.100.1", 3128
SLOW = """
runtime: {{thread_number: {number}, server_offline_delay: 0.1, task_wait_delay: 0.1, task_wait_timeout: 20}}
resolver:
  - {{name: names, type: deny_all}}
escaper:
  - {{name: out, type: direct_fixed, resolver: names}}
server:
  - {{name: web, type: http_proxy, listen: "0.0.0.0:{port}", escaper: out}}
"""
#: Answered by the proxy itself: no rule lets anybody to loopback.
ASK = b"GET http://127.0.0.1/ HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n\r\n"


class LoadTests(UpgradeCase):
    """Of the daemon, while clients come and go."""

    number = 2

    def test_who_was_let_in_is_served(self) -> None:
        """Everybody who comes later is refused; nobody is reset, or gets less than all."""
        daemon = self.daemon()
        self.waits_for(daemon, "is ready")
        with Traffic(self.port, rate=400, kept=0) as traffic:
            traffic.more(100)
            self.assertEqual(traffic.failed, {})
            daemon.send_signal(signal.SIGTERM)
            wait_for(lambda: traffic.failed, "somebody is refused")
        self.assertEqual(set(traffic.failed), {"fresh refused"})
        self.assertEqual(daemon.wait(), 0)


class LastCallTests(UpgradeCase):
    """Clients that have not said what they want when the last listener closes. All that they have is a connection."""

    def setUp(self) -> None:
        super().setUp()
        self.socks, self.before, self.two = (free_port() for _ in range(3))
        authority = Authority()
        (self.directory / "ca.pem").write_bytes(pem(authority.certificate))
        certificate, key = authority.issue("g3proxy.local")
        (self.directory / "server.pem").write_bytes(certificate)
        (self.directory / "server-key.pem").write_bytes(key)

    def served(self) -> None:
        """Everybody has his moment, half a second after the end began, and is served as ever."""
        daemon = self.daemon(self.config() + MORE.format(socks=self.socks, port=self.before, two=self.two))
        with contextlib.ExitStack() as stack:
            silent, half, announced = (stack.enter_context(RawClient(port)) for port in (self.port, self.port, self.before))
            half.send(b"GET http://127.0.0.1:%d/ HT" % self.origin.server_port)
            socks = stack.enter_context(socket.create_connection(("127.0.0.1", self.socks), 10))
            socks.sendall(b"\5\1\0")
            self.assertEqual(socks.recv(2), b"\5\0")
            two = stack.enter_context(contextlib.closing(H2Client(self.two, self.directory / "ca.pem")))
            daemon.send_signal(signal.SIGTERM)
            for port in (self.port, self.socks, self.before, self.two):
                wait_for(lambda port=port: not self.listens(port), "the ports are closed")
            time.sleep(0.5)
            ask = get(self.origin.server_port, "/")
            self.assertEqual(silent.ask(ask).body, b"hello")
            half.send(b"TP/1.1\r\nHost: 127.0.0.1\r\n\r\n")
            self.assertEqual(half.answer().body, b"hello")
            announced.send(b"PROXY TCP4 192.0.2.1 192.0.2.2 1000 80\r\n")
            self.assertEqual(announced.ask(ask).body, b"hello")
            stream = two.wait(two.request("GET", f"http://127.0.0.1:{self.origin.server_port}/"))
            self.assertEqual((stream.status, stream.body), (200, b"hello"))
            socks.sendall(b"\5\1\0\1\x7f\0\0\1" + self.origin.server_port.to_bytes(2, "big"))
            self.assertEqual(socks.recv(10)[:2], b"\5\0")
            socks.sendall(b"GET / HTTP/1.0\r\n\r\n")
            self.assertTrue(_all_of(socks).endswith(b"hello"))
        self.assertEqual(daemon.wait(10), 0)
        daemon.check_log()

    def listens(self, port: int) -> bool:
        """Whether somebody can connect; one that came too late to be refused or let in is asked again."""
        with contextlib.closing(socket.socket()) as probe:
            probe.settimeout(0.1)
            try:
                return probe.connect_ex(("127.0.0.1", port)) != 111
            except TimeoutError:
                return True

    def test_one_process(self) -> None:
        self.served()

    def test_workers(self) -> None:
        self.number = 2
        self.served()

    def test_who_says_nothing_is_not_waited_for_long(self) -> None:
        """Two seconds after the ports closed, whatever tasks, TLS handshakes or PROXY protocol headers may have."""
        more = MORE.replace("proxy_protocol: 1", "proxy_protocol: 1, proxy_protocol_read_timeout: 60")
        daemon = self.daemon(self.config() + more.format(socks=self.socks, port=self.before, two=self.two))
        with contextlib.ExitStack() as stack:
            silent = [stack.enter_context(RawClient(port)) for port in (self.port, self.socks, self.before, self.two)]
            began = time.monotonic()
            daemon.send_signal(signal.SIGTERM)
            self.assertEqual(daemon.wait(10), 0)
            self.assertTrue(2 < time.monotonic() - began < 6, time.monotonic() - began)
            for client in silent:
                self.assertTrue(client.ended())
        daemon.check_log()

    def test_whoever_orders_the_last_task_to_end_has_an_answer(self) -> None:
        """Also when the daemon ends by that."""
        daemon = self.daemon()
        with RawClient(self.port) as client:
            other = self.origin.server_port
            self.assertEqual(client.ask(b"CONNECT 127.0.0.1:%d HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n" % other, "CONNECT").status, 200)
            daemon.send_signal(signal.SIGTERM)
            self.waits_for(daemon, "no new clients")
            wait_for(lambda: not self.listens(self.port), "the port is closed")
            time.sleep(0.2)
            done = daemon.ctl("force-quit-all")
            self.assertEqual((done.returncode, done.stdout), (0, "notice: success\n"), done.stderr)
            self.assertEqual(daemon.wait(10), 0)

    def test_at_once_is_at_once(self) -> None:
        """SIGINT waits for nobody. However often it comes, it is the same end."""
        daemon = self.daemon()
        with RawClient(self.port) as silent:
            began = time.monotonic()
            while daemon.process.poll() is None:
                daemon.send_signal(signal.SIGINT)
                self.assertLess(time.monotonic() - began, 1.5)
                time.sleep(0.001)
            self.assertEqual(daemon.wait(), 0)
            self.assertTrue(silent.ended())


class SlowLinkTests(StageTestCase):
    """A client whose SYN came before the end began, and the rest of whose handshake comes a third of a second later."""

    def begun(self, daemon: Daemon, port: int) -> SlowClient:
        wait_for(lambda: "is ready" in daemon.output(), "it serves")
        client = SlowClient(self.namespace, port, near=NEAR)
        self.addCleanup(client.close)
        client.begin()
        return client

    def served(self, number: int) -> None:
        daemon = self.start_daemon(SLOW.format(number=number, port=PORT), namespace=self.namespace)
        client = self.begun(daemon, PORT)
        daemon.send_signal(signal.SIGTERM)
        wait_for(lambda: "no new clients" in daemon.output(), "it is about to end")
        time.sleep(0.3)
        client.finish()
        time.sleep(0.3)
        client.say(ASK)
        client.listen()
        self.assertEqual((client.data[:12], client.was_reset, client.ended), (b"HTTP/1.1 403", False, True))
        self.assertEqual(daemon.wait(10), 0)
        daemon.check_log()

    def test_one_process(self) -> None:
        self.served(0)

    def test_workers(self) -> None:
        self.served(2)

    def test_a_reload_that_drops_the_port(self) -> None:
        """The same of a server that goes."""
        text = SLOW.format(number=2, port=PORT)
        goes = f'  - {{name: goes, type: http_proxy, listen: "0.0.0.0:{PORT + 1}", escaper: out}}\n'
        daemon = self.start_daemon(text + goes, namespace=self.namespace)
        client = self.begun(daemon, PORT + 1)
        self.write("g3proxy.yaml", text)
        daemon.send_signal(signal.SIGHUP)
        wait_for(lambda: "reloading" in daemon.output(), "it has begun")
        time.sleep(0.3)
        client.finish()
        client.say(ASK)
        client.listen()
        self.assertEqual((client.data[:12], client.was_reset, client.ended), (b"HTTP/1.1 403", False, True))
        wait_for(lambda: "reloaded: " in daemon.output(), "it is done")


def _all_of(sock: socket.socket) -> bytes:
    data = b""
    while piece := sock.recv(4096):
        data += piece
    return data
