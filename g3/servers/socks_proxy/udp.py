# SPDX-License-Identifier: Apache-2.0
"""UDP ASSOCIATE: datagrams between a client and one upstream, or any number (RFC 1928 sections 6 and 7).

The session lives as long as its TCP connection, on which the client has nothing more to say.
"""

from __future__ import annotations

import random
from typing import TYPE_CHECKING, Any

from g3.errors import (
    ClientAppTimeout,
    ClientUDPRecvFailed,
    ClientUDPSendFailed,
    ClosedByClient,
    ForbiddenByRule,
    InternalServerError,
    InvalidClientProtocol,
    TaskError,
)
from g3.limit.datagram import datagram_limiters
from g3.logs.task import TaskEvent, UDPNotes, log_udp
from g3.net.transport import plain_address
from g3.net.udp import bind_udp
from g3.proto.socks import v5
from g3.proto.socks.address import IPV4, IPV6, SocksError
from g3.relay.udp import DatagramSocket
from g3.servers.datagrams import Way
from g3.servers.socks_proxy.exchange import NEVER, Exchange
from g3.servers.tasks import permit
from g3.task import Stage, Upstream, parse_ip

if TYPE_CHECKING:
    from g3.servers.socks_proxy.client import Client
    from g3.task import IPAddress, SocketAddress

#: Headers of one session that are remembered as permitted; beyond it all are forgotten at once.
REMEMBERED = 256
NOWHERE = Upstream("", 0)
#: Bytes of the header of a datagram.
_SHORTEST, _LONGEST = 8, 4 + 1 + 255 + 2


class _Client:
    """Who gets the datagrams of the client's socket."""

    __slots__ = ("datagram_received", "socket_failed")

    def __init__(self, datagram_received: Any, socket_failed: Any) -> None:
        self.datagram_received, self.socket_failed = datagram_received, socket_failed


