# SPDX-License-Identifier: Apache-2.0
"""A pair of in-memory streams: what one end writes, the other end's protocol receives, when the clock says so.

No port, no sleep. Bytes, half close, abort and back-pressure behave as on a socket; nothing arrives before the clock is advanced, so no
callback is ever called from inside another one.
"""

from __future__ import annotations

from errno import ECONNRESET
from typing import TYPE_CHECKING, Any, Final, cast

from twisted.internet.error import ConnectionAborted, ConnectionDone, ConnectionLost
from twisted.internet.interfaces import IConsumer, IHalfCloseableProtocol, IPushProducer, ITCPTransport
from twisted.internet.protocol import Protocol
from twisted.python.failure import Failure
from zope.interface import implementer

from g3.interfaces import IStream
from g3.net.channel import Socketless

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from twisted.internet.interfaces import IProtocol
    from twisted.internet.task import Clock

    from g3.task import SocketAddress

LEFT: Final[SocketAddress] = ("192.0.2.1", 40000)
RIGHT: Final[SocketAddress] = ("198.51.100.1", 80)
_EOF: Final = b""


def memory_stream_pair(
    clock: Clock, *, left: SocketAddress = LEFT, right: SocketAddress = RIGHT, window: int = 65536
) -> tuple[MemoryStream, MemoryStream]:
    """Two connected L{MemoryStream}s.

    @param window: bytes that one end takes while its reader is paused or not started; more stay C{queued} at the writer.
    """
    one, two = MemoryStream(clock, left, right, window), MemoryStream(clock, right, left, window)
    one._other, two._other = two, one
    return one, two


def pump(clock: Clock, rounds: int = 1000) -> None:
    """Let everything that is on its way arrive, without moving the time: at most C{rounds} calls."""
    for _ in range(rounds):
        due: list[Any] = [call for call in clock.getDelayedCalls() if call.getTime() <= clock.seconds()]
        if not due:
            return
        # One at a time: advance would never return from calls that beget calls.
        clock.calls.remove(due[0])
        due[0].called = 1
        due[0].func(*due[0].args, **due[0].kw)
    raise AssertionError("the streams never come to rest")


