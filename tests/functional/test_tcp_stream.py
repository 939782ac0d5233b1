# SPDX-License-Identifier: Apache-2.0
"""tcp_stream: where connections go, what passes, and what is told of each."""

from __future__ import annotations

import os
import socket
import ssl
import time

from g3.testing.escapers import silent_upstream
from tests.functional.observed import ObservedCase
from tests.functional.peers import RecordingOrigin, start_nginx
from tests.functional.processes import free_port
from tests.functional.rawhttp import RawClient
from tests.functional.streams import DigestUpstream, digest, exchange

SERVER = """
  - name: stream
    type: tcp_stream
    listen: 127.0.0.1:{port}
    escaper: {escaper}
    upstream: {upstream}
    task_idle_check_interval: 2s
    {more}
"""


class TCPStreamCase(ObservedCase):
    """One tcp_stream."""

    def setUp(self) -> None:
        super().setUp()
        self.port = free_port()

    def start(self, upstream: object, more: str = "", escaper: str = "e", after: str = "") -> None:
        self.serve(SERVER.format(port=self.port, upstream=upstream, more=more, escaper=escaper) + after, self.port)

    def upstream(self, hello: bytes = b"") -> DigestUpstream:
        upstream = DigestUpstream(hello)
        self.addCleanup(upstream.close)
        return upstream

    def connect(self, source: str = "127.0.0.1") -> socket.socket:
        sock = socket.create_connection(("127.0.0.1", self.port), 10, source_address=(source, 0))
        self.addCleanup(sock.close)
        return sock