class UDPSession(Exchange):
    """One session. C{expected} is where the client said it would send from; its port, or all of it, may be unspecified.

    The first datagram from there opens the way to the upstream, and only its sender is listened to from then on.
    """

    __slots__ = ("_first", "_header", "_known", "_socket", "client_address", "expected", "initial", "listen_address", "way")

    def __init__(self, client: Client, expected: SocketAddress | None) -> None:
        config = client.server.config
        super().__init__(client, v5.VERSION, "UdpAssociate" if config.use_udp_associate else "UdpConnect", NOWHERE)
        self.task.udp = config.datagram_relay
        self.expected = expected
        self.listen_address: SocketAddress | None = None
        self.client_address: SocketAddress | None = None
        self.initial: Upstream | None = None
        self.way = Way(self)
        self._socket: DatagramSocket | None = None
        #: What the client wrote before its first payload, which the answers of that upstream get too.
        self._header = b""
        self._first = b""
        #: Upstreams by the headers that name them, all of them permitted.
        self._known: dict[bytes, Upstream] = {}

    # -- the socket for the client

    def start(self) -> None:
        if self.server.config.flush_task_log_on_created:
            self.note(TaskEvent.CREATED)
        try:
            self.admit()
            self.task.stage = Stage.PREPARING
            self._listen()
        except TaskError as error:
            self.fail(error)
            return
        if self.client.buffer:
            self.client_data(b"")
            return
        self.client.deadline = self.server.clock() + self.server.config.udp_client_initial_timeout

    def _listen(self) -> None:
        """Open the socket, and tell the client where it is.

        @raise TaskError: there is none to be had.
        """
        server = self.server
        config = server.config
        ip = self._local_ip()
        try:
            sock = bind_udp(str(ip), config.udp_bind_port_range, config.udp_socket_buffer, config.udp_misc_opts)
        except OSError as error:
            raise InternalServerError(f"setup of the udp socket for the client failed: {error.strerror or error}") from error
        self.listen_address = plain_address(sock.getsockname())
        speed = config.udp_sock_speed_limit
        self._socket = DatagramSocket(
            server.context.reactor,
            sock,
            server.stats,
            packet_size=config.packet_size,
            batch=config.batch_size,
            read_limits=datagram_limiters(speed.shift, speed.upload_packets, speed.upload_bytes),
            write_limits=datagram_limiters(speed.shift, speed.download_packets, speed.download_bytes),
        )
        self.task.stage = Stage.REPLYING
        self.answered = True
        self.stream.write(v5.reply(v5.SUCCEEDED, (str(config.echo_ip(ip)), self.listen_address[1])))
        self._socket.start(_Client(self._first_received, self._client_failed))

    def _local_ip(self) -> IPAddress:
        """Where the client is to send to: an address of the family it sends from, which it may have named.

        @raise InvalidClientProtocol: it is of a family that we have no address of.
        """
        config = self.server.config
        own = parse_ip(self.stream.local[0]) or parse_ip(self.client.info.server[0])
        if own is None:
            raise InternalServerError("the client came in at no address")
        named = None if self.expected is None else parse_ip(self.expected[0])
        family = own.version if named is None else named.version
        choices = config.udp_bind_ipv4 if family == 4 else config.udp_bind_ipv6
        if choices:
            return random.choice(choices)
        if family == own.version:
            return own
        if named is not None and named.is_unspecified:  # it named nothing but a family, and not one to take seriously
            choices = config.udp_bind_ipv6 if own.version == 6 else config.udp_bind_ipv4
            return random.choice(choices) if choices else own
        raise InvalidClientProtocol("unsupported client udp socket family")

    # -- the first datagram

    def _first_received(self, data: memoryview, sender: SocketAddress) -> None:
        if not self._expects(sender):
            return
        rules = self.server.config.ingress_network_filter
        ip = parse_ip(sender[0])
        try:
            if rules is not None and (ip is None or rules.check(ip)[1].forbids):
                raise ForbiddenByRule("forbidden by rule: client ip blocked")
            self.client_address = sender
            header = bytes(data[:_LONGEST])
            header = header[: v5.parse_datagram(header)[2]]
            self.initial = self.task.upstream = self._judged(header)
        except SocksError:
            self.fail(InvalidClientProtocol("invalid udp packet from client"))
        except TaskError as error:
            self.fail(error)
        else:
            self._open(data, header, sender)

    def _expects(self, sender: SocketAddress) -> bool:
        """Whether the client may be there; others are not answered and change nothing.

        A client that named no address is where its TCP connection comes from (RFC 1928 section 7), as far as that is of the same family.
        """
        ip, named, port = parse_ip(sender[0]), None, 0
        if self.expected is not None:
            named, port = parse_ip(self.expected[0]), self.expected[1]
        if named is not None and not named.is_unspecified:
            return ip == named and port in (0, sender[1])
        info = self.client.info
        known = [parse_ip(address[0]) for address in (info.client, info.peer)]
        return ip in known or all(each is None or ip is None or each.version != ip.version for each in known)

    def _judged(self, header: bytes) -> Upstream:
        """The upstream that a header names, if the rules let it be sent to.

        @raise SocksError: it names none. @raise TaskError: they do not.
        """
        host, port, _ = v5.parse_datagram(header)
        upstream = Upstream(host, port)
        if self.task.user is not None:
            self.task.user.permit(self.task, upstream)
        permit(self.server, upstream)
        return upstream

    def _open(self, data: memoryview, header: bytes, sender: SocketAddress) -> None:
        """Listen to this client only, and find the way."""
        datagrams = self._socket
        if datagrams is None:
            return
        self.client.deadline = NEVER
        self._header, self._first = header, bytes(data[len(header) :])
        self._known[header] = self.task.upstream
        try:
            datagrams.connect(sender)
        except OSError as error:
            self.fail(InternalServerError(f"unable to connect the client side udp socket: {error.strerror}"))
            return
        datagrams.pause()
        self.way.open(many=self.server.config.use_udp_associate)

    def way_found(self) -> None:
        """The client is told nothing."""

    def relaying(self) -> None:
        """Send on the first datagram, and hear the next."""
        datagrams = self._socket
        first, self._first = self._first, b""
        delay = self.way.send(first, self.task.upstream)
        if datagrams is not None and not self.ended:
            datagrams.start(_Client(self._from_client, self._client_failed))
            if delay:
                datagrams.hold(delay)

    # -- datagrams

    def _from_client(self, data: memoryview, sender: SocketAddress | None) -> None:
        if len(data) < _SHORTEST:
            self.fail(InvalidClientProtocol("invalid udp packet from client"))
            return
        kind = data[3]
        size = 10 if kind == IPV4 else 22 if kind == IPV6 else 7 + data[4]
        header = bytes(data[:size])
        upstream = self._known.get(header)
        if upstream is None:
            upstream = self._learn(header)
            if upstream is None:
                return
        delay = self.way.send(data[size:], upstream)
        if delay and self._socket is not None:
            self._socket.hold(delay)

    def _learn(self, header: bytes) -> Upstream | None:
        """The upstream of a header seen for the first time; None when it ended the session."""
        try:
            host, port, _ = v5.parse_datagram(header)
            if self.server.config.use_udp_associate:
                upstream = self._judged(header)
            else:
                upstream = Upstream(host, port)
                if upstream != self.task.upstream:
                    raise InvalidClientProtocol("vary upstream for udp connect")
        except SocksError:
            self.fail(InvalidClientProtocol("invalid udp packet from client"))
            return None
        except TaskError as error:
            self.fail(error)
            return None
        if len(self._known) >= REMEMBERED:
            self._known.clear()
        self._known[header] = upstream
        return upstream

    def datagram_received(self, data: Any, sender: SocketAddress | None) -> None:
        """Of the path."""
        self.way.remote_in_packets += 1
        self.way.remote_in += len(data)
        datagrams = self._socket
        if datagrams is None:
            return
        try:
            header = self._header if sender is None else v5.datagram_header(sender[0], sender[1])
            delay = datagrams.send(b"".join((header, data)))
        except OSError as error:
            self.fail(ClientUDPSendFailed(f"udp send to client failed: {error.strerror or error}"))
            return
        if delay:
            self.way.path.hold(delay)

    def path_closed(self, error: TaskError) -> None:
        """Of the path: it has ended."""
        self.fail(error)

    def _client_failed(self, error: OSError) -> None:
        self.fail(ClientUDPRecvFailed(f"udp recv from client failed: {error.strerror or error}"))

    # -- the TCP connection, and time

    def client_data(self, data: bytes) -> None:
        self.fail(InvalidClientProtocol("unexpected data received from the tcp channel"))

    def client_ended(self) -> None:
        self.fail(ClosedByClient())

    def expired(self, now: float) -> None:
        self.fail(ClientAppTimeout("timeout to wait first udp packet"))

    def periodic(self) -> None:
        self.way.periodic()

    # -- the end

    def fail(self, error: TaskError) -> None:
        if self.ended:
            return
        self._release()
        answer = self.answer(error)
        self.end(error)
        self.client.exchange_ended(answer)

    def _release(self) -> None:
        """Close every socket."""
        if self._socket is not None:
            self._socket.close()
        self.way.close()

    def record(self, event: TaskEvent, error: TaskError | None = None) -> None:
        log = self.server.task_log
        if log is not None:
            log_udp(log, self.task, self._notes(), event, self.server.clock(), error=error)

    def _notes(self) -> UDPNotes:
        datagrams, way = self._socket, self.way
        if datagrams is None:
            return UDPNotes()
        return UDPNotes(
            self.listen_address,
            self.client_address,
            self.initial,
            datagrams.bytes_in,
            datagrams.packets_in,
            datagrams.bytes_out,
            datagrams.packets_out,
            way.remote_in,
            way.remote_in_packets,
            way.remote_out,
            way.remote_out_packets,
        )
