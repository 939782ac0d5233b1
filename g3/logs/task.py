# SPDX-License-Identifier: Apache-2.0
"""Task log records (upstream: log/task). Which fields an event has, and their order, is here and nowhere else.

Every function takes the Logger of the server; the caller has checked that there is one and that the user's C{log_rate_limit} lets it log.
C{now} is monotonic seconds, of the clock of C{Task.created}.
"""

from __future__ import annotations

from enum import Enum
from typing import TYPE_CHECKING, NamedTuple

from g3.logs.fields import address, duration, ip, moment, optional, timestamp, uri

if TYPE_CHECKING:
    from g3.errors import TaskError
    from g3.logs.fields import Value
    from g3.logs.logger import Logger
    from g3.task import ConnectNotes, SocketAddress, Task, Upstream

    Pairs = list[tuple[str, Value]]


class TaskEvent(Enum):
    """When in its life a task is logged; the value is the field C{task_event}."""

    CREATED = "Created"
    CONNECTED = "Connected"
    PERIODIC = "Periodic"
    CLIENT_SHUTDOWN = "ClientShutdown"
    UPSTREAM_SHUTDOWN = "UpstreamShutdown"
    FINISHED = "Finished"


class Traffic(NamedTuple):
    """Bytes: read from and written to the client, read from and written to the remote."""

    client_read: int = 0
    client_written: int = 0
    remote_read: int = 0
    remote_written: int = 0


NO_TRAFFIC = Traffic()

# An enum is slow to ask.
_CREATED, _CONNECTED, _FINISHED = TaskEvent.CREATED, TaskEvent.CONNECTED, TaskEvent.FINISHED
_SHUTDOWN = (TaskEvent.CLIENT_SHUTDOWN, TaskEvent.UPSTREAM_SHUTDOWN)
#: Events whose record has all that is known.
_WHOLE = (TaskEvent.PERIODIC, TaskEvent.FINISHED)


class HTTPForwardNotes:
    """What the log of a forwarded request tells beside its task. Durations in seconds since the request was ready, zero when not reached."""

    __slots__ = (
        "dur_req_send_all",
        "dur_req_send_hdr",
        "dur_rsp_recv_all",
        "dur_rsp_recv_hdr",
        "method",
        "origin_status",
        "pipeline_wait",
        "reuse_connection",
        "rsp_status",
        "uri",
        "uri_max_chars",
        "user_agent",
    )

    def __init__(self, method: str, uri: str, uri_max_chars: int = 1024) -> None:
        self.method = method
        self.uri = uri
        self.uri_max_chars = uri_max_chars
        self.user_agent = ""
        self.pipeline_wait = 0.0
        self.reuse_connection = False
        self.rsp_status = 0
        self.origin_status = 0
        self.dur_req_send_hdr = 0.0
        self.dur_req_send_all = 0.0
        self.dur_rsp_recv_hdr = 0.0
        self.dur_rsp_recv_all = 0.0


# C{_value_} and not C{value}, here and below: the latter goes through Python, twice a record.
def _start(task: Task, task_type: str, event: TaskEvent) -> Pairs:
    client = task.client
    return [
        ("task_type", task_type),
        ("task_id", task.id.hex),
        ("task_event", event._value_),
        ("stage", task.stage._value_),
        ("start_at", timestamp(task.started_at)),
        ("user", task.user_name),
        ("server_addr", address(client.server)),
        ("client_addr", address(client.client)),
        ("upstream", _upstream(task)),
    ]


def _upstream(task: Task) -> str | None:
    return str(task.upstream) if task.upstream.host else None


def _connect(task: Task, shutdown: bool = False) -> Pairs:
    notes = task.connect
    egress = notes.egress
    fields: Pairs = [("escaper", notes.escaper)]
    if not shutdown:
        fields.append(("next_bind_ip", ip(notes.bind_ip)))
    fields += [
        ("next_bound_addr", address(notes.local)),
        ("next_peer_addr", address(notes.peer)),
        ("next_expire", None if egress is None else moment(egress.expire)),
    ]
    if not shutdown:
        fields += [("tcp_connect_tries", notes.tries), ("tcp_connect_spend", duration(notes.spend))]
    return fields


def _bytes(traffic: Traffic) -> Pairs:
    return [
        ("c_rd_bytes", traffic.client_read),
        ("c_wr_bytes", traffic.client_written),
        ("r_rd_bytes", traffic.remote_read),
        ("r_wr_bytes", traffic.remote_written),
    ]


