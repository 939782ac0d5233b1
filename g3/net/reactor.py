# SPDX-License-Identifier: Apache-2.0
"""The epoll reactor with the cost per event taken out: events go straight to their descriptors.

Against the stock one: no log context around each event; a turn in which no timer is due does not go through them; the clock is monotonic; an
event of a descriptor that was closed earlier in the same batch is dropped (its number may belong to a new connection by then); C{soon} runs a
call at the end of the batch without a timer; C{doReadLast}, where a descriptor has it, is called for input that the peer's end is behind;
C{addHangup} watches a paused descriptor for the end of its peer without reading; and C{forget} is for one that is about to be closed. Every
Twisted protocol and transport runs on it unchanged.
"""

from __future__ import annotations

from select import EPOLLERR, EPOLLHUP, EPOLLIN, EPOLLOUT, EPOLLRDHUP
from time import monotonic
from typing import TYPE_CHECKING, Any

from twisted.internet.epollreactor import EPollReactor
from twisted.internet.error import ConnectionFdescWentAway
from twisted.internet.main import installReactor
from twisted.logger import Logger

if TYPE_CHECKING:
    from collections.abc import Callable

#: Events taken in one go: the kernel gives the others their turn in the next.
BATCH = 512

_GONE = EPOLLHUP | EPOLLERR
_ORDINARY = EPOLLIN | EPOLLOUT
#: What a reader is polled for: whether the peer has ended its direction comes with the event, for who can use it (C{doReadLast}).
_INPUT = EPOLLIN | EPOLLRDHUP
_BOTH = _INPUT | EPOLLOUT
#: Seconds of sleep at most: what epoll_wait(2) takes as milliseconds in an int.
_LONGEST = 2147483.0
_log = Logger()


def _went_away() -> Exception:
    """Why to disconnect what has lost its descriptor without saying so."""
    return ConnectionFdescWentAway("Filedescriptor went away")


def _failed(selectable: object, error: BaseException) -> BaseException:
    _log.failure("an event of {selectable} failed", selectable=selectable)
    return error


