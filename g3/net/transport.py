# SPDX-License-Identifier: Apache-2.0
"""A connected socket as a byte stream: reads and writes at once, counts, bounds, pauses, limits, and can be given away.

C{write} tries C{send} in the caller's turn when nothing is queued, so an answer leaves without another turn of the reactor. A pause is
lazy: the descriptor stays polled until something arrives, so pausing for the length of one request costs no system call.
Everything here needs only C{addReader}, C{addWriter} and C{callLater}; two more calls of L{g3.net.reactor.G3Reactor} are used where they exist.
"""

from __future__ import annotations

import socket as _socket
import struct
from errno import ECONNABORTED, ECONNRESET, EPIPE
from fcntl import ioctl
from sys import byteorder
from termios import TIOCOUTQ
from typing import TYPE_CHECKING, Any, Protocol

from twisted.internet.address import IPv4Address, IPv6Address, UNIXAddress
from twisted.internet.error import ConnectionAborted, ConnectionDone, ConnectionLost
from twisted.internet.interfaces import (
    IConsumer,
    IHalfCloseableDescriptor,
    IHalfCloseableProtocol,
    ILoggingContext,
    IPushProducer,
    IReadWriteDescriptor,
    ISystemHandle,
    ITCPTransport,
)
from twisted.logger import Logger
from twisted.python.failure import Failure
from zope.interface import implementer

from g3.interfaces import IStream

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from g3.task import SocketAddress

#: A producer is paused when more than this many bytes are queued, and resumed at the low mark.
HIGH_MARK = 65536
LOW_MARK = 16384
#: Where a stock reactor cannot watch a paused descriptor for a hang-up: bytes read ahead at most.
READ_AHEAD = 65536
#: Seconds without progress after which a closing stream that cannot flush is reset.
FLUSH_TIMEOUT = 60.0

_IOV = 64
_MORE = _socket.MSG_MORE
_PEEK = _socket.MSG_PEEK
_COALESCE = 16384
_RESET = struct.pack("ii", 1, 0)
_UNKNOWN: SocketAddress = ("", 0)

_log = Logger()


def _failure(error: Exception | None = None) -> Failure:
    return Failure(error)  # type: ignore[no-untyped-call]


_DONE = _failure(ConnectionDone())
_ABORTED = _failure(ConnectionAborted())
_LOST = _failure(ConnectionLost())


def _no_fileno() -> int:
    return -1


class Limiter(Protocol):
    """What bounds the speed of a stream: see L{g3.limit.stream}."""

    def allowance(self, now: float) -> int: ...
    def spend(self, n: int) -> None: ...
    def delay(self, now: float) -> float: ...


class Borrower(Protocol):
    """Who does the I/O of one direction of a borrowed stream."""

    def readable(self) -> None: ...
    def writable(self) -> None: ...


def call_soon(reactor: Any, function: Callable[..., object], *args: object) -> None:
    """Call after the current event: at the end of this batch on our reactor, in the next turn on others."""
    soon = getattr(reactor, "soon", None)
    if soon is None:
        reactor.callLater(0, function, *args)
    else:
        soon(function, *args)


def plain_address(raw: Any) -> SocketAddress:
    """The (ip, port) of what the socket module gives; a v4-mapped address becomes IPv4; C{("", 0)} for other families."""
    if not isinstance(raw, tuple) or len(raw) < 2:
        return _UNKNOWN
    host: str = raw[0]
    return (host[7:] if host.startswith("::ffff:") and "." in host else host, raw[1])


def allowed(limiters: tuple[Limiter, ...], now: float, most: int) -> int:
    """Bytes all C{limiters} let pass now, at most C{most}; 0 = wait."""
    for limiter in limiters:
        n = limiter.allowance(now)
        if n < most:
            most = n
    return most


def longest_delay(limiters: tuple[Limiter, ...], now: float) -> float:
    """Seconds to wait until every limiter has something again."""
    return max(limiter.delay(now) for limiter in limiters)


def twisted_address(address: SocketAddress) -> IPv4Address | IPv6Address | UNIXAddress:
    """The Twisted form of an address, for protocols that ask a transport."""
    host, port = address
    if not host:
        return UNIXAddress(b"")
    return IPv6Address("TCP", host, port) if ":" in host else IPv4Address("TCP", host, port)


