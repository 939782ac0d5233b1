# SPDX-License-Identifier: Apache-2.0
"""http_proxy as its clients see it: what is forwarded how, what is answered when, and what stays bounded."""

from __future__ import annotations

import hashlib
import os
import shutil
import socket
import ssl
import subprocess
import tempfile
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tests.functional.certificates import Authority, pem
from tests.functional.harness import FunctionalTestCase
from tests.functional.leftover import WITNESS, holdings, wait_until_as_before
from tests.functional.peers import RecordingOrigin, answer_ok, start_nginx
from tests.functional.processes import free_port
from tests.functional.rawhttp import RawClient

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.functional.harness import Daemon

BASE = """
runtime: {{thread_number: 0}}
log: discard
resolver:
  - {{name: r, type: deny_all}}
escaper:
  - name: e
    type: direct_fixed
    resolver: r
    egress_network_filter: {{default: allow, allow: [127.0.0.1, "::1"]}}
  - {{name: nowhere, type: dummy_deny}}
  - {{name: witness, type: witness}}
server:
  - name: http
    type: http_proxy
    listen: 127.0.0.1:{port}
    escaper: {escaper}
    task_idle_check_interval: 2s
{more}
"""


class ProxyCase(FunctionalTestCase):
    """A daemon with one http_proxy; C{more} are further keys of it, indented by four."""

    #: How the daemon is started: see L{tests.functional.harness.COMMANDS}.
    command = "twistd"

    @staticmethod
    def config(port: int, more: str = "", escaper: str = "e") -> str:
        return BASE.format(port=port, more=more, escaper=escaper)

    def setUp(self) -> None:
        super().setUp()
        #: Origins: they close first.
        self.peers: list[Any] = []

    def start_daemon(self, config: str | Path, **options: Any) -> Daemon:  # type: ignore[override]
        """A daemon that holds no more after the test than it did before, when clients and origins have closed."""
        daemon = super().start_daemon(config, packages=[WITNESS], **options)
        self.addCleanup(self._nothing_is_left, daemon, holdings(daemon))
        return daemon

    def _nothing_is_left(self, daemon: Daemon, before: dict[str, int]) -> None:
        for peer in self.peers:
            peer.close()
        if daemon.process.poll() is None:
            wait_until_as_before(daemon, before)

    def proxy(self, more: str = "", escaper: str = "e") -> int:
        port = free_port()
        self.daemon = self.start_daemon(self.config(port, more, escaper), ports=[port], command=self.command)
        return port

    def origin(self, answer: Callable[[bytes], bytes] | None = None) -> RecordingOrigin:
        origin = RecordingOrigin(answer) if answer is not None else RecordingOrigin()
        self.addCleanup(origin.close)
        self.peers.append(origin)
        return origin

    def client(self, port: int) -> RawClient:
        client = RawClient(port)
        self.addCleanup(client.close)
        return client


def get(port: int, path: str = "/", *lines: str, method: str = "GET", version: str = "1.1", host: str = "127.0.0.1") -> bytes:
    """An absolute-form request for a port of loopback."""
    head = [f"{method} http://{host}:{port}{path} HTTP/{version}", f"Host: {host}:{port}", *lines, "", ""]
    return "\r\n".join(head).encode()


