# SPDX-License-Identifier: Apache-2.0
"""Joining two established streams both ways until both have ended, and the one reason why.

By convention the left stream is the client's and the right one the upstream's. Half close is full duplex: the end of one direction becomes
the end of it at the other side, and the other direction goes on.
"""

from __future__ import annotations

import os
from errno import ECONNRESET
from typing import TYPE_CHECKING, Any

from g3.errors import (
    ClientReadFailed,
    ClientWriteFailed,
    ClosedByClient,
    ClosedByUpstream,
    Idle,
    TaskError,
    UpstreamReadFailed,
    UpstreamWriteFailed,
)
from g3.net.transport import FLUSH_TIMEOUT
from g3.relay.flow import unsent
from g3.relay.pipe import SPLICE_AFTER, TURN, End, Pipe
from g3.relay.splice import POOL

if TYPE_CHECKING:
    from collections.abc import Callable

    from g3.relay.idle import IdleWatch
    from g3.relay.splice import PipePool


_EOF, _SOURCE_LOST = End.EOF, End.SOURCE_LOST  # an enum is slow to ask
#: Seconds without progress after which a reset is passed on whatever is on its way, and between two looks at that.
_FLUSH_SECONDS = 5.0
_FLUSH_LOOK = 0.05


def _alive(stream: Any) -> bool:
    return bool(getattr(stream, "connected", False))


def _write_failed(stream: Any) -> bool:
    return bool(getattr(stream, "write_failed", False))


def _once_sent(stream: Any, end: Callable[[], object], patience: float, before: int = 0, deadline: float = 0.0) -> None:
    """Call C{end}, which closes C{stream} or resets it, once that loses no bytes which are on their way; closing resets, too, where bytes have come
    that nobody has read.

    @param patience: seconds without progress after which they are given up. @param before: bytes that were on their way at the last look.
    @param deadline: when to give up unless there are fewer by then.
    """
    if not _alive(stream):
        return
    waiting, now = unsent(stream), stream.reactor.seconds()
    if waiting < before or not before:
        deadline = now + patience
    if waiting and now < deadline:
        stream.reactor.callLater(_FLUSH_LOOK, _once_sent, stream, end, patience, waiting, deadline)
    else:
        end()


