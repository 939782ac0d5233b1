# SPDX-License-Identifier: Apache-2.0
"""Task log records (upstream: log/task). Which fields an event has, and their order, is here and nowhere else.

Every function takes the Logger of the server; the caller has checked that there is one and that the user's C{log_rate_limit} lets it log.
C{now} is monotonic seconds, of the clock of C{Task.created}.
"""

from __future__ import annotations

from enum import Enum
from functools import lru_cache
from typing import TYPE_CHECKING, NamedTuple, TypeAlias

from g3.logs.fields import address, duration, ip, moment, optional, timestamp, uri
from g3.proto.record import Filled, Layout, Part

if TYPE_CHECKING:
    from datetime import datetime

    from g3.errors import TaskError
    from g3.logs.logger import Logger
    from g3.proto.record import Value
    from g3.task import ConnectNotes, IPAddress, SocketAddress, Task, Upstream

    Values = tuple[Value, ...]
    Way = tuple[
        str | None, SocketAddress, SocketAddress, str, int, str | None, IPAddress | None, SocketAddress | None, SocketAddress | None, datetime | None
    ]


class TaskEvent(Enum):
    """When in its life a task is logged; the value is the field C{task_event}."""

    CREATED = "Created"
    CONNECTED = "Connected"
    PERIODIC = "Periodic"
    CLIENT_SHUTDOWN = "ClientShutdown"
    UPSTREAM_SHUTDOWN = "UpstreamShutdown"
    FINISHED = "Finished"


#: Bytes: read from and written to the client, read from and written to the remote.
Traffic: TypeAlias = "tuple[int, int, int, int]"
NO_TRAFFIC: Traffic = (0, 0, 0, 0)

# An enum is slow to ask.
_CREATED, _CONNECTED, _FINISHED = TaskEvent.CREATED, TaskEvent.CONNECTED, TaskEvent.FINISHED
_SHUTDOWN = (TaskEvent.CLIENT_SHUTDOWN, TaskEvent.UPSTREAM_SHUTDOWN)
#: Events whose record has all that is known.
_WHOLE = (TaskEvent.PERIODIC, TaskEvent.FINISHED)

# The names, in their order. What an event does not have is None. Safe are constants of ours, ids, times and durations.
_SAFE = """task_type task_id task_event stage start_at tcp_connect_spend ftp_c_connect_spend ftp_d_connect_spend pipeline_wait wait_time ready_time
dur_req_send_hdr dur_req_send_all dur_rsp_recv_hdr dur_rsp_recv_all total_time"""
_TASK = "task_type task_id task_event stage start_at"
_START = f"{_TASK} user server_addr client_addr upstream"
_WAY = "user server_addr client_addr upstream escaper next_bind_ip next_bound_addr next_peer_addr next_expire"
_BYTES = "c_rd_bytes c_wr_bytes r_rd_bytes r_wr_bytes"
_TUNNEL = Layout(f"start_at {_WAY}", safe="start_at")
_TCP_CONNECT = Layout(
    "task_type task_id task_event stage",
    _TUNNEL,
    f"tcp_connect_tries tcp_connect_spend reason wait_time ready_time total_time {_BYTES}",
    safe=f"{_SAFE} reason",
)
_ROUTE = Layout(_WAY)
_REQUEST = """tcp_connect_tries tcp_connect_spend reason pipeline_wait reuse_connection method uri user_agent rsp_status origin_status
wait_time ready_time"""
_STEPS = "dur_req_send_hdr dur_req_send_all dur_rsp_recv_hdr dur_rsp_recv_all"
_HTTP_FORWARD = Layout(_TASK, _ROUTE, f"{_REQUEST} {_STEPS} total_time {_BYTES}", safe=_SAFE)
_HTTP_FORWARD_RUNNING = Layout(_TASK, _ROUTE, f"{_REQUEST} total_time {_STEPS} {_BYTES}", safe=_SAFE)
_FTP_OVER_HTTP = Layout(
    f"{_START} escaper next_bind_ip next_expire ftp_c_bound_addr ftp_c_peer_addr ftp_c_connect_tries ftp_c_connect_spend"
    " ftp_d_bound_addr ftp_d_peer_addr ftp_d_connect_tries ftp_d_connect_spend reason method uri user_agent rsp_status wait_time ready_time"
    " total_time c_rd_bytes c_wr_bytes ftp_c_rd_bytes ftp_c_wr_bytes ftp_d_rd_bytes ftp_d_wr_bytes",
    safe=_SAFE,
)
_UDP_START = "task_type task_id task_event stage start_at user tcp_server_addr tcp_client_addr udp_listen_addr udp_client_addr"
_PACKETS = "c_rd_bytes c_rd_packets c_wr_bytes c_wr_packets r_rd_bytes r_rd_packets r_wr_bytes r_wr_packets"
_UDP_END = f"reason wait_time ready_time total_time {_PACKETS}"
_UDP_WAY = "upstream escaper next_bind_ip next_bound_addr next_peer_addr next_expire"
_UDP_CONNECT = Layout(f"{_UDP_START} {_UDP_WAY} {_UDP_END}", safe=_SAFE)
_UDP_ASSOCIATE = Layout(f"{_UDP_START} initial_peer escaper {_UDP_END}", safe=_SAFE)


