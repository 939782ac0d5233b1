# SPDX-License-Identifier: Apache-2.0
"""Threads that sign. OpenSSL works without the interpreter lock, so each thread more is a CPU more for RSA.

A job goes to a thread and comes back through a queue; the main thread is woken once for all that is done by then. When many wait they
travel in runs.
"""

from __future__ import annotations

import os
from collections import deque
from queue import SimpleQueue
from threading import Thread
from typing import TYPE_CHECKING, Any

from twisted.internet.interfaces import IReadDescriptor
from twisted.logger import Logger
from zope.interface import implementer

from g3.net.libssl.keys import Engine
from g3.net.libssl.library import LibraryError

if TYPE_CHECKING:
    from twisted.python.failure import Failure

    from g3.keyless.actions import Action
    from g3.net.libssl.keys import Operation, PrivateKey

_log = Logger()


class Job:
    """One operation on its way. C{result} is None when it failed; C{owner.finished(job)} hears of it in the main thread."""

    __slots__ = ("abandoned", "action", "created", "key", "number", "operation", "owner", "payload", "result")

    def __init__(self, owner: Any, number: int, action: Action, operation: Operation, key: PrivateKey, payload: bytes, created: float) -> None:
        self.owner = owner
        self.number = number
        self.action = action
        self.operation = operation
        self.key = key
        self.payload = payload
        self.created = created
        self.result: bytes | None = None
        self.abandoned = False


@implementer(IReadDescriptor)
class SigningThreads:
    """C{number} threads. At most C{room} jobs wait; runs have up to C{longest_run} jobs."""

    def __init__(self, reactor: Any, number: int, room: int = 1024, longest_run: int = 8) -> None:
        self._reactor = reactor
        self.number = number
        self._room = room
        self._longest_run = longest_run
        self._queue: SimpleQueue[list[Job] | None] = SimpleQueue()
        self._done: deque[list[Job]] = deque()
        self._threads: list[Thread] = []
        self._waiting = 0
        self._signalled = False
        self._event = -1

    @property
    def waiting(self) -> int:
        """Jobs that were submitted and are not finished."""
        return self._waiting

    def start(self) -> None:
        """Begin. Again: nothing. Not before a daemon has forked: threads do not survive that."""
        if self._threads:
            return
        self._event = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)
        self._reactor.addReader(self)
        self._threads = [Thread(target=self._work, name=f"signing-{index}", daemon=True) for index in range(self.number)]
        for thread in self._threads:
            thread.start()

    def stop(self) -> None:
        """End the threads, each after the job it is at; what is done by then is still told to its owner."""
        if not self._threads:
            return
        for _ in self._threads:
            self._queue.put(None)
        for thread in self._threads:
            thread.join()
        self._threads = []
        self._reactor.removeReader(self)
        self.doRead()
        os.close(self._event)
        self._event = -1

    def room(self, more: int = 0) -> bool:
        """Whether another job may be submitted, after C{more}."""
        return bool(self._threads) and self._waiting + more < self._room

    def submit(self, jobs: list[Job]) -> None:
        """Have them done. Their owner waits, in no certain order, for each."""
        self._waiting += len(jobs)
        # Longer runs when there is more to do than the threads can begin with: fewer ways to and fro.
        run = max(1, min(self._longest_run, self._waiting // (8 * self.number)))
        for start in range(0, len(jobs), run):
            self._queue.put(jobs[start : start + run])

    def _work(self) -> None:
        """A thread."""
        engine = Engine()
        get, done = self._queue.get, self._done
        while True:
            jobs = get()
            if jobs is None:
                return
            for job in jobs:
                try:
                    job.result = engine.run(job.key, job.operation, job.payload)
                except LibraryError:
                    pass
                except Exception:
                    _log.failure("a signing thread failed")
            done.append(jobs)
            # The main thread clears the mark before it looks into the queue, so that what comes later wakes it again.
            if not self._signalled:
                self._signalled = True
                os.eventfd_write(self._event, 1)

    def fileno(self) -> int:
        return self._event

    def logPrefix(self) -> str:
        return "signing"

    def doRead(self) -> None:
        """Something is done."""
        try:
            os.eventfd_read(self._event)
        except BlockingIOError:
            pass
        self._signalled = False
        owners: dict[Any, None] = {}
        done = self._done
        while done:
            jobs = done.popleft()
            self._waiting -= len(jobs)
            for job in jobs:
                job.owner.finished(job)
                owners[job.owner] = None
        for owner in owners:
            owner.go_on()

    def connectionLost(self, reason: Failure) -> None:
        """The reactor is at its end; C{stop} closes."""