class Relay:
    """Two pipes. Made by L{join}.

    @ivar left: the client's stream. @ivar right: the upstream's. Both are closed when it ends.
    @ivar error: why it ended (a TaskError whose C{reason} the task log gets); None until one side has ended or broken.
    @ivar idle_ticks: checks in a row that found nothing moved.
    """

    __slots__ = ("_finished", "_half_closed", "_watch", "down", "error", "idle_max", "idle_seen", "idle_ticks", "left", "right", "up")

    def __init__(
        self,
        left: Any,
        right: Any,
        finished: Callable[[TaskError], object],
        on_half_close: Callable[[str], object] | None,
        splice_after: int | None,
        turn: int,
        pool: PipePool,
    ) -> None:
        self.left, self.right = left, right
        self.error: TaskError | None = None
        self._finished: Callable[[TaskError], object] | None = finished
        self._half_closed = on_half_close
        self._watch: IdleWatch | None = None
        self.idle_ticks = self.idle_max = 0
        self.idle_seen = -1
        # By place: a class called with keywords makes a dictionary of them.
        self.up = Pipe(left, right, self._ended, None, splice_after, turn, pool, True)
        self.down = Pipe(right, left, self._ended, None, splice_after, turn, pool, True)

    @property
    def activity(self) -> int:
        """A number that changes whenever a byte moves."""
        left, right = self.left, self.right
        return int(left.bytes_in + left.bytes_out + right.bytes_in + right.bytes_out)

    def start(self) -> None:
        """Begin; the end may come before this returns."""
        self.left.protocol = self.right.protocol = None  # who had them before is told nothing any more
        self.up.start()
        if self._finished is not None:
            self.down.start()

    def watch_idle(self, watch: IdleWatch, most: int) -> None:
        """End with L{Idle} after C{most} checks in a row of C{watch} that found nothing moved."""
        self.idle_max = most
        if self._finished is not None:
            self._watch = watch
            watch.add(self)

    def went_idle(self) -> None:
        """The watch has seen enough."""
        self.stop(Idle())

    def stop(self, error: TaskError) -> None:
        """End now with C{error}: what is queued is dropped with a reset, what is not is closed in order. Nothing when it has ended."""
        if self._finished is not None:
            self._end(error)
            self._close(self.left)
            self._close(self.right)

    @staticmethod
    def _close(stream: Any) -> None:
        if stream.queued:
            stream.abortConnection()
        else:
            stream.loseConnection()

    # -- what the pipes say

    def _ended(self, pipe: Pipe, end: End) -> None:
        if self._finished is None:
            return
        if end is _EOF:
            self._eof(pipe)
        else:
            self._broke(pipe, pipe.source if end is _SOURCE_LOST else pipe.sink)

    def _eof(self, pipe: Pipe) -> None:
        """One direction is over and all of it is with the kernel."""
        if self.error is not None:  # the other one was over before, or is broken for writing
            self._end(self.error)
            self.left.loseConnection()
            self.right.loseConnection()
            return
        self.error = ClosedByClient() if pipe is self.up else ClosedByUpstream()
        pipe.sink.loseWriteConnection()
        if self._half_closed is not None:
            self._half_closed("left" if pipe is self.up else "right")

    def _other(self, pipe: Pipe) -> Pipe:
        return self.down if pipe is self.up else self.up

    def _broke(self, pipe: Pipe, stream: Any) -> None:
        """C{stream} is gone, or cannot be written to any more."""
        error = self._why(stream)
        if _alive(stream) and not self._other(pipe).over:
            self.error = error  # what it sent before it broke is still being read
            return
        self._end(error)
        stream.abortConnection()
        survivor = self.right if stream is self.left else self.left
        if not _alive(survivor):
            return
        survivor.watch_hangup(lambda _gone: None)  # nobody reads it any more, and one that is gone takes nothing
        if _write_failed(stream) and getattr(stream, "error", 0) != ECONNRESET:  # it takes no more, but all it had to say came in order
            _once_sent(survivor, survivor.loseConnection, FLUSH_TIMEOUT)
        else:  # an end in order would be taken for the end of all there is
            _once_sent(survivor, survivor.abortConnection, _FLUSH_SECONDS)

    def _why(self, stream: Any) -> TaskError:
        """The reason, now that C{stream} broke: what broke first, or an orderly end before that unless bytes are lost now."""
        if self.error is not None and not (_write_failed(stream) and isinstance(self.error, (ClosedByClient, ClosedByUpstream))):
            return self.error
        if stream is self.left:
            kind: type[TaskError] = ClientWriteFailed if _write_failed(stream) else ClientReadFailed
        else:
            kind = UpstreamWriteFailed if _write_failed(stream) else UpstreamReadFailed
        number = getattr(stream, "error", 0)
        return kind(f"{kind.__doc__}: {os.strerror(number)}" if number else "")

    def _end(self, error: TaskError) -> None:
        finished, self._finished = self._finished, None
        self.error = error
        self.up.stop()
        self.down.stop()
        self._half_closed = None
        if self._watch is not None:
            self._watch.remove(self)
            self._watch = None
        self.left.protocol = self.right.protocol = None
        if finished is not None:
            finished(error)


def join(
    left: Any,
    right: Any,
    *,
    finished: Callable[[TaskError], object],
    on_half_close: Callable[[str], object] | None = None,
    idle: IdleWatch | None = None,
    idle_max: int = 0,
    splice_after: int | None = SPLICE_AFTER,
    turn: int = TURN,
    pool: PipePool = POOL,
) -> Relay:
    """Relay between two IStreams that nobody reads any more; both belong to the relay from now on and are closed when it ends.

    @param finished: called once with why: ClosedByClient or ClosedByUpstream (who ended first), ClientReadFailed, ClientWriteFailed,
        UpstreamReadFailed, UpstreamWriteFailed, Idle, or what L{Relay.stop} was given. Bytes are in the C{bytes_in} and C{bytes_out} of
        the streams. It may be called before C{join} returns.
    @param on_half_close: called with "left" or "right" when that side has ended its direction while the other goes on.
    @param idle: ends it with Idle after C{idle_max} checks in a row without a byte, but never before the first.
    @param turn: bytes one direction moves before the other connections get their turn.
    """
    relay = Relay(left, right, finished, on_half_close, splice_after, turn, pool)
    relay.start()
    if idle is not None:
        relay.watch_idle(idle, idle_max)
    return relay