@implementer(IStream, ITCPTransport, IPushProducer, IConsumer)
class MemoryStream(Socketless):
    """One end. C{disconnecting}, C{disconnected} and C{aborted} tell what was done with it."""

    def __init__(self, clock: Clock, local: SocketAddress, peer: SocketAddress, window: int) -> None:
        self.clock = clock
        self.local = local
        self.peer = peer
        self.window = window
        self.bytes_in = 0
        self.bytes_out = 0
        self.protocol: IProtocol | None = None
        self.producer: Any = None
        self.disconnecting = False
        self.disconnected = False
        self.aborted = False
        self.last_active = clock.seconds()
        self._other: MemoryStream | None = None
        self._streaming = True
        self._producer_paused = False
        self._paused = False
        self._inbox: list[bytes] = []
        self._outbox: list[bytes] = []
        self._unread = b""
        self._eof_sent = False
        self._eof_heard = False
        self._moving = self._hangup_told = False
        self._hangup: Callable[[bool], object] | None = None
        self.reactor = clock
        self.read_size = window
        self.error = 0
        self.write_failed = False
        self._lost_by: Failure | None = None

    # -- IStream

    @property
    def queued(self) -> int:
        return sum(map(len, self._outbox))

    def start(self, protocol: IProtocol) -> None:
        self.protocol = protocol
        self._hangup = None
        self._paused = False
        protocol.makeConnection(cast("Any", self))
        if self._lost_by is not None:
            self.clock.callLater(0, protocol.connectionLost, self._lost_by)
        elif self._eof_heard and not self._inbox:
            # The next protocol is told, too.
            self._inbox.append(_EOF)
        self._wake()

    def unread(self, data: bytes) -> None:
        self._unread = data + self._unread
        self._wake()

    @property
    def connected(self) -> bool:
        return not self.disconnected

    @property
    def eof(self) -> bool:
        return self._eof_heard

    @property
    def write_closed(self) -> bool:
        return self._eof_sent

    @property
    def ahead(self) -> int:
        return len(self._unread)

    def unsent(self) -> int:
        return self.queued

    def watch_hangup(self, callback: Callable[[bool], object] | None) -> None:
        """While nobody reads, be told False when the other end ended its direction and True when the connection is gone."""
        self._hangup = callback
        self._hangup_told = False
        self._wake()

    def set_read_limit(self, limiters: object) -> None:
        """Accepted, without effect: there is no time in which bytes travel."""

    set_write_limit = set_read_limit

    # -- writing

    def write_last(self, data: bytes) -> None:
        """As L{g3.net.transport.Stream.write_last}."""
        self.write(data)
        self.loseWriteConnection()

    def write(self, data: bytes) -> None:
        if not data or self.disconnecting or self.disconnected or self._eof_sent:
            return
        self.bytes_out += len(data)
        self._outbox.append(bytes(data))
        self._flow()
        if self.queued and self.producer is not None and not self._producer_paused:
            self._producer_paused = True
            self.producer.pauseProducing()

    def writeSequence(self, data: Iterable[bytes]) -> None:
        self.write(b"".join(data))

    def loseWriteConnection(self) -> None:
        if not self._eof_sent and not self.disconnected:
            self._eof_sent = True
            self._outbox.append(_EOF)
            self._flow()

    def loseConnection(self) -> None:
        if self.disconnecting or self.disconnected:
            return
        self.disconnecting = True
        if not self._eof_sent:
            self._eof_sent = True
            self._outbox.append(_EOF)
        self._flow()
        self._wake()

    def abortConnection(self) -> None:
        if self.disconnected:
            return
        self.aborted = True
        other, self._outbox = self._other, []
        self.clock.callLater(0, self._lose, ConnectionAborted())
        if other is not None:
            other.error = ECONNRESET
            self.clock.callLater(0, other._lose, ConnectionLost("reset by the other end"))

    def registerProducer(self, producer: Any, streaming: bool) -> None:
        if self.producer is not None:
            raise RuntimeError("there is a producer")
        self.producer, self._streaming, self._producer_paused = producer, streaming, False
        if self.disconnected:
            producer.stopProducing()
        elif not streaming:
            self.clock.callLater(0, self._refill)

    def unregisterProducer(self) -> None:
        self.producer = None
        self._wake()

    # -- reading

    def pauseProducing(self) -> None:
        self._paused = True

    stop_reading = pauseProducing

    def resumeProducing(self) -> None:
        self._hangup = None
        self._paused = False
        self._wake()

    def stopProducing(self) -> None:
        self.loseConnection()

    # -- moving bytes

    def _flow(self) -> None:
        """Hand the other end what it has room for."""
        other = self._other
        if other is None:
            return
        moved = False
        while self._outbox:
            data = self._outbox[0]
            room = self.window - sum(map(len, other._inbox))
            if data and room <= 0:
                break
            moved = True
            if data and len(data) > room:
                other._inbox.append(data[:room])
                self._outbox[0] = data[room:]
                break
            other._inbox.append(self._outbox.pop(0))
            if not data:
                self.clock.callLater(0, self._tell_write_closed)
        if moved:
            other._wake()

    def _wake(self) -> None:
        if not self._moving and not self.disconnected:
            self._moving = True
            self.clock.callLater(0, self._move)

    def _move(self) -> None:
        self._moving = False
        if self._hangup is not None and not self._hangup_told and _EOF in self._inbox:
            self._hangup_told = True
            self._hangup(False)
        while not self.disconnected and self.protocol is not None and not self._paused and (self._unread or self._inbox):
            self._deliver_one()
        other = self._other
        if other is not None:
            if other._outbox:
                other._flow()
            other._refill()
            other._finish()
        self._finish()

    def _deliver_one(self) -> None:
        self.last_active = self.clock.seconds()
        if self._unread:
            data, self._unread = self._unread, b""
            assert self.protocol is not None
            self.protocol.dataReceived(data)
            return
        data = self._inbox.pop(0)
        if data:
            self.bytes_in += len(data)
            if not self.disconnecting:
                assert self.protocol is not None
                self.protocol.dataReceived(data)
            return
        self._eof_heard = True
        if IHalfCloseableProtocol.providedBy(self.protocol):
            cast("Any", self.protocol).readConnectionLost()
        else:
            self.loseConnection()

    def _tell_write_closed(self) -> None:
        if not self.disconnecting and not self.disconnected and IHalfCloseableProtocol.providedBy(self.protocol):
            cast("Any", self.protocol).writeConnectionLost()

    def _refill(self) -> None:
        """Our writes left us: the producer may go on."""
        if self.producer is not None and not self.queued and (self._producer_paused or not self._streaming):
            self._producer_paused = False
            self.producer.resumeProducing()

    def _finish(self) -> None:
        if self._eof_sent and not self._outbox and self._eof_heard and not self.disconnecting and not self.disconnected:
            # Both directions ended: as a socket transport does, once the protocol has had its say.
            self.disconnecting = True
        if self.disconnecting and not self._outbox and self.producer is None and not self.disconnected:
            self._lose(ConnectionDone())

    def _lose(self, reason: Exception) -> None:
        if self.disconnected:
            return
        self.disconnected = True
        if self._hangup is not None:
            told, self._hangup = self._hangup, None
            told(True)
        if self.producer is not None:
            producer, self.producer = self.producer, None
            producer.stopProducing()
        self._lost_by = Failure(reason)  # type: ignore[no-untyped-call]
        if self.protocol is not None:
            self.protocol.connectionLost(self._lost_by)


class Recorder(Protocol):
    """A protocol that keeps what it is told: C{data}, C{reason} once lost. Without half close: it closes when the peer does."""

    def __init__(self) -> None:
        self.data = b""
        self.reason: Failure | None = None

    def dataReceived(self, data: bytes) -> None:
        self.data += data

    def connectionLost(self, reason: Failure = Failure(ConnectionDone())) -> None:  # type: ignore[no-untyped-call]  # noqa: B008 - Twisted's signature
        self.reason = reason


@implementer(IHalfCloseableProtocol)
class HalfCloseRecorder(Recorder):
    """A L{Recorder} that stays when the peer ends its direction: C{read_closed}, C{write_closed}."""

    def __init__(self) -> None:
        super().__init__()
        self.read_closed = False
        self.write_closed = False

    def readConnectionLost(self) -> None:
        self.read_closed = True

    def writeConnectionLost(self) -> None:
        self.write_closed = True
