# SPDX-License-Identifier: Apache-2.0
"""The TLS handshake, as client and as server: on the socket of a stream where that is possible, over the stream itself where not."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from OpenSSL import SSL
from twisted.internet.defer import Deferred
from twisted.internet.error import ConnectionDone
from twisted.internet.interfaces import IHalfCloseableProtocol, IReadWriteDescriptor
from twisted.internet.protocol import Protocol
from twisted.python.failure import Failure
from zope.interface import implementer

from g3.net.tls.bio import TLSOverStream, flush_tls
from g3.net.tls.errors import TLSHandshakeFailed, TLSHandshakeTimeout
from g3.net.tls.stream import TLSStream
from g3.net.transport import Stream
from g3.proto.tls.clienthello import MAX_HELLO

if TYPE_CHECKING:
    import socket
    from collections.abc import Callable

    from g3.net.tls.provider import ClientTLS, ServerTLS, Side
    from g3.task import SocketAddress

#: Encrypted bytes of one handshake at most: the longest client hello that is looked at, in records of one byte, takes six bytes for each. Long
#: certificate chains are some 10 KiB.
MOST_HANDSHAKE = 8 * MAX_HELLO
#: A fatal alert in plain text, illegal_parameter: what OpenSSL says of a client hello that is too long for it (RFC 8446 sections 5.1 and 6.2).
REFUSAL = b"\x15\x03\x03\x00\x02\x02\x2f"


async def connect(stream: Any, tls: ClientTLS, name: str, *, port: int = 0, timeout: float | None = None) -> TLSStream | TLSOverStream:
    """Speak TLS as a client on C{stream}, an IStream that nobody reads; it is ours from now on.

    @param name: the DNS name or IP address to ask for and to verify. @param port: tells sessions of one name apart.
    @param timeout: seconds; the handshake timeout of C{tls} by default.
    @raise TLSHandshakeFailed: or TLSHandshakeTimeout; the connection is closed. It is too when the coroutine is cancelled.
    """
    return await _shake(stream, tls, lambda sock: tls.open(sock, name, port), timeout)


async def accept(stream: Any, tls: ServerTLS, *, timeout: float | None = None) -> TLSStream | TLSOverStream:
    """Speak TLS as a server; the same guarantees as L{connect}."""
    return await _shake(stream, tls, tls.open, timeout)


async def _shake(stream: Any, side: Side, open_: Callable[[socket.socket | None], Any], timeout: float | None) -> TLSStream | TLSOverStream:
    seconds = side.handshake_timeout if timeout is None else timeout
    reactor = stream.reactor
    sock, local, peer = _own_socket(stream)
    if sock is None:
        connection = await _OverStream(reactor, stream, side, open_(None), seconds).begin()
        return TLSOverStream(reactor, stream, connection, side)
    try:
        connection = open_(sock)
    except BaseException:
        sock.close()
        raise
    await _OnSocket(reactor, sock, side, connection, seconds).begin()
    return TLSStream(reactor, sock, connection, side, local=local, peer=peer)


def _own_socket(stream: Any) -> tuple[socket.socket | None, SocketAddress | None, SocketAddress | None]:
    """The bare socket of C{stream} with its addresses as far as they are known, or None when TLS must go over the stream."""
    if isinstance(stream, Stream) and not isinstance(stream, TLSStream):
        local, peer = stream._local, stream._peer
        try:
            return stream.detach(), local, peer
        except RuntimeError:
            # Bytes are queued or were read ahead.
            pass
    return None, None, None


class _Handshake:
    """What both ways share: one Deferred, one timer, one reason."""

    def __init__(self, reactor: Any, side: Side, connection: Any, seconds: float) -> None:
        self.reactor = reactor
        self.side = side
        self.connection = connection
        self.done: Deferred[Any] = Deferred(lambda _done: self.leave(keep=False))
        self.timer = reactor.callLater(seconds, self.timed_out)
        self.over = False

    def leave(self, *, keep: bool) -> None:
        """Stop; C{keep} the transport or close it."""
        self.over = True
        if self.timer.active():
            self.timer.cancel()
        self.let_go(keep)

    def let_go(self, keep: bool) -> None:
        raise NotImplementedError

    def timed_out(self) -> None:
        self.fail(TLSHandshakeTimeout("tls handshake timed out"))

    def fail(self, error: Exception) -> None:
        if not self.over:
            self.leave(keep=False)
            self.done.errback(error)

    def broken(self, error: Exception) -> None:
        self.fail(TLSHandshakeFailed(self.side.reason(self.connection, error)))

    def succeed(self) -> None:
        self.side.notice(self.connection)
        self.leave(keep=True)
        self.done.callback(self.connection)


@implementer(IReadWriteDescriptor)
class _OnSocket(_Handshake):
    """OpenSSL reads and writes the socket; we wait for what it wants."""

    def __init__(self, reactor: Any, sock: socket.socket, side: Side, connection: Any, seconds: float) -> None:
        super().__init__(reactor, side, connection, seconds)
        self.sock = sock
        self.reading = self.writing = False

    def begin(self) -> Deferred[Any]:
        self.step()
        return self.done

    def step(self) -> None:
        if self.over:
            return
        try:
            self.connection.do_handshake()
        except SSL.WantReadError:
            self.want(read=True, write=False)
        except SSL.WantWriteError:
            self.want(read=False, write=True)
        except Exception as error:
            self.broken(error)
        else:
            self.succeed()

    def want(self, *, read: bool, write: bool) -> None:
        if read != self.reading:
            self.reading = read
            (self.reactor.addReader if read else self.reactor.removeReader)(self)
        if write != self.writing:
            self.writing = write
            (self.reactor.addWriter if write else self.reactor.removeWriter)(self)

    def let_go(self, keep: bool) -> None:
        self.want(read=False, write=False)
        if not keep:
            self.sock.close()

    def fileno(self) -> int:
        return self.sock.fileno()

    def logPrefix(self) -> str:
        return "tls handshake"

    doRead = doWrite = step

    def connectionLost(self, reason: Failure) -> None:
        self.step()
        # OpenSSL has seen the end, or there is more to say than to hear.
        self.fail(TLSHandshakeFailed("the peer closed the connection"))


@implementer(IHalfCloseableProtocol)
class _OverStream(_Handshake, Protocol):
    """OpenSSL works on memory; we carry it over a stream."""

    def __init__(self, reactor: Any, below: Any, side: Side, connection: Any, seconds: float) -> None:
        super().__init__(reactor, side, connection, seconds)
        self.below = below
        self.taken = 0
        self.said = False

    def begin(self) -> Deferred[Any]:
        self.below.start(self)
        return self.done

    def makeConnection(self, transport: Any) -> None:
        self.step()

    def dataReceived(self, data: bytes) -> None:
        if self.over:
            return
        self.taken += len(data)
        self.connection.bio_write(data)
        self.step()
        if self.taken > MOST_HANDSHAKE and not self.over:
            if not self.said:
                # Neither side has keys before the first word of a server. Afterwards only OpenSSL could say it, which cannot be asked to.
                self.below.write(REFUSAL)
            self.fail(TLSHandshakeFailed("the peer's handshake is too long"))

    def step(self) -> None:
        try:
            self.connection.do_handshake()
        except SSL.WantReadError:
            self.said |= flush_tls(self.connection, self.below)
        except Exception as error:
            flush_tls(self.connection, self.below)
            self.broken(error)
        else:
            flush_tls(self.connection, self.below)
            self.succeed()

    def let_go(self, keep: bool) -> None:
        if keep:
            self.below.pauseProducing()
        else:
            # Not aborted: the alert shall arrive.
            self.below.loseConnection()

    def readConnectionLost(self) -> None:
        self.fail(TLSHandshakeFailed("the peer closed the connection"))

    def writeConnectionLost(self) -> None:
        """We never close one direction."""

    def connectionLost(self, reason: Failure = Failure(ConnectionDone())) -> None:  # type: ignore[no-untyped-call]  # noqa: B008 - Twisted's
        self.fail(TLSHandshakeFailed("the peer closed the connection"))
