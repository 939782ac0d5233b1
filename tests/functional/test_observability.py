# SPDX-License-Identifier: Apache-2.0
"""What a running http_proxy tells: task and escape records through a real syslog socket, metrics through a real statsd one."""

from __future__ import annotations

import re
import shutil
import socket
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING

from tests.functional.harness import FunctionalTestCase
from tests.functional.peers import RecordingOrigin, ScriptedOrigin, read_head
from tests.functional.processes import free_port
from tests.functional.rawhttp import RawClient

if TYPE_CHECKING:
    from collections.abc import Callable

CONFIG = """
runtime: {{thread_number: 0}}
log:
  default: {{syslog: {{target_unix: {syslog}}}}}
stat:
  target: {{udp: "127.0.0.1:{statsd}"}}
  emit_interval: 100ms
resolver:
  - {{name: r, type: deny_all}}
escaper:
  - name: e
    type: direct_fixed
    resolver: r
    egress_network_filter: {{default: allow, allow: 127.0.0.1}}
server:
  - name: http
    type: http_proxy
    listen: 127.0.0.1:{port}
    escaper: e
    flush_task_log_on_created: true
    flush_task_log_on_connected: true
    extra_metrics_tags: {{site: lab}}
    rsp_header_recv_timeout: 2s
    task_idle_check_interval: 2s
    task_idle_max_count: 1
    log_uri_max_chars: 60
    dst_port_filter: {{default: permit, forbid: [1]}}
"""


class Sink:
    """A datagram socket that remembers what it got, line by line."""

    def __init__(self, sock: socket.socket) -> None:
        self.sock = sock
        self.sock.settimeout(0.05)
        self.lines: list[str] = []

    def wait(self, wanted: Callable[[list[str]], bool], seconds: float = 5.0) -> list[str]:
        """The lines, once something is true of them (or time is up)."""
        end = time.monotonic() + seconds
        while not wanted(self.lines) and time.monotonic() < end:
            try:
                self.lines += self.sock.recv(65536).decode().splitlines()
            except TimeoutError:
                continue
        return self.lines


def fields(line: str) -> dict[str, str]:
    """The key="value" and key=number pairs of a record."""
    return {key: quoted or plain for key, quoted, plain in re.findall(r'(\w+)=(?:"((?:[^"\\]|\\.)*)"|([^," ]+))', line)}


class ObservabilityCase(FunctionalTestCase):
    """One daemon, one origin, two sinks."""

    def setUp(self) -> None:
        super().setUp()
        place = Path(tempfile.mkdtemp(prefix="g3o"))
        self.addCleanup(shutil.rmtree, place)
        self.syslog = Sink(socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM))
        self.syslog.sock.bind(str(place / "log"))
        self.statsd = Sink(socket.socket(socket.AF_INET, socket.SOCK_DGRAM))
        self.statsd.sock.bind(("127.0.0.1", 0))
        self.addCleanup(self.syslog.sock.close)
        self.addCleanup(self.statsd.sock.close)
        self.origin = RecordingOrigin()
        self.addCleanup(self.origin.close)
        self.port = free_port()
        statsd_port = self.statsd.sock.getsockname()[1]
        self.start_daemon(CONFIG.format(port=self.port, syslog=place / "log", statsd=statsd_port), ports=[self.port])

    def get(self, client: RawClient, port: int, *lines: str) -> int:
        head = [f"GET http://user:secret@127.0.0.1:{port}/path HTTP/1.1", f"Host: 127.0.0.1:{port}", *lines, "", ""]
        return client.ask("\r\n".join(head).encode("latin-1")).status


