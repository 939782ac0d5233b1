# SPDX-License-Identifier: Apache-2.0
"""Servers whose clients say nothing to the proxy: each connection is one task, a tunnel to an upstream that is known without asking.

What fails is closed without a word, since there is no protocol in which to say why; the task log has it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from twisted.internet.interfaces import IHalfCloseableProtocol
from zope.interface import implementer

from g3.errors import CanceledAsServerQuit, ClosedByClient, G3Error, InternalServerError, TaskError
from g3.interfaces import IFactUsers
from g3.logs.task import TaskEvent, log_tcp_connect
from g3.servers.tasks import TaskServer
from g3.servers.tunnel import TUNNEL_SLOTS, Tunnel
from g3.task import Stage, Task

if TYPE_CHECKING:
    from collections.abc import Callable

    from twisted.python.failure import Failure

    from g3.servers.config import TaskServerConfig
    from g3.task import ClientInfo, IPAddress, Upstream
    from g3.tree.node import NodeContext


class StreamServer(TaskServer):
    """A server of L{StreamConnection}s. With C{by_facts} its clients belong to users whom a user group makes out."""

    def __init__(self, config: TaskServerConfig, context: NodeContext, *, by_facts: bool) -> None:
        super().__init__(config, context)
        self._by_facts = by_facts

    def user_of(self, fact: IPAddress | str) -> Any:
        """The user to whom a client belongs, None where it need not belong to one.

        @raise TaskError: it belongs to nobody who may come in; counted.
        """
        if not (self.gated and self._by_facts):
            return None
        try:
            return IFactUsers(self.users).user_of(fact)
        except TaskError:
            self.stats.forbidden_auth_failed += 1
            raise


@implementer(IHalfCloseableProtocol)
class StreamConnection(Tunnel):
    """A client connection, and the one task that it becomes by L{begin}. While that connects, the client is watched and not read.

    @ivar task: None until it has begun. @ivar lost: there is nobody to close any more.
    """

    __slots__ = (*TUNNEL_SLOTS, "_leave", "accepted", "counted_in", "counted_out", "ended", "info", "lost", "server", "stream", "task")

    server: Any
    stream: Any

    def __init__(self, server: StreamServer, stream: Any, info: ClientInfo) -> None:
        self._connecting = self.upstream = self.relay = None
        self._leave: Callable[[], object] | None = None
        self.server = server
        self.stream = stream
        self.info = info
        self.accepted = server.clock()
        self.counted_in = self.counted_out = 0
        self.ended = self.lost = False
        self.task: Task = None  # type: ignore[assignment]

    @property
    def exchange(self) -> StreamConnection | None:
        """Itself while it is a task."""
        return None if self.task is None or self.ended else self

    # -- the task

    def begin(self, upstream: Upstream, user: Any) -> None:
        """Be a tunnel to C{upstream} from now on, and read no more here."""
        server = self.server
        now = server.clock()
        task = self.task = Task("TcpConnect", server.type_word, server.config.name, self.info, upstream, now)
        task.wait = now - self.accepted
        task.user = user
        server.adopt(task)
        self.stream.pauseProducing()
        self.stream.watch_hangup(self._hung_up)
        try:
            if user is not None:
                self._leave = user.admit(task)
        except TaskError as error:
            self.fail(error)
        else:
            self.connect()

    def greet(self) -> bytes:
        return b""

    def refuse(self, error: TaskError) -> None:
        self.end(error)
        self.close()

    def close(self) -> None:
        """Close the client's stream, and be gone."""
        if not self.lost:
            self.lost = True
            self.stream.loseConnection()
        self.server.gone(self)

    def disowned(self) -> None:
        self.lost = True

    def end(self, error: TaskError, closes: bool = True) -> None:
        self.ended = True
        if error.reason == "Finished":
            self.task.stage = Stage.FINISHED
        if self.server.task_log is not None:
            self._record(TaskEvent.FINISHED, error)
        leave, self._leave = self._leave, None
        if leave is not None:
            leave()
        if self.lost:
            self.server.gone(self)
        self.server.task_ended()

    def note(self, event: TaskEvent) -> None:
        if self.server.task_log is not None:
            self._record(event, None)

    def _record(self, event: TaskEvent, error: TaskError | None) -> None:
        server, stream, upstream = self.server, self.stream, self.upstream
        written = stream.bytes_out + stream.queued
        remote = (0, 0) if upstream is None else (upstream.bytes_in, upstream.bytes_out)
        traffic = (stream.bytes_in, written, *remote)
        log_tcp_connect(server.task_log, self.task, event, server.clock(), error=error, traffic=traffic)

    # -- the server's calls

    @property
    def fresh(self) -> bool:
        """Whether it has not begun."""
        return self.task is None and not self.lost

    def tick(self, now: float) -> None:
        """Every second; the escaper keeps the time of its connects."""

    def idle_tick(self) -> None:
        """The relay counts by itself."""

    def quit(self) -> None:
        if self.exchange is not None:
            self.fail(CanceledAsServerQuit())
        else:
            self.close()

    # -- the client's stream, until the relay has it

    def makeConnection(self, transport: object) -> None:
        """The client is there. An error of L{opened} is the end."""
        try:
            self.opened()
        except G3Error as error:
            self.turn_away(error)
        except Exception as error:
            self.server.failed(error)
            self.turn_away(InternalServerError())

    def opened(self) -> None:
        """Begin, or see first what the client sends. What it raises closes the client."""
        raise NotImplementedError

    def turn_away(self, error: G3Error) -> None:
        """No task came of it: close, with a line at debug level."""
        self.server.refused(self.info, error)
        if self.exchange is not None:
            self.fail(error if isinstance(error, TaskError) else InternalServerError())
        else:
            self.close()

    def dataReceived(self, data: bytes) -> None:
        """Read in the turn in which reading was paused: it waits for the relay."""
        self.stream.unread(data)

    def _hung_up(self, gone: bool) -> None:
        """A client that is C{gone} is told of by connectionLost; one that only ended its direction may still be answered."""

    def readConnectionLost(self) -> None:
        """Nothing is to come but what waits for the relay already."""

    def writeConnectionLost(self) -> None:
        """We end no direction before the relay does."""

    def connectionLost(self, reason: Failure | None = None) -> None:
        self.lost = True
        if self.exchange is not None:
            self.fail(ClosedByClient())
        else:
            self.server.gone(self)
