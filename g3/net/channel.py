# SPDX-License-Identifier: Apache-2.0
"""A stream that is one of many in a connection: credit in place of a socket.

Whoever has the connection feeds what arrives (L{ChannelStream.feed} and its like) and gives room for what leaves (L{Carrier}). What the far end
may send ahead is the carrier's to bound; it is told what was consumed.
"""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, Any, Protocol

from twisted.internet.error import ConnectionAborted, ConnectionDone, ConnectionLost
from twisted.internet.interfaces import IConsumer, IHalfCloseableProtocol, IPushProducer, ITCPTransport
from twisted.python.failure import Failure
from zope.interface import implementer

from g3.interfaces import IStream
from g3.net.transport import HIGH_MARK, LOW_MARK, allowed, call_soon, longest_delay, twisted_address

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from g3.net.tls.provider import TLSInfo
    from g3.net.transport import Limiter
    from g3.task import SocketAddress

#: Pieces shorter than this wait as one, or what keeps each of them would cost many times what is in it.
SMALL = 4096


def keep_piece(waiting: deque[bytes], data: bytes) -> None:
    """Put C{data} behind what waits."""
    if waiting and len(waiting[-1]) + len(data) < SMALL:
        waiting[-1] += data
    else:
        waiting.append(data)


class Carrier(Protocol):
    """The connection as one of its streams sees it. Nothing here calls the stream back before it has returned."""

    def room(self) -> int:
        """Bytes that C{send} takes now. L{ChannelStream.make_room} tells when it is more again."""

    def send(self, data: bytes) -> None:
        """Send, C{room} bytes at most."""

    def finish(self) -> None:
        """End our direction behind what was sent."""

    def abort(self) -> None:
        """Break both directions off, at once."""

    def ignore(self) -> None:
        """Nobody will read any more: what still arrives is dropped."""

    def consumed(self, count: int) -> None:
        """So many bytes were read, and may be sent anew."""

    def unacknowledged(self) -> int:
        """Bytes sent that the far end may not have."""


class Socketless:
    """What ITCPTransport wants of a socket, of a stream that has none."""

    __slots__ = ()

    socket = None
    local: SocketAddress
    peer: SocketAddress

    def getPeer(self) -> Any:
        return twisted_address(self.peer)

    def getHost(self) -> Any:
        return twisted_address(self.local)

    def getTcpNoDelay(self) -> bool:
        return True

    def setTcpNoDelay(self, enabled: bool) -> None:
        """Nothing is held back anyway."""

    def getTcpKeepAlive(self) -> bool:
        return False

    def setTcpKeepAlive(self, enabled: bool) -> None:
        """Who carries it has to."""

    def detach(self) -> Any:
        """@raise RuntimeError: always."""
        raise RuntimeError("this stream has no socket to give away")


