# SPDX-License-Identifier: Apache-2.0
"""A UDP socket with QUIC connections on it: which connection a datagram is for, and who may open one.

Sockets outlive servers, and connections outlive the server that let them in: an L{Offer} is one server's share. New connections are the last
offer's.
"""

from __future__ import annotations

import logging
import os
import socket
import struct
from typing import TYPE_CHECKING, Any, Final, Protocol

from aioquic.buffer import Buffer  # type: ignore[attr-defined]
from aioquic.quic.configuration import SMALLEST_MAX_DATAGRAM_SIZE
from aioquic.quic.packet import QuicPacketType, encode_quic_retry, encode_quic_version_negotiation, pull_quic_header
from aioquic.quic.retry import QuicRetryTokenHandler
from twisted.internet.defer import Deferred
from twisted.logger import Logger

from g3.net.quic.connection import FlowControlled, QUICPeer
from g3.net.transport import plain_address
from g3.net.udp_listen import BATCH, DatagramListener

if TYPE_CHECKING:
    from collections.abc import Callable

    from g3.net.channel import ChannelStream
    from g3.net.quic.settings import QUICSettings
    from g3.task import SocketAddress

log = Logger()
# What aioquic says of each client that does wrong is not for standard error.
logging.getLogger("quic").addHandler(logging.NullHandler())
logging.getLogger("quic").propagate = False

#: Connections of one socket; and how many may be in their handshake until clients have to prove their address by a second packet.
MOST_CONNECTIONS: Final = 4096
RETRY_ABOVE: Final = 64
#: Bytes of a datagram: more than any path takes is no QUIC of ours.
_LONGEST: Final = 2048
_CID: Final = 8
_IP_PKTINFO: Final = 8
_IPV6_PKTINFO: Final = 50
_IPV6_RECVPKTINFO: Final = 49
_ANCILLARY: Final = socket.CMSG_SPACE(20)


class PacketSocket(DatagramListener):
    """Datagrams with the address of ours that each was sent to; what is sent in answer leaves from there.

    C{received(data, (address, ours))}.
    """

    __slots__ = ("_wild",)

    def __init__(self, reactor: Any, sock: socket.socket, received: Callable[[bytes, Any], None]) -> None:
        super().__init__(reactor, sock, received, _LONGEST)
        host = sock.getsockname()[0]
        self._wild = host in ("::", "0.0.0.0")
        if self._wild:
            if sock.family == socket.AF_INET6:
                sock.setsockopt(socket.IPPROTO_IPV6, _IPV6_RECVPKTINFO, 1)
            else:
                sock.setsockopt(socket.IPPROTO_IP, _IP_PKTINFO, 1)

    def take(self) -> None:
        """Read what is there."""
        sock = self.socket
        for _ in range(BATCH):
            if sock is None or self.socket is None:
                return
            try:
                data, ancillary, _, address = sock.recvmsg(_LONGEST, _ANCILLARY if self._wild else 0)
            except BlockingIOError:
                return
            except OSError:
                continue
            self._received(data, (address, _ours(ancillary)))

    doRead = take

    def send(self, data: bytes, peer: Any) -> bool:
        """Send one datagram; False when the kernel does not take it."""
        address, ours = peer
        sock = self.socket
        if sock is None:
            return False
        try:
            sock.sendmsg([data], [ours] if ours is not None else [], 0, address)
        except OSError:
            return False
        return True


def _ours(ancillary: list[tuple[int, int, bytes]]) -> tuple[int, int, bytes] | None:
    """What to send with an answer, of what came with a datagram."""
    for level, kind, data in ancillary:
        if (level, kind) == (socket.IPPROTO_IPV6, _IPV6_PKTINFO):
            return level, kind, data
        if (level, kind) == (socket.IPPROTO_IP, _IP_PKTINFO):
            # Index, local address, destination: the last is what to send from.
            return level, kind, struct.pack("=I", 0) + data[8:12] + bytes(4)
    return None