def log_tcp_connect(
    logger: Logger, task: Task, event: TaskEvent, now: float, *, error: TaskError | None = None, traffic: Traffic = NO_TRAFFIC
) -> None:
    """A tunnel or stream. C{error} is the final reason, and only C{FINISHED} has one."""
    fields = _start(task, "TcpConnect", event)
    if event is not _CREATED:
        fields += _connect(task, event in _SHUTDOWN)
    if error is not None:
        fields.append(("reason", error.reason))
    fields.append(("wait_time", duration(task.wait)))
    if event is not _CREATED:
        fields.append(("ready_time", duration(task.ready)))
        if event is not _CONNECTED:
            fields.append(("total_time", duration(now - task.created)))
            fields += _bytes(traffic)
    logger.log("" if error is None else str(error), fields)


def log_http_forward(
    logger: Logger,
    task: Task,
    http: HTTPForwardNotes,
    event: TaskEvent,
    now: float,
    *,
    error: TaskError | None = None,
    traffic: Traffic = NO_TRAFFIC,
) -> None:
    """A forwarded request; a shutdown event has no record of this type. C{error} as in L{log_tcp_connect}."""
    fields = _start(task, "HttpForward", event)
    created = event is _CREATED
    if not created:
        fields += _connect(task)
    if error is not None:
        fields.append(("reason", error.reason))
    fields.append(("pipeline_wait", duration(http.pipeline_wait)))
    if not created:
        fields.append(("reuse_connection", http.reuse_connection))
    fields += [
        ("method", http.method),
        ("uri", uri(http.uri, http.uri_max_chars)),
        ("user_agent", optional(http.user_agent)),
    ]
    if event in _WHOLE:
        fields += [("rsp_status", http.rsp_status), ("origin_status", http.origin_status)]
    fields.append(("wait_time", duration(task.wait)))
    if not created:
        fields.append(("ready_time", duration(task.ready)))
    if event in _WHOLE:
        fields += _http_durations(http, duration(now - task.created), event)
        fields += _bytes(traffic)
    logger.log("" if error is None else str(error), fields)


def _http_durations(http: HTTPForwardNotes, total: str | None, event: TaskEvent) -> Pairs:
    fields: Pairs = [
        ("dur_req_send_hdr", duration(http.dur_req_send_hdr)),
        ("dur_req_send_all", duration(http.dur_req_send_all)),
        ("dur_rsp_recv_hdr", duration(http.dur_rsp_recv_hdr)),
        ("dur_rsp_recv_all", duration(http.dur_rsp_recv_all)),
    ]
    return [*fields, ("total_time", total)] if event is _FINISHED else [("total_time", total), *fields]


class FTPNotes:
    """What the log of FTP over HTTP tells beside its task: the request, how the data connection was made, and the bytes of either connection.
    How the control connection was made is with the task."""

    __slots__ = (
        "control_read",
        "control_written",
        "data",
        "data_read",
        "data_written",
        "method",
        "rsp_status",
        "uri",
        "uri_max_chars",
        "user_agent",
    )

    def __init__(self, method: str, uri: str, uri_max_chars: int, data: ConnectNotes) -> None:
        self.method = method
        self.uri = uri
        self.uri_max_chars = uri_max_chars
        self.data = data
        self.user_agent = ""
        self.rsp_status = 0
        self.control_read = self.control_written = self.data_read = self.data_written = 0


def log_ftp_over_http(
    logger: Logger, task: Task, ftp: FTPNotes, event: TaskEvent, now: float, *, error: TaskError | None = None, traffic: Traffic = NO_TRAFFIC
) -> None:
    """A request for an ftp:// URI. C{error} as in L{log_tcp_connect}."""
    fields = _start(task, "FtpOverHttp", event)
    created, whole = event is _CREATED, event in _WHOLE
    if not created:
        fields += _ftp_connects(task.connect, ftp.data if whole else None)
    if error is not None:
        fields.append(("reason", error.reason))
    fields += [("method", ftp.method), ("uri", uri(ftp.uri, ftp.uri_max_chars)), ("user_agent", optional(ftp.user_agent))]
    if not created:
        fields.append(("rsp_status", ftp.rsp_status))
    fields.append(("wait_time", duration(task.wait)))
    if not created:
        fields.append(("ready_time", duration(task.ready)))
    if whole:
        fields.append(("total_time", duration(now - task.created)))
        fields += [("c_rd_bytes", traffic.client_read), ("c_wr_bytes", traffic.client_written)]
    if not created:
        fields += [("ftp_c_rd_bytes", ftp.control_read), ("ftp_c_wr_bytes", ftp.control_written)]
    if whole:
        fields += [("ftp_d_rd_bytes", ftp.data_read), ("ftp_d_wr_bytes", ftp.data_written)]
    logger.log("" if error is None else str(error), fields)


