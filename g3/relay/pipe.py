# SPDX-License-Identifier: Apache-2.0
"""One direction: bytes from a source to a sink until a number of bytes or the end, with back-pressure.

It copies first. Past a threshold, when both ends are plain sockets, the bytes stay in the kernel: socket to pipe to socket. The kernel
pipe is emptied before the source is read again, so a pipe that is full of slots before it is full of bytes never makes the loop spin.
"""

from __future__ import annotations

import os
from enum import Enum
from errno import EINVAL
from typing import TYPE_CHECKING, Any

from twisted.internet.interfaces import IHalfCloseableProtocol, IProtocol, IPushProducer
from zope.interface import implementer

from g3.net.transport import Stream, allowed, longest_delay
from g3.relay.splice import POOL

if TYPE_CHECKING:
    from collections.abc import Callable

    from twisted.python.failure import Failure

    from g3.relay.splice import PipePool

#: Bytes copied before a direction is worth a kernel pipe.
SPLICE_AFTER = 128 * 1024
#: A read of at least this many bytes makes a flow bulky; chatter in small pieces is cheaper to copy, however much it adds up to.
_BULKY = 16384
_SMALL = 8192
#: Small pieces in a row after which a spliced direction is copied again.
_SMALL_ROW = 8
#: Bytes asked for in one splice; a pipe holds what its slots hold.
_MOST = 1 << 20
#: Bytes moved before the other connections get their turn.
TURN = 1 << 20
#: Times in a row the kernel may say there is nothing to splice although the socket is readable.
_PATIENCE = 8
_FLAGS = os.SPLICE_F_NONBLOCK | os.SPLICE_F_MOVE


class End(Enum):
    """Why a pipe has ended."""

    LIMIT = "all bytes asked for were moved"
    EOF = "the source has ended"
    SOURCE_LOST = "the source broke"
    SINK_LOST = "the sink broke"


_LIMIT, _EOF, _SOURCE_LOST, _SINK_LOST = End.LIMIT, End.EOF, End.SOURCE_LOST, End.SINK_LOST  # an enum is slow to ask


