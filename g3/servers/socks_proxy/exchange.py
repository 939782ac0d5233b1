# SPDX-License-Identifier: Apache-2.0
"""What a client asked for, from its request to its one final reason: what CONNECT and UDP ASSOCIATE have in common."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from g3.errors import CanceledAsServerQuit, ClosedByClient, TaskError
from g3.logs.task import TaskEvent
from g3.proto.socks import v4, v5
from g3.task import Stage, Task

if TYPE_CHECKING:
    from collections.abc import Callable

    from g3.servers.socks_proxy.client import Client
    from g3.task import Upstream

NEVER = float("inf")


class Exchange:
    """Made with its task counted as alive; ends once, by L{end}, and gives the client connection back."""

    __slots__ = ("_leave", "answered", "client", "ended", "server", "stream", "task", "version")

    def __init__(self, client: Client, version: int, task_type: str, upstream: Upstream) -> None:
        server = client.server
        now = server.clock()
        self.client = client
        self.server = server
        self.stream: Any = client.stream
        self.version = version
        self.task = Task(task_type, "socks_proxy", server.config.name, client.info, upstream, now)
        self.task.wait = now - client.accepted
        self.task.user = client.user
        self.task.path = client.path
        #: Whether the client was told how it went; it is told once.
        self.answered = False
        self.ended = False
        self._leave: Callable[[], object] | None = None
        server.adopt(self.task)

    def start(self) -> None:
        """Begin; called once, after the client connection knows its exchange."""
        raise NotImplementedError

    def client_data(self, data: bytes) -> None:
        """Bytes on the client's TCP connection."""
        raise NotImplementedError

    def fail(self, error: TaskError) -> None:
        """End with an error: tell the client if it can still be told, and log."""
        raise NotImplementedError

    def record(self, event: TaskEvent, error: TaskError | None = None) -> None:
        """Write a task record; called only where there is a task log."""
        raise NotImplementedError

    def expired(self, now: float) -> None:
        """The client connection's deadline has passed."""

    def idle_tick(self) -> None:
        """Another C{task_idle_check_interval} has passed."""

    def periodic(self) -> None:
        """C{task_log_flush_interval} has passed."""

    def client_ended(self) -> None:
        """The client closed its sending side."""

    def client_lost(self) -> None:
        self.fail(ClosedByClient())

    def quit(self) -> None:
        self.fail(CanceledAsServerQuit())

    def note(self, event: TaskEvent) -> None:
        """Write a record of an event, if there is a task log."""
        if self.server.task_log is not None:
            self.record(event)

    # -- gates

    def admit(self) -> None:
        """The user's gate: rate, alive count, type of request, and the upstream if it is known yet.

        @raise TaskError: refused.
        """
        if self.task.user is not None:
            self._leave = self.task.user.admit(self.task)

    # -- ends

    def answer(self, error: TaskError) -> bytes:
        """The reply that tells the client of an error."""
        if self.answered:
            return b""
        self.answered = True
        return v5.reply(error.socks5_reply) if self.version == v5.VERSION else v4.reply(v4.REJECTED)

    def end(self, error: TaskError, closes: bool = True) -> None:
        """The final reason is known: count and log."""
        self.ended = True
        if error.reason == "Finished":
            self.task.stage = Stage.FINISHED
        if self.server.task_log is not None:
            self.record(TaskEvent.FINISHED, error)
        leave, self._leave = self._leave, None
        if leave is not None:
            leave()
        self.server.task_ended()
