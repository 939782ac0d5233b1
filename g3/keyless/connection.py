# SPDX-License-Identifier: Apache-2.0
"""One client of a key server: requests in, answers out, and the record of how it ended (upstream: g3keymess, simplex and multiplex).

Brief operations run here, in order, in slices of time, so that other clients get their turn; without signing threads those of RSA, too. Else
these are handed on, in multiplex mode several at once, and answered as they are done. Where requests come faster than answers leave, no more is read.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any, ClassVar
from typing import Protocol as Shape

from twisted.internet.interfaces import IHalfCloseableProtocol, IPushProducer
from twisted.internet.protocol import Protocol
from zope.interface import implementer

from g3.ids import new_id
from g3.keyless.actions import ACTIONS
from g3.keyless.signing import Job
from g3.logs.fields import address, duration, timestamp
from g3.net.libssl.library import LibraryError
from g3.proto.keyless import (
    ERROR_TEXTS,
    MAX_MESSAGE,
    ErrorCode,
    KeylessError,
    Splitter,
    encode_error,
    encode_pong,
    encode_response,
    parse_request,
)

if TYPE_CHECKING:
    from collections.abc import Callable

    from twisted.python.failure import Failure

    from g3.keyless.actions import Action
    from g3.keyless.config import KeyServerConfig
    from g3.keyless.keys import KeyRing
    from g3.keyless.signing import SigningThreads
    from g3.keyless.stats import RequestStats
    from g3.logs.logger import Logger
    from g3.net.libssl.keys import Engine, PrivateKey
    from g3.proto.keyless import Request
    from g3.task import ClientInfo

#: Seconds that one client's operations may take before others have their turn.
SLICE = 0.005
#: Seconds that a client which has just come has for its first request when the server leaves.
FIRST_REQUEST = 1.0

_NO_OP = 0
_CRYPTO_FAILED = int(ErrorCode.CRYPTOGRAPHY_FAILED)
_KEY_NOT_FOUND = int(ErrorCode.KEY_NOT_FOUND)
_BAD_OPCODE = int(ErrorCode.BAD_OPCODE)
_MALFORMED = int(ErrorCode.MALFORMED)


class Server(Shape):
    """What a connection needs of its server."""

    config: KeyServerConfig
    online: bool
    reactor: Any
    clock: Callable[[], float]
    ring: KeyRing
    engine: Engine
    threads: SigningThreads | None
    requests: tuple[RequestStats, ...]
    task_logger: Logger | None
    request_logger: Logger | None

    def must_wait(self, connection: KeylessConnection) -> bool: ...

    def job_begins(self) -> None: ...

    def job_done(self) -> None: ...

    def gone(self, connection: Any) -> None: ...


@implementer(IHalfCloseableProtocol, IPushProducer)
class KeylessConnection(Protocol):
    """A client connection of a key server, which keeps it and calls L{tick}, L{retire} and L{quit}."""

    #: It is a task from the beginning.
    fresh: ClassVar[bool] = False

    def __init__(self, server: Server, stream: Any, info: ClientInfo) -> None:
        self.server = server
        self.stream = stream
        self.info = info
        self.counted_in = self.counted_out = 0
        self._id = new_id()
        self._started = time.time()
        self._splitter = Splitter()
        self._out: list[bytes] = []
        self._jobs: dict[Job, None] = {}
        self._depth = max(server.config.multiplex_queue_depth, 1)
        self._messages = 0
        self._deadline = 0.0
        self._timer: Any = None
        self._again: Any = None
        self._grace: Any = None
        self._eof = self._leaving = self._over = False
        #: Why nothing more is taken from this client, while what it asked for before is still worked on.
        self._fault = ""
        #: Why we do not go on for now: the client does not take its answers, or the server is at its limit.
        self._choked = self._waits = False
        self._paused = False

    # -- from the stream

    def connectionMade(self) -> None:
        self.stream.registerProducer(self, True)
        if not self.server.online:
            self.retire()

    def dataReceived(self, data: bytes) -> None:
        self._splitter.feed(data)
        if self._again is None:
            self._work()

    def readConnectionLost(self) -> None:
        """The client sends no more; what it asked for is still answered."""
        self._eof = True
        if self._again is None:
            self._work()

    def writeConnectionLost(self) -> None:
        """We never end our direction alone."""

    def connectionLost(self, reason: Failure | None = None) -> None:
        if not self._over:
            what = "unknown" if reason is None else str(reason.value)
            if getattr(self.stream, "write_failed", False):
                self._end(f"write failed: {what}")
            elif self._messages:
                self._end(f"read failed: {what}")
            else:
                self._end(None)
        self._stop_timers()
        self._jobs.clear()
        self.server.gone(self)

    def pauseProducing(self) -> None:
        """The client is slow to take its answers."""
        self._choked = True

    def resumeProducing(self) -> None:
        """It has taken them."""
        self._choked = False
        self.go_on()

    def stopProducing(self) -> None:
        """The stream is gone; connectionLost says so."""

    # -- from the server

    def tick(self, now: float) -> None:
        """Give up what a signing thread takes too long for."""
        limit = now - self.server.config.async_op_timeout
        late = [job for job in self._jobs if job.created < limit and not job.abandoned]
        for job in late:
            job.abandoned = True
            del self._jobs[job]
            self._finish(job, None)
        if late:
            self.go_on()

    def retire(self) -> None:
        """The server takes no more work: answer what was asked, then close. Who came a moment ago is heard first."""
        if self._messages or self._eof:
            self._leave()
        elif self._grace is None and not self._over:
            self._grace = self.server.reactor.callLater(FIRST_REQUEST, self._leave)

    def _leave(self) -> None:
        self._leaving = True
        if self._again is None:
            self._work()

    def quit(self) -> None:
        """Close now."""
        self._end("server force quit")
        self.stream.abortConnection()

    def finished(self, job: Job) -> None:
        """A signing thread is done with a job; L{go_on} comes next."""
        self.server.job_done()
        if not job.abandoned:
            self._jobs.pop(job, None)
            self._finish(job, job.result)

    def go_on(self) -> None:
        """What kept us may be over: send what is ready, take what waits."""
        self._waits = False
        if self._again is None:
            self._work()

    # -- requests

    def _work(self) -> None:
        """Take requests until there is no whole one, or something keeps us; then send what is answered."""
        if self._over:
            return
        try:
            complete = bool(self._fault) or self._take()
        except KeylessError as error:
            complete, self._fault = True, f"invalid request: {error}"
        self._send()
        if self._over:
            return
        if self._messages and self._grace is not None:
            self._leaving = True
        if not complete:
            self._bound_backlog()
        elif self._fault or self._eof or self._leaving:
            self._finish_up()
        else:
            self._watch_arrival()

    def _take(self) -> bool:
        """Whether all whole requests were taken. Raises KeylessError."""
        clock, splitter, threads = self.server.clock, self._splitter, self.server.threads
        began = now = clock()
        todo: list[Job] = []
        complete = False
        try:
            while not self._choked and len(self._jobs) < self._depth and not self._waits:
                if threads is not None and self.server.must_wait(self):
                    self._waits = True
                    break
                message = splitter.take()
                if message is None:
                    complete = True
                    break
                request = parse_request(*message)
                self._messages += 1
                self._deadline = 0.0
                now = self._handle(request, now, todo)
                if now - began > SLICE:
                    self._again = self.server.reactor.callLater(0, self._resume)
                    break
        finally:
            if todo and threads is not None:
                threads.submit(todo)
        return complete

    def _resume(self) -> None:
        self._again = None
        self._work()

    def _sort(self, request: Request) -> tuple[RequestStats, Action | None, PrivateKey | None, int]:
        """What a request is counted as; what to do with which key; or the error to answer with. In upstream's order of checks."""
        _, opcode, ski, payload = request
        action = ACTIONS[opcode]
        groups = self.server.requests
        if action is None:
            return groups[_NO_OP], None, None, _BAD_OPCODE
        if action.length >= 0 and action.length != len(payload):
            return groups[_NO_OP], None, None, _MALFORMED
        requests = groups[action.group]
        if action.operation is None:
            return requests, action, None, 0
        key = self.server.ring.by_ski.get(ski)
        if key is None:
            return requests, None, None, _KEY_NOT_FOUND
        if action.operation.decrypts and key.size != len(payload):
            return requests, None, None, _MALFORMED
        return requests, action, key, 0

    def _handle(self, request: Request, began: float, todo: list[Job]) -> float:
        """Answer now, or have it done. Returns the time."""
        number, _, _, payload = request
        requests, action, key, code = self._sort(request)
        requests.total += 1
        if action is None:
            self._fail(requests, number, code, began)
        elif key is None or action.operation is None:
            requests.passed += 1
            self._out.append(encode_pong(number, payload))
        elif self._is_for_threads(action, todo):
            requests.alive += 1
            job = Job(self, number, action, action.operation, key, payload, began)
            self._jobs[job] = None
            todo.append(job)
            self.server.job_begins()
            return began
        else:
            try:
                result = self.server.engine.run(key, action.operation, payload)
            except LibraryError:
                self._fail(requests, number, _CRYPTO_FAILED, began)
            else:
                requests.passed += 1
                self._out.append(encode_response(number, result))
        now: float = self.server.clock()
        durations = requests.durations
        if durations is not None:
            durations.record(int((now - began) * 1_000_000_000))
        return now

    def _is_for_threads(self, action: Action, todo: list[Job]) -> bool:
        """RSA is, unless too much waits already. A brief operation costs half again as much by way of a thread as here."""
        threads = self.server.threads
        return threads is not None and not action.brief and threads.room(len(todo))

    def _finish(self, job: Job, result: bytes | None) -> None:
        requests = self.server.requests[job.action.group]
        requests.alive -= 1
        if self._over:
            return
        if result is None:
            self._fail(requests, job.number, _CRYPTO_FAILED, job.created)
        else:
            requests.passed += 1
            self._out.append(encode_response(job.number, result))
        if requests.durations is not None:
            requests.durations.record(int((self.server.clock() - job.created) * 1_000_000_000))

    def _fail(self, requests: RequestStats, number: int, code: int, began: float) -> None:
        requests.fail(code)
        self._out.append(encode_error(number, code))
        logger = self.server.request_logger
        if logger is not None:
            spent = self.server.clock() - began
            logger.log(
                ERROR_TEXTS[code],
                [("task_id", self._id), ("msg_id", number), ("create_at", timestamp(time.time() - spent)), ("process_time", duration(spent))],
            )

    def _send(self) -> None:
        if self._out:
            out, self._out = self._out, []
            self.stream.write(b"".join(out))

    # -- what has not arrived, and what has arrived too early

    def _bound_backlog(self) -> None:
        """Requests wait: read no more once they fill a message's worth of memory."""
        self._deadline = 0.0
        if self._splitter.held >= MAX_MESSAGE and not self._paused:
            self._paused = True
            self.stream.pauseProducing()

    def _watch_arrival(self) -> None:
        """Everything whole was taken. A request that has begun must arrive in time."""
        if self._paused:
            self._paused = False
            self.stream.resumeProducing()
        if not self._splitter.held:
            self._deadline = 0.0
        elif not self._deadline:
            seconds = self.server.config.request_read_timeout
            self._deadline = self.server.clock() + seconds
            if self._timer is None:
                self._timer = self.server.reactor.callLater(seconds, self._look_at_deadline)

    def _look_at_deadline(self) -> None:
        """One timer serves many deadlines: setting one costs nothing, so a passed one is looked at again."""
        self._timer = None
        if not self._deadline or self._over:
            return
        left = self._deadline - self.server.clock()
        if left > 0:
            self._timer = self.server.reactor.callLater(left, self._look_at_deadline)
        else:
            self._fault = "read request timeout"
            self._work()

    # -- the end

    def _finish_up(self) -> None:
        """The client has ended, or we are leaving: close when everything is answered."""
        if self._jobs:
            self.stream.pauseProducing()
        elif self._fault:
            self._close(self._fault)
        elif not self._eof:
            self._close("server force quit")
        elif not self._splitter.held:
            self._close("no error")
        else:
            self._close("read failed: early eof" if self._messages else None)

    def _close(self, reason: str | None) -> None:
        """Close once what is answered is sent."""
        self._end(reason)
        self.stream.unregisterProducer()
        self.stream.loseConnection()

    def _end(self, reason: str | None) -> None:
        """Note how it ended; None is not logged: the client was gone before its first request was whole."""
        if self._over:
            return
        self._over = True
        self._stop_timers()
        logger = self.server.task_logger
        if logger is not None and reason is not None:
            logger.log(
                reason,
                [
                    ("task_id", self._id),
                    ("start_at", timestamp(self._started)),
                    ("server_addr", address(self.info.server)),
                    ("client_addr", address(self.info.client)),
                ],
            )

    def _stop_timers(self) -> None:
        for timer in (self._timer, self._again, self._grace):
            if timer is not None and timer.active():
                timer.cancel()
        self._timer = self._again = self._grace = None
