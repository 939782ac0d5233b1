# SPDX-License-Identifier: Apache-2.0
"""The nursery as its supervisor sees it: it is asked for workers and tells of their births and ends."""

from __future__ import annotations

import contextlib
import json
import os
import select
import socket
import subprocess
import sys
from collections import deque
from typing import TYPE_CHECKING, Any, Final

from twisted.internet.interfaces import IReadWriteDescriptor
from twisted.logger import Logger
from zope.interface import implementer

from g3.workers.nursery import MAX_MESSAGE

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from g3.workers.memory import Memory

log = Logger()

#: Seconds until it is started again; twice as many each time it ended before it forked anybody, and at most.
RESTART_DELAY: Final = 0.5
LAST_DELAY: Final = 30.0
#: Seconds before it is tried again to start one that could not be.
START_DELAY: Final = 5.0


@implementer(IReadWriteDescriptor)
class NurseryLink:
    """The nursery as its supervisor sees it. It is started again when it ends.

    C{born(slot, pid, pidfd)} tells of each worker that was asked for, or C{unborn(slot, why)} that it cannot be.
    """

    def __init__(
        self, reactor: Any, memory: Memory, what: Sequence[str], born: Callable[[int, int, int], None], unborn: Callable[[int, str], None]
    ) -> None:
        self._reactor = reactor
        self._memory = memory
        self._what = list(what)
        self._born = born
        self._unborn = unborn
        #: Who was asked for while the nursery took no more.
        self._waiting: deque[tuple[int, socket.socket]] = deque()
        #: Whether it has forked anybody since it was started.
        self.proven = False
        #: How often in a row it ended without having forked anybody.
        self.vain = 0
        self._process: subprocess.Popen[bytes] | None = None
        self._socket: socket.socket | None = None
        self._stopped = False
        #: Called when it is gone; whoever it owed a worker must ask again.
        self.lost: Callable[[], None] = lambda: None

    def start(self) -> None:
        """Start the process. Raises OSError."""
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        descriptors = (theirs.fileno(), self._memory.descriptor)
        arguments = [*map(str, descriptors), str(self._memory.slots), *self._what]
        environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
        with theirs:
            try:
                self._process = subprocess.Popen(
                    [sys.executable, "-m", "g3.workers.nursery", *arguments], pass_fds=descriptors, stdin=subprocess.DEVNULL, env=environment
                )
            except OSError:
                ours.close()
                raise
        ours.setblocking(False)
        self.proven = False
        self._socket = ours
        self._reactor.addReader(self)

    def wait_ready(self, seconds: float) -> None:
        """Block until it has imported everything, has ended, or took longer."""
        if self._socket is not None:
            select.select([self._socket], [], [], seconds)

    def fork(self, slot: int, sock: socket.socket) -> None:
        """Ask for a worker in C{slot} that has C{sock}. Without a nursery nobody is told: C{lost} is when there is one again."""
        if self._socket is not None:
            self._waiting.append((slot, sock.dup()))
            self.doWrite()

    def doWrite(self) -> None:
        """Ask for all that wait."""
        while self._waiting and self._socket is not None:
            slot, sock = self._waiting.popleft()
            try:
                socket.send_fds(self._socket, [b'{"slot": %d}' % slot], [sock.fileno()])
            except BlockingIOError:
                self._waiting.appendleft((slot, sock))
                self._reactor.addWriter(self)
                return
            except ConnectionError:  # reading finds its end
                self._forget()
            except OSError as error:
                self._unborn(slot, error.strerror or str(error))
            sock.close()
        if self._socket is not None:
            self._reactor.removeWriter(self)

    def _forget(self) -> None:
        while self._waiting:
            self._waiting.popleft()[1].close()

    def kill(self) -> None:
        """It hangs: have it start again."""
        if self._process is not None:
            self._process.kill()

    def stop(self) -> None:
        """It ends with its last worker."""
        self._stopped = True
        self._close()

    def _close(self) -> None:
        self._forget()
        if self._socket is not None:
            self._reactor.removeReader(self)
            self._reactor.removeWriter(self)
            self._socket.close()
            self._socket = None

    def wait(self, seconds: float) -> None:
        """Wait for its end."""
        if self._process is not None:
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._process.wait(seconds)

    def fileno(self) -> int:
        return -1 if self._socket is None else self._socket.fileno()

    def logPrefix(self) -> str:
        return "nursery"

    def doRead(self) -> None:
        while self._socket is not None:
            try:
                data, descriptors, _, _ = socket.recv_fds(self._socket, MAX_MESSAGE, 1)
            except BlockingIOError:
                return
            except OSError:
                data, descriptors = b"", []
            if not data:
                self._gone()
                return
            self._heard(json.loads(data), descriptors)

    def connectionLost(self, reason: object) -> None:
        """The reactor stops."""
        self.stop()

    def _heard(self, message: dict[str, Any], descriptors: list[int]) -> None:
        if "ready" in message:
            return
        if "status" in message:
            self._tell_end(message["pid"], message["status"])
        elif "error" in message:
            self._unborn(message["slot"], message["error"])
        elif not descriptors:  # it ends, as we hang up
            self._unborn(message["slot"], "no descriptor is left to watch it with")
        else:
            self.vain, self.proven = 0, True
            self._born(message["slot"], message["pid"], descriptors[0])

    @staticmethod
    def _tell_end(pid: int, status: int) -> None:
        code = os.waitstatus_to_exitcode(status)
        if code:
            log.error("worker with pid {pid} ended {how}", pid=pid, how=f"by signal {-code}" if code < 0 else f"with status {code}")

    def _gone(self) -> None:
        self._close()
        if self._process is not None:
            self._process.kill()
            self._process.wait()
        delay = min(LAST_DELAY, RESTART_DELAY * 2**self.vain)
        self.vain += 1
        log.error("the process that forks workers ended; it is started again in {delay} s", delay=delay)
        self._reactor.callLater(delay, self._restart)

    def _restart(self) -> None:
        if self._stopped:
            return
        try:
            self.start()
        except OSError as error:  # no memory, no descriptor, or our user may not run the interpreter
            log.error("the process that forks workers cannot be started: {error}", error=error)
            self._reactor.callLater(START_DELAY, self._restart)
        else:
            self.lost()
