# SPDX-License-Identifier: Apache-2.0
"""TLS over any stream: TLS inside TLS, or on a stream from which bytes were read before TLS began.

OpenSSL works on two memory buffers; this moves bytes between them and the stream below. What Twisted's own TLS over memory does not do: a
half close is a close_notify and then the half close of the stream below, and the reading direction goes on.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, cast

from OpenSSL import SSL
from twisted.internet.error import ConnectionDone, ConnectionLost
from twisted.internet.interfaces import IConsumer, IHalfCloseableProtocol, IPushProducer, ITCPTransport
from twisted.python.failure import Failure
from zope.interface import implementer

from g3.interfaces import IStream
from g3.net.tls.errors import TLSTruncated
from g3.net.tls.stream import RECORD, Agreed, as_oserror
from g3.net.transport import call_soon

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from g3.net.tls.provider import Side, TLSInfo
    from g3.task import SocketAddress


def flush_tls(connection: Any, below: Any) -> bool:
    """Write what OpenSSL wants to send to the stream below; whether there was anything."""
    said = False
    try:
        while True:
            below.write(connection.bio_read(65536))
            said = True
    except SSL.WantReadError:
        return said


@implementer(IStream, ITCPTransport, IPushProducer, IConsumer, IHalfCloseableProtocol)
class TLSOverStream(Agreed):
    """An established TLS connection over C{below}, an IStream. The same promises as g3.net.tls.stream.TLSStream.

    C{bytes_in} and C{bytes_out} count application bytes, C{queued} is what the stream below has queued, TLS included. Memory is bounded as
    below: at most what one read brought is kept decrypted or undecrypted here.
    """

    socket = None

    def __init__(self, reactor: Any, below: Any, connection: Any, side: Side) -> None:
        """@param connection: of C{side}, over memory, its handshake done on C{below}."""
        self.reactor = reactor
        self.read_size = RECORD
        self.connected = True
        self.below = below
        self.protocol: Any = None
        self.bytes_in = self.bytes_out = 0
        self.disconnecting = self.truncated = False
        self.tls: TLSInfo = side.info(connection)
        self._tls: Any = connection
        self.side = side
        self._unread = b""
        self._producer: Any = None
        self._paused = True
        self._keep = True
        self._eof = self._told_eof = False
        self._write_closed = self._notified = False
        self._scheduled = False
        self._reason: Failure | None = None
        below.start(self)
        below.pauseProducing()

    # -- who we are

    @property
    def queued(self) -> int:
        return int(self.below.queued)

    @property
    def local(self) -> SocketAddress:
        return cast("SocketAddress", self.below.local)

    @property
    def peer(self) -> SocketAddress:
        return cast("SocketAddress", self.below.peer)

    @property
    def ahead(self) -> int:
        """Bytes put back, which the next reader gets first."""
        return len(self._unread)

    @property
    def error(self) -> int:
        return int(self.below.error)

    @property
    def write_failed(self) -> bool:
        return bool(self.below.write_failed)

    def unsent(self) -> int:
        """Bytes that a reset now would lose, TLS included."""
        return int(self.below.unsent())

    @property
    def disconnected(self) -> bool:
        return self._reason is not None

    @property
    def eof(self) -> bool:
        """Whether the peer has ended its direction and we have read all of it."""
        return self._eof

    @property
    def write_closed(self) -> bool:
        return self._write_closed

    def getPeer(self) -> Any:
        return self.below.getPeer()

    def getHost(self) -> Any:
        return self.below.getHost()

    def getTcpNoDelay(self) -> bool:
        return bool(self.below.getTcpNoDelay())

    def setTcpNoDelay(self, enabled: bool) -> None:
        self.below.setTcpNoDelay(enabled)

    def getTcpKeepAlive(self) -> bool:
        return bool(self.below.getTcpKeepAlive())

    def setTcpKeepAlive(self, enabled: bool) -> None:
        self.below.setTcpKeepAlive(enabled)

    # -- handing over

    def start(self, protocol: Any) -> None:
        """See IStream."""
        self.protocol = protocol
        self._paused = self._told_eof = False
        protocol.makeConnection(self)
        if self.protocol is protocol and self._reason is not None:
            call_soon(self.reactor, self._tell_lost)
        elif self.protocol is protocol and not self._paused:
            self._deliver()
            self._listen()

    def unread(self, data: bytes) -> None:
        """Put bytes back; they are not counted again."""
        self._unread = bytes(data) + self._unread

    def detach(self) -> Any:
        """@raise RuntimeError: always; there is no socket of its own."""
        raise RuntimeError("a TLS stream has no socket to give away")

    def watch_hangup(self, callback: Callable[[bool], object] | None) -> None:
        """While paused, be told of the end; see g3.net.transport.Stream. What the stream below hears is encrypted, so an end announced by
        close_notify alone is not seen before reading."""
        self.below.watch_hangup(callback)

    def set_read_limit(self, limiters: Any) -> None:
        """Bound the bytes of the stream below."""
        self.below.set_read_limit(limiters)

    def set_write_limit(self, limiters: Any) -> None:
        self.below.set_write_limit(limiters)

    # -- reading

    def pauseProducing(self) -> None:
        self._paused = True
        self.below.pauseProducing()

    stop_reading = pauseProducing

    def resumeProducing(self) -> None:
        if self._paused and not self.disconnecting:
            self._paused = False
            if not self._scheduled:
                self._scheduled = True
                call_soon(self.reactor, self._resumed)

    def stopProducing(self) -> None:
        self.loseConnection()

    def _resumed(self) -> None:
        self._scheduled = False
        if not self._paused:
            self._deliver()
            self._listen()

    def _listen(self) -> None:
        if not self._paused and not self._eof and self._reason is None:
            self.below.resumeProducing()

    def makeConnection(self, transport: Any) -> None:
        """We are the protocol of the stream below."""

    def logPrefix(self) -> str:
        return "TLS"

    def dataReceived(self, data: bytes) -> None:
        """Encrypted bytes from below."""
        if self._tls is None or self.disconnecting:
            return
        self._tls.bio_write(data)
        self._deliver()

    def _deliver(self) -> None:
        """Give the protocol all that can be decrypted now."""
        if self._unread and not self._paused and self.protocol is not None:
            data, self._unread = self._unread, b""
            self.protocol.dataReceived(data)
        while self._reads():
            data = self._decrypt()
            if not data:
                break
            self.bytes_in += len(data)
            if self._keep:
                self._keep = False
                self.side.remember(self._tls)
            self.protocol.dataReceived(data)
        if self._eof:
            self._tell_eof()

    def _reads(self) -> bool:
        return not (self._paused or self._eof or self.disconnecting or self._tls is None or self.protocol is None)

    def _decrypt(self) -> bytes:
        try:
            return cast("bytes", self._tls.recv(RECORD))
        except SSL.WantReadError:
            # Reading may have made OpenSSL answer a key update.
            flush_tls(self._tls, self.below)
        except SSL.ZeroReturnError:
            self._eof = True
        except SSL.Error as error:
            flush_tls(self._tls, self.below)
            self._end(ConnectionLost(str(as_oserror(error))), abort=True)
        return b""

    def _tell_eof(self) -> None:
        if self._told_eof or self._paused or self.disconnecting or self.protocol is None:
            return
        self._told_eof = True
        if IHalfCloseableProtocol.providedBy(self.protocol):
            self.protocol.readConnectionLost()
        else:
            self.loseConnection()

    def readConnectionLost(self) -> None:
        """The stream below ended: after close_notify that is no news."""
        self._deliver()
        if not self._eof and self._reason is None and not self.disconnecting:
            if self._paused and self._tls is not None:
                # Bytes still wait for a reader; the truncation is told behind them.
                return
            self.truncated = True
            self._end(ConnectionLost(str(TLSTruncated("closed without close_notify"))), abort=True)

    # -- writing

    def write_last(self, data: bytes) -> None:
        """As L{g3.net.transport.Stream.write_last}."""
        self.write(data)
        self.loseWriteConnection()

    def write(self, data: bytes) -> None:
        """Encrypt and write to the stream below."""
        if not data or self._write_closed or self.disconnecting or self._tls is None:
            return
        try:
            self._tls.send(data)
        except SSL.Error as error:
            call_soon(self.reactor, self._end, ConnectionLost(str(as_oserror(error))), True)
            return
        self.bytes_out += len(data)
        flush_tls(self._tls, self.below)

    def writeSequence(self, iovec: Iterable[bytes]) -> None:
        self.write(b"".join(iovec))

    def registerProducer(self, producer: Any, streaming: bool) -> None:
        """The stream below paces it."""
        self._producer = producer
        self.below.registerProducer(producer, streaming)

    def unregisterProducer(self) -> None:
        self._producer = None
        self.below.unregisterProducer()
        self._finish()

    # -- the end

    def loseWriteConnection(self) -> None:
        """close_notify, then the half close of the stream below."""
        if not self._write_closed and self._tls is not None:
            self._write_closed = True
            self._finish()

    def loseConnection(self) -> None:
        if not self.disconnecting and self._reason is None:
            self.disconnecting = True
            self._finish()

    def abortConnection(self) -> None:
        if self._reason is None:
            self.disconnecting = True
            self.below.abortConnection()

    def _finish(self) -> None:
        """End our direction, or the connection, once no producer writes any more."""
        if self._producer is not None or self._tls is None or not (self._write_closed or self.disconnecting):
            return
        self._notify()
        if self.disconnecting:
            self.below.loseConnection()
        else:
            self.below.loseWriteConnection()

    def _notify(self) -> None:
        if not self._notified:
            self._notified = True
            try:
                self._tls.shutdown()
            except SSL.Error:
                pass
            flush_tls(self._tls, self.below)

    def writeConnectionLost(self) -> None:
        """The stream below has flushed our half close."""
        if IHalfCloseableProtocol.providedBy(self.protocol):
            self.protocol.writeConnectionLost()

    def _end(self, reason: Exception, abort: bool) -> None:
        """The TLS connection is over, whatever the stream below thinks."""
        if self._reason is None:
            if abort:
                self.below.abortConnection()
            self.connectionLost(Failure(reason))  # type: ignore[no-untyped-call]

    def connectionLost(self, reason: Failure = Failure(ConnectionDone())) -> None:  # type: ignore[no-untyped-call]  # noqa: B008 - Twisted's
        """The stream below is gone."""
        if self._reason is not None:
            return
        self._reason = reason
        self.connected = False
        if self._tls is not None:
            self.side.ended(self._tls)
            self._tls = None
        self._tell_lost()

    def _tell_lost(self) -> None:
        protocol, self.protocol = self.protocol, None
        if protocol is not None:
            protocol.connectionLost(self._reason)