class RelayTests(TCPStreamCase):
    """What passes, and the record of it."""

    def test_bytes_pass_and_so_does_each_end(self) -> None:
        """5 MB up; the client ends its direction and still gets the answer; the record has the bytes and who ended first."""
        upstream = self.upstream(b"hello ")
        self.start(f"127.0.0.1:{upstream.port}", "flush_task_log_on_created: true\n    flush_task_log_on_connected: true")
        data = os.urandom(5_000_000)
        sock = self.connect()
        mine = sock.getsockname()
        self.assertEqual(exchange(sock, data), b"hello " + digest(data))
        records = self.tasks(4)
        self.assertEqual([record["task_event"] for record in records], ["Created", "Connected", "ClientShutdown", "Finished"])
        last = records[-1]
        expected = {
            "server_type": "TcpStream",
            "server_name": "stream",
            "task_type": "TcpConnect",
            "stage": "Relaying",
            "escaper": "e",
            "client_addr": f"127.0.0.1:{mine[1]}",
            "server_addr": f"127.0.0.1:{self.port}",
            "upstream": f"127.0.0.1:{upstream.port}",
            "next_peer_addr": f"127.0.0.1:{upstream.port}",
            "tcp_connect_tries": "1",
            "reason": "ClosedByClient",
            "c_rd_bytes": "5000000",
            "r_wr_bytes": "5000000",
            "c_wr_bytes": "70",
            "r_rd_bytes": "70",
        }
        self.assertEqual({key: last.get(key) for key in expected}, expected)
        self.assertEqual(self.counted("server.task.total", "server:stream"), 1)
        self.assertEqual(self.counted("server.traffic.in.bytes", "server:stream", least=5_000_000), 5_000_000)

    def test_the_upstream_may_speak_first(self) -> None:
        """The client says nothing."""
        upstream = self.upstream(b"220 ready\r\n")
        self.start(f"127.0.0.1:{upstream.port}")
        self.assertEqual(self.connect().recv(100), b"220 ready\r\n")

    def test_an_upstream_that_refuses_closes_the_client(self) -> None:
        """The reason is in the record."""
        self.start(f"127.0.0.1:{free_port()}")
        self.assertEqual(self.connect().recv(1), b"")
        record = self.finished()
        self.assertEqual((record["reason"], record["stage"]), ("UpstreamNotConnected", "Connecting"))

    def test_an_escaper_that_is_missing_closes_the_client(self) -> None:
        """dummy_deny stands in."""
        self.start("127.0.0.1:9", escaper="missing")
        self.assertEqual(self.connect().recv(1), b"")
        self.assertEqual(self.finished()["reason"], "ForbiddenByRule")

    def test_a_client_that_leaves_while_it_connects_is_noticed(self) -> None:
        """Not only when the connect has timed out."""
        silent, filling = silent_upstream()
        self.addCleanup(lambda: [each.close() for each in (silent, *filling)])
        self.start(f"127.0.0.1:{silent.getsockname()[1]}")
        sock = self.connect()
        sock.send(b"early")
        time.sleep(0.3)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
        sock.close()
        self.assertEqual(self.finished(5)["reason"], "ClosedByClient")

    def test_a_tunnel_without_traffic_ends(self) -> None:
        """task_idle_max_count checks without a byte."""
        upstream = self.upstream()
        self.start(f"127.0.0.1:{upstream.port}", "task_idle_max_count: 1")
        started = time.monotonic()
        self.assertEqual(self.connect().recv(1), b"")
        self.assertTrue(1.5 < time.monotonic() - started < 8)
        self.assertEqual(self.finished()["reason"], "Idle")

    def test_running_tunnels_are_logged_periodically(self) -> None:
        """task_log_flush_interval."""
        upstream = self.upstream()
        self.start(f"127.0.0.1:{upstream.port}", "task_log_flush_interval: 1s")
        sock = self.connect()
        sock.send(b"12345")
        records = self.tasks(2)
        self.assertEqual([record["task_event"] for record in records[:2]], ["Periodic", "Periodic"])
        self.assertEqual(records[1]["c_rd_bytes"], "5")

    def test_a_speed_limit_holds(self) -> None:
        """tcp_sock_speed_limit 500K, both ways: 1.5 MB take about three seconds."""
        upstream = self.upstream()
        self.start(f"127.0.0.1:{upstream.port}", "tcp_sock_speed_limit: 500K")
        started = time.monotonic()
        self.assertEqual(exchange(self.connect(), b"c" * 1_500_000), digest(b"c" * 1_500_000))
        self.assertTrue(1.8 < time.monotonic() - started < 6, time.monotonic() - started)

    def test_a_port_hands_its_clients_on(self) -> None:
        """With the address its PROXY protocol header names."""
        upstream = self.upstream()
        port = free_port()
        front = f"  - {{name: port, type: plain_tcp_port, listen: '127.0.0.1:{port}', server: stream, proxy_protocol: 1}}\n"
        self.start(f"127.0.0.1:{upstream.port}", after=front)
        with socket.create_connection(("127.0.0.1", port), 10) as sock:
            got = exchange(sock, b"PROXY TCP4 203.0.113.7 198.51.100.9 4711 3128\r\nafter it")
        self.assertEqual(got, digest(b"after it"))
        record = self.finished()
        self.assertEqual((record["client_addr"], record["c_rd_bytes"]), ("203.0.113.7:4711", "8"))

    def test_ingress_rules_come_first(self) -> None:
        """A client that may not come in costs no task."""
        upstream = self.upstream()
        port = free_port()
        front = f"  - {{name: port, type: plain_tcp_port, listen: '127.0.0.1:{port}', server: stream, proxy_protocol: 1}}\n"
        self.start(f"127.0.0.1:{upstream.port}", "ingress_network_filter: 192.0.2.0/24", after=front)
        with RawClient(port) as client:
            client.send(b"PROXY TCP4 203.0.113.7 198.51.100.9 4711 3128\r\nafter it")
            self.assertTrue(client.ended())
        self.assertEqual(self.counted("listen.dropped", "server:stream"), 1)
        self.assertEqual((upstream.connections, self.total("server.task.total", "server:stream")), (0, 0))


class PickTests(TCPStreamCase):
    """Several upstreams."""

    def picks(self, policy: str, clients: list[str], weights: tuple[float, float] = (1, 1)) -> str:
        """Which upstream, a or b, each client from such an address gets."""
        upstreams = [self.upstream(b"a"), self.upstream(b"b")]
        listed = ", ".join(f"{{addr: '127.0.0.1:{upstream.port}', weight: {weight}}}" for upstream, weight in zip(upstreams, weights, strict=True))
        self.port = free_port()
        self.start(f"[{listed}]", f"upstream_pick_policy: {policy}")
        got = b""
        for client in clients:
            with self.connect(client) as sock:
                got += sock.recv(1)
        return got.decode()

    def test_round_robin_takes_turns(self) -> None:
        """Whatever the weights."""
        self.assertIn(self.picks("rr", ["127.0.0.1"] * 6, (5, 1)), ("ababab", "bababa"))

    def test_serial_takes_the_heaviest(self) -> None:
        """Always."""
        self.assertEqual(self.picks("serial", ["127.0.0.1"] * 4, (1, 2)), "bbbb")

    def test_random_goes_by_weight(self) -> None:
        """Weight 0 gets nothing, and equal weights each something."""
        self.assertEqual(self.picks("random", ["127.0.0.1"] * 20, (1, 0)), "a" * 20)
        self.assertEqual(set(self.picks("random", ["127.0.0.1"] * 40)), {"a", "b"})

    def test_policies_that_hash_keep_a_client_where_it_is(self) -> None:
        """And spread clients."""
        clients = [f"127.0.0.{number}" for number in range(2, 34)]
        for policy in ("ketama", "rendezvous", "jump_hash"):
            picked = self.picks(policy, clients * 2)
            self.assertEqual(picked[:32], picked[32:], policy)
            self.assertEqual(set(picked), {"a", "b"}, policy)