def _our_address(ours: tuple[int, int, bytes] | None, bound: SocketAddress) -> SocketAddress:
    if ours is None:
        return bound
    level, _, data = ours
    if level == socket.IPPROTO_IPV6:
        return plain_address((socket.inet_ntop(socket.AF_INET6, data[:16]), bound[1]))
    return socket.inet_ntop(socket.AF_INET, data[4:8]), bound[1]


class Owner(Protocol):
    """The server behind an offer."""

    def admits(self, peer: SocketAddress, local: SocketAddress) -> bool:
        """Whether a client may come in; who may not is not answered."""

    def opened(self, peer: QUICPeer, stream: ChannelStream) -> None:
        """A client opened a stream."""

    def ended(self, peer: QUICPeer) -> None:
        """A connection is gone; C{peer.established} tells whether its handshake was ever done."""


class Offer:
    """What one server offers on an endpoint, and the connections it has let in."""

    def __init__(self, endpoint: QUICEndpoint, owner: Owner, settings: QUICSettings) -> None:
        self._endpoint = endpoint
        self.owner = owner
        self.settings = settings
        self.peers: set[QUICPeer] = set()
        self._drained: Deferred[None] | None = None

    def withdraw(self) -> Deferred[None]:
        """Let nobody in any more; the Deferred fires when the last connection is gone. Each ends when it has no stream."""
        self._endpoint.withdraw(self)
        self._drained = Deferred()
        drained = self._drained
        for peer in list(self.peers):
            peer.retire()
        self.gone(None)
        return drained

    def close(self, why: str) -> None:
        """End all connections now."""
        for peer in list(self.peers):
            peer.close(why=why)

    def gone(self, peer: QUICPeer | None) -> None:
        """A connection is."""
        self.peers.discard(peer)
        if self._drained is not None and not self.peers:
            drained, self._drained = self._drained, None
            drained.callback(None)


