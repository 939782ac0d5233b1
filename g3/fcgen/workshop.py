# SPDX-License-Identifier: Apache-2.0
"""Threads that make certificates, each with a forge of its own, fed from one bounded queue."""

from __future__ import annotations

import time
from queue import SimpleQueue
from threading import Thread
from typing import TYPE_CHECKING, Any, Final

from twisted.logger import Logger
from zope.interface import implementer

from g3.fcgen.forge import Forge
from g3.interfaces import IMetricSource
from g3.metrics.histogram import RotatingHistogram
from g3.metrics.sample import COUNTER, Sample
from g3.mkcert.keys import CertificateError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from g3.fcgen.config import Backend
    from g3.lookup.certificates import Answered
    from g3.proto.certgen import CertificateReply, CertificateRequest

    Finished = Callable[[CertificateReply | None], None]

log = Logger()

#: Requests that may wait.
ROOM: Final = 1024
#: Seconds that threads have to end.
LAST_WAIT: Final = 5.0

_COUNTERS: Final = ("refresh_total", "refresh_ok", "request_total", "request_ok")


@implementer(IMetricSource)
class Workshop:
    """C{number} threads that make certificates with C{backend}.

    @ivar durations: from the receipt of a request to the sending of its reply, nanoseconds.
    """

    def __init__(self, reactor: Any, backend: Backend, number: int = 1) -> None:
        self._reactor = reactor
        self.durations = RotatingHistogram(backend.duration_stats, reactor.seconds)
        self._forges = [Forge(backend, time.monotonic) for _ in range(max(number, 1))]
        self._queue: SimpleQueue[tuple[CertificateRequest, Finished] | None] = SimpleQueue()
        self._threads: list[Thread] = []
        self.waiting = 0

    def start(self) -> None:
        """Begin. Not before a daemon has forked: threads do not survive that."""
        if not self._threads:
            self._threads = [Thread(target=self._work, args=(forge,), name="certificates", daemon=True) for forge in self._forges]
            for thread in self._threads:
                thread.start()

    @property
    def full(self) -> bool:
        """No request more is taken."""
        return self.waiting >= ROOM

    def submit(self, request: CertificateRequest, finished: Finished) -> bool:
        """Have one made; C{finished(reply)} is called from the reactor, with None when there is to be none. False when L{ROOM} wait already."""
        if self.full or not self._threads:
            return False
        self.waiting += 1
        self._queue.put((request, finished))
        return True

    def stop(self) -> None:
        """End the threads after what they are at; what waits is dropped."""
        threads, self._threads = self._threads, []
        while not self._queue.empty():
            self._queue.get_nowait()
        for _ in threads:
            self._queue.put(None)
        for thread in threads:
            thread.join(LAST_WAIT)

    def _work(self, forge: Forge) -> None:
        """A thread."""
        while True:
            job = self._queue.get()
            if job is None:
                return
            request, finished = job
            reply, error = None, ""
            try:
                reply = forge.make(request)
            except CertificateError as problem:
                error = str(problem)
            except Exception as problem:  # a certificate from outside must not end the thread
                error = f"{type(problem).__name__}: {problem}"
            self._reactor.callFromThread(self._made, request, finished, reply, error)

    def _made(self, request: CertificateRequest, finished: Finished, reply: CertificateReply | None, error: str) -> None:
        self.waiting -= 1
        if error:
            log.warn("{host}: no certificate: {error}", host=request.key.host, error=error)
        finished(reply)

    def samples(self) -> Iterator[Sample]:
        """IMetricSource."""
        for name in _COUNTERS:
            value = sum(getattr(forge, name) for forge in self._forges)
            if value:
                yield Sample(f"backend.{name}", COUNTER, value)
        yield from self.durations.samples("backend.request_duration", (), ())


class LocalGenerator:
    """A workshop in this process as what a certificate agent asks: g3.lookup.certificates.Generator."""

    def __init__(self, workshop: Workshop) -> None:
        self._workshop = workshop
        self._answered: Answered | None = None

    def start(self, answered: Answered) -> None:
        """Generator."""
        self._answered = answered
        self._workshop.start()

    def request(self, request: CertificateRequest) -> bool:
        """Generator."""
        return self._workshop.submit(request, self._finished)

    def _finished(self, reply: CertificateReply | None) -> None:
        if reply is not None and self._answered is not None:
            self._answered(reply)

    def stop(self) -> None:
        """Generator."""
        self._answered = None
        self._workshop.stop()