class TaskLogTests(ObservabilityCase):
    """Task records have upstream's fields."""

    def events(self, count: int) -> list[dict[str, str]]:
        """Task records, once there are so many."""
        lines = self.syslog.wait(lambda lines: sum('log_type="Task"' in line for line in lines) >= count)
        return [fields(line) for line in lines if 'log_type="Task"' in line]

    def test_a_forwarded_request_is_created_connected_and_finished(self) -> None:
        """Three records; the last has statuses, bytes and durations, and no password."""
        with RawClient(self.port) as client:
            self.assertEqual(self.get(client, self.origin.port, 'User-Agent: a "b"\\'), 200)
            records = self.events(3)
        self.assertEqual([record["task_event"] for record in records], ["Created", "Connected", "Finished"])
        last = records[-1]
        self.assertEqual(
            {key: last[key] for key in ("task_type", "server_type", "server_name", "escaper", "reason", "method", "rsp_status", "origin_status")},
            {
                "task_type": "HttpForward",
                "server_type": "HttpProxy",
                "server_name": "http",
                "escaper": "e",
                "reason": "Finished",
                "method": "GET",
                "rsp_status": "200",
                "origin_status": "200",
            },
        )
        self.assertNotIn("secret", " ".join(self.syslog.lines))
        self.assertEqual(last["upstream"], f"127.0.0.1:{self.origin.port}")
        self.assertRegex(last["task_id"], "^[0-9a-f]{32}$")
        self.assertRegex(last["total_time"], r"^[0-9]+\.[0-9]{3}(ns|µs|ms|s)$")
        self.assertEqual(int(last["r_wr_bytes"]), len(self.origin.everything))
        self.assertGreater(int(last["c_rd_bytes"]), int(last["r_wr_bytes"]), "absolute form is longer")

    def test_a_tunnel_says_who_ended_it(self) -> None:
        with RawClient(self.port) as client:
            self.assertEqual(client.ask(b"CONNECT 127.0.0.1:%d HTTP/1.1\r\nHost: x\r\n\r\n" % self.origin.port, "CONNECT").status, 200)
            client.ask(b"GET / HTTP/1.1\r\n\r\n")
        last = self.events(3)[-1]
        last = next(record for record in reversed(self.events(4)) if record["task_event"] == "Finished")
        self.assertEqual((last["task_type"], last["reason"]), ("TcpConnect", "ClosedByClient"))

    def test_a_failed_connect_is_in_the_task_and_the_escape_log(self) -> None:
        with RawClient(self.port) as client:
            self.assertEqual(self.get(client, free_port()), 521)
            record = self.events(2)[-1]
        self.assertEqual((record["reason"], record["rsp_status"]), ("UpstreamNotConnected", "521"))
        escaped = next(fields(line) for line in self.syslog.lines if 'log_type="Escape"' in line)
        self.assertEqual((escaped["escape_type"], escaped["reason"], escaped["tcp_connect_tries"]), ("TcpConnect", "ConnectFailed", "1"))
        self.assertRegex(escaped["tcp_connect_spend"], r"^[0-9]+\.[0-9]{3}(µs|ms|s)$")
        self.assertEqual(escaped["task_id"], record["task_id"])

    def finished(self, count: int) -> list[dict[str, str]]:
        """The records of tasks that ended, once there are so many."""
        lines = self.syslog.wait(lambda lines: sum('task_event="Finished"' in line for line in lines) >= count, 12)
        return [fields(line) for line in lines if 'task_event="Finished"' in line]

    def test_every_kind_of_end_has_its_reason(self) -> None:
        """And the status the client got and the origin's, 0 for none."""
        words: dict[str, bytes | None] = {
            "/nothing": b"",
            "/nonsense": b"nonsense\r\n\r\n",
            "/short": b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhello",
            "/late": None,
            "/stalls": b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhello",
            "/404": b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n",
        }

        def script(connection: socket.socket, _number: int) -> None:
            path = read_head(connection).split(b" ")[1].decode()
            said = words.get(path)
            if said is not None:
                connection.sendall(said)
            if path in ("/late", "/stalls") or "up" in path:
                connection.recv(1 << 20)
                connection.recv(1)

        origin = ScriptedOrigin(script)
        self.addCleanup(origin.close)
        expected: dict[str, tuple[str, str, str]] = {
            "/404": ("Finished", "404", "404"),
            "/nothing": ("ClosedByUpstream", "502", "0"),
            "/nonsense": ("InvalidUpstreamProtocol", "502", "0"),
            "/short": ("ClosedByUpstream", "200", "200"),
            "/late": ("UpstreamAppTimeout", "504", "0"),
            "/stalls": ("Idle", "200", "200"),
            "/up-stalls": ("ClientAppTimeout", "408", "0"),
            "/up-ends": ("ClosedByClient", "0", "0"),
            "/up-bad": ("InvalidClientProtocol", "400", "0"),
            "/denied": ("ForbiddenByRule", "403", "0"),
            "/blocked": ("ForbiddenByRule", "403", "0"),
        }
        clients = {}
        for path in expected:
            host, port = {"/denied": ("127.0.0.1", 1), "/blocked": ("127.0.0.2", origin.port)}.get(path, ("127.0.0.1", origin.port))
            head = [f"{'POST' if 'up' in path else 'GET'} http://{host}:{port}{path} HTTP/1.1", f"Host: {host}:{port}"]
            body = {"/up-stalls": "Content-Length: 10", "/up-ends": "Content-Length: 10", "/up-bad": "Transfer-Encoding: chunked"}
            clients[path] = client = RawClient(self.port)
            self.addCleanup(client.close)
            client.send("\r\n".join([*head, *([body[path]] if path in body else []), "", "5\r\n" if path in body else ""]).encode())
        time.sleep(0.2)
        clients["/up-ends"].sock.shutdown(socket.SHUT_WR)
        clients["/up-bad"].send(b"hello!!\r\n")
        got = {}
        for record in self.finished(len(expected)):
            got["/" + record["uri"].rpartition("/")[2]] = (record["reason"], record.get("rsp_status"), record.get("origin_status"))
        self.assertEqual(sorted(got.items()), sorted(expected.items()))

    def test_a_tunnel_that_fails_or_stands_still(self) -> None:
        silent = RecordingOrigin(None)
        self.addCleanup(silent.close)
        for port, status in ((free_port(), 521), (1, 403), (silent.port, 200)):
            client = RawClient(self.port)
            self.addCleanup(client.close)
            self.assertEqual(client.ask(b"CONNECT 127.0.0.1:%d HTTP/1.1\r\nHost: x\r\n\r\n" % port, "CONNECT").status, status)
        reasons = [record["reason"] for record in self.finished(3)]
        self.assertEqual(reasons, ["UpstreamNotConnected", "ForbiddenByRule", "Idle"])

    def test_a_pipelined_request_says_how_long_it_waited(self) -> None:
        """pipeline_wait and wait_time; the first has waited for nobody."""

        def script(connection: socket.socket, _number: int) -> None:
            while read_head(connection):
                time.sleep(0.3)
                connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")

        origin = ScriptedOrigin(script)
        self.addCleanup(origin.close)
        with RawClient(self.port) as client:
            client.send(b"GET http://127.0.0.1:%d/ HTTP/1.1\r\nHost: x\r\n\r\n" % origin.port * 2)
            for _ in range(2):
                self.assertEqual(client.answer().status, 200)
            first, second = self.finished(2)
        self.assertNotIn("pipeline_wait", first)
        self.assertNotIn("wait_time", first)
        for name in ("pipeline_wait", "wait_time"):
            self.assertRegex(second[name], r"^[234][0-9]{2}\.[0-9]{3}ms$")
        self.assertRegex(second["total_time"], r"^[234][0-9]{2}\.[0-9]{3}ms$")
        self.assertEqual(second["reuse_connection"], "true")
        for name in ("dur_req_send_hdr", "dur_req_send_all", "dur_rsp_recv_hdr", "dur_rsp_recv_all", "ready_time"):
            self.assertIn(name, second)

    def test_a_uri_is_cut_and_has_no_password_however_it_came(self) -> None:
        """log_uri_max_chars; absolute form and the masque URI."""
        with RawClient(self.port) as client:
            self.get(client, self.origin.port)
            inner = f"http%3A%2F%2Fuser%3Asecret%40127.0.0.1%3A{self.origin.port}%2Fmasque"
            client.ask(f"GET /.well-known/masque/http/{inner} HTTP/1.1\r\nHost: x\r\n\r\n".encode())
            client.ask(f"GET http://127.0.0.1:{self.origin.port}/{'u' * 200} HTTP/1.1\r\nHost: x\r\n\r\n".encode())
            uris = [record["uri"] for record in self.finished(3)]
        self.assertNotIn("secret", "".join(self.syslog.lines))
        self.assertTrue(uris[0].endswith("/path"), uris)
        self.assertTrue(uris[1].endswith("/masque"), uris)
        self.assertEqual(len(uris[2]), 60)

    def test_one_hostile_request_is_one_record(self) -> None:
        """Whatever a client writes stays inside its own record, escaped and cut."""
        with RawClient(self.port) as client:
            self.get(client, self.origin.port, 'User-Agent: x", task_event="Forged\\', "X: " + "\xff" * 100)
            records = self.events(3)
        self.assertEqual([record["task_event"] for record in records], ["Created", "Connected", "Finished"])