NGINX = """
server {{
    listen 127.0.0.1:{port} ssl;
    ssl_certificate {directory}/upstream.pem;
    ssl_certificate_key {directory}/upstream-key.pem;
    ssl_client_certificate {directory}/ca.pem;
    ssl_verify_client optional;
    return 200 "$ssl_server_name $ssl_client_verify $ssl_client_s_dn";
}}
"""


class UpstreamTLSTests(TCPStreamCase):
    """TLS with the upstream, made by the proxy."""

    def setUp(self) -> None:
        super().setUp()
        self.certificate("upstream", "upstream.test")
        self.certificate("client", "g3proxy", client=True)
        for path in (self.directory, *self.directory.iterdir()):
            path.chmod(0o755)
        self.tls_port = free_port()
        nginx = start_nginx(self.directory, NGINX.format(port=self.tls_port, directory=self.directory), self.tls_port)
        self.addCleanup(nginx.kill)

    def ask(self) -> bytes:
        with RawClient(self.port) as client:
            return client.ask(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n").body

    def test_the_upstream_is_asked_for_and_verified_by_upstream_tls_name(self) -> None:
        """Clients speak plain TCP; a second connection resumes."""
        self.start(f"127.0.0.1:{self.tls_port}", "tls_client: {ca_certificate: ca.pem}\n    upstream_tls_name: upstream.test")
        for _ in range(2):
            self.assertEqual(self.ask(), b"upstream.test NONE ")

    def test_a_client_certificate_is_shown(self) -> None:
        """Mutual TLS."""
        tls = "tls_client: {ca_certificate: ca.pem, certificate: client.pem, private_key: client-key.pem}"
        self.start(f"127.0.0.1:{self.tls_port}", f"{tls}\n    upstream_tls_name: upstream.test")
        self.assertEqual(self.ask(), b"upstream.test SUCCESS CN=g3proxy")

    def test_an_upstream_of_another_name_is_not_spoken_to(self) -> None:
        """Without upstream_tls_name the certificate must be for the host of the upstream; tls_client true trusts the system only."""
        for tls in ("{ca_certificate: ca.pem}", "true"):
            self.syslog.lines.clear()
            self.port = free_port()
            self.start(f"127.0.0.1:{self.tls_port}", f"tls_client: {tls}")
            self.assertEqual(self.connect().recv(1), b"")
            self.assertEqual(self.finished()["reason"], "UpstreamTlsHandshakeFailed")
            self.assertTrue(any('escape_type="TlsHandshake"' in line and 'tls_application="TcpStream"' in line for line in self.syslog.lines))

    def test_without_tls_client_tls_passes_through(self) -> None:
        """tls_client false is none."""
        self.start(f"127.0.0.1:{self.tls_port}", "tls_client: false")
        context = ssl.create_default_context(cafile=str(self.directory / "ca.pem"))
        sock = context.wrap_socket(self.connect(), server_hostname="upstream.test")
        with RawClient(self.port, sock=sock) as client:
            self.assertEqual(client.ask(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n").body, b"upstream.test NONE ")


class ManyTests(TCPStreamCase):
    """Connections at once."""

    def test_two_hundred_at_once(self) -> None:
        """Each gets its own answer, and none stays counted."""
        origin = RecordingOrigin()
        self.addCleanup(origin.close)
        self.start(f"127.0.0.1:{origin.port}")
        clients = [RawClient(self.port) for _ in range(200)]
        for client in clients:
            client.send(b"GET / HTTP/1.1\r\n\r\n")
        for client in clients:
            self.assertEqual(client.answer().body, b"ok")
            client.close()
        self.statsd.wait(lambda _: self.total("server.task.total", "server:stream") >= 200 and ":0|g" in self.last_alive())
        self.assertIn(":0|g", self.last_alive())

    def last_alive(self) -> str:
        return next((line for line in reversed(self.statsd.lines) if line.startswith("g3proxy.server.task.alive") and "server:stream" in line), "")