def _ftp_connects(control: ConnectNotes, data: ConnectNotes | None) -> Pairs:
    egress = control.egress
    fields: Pairs = [
        ("escaper", control.escaper),
        ("next_bind_ip", ip(control.bind_ip)),
        ("next_expire", None if egress is None else moment(egress.expire)),
    ]
    for letter, notes in (("c", control), ("d", data)):
        if notes is not None:
            fields += [
                (f"ftp_{letter}_bound_addr", address(notes.local)),
                (f"ftp_{letter}_peer_addr", address(notes.peer)),
                (f"ftp_{letter}_connect_tries", notes.tries),
                (f"ftp_{letter}_connect_spend", duration(notes.spend)),
            ]
    return fields


class UDPNotes(NamedTuple):
    """What the log of a UDP session tells beside its task: the addresses of the client's UDP socket (ours and the client's), where its first
    datagram went, and the bytes and packets of either side."""

    listen: SocketAddress | None = None
    client: SocketAddress | None = None
    initial_peer: Upstream | None = None
    client_read: int = 0
    client_read_packets: int = 0
    client_written: int = 0
    client_written_packets: int = 0
    remote_read: int = 0
    remote_read_packets: int = 0
    remote_written: int = 0
    remote_written_packets: int = 0


def log_udp(logger: Logger, task: Task, udp: UDPNotes, event: TaskEvent, now: float, *, error: TaskError | None = None) -> None:
    """A UDP session, by its C{task.type}: UdpConnect has one upstream, UdpAssociate any number. C{error} as in L{log_tcp_connect}."""
    client = task.client
    fields: Pairs = [
        ("task_type", task.type),
        ("task_id", task.id.hex),
        ("task_event", event._value_),
        ("stage", task.stage._value_),
        ("start_at", timestamp(task.started_at)),
        ("user", task.user_name),
        ("tcp_server_addr", address(client.server)),
        ("tcp_client_addr", address(client.client)),
    ]
    if event is not _CREATED:
        fields += [("udp_listen_addr", address(udp.listen)), ("udp_client_addr", address(udp.client))]
        fields += _udp_connect(task) if task.type == "UdpConnect" else _udp_associate(task, udp)
    if error is not None:
        fields.append(("reason", error.reason))
    fields.append(("wait_time", duration(task.wait)))
    if event is not _CREATED:
        fields.append(("ready_time", duration(task.ready)))
        if event is not _CONNECTED:
            fields.append(("total_time", duration(now - task.created)))
        fields += _packets(udp, event)
    logger.log("" if error is None else str(error), fields)


def _udp_connect(task: Task) -> Pairs:
    notes = task.connect
    return [
        ("upstream", _upstream(task)),
        ("escaper", notes.escaper),
        ("next_bind_ip", ip(notes.bind_ip)),
        ("next_bound_addr", address(notes.local)),
        ("next_peer_addr", address(notes.peer)),
        ("next_expire", None if notes.egress is None else moment(notes.egress.expire)),
    ]


def _udp_associate(task: Task, udp: UDPNotes) -> Pairs:
    return [("initial_peer", None if udp.initial_peer is None else str(udp.initial_peer)), ("escaper", task.connect.escaper)]


def _packets(udp: UDPNotes, event: TaskEvent) -> Pairs:
    fields: Pairs = [("c_rd_bytes", udp.client_read), ("c_rd_packets", udp.client_read_packets)]
    if event is _CONNECTED:
        return fields
    return [
        *fields,
        ("c_wr_bytes", udp.client_written),
        ("c_wr_packets", udp.client_written_packets),
        ("r_rd_bytes", udp.remote_read),
        ("r_rd_packets", udp.remote_read_packets),
        ("r_wr_bytes", udp.remote_written),
        ("r_wr_packets", udp.remote_written_packets),
    ]