class MetricsTests(ObservabilityCase):
    """Counters under upstream's names."""

    def totals(self, name: str, tags: tuple[str, ...]) -> int:
        """The sum of the deltas sent of one metric."""
        found = 0
        for line in self.statsd.lines:
            head, _, rest = line.partition(":")
            if head == f"g3proxy.{name}" and all(tag in rest for tag in tags):
                found += int(rest.split("|")[0])
        return found

    def test_requests_are_counted_with_their_bytes(self) -> None:
        with RawClient(self.port) as client:
            for _ in range(3):
                self.assertEqual(self.get(client, self.origin.port), 200)
        tags = ("server:http", "site:lab", "online:y")
        self.statsd.wait(lambda _: self.totals("server.task.total", tags) >= 3 and self.totals("server.traffic.out.bytes", tags) > 0)
        self.assertEqual(self.totals("server.task.total", tags), 3)
        self.assertEqual(self.totals("server.connection.total", tags), 1)
        self.assertEqual(self.totals("escaper.task.total", ("escaper:e",)), 3)
        self.assertEqual(self.totals("escaper.connection.establish", ("escaper:e",)), 1, "the second and third went over the kept connection")
        self.statsd.wait(lambda _: self.totals("escaper.traffic.out.bytes", ("escaper:e",)) > 0)
        self.assertEqual(self.totals("escaper.traffic.out.bytes", ("escaper:e",)), len(self.origin.everything))
        self.assertGreater(self.totals("server.traffic.in.bytes", tags), 0)

    def test_a_forbidden_address_is_counted(self) -> None:
        with RawClient(self.port) as client:
            self.assertEqual(client.ask(b"GET http://127.0.0.2/ HTTP/1.1\r\nHost: x\r\n\r\n").status, 403)
        self.statsd.wait(lambda _: self.totals("escaper.forbidden.ip_blocked", ("escaper:e",)) > 0)
        self.assertEqual(self.totals("escaper.forbidden.ip_blocked", ("escaper:e",)), 1)
