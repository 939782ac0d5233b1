# SPDX-License-Identifier: Apache-2.0
"""What every tunnel does, whatever its client speaks: reach the upstream by the escaper, say so, relay, and end with one reason."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from twisted.internet.defer import CancelledError, Deferred

from g3.errors import InternalServerError, MethodUnavailable, TaskError
from g3.interfaces import ITCPConnect
from g3.logs.task import TaskEvent
from g3.net.coroutine import begin
from g3.relay.join import Relay, join
from g3.route import final_escaper
from g3.servers.tasks import permit
from g3.task import Stage

if TYPE_CHECKING:
    from collections.abc import Awaitable

    from g3.servers.tasks import TaskServer
    from g3.task import Task

_CONNECTING, _CONNECTED, _REPLYING, _RELAYING = Stage.CONNECTING, Stage.CONNECTED, Stage.REPLYING, Stage.RELAYING  # an enum is slow to ask
#: The slots that a tunnel's class must have, set to None in its C{__init__}.
TUNNEL_SLOTS = ("_connecting", "relay", "upstream")


class Tunnel:
    """Mixin of a task that joins the client's stream with one of an escaper's.

    While it connects the client stays watched, and what it sends ahead waits with its connection. A class says what it is a tunnel of
    (C{server}, C{stream}, C{task}), what the client is told (L{greet}, L{refuse}) and what is logged (L{note}).

    @ivar relay: the running relay, else None. @ivar upstream: the stream to the upstream once there is one.
    """

    if not TYPE_CHECKING:
        __slots__ = ()  # the class that mixes it in has them, beside those of its other base

    task: Task
    ended: bool
    upstream: Any
    relay: Relay | None
    _connecting: Deferred[None] | None

    if TYPE_CHECKING:  # what a class brings

        @property
        def server(self) -> TaskServer:
            """Whose task it is."""

        @property
        def stream(self) -> Any:
            """The client's."""

        def note(self, event: TaskEvent) -> None:
            """Write a record of an event, if there is a task log."""

        def greet(self) -> bytes:
            """Tell the client that the upstream is there; what the client has sent ahead."""

        def refuse(self, error: TaskError) -> None:
            """It ends before it relays: tell the client, and L{end}."""

        def end(self, error: TaskError, closes: bool) -> None:
            """The final reason is known: count, log, and give the client connection back."""

        def disowned(self) -> None:
            """The relay has ended and closed the client's stream."""

    def reach(self, escaper: Any) -> Awaitable[Any]:
        """To await: a stream to the upstream by C{escaper}."""
        if not ITCPConnect.providedBy(escaper):
            raise MethodUnavailable
        return escaper.tcp_connect(self.task)  # type: ignore[no-any-return]

    # -- the way

    def permit(self) -> None:
        """@raise DestDenied: the server's rules keep its clients from there; counted."""
        permit(self.server, self.task.upstream)

    def connect(self) -> None:
        """Reach the upstream and go on from there. All that fails is told to L{fail}."""
        if self.server.config.flush_task_log_on_created:
            self.note(TaskEvent.CREATED)
        self.task.stage = _CONNECTING
        self._connecting = begin(self._open())

    async def _open(self) -> None:
        server = self.server
        try:
            escaper = server.escaper
            picked = final_escaper(escaper, self.task)
            if picked is not escaper and isinstance(picked, Deferred):  # the second test is slow
                picked = await picked
            upstream = await self.reach(picked)
            upstream.read_size = server.config.tcp_copy_buffer_size
        except TaskError as error:
            self._connecting = None
            self.fail(error)
        except CancelledError:
            pass
        except Exception as error:
            self._connecting = None
            server.failed(error)
            self.fail(InternalServerError())
        else:
            self._connecting = None
            self._join(upstream)

    def _join(self, upstream: Any) -> None:
        """The upstream is there: say so, then relay."""
        server, task = self.server, self.task
        config = server.config
        self.upstream = upstream
        task.stage = _CONNECTED
        if config.flush_task_log_on_connected:
            self.note(TaskEvent.CONNECTED)
        task.stage = _REPLYING
        ahead = self.greet()
        task.ready = server.clock() - task.created
        task.stage = _RELAYING
        stream = self.stream
        if ahead:
            stream.unread(ahead)
        relay = join(
            stream,
            upstream,
            finished=self._relayed,
            on_half_close=self._half_closed,
            idle=server.idle,
            idle_max=config.task_idle_max_count,
            turn=config.tcp_copy_yield_size,
        )
        if not self.ended:
            self.relay = relay

    def _half_closed(self, side: str) -> None:
        """One side has no more to send; the other goes on."""
        self.note(TaskEvent.CLIENT_SHUTDOWN if side == "left" else TaskEvent.UPSTREAM_SHUTDOWN)

    def _relayed(self, error: TaskError) -> None:
        """Both ends are done; the relay closes the streams."""
        self.relay = None
        self.disowned()
        self.end(error, True)

    # -- ends

    def release(self) -> None:
        """Connect no more."""
        if self._connecting is not None:
            connecting, self._connecting = self._connecting, None
            connecting.cancel()

    def fail(self, error: TaskError) -> None:
        """End with C{error}, however far it has come. Nothing when it has ended."""
        if self.relay is not None:
            self.relay.stop(error)
        elif not self.ended:
            self.release()
            self.refuse(error)

    def periodic(self) -> None:
        """Write the periodic record of a running tunnel."""
        if self.relay is not None:
            self.note(TaskEvent.PERIODIC)
