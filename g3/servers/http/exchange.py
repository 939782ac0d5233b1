# SPDX-License-Identifier: Apache-2.0
"""One request of a client connection, from its head to its one final reason: what forward and CONNECT have in common."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from g3.errors import CLOSE, CanceledAsServerQuit, ClosedByClient, ConnectError, ResolveFailed, TaskError
from g3.logs.task import TaskEvent
from g3.proto.http1.reply import reply
from g3.servers.http.tasklog import Marks
from g3.task import Stage, Task

if TYPE_CHECKING:
    from collections.abc import Callable

    from g3.proto.http1.request import Request
    from g3.servers.http.client import Client
    from g3.servers.http.target import Target

NEVER = float("inf")
_FINISHED = Stage.FINISHED  # an enum is slow to ask


class Exchange:
    """Made with its task counted as alive; ends once, by L{end}, and tells its client connection."""

    __slots__ = ("client", "ended", "leave", "marks", "request", "rsp_status", "target", "task", "wants_body")

    task_type = ""
    #: To be called when it ends; only where it belongs to a user.
    leave: Callable[[], object] | None

    def __init__(self, client: Client, request: Request, target: Target, now: float, task: Task | None = None) -> None:
        """@param task: of an exchange that hands its request over to this one: counted already."""
        server = client.server
        self.client = client
        self.request = request
        self.target = target
        if task is None:
            config = server.config
            task = Task(self.task_type, config.type_word, config.name, client.info, target.upstream, now)
            task.path = target.path
            server.adopt(task)
        else:
            task.type = self.task_type
        self.task = task
        self.rsp_status = 0
        #: Whether bytes from the client belong to this exchange (and not to the next request).
        self.wants_body = False
        self.ended = False
        self.marks = Marks(self) if server.task_log is not None else None

    def start(self) -> None:
        """Begin; called once, after the client connection knows its exchange."""
        raise NotImplementedError

    def belong_to(self, user: Any) -> None:
        """It is C{user}'s; said before L{start}, if at all."""
        self.task.user = user
        self.leave = None

    def admitted(self) -> bool:
        """Whether the user lets the task in, where there is one: rate, alive count, type of request, upstream. If not, it has failed."""
        user = self.task.user
        if user is not None:
            try:
                self.leave = user.admit(self.task)
            except TaskError as error:
                self.fail(error)
                return False
        return True

    def left(self) -> None:
        """Let the user go, once."""
        leave, self.leave = self.leave, None
        if leave is not None:
            leave()

    def body_received(self, data: bytes) -> None:
        """Bytes from the client, while C{wants_body}."""
        raise NotImplementedError

    def release(self) -> None:
        """Let go of the upstream side, whatever it is doing."""
        raise NotImplementedError

    def record(self, event: TaskEvent, error: TaskError | None = None) -> None:
        """Write a task record; called only where there is a task log."""
        raise NotImplementedError

    def note(self, event: TaskEvent) -> None:
        """Write a record of an event, if there is a task log."""
        if self.marks is not None:
            self.record(event)

    def expired(self) -> None:
        """The client connection's deadline has passed."""
        raise NotImplementedError

    def idle_tick(self) -> None:
        """Another C{task_idle_check_interval} has passed."""

    def periodic(self) -> None:
        """C{task_log_flush_interval} has passed."""

    def client_ended(self) -> None:
        """The client closed its sending side."""
        if self.wants_body:
            self.fail(ClosedByClient("client closed in the middle of its request"))

    def client_lost(self) -> None:
        self.fail(ClosedByClient())

    def quit(self) -> None:
        self.fail(CanceledAsServerQuit())

    def fail(self, error: TaskError) -> None:
        """End with an error: tell the client if it can still be told, and log."""
        if self.ended:
            return
        self.release()
        closes = error.closes or self.wants_body or self.client.closes_after(self.request)
        self.answer(error, closes)
        self.end(error, closes)

    def answer(self, error: TaskError, closes: bool) -> None:
        """Answer with the error's status; nothing where the error says so."""
        status, text = error.http_status, ""
        if self.task.connect.override_peer is not None and isinstance(error, ResolveFailed):
            status, text = 400, "Proxy targeting didn't find a match"
        if status == CLOSE or self.client.lost:
            return
        server = self.client.server
        custom = server.custom_headers
        connected = isinstance(error, ConnectError) or self.task.connect.peer is not None
        extra = custom.connection_lines(self.task.connect) if custom is not None and connected and not text else []
        if server.proxy_status is not None:
            extra.append(server.proxy_status.line(error))
        head = self.request.method == b"HEAD"
        self.client.stream.write(reply(status, self.request.version, close=closes, extra=extra, message=text, head=head))
        self.rsp_status = status

    def end(self, error: TaskError, closes: bool) -> None:
        """The final reason is known: count, log, and give the client connection back."""
        self.ended = True
        if self.task.user is not None:
            self.left()
        if error.reason == "Finished":
            self.task.stage = _FINISHED
        if self.marks is not None:
            self.record(TaskEvent.FINISHED, error)
        self.client.exchange_ended(closes or (error.http_status == CLOSE and error.reason != "Finished"))
        self.client.task_ended()
