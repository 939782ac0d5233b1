# SPDX-License-Identifier: Apache-2.0
"""What servers that relay datagrams have in common: the way to a datagram path, and that path from its opening to its end."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol

from twisted.internet.defer import CancelledError, Deferred

from g3.errors import Idle, InternalServerError, MethodUnavailable, TaskError
from g3.interfaces import IUDPConnect, IUDPRelay
from g3.logs.task import TaskEvent
from g3.net.coroutine import begin
from g3.route import final_escaper
from g3.task import Stage

if TYPE_CHECKING:
    from g3.task import Task, Upstream


class Exchange(Protocol):
    """Whose datagrams they are. It hears its path itself, as the receiver that g3.interfaces describes."""

    task: Task
    client: Any

    def way_found(self) -> None:
        """The path is there; nothing has been relayed."""

    def relaying(self) -> None:
        """The path is read from now on; what the client has sent by now may be sent on."""

    def note(self, event: TaskEvent) -> None: ...

    def fail(self, error: TaskError) -> None: ...


async def _open_path(escaper: Any, task: Task, *, many: bool) -> Any:
    """An IDatagramPath for C{task} by C{escaper}, or by what routes lead to from it: to any number of upstreams if C{many}, else to its own.

    @raise MethodUnavailable: the escaper has none. @raise TaskError: it cannot be opened.
    """
    picked = final_escaper(escaper, task)
    if isinstance(picked, Deferred):
        picked = await picked
    if many:
        relay = IUDPRelay(picked, None)
        if relay is not None:
            return await relay.udp_relay(task)
    else:
        connect = IUDPConnect(picked, None)
        if connect is not None:
            return await connect.udp_connect(task)
    raise MethodUnavailable


class Way:
    """The way of an exchange's datagrams: opened, watched while they are relayed, counted and closed.

    @ivar path: the IDatagramPath, None until there is one.
    @ivar remote_in: bytes of datagrams from the upstream, counted by the exchange; C{remote_out}: to it, counted here.
    """

    __slots__ = (
        "_exchange",
        "_opening",
        "idle_max",
        "idle_seen",
        "idle_ticks",
        "path",
        "remote_in",
        "remote_in_packets",
        "remote_out",
        "remote_out_packets",
    )

    def __init__(self, exchange: Exchange) -> None:
        self.path: Any = None
        self.remote_in = self.remote_in_packets = self.remote_out = self.remote_out_packets = 0
        self.idle_seen = self.idle_ticks = 0
        self.idle_max: int = exchange.client.server.config.task_idle_max_count
        #: None once it is closed.
        self._exchange: Exchange | None = exchange
        self._opening: Deferred[None] | None = None

    def open(self, *, many: bool) -> None:
        """Open the path, to any number of upstreams if C{many}, and relay; without one the exchange fails. Once, before L{close}."""
        exchange = self._exchange
        if exchange is not None:
            exchange.task.stage = Stage.CONNECTING
            self._opening = begin(self._open(exchange.client.server, exchange.task, many))

    async def _open(self, server: Any, task: Task, many: bool) -> None:
        try:
            path = await _open_path(server.escaper, task, many=many)
        except TaskError as error:
            self._fail(error)
        except CancelledError:
            pass
        except Exception as error:
            server.failed(error)
            self._fail(InternalServerError())
        else:
            self._start(path)

    def _fail(self, error: TaskError) -> None:
        self._opening = None
        if self._exchange is not None:
            self._exchange.fail(error)

    def _start(self, path: Any) -> None:
        exchange, self._opening = self._exchange, None
        if exchange is None:
            path.close()
            return
        server, task = exchange.client.server, exchange.task
        self.path = path
        task.stage = Stage.CONNECTED
        if server.config.flush_task_log_on_connected:
            exchange.note(TaskEvent.CONNECTED)
        exchange.way_found()
        task.ready = server.clock() - task.created
        task.stage = Stage.RELAYING
        server.idle.add(self)
        path.start(exchange)
        exchange.relaying()

    def send(self, payload: Any, upstream: Upstream) -> float:
        """Send a datagram. The seconds in which no other may be sent."""
        self.remote_out_packets += 1
        self.remote_out += len(payload)
        delay: float = self.path.send(payload, upstream)
        return delay

    def close(self) -> None:
        """Close the path, or stop opening it; the exchange hears nothing more. Again: nothing."""
        exchange, self._exchange = self._exchange, None
        if exchange is not None:
            exchange.client.server.idle.remove(self)
        opening, self._opening = self._opening, None
        if opening is not None:
            opening.cancel()
        if self.path is not None:
            self.path.close()

    @property
    def activity(self) -> int:
        """A number that changes whenever a datagram moves."""
        return self.remote_in_packets + self.remote_out_packets

    def went_idle(self) -> None:
        """The watch has seen enough."""
        if self._exchange is not None:
            self._exchange.fail(Idle())

    def periodic(self) -> None:
        """C{task_log_flush_interval} has passed."""
        if self.path is not None and self._exchange is not None:
            self._exchange.note(TaskEvent.PERIODIC)