def _nothing(count: int) -> Values:
    return (None,) * count


_NO_WAY = None, None, None, None, None
_NO_BYTES, _NO_STEPS, _NO_PACKETS, _NO_UDP_WAY = _nothing(4), _nothing(5), _nothing(8), _nothing(6)
_NO_FTP_WAY, _NO_PAIR = _nothing(4), _nothing(2)


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

    def __init__(
        self,
        method: str,
        uri: str,
        uri_max_chars: int = 1024,
        user_agent: str = "",
        pipeline_wait: float = 0.0,
        reuse_connection: bool = False,
        rsp_status: int = 0,
        origin_status: int = 0,
    ) -> None:
        self.method = method
        self.uri = uri
        self.uri_max_chars = uri_max_chars
        self.user_agent = user_agent
        self.pipeline_wait = pipeline_wait
        self.reuse_connection = reuse_connection
        self.rsp_status = rsp_status
        self.origin_status = origin_status
        self.dur_req_send_hdr = 0.0
        self.dur_req_send_all = 0.0
        self.dur_rsp_recv_hdr = 0.0
        self.dur_rsp_recv_all = 0.0


# C{_value_} and not C{value}, here and below: the latter goes through Python, twice a record.
def _start(task: Task, task_type: str, event: TaskEvent) -> Values:
    client, user, upstream = task.client, task.user, task.upstream
    return (
        task_type,
        task.id,
        event._value_,
        task.stage._value_,
        timestamp(task.started_at),
        None if user is None else user.name,
        address(client.server),
        address(client.client),
        address((upstream.host, upstream.port)) if upstream.host else None,
    )


def _way(task: Task, event: TaskEvent) -> Way:
    """Who, and by which way: what the texts of L{_WAY} are made of. A half close does not tell where the connection was bound to."""
    client, user, upstream, notes = task.client, task.user, task.upstream, task.connect
    name = None if user is None else user.name
    if event is _CREATED:
        return name, client.server, client.client, upstream.host, upstream.port, *_NO_WAY
    expire = None if notes.egress is None else notes.egress.expire
    bind_ip = None if event in _SHUTDOWN else notes.bind_ip
    return name, client.server, client.client, upstream.host, upstream.port, notes.escaper, bind_ip, notes.local, notes.peer, expire


_known_address = lru_cache(maxsize=1024)(address)  # of a server or an upstream


def _written(
    user: str | None,
    server: SocketAddress,
    client: SocketAddress,
    host: str,
    port: int,
    escaper: str | None,
    bind_ip: IPAddress | None,
    local: SocketAddress | None,
    peer: SocketAddress | None,
    expire: datetime | None,
) -> Values:
    upstream = _known_address((host, port)) if host else None
    return user, _known_address(server), address(client), upstream, escaper, ip(bind_ip), address(local), _known_address(peer), moment(expire)


@lru_cache(maxsize=1024)
def _route(way: Way) -> Part:
    """The same for the requests of a client that go by one connection."""
    return Part(_ROUTE, _written(*way))


def _tunnel(task: Task, event: TaskEvent) -> Part:
    """The same for the records of one task, with which it is kept: what a cache gives up last was used long ago, and is in no cache of the CPU."""
    way = _way(task, event)
    told = task.told
    if told is None or told[0] != way:
        told = task.told = way, Part(_TUNNEL, (timestamp(task.started_at), *_written(*way)))
    part: Part = told[1]
    return part


def _expire(notes: ConnectNotes) -> str | None:
    egress = notes.egress
    return None if egress is None else moment(egress.expire)


def _log(logger: Logger, layout: Layout, error: TaskError | None, values: tuple[Value | Part, ...]) -> None:
    logger.log("" if error is None else str(error), Filled(layout, values))