class ForwardTests(ProxyCase):
    """Requests in absolute form."""

    def test_two_requests_share_both_connections(self) -> None:
        """Keep-alive on both sides: one client connection, one upstream connection."""
        origin = self.origin()
        client = self.client(self.proxy())
        for path in ("/a", "/b"):
            self.assertEqual(client.ask(get(origin.port, path)).body, b"ok")
        self.assertEqual(origin.connections, 1)
        self.assertIn(b"GET /a HTTP/1.1\r\n", origin.everything)

    def test_hop_by_hop_fields_stay_here_and_the_rest_keeps_its_spelling(self) -> None:
        """RFC 9110 section 7.6.1; case and order of what is forwarded are the client's."""
        origin = self.origin()
        client = self.client(self.proxy())
        client.ask(
            get(
                origin.port,
                "/",
                "X-A: 1",
                "Proxy-Connection: Keep-Alive",
                "Proxy-Authorization: Basic eDp5",
                "Keep-Alive: 5",
                "CONNECTION: x-b",
                "X-b: 2",
                "x-C: 3",
            )
        )
        sent = origin.everything
        self.assertEqual(sent.split(b"\r\n")[1:4], [b"Host: 127.0.0.1:%d" % origin.port, b"X-A: 1", b"x-C: 3"])

    def test_pipelined_requests_are_answered_in_order(self) -> None:
        """Ten at once, one connection."""
        origin = self.origin(lambda request: b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n" + request.split(b" ", 2)[1][1:3])
        client = self.client(self.proxy())
        client.send(b"".join(get(origin.port, f"/{n:02}") for n in range(10)))
        self.assertEqual([client.answer().body for _ in range(10)], [b"%02d" % n for n in range(10)])

    def test_an_http_1_0_client_is_closed_unless_it_asks_otherwise(self) -> None:
        """Keep-alive is explicit in HTTP/1.0."""
        origin = self.origin()
        port = self.proxy()
        client = self.client(port)
        self.assertEqual(client.ask(get(origin.port, version="1.0")).body, b"ok")
        self.assertTrue(client.ended())
        client = self.client(port)
        for _ in range(2):
            self.assertEqual(client.ask(get(origin.port, "/", "Connection: keep-alive", version="1.0")).body, b"ok")

    def test_a_dead_kept_connection_is_replaced_without_the_client_noticing(self) -> None:
        """The origin closes after each answer without saying so; every request is answered."""
        answered: list[int] = []

        def answer(_request: bytes) -> bytes:
            answered.append(1)
            return b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"

        origin = self.origin(answer)
        client = self.client(self.proxy())
        for n in range(3):
            self.assertEqual(client.ask(get(origin.port, f"/{n}")).body, b"ok")
            with origin._lock:
                origin._connections[-1].shutdown(socket.SHUT_RDWR)
        self.assertEqual(origin.connections, 3)

    def test_expect_and_the_interim_answer_are_passed_on(self) -> None:
        """The 100 is the origin's own; a 103 passes too."""

        def answer(request: bytes) -> bytes:
            if not request.endswith(b"hello"):
                return b"HTTP/1.1 100 Continue\r\n\r\n"
            return b"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"

        origin = self.origin(None)
        origin.answer = None
        listener_answer = answer
        client = self.client(self.proxy())
        client.send(get(origin.port, "/", "Content-Length: 5", "Expect: 100-continue", method="POST"))
        self.assertTrue(origin.wait_for(lambda: b"Expect: 100-continue" in bytes(origin.received[0]) if origin.received else False))
        with origin._lock:
            connection = origin._connections[0]
        connection.sendall(listener_answer(b""))
        self.assertEqual(client.file.readline(), b"HTTP/1.1 100 Continue\r\n")
        client.file.readline()
        client.send(b"hello")
        self.assertTrue(origin.wait_for(lambda: bytes(origin.received[0]).endswith(b"hello")))
        connection.sendall(listener_answer(b"hello"))
        self.assertEqual(client.file.readline(), b"HTTP/1.1 103 Early Hints\r\n")
        self.assertEqual(client.file.readline(), b"Link: </a>\r\n")
        client.file.readline()
        self.assertEqual(client.answer().body, b"ok")

    def test_bodies_of_every_framing_arrive_whole_both_ways(self) -> None:
        """40 MiB up and down, by length, chunked and until close, compared by hash."""
        www = Path(tempfile.mkdtemp())  # where nginx's own user may read
        self.addCleanup(shutil.rmtree, www)
        www.chmod(0o755)
        content = os.urandom(1 << 20) * 40
        (www / "big").write_bytes(content)
        nginx_port = free_port()
        start = start_nginx(
            self.directory,
            f"server {{ listen 127.0.0.1:{nginx_port}; root {www}; }}",
            nginx_port,
        )
        self.addCleanup(start.kill)
        port = self.proxy()
        got = subprocess.run(
            ["curl", "-sS", "-x", f"http://127.0.0.1:{port}", f"http://127.0.0.1:{nginx_port}/big"], capture_output=True, check=True, timeout=60
        )
        self.assertEqual(hashlib.sha256(got.stdout).digest(), hashlib.sha256(content).digest())
        tunnel = subprocess.run(
            ["curl", "-sS", "-p", "-x", f"http://127.0.0.1:{port}", f"http://127.0.0.1:{nginx_port}/big"], capture_output=True, check=True, timeout=60
        )
        self.assertEqual(hashlib.sha256(tunnel.stdout).digest(), hashlib.sha256(content).digest())

    def test_a_large_upload_arrives_whole_by_length_and_chunked(self) -> None:
        """The origin hashes what it gets."""
        content = os.urandom(1 << 20) * 8
        source = self.directory / "upload"
        source.write_bytes(content)
        sink = UploadSink()
        self.addCleanup(sink.close)
        port = self.proxy()
        for more in ([], ["-H", "Transfer-Encoding: chunked"]):
            result = subprocess.run(
                ["curl", "-sS", "-x", f"http://127.0.0.1:{port}", "-T", str(source), *more, f"http://127.0.0.1:{sink.port}/up"],
                capture_output=True,
                timeout=60,
                check=True,
            )
            self.assertEqual(result.stdout.decode(), hashlib.sha256(content).hexdigest())

    def test_well_known_uris_name_another_target(self) -> None:
        """easy-proxy and masque/http; the Host is rewritten; others are 501."""
        origin = self.origin()
        port = self.proxy()
        client = self.client(port)
        ask = f"GET /.well-known/easy-proxy/http/127.0.0.1/{origin.port}/path?q=1 HTTP/1.1\r\nHost: me\r\n\r\n".encode()
        self.assertEqual(client.ask(ask).body, b"ok")
        self.assertIn(b"GET /path?q=1 HTTP/1.1\r\nHost: 127.0.0.1:%d\r\n" % origin.port, origin.everything)
        masque = f"GET /.well-known/masque/http/http%3A%2F%2F127.0.0.1%3A{origin.port}%2Fm HTTP/1.1\r\nHost: me\r\n\r\n".encode()
        self.assertEqual(client.ask(masque).body, b"ok")
        for path in ("/", "/.well-known/masque/udp/127.0.0.1/53/", "/.well-known/other"):
            self.assertEqual(self.client(port).ask(f"GET {path} HTTP/1.1\r\nHost: me\r\n\r\n".encode()).status, 501)

    def test_statuses_say_what_failed(self) -> None:
        """Refused 521, name without a resolver 530, forbidden address 403, gopher 501."""
        port = self.proxy()
        for request, status in (
            (get(free_port()), 521),
            (get(80, host="name.invalid"), 530),
            (get(80, host="127.0.0.2"), 403),
            (b"GET ftp://127.0.0.1:%d/ HTTP/1.1\r\nHost: x\r\n\r\n" % free_port(), 521),
            (b"GET gopher://127.0.0.1/ HTTP/1.1\r\nHost: x\r\n\r\n", 501),
        ):
            answer = self.client(port).ask(request)
            self.assertEqual(answer.status, status, request)
            self.assertEqual(int(answer.headers["Content-Length"]), len(answer.body))
        self.assertEqual(self.client(port).ask(get(free_port(), method="HEAD"), "HEAD").status, 521)

    def test_an_escaper_that_denies_is_a_403(self) -> None:
        port = self.proxy(escaper="nowhere")
        self.assertEqual(self.client(port).ask(get(80)).status, 403)
        self.assertEqual(self.client(port).ask(b"CONNECT 127.0.0.1:80 HTTP/1.1\r\nHost: x\r\n\r\n").status, 403)

    def test_custom_hosts_can_be_refused(self) -> None:
        """allow_custom_host false: 409."""
        port = self.proxy("    allow_custom_host: false")
        self.assertEqual(self.client(port).ask(b"GET http://127.0.0.1/ HTTP/1.1\r\nHost: other\r\n\r\n").status, 409)

    def test_destination_rules_are_a_403_that_closes(self) -> None:
        """dst_host_filter_set and dst_port_filter."""
        origin = self.origin()
        port = self.proxy(f"    dst_port_filter: [{origin.port}]\n    dst_host_filter_set:\n      exact_match: [127.0.0.1]")
        self.assertEqual(self.client(port).ask(get(origin.port)).status, 200)
        client = self.client(port)
        self.assertEqual(client.ask(get(free_port())).status, 403)
        self.assertTrue(client.ended())
        self.assertEqual(self.client(port).ask(get(origin.port, host="localhost")).status, 403)

    def test_x_bd_headers_tell_about_the_way_when_asked_to(self) -> None:
        """server_id, echo_chained_info and http_forward_mark_upstream."""
        origin = self.origin()
        port = self.proxy("    server_id: me\n    echo_chained_info: true\n    http_forward_mark_upstream: true")
        answer = self.client(port).ask(get(origin.port))
        self.assertTrue(answer.headers["X-BD-Remote-Connection-Info"].startswith("me; local=127.0.0.1:"))
        self.assertTrue(answer.headers["X-BD-Remote-Connection-Info"].endswith(f"remote=127.0.0.1:{origin.port}"))
        self.assertEqual(answer.headers["X-BD-Upstream-Id"], "me")
        self.assertEqual(answer.headers["X-BD-Upstream-Addr"], f"127.0.0.1:{origin.port}")
        self.assertEqual(answer.headers["X-BD-Outgoing-IP"], "127.0.0.1")
        # What a proxy before the origin has said of itself stays; only the connection's own line is added beside it.
        lines = b"X-BD-Upstream-Id: it\r\nX-BD-Upstream-Addr: 192.0.2.1:80\r\nX-BD-Outgoing-IP: 192.0.2.2\r\nX-BD-Remote-Connection-Info: it\r\n"
        chained = self.origin(lambda _request: b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n" + lines + b"\r\n")
        answer = self.client(port).ask(get(chained.port))
        self.assertEqual([len(answer.headers.get_all(f"X-BD-{name}", [])) for name in ("Upstream-Id", "Upstream-Addr", "Outgoing-IP")], [1, 1, 1])
        self.assertEqual(answer.headers["X-BD-Upstream-Id"], "it")
        self.assertEqual(len(answer.headers.get_all("X-BD-Remote-Connection-Info", [])), 2)
        # What we answer ourselves has no upstream to name.
        refused = self.client(port).ask(get(free_port()))
        self.assertEqual((refused.status, refused.headers["X-BD-Upstream-Id"]), (521, None))
        self.assertTrue(refused.headers["X-BD-Remote-Connection-Info"].startswith("me; remote=127.0.0.1:"))

    def test_forwarded_headers_can_be_stolen_and_default_ports_dropped(self) -> None:
        origin = self.origin()
        port = self.proxy("    steal_forwarded_for: true\n    drop_default_port_in_host: true")
        self.client(port).ask(get(origin.port, "/", "X-Forwarded-For: 1.2.3.4", "Forwarded: for=1.2.3.4", "X-Real: 5"))
        self.assertNotIn(b"1.2.3.4", origin.everything)
        self.assertIn(b"X-Real: 5", origin.everything)

    def test_shared_connections_serve_other_clients_only_without_credentials(self) -> None:
        """http_forward_upstream_keepalive {shared: true}."""
        origin = self.origin()
        port = self.proxy("    http_forward_upstream_keepalive: {shared: true, idle_expire: 2s}")
        for _ in range(3):
            client = RawClient(port)
            self.assertEqual(client.ask(get(origin.port)).status, 200)
            client.close()
        self.assertEqual(origin.connections, 1)
        for _ in range(2):
            client = RawClient(port)
            self.assertEqual(client.ask(get(origin.port, "/", "Authorization: Basic eDp5")).status, 200)
            client.close()
            time.sleep(0.05)
        self.assertEqual(origin.connections, 2, "the first took the shared one with it, the second made its own")
        for number, line in enumerate(("Authorization: Basic eDp5", "Cookie: a=b", "Proxy-Authorization: Basic eDp5"), 3):
            for lines in ((), (line,)):
                with RawClient(port) as client:
                    self.assertEqual(client.ask(get(origin.port, "/", *lines)).status, 200)
            self.assertTrue(origin.wait_for(lambda number=number: origin.ended == number), line)
            self.assertEqual(origin.connections, number, line)


class TimeoutTests(ProxyCase):
    """Everything a peer can leave out ends."""

    def test_half_a_head_is_closed_without_a_word(self) -> None:
        """req_header_recv_timeout counts from the first byte."""
        client = self.client(self.proxy("    req_header_recv_timeout: 1s"))
        client.send(b"GET http://x/ HTTP/1.1\r\n")
        started = time.monotonic()
        self.assertTrue(client.ended())
        self.assertLess(time.monotonic() - started, 4)

    def test_no_response_is_a_504(self) -> None:
        """rsp_header_recv_timeout."""
        silent = RecordingOrigin(None)
        self.addCleanup(silent.close)
        port = self.proxy("    rsp_header_recv_timeout: 1s")
        self.assertEqual(self.client(port).ask(get(silent.port)).status, 504)

    def test_an_idle_client_is_closed(self) -> None:
        """pipeline_read_idle_timeout."""
        client = self.client(self.proxy("    pipeline_read_idle_timeout: 1s"))
        self.assertTrue(client.ended())

    def test_an_idle_tunnel_ends(self) -> None:
        """task_idle_check_interval times task_idle_max_count. Who waits for an answer is not idle: that has a time of its own."""
        silent = RecordingOrigin(None)
        self.addCleanup(silent.close)
        port = self.proxy("    task_idle_max_count: 1")
        waiting, client = self.client(port), self.client(port)
        waiting.send(get(self.origin(lambda _request: time.sleep(5) or answer_ok(b"")).port))
        self.assertEqual(client.ask(b"CONNECT 127.0.0.1:%d HTTP/1.1\r\nHost: x\r\n\r\n" % silent.port, "CONNECT").status, 200)
        started = time.monotonic()
        self.assertTrue(client.ended())
        self.assertLess(time.monotonic() - started, 9)
        self.assertEqual(waiting.answer().status, 200)

    def test_nobody_is_looked_for_who_has_gone(self) -> None:
        """The server looks at its connections once a second, and for idle tunnels: once more after the last has gone, and no more then."""
        port = self.proxy()
        before = holdings(self.daemon, looks=True)
        self.assertEqual(before["looks"], 0)
        origin = self.origin()
        with self.client(port) as client:
            client.ask(b"CONNECT 127.0.0.1:%d HTTP/1.1\r\nHost: x\r\n\r\n" % origin.port, "CONNECT")
        origin.close()
        wait_until_as_before(self.daemon, {**before, "looks": 2})
        self.assertGreater(holdings(self.daemon, looks=True)["looks"], 0)
        wait_until_as_before(self.daemon, before)


class ConnectTests(ProxyCase):
    """Tunnels."""

    def test_bytes_sent_with_the_head_go_first(self) -> None:
        """Early data of the client is not lost."""
        origin = self.origin()
        client = self.client(self.proxy())
        client.send(b"CONNECT 127.0.0.1:%d HTTP/1.1\r\nHost: x\r\n\r\nGET /early HTTP/1.1\r\n\r\n" % origin.port)
        self.assertEqual(client.answer("CONNECT").status, 200)
        self.assertEqual(client.answer().body, b"ok")
        self.assertTrue(origin.everything.startswith(b"GET /early"))

    def test_half_close_passes_through(self) -> None:
        """The client ends its direction and still gets the answer."""
        sink = UploadSink(raw=True)
        self.addCleanup(sink.close)
        client = self.client(self.proxy())
        self.assertEqual(client.ask(b"CONNECT 127.0.0.1:%d HTTP/1.1\r\nHost: x\r\n\r\n" % sink.port, "CONNECT").status, 200)
        client.send(b"a" * 100000)
        client.sock.shutdown(socket.SHUT_WR)
        self.assertEqual(client.everything().decode(), hashlib.sha256(b"a" * 100000).hexdigest())

    def test_after_a_failure_the_connection_speaks_http_again(self) -> None:
        """521, then a good request on the same connection."""
        origin = self.origin()
        client = self.client(self.proxy())
        self.assertEqual(client.ask(b"CONNECT 127.0.0.1:%d HTTP/1.1\r\nHost: x\r\n\r\n" % free_port()).status, 521)
        self.assertEqual(client.ask(get(origin.port)).status, 200)

    def test_what_was_sent_ahead_of_a_failed_tunnel_is_no_request(self) -> None:
        """Though it looks like one: 521, then the connection ends, and the origin is not asked."""
        origin = self.origin()
        client = self.client(self.proxy())
        answer = client.ask(b"CONNECT 127.0.0.1:%d HTTP/1.1\r\nHost: x\r\n\r\n" % free_port() + get(origin.port))
        self.assertEqual((answer.status, answer.headers["Connection"]), (521, "Close"))
        self.assertEqual(client.everything(), b"")
        self.assertEqual(origin.everything, b"")

    def test_a_speed_limit_holds(self) -> None:
        """tcp_sock_speed_limit 500K: 1.5 MB take about three seconds, through a tunnel."""
        sink = UploadSink(raw=True)
        self.addCleanup(sink.close)
        client = self.client(self.proxy("    tcp_sock_speed_limit: 500K"))
        self.assertEqual(client.ask(b"CONNECT 127.0.0.1:%d HTTP/1.1\r\nHost: x\r\n\r\n" % sink.port, "CONNECT").status, 200)
        started = time.monotonic()
        client.sock.settimeout(30)
        client.send(b"b" * 1_500_000)
        client.sock.shutdown(socket.SHUT_WR)
        self.assertEqual(client.everything().decode(), hashlib.sha256(b"b" * 1_500_000).hexdigest())
        self.assertTrue(1.8 < time.monotonic() - started < 6, time.monotonic() - started)


class TLSTests(ProxyCase):
    """TLS with the client, and with the origin."""

    def setUp(self) -> None:
        super().setUp()
        self.authority = Authority()
        (self.directory / "rootCA.pem").write_bytes(pem(self.authority.certificate))

    def issue(self, name: str, *hosts: str, client: bool = False) -> None:
        """A certificate for C{hosts} in NAME.pem and its key in NAME-key.pem."""
        certificate, key = self.authority.issue(*hosts, client=client)
        (self.directory / f"{name}.pem").write_bytes(certificate)
        (self.directory / f"{name}-key.pem").write_bytes(key)

    def test_clients_may_speak_tls_to_the_proxy(self) -> None:
        """Forward and tunnel, resumed sessions too."""
        self.issue("g3proxy.local", "g3proxy.local", "127.0.0.1")
        origin = self.origin()
        port = self.proxy("    tls_server:\n      cert_pairs: {certificate: g3proxy.local.pem, private_key: g3proxy.local-key.pem}")
        context = ssl.create_default_context(cafile=str(self.directory / "rootCA.pem"))
        for _ in range(2):
            sock = context.wrap_socket(socket.create_connection(("127.0.0.1", port), 10), server_hostname="g3proxy.local")
            with RawClient(port, sock=sock) as client:
                self.assertEqual(client.ask(get(origin.port)).body, b"ok")
                self.assertEqual(client.ask(b"CONNECT 127.0.0.1:%d HTTP/1.1\r\nHost: x\r\n\r\n" % origin.port, "CONNECT").status, 200)
                self.assertEqual(client.ask(b"GET / HTTP/1.1\r\n\r\n").body, b"ok")

    def test_client_certificates_are_asked_for_and_verified(self) -> None:
        """enable_client_auth: without a certificate no proxy."""
        self.issue("g3proxy.local", "g3proxy.local", "127.0.0.1")
        self.issue("client", "client", client=True)
        origin = self.origin()
        port = self.proxy(
            "    tls_server:\n      cert_pairs: {certificate: g3proxy.local.pem, private_key: g3proxy.local-key.pem}\n"
            "      enable_client_auth: true\n      ca_certificate: rootCA.pem"
        )
        context = ssl.create_default_context(cafile=str(self.directory / "rootCA.pem"))
        sock = context.wrap_socket(socket.create_connection(("127.0.0.1", port), 10), server_hostname="g3proxy.local")
        with self.assertRaises(OSError), RawClient(port, sock=sock) as client:
            client.send(get(origin.port))
            client.answer()
        context.load_cert_chain(self.directory / "client.pem", self.directory / "client-key.pem")
        sock = context.wrap_socket(socket.create_connection(("127.0.0.1", port), 10), server_hostname="g3proxy.local")
        with RawClient(port, sock=sock) as client:
            self.assertEqual(client.ask(get(origin.port)).body, b"ok")

    def test_the_proxy_speaks_tls_to_an_https_origin_and_verifies_it(self) -> None:
        """https:// in absolute form; a certificate for another name is a 525."""
        self.issue("origin", "127.0.0.1")
        self.issue("other", "other.test")
        for path in self.directory.rglob("*"):
            path.chmod(0o755)
        self.directory.chmod(0o755)
        good, bad = free_port(), free_port()
        servers = "".join(
            f"server {{ listen 127.0.0.1:{port} ssl; return 200 tls; "
            f"ssl_certificate {self.directory}/{name}.pem; ssl_certificate_key {self.directory}/{name}-key.pem; }}\n"
            for port, name in ((good, "origin"), (bad, "other"))
        )
        nginx = start_nginx(self.directory, servers, good, bad)
        self.addCleanup(nginx.kill)
        port = self.proxy("    tls_client: {ca_certificate: rootCA.pem}")
        client = self.client(port)
        for _ in range(2):
            answer = client.ask(f"GET https://127.0.0.1:{good}/ HTTP/1.1\r\nHost: 127.0.0.1:{good}\r\n\r\n".encode())
            self.assertEqual((answer.status, answer.body), (200, b"tls"))
        self.assertEqual(self.client(port).ask(f"GET https://127.0.0.1:{bad}/ HTTP/1.1\r\nHost: 127.0.0.1:{bad}\r\n\r\n".encode()).status, 525)


class UploadSink:
    """An origin that answers an upload with its SHA-256; C{raw} takes everything until the sender's end instead of HTTP."""

    def __init__(self, raw: bool = False) -> None:
        self._raw = raw
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = self._listener.getsockname()[1]
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self._thread.start()

    def _serve(self) -> None:
        while True:
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            with connection, connection.makefile("rb") as file:
                if self._raw:
                    connection.sendall(hashlib.sha256(file.read()).hexdigest().encode())
                else:
                    self._answer(connection, file)

    @staticmethod
    def _answer(connection: socket.socket, file: object) -> None:
        import http.client

        file.readline()  # type: ignore[attr-defined]
        headers = http.client.parse_headers(file)  # type: ignore[arg-type]
        if headers.get("Expect"):
            connection.sendall(b"HTTP/1.1 100 Continue\r\n\r\n")
        digest = hashlib.sha256()
        if headers.get("Transfer-Encoding"):
            while size := int(file.readline().split(b";")[0], 16):  # type: ignore[attr-defined]
                digest.update(file.read(size))  # type: ignore[attr-defined]
                file.readline()  # type: ignore[attr-defined]
            file.readline()  # type: ignore[attr-defined]
        else:
            digest.update(file.read(int(headers["Content-Length"])))  # type: ignore[attr-defined]
        connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 64\r\nConnection: close\r\n\r\n" + digest.hexdigest().encode())

    def close(self) -> None:
        # Who waits in accept is woken by this, and not by close: the wait would go on with whatever has the number of our descriptor next.
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