@implementer(IStream, ITCPTransport, IPushProducer, IConsumer, IReadWriteDescriptor, IHalfCloseableDescriptor, ISystemHandle, ILoggingContext)
class Stream:
    """A stream over one connected non-blocking socket. Nobody reads until L{start}.

    Guarantees: no protocol method is called from inside C{write}, C{loseConnection}, C{abortConnection} or C{loseWriteConnection};
    C{connectionLost} is called once, last; bytes that arrived before a reset are still delivered unless reading is paused.

    @ivar bytes_in: bytes read so far. @ivar bytes_out: bytes the kernel took so far. @ivar queued: accepted and not yet taken.
    @ivar read_size: most bytes of one read. @ivar error: errno that ended it, 0 when none did.
    @ivar write_failed: it was a write that found the connection broken.
    @ivar fileno: called, the descriptor, -1 without a socket; the socket's own method, since the reactor asks at every event.
    @ivar on_close: called with the stream just before its socket is closed, for whoever counts what it moved; must not fail.
    """

    __slots__ = (
        "__weakref__",
        "_borrowed_read",
        "_borrowed_write",
        "_direct",
        "_eof",
        "_flush_timer",
        "_hangup",
        "_local",
        "_paused",
        "_peer",
        "_plain",
        "_producer",
        "_producer_paused",
        "_queue",
        "_read_timer",
        "_reading",
        "_reason",
        "_streaming",
        "_told",
        "_unread",
        "_watching",
        "_write_state",
        "_write_timer",
        "_writing",
        "bytes_in",
        "bytes_out",
        "disconnecting",
        "error",
        "fileno",
        "on_close",
        "protocol",
        "queued",
        "reactor",
        "read_limits",
        "read_size",
        "socket",
        "write_failed",
        "write_limits",
    )

    def __init__(
        self, reactor: Any, sock: _socket.socket, local: SocketAddress | None = None, peer: SocketAddress | None = None, read_size: int = 65536
    ) -> None:
        """@param local: C{peer}: as known from accept or connect; asked from the kernel when first needed otherwise."""
        self.reactor = reactor
        self.socket: _socket.socket | None = sock
        self.fileno: Callable[[], int] = sock.fileno
        self.protocol: Any = None
        self.bytes_in = self.bytes_out = self.queued = self.error = 0
        self.read_size = read_size
        self.disconnecting = self.write_failed = False
        self._local, self._peer = local, peer
        self._paused = True
        self._plain = self._reading = self._writing = self._told = False
        self._eof = 0  # 1: seen, 2: the protocol was told
        self._direct = True
        self._write_state = 0  # 1: half close asked for, 2: done
        self._queue: list[bytes | bytearray | memoryview] | None = None
        self._unread: bytes | None = None
        self._producer: Any = None
        self._producer_paused = self._streaming = False
        self.read_limits: tuple[Limiter, ...] = ()
        self.write_limits: tuple[Limiter, ...] = ()
        self._read_timer: Any = None
        self._write_timer: Any = None
        self._flush_timer: Any = None
        self._borrowed_read: Borrower | None = None
        self._borrowed_write: Borrower | None = None
        self._hangup: Callable[[bool], object] | None = None
        self._watching = False
        self._reason: Failure | None = None
        self.on_close: Callable[[Stream], object] | None = None

    # -- who we are

    @property
    def connected(self) -> bool:
        """Whether there is a socket to write to."""
        return self.socket is not None

    @property
    def disconnected(self) -> bool:
        """Whether the connection is gone (or was given away)."""
        return self.socket is None

    @property
    def eof(self) -> bool:
        """Whether the peer has ended its direction and we have read all of it."""
        return self._eof != 0

    @property
    def write_closed(self) -> bool:
        """Whether our direction was ended, or is to be once the queue is flushed."""
        return self._write_state != 0

    @property
    def local(self) -> SocketAddress:
        """(ip, port) of this end; C{("", 0)} when it has none or is gone before anybody asked."""
        if self._local is None:
            self._local = self._ask("getsockname")
        return self._local

    @property
    def peer(self) -> SocketAddress:
        """(ip, port) of the other end; the same."""
        if self._peer is None:
            self._peer = self._ask("getpeername")
        return self._peer

    def _ask(self, method: str) -> SocketAddress:
        if self.socket is None:
            return _UNKNOWN
        try:
            return plain_address(getattr(self.socket, method)())
        except OSError:
            return _UNKNOWN

    def getHost(self) -> Any:
        return twisted_address(self.local)

    def getPeer(self) -> Any:
        return twisted_address(self.peer)

    def getHandle(self) -> _socket.socket | None:
        return self.socket

    def logPrefix(self) -> str:
        return type(self.protocol).__name__ if self.protocol is not None else "Stream"

    def getTcpNoDelay(self) -> bool:
        return self.socket is not None and bool(self.socket.getsockopt(_socket.IPPROTO_TCP, _socket.TCP_NODELAY))

    def setTcpNoDelay(self, enabled: bool) -> None:
        self._option(_socket.IPPROTO_TCP, _socket.TCP_NODELAY, enabled)

    def getTcpKeepAlive(self) -> bool:
        return self.socket is not None and bool(self.socket.getsockopt(_socket.SOL_SOCKET, _socket.SO_KEEPALIVE))

    def setTcpKeepAlive(self, enabled: bool) -> None:
        self._option(_socket.SOL_SOCKET, _socket.SO_KEEPALIVE, enabled)

    def _option(self, level: int, name: int, value: int) -> None:
        if self.socket is not None:
            try:
                self.socket.setsockopt(level, name, value)
            except OSError:  # a hint that this socket does not know (a socket of another family)
                pass

    # -- handing over

    def start(self, protocol: Any) -> None:
        """Hand the stream to C{protocol} and read for it: makeConnection, then what was put back, then what arrives.

        A later call moves it to another protocol; the first is told nothing. On a stream that was lost meanwhile the protocol hears
        connectionLost after makeConnection.
        """
        self._hangup = None
        self.protocol = protocol
        self._paused = False
        self._told = False
        if self._eof:
            self._eof = 1
        protocol.makeConnection(self)
        if self.protocol is protocol and (self._unread is not None or self._eof or self.socket is None):
            self._catch_up()
        if self.protocol is protocol:
            self._go_on()

    def unread(self, data: bytes) -> None:
        """Put bytes back: the protocol started next gets them first, or this one after C{resumeProducing}. They are not counted again."""
        if data:
            self._unread = bytes(data) if self._unread is None else bytes(data) + self._unread

    def detach(self) -> _socket.socket:
        """Give up the socket and return it: no shutdown, no close, no protocol is told.

        @raise RuntimeError: bytes are queued or unread, or there is no socket.
        """
        sock = self.socket
        if sock is None or self.queued or self._unread is not None or self._borrowed_write is not None:
            raise RuntimeError("a stream can be detached only while nothing is queued and nothing was read ahead")
        self._quiet()
        self.socket = None
        self.fileno = _no_fileno
        self.protocol = self._producer = None
        self._direct = self._plain = False
        return sock

    def _catch_up(self) -> None:
        """Deliver what was put back, then an end that was seen while nobody read."""
        data = self._unread
        if data is not None and not self._paused:
            self._unread = None
            self.protocol.dataReceived(data)
        if self._unread is not None or self._paused:
            return
        if self.socket is None:
            if self._reason is not None and not self._told:
                call_soon(self.reactor, self._tell)
        elif self._eof == 1:
            call_soon(self.reactor, self._tell_eof)

    # -- reading

    def pauseProducing(self) -> None:
        """Deliver nothing until L{resumeProducing}. No system call now; the descriptor is unregistered when something arrives."""
        self._paused = True
        self._plain = False

    def stop_reading(self) -> None:
        """L{pauseProducing} that unregisters at once: for a pause that is known to last."""
        self._paused = True
        self._plain = False
        if self._reading:
            self._reading = False
            self.reactor.removeReader(self)

    def resumeProducing(self) -> None:
        """Deliver again: what was put back in a later turn, then what arrives."""
        self._hangup = None
        if not self._paused or self.disconnecting:
            return
        self._paused = False
        if self._unread is not None or self._eof == 1 or self.socket is None:
            call_soon(self.reactor, self._resumed)
        else:
            self._go_on()

    def stopProducing(self) -> None:
        self.loseConnection()

    def _resumed(self) -> None:
        if not self._paused and self.protocol is not None:
            self._catch_up()
            self._go_on()

    def _go_on(self) -> None:
        """Read if somebody wants it and there is something to read."""
        if self._paused or self.socket is None or self._eof or self.disconnecting or self._unread is not None:
            return
        if self._watching:
            self._unwatch()
        self._plain = self._borrowed_read is None and not self.read_limits
        if not self._reading and self._read_timer is None:
            self._reading = True
            self.reactor.addReader(self)

    def doRead(self) -> None:
        """One read, by the reactor."""
        if not self._plain:
            return self._special_read()
        try:
            data = self.socket.recv(self.read_size)  # type: ignore[union-attr]
        except OSError as error:
            return self._read_error(error)
        if data:
            self.bytes_in += len(data)
            self.protocol.dataReceived(data)
            return None
        return self.end_input()

    def doReadLast(self) -> None:
        """L{doRead} by a reactor that has seen the end of the peer's direction behind what there is to read.

        A protocol whose C{takes_end} is true gets the last bytes and the end in one call, C{lastReceived(data)}, so that both can go on in
        one packet; any other hears of the end when it is read.
        """
        protocol = self.protocol
        if not self._plain or not getattr(protocol, "takes_end", False):
            return self.doRead()
        try:
            data = self.socket.recv(self.read_size)  # type: ignore[union-attr]
        except OSError as error:
            return self._read_error(error)
        if not data:
            return self.end_input()
        self.bytes_in += len(data)
        try:
            rest = self.socket.recv(1, _PEEK)  # type: ignore[union-attr]
        except OSError as error:  # the kernel tells it once
            protocol.dataReceived(data)
            return None if self.socket is None else self._read_error(error)
        if rest:
            protocol.dataReceived(data)
        else:
            self._eof = 2
            self._plain = False
            protocol.lastReceived(data)
            self._read_no_more()
        return None

    def _special_read(self) -> None:
        if self.socket is None:
            return
        if self._paused:
            self._read_while_paused()
        elif self._unread is not None:  # resumed, and its turn comes only now: what was put back goes first
            self._resumed()
        elif self._borrowed_read is not None:
            self._borrowed_read.readable()
        else:
            self._limited_read()

    def _limited_read(self) -> None:
        now = self.reactor.seconds()
        most = allowed(self.read_limits, now, self.read_size)
        if most <= 0:
            return self.hold_reading(longest_delay(self.read_limits, now))
        try:
            data = self.socket.recv(most)  # type: ignore[union-attr]
        except OSError as error:
            return self._read_error(error)
        if not data:
            return self.end_input()
        for limiter in self.read_limits:
            limiter.spend(len(data))
        self.bytes_in += len(data)
        self.protocol.dataReceived(data)
        return None

    def hold_reading(self, delay: float) -> None:
        """Do not poll for C{delay} seconds; for whoever reads, us or a borrower."""
        if self._reading:
            self._reading = False
            self.reactor.removeReader(self)
        self._read_timer = self.reactor.callLater(delay, self._release_reading)

    def _release_reading(self) -> None:
        self._read_timer = None
        self._go_on()

    def set_read_limit(self, limiters: tuple[Limiter, ...]) -> None:
        """Bound what is read from now on by every one of C{limiters}; an empty tuple lifts it."""
        self.read_limits = limiters
        if self._read_timer is not None:
            self._read_timer.cancel()
            self._read_timer = None
        self._plain = False
        self._go_on()

    def _read_error(self, error: OSError) -> None:
        if isinstance(error, (BlockingIOError, InterruptedError)):
            return
        self.fail_read(error)

    def end_input(self) -> None:
        """The peer has ended its direction: for whoever reads, us or a borrower."""
        self._eof = 1
        self._plain = False
        if self.write_failed:
            self._lost(self._reason or _LOST)
        else:
            self._tell_eof()
        self._read_no_more()

    def _read_no_more(self) -> None:
        if self._reading:  # else it was closed, which needs no system call to unregister
            self._reading = False
            self.reactor.removeReader(self)

    def _tell_eof(self) -> None:
        protocol = self.protocol
        if protocol is None or self.disconnecting or self._paused or self.socket is None or self._eof != 1:
            return
        self._eof = 2
        if not IHalfCloseableProtocol.providedBy(protocol):
            self.loseConnection()
            return
        try:
            protocol.readConnectionLost()
        except Exception:
            _log.failure("a protocol failed at the end of its input")
            self.connectionLost(_failure())

    # -- being told of a hang-up while nobody reads

    def watch_hangup(self, callback: Callable[[bool], object] | None) -> None:
        """While paused, call C{callback(False)} when the peer ends its direction and C{callback(True)} when the connection is gone.

        Resuming or starting ends the watch, None too. On a reactor that cannot watch without reading, up to L{READ_AHEAD} bytes are read
        ahead and kept; past them the watch is blind. When the connection is gone the protocol hears connectionLost as well, after the callback.
        """
        self._hangup = callback
        if callback is None:
            if self._watching:
                self._unwatch()
        elif self._eof or not self._reading:
            self._watch()

    def _watch(self) -> None:
        if self.socket is None or self._eof:
            if self._hangup is not None:
                call_soon(self.reactor, self._hung_up, self.socket is None)
        elif hasattr(self.reactor, "addHangup"):
            self._watching = True
            self.reactor.addHangup(self)
        elif len(self._unread or b"") < READ_AHEAD:
            self._reading = True
            self.reactor.addReader(self)

    def _unwatch(self) -> None:
        self._watching = False
        self.reactor.removeHangup(self)

    def hangup(self, gone: bool) -> None:
        """The reactor saw the peer end its direction, or the end of everything."""
        if gone:
            self._watching = False
            number = 0 if self.socket is None else self.socket.getsockopt(_socket.SOL_SOCKET, _socket.SO_ERROR)
            self.fail_read(OSError(number or ECONNRESET, "connection reset while paused"))
        else:
            self._hung_up(False)

    def _hung_up(self, gone: bool) -> None:
        if self._hangup is not None:
            self._hangup(gone)

    def _read_while_paused(self) -> None:
        """Something arrived that nobody wants: stop polling, or find out whether it is the end."""
        if self._hangup is not None and not hasattr(self.reactor, "addHangup"):
            self._read_ahead()
            return
        self._reading = False
        self.reactor.removeReader(self)
        if self._hangup is not None:
            self._watch()

    def _read_ahead(self) -> None:
        room = READ_AHEAD - len(self._unread or b"")
        try:
            data = self.socket.recv(min(room, self.read_size)) if room > 0 else None  # type: ignore[union-attr]
        except OSError as error:
            return self._read_error(error)
        if data:
            self.bytes_in += len(data)
            self._unread = data if self._unread is None else self._unread + data
            return None
        self._reading = False
        self.reactor.removeReader(self)
        if data is not None:
            self._eof = 1
            self._hung_up(False)
        return None

    # -- writing

    def write(self, data: bytes) -> None:
        """Send now what the kernel takes and queue the rest. Never calls the protocol; ignored once our direction is ended."""
        if not self._direct:
            self._slow_write(data)
            return
        try:
            sent = self.socket.send(data)  # type: ignore[union-attr]
        except OSError as error:
            if not isinstance(error, (BlockingIOError, InterruptedError)):
                self.fail_write(error)
                return
            sent = 0
        self.bytes_out += sent
        if sent != len(data):
            self._enqueue(data if not sent else memoryview(data)[sent:])

    def write_last(self, data: bytes) -> None:
        """L{write}, then L{loseWriteConnection}: the bytes and the end go in one packet if the kernel takes them at once. The caller may close
        afterwards, or wait for the peer's end."""
        if self._direct:
            try:
                sent = self.socket.send(data, _MORE)  # type: ignore[union-attr]
            except OSError:
                sent = 0  # write finds out why
            self.bytes_out += sent
            data = data[sent:]
        if data:
            self.write(data)
        self.loseWriteConnection()

    def writeSequence(self, iovec: Iterable[bytes]) -> None:
        """C{write} of all of them as one."""
        self.write(b"".join(iovec))

    def _slow_write(self, data: bytes) -> None:
        if not isinstance(data, (bytes, bytearray, memoryview)):
            raise TypeError("only bytes can be written")
        if not data or self.socket is None or self._write_state or self.write_failed:
            return
        self._enqueue(data)
        if self.write_limits and self.queued == len(data) and self._write_timer is None and self._borrowed_write is None:
            self._flush()

    def _enqueue(self, data: bytes | bytearray | memoryview) -> None:
        """Keep what could not be sent: a copy of what is not immutable, small pieces put together."""
        size = len(data)
        if not size:
            return
        self._direct = False
        self.queued += size
        queue = self._queue
        if queue is None:
            queue = self._queue = []
        last = queue[-1] if queue else None
        if type(last) is bytearray and len(last) + size <= _COALESCE:
            last += data
        elif size < _COALESCE and queue:
            queue.append(bytearray(data))
        else:
            queue.append(data if type(data) is bytes or (type(data) is memoryview and type(data.obj) is bytes) else bytes(data))
        if not self._writing and self._write_timer is None and self._borrowed_write is None:
            self._writing = True
            self.reactor.addWriter(self)
        if self._streaming and not self._producer_paused and self.queued > HIGH_MARK:
            self._producer_paused = True
            self._producer.pauseProducing()

    def doWrite(self) -> None:
        """The socket takes bytes again, by the reactor."""
        if self._borrowed_write is not None:
            self._borrowed_write.writable()
        else:
            self._flush()

    def _flush(self) -> None:
        queue = self._queue
        if queue and self.socket is not None:
            try:
                sent = self._send_limited(queue) if self.write_limits else self._send(queue)
            except OSError as error:
                if not isinstance(error, (BlockingIOError, InterruptedError)):
                    self.fail_write(error)
                return
            if sent < 0:
                return
            self._sent(queue, sent)
        if not self._queue:
            self._drained()
        elif self._producer_paused and self.queued <= LOW_MARK:
            self._producer_paused = False
            self._producer.resumeProducing()

    def _send(self, queue: list[bytes | bytearray | memoryview]) -> int:
        sock = self.socket
        return sock.send(queue[0]) if len(queue) == 1 else sock.sendmsg(queue[:_IOV])  # type: ignore[union-attr]

    def _send_limited(self, queue: list[bytes | bytearray | memoryview]) -> int:
        """Bytes sent, or -1 when the limiters make us wait."""
        now = self.reactor.seconds()
        most = allowed(self.write_limits, now, 1 << 20)
        if most <= 0:
            self.hold_writing(longest_delay(self.write_limits, now))
            return -1
        sent = self.socket.send(memoryview(queue[0])[:most])  # type: ignore[union-attr]
        for limiter in self.write_limits:
            limiter.spend(sent)
        return sent

    def _sent(self, queue: list[bytes | bytearray | memoryview], sent: int) -> None:
        """Forget the first C{sent} bytes of the queue."""
        self.bytes_out += sent
        self.queued -= sent
        gone = 0
        for item in queue:
            size = len(item)
            if sent < size:
                break
            sent -= size
            gone += 1
        if gone:
            del queue[:gone]
        if sent:
            head = queue[0]
            if type(head) is bytearray:
                del head[:sent]
            else:
                queue[0] = memoryview(head)[sent:]

    def hold_writing(self, delay: float) -> None:
        """Do not poll for C{delay} seconds; for whoever writes, us or a borrower."""
        if self._writing:
            self._writing = False
            self.reactor.removeWriter(self)
        if self._write_timer is None:
            self._write_timer = self.reactor.callLater(delay, self._release_writing)

    def _release_writing(self) -> None:
        self._write_timer = None
        if self._borrowed_write is not None:
            self._borrowed_write.writable()
        else:
            self._flush()
            if self._queue and self._write_timer is None and not self._writing and self.socket is not None:
                self._writing = True
                self.reactor.addWriter(self)

    def set_write_limit(self, limiters: tuple[Limiter, ...]) -> None:
        """Bound what is sent from now on by every one of C{limiters}; an empty tuple lifts it."""
        self.write_limits = limiters
        if self._write_timer is not None:
            self._write_timer.cancel()
            self._write_timer = None
            self._release_writing()
        self._may_send_directly()

    def _may_send_directly(self) -> None:
        self._direct = (
            self.socket is not None
            and not self._queue
            and not self.write_limits
            and not self._write_state
            and not self.write_failed
            and self._borrowed_write is None
        )

    def _drained(self) -> None:
        """Nothing is queued any more."""
        self._queue = None
        if self._writing:
            self._writing = False
            self.reactor.removeWriter(self)
        self._may_send_directly()
        producer = self._producer
        if producer is not None and (self._producer_paused or not self._streaming):
            self._producer_paused = False
            producer.resumeProducing()
        elif producer is None:
            self._finish_closing()

    def _finish_closing(self) -> None:
        """Do what was asked for once everything was flushed."""
        if self.queued or self._producer is not None or self.socket is None or self._borrowed_write is not None:
            return
        if self.disconnecting:
            self._close(_DONE)
            self._tell_soon()
        elif self._write_state == 1:
            self._shut_write()

    def fail_write(self, error: OSError) -> None:
        """The peer is gone. What it sent before may still be read; if nobody reads, that is the end, but not inside the caller's turn."""
        self.write_failed = True
        self.error = error.errno or EPIPE
        self._direct = False
        self._queue = None
        self.queued = 0
        self._reason = _failure(ConnectionLost(str(error)))
        if self._writing:
            self._writing = False
            self.reactor.removeWriter(self)
        readable = error.errno in (EPIPE, ECONNRESET) and not (self._paused or self._eof or self.disconnecting)
        if readable:
            self._go_on()
        call_soon(self.reactor, self._broken, readable)

    def _broken(self, readable: bool) -> None:
        if self.socket is None:
            return
        producer, self._producer, self._streaming = self._producer, None, False
        if not readable or self._paused:
            self._lost(self._reason or _LOST)
        if producer is not None:
            producer.stopProducing()

    # -- producers

    def registerProducer(self, producer: Any, streaming: bool) -> None:
        """A streaming producer is paused above L{HIGH_MARK} bytes queued and resumed at L{LOW_MARK}; another is resumed whenever nothing is queued.

        @raise RuntimeError: there is one already.
        """
        if self._producer is not None:
            raise RuntimeError(f"{self._producer!r} is still registered")
        if self.socket is None or self.write_failed:
            producer.stopProducing()
            return
        self._producer, self._streaming, self._producer_paused = producer, streaming, False
        if not streaming:
            producer.resumeProducing()
        elif self.queued > HIGH_MARK:
            self._producer_paused = True
            producer.pauseProducing()

    def unregisterProducer(self) -> None:
        self._producer, self._streaming, self._producer_paused = None, False, False
        if self.disconnecting or self._write_state == 1:
            self._finish_closing()

    # -- lending a direction to somebody who does the I/O

    def borrow_read(self, borrower: Borrower | None) -> None:
        """C{borrower.readable()} is called in place of reading while not paused; None takes it back. It must keep C{bytes_in} right
        and call L{end_input} or L{fail_read} for what it finds: see L{g3.relay.pipe}."""
        self._borrowed_read = borrower
        self._plain = not self._paused and borrower is None and not self.read_limits and self.socket is not None

    def borrow_write(self, borrower: Borrower | None) -> None:
        """C{borrower.writable()} is called in place of flushing; None takes it back, and what was queued meanwhile is sent.

        @raise RuntimeError: bytes are queued.
        """
        if borrower is not None and self.queued:
            raise RuntimeError("bytes are queued")
        self._borrowed_write = borrower
        self._may_send_directly()
        if borrower is None:
            if self._queue:
                self.want_write()
            else:
                self.unwant_write()
                self._finish_closing()

    def want_write(self) -> None:
        """Poll for room in the socket."""
        if not self._writing and self.socket is not None and self._write_timer is None:
            self._writing = True
            self.reactor.addWriter(self)

    def unwant_write(self) -> None:
        """Stop polling for room."""
        if self._writing:
            self._writing = False
            self.reactor.removeWriter(self)

    # -- the end

    def loseWriteConnection(self) -> None:
        """End our direction once everything is flushed; the other one goes on. The protocol hears writeConnectionLost if it provides
        IHalfCloseableProtocol, unless its C{hears_write_end} is false."""
        if self.socket is None or self._write_state:
            return
        self._write_state = 1
        self._direct = False
        self._finish_closing()

    def _shut_write(self) -> None:
        self._write_state = 2
        try:
            self.socket.shutdown(_socket.SHUT_WR)  # type: ignore[union-attr]
        except OSError:  # the peer is gone: reading finds out
            pass
        if self.protocol is not None and getattr(self.protocol, "hears_write_end", True):
            call_soon(self.reactor, self._tell_write_lost)

    def _tell_write_lost(self) -> None:
        if self.protocol is None or self.socket is None or not IHalfCloseableProtocol.providedBy(self.protocol):
            return
        try:
            self.protocol.writeConnectionLost()
        except Exception:
            _log.failure("a protocol failed at the end of its output")
            self.connectionLost(_failure())

    def loseConnection(self) -> None:
        """Close once everything is flushed and no producer is registered; reset after L{FLUSH_TIMEOUT} seconds without progress."""
        if self.socket is None:
            self._wait_no_more()
            return
        if self.disconnecting:
            return
        self.disconnecting = True
        self._paused = True
        self._plain = False
        if self.write_failed:  # it was read until now, to learn what the peer had sent before
            call_soon(self.reactor, self._broken, False)
        else:
            self._finish_closing()
        if self._reading:
            self._reading = False
            self.reactor.removeReader(self)
        if self.socket is not None and not self.write_failed:
            self._flush_timer = self.reactor.callLater(FLUSH_TIMEOUT, self._check_flush, self.bytes_out)

    def _check_flush(self, before: int) -> None:
        self._flush_timer = None
        if self.bytes_out == before:
            self.abortConnection()
        else:
            self._flush_timer = self.reactor.callLater(FLUSH_TIMEOUT, self._check_flush, self.bytes_out)

    def abortConnection(self) -> None:
        """Reset the connection now and drop what is queued."""
        if self.socket is None:
            self._wait_no_more()
            return
        self._option(_socket.SOL_SOCKET, _socket.SO_LINGER, _RESET)  # type: ignore[arg-type]
        self.error = self.error or ECONNABORTED
        self._close(_ABORTED)
        self._tell_soon()

    def _wait_no_more(self) -> None:
        """Who got a stream that was lost before, and paused it before all that was put back, does not want the rest: the end may be told."""
        if self._reason is not None and not self._told:
            self._tell_soon()

    def wire_bytes(self) -> tuple[int, int]:
        """Bytes received and sent above TCP, TLS included."""
        return self.bytes_in, self.bytes_out

    @property
    def ahead(self) -> int:
        """Bytes put back or read ahead, which the next reader gets first."""
        return 0 if self._unread is None else len(self._unread)

    def unsent(self) -> int:
        """Bytes that a reset now would lose: queued here, or not yet acknowledged by the peer."""
        if self.socket is None:
            return 0
        try:
            return self.queued + int.from_bytes(ioctl(self.socket, TIOCOUTQ, bytes(4)), byteorder)
        except OSError:
            return self.queued

    def readConnectionLost(self, reason: Failure) -> None:
        """The reactor saw a hang-up and nothing to read: find out which end it is."""
        self._reading = False
        if self.socket is None:
            return
        if self._paused:
            self._lost(_LOST)
            return
        self._reading = True
        self.reactor.addReader(self)
        self.doRead()

    def writeConnectionLost(self, reason: Failure) -> None:
        self.connectionLost(reason)

    def connectionLost(self, reason: Failure) -> None:
        """The reactor found the connection gone, or the protocol failed."""
        if self.socket is not None:
            self._writing = self._reading = False  # the reactor has removed us
            if not self.error and isinstance(reason.value, ConnectionLost):
                self.error = self.socket.getsockopt(_socket.SOL_SOCKET, _socket.SO_ERROR) or ECONNRESET
                self.write_failed = self.write_failed or self.queued > 0
            self._lost(reason)

    def fail_read(self, error: OSError) -> None:
        """Reading found the connection broken: for whoever reads, us or a borrower. The protocol is told before this returns."""
        self.error = self.error or error.errno or ECONNRESET
        self._lost(self._reason or _failure(ConnectionLost(str(error))))

    def _lost(self, reason: Failure) -> None:
        self._close(reason)
        self._tell()

    def _quiet(self) -> None:
        """No event and no timer from now on."""
        if self._watching:
            self._unwatch()
        if self._reading:
            self._reading = False
            self.reactor.removeReader(self)
        if self._writing:
            self._writing = False
            self.reactor.removeWriter(self)
        self._cancel_timers()

    def _cancel_timers(self) -> None:
        for timer in (self._read_timer, self._write_timer, self._flush_timer):
            if timer is not None and timer.active():
                timer.cancel()
        self._read_timer = self._write_timer = self._flush_timer = None

    def _close(self, reason: Failure) -> None:
        sock = self.socket
        if sock is None:
            return
        forget = getattr(self.reactor, "forget", None)
        if forget is None:
            self._quiet()
        else:
            forget(self)
            self._watching = self._reading = self._writing = False
            if self._read_timer or self._write_timer or self._flush_timer:
                self._cancel_timers()
        on_close, self.on_close = self.on_close, None
        if on_close is not None:
            on_close(self)
        self.socket = None
        self.fileno = _no_fileno
        self._direct = self._plain = False
        self._queue = None
        self.queued = 0
        self._reason = reason
        sock.close()

    def _tell_soon(self) -> None:
        """L{_tell} once the caller's turn is over, if there is anybody to tell."""
        if self.protocol is not None or self._producer is not None or self._hangup is not None:
            call_soon(self.reactor, self._tell)

    def _tell(self) -> None:
        """Say that it is over, once."""
        producer, self._producer, self._streaming = self._producer, None, False
        hangup, self._hangup = self._hangup, None
        self._borrowed_read = self._borrowed_write = None
        try:
            if hangup is not None:
                hangup(True)
            if producer is not None:
                producer.stopProducing()
        finally:
            protocol = self.protocol
            if protocol is not None and not self._told:
                self._told = True
                self.protocol = None
                protocol.connectionLost(self._reason)
