# SPDX-License-Identifier: Apache-2.0
"""Looking at the first bytes of a stream before anybody knows whose they are.

What is not taken stays in the socket, so that TLS can still be spoken on the socket itself afterwards (g3.net.tls.handshake), and nothing is
copied. Of a stream without a socket of its own, what was read too much is put back.
"""

from __future__ import annotations

import socket
from typing import TYPE_CHECKING, Any

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IHalfCloseableProtocol
from zope.interface import implementer

from g3.errors import G3Error
from g3.net.transport import Stream

if TYPE_CHECKING:
    from collections.abc import Callable

    from twisted.python.failure import Failure

    from g3.net.timers import Timer, TimerWheel

#: Bytes looked at in one go.
AT_ONCE = 4096


class LookTimeout(G3Error):
    """what was looked for did not come in time"""


class LookEnded(G3Error):
    """the stream ended or broke before what was looked for had come"""


async def look(stream: Any, timers: TimerWheel, seconds: float, judge: Callable[[bytes], int | None]) -> None:
    """Show C{judge} what arrives on C{stream}, an IStream that nobody reads, until it has seen enough.

    C{judge(data)} returns None for: all of it taken, more is needed; or how many bytes of C{data} it takes, at the end. What it does not take is
    the next reader's. Nobody reads the stream afterwards.

    @raise LookTimeout: that took more than C{seconds}. @raise LookEnded: the stream is at its end.
    Whatever C{judge} raises is raised too. In all these cases, and when cancelled, the stream is closed.
    """
    await _Look(stream, judge).begin(timers, seconds)


@implementer(IHalfCloseableProtocol)
class _Look:
    """Protocol of the stream and, where there is a socket to look at, borrower of its reading side."""

    __slots__ = ("_borrows", "_done", "_judge", "_stream", "_timer")

    def __init__(self, stream: Any, judge: Callable[[bytes], int | None]) -> None:
        self._stream = stream
        self._judge = judge
        self._borrows = type(stream) is Stream and not stream.ahead
        self._done: Deferred[None] | None = Deferred(self._cancelled)
        self._timer: Timer | None = None

    def begin(self, timers: TimerWheel, seconds: float) -> Deferred[None]:
        assert self._done is not None
        done = self._done
        self._timer = timers.add(seconds, self._late)
        if self._borrows:
            self._stream.borrow_read(self)
        self._stream.start(self)
        return done

    # -- what the stream calls

    def makeConnection(self, transport: object) -> None:
        """The stream is known already."""

    def readable(self) -> None:
        """Look at what is in the socket and take what is judged to be taken."""
        sock = self._stream.socket
        try:
            data = sock.recv(AT_ONCE, socket.MSG_PEEK)
            if not data:
                self._end(LookEnded("the peer closed the connection"))
                return
            taken = self._judged(data)
            if taken is None or taken > 0:
                sock.recv(len(data) if taken is None else taken)
        except (BlockingIOError, InterruptedError):
            return
        except OSError as error:
            self._end(LookEnded(str(error)))
            return
        if taken is not None:
            self._end(None)

    def dataReceived(self, data: bytes) -> None:
        taken = self._judged(data)
        if taken is not None:
            self._stream.unread(data[taken:])
            self._end(None)

    def _judged(self, data: bytes) -> int | None:
        """What the judge says of C{data}; 0 when it refused."""
        try:
            return self._judge(data)
        except Exception as error:
            self._end(error)
            return 0

    def readConnectionLost(self) -> None:
        self._end(LookEnded("the peer closed the connection"))

    def writeConnectionLost(self) -> None:
        """We write nothing."""

    def connectionLost(self, reason: Failure) -> None:
        self._end(LookEnded(str(reason.value)))

    def _late(self) -> None:
        self._end(LookTimeout("nothing came in time"))

    # -- the end

    def _cancelled(self, _done: object) -> None:
        self._end(LookEnded("nobody looks any more"))

    def _end(self, error: Exception | None) -> None:
        """Let go of the stream, close it where there is an C{error}, and say so. Again: nothing."""
        done, self._done = self._done, None
        if done is None:
            return
        if self._timer is not None:
            self._timer.cancel()
        stream = self._stream
        stream.pauseProducing()
        if self._borrows:
            stream.borrow_read(None)
        stream.protocol = None
        if error is None:
            done.callback(None)
        else:
            stream.loseConnection()
            done.errback(error)