class G3Reactor(EPollReactor):
    """See the module."""

    def __init__(self) -> None:
        self._soon: list[tuple[Callable[..., object], tuple[object, ...]]] = []
        #: Descriptors watched for a hang-up, and what is still to be seen: EPOLLRDHUP, or 0 after it was.
        self._hangups: dict[int, int] = {}
        #: Descriptors unregistered since the last poll.
        self._dropped: set[int] = set()
        super().__init__()  # type: ignore[no-untyped-call]

    #: Monotonic seconds: no step of the wall clock fires or delays a timer.
    seconds = staticmethod(monotonic)

    def soon(self, function: Callable[..., object], *args: object) -> None:
        """Call once the current batch of events is done, or at the next turn when called from a timer. Not from other threads."""
        self._soon.append((function, args))

    # -- registration

    def addReader(self, reader: Any) -> None:
        fd = reader.fileno()
        if fd in self._reads:
            return
        if fd in self._writes:
            self._hangups.pop(fd, None)
            self._poller.modify(fd, _BOTH)
        elif fd in self._hangups:
            del self._hangups[fd]
            self._poller.modify(fd, _INPUT)
        else:
            try:
                self._poller.register(fd, _INPUT)
            except PermissionError:  # a file: epoll does not take it
                self._continuousPolling.addReader(reader)  # type: ignore[no-untyped-call]
                return
        self._reads.add(fd)
        self._selectables[fd] = reader

    def addWriter(self, writer: Any) -> None:
        fd = writer.fileno()
        if fd in self._writes:
            return
        if fd in self._reads:
            self._poller.modify(fd, _BOTH)
        elif fd in self._hangups:
            self._poller.modify(fd, EPOLLOUT | self._hangups[fd])
        else:
            try:
                self._poller.register(fd, EPOLLOUT)
            except PermissionError:
                self._continuousPolling.addWriter(writer)  # type: ignore[no-untyped-call]
                return
        self._writes.add(fd)
        self._selectables[fd] = writer

    def removeReader(self, reader: Any) -> None:
        fd = reader.fileno()
        if fd not in self._reads or self._selectables.get(fd) is not reader:
            super().removeReader(reader)  # type: ignore[no-untyped-call]
            return
        self._reads.discard(fd)
        if fd in self._writes:
            self._poller.modify(fd, EPOLLOUT)
        else:
            self._drop(fd)

    def removeWriter(self, writer: Any) -> None:
        fd = writer.fileno()
        if fd not in self._writes or self._selectables.get(fd) is not writer:
            super().removeWriter(writer)  # type: ignore[no-untyped-call]
            return
        self._writes.discard(fd)
        if fd in self._reads:
            self._poller.modify(fd, _INPUT)
        elif fd in self._hangups:
            self._poller.modify(fd, self._hangups[fd])
        else:
            self._drop(fd)

    def _drop(self, fd: int) -> None:
        del self._selectables[fd]
        self._dropped.add(fd)
        self._poller.unregister(fd)

    def forget(self, selectable: Any) -> None:
        """C{selectable} is about to close its descriptor, which unregisters it: no system call. Nothing when it is not registered."""
        fd = selectable.fileno()
        if self._selectables.get(fd) is selectable:
            del self._selectables[fd]
            self._reads.discard(fd)
            self._writes.discard(fd)
            self._hangups.pop(fd, None)
            self._dropped.add(fd)

    def addHangup(self, selectable: Any) -> None:
        """Call C{selectable.hangup(False)} once when its peer ends its direction and C{hangup(True)} once when the connection is gone, without
        reading. Only for one that is not read; reading ends the watch."""
        fd = selectable.fileno()
        if fd in self._reads or fd in self._hangups:
            return
        if fd in self._writes:
            self._poller.modify(fd, EPOLLOUT | EPOLLRDHUP)
        else:
            self._poller.register(fd, EPOLLRDHUP)
            self._selectables[fd] = selectable
        self._hangups[fd] = EPOLLRDHUP

    def removeHangup(self, selectable: Any) -> None:
        """End the watch; nothing happens when there is none."""
        fd = selectable.fileno()
        if fd not in self._hangups or self._selectables.get(fd) is not selectable:
            return
        del self._hangups[fd]
        if fd in self._writes:
            self._poller.modify(fd, EPOLLOUT)
        else:
            self._drop(fd)

    def removeAll(self) -> list[Any]:
        """Take everything off, watched ones too."""
        watched = [self._selectables[fd] for fd in self._hangups]
        for selectable in watched:
            self.removeHangup(selectable)
        others: list[Any] = super().removeAll()  # type: ignore[no-untyped-call]
        return others + [selectable for selectable in watched if selectable not in others]

    # -- dispatch

    def mainLoop(self) -> None:
        """Turn until stopped; what fails outside of every event and timer is logged, and the loop goes on."""
        while self._started:
            try:
                while self._started:
                    self.doIteration(self._run_due())
            except BaseException:  # as the stock reactor
                _log.failure("the main loop failed")
        _log.info("Main loop terminated.")

    def _run_due(self) -> float | None:
        """Run the timers that are due and the calls from other threads. Seconds until the next timer, None without one."""
        pending = self._pendingTimedCalls
        if pending and not (self._newTimedCalls or self.threadCallQueue or self._justStopped):
            delay: float = pending[0].time - monotonic()
            if delay > 0:
                return delay if delay < _LONGEST else _LONGEST
        self.runUntilCurrent()  # type: ignore[no-untyped-call,unused-ignore]
        return self.timeout() if self.running else 0

    def doPoll(self, timeout: float | None) -> None:
        """Wait for events and give each to its descriptor."""
        events = self._poller.poll(0 if self._soon else -1 if timeout is None else timeout, BATCH)
        dropped = self._dropped
        dropped.clear()
        selectable_of = self._selectables.get
        for fd, event in events:
            if fd in dropped:  # closed, or taken off, earlier in this batch
                continue
            selectable = selectable_of(fd)
            if selectable is None:
                continue
            if event != EPOLLIN:
                self._mixed(selectable, fd, event)
                continue
            why: object = None
            try:
                why = selectable.doRead() if selectable.fileno() != -1 else _went_away()
            except BaseException as error:  # as the stock reactor: an event never ends the loop
                why = _failed(selectable, error)
            if why:
                self._disconnectSelectable(selectable, why, True)  # type: ignore[no-untyped-call]
        if self._soon:
            self._run_soon()

    doIteration = doPoll

    def _mixed(self, selectable: Any, fd: int, event: int) -> None:
        """An event that is more than input, or none."""
        if event & ~_ORDINARY and (not event & EPOLLIN or fd in self._hangups):
            self._unusual(selectable, fd, event)
            return
        why: object = None
        reading = False
        try:
            if selectable.fileno() == -1:
                why = _went_away()
            elif event & EPOLLIN:
                reading = True
                last = getattr(selectable, "doReadLast", None) if event & EPOLLRDHUP else None
                why = selectable.doRead() if last is None else last()
            if event & EPOLLOUT and not why and fd not in self._dropped:
                reading = False
                why = selectable.doWrite()
        except BaseException as error:
            why = _failed(selectable, error)
        if why:
            self._disconnectSelectable(selectable, why, reading)  # type: ignore[no-untyped-call]

    def _unusual(self, selectable: Any, fd: int, event: int) -> None:
        """A hang-up or an error with nothing to read, or of what is watched for one."""
        if fd in self._hangups:
            self._hung_up(selectable, fd, event)
        elif event & _GONE:
            self._doReadOrWrite(selectable, fd, event)  # type: ignore[no-untyped-call]

    def _hung_up(self, selectable: Any, fd: int, event: int) -> None:
        try:
            if event & _GONE:
                self.removeHangup(selectable)
                self.removeWriter(selectable)
                selectable.hangup(True)
                return
            if event & EPOLLRDHUP:
                # seen once: from now on only the end of everything, or a level-triggered poll would never sleep
                self._hangups[fd] = 0
                self._poller.modify(fd, EPOLLOUT if fd in self._writes else 0)
                selectable.hangup(False)
            if event & EPOLLOUT and fd in self._writes:
                selectable.doWrite()
        except BaseException as error:
            _log.failure("a hang-up of {selectable} failed", selectable=selectable)
            self._disconnectSelectable(selectable, error, False)  # type: ignore[no-untyped-call]

    def _run_soon(self) -> None:
        calls, self._soon = self._soon, []
        for function, args in calls:
            try:
                function(*args)
            except BaseException:
                _log.failure("a call after events failed")


def install() -> G3Reactor:
    """Make it the reactor of this process.

    @raise twisted.internet.error.ReactorAlreadyInstalledError: there is one.
    """
    reactor = G3Reactor()
    installReactor(reactor)  # type: ignore[no-untyped-call]
    return reactor
