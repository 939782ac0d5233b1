# SPDX-License-Identifier: Apache-2.0
"""The datagram relay kernel: a UDP socket read in batches, into one buffer for all of them.

A datagram is handed on within the turn it arrived in, as a view of the buffer, or it is dropped: nothing is queued here, and an idle session
costs no memory but its objects.
"""

from __future__ import annotations

import os
from errno import EAGAIN, EINTR, EMSGSIZE, ENOBUFS, ENOMEM
from socket import SO_ERROR, SOL_SOCKET
from typing import TYPE_CHECKING, Any, Final, Protocol

from twisted.internet.interfaces import IReadDescriptor
from zope.interface import implementer

if TYPE_CHECKING:
    import socket

    from twisted.python.failure import Failure

    from g3.limit.datagram import DatagramLimiter
    from g3.task import SocketAddress

#: Errors of one datagram: it is dropped, and the next may pass.
DROPPED: Final = frozenset({EAGAIN, EINTR, EMSGSIZE, ENOBUFS, ENOMEM})

#: One buffer for each length of datagrams: what is in it is done with when the turn ends.
_buffers: dict[int, tuple[bytearray, memoryview]] = {}
_MOST_BUFFERS = 64


def _buffer(size: int) -> tuple[bytearray, memoryview]:
    found = _buffers.get(size)
    if found is None:
        if len(_buffers) >= _MOST_BUFFERS:
            _buffers.clear()
        data = bytearray(size)
        found = _buffers[size] = (data, memoryview(data))
    return found


class Receiver(Protocol):
    """Who gets the datagrams of a socket."""

    def datagram_received(self, data: memoryview, sender: SocketAddress | None) -> None:
        """One came. C{data} is good until this returns; C{sender} is None once the socket is connected."""

    def socket_failed(self, error: OSError) -> None:
        """Receiving failed, and will go on failing."""


class Counters(Protocol):
    """Where datagrams are counted, beside the socket itself: g3.metrics.server and escaper have these."""

    udp_in_bytes: int
    udp_in_packets: int
    udp_out_bytes: int
    udp_out_packets: int


