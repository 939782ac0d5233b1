# SPDX-License-Identifier: Apache-2.0
"""CONNECT: a tunnel to the upstream, answered once that is there (RFC 9110 section 9.3.6)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from g3.errors import DestDenied
from g3.proto.http1.reply import connect_ok
from g3.servers.http.exchange import NEVER, Exchange
from g3.servers.http.tasklog import log_connect
from g3.servers.tunnel import TUNNEL_SLOTS, Tunnel

if TYPE_CHECKING:
    from typing import Any

    from g3.errors import TaskError
    from g3.logs.task import TaskEvent
    from g3.proto.http1.request import Request
    from g3.servers.http.client import Client
    from g3.servers.http.target import Target
    from g3.task import Task


class Connect(Tunnel, Exchange):
    """One tunnel. While it connects the client stays watched, and what it sends ahead waits in its connection's buffer."""

    __slots__ = (*TUNNEL_SLOTS, "server", "stream")

    task_type = "TcpConnect"
    task: Task
    ended: bool

    def __init__(self, client: Client, request: Request, target: Target, now: float) -> None:
        Exchange.__init__(self, client, request, target, now)  # super() makes an object
        self._connecting = self.upstream = self.relay = None
        self.server: Any = client.server
        self.stream: Any = client.stream

    def start(self) -> None:
        if not self.admitted():
            return
        try:
            self.permit()
        except DestDenied as error:
            self.fail(error)
            return
        self.client.deadline = NEVER
        self.connect()

    def greet(self) -> bytes:
        client, custom = self.client, self.client.server.custom_headers
        if self.marks is not None:
            self.marks.mark_upstream(self.upstream)
        extra = () if custom is None else custom.connection_lines(self.task.connect)
        client.stream.write(connect_ok(self.request.version, extra))
        self.rsp_status = 200
        return client.take()

    def refuse(self, error: TaskError) -> None:
        Exchange.fail(self, error)

    def disowned(self) -> None:
        self.client.lost = True

    def end(self, error: TaskError, closes: bool) -> None:
        Exchange.end(self, error, closes)
        if self.upstream is not None:
            self.client.server.gone(self.client)

    def expired(self) -> None:
        """The escaper keeps the time of its connects."""

    def record(self, event: TaskEvent, error: TaskError | None = None) -> None:
        server = self.client.server
        if server.task_log is not None:
            log_connect(server.task_log, self, event, server.clock(), error)
