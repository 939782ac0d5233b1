# SPDX-License-Identifier: Apache-2.0
"""Records of tasks, escapes and resolving: which fields, in which order, and which are left out."""

from __future__ import annotations

from datetime import UTC, datetime
from ipaddress import ip_address
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, cast

from twisted.trial.unittest import SynchronousTestCase

from g3 import errors
from g3.errors import ResolveError
from g3.logs import escape, resolve
from g3.logs.fields import address
from g3.logs.task import (
    FTPNotes,
    HTTPForwardNotes,
    TaskEvent,
    UDPNotes,
    log_ftp_over_http,
    log_http_forward,
    log_tcp_connect,
    log_udp,
)
from g3.task import ClientInfo, ConnectNotes, EgressInfo, Stage, Task, Upstream

if TYPE_CHECKING:
    from g3.logs.logger import Logger

TCP = """task_type task_id task_event stage start_at user server_addr client_addr upstream escaper next_bind_ip next_bound_addr
next_peer_addr next_expire tcp_connect_tries tcp_connect_spend reason wait_time ready_time total_time
c_rd_bytes c_wr_bytes r_rd_bytes r_wr_bytes"""
HTTP = """task_type task_id task_event stage start_at user server_addr client_addr upstream escaper next_bind_ip next_bound_addr
next_peer_addr next_expire tcp_connect_tries tcp_connect_spend reason pipeline_wait reuse_connection method uri user_agent
rsp_status origin_status wait_time ready_time dur_req_send_hdr dur_req_send_all dur_rsp_recv_hdr dur_rsp_recv_all total_time
c_rd_bytes c_wr_bytes r_rd_bytes r_wr_bytes"""
UDP = """task_type task_id task_event stage start_at user tcp_server_addr tcp_client_addr udp_listen_addr udp_client_addr {way}
reason wait_time ready_time total_time c_rd_bytes c_rd_packets c_wr_bytes c_wr_packets r_rd_bytes r_rd_packets r_wr_bytes r_wr_packets"""
BYTES = ["c_rd_bytes", "c_wr_bytes", "r_rd_bytes", "r_wr_bytes"]


class Recorder:
    """A Logger that keeps what it is given, None left out as every driver does."""

    def __init__(self) -> None:
        self.message = ""
        self.fields: dict[str, Any] = {}

    def log(self, message: str, fields: Any) -> None:
        self.message = message
        names = [name for name, _ in fields]
        assert len(names) == len(set(names)), "a field twice"
        self.fields = {name: value for name, value in fields if value is not None}


class Case(SynchronousTestCase):
    """A task of which everything is known."""

    def setUp(self) -> None:
        self.recorder = Recorder()
        self.logger = cast("Logger", self.recorder)
        client = ClientInfo(("192.0.2.7", 1234), ("2001:db8::1", 3128), ("192.0.2.7", 1234))
        self.task = task = Task("http_connect", "HttpProxy", "main", client, Upstream("example.com", 443), 100.0)
        task.started_at = 1638354030.123456
        task.user = SimpleNamespace(name="root")
        task.stage = Stage.RELAYING
        task.wait, task.ready = 0.001, 0.25
        notes = task.connect
        notes.escaper, notes.bind_ip, notes.local, notes.peer = "out", ip_address("198.51.100.1"), ("198.51.100.1", 5), ("203.0.113.9", 443)
        notes.tries, notes.spend = 2, 0.05
        notes.override_peer = "203.0.113.9:443"
        notes.egress = EgressInfo(expire=datetime(2030, 1, 2, tzinfo=UTC))


