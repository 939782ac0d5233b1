# SPDX-License-Identifier: Apache-2.0
"""What an exchange tells the task log."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol

from g3.logs.task import FTPNotes, HTTPForwardNotes, TaskEvent, log_ftp_over_http, log_http_forward, log_tcp_connect

if TYPE_CHECKING:
    from g3.errors import TaskError
    from g3.logs.logger import Logger
    from g3.logs.task import Traffic
    from g3.proto.http1.request import Request
    from g3.servers.http.client import Client
    from g3.servers.http.target import Target
    from g3.task import ConnectNotes, Task


class Logged(Protocol):
    """An exchange as the log sees it."""

    client: Client
    request: Request
    target: Target
    task: Task
    marks: Marks | None
    rsp_status: int


class Forwarded(Logged, Protocol):
    """A forwarded one; C{times} as in L{g3.servers.http.forward}."""

    reused: bool
    origin_status: int
    times: list[float]


class FTP(Logged, Protocol):
    """One for an ftp:// URI; C{data} as in L{g3.servers.http_proxy.ftp_exchange}."""

    data: ConnectNotes


class Marks:
    """Byte counts of both streams when the exchange began with them, to be taken off their counts at the end."""

    __slots__ = ("client_in", "client_out", "upstream", "upstream_in", "upstream_out")

    def __init__(self, exchange: Logged) -> None:
        client = exchange.client
        self.client_in = client.stream.bytes_in - exchange.request.head_size - len(client.buffer)
        self.client_out = client.stream.bytes_out + client.stream.queued
        self.upstream: Any = None
        self.upstream_in = self.upstream_out = 0

    def mark_upstream(self, stream: Any) -> None:
        """This exchange begins to use an upstream stream."""
        self.upstream = stream
        self.upstream_in, self.upstream_out = stream.bytes_in, stream.bytes_out

    def traffic(self, exchange: Logged) -> Traffic:
        stream, upstream = exchange.client.stream, self.upstream
        read = stream.bytes_in - self.client_in - len(exchange.client.buffer)
        written = stream.bytes_out + stream.queued - self.client_out
        if upstream is None:
            return read, written, 0, 0
        return read, written, upstream.bytes_in - self.upstream_in, upstream.bytes_out - self.upstream_out


def log_connect(logger: Logger, exchange: Logged, event: TaskEvent, now: float, error: TaskError | None) -> None:
    """A record of a tunnel."""
    marks = exchange.marks
    if marks is not None:
        log_tcp_connect(logger, exchange.task, event, now, error=error, traffic=marks.traffic(exchange))


def log_forward(logger: Logger, exchange: Forwarded, event: TaskEvent, now: float, error: TaskError | None) -> None:
    """A record of a forwarded request."""
    request, marks = exchange.request, exchange.marks
    if marks is None:
        return
    task = exchange.task
    notes = HTTPForwardNotes(
        request.method.decode("ascii"),
        _uri(exchange),
        exchange.client.server.config.log_uri_max_chars,
        _user_agent(request),
        task.wait,
        exchange.reused,
        exchange.rsp_status,
        exchange.origin_status,
    )
    ready = task.created
    sent_head, sent_all, got_head, got_all = exchange.times  # 0 where it did not come to that, which is no duration
    notes.dur_req_send_hdr, notes.dur_req_send_all = sent_head and sent_head - ready, sent_all and sent_all - ready
    notes.dur_rsp_recv_hdr, notes.dur_rsp_recv_all = got_head and got_head - ready, got_all and got_all - ready
    log_http_forward(logger, task, notes, event, now, error=error, traffic=marks.traffic(exchange))


def log_ftp(logger: Logger, exchange: FTP, event: TaskEvent, now: float, error: TaskError | None, control: Any, data: Any) -> None:
    """A record of FTP over HTTP; C{control} and C{data} are the streams, None where there is none."""
    request, marks = exchange.request, exchange.marks
    if marks is None:
        return
    notes = FTPNotes(request.method.decode("ascii"), _uri(exchange), exchange.client.server.config.log_uri_max_chars, exchange.data)
    notes.user_agent = _user_agent(request)
    notes.rsp_status = exchange.rsp_status
    if control is not None:
        notes.control_read, notes.control_written = control.bytes_in, control.bytes_out
    if data is not None:
        notes.data_read, notes.data_written = data.bytes_in, data.bytes_out
    log_ftp_over_http(logger, exchange.task, notes, event, now, error=error, traffic=marks.traffic(exchange))


def _uri(exchange: Logged) -> str:
    return exchange.target.logged(exchange.request).decode("latin-1")


def _user_agent(request: Request) -> str:
    agent = request.get(b"user-agent")
    return "" if agent is None else agent.decode("latin-1")