@implementer(IStream, ITCPTransport, IPushProducer, IConsumer)
class ChannelStream(Socketless):
    """One stream over a L{Carrier}. Nobody reads until C{start}.

    Guarantees as of L{g3.net.transport.Stream}: no protocol method is called from inside C{write} and its like or from C{feed}'s caller's stack
    while the protocol is in a call of ours, and C{connectionLost} is called once, last. Memory is bounded by what the carrier lets the far end
    send ahead, and by what its producers write above L{HIGH_MARK}.
    """

    __slots__ = (
        "__weakref__", "_carrier", "_eof", "_eof_told", "_finished", "_hangup", "_inbox", "_lost", "_outbox", "_paused", "_producer",
        "_producer_paused", "_read_timer", "_soon", "_streaming", "_told_lost", "_unread", "_write_timer", "bytes_in", "bytes_out", "disconnecting",
        "error", "local", "on_close", "peer", "protocol", "queued", "reactor", "read_limits", "read_size", "tls", "write_closed", "write_failed",
        "write_limits",
    )  # fmt: skip

    def __init__(self, reactor: Any, carrier: Carrier, *, local: SocketAddress, peer: SocketAddress, tls: TLSInfo | None = None) -> None:
        self.reactor = reactor
        self.local, self.peer, self.tls = local, peer, tls
        self.read_size = HIGH_MARK
        self.bytes_in = self.bytes_out = self.queued = self.error = 0
        self.protocol: Any = None
        self.disconnecting = self.write_closed = self.write_failed = False
        self.on_close: Callable[[Any], None] | None = None
        self.read_limits: tuple[Limiter, ...] = ()
        self.write_limits: tuple[Limiter, ...] = ()
        self._carrier = carrier
        self._inbox: deque[bytes] = deque()
        self._outbox: deque[bytes] = deque()
        self._paused = True
        self._eof = self._eof_told = self._finished = self._soon = self._told_lost = False
        self._lost: Failure | None = None
        self._hangup: Callable[[bool], object] | None = None
        self._producer: Any = None
        self._streaming = True
        self._producer_paused = False
        #: Bytes at the head of the inbox that were read before.
        self._unread = 0
        self._read_timer: Any = None
        self._write_timer: Any = None

    # -- who we are

    @property
    def connected(self) -> bool:
        return self._lost is None

    @property
    def disconnected(self) -> bool:
        return self._lost is not None

    @property
    def eof(self) -> bool:
        """Whether the far end has ended its direction and all of it was read."""
        return self._eof and not self._inbox

    @property
    def finished(self) -> bool:
        """Whether the end of our direction is on its way behind all that was written."""
        return self._finished

    @property
    def ahead(self) -> int:
        """Bytes that the next reader gets at once."""
        return sum(map(len, self._inbox))

    def unsent(self) -> int:
        """Bytes that an abort now would lose."""
        return self.queued + (0 if self._lost is not None else self._carrier.unacknowledged())

    # -- what the connection tells

    def feed(self, data: bytes) -> None:
        """The next bytes."""
        if self._lost is not None:
            return
        if self.disconnecting:
            self._carrier.consumed(len(data))
            return
        keep_piece(self._inbox, data)
        self._wake()

    def feed_end(self) -> None:
        """The far end has ended its direction."""
        self._eof = True
        if self._paused and self._hangup is not None:
            call_soon(self.reactor, self._tell_hangup, False)
        self._wake()

    def feed_lost(self, why: str, error: int = 0) -> None:
        """The far end, or the connection, broke off: what was not read is lost."""
        self._lose(ConnectionLost(why), error)

    def make_room(self) -> None:
        """The carrier takes more now."""
        self._flush()

    # -- reading

    def start(self, protocol: Any) -> None:
        """IStream."""
        self.protocol = protocol
        self._hangup = None
        self._paused = self._eof_told = self._told_lost = False
        protocol.makeConnection(self)
        if self._lost is not None:
            call_soon(self.reactor, self._tell_lost)
        self._wake()

    def unread(self, data: bytes) -> None:
        """IStream."""
        self._inbox.appendleft(bytes(data))
        self._unread += len(data)
        self._wake()

    def pauseProducing(self) -> None:
        self._paused = True

    stop_reading = pauseProducing

    def resumeProducing(self) -> None:
        self._hangup = None
        self._paused = False
        self._wake()

    def stopProducing(self) -> None:
        self.loseConnection()

    def watch_hangup(self, callback: Callable[[bool], object] | None) -> None:
        """While paused, be told of the end; see g3.net.transport.Stream."""
        self._hangup = callback
        if callback is not None and (self._eof or self._lost is not None):
            call_soon(self.reactor, self._tell_hangup, self._lost is not None)

    def _tell_hangup(self, gone: bool) -> None:
        callback = self._hangup
        if callback is not None and (gone or self._paused):
            if gone:
                self._hangup = None
            callback(gone)

    def set_read_limit(self, limiters: tuple[Limiter, ...]) -> None:
        """Bound reading by all of these."""
        self.read_limits = limiters
        self._wake()

    def _wake(self) -> None:
        """Deliver soon, what there is to deliver."""
        if not self._soon and not self._paused and self.protocol is not None and self._lost is None and (self._inbox or self._eof):
            self._soon = True
            call_soon(self.reactor, self._deliver)

    def _deliver(self) -> None:
        self._soon = False
        while self._inbox and not self._paused and self._lost is None and not self.disconnecting:
            most = self._may_read()
            if most <= 0:
                return
            data = self._inbox.popleft()
            if len(data) > most:
                self._inbox.appendleft(data[most:])
                data = data[:most]
            new = self._count(len(data))
            self.bytes_in += new
            for limiter in self.read_limits:
                limiter.spend(new)
            self._carrier.consumed(new)
            self.protocol.dataReceived(data)
        if self._eof and not self._inbox and not self._eof_told and not self._paused and self._lost is None:
            self._tell_eof()

    def _count(self, count: int) -> int:
        """How many of the next C{count} bytes nobody has read before."""
        again = min(self._unread, count)
        self._unread -= again
        return count - again

    def _may_read(self) -> int:
        if not self.read_limits:
            return self.read_size
        now = self.reactor.seconds()
        most = allowed(self.read_limits, now, self.read_size)
        if most <= 0 and self._read_timer is None:
            delay = longest_delay(self.read_limits, now)
            if delay != float("inf"):
                self._read_timer = self.reactor.callLater(delay, self._read_again)
        return most

    def _read_again(self) -> None:
        self._read_timer = None
        self._deliver()

    def _tell_eof(self) -> None:
        self._eof_told = True
        if IHalfCloseableProtocol.providedBy(self.protocol):
            self.protocol.readConnectionLost()
            self._finish()
        else:
            self.loseConnection()

    # -- writing

    def write_last(self, data: bytes) -> None:
        """As L{g3.net.transport.Stream.write_last}."""
        self.write(data)
        self.loseWriteConnection()

    def write(self, data: bytes) -> None:
        """Send what there is room for and queue the rest. Never calls the protocol; ignored once our direction is ended."""
        if not data or self.write_closed or self.disconnecting or self._lost is not None:
            return
        keep_piece(self._outbox, bytes(data))
        self.queued += len(data)
        self._send_queued()
        if self._producer is not None and self._streaming and not self._producer_paused and self.queued > HIGH_MARK:
            self._producer_paused = True
            self._producer.pauseProducing()

    def writeSequence(self, iovec: Iterable[bytes]) -> None:
        self.write(b"".join(iovec))

    def set_write_limit(self, limiters: tuple[Limiter, ...]) -> None:
        """Bound writing by all of these."""
        self.write_limits = limiters
        call_soon(self.reactor, self._flush)

    def _send_queued(self) -> None:
        while self._outbox and self._lost is None:
            most = self._may_write()
            if most <= 0:
                return
            data = self._outbox.popleft()
            if len(data) > most:
                self._outbox.appendleft(data[most:])
                data = data[:most]
            self.queued -= len(data)
            self.bytes_out += len(data)
            for limiter in self.write_limits:
                limiter.spend(len(data))
            self._carrier.send(data)

    def _may_write(self) -> int:
        room = self._carrier.room()
        if not self.write_limits or room <= 0:
            return room
        now = self.reactor.seconds()
        most = allowed(self.write_limits, now, room)
        if most <= 0 and self._write_timer is None:
            delay = longest_delay(self.write_limits, now)
            if delay != float("inf"):
                self._write_timer = self.reactor.callLater(delay, self._write_again)
        return most

    def _write_again(self) -> None:
        self._write_timer = None
        self._flush()

    def _flush(self) -> None:
        """Go on sending, and tell who writes."""
        if self._lost is not None:
            return
        self._send_queued()
        producer = self._producer
        goes_on = self._producer_paused and self.queued <= LOW_MARK if self._streaming else not self.queued
        if producer is not None and goes_on:
            self._producer_paused = False
            producer.resumeProducing()
        self._finish()

    def registerProducer(self, producer: Any, streaming: bool) -> None:
        if self._producer is not None:
            raise RuntimeError("there is a producer already")
        self._producer, self._streaming, self._producer_paused = producer, streaming, False
        if self._lost is not None:
            producer.stopProducing()
        elif not streaming:
            call_soon(self.reactor, self._flush)
        elif self.queued > HIGH_MARK:
            self._producer_paused = True
            producer.pauseProducing()

    def unregisterProducer(self) -> None:
        self._producer = None
        call_soon(self.reactor, self._finish)

    # -- the end

    def loseWriteConnection(self) -> None:
        """End our direction behind what is queued."""
        if not self.write_closed and self._lost is None:
            self.write_closed = True
            call_soon(self.reactor, self._finish)

    def loseConnection(self) -> None:
        """End both directions; what is queued is sent, what is not read yet is lost."""
        if not self.disconnecting and self._lost is None:
            self.disconnecting = True
            if not self._eof:
                self._carrier.ignore()
            self._consume_rest()
            call_soon(self.reactor, self._finish)

    def abortConnection(self) -> None:
        """Break off."""
        if self._lost is None:
            self._carrier.abort()
            self.disconnecting = True
            call_soon(self.reactor, self._lose, ConnectionAborted())

    def _consume_rest(self) -> None:
        count = self._count(self.ahead)
        self._inbox.clear()
        if count:
            self._carrier.consumed(count)

    def _finish(self) -> None:
        """End our direction once all was sent and nobody writes; then the stream, once both are at their end."""
        if self._lost is not None or self._outbox or self._producer is not None or not (self.write_closed or self.disconnecting):
            return
        if not self._finished:
            self._finished = True
            self._carrier.finish()
            if not self.disconnecting and IHalfCloseableProtocol.providedBy(self.protocol):
                self.protocol.writeConnectionLost()
        if self.disconnecting or self._eof_told:
            self._lose(ConnectionDone())

    def _lose(self, reason: Exception, error: int = 0) -> None:
        if self._lost is not None:
            return
        self._lost = Failure(reason)  # type: ignore[no-untyped-call]
        self.error = error
        self._consume_rest()
        self._outbox.clear()
        self.queued = 0
        for timer in (self._read_timer, self._write_timer):
            if timer is not None:
                timer.cancel()
        if self.on_close is not None:
            self.on_close(self)
        call_soon(self.reactor, self._tell_lost)

    def _tell_lost(self) -> None:
        if self._told_lost:
            return
        self._tell_hangup(True)
        producer, self._producer = self._producer, None
        if producer is not None:
            producer.stopProducing()
        if self.protocol is not None and not self._told_lost:
            self._told_lost = True
            self.protocol.connectionLost(self._lost)