class TCPConnectTest(Case):
    """TcpConnect."""

    def test_finished_has_everything_in_upstreams_order(self) -> None:
        """With the reason and its text."""
        log_tcp_connect(self.logger, self.task, TaskEvent.FINISHED, 101.5, error=errors.ClosedByClient(), traffic=(1, 2, 3, 4))
        self.assertEqual(list(self.recorder.fields), TCP.split())
        self.assertEqual(self.recorder.message, "closed by client")
        self.assertEqual(
            self.recorder.fields,
            {
                "task_type": "TcpConnect",
                "task_id": self.task.id,
                "task_event": "Finished",
                "stage": "Relaying",
                "start_at": "2021-12-01T10:20:30.123456Z",
                "user": "root",
                "server_addr": "[2001:db8::1]:3128",
                "client_addr": "192.0.2.7:1234",
                "upstream": "example.com:443",
                "escaper": "out",
                "next_bind_ip": "198.51.100.1",
                "next_bound_addr": "198.51.100.1:5",
                "next_peer_addr": "203.0.113.9:443",
                "next_expire": "2030-01-02T00:00:00.000000Z",
                "tcp_connect_tries": 2,
                "tcp_connect_spend": "50.000ms",
                "reason": "ClosedByClient",
                "wait_time": "1.000ms",
                "ready_time": "250.000ms",
                "total_time": "1.500s",
                "c_rd_bytes": 1,
                "c_wr_bytes": 2,
                "r_rd_bytes": 3,
                "r_wr_bytes": 4,
            },
        )

    def test_created_knows_no_way_yet(self) -> None:
        """Up to the upstream, and how long it waited."""
        log_tcp_connect(self.logger, self.task, TaskEvent.CREATED, 100.0)
        self.assertEqual(list(self.recorder.fields), [*TCP.split()[:9], "wait_time"])
        self.assertEqual(self.recorder.message, "")

    def test_connected_has_no_bytes_and_no_total(self) -> None:
        """The way, and how long it took."""
        log_tcp_connect(self.logger, self.task, TaskEvent.CONNECTED, 100.0)
        self.assertEqual(list(self.recorder.fields), [*TCP.split()[:16], "wait_time", "ready_time"])

    def test_periodic_is_all_but_the_reason(self) -> None:
        """It has not ended."""
        log_tcp_connect(self.logger, self.task, TaskEvent.PERIODIC, 101.0)
        self.assertEqual(list(self.recorder.fields), [name for name in TCP.split() if name != "reason"])

    def test_a_half_close_leaves_out_what_the_connect_took(self) -> None:
        """Both directions of it."""
        for event in (TaskEvent.CLIENT_SHUTDOWN, TaskEvent.UPSTREAM_SHUTDOWN):
            log_tcp_connect(self.logger, self.task, event, 101.0)
            without = {"reason", "next_bind_ip", "tcp_connect_tries", "tcp_connect_spend"}
            self.assertEqual(list(self.recorder.fields), [name for name in TCP.split() if name not in without])
            self.assertEqual(self.recorder.fields["task_event"], event.value)

    def test_a_record_tells_what_is_so_when_it_is_written(self) -> None:
        """Also where a record before it has told something else."""
        for peer, user in ((("203.0.113.9", 443), "root"), (("203.0.113.10", 443), "root"), (("203.0.113.10", 443), "toor")):
            self.task.connect.peer, self.task.user = peer, SimpleNamespace(name=user)
            log_tcp_connect(self.logger, self.task, TaskEvent.FINISHED, 101.0)
            self.assertEqual((self.recorder.fields["next_peer_addr"], self.recorder.fields["user"]), (address(peer), user))

    def test_what_is_not_known_is_left_out(self) -> None:
        """No user, no connection, no upstream, zero durations."""
        task = Task("t", "s", "n", self.task.client, Upstream("", 0), 100.0)
        log_tcp_connect(self.logger, task, TaskEvent.FINISHED, 100.0, error=errors.Idle())
        wanted = ["task_type", "task_id", "task_event", "stage", "start_at", "server_addr", "client_addr", "escaper", "tcp_connect_tries", "reason"]
        self.assertEqual(list(self.recorder.fields), [*wanted, *BYTES])


class HTTPForwardTest(Case):
    """HttpForward."""

    def setUp(self) -> None:
        super().setUp()
        self.http = http = HTTPForwardNotes("GET", "http://u:secret@example.com/" + "a" * 100, 40)
        http.user_agent = "curl"
        http.pipeline_wait, http.reuse_connection = 0.002, True
        http.rsp_status, http.origin_status = 200, 404
        http.dur_req_send_hdr, http.dur_req_send_all, http.dur_rsp_recv_hdr, http.dur_rsp_recv_all = 0.1, 0.2, 0.3, 0.4

    def log(self, event: TaskEvent, error: errors.TaskError | None = None) -> list[str]:
        log_http_forward(self.logger, self.task, self.http, event, 101.5, error=error, traffic=(1, 2, 3, 4))
        return list(self.recorder.fields)

    def test_finished_has_everything_in_upstreams_order(self) -> None:
        """The request beside the connection."""
        self.assertEqual(self.log(TaskEvent.FINISHED, errors.Finished()), HTTP.split())
        fields = self.recorder.fields
        self.assertEqual(fields["uri"], ("http://u:xyz@example.com/" + "a" * 100)[:40])
        self.assertEqual((fields["reuse_connection"], fields["rsp_status"], fields["origin_status"]), (True, 200, 404))
        self.assertEqual((fields["dur_req_send_hdr"], fields["dur_rsp_recv_all"], fields["total_time"]), ("100.000ms", "400.000ms", "1.500s"))

    def test_created(self) -> None:
        """The request and nothing of the way."""
        names = self.log(TaskEvent.CREATED)
        self.assertEqual(names, [*HTTP.split()[:9], "pipeline_wait", "method", "uri", "user_agent", "wait_time"])

    def test_connected(self) -> None:
        """The way too, but no answer."""
        names = self.log(TaskEvent.CONNECTED)
        wanted = ["pipeline_wait", "reuse_connection", "method", "uri", "user_agent", "wait_time", "ready_time"]
        self.assertEqual(names, [*HTTP.split()[:16], *wanted])

    def test_periodic_has_the_total_before_the_steps(self) -> None:
        """As upstream has it."""
        names = self.log(TaskEvent.PERIODIC)
        self.assertEqual(set(names), set(HTTP.split()) - {"reason"})
        self.assertLess(names.index("total_time"), names.index("dur_req_send_hdr"))

    def test_no_user_agent_is_left_out(self) -> None:
        """Also an empty one."""
        self.http.user_agent = ""
        self.assertNotIn("user_agent", self.log(TaskEvent.FINISHED, errors.Finished()))