@implementer(IProtocol, IHalfCloseableProtocol, IPushProducer)
class Pipe:
    """Moves bytes from C{source} to C{sink} (both IStream) once L{start} is called.

    C{finished(pipe, end)} is called once, unless L{stop} comes first, and may be called from within L{start}. By then both streams are
    back: the source is paused and has the protocol it had before, nothing was read past the limit (or it was put back), and the sink has
    no producer. At L{End.EOF} everything has been given to the kernel; at L{End.LIMIT} the sink may have some of it queued.

    Memory: what one read of the source gave, or what one kernel pipe holds.

    @ivar moved: bytes taken from the source so far. @ivar reason: the Failure of a lost source, else None.
    """

    __slots__ = (
        "_borrowing",
        "_done",
        "_draining",
        "_finished",
        "_former",
        "_in_pipe",
        "_kernel_pipe",
        "_left",
        "_patience",
        "_pool",
        "_small",
        "_splice_at",
        "_turn",
        "moved",
        "reason",
        "sink",
        "source",
        "takes_end",
    )

    #: See L{Stream.loseWriteConnection}.
    hears_write_end = False

    def __init__(
        self,
        source: Any,
        sink: Any,
        finished: Callable[[Pipe, End], object],
        limit: int | None = None,
        splice_after: int | None = SPLICE_AFTER,
        turn: int = TURN,
        pool: PipePool = POOL,
        ends_sink: bool = False,
    ) -> None:
        """@param limit: bytes to move; None until the source ends. @param splice_after: bytes to copy first; None never splices.
        @param turn: bytes after which the other connections get their turn; copying, that is after each read.
        @param ends_sink: the end of the source is the sink's too, and may go with the last bytes; without a C{limit}.
        """
        self.source, self.sink = source, sink
        self._finished: Callable[[Pipe, End], object] | None = finished
        self._left = -1 if limit is None else limit
        self._turn = turn
        self._pool = pool
        can = splice_after is not None and type(source) is Stream and type(sink) is Stream
        #: C{moved} at which to splice; -1 never. A body known to be large is spliced from its first byte.
        self._splice_at = -1 if not can else 0 if limit is not None and limit >= (splice_after or 0) else splice_after or 0
        #: See L{Stream.doReadLast}.
        self.takes_end = ends_sink and type(sink) is Stream
        self._kernel_pipe: tuple[int, int] | None = None
        self._in_pipe = self._small = self.moved = 0
        self._patience = _PATIENCE
        self._former: Any = None
        self._borrowing = self._done = self._draining = False
        self.reason: Failure | None = None

    @property
    def over(self) -> bool:
        """Whether it has ended or was stopped."""
        return self._done

    def start(self) -> None:
        """Begin. The source gets this pipe as its protocol, the sink as its producer."""
        self._former = self.source.protocol
        self.sink.registerProducer(self, False)
        if self._done:
            return
        if self._left == 0:
            self._finish(_LIMIT)
        else:
            self.source.start(self)

    def stop(self) -> None:
        """Hand both streams back now; C{finished} is not called. Every byte counted in C{moved} is with the sink."""
        self._finished = None
        if not self._done:
            self._finish(_EOF)

    # -- what the source calls

    def connectionMade(self) -> None:
        """Part of IProtocol; makeConnection says it all."""

    def makeConnection(self, transport: Any) -> None:
        if self.sink.queued:
            self.source.pauseProducing()
        elif self._splice_at == 0 and not self.source.ahead:
            self._begin_splicing()

    def dataReceived(self, data: bytes) -> None:
        """Copy."""
        left = self._left
        if left >= 0:
            if len(data) > left:
                self.source.unread(data[left:])
                data = data[:left]
            self._left = left = left - len(data)
        self.moved += len(data)
        sink = self.sink
        sink.write(data)
        if left == 0:
            self._finish(_LIMIT)
        elif sink.queued:
            self.source.pauseProducing()
        elif 0 <= self._splice_at <= self.moved and (len(data) >= _BULKY or len(data) >= self.source.read_size):
            self._begin_splicing()

    def lastReceived(self, data: bytes) -> None:
        """L{dataReceived} and L{readConnectionLost} at once, where C{takes_end}: the bytes and the end go to the sink together."""
        self.moved += len(data)
        self.sink.write_last(data)
        self.readConnectionLost()

    def readConnectionLost(self) -> None:
        """The source has ended; so have we when the sink has taken everything."""
        if self.sink.queued:
            self._draining = True
        else:
            self._finish(_EOF)

    def writeConnectionLost(self) -> None:
        """The source's own output is not our direction."""

    def connectionLost(self, reason: Failure) -> None:
        self.reason = reason
        if not self._draining:  # else all its bytes are with the sink already
            self._finish(_SOURCE_LOST)

    # -- what the sink calls

    def resumeProducing(self) -> None:
        """Nothing is queued any more."""
        if self._done or self.sink.queued or self._in_pipe:
            return
        if self._draining:
            self._finish(_EOF)
        elif self.source.protocol is self:  # else not started yet
            self.source.resumeProducing()

    def pauseProducing(self) -> None:
        self.source.pauseProducing()

    def stopProducing(self) -> None:
        self._finish(_SINK_LOST)

    # -- splicing

    def _begin_splicing(self) -> None:
        if self.sink.queued or self.source.ahead:
            return
        self._borrowing = True
        self.source.borrow_read(self)
        self.sink.borrow_write(self)

    def _copy_again(self, splice_at: int) -> None:
        """Go back to copying; C{splice_at} says until when."""
        self._splice_at = splice_at
        self._small = 0
        self._release()
        self._return()

    def _return(self) -> None:
        """The streams read and write for themselves again."""
        self._borrowing = False
        self.source.borrow_read(None)
        self.sink.borrow_write(None)

    def readable(self) -> None:
        """The source has bytes: move them until it is empty, the sink is full or it is time for others."""
        if self._in_pipe or self.sink.socket is None:  # resumed by somebody else; or about to hear that the sink is gone
            self.source.pauseProducing()
            return
        turn = self._turn
        while turn > 0:
            moved = self._fill(min(turn, _MOST))
            if moved <= 0 or not self._drain() or self._done:
                return
            turn -= moved
            if moved < _SMALL:
                self._small += 1
                if self._small >= _SMALL_ROW:
                    self._copy_again(self.moved)
                return
            self._small = 0
            if moved < 65536:
                return

    def _fill(self, most: int) -> int:
        """C{most} bytes from source to pipe. Bytes moved; 0 when there is nothing more to do now."""
        source = self.source
        if 0 <= self._left < most:
            most = self._left
        limiters = source.read_limits
        if limiters:
            now = source.reactor.seconds()
            most = allowed(limiters, now, most)
            if most <= 0:
                source.hold_reading(longest_delay(limiters, now))
                return 0
        if self._kernel_pipe is None:
            self._kernel_pipe = self._pool.borrow()
            if self._kernel_pipe is None:
                self._copy_again(self.moved + SPLICE_AFTER)
                return 0
        try:
            n = os.splice(source.socket.fileno(), self._kernel_pipe[1], most, flags=_FLAGS)
        except OSError as error:
            return self._fill_failed(error)
        if not n:
            self._release()
            source.end_input()
            return 0
        self._patience = _PATIENCE
        self._in_pipe += n
        self.moved += n
        if self._left > 0:
            self._left -= n
        source.bytes_in += n
        for limiter in limiters:
            limiter.spend(n)
        return n

    def _fill_failed(self, error: OSError) -> int:
        self._release()
        if isinstance(error, (BlockingIOError, InterruptedError)):
            self._patience -= 1
            if self._patience <= 0:  # readable, but not by splicing
                self._copy_again(-1)
        elif error.errno == EINVAL:  # a kind of socket that cannot be spliced
            self._copy_again(-1)
        else:
            self.source.fail_read(error)
        return 0

    def writable(self) -> None:
        """The sink has room again."""
        if not self._in_pipe:
            self.sink.unwant_write()
        elif self._drain() and not self._done:
            self.sink.unwant_write()
            self.source.resumeProducing()

    def _drain(self) -> bool:
        """Pipe to sink. Whether all of it went; if not, the source is paused and the sink polled, or it is over."""
        sink, kernel_pipe = self.sink, self._kernel_pipe
        assert kernel_pipe is not None
        most = self._in_pipe
        limiters = sink.write_limits
        if limiters:
            now = sink.reactor.seconds()
            most = allowed(limiters, now, most)
            if most <= 0:
                self.source.pauseProducing()
                sink.hold_writing(longest_delay(limiters, now))
                return False
        try:
            n = os.splice(kernel_pipe[0], sink.socket.fileno(), most, flags=_FLAGS)
        except OSError as error:
            if not isinstance(error, (BlockingIOError, InterruptedError)):
                self._release()
                self.source.pauseProducing()
                sink.fail_write(error)
                return False
            n = 0
        sink.bytes_out += n
        for limiter in limiters:
            limiter.spend(n)
        self._in_pipe -= n
        if self._in_pipe:
            self.source.pauseProducing()
            sink.want_write()
            return False
        self._release()
        if self._left == 0:
            self._finish(_LIMIT)
        return True

    def _release(self) -> None:
        """Give the kernel pipe back."""
        kernel_pipe, self._kernel_pipe = self._kernel_pipe, None
        if kernel_pipe is not None:
            if self._in_pipe:
                self._in_pipe = 0
                self._pool.discard(kernel_pipe)
            else:
                self._pool.give_back(kernel_pipe)

    # -- the end

    def _rescue(self) -> bytes:
        """Take out what is in the kernel pipe."""
        assert self._kernel_pipe is not None
        parts = []
        while self._in_pipe > 0:
            part = os.read(self._kernel_pipe[0], self._in_pipe)
            self._in_pipe -= len(part)
            parts.append(part)
        return b"".join(parts)

    def _finish(self, end: End) -> None:
        if self._done:
            return
        self._done = True
        source, sink = self.source, self.sink
        rescued = self._rescue() if self._in_pipe and end is not _SINK_LOST else b""
        if self._kernel_pipe is not None:
            self._release()
        source.pauseProducing()
        if source.protocol is self:
            source.protocol = self._former
        self._former = None
        if self._borrowing:
            self._return()
        if rescued:
            sink.write(rescued)
        sink.unregisterProducer()
        finished, self._finished = self._finished, None
        if finished is not None:
            finished(self, end)