class QUICEndpoint:
    """QUIC on one bound socket. C{forget} is called when it has neither offers nor connections, and its socket is closed."""

    def __init__(self, reactor: Any, sock: socket.socket, forget: Callable[[], object] = lambda: None) -> None:
        self._reactor = reactor
        self._forget = forget
        self._offers: list[Offer] = []
        self._peers: dict[bytes, QUICPeer] = {}
        self._all: set[QUICPeer] = set()
        self._shaking = 0
        self._retry = QuicRetryTokenHandler()
        self._socket = PacketSocket(reactor, sock, self._received)
        self._bound = plain_address(sock.getsockname())
        self._socket.start()

    def __len__(self) -> int:
        return len(self._all)

    def offer(self, owner: Owner, settings: QUICSettings) -> Offer:
        """Let clients in for C{owner} from now on."""
        offer = Offer(self, owner, settings)
        self._offers.append(offer)
        return offer

    def withdraw(self, offer: Offer) -> None:
        """It lets nobody in any more."""
        if offer in self._offers:
            self._offers.remove(offer)
            self._maybe_close()

    def move(self, sock: socket.socket) -> None:
        """Go on at another socket: clients are told by a packet from there."""
        self._socket.stop()
        self._socket = PacketSocket(self._reactor, sock, self._received)
        self._bound = plain_address(sock.getsockname())
        self._socket.start()
        for peer in self._all:
            peer.ping()

    def _maybe_close(self) -> None:
        if not self._offers and not self._all:
            self._socket.stop()
            self._forget()

    # -- datagrams

    def _received(self, data: bytes, source: Any) -> None:
        try:
            header = pull_quic_header(Buffer(data=data), host_cid_length=_CID)
        except ValueError:
            return
        peer = self._peers.get(header.destination_cid)
        if peer is None:
            if len(data) >= SMALLEST_MAX_DATAGRAM_SIZE and self._offers:
                self._first(header, data, source)
            return
        try:
            peer.received(data, source)
        except Exception:
            log.failure("a QUIC connection fails and is closed")
            peer.close(1, "internal error")

    def _first(self, header: Any, data: bytes, source: Any) -> None:
        """A datagram of nobody we know, long enough that the answer is not more than it."""
        offer = self._offers[-1]
        configuration = offer.settings.configuration
        if header.packet_type == QuicPacketType.VERSION_NEGOTIATION or header.version is None:
            return
        if header.version not in configuration.supported_versions:
            known = encode_quic_version_negotiation(
                source_cid=header.destination_cid, destination_cid=header.source_cid, supported_versions=configuration.supported_versions
            )
            self._socket.send(known, source)
            return
        if header.packet_type != QuicPacketType.INITIAL or len(self._all) >= MOST_CONNECTIONS:
            return
        address, ours = source
        peer, local = plain_address(address), _our_address(ours, self._bound)
        if not offer.owner.admits(peer, local):
            return
        original, retried = header.destination_cid, None
        if header.token or self._shaking >= RETRY_ABOVE:
            original = self._validated(header, peer, source)
            if original is None:
                return
            retried = header.destination_cid
        self._accept(offer, header, original, retried, peer, local).received(data, source)

    def _validated(self, header: Any, peer: SocketAddress, source: Any) -> bytes | None:
        """The connection id with which a client began that has proved its address; None: it is asked to (RFC 9000 section 8.1.2)."""
        now = self._reactor.seconds()
        if header.token:
            try:
                return self._retry.validate_token(address=peer, destination_cid=header.destination_cid, token=header.token, now=now)
            except ValueError:
                # One of another worker, or from long ago: as good as none.
                pass
        source_cid = os.urandom(_CID)
        token = self._retry.create_token(
            address=peer, original_destination_connection_id=header.destination_cid, retry_source_connection_id=source_cid, now=now
        )
        retry = encode_quic_retry(
            version=header.version,
            source_cid=source_cid,
            destination_cid=header.source_cid,
            original_destination_cid=header.destination_cid,
            retry_token=token,
        )
        self._socket.send(retry, source)
        return None

    def _accept(self, offer: Offer, header: Any, original: bytes, retried: bytes | None, address: SocketAddress, local: SocketAddress) -> QUICPeer:
        settings = offer.settings
        quic = FlowControlled(
            settings.tickets,
            configuration=settings.configuration,
            original_destination_connection_id=original,
            retry_source_connection_id=retried,
        )
        peer = QUICPeer(
            self._reactor,
            quic,
            local=local,
            peer=address,
            send=self._send,
            accept=lambda stream: offer.owner.opened(peer, stream),
            ids=self._named,
            ended=lambda peer: self._ended(offer, peer, timer),
        )
        timer = self._reactor.callLater(settings.handshake_timeout, self._late, peer)
        peer.on_established = lambda: self._established(timer)
        self._all.add(peer)
        self._shaking += 1
        offer.peers.add(peer)
        self._named(peer, header.destination_cid, True)
        self._named(peer, quic.host_cid, True)
        return peer

    def _send(self, data: bytes, to: Any) -> None:
        self._socket.send(data, to)

    # -- connections

    def _named(self, peer: QUICPeer, name: bytes, there: bool) -> None:
        if there:
            if name not in self._peers:
                self._peers[name] = peer
                peer.names.add(name)
        elif name in peer.names:
            peer.names.discard(name)
            del self._peers[name]

    def _established(self, timer: Any) -> None:
        self._shaking -= 1
        timer.cancel()

    def _late(self, peer: QUICPeer) -> None:
        peer.close(why="handshake timed out")

    def _ended(self, offer: Offer, peer: QUICPeer, timer: Any) -> None:
        if not peer.established:
            self._shaking -= 1
            if timer.active():
                timer.cancel()
        self._all.discard(peer)
        for name in peer.names:
            del self._peers[name]
        offer.owner.ended(peer)
        offer.gone(peer)
        self._maybe_close()