FTP = """task_type task_id task_event stage start_at user server_addr client_addr upstream escaper next_bind_ip next_expire
ftp_c_bound_addr ftp_c_peer_addr ftp_c_connect_tries ftp_c_connect_spend ftp_d_bound_addr ftp_d_peer_addr ftp_d_connect_tries
ftp_d_connect_spend reason method uri user_agent rsp_status wait_time ready_time total_time c_rd_bytes c_wr_bytes ftp_c_rd_bytes ftp_c_wr_bytes
ftp_d_rd_bytes ftp_d_wr_bytes"""


class FTPTest(Case):
    """FTP over HTTP."""

    def setUp(self) -> None:
        super().setUp()
        data = ConnectNotes()
        data.local, data.peer, data.tries, data.spend = ("192.0.2.1", 7), ("192.0.2.2", 8), 2, 0.25
        self.ftp = FTPNotes("GET", "ftp://u:secret@example.com/", 100, data)
        self.ftp.user_agent, self.ftp.rsp_status = "curl", 200
        self.ftp.control_read, self.ftp.control_written, self.ftp.data_read, self.ftp.data_written = 5, 6, 7, 8

    def log(self, event: TaskEvent, error: errors.TaskError | None = None) -> list[str]:
        log_ftp_over_http(self.logger, self.task, self.ftp, event, 101.5, error=error, traffic=(1, 2, 0, 0))
        return list(self.recorder.fields)

    def test_finished_has_everything_in_upstreams_order(self) -> None:
        """Both connections, and the bytes of each."""
        self.assertEqual(self.log(TaskEvent.FINISHED, errors.Finished()), FTP.split())
        fields = self.recorder.fields
        self.assertEqual([fields[name] for name in FTP.split()[-6:]], [1, 2, 5, 6, 7, 8])
        names = ("ftp_d_bound_addr", "ftp_d_peer_addr", "ftp_d_connect_tries", "ftp_d_connect_spend", "uri")
        wanted = ["192.0.2.1:7", "192.0.2.2:8", 2, "250.000ms", "ftp://u:xyz@example.com/"]
        self.assertEqual([fields[name] for name in names], wanted)
        self.assertEqual(fields["ftp_c_peer_addr"], address(self.task.connect.peer))

    def test_periodic_has_no_reason(self) -> None:
        """And everything else."""
        self.assertEqual(self.log(TaskEvent.PERIODIC), [name for name in FTP.split() if name != "reason"])

    def test_created_and_connected_know_no_data_connection(self) -> None:
        """Nor what it moved."""
        self.assertEqual(self.log(TaskEvent.CREATED), [*FTP.split()[:9], "method", "uri", "user_agent", "wait_time"])
        wanted = [*FTP.split()[:16], "method", "uri", "user_agent", "rsp_status", "wait_time", "ready_time", "ftp_c_rd_bytes", "ftp_c_wr_bytes"]
        self.assertEqual(self.log(TaskEvent.CONNECTED), wanted)