@implementer(IReadDescriptor)
class DatagramSocket:
    """One non-blocking UDP socket, ours from now on.

    At most C{batch} datagrams are received before others get their turn; longer ones than C{packet_size} are dropped, not cut. Limits hold
    the receiving back: a read limit that of this socket; what a write limit asks for is the answer of C{send}.

    @ivar dropped: datagrams that were too long, or that the kernel did not take.
    """

    __slots__ = (
        "_batch",
        "_buffer",
        "_held",
        "_paused",
        "_reading",
        "_receiver",
        "_view",
        "bytes_in",
        "bytes_out",
        "connected",
        "dropped",
        "packet_size",
        "packets_in",
        "packets_out",
        "peer",
        "reactor",
        "read_limits",
        "socket",
        "stats",
        "write_limits",
    )

    def __init__(
        self,
        reactor: Any,
        sock: socket.socket,
        stats: Counters,
        *,
        packet_size: int,
        batch: int,
        read_limits: tuple[DatagramLimiter, ...] = (),
        write_limits: tuple[DatagramLimiter, ...] = (),
    ) -> None:
        self.reactor = reactor
        self.socket: socket.socket | None = sock
        self.stats = stats
        self.packet_size = packet_size
        self.read_limits, self.write_limits = read_limits, write_limits
        self.bytes_in = self.bytes_out = self.packets_in = self.packets_out = self.dropped = 0
        self.peer: SocketAddress | None = None
        self._batch = batch
        #: Whether the kernel lets only the peer in.
        self.connected = False
        # One byte more shows that a datagram was longer.
        self._buffer, self._view = _buffer(packet_size + 1)
        self._receiver: Any = None
        self._reading = False
        self._paused = True
        self._held: Any = None

    # -- receiving

    def start(self, receiver: Receiver) -> None:
        """Receive for C{receiver}."""
        self._receiver = receiver
        self.resume()

    def connect(self, peer: SocketAddress) -> None:
        """Send to and receive from C{peer} only. What others have sent before is passed over.

        @raise OSError: the kernel refused.
        """
        if self.socket is not None:
            self.socket.connect(peer)
            self.peer = peer

    def pause(self) -> None:
        """Receive nothing until C{resume}."""
        self._paused = True
        self._update()

    def resume(self) -> None:
        self._paused = False
        self._update()

    def hold(self, seconds: float) -> None:
        """Receive nothing for so long; a longer hold stays."""
        if self.socket is None:
            return
        if self._held is not None:
            if self._held.getTime() >= self.reactor.seconds() + seconds:
                return
            self._held.cancel()
        self._held = self.reactor.callLater(seconds, self._release)
        self._update()

    def _release(self) -> None:
        self._held = None
        self._update()

    def _update(self) -> None:
        wanted = self.socket is not None and not self._paused and self._held is None
        if wanted != self._reading:
            self._reading = wanted
            if wanted:
                self.reactor.addReader(self)
            else:
                self.reactor.removeReader(self)

    def fileno(self) -> int:
        return -1 if self.socket is None else self.socket.fileno()

    def logPrefix(self) -> str:
        return "datagrams"

    def doRead(self) -> None:
        """A batch, by the reactor."""
        sock = self.socket
        if sock is None:
            return
        if self.connected:
            self._read_connected(sock)
        else:
            self._read_any(sock)

    def _read_connected(self, sock: socket.socket) -> None:
        buffer, view, receive = self._buffer, self._view, self._receiver.datagram_received
        most, stats = self.packet_size, self.stats
        for _ in range(self._batch):
            try:
                size = sock.recv_into(buffer)
            except OSError as error:
                self._read_failed(error)
                return
            if size > most:
                self.dropped += 1
                continue
            self.packets_in += 1
            self.bytes_in += size
            stats.udp_in_packets += 1
            stats.udp_in_bytes += size
            receive(view[:size], None)
            if self.read_limits:
                self._spend_read(size)
            if not self._reading:
                return

    def _read_any(self, sock: socket.socket) -> None:
        buffer, view, stats = self._buffer, self._view, self.stats
        for _ in range(self._batch):
            try:
                size, sender = sock.recvfrom_into(buffer)
            except OSError as error:
                if error.errno == EAGAIN and self.peer is not None:
                    self.connected = True  # from now on the kernel lets nobody else in
                self._read_failed(error)
                return
            if size > self.packet_size:
                self.dropped += 1
                continue
            if self.peer is not None and sender[:2] != self.peer:
                continue
            self.packets_in += 1
            self.bytes_in += size
            stats.udp_in_packets += 1
            stats.udp_in_bytes += size
            self._receiver.datagram_received(view[:size], sender[:2])
            if self.read_limits:
                self._spend_read(size)
            if not self._reading:
                return

    def _read_failed(self, error: OSError) -> None:
        if error.errno not in DROPPED and self._receiver is not None:
            self._receiver.socket_failed(error)

    def _spend_read(self, size: int) -> None:
        delay = self._spent(self.read_limits, size)
        if delay > 0:
            self.hold(delay)

    def _spent(self, limits: tuple[DatagramLimiter, ...], size: int) -> float:
        now = self.reactor.seconds()
        return max(limiter.spend(now, size) for limiter in limits)

    # -- sending

    def send(self, data: Any) -> float:
        """Send to the peer: seconds until the next one should be sent.

        @raise OSError: the kernel says that it cannot be, now or later; what only this datagram suffers drops it.
        """
        sock = self.socket
        if sock is None:
            return 0.0
        try:
            size = sock.send(data)
        except OSError as error:
            return self._dropped(error)
        return self._sent(size)

    def send_to(self, data: Any, address: SocketAddress) -> float:
        """The same, to C{address}, of a socket without a peer."""
        sock = self.socket
        if sock is None:
            return 0.0
        try:
            size = sock.sendto(data, address)
        except OSError as error:
            return self._dropped(error)
        return self._sent(size)

    def _sent(self, size: int) -> float:
        self.packets_out += 1
        self.bytes_out += size
        self.stats.udp_out_packets += 1
        self.stats.udp_out_bytes += size
        return self._spent(self.write_limits, size) if self.write_limits else 0.0

    def _dropped(self, error: OSError) -> float:
        if error.errno not in DROPPED:
            raise error
        self.dropped += 1
        return 0.0

    # -- the end

    def close(self) -> None:
        """Give the socket back; nobody is told. Again: nothing."""
        sock = self.socket
        if sock is None:
            return
        self._paused = True
        self._update()
        if self._held is not None:
            self._held.cancel()
            self._held = None
        self.socket = None
        self._receiver = None
        sock.close()

    def connectionLost(self, reason: Failure) -> None:
        """The reactor saw an error and nothing to read (nobody listens at the peer's port), or is shutting down."""
        receiver, sock = self._receiver, self.socket
        self._reading = False  # the reactor has removed us
        number = 0 if sock is None else sock.getsockopt(SOL_SOCKET, SO_ERROR)
        self.close()
        if receiver is not None:
            receiver.socket_failed(OSError(number, os.strerror(number)) if number else OSError("the descriptor is gone"))
