# SPDX-License-Identifier: Apache-2.0
"""CONNECT: a tunnel to the upstream, answered once that is there (RFC 9110 section 9.3.6)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from twisted.internet.defer import CancelledError, Deferred

from g3.errors import DestDenied, InternalServerError, MethodUnavailable, TaskError
from g3.interfaces import ITCPConnect
from g3.logs.task import TaskEvent
from g3.proto.http1.reply import connect_ok
from g3.relay.join import Relay, join
from g3.route import final_escaper
from g3.servers.http_proxy.exchange import NEVER, Exchange
from g3.servers.http_proxy.headers import connection_lines
from g3.servers.http_proxy.tasklog import log_connect
from g3.task import Stage

if TYPE_CHECKING:
    from typing import Any

    from g3.proto.http1.request import Request
    from g3.servers.http_proxy.connection import ClientConnection
    from g3.servers.http_proxy.target import Target


class Connect(Exchange):
    """One tunnel. While it connects the client stays watched, and what it sends ahead waits in its connection's buffer."""

    __slots__ = ("_connecting", "relay", "upstream")

    task_type = "TcpConnect"

    def __init__(self, client: ClientConnection, request: Request, target: Target, now: float) -> None:
        super().__init__(client, request, target, now)
        self._connecting: Deferred[None] | None = None
        self.upstream: Any = None
        self.relay: Relay | None = None

    def start(self) -> None:
        server = self.client.server
        if server.destination.forbids(self.task.upstream):
            server.stats.forbidden_dest_denied += 1
            self.fail(DestDenied())
            return
        if server.config.flush_task_log_on_created:
            self.note(TaskEvent.CREATED)
        self.client.deadline = NEVER
        self.task.stage = Stage.CONNECTING
        self._connecting = Deferred.fromCoroutine(self._open())

    async def _open(self) -> None:
        server = self.client.server
        try:
            picked = final_escaper(server.escaper, self.task)
            escaper = await picked if isinstance(picked, Deferred) else picked
            way = ITCPConnect(escaper, None)
            if way is None:
                raise MethodUnavailable
            upstream = await way.tcp_connect(self.task)
        except TaskError as error:
            self._connecting = None
            self.fail(error)
        except CancelledError:
            pass
        except Exception as error:
            server.failed(error)
            self.fail(InternalServerError())
        else:
            self._connecting = None
            self._join(upstream)

    def _join(self, upstream: Any) -> None:
        """The upstream is there: say so, then relay."""
        client, task = self.client, self.task
        server = client.server
        self.upstream = upstream
        if self.marks is not None:
            self.marks.mark_upstream(upstream)
        task.stage = Stage.CONNECTED
        if server.config.flush_task_log_on_connected:
            self.note(TaskEvent.CONNECTED)
        task.stage = Stage.REPLYING
        extra = connection_lines(server.config, task.connect) if server.custom_headers else ()
        client.stream.write(connect_ok(self.request.version, extra))
        self.rsp_status = 200
        task.ready = server.clock() - task.created
        task.stage = Stage.RELAYING
        ahead = client.take()
        if ahead:
            client.stream.unread(ahead)
        config = server.config
        upstream.read_size = config.tcp_copy_buffer_size
        relay = join(
            client.stream,
            upstream,
            finished=self._relayed,
            on_half_close=self._half_closed,
            idle=server.idle,
            idle_max=config.task_idle_max_count,
        )
        if not self.ended:
            self.relay = relay

    def _half_closed(self, side: str) -> None:
        """One side has no more to send; the other goes on."""
        self.note(TaskEvent.CLIENT_SHUTDOWN if side == "left" else TaskEvent.UPSTREAM_SHUTDOWN)

    def _relayed(self, error: TaskError) -> None:
        """Both ends are done; the relay closes the streams."""
        self.relay = None
        self.client.lost = True
        self.end(error, True)
        self.client.server.gone(self.client)

    def release(self) -> None:
        if self._connecting is not None:
            connecting, self._connecting = self._connecting, None
            connecting.cancel()

    def fail(self, error: TaskError) -> None:
        if self.relay is not None:
            self.relay.stop(error)
            return
        super().fail(error)

    def expired(self) -> None:
        """The escaper keeps the time of its connects."""

    def periodic(self) -> None:
        """Write the periodic record of a running tunnel."""
        if self.relay is not None:
            self.note(TaskEvent.PERIODIC)

    def record(self, event: TaskEvent, error: TaskError | None = None) -> None:
        server = self.client.server
        if server.task_log is not None:
            log_connect(server.task_log, self, event, server.clock(), error)