class EscapeTest(Case):
    """What went wrong on the way."""

    def test_tcp_connect(self) -> None:
        """The reason is the class of the error."""
        escape.log_tcp_connect(self.logger, self.task, errors.TimeoutByRule())
        wanted = """escape_type task_id upstream override_peer next_bind_ip next_bound_addr next_peer_addr next_expire tcp_connect_tries
        tcp_connect_spend reason"""
        self.assertEqual(list(self.recorder.fields), wanted.split())
        self.assertEqual((self.recorder.fields["escape_type"], self.recorder.fields["reason"]), ("TcpConnect", "TimeoutByRule"))
        self.assertEqual(self.recorder.message, str(errors.TimeoutByRule()))

    def test_tls_handshake(self) -> None:
        """Whom it was with."""
        failed = errors.UpstreamTlsHandshakeFailed("bad certificate")
        escape.log_tls_handshake(
            self.logger, self.task, failed, tls_name="example.com", tls_peer=self.task.upstream, tls_application=escape.HTTP_FORWARD
        )
        wanted = "escape_type task_id upstream next_bind_ip next_bound_addr next_peer_addr next_expire tls_name tls_peer tls_application"
        self.assertEqual(list(self.recorder.fields), wanted.split(" "))
        self.assertEqual(self.recorder.message, "bad certificate")
        self.assertEqual((self.recorder.fields["tls_peer"], self.recorder.fields["tls_application"]), ("example.com:443", "HttpForward"))

    def test_udp_sendto(self) -> None:
        """A datagram."""
        escape.log_udp_sendto(self.logger, self.task, errors.ForbiddenRemoteAddress())
        wanted = "escape_type task_id upstream next_bound_addr next_peer_addr next_expire reason"
        self.assertEqual(list(self.recorder.fields), wanted.split(" "))


class ResolveTest(Case):
    """Names without an answer."""

    def test_the_fields_of_the_type_come_first(self) -> None:
        """Then what every resolver says."""
        resolve.log_resolve_error(
            self.logger, [("server", "127.0.0.1:53"), ("bind_ipv4", None)], "AAAA", 0.5, "query", ResolveError("ServerError", "NOTFOUND"), "a.test"
        )
        self.assertEqual(
            list(self.recorder.fields.items()),
            [
                ("server", "127.0.0.1:53"),
                ("query_type", "AAAA"),
                ("duration", "500.000ms"),
                ("rr_source", "query"),
                ("error_type", "ServerError"),
                ("error_subtype", "NOTFOUND"),
                ("domain", "a.test"),
            ],
        )


class UDPTest(Case):
    """UdpConnect and UdpAssociate."""

    NOTES = UDPNotes(("192.0.2.1", 5000), ("192.0.2.7", 6000), Upstream("a.test", 53), 1, 2, 3, 4, 5, 6, 7, 8)

    def fields(self, task_type: str, event: TaskEvent, **options: Any) -> list[str]:
        self.task.type = task_type
        log_udp(self.logger, self.task, self.NOTES, event, 101.5, **options)
        return list(self.recorder.fields)

    def test_finished_has_everything_in_upstreams_order(self) -> None:
        """Each type with what it knows of the way."""
        connect = "upstream escaper next_bind_ip next_bound_addr next_peer_addr next_expire"
        for task_type, way in (("UdpConnect", connect), ("UdpAssociate", "initial_peer escaper")):
            self.assertEqual(self.fields(task_type, TaskEvent.FINISHED, error=errors.ClosedByClient()), UDP.format(way=way).split())
        self.assertEqual(
            [self.recorder.fields[name] for name in ("udp_listen_addr", "udp_client_addr", "initial_peer", "c_rd_bytes", "r_wr_packets")],
            ["192.0.2.1:5000", "192.0.2.7:6000", "a.test:53", 1, 8],
        )
        self.assertEqual((self.recorder.message, self.recorder.fields["reason"]), ("closed by client", "ClosedByClient"))

    def test_created_knows_the_tcp_connection_only(self) -> None:
        """No address of UDP, no escaper, no count."""
        self.assertEqual(
            self.fields("UdpConnect", TaskEvent.CREATED),
            ["task_type", "task_id", "task_event", "stage", "start_at", "user", "tcp_server_addr", "tcp_client_addr", "wait_time"],
        )

    def test_connected_has_counted_the_first_datagram(self) -> None:
        """What came from the client, and nothing else yet."""
        fields = self.fields("UdpAssociate", TaskEvent.CONNECTED)
        self.assertEqual(fields[-4:], ["wait_time", "ready_time", "c_rd_bytes", "c_rd_packets"])

    def test_the_escape_record_of_one_datagram(self) -> None:
        """It names the datagram's upstream and addresses, not the task's."""
        error = errors.ForbiddenTargetIpAddress()
        escape.log_udp_sendto(self.logger, self.task, error, upstream=Upstream("b.test", 9), local=("192.0.2.3", 1), peer=("192.0.2.4", 9))
        self.assertEqual(
            [self.recorder.fields[name] for name in ("escape_type", "upstream", "next_bound_addr", "next_peer_addr", "reason")],
            ["UdpSendto", "b.test:9", "192.0.2.3:1", "192.0.2.4:9", "ForbiddenTargetIpAddress"],
        )