def log_tcp_connect(
    logger: Logger, task: Task, event: TaskEvent, now: float, *, error: TaskError | None = None, traffic: Traffic = NO_TRAFFIC
) -> None:
    """A tunnel or stream. C{error} is the final reason, and only C{FINISHED} has one."""
    tries = spend = ready = total = None
    counts: Values = _NO_BYTES
    if event is not _CREATED:
        ready = duration(task.ready)
        if event not in _SHUTDOWN:
            tries, spend = task.connect.tries, duration(task.connect.spend)
        if event is not _CONNECTED:
            total, counts = duration(now - task.created), traffic
    values = (
        "TcpConnect",
        task.id,
        event._value_,
        task.stage._value_,
        _tunnel(task, event),
        tries,
        spend,
        None if error is None else error.reason,
        duration(task.wait),
        ready,
        total,
        *counts,
    )
    _log(logger, _TCP_CONNECT, error, values)


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
    layout, created = _HTTP_FORWARD, event is _CREATED
    rsp_status, origin_status, steps, counts = None, None, _NO_STEPS, _NO_BYTES
    if event in _WHOLE:
        rsp_status, origin_status, counts = http.rsp_status, http.origin_status, traffic
        steps = _steps(http)
        total = duration(now - task.created)
        if event is _FINISHED:
            steps = (*steps, total)
        else:
            layout, steps = _HTTP_FORWARD_RUNNING, (total, *steps)
    wait = duration(task.wait)
    values = (
        "HttpForward",
        task.id,
        event._value_,
        task.stage._value_,
        timestamp(task.started_at),
        _route(_way(task, event)),
        None if created else task.connect.tries,
        None if created else duration(task.connect.spend),
        None if error is None else error.reason,
        wait if http.pipeline_wait == task.wait else duration(http.pipeline_wait),
        None if created else http.reuse_connection,
        http.method,
        uri(http.uri, http.uri_max_chars),
        optional(http.user_agent),
        rsp_status,
        origin_status,
        wait,
        None if created else duration(task.ready),
        *steps,
        *counts,
    )
    _log(logger, layout, error, values)


def _steps(http: HTTPForwardNotes) -> Values:
    head, whole = http.dur_req_send_hdr, http.dur_req_send_all
    sent = duration(head)
    return (
        sent,
        sent if whole == head else duration(whole),  # most requests are a head and no more
        duration(http.dur_rsp_recv_hdr),
        duration(http.dur_rsp_recv_all),
    )


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
    escaper = bind_ip = expire = status = ready = total = None
    control = data = _NO_FTP_WAY
    client_bytes = control_bytes = data_bytes = _NO_PAIR
    if event is not _CREATED:
        notes = task.connect
        escaper, bind_ip, expire, control = notes.escaper, ip(notes.bind_ip), _expire(notes), _ftp_connect(notes)
        status, ready, control_bytes = ftp.rsp_status, duration(task.ready), (ftp.control_read, ftp.control_written)
    if event in _WHOLE:
        data, total, data_bytes = _ftp_connect(ftp.data), duration(now - task.created), (ftp.data_read, ftp.data_written)
        client_bytes = traffic[:2]
    values = (
        *_start(task, "FtpOverHttp", event),
        escaper,
        bind_ip,
        expire,
        *control,
        *data,
        None if error is None else error.reason,
        ftp.method,
        uri(ftp.uri, ftp.uri_max_chars),
        optional(ftp.user_agent),
        status,
        duration(task.wait),
        ready,
        total,
        *client_bytes,
        *control_bytes,
        *data_bytes,
    )
    _log(logger, _FTP_OVER_HTTP, error, values)


def _ftp_connect(notes: ConnectNotes) -> Values:
    return address(notes.local), address(notes.peer), notes.tries, duration(notes.spend)


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
    client, notes = task.client, task.connect
    connect, created = task.type == "UdpConnect", event is _CREATED
    if connect:
        way = _NO_UDP_WAY if created else _udp_way(task)
    else:
        way = _NO_PAIR if created else (None if udp.initial_peer is None else str(udp.initial_peer), notes.escaper)
    packets = _NO_PACKETS
    if not created:
        packets = (*udp[3:5], *_NO_PACKETS[2:]) if event is _CONNECTED else udp[3:]
    values = (
        task.type,
        task.id,
        event._value_,
        task.stage._value_,
        timestamp(task.started_at),
        task.user_name,
        address(client.server),
        address(client.client),
        None if created else address(udp.listen),
        None if created else address(udp.client),
        *way,
        None if error is None else error.reason,
        duration(task.wait),
        None if created else duration(task.ready),
        duration(now - task.created) if event not in (_CREATED, _CONNECTED) else None,
        *packets,
    )
    _log(logger, _UDP_CONNECT if connect else _UDP_ASSOCIATE, error, values)


def _udp_way(task: Task) -> Values:
    notes = task.connect
    upstream = str(task.upstream) if task.upstream.host else None
    return upstream, notes.escaper, ip(notes.bind_ip), address(notes.local), address(notes.peer), _expire(notes)
