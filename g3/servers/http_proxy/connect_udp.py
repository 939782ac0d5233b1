# SPDX-License-Identifier: Apache-2.0
"""CONNECT-UDP over HTTP/1.1: datagrams for one upstream, in capsules on the client's connection (RFC 9298, RFC 9297)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from g3.errors import ClosedByClient, DestDenied, InvalidClientProtocol, ProtocolError, TaskError
from g3.logs.task import TaskEvent, UDPNotes, log_udp
from g3.net.options import DatagramRelay
from g3.proto.capsule import CapsuleReader, udp_capsule
from g3.relay.flow import HIGH_WATER
from g3.servers.datagrams import Way
from g3.servers.http.exchange import NEVER, Exchange
from g3.servers.tasks import permit

if TYPE_CHECKING:
    from g3.proto.http1.request import Request
    from g3.servers.http.client import Client
    from g3.servers.http.target import Target
    from g3.task import SocketAddress

#: The longest datagram from an upstream, and how many before others get their turn.
RELAY: Final = DatagramRelay(packet_size=16384)
_SWITCHED: Final = b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: connect-udp\r\nCapsule-Protocol: ?1"


class ConnectUDP(Exchange):
    """One path. A datagram that the client does not read in time is dropped, as one is anywhere.

    @ivar dropped: datagrams from the upstream that the client had no room for.
    """

    __slots__ = ("_capsules", "_held", "dropped", "way")

    task_type = "UdpConnect"

    def __init__(self, client: Client, request: Request, target: Target, now: float) -> None:
        super().__init__(client, request, target, now)
        self.task.udp = RELAY
        self.way = Way(self)
        self.dropped = 0
        self._held: Any = None
        self._capsules = CapsuleReader()

    # -- the way

    def start(self) -> None:
        if not self.admitted():
            return
        try:
            permit(self.client.server, self.task.upstream)
        except DestDenied as error:
            self.fail(error)
            return
        if self.client.server.config.flush_task_log_on_created:
            self.note(TaskEvent.CREATED)
        self.client.deadline = NEVER
        self.way.open(many=False)

    def way_found(self) -> None:
        """Switch protocols."""
        client = self.client
        custom = client.server.custom_headers
        extra = () if custom is None else custom.connection_lines(self.task.connect)
        client.stream.write(b"\r\n".join([_SWITCHED, *extra, b"\r\n"]))
        self.rsp_status = 101
        self.wants_body = True

    def relaying(self) -> None:
        """Send on what the client sent with its request."""
        ahead = self.client.take()
        if ahead and not self.ended:
            self.body_received(ahead)
        if not self.ended:
            self.client.resume()

    # -- datagrams

    def body_received(self, data: bytes) -> None:
        """Capsules from the client."""
        try:
            payloads = self._capsules.feed(data)
        except ProtocolError as error:
            self.fail(InvalidClientProtocol(str(error)))
            return
        delay = 0.0
        for payload in payloads:
            delay = max(delay, self.way.send(payload, self.task.upstream))
            if self.ended:
                return
        if delay and self._held is None:
            self.client.stream.pauseProducing()
            self._held = self.client.server.context.reactor.callLater(delay, self._go_on)

    def _go_on(self) -> None:
        self._held = None
        self.client.stream.resumeProducing()

    def datagram_received(self, data: Any, _sender: SocketAddress | None) -> None:
        """Of the path."""
        stream = self.client.stream
        if stream.queued > HIGH_WATER:
            self.dropped += 1
            return
        self.way.remote_in += len(data)
        self.way.remote_in_packets += 1
        stream.write(udp_capsule(data))

    def path_closed(self, error: TaskError) -> None:
        """Of the path: it has ended."""
        self.fail(error)

    # -- time

    def expired(self) -> None:
        """The escaper keeps the time of what it does."""

    def periodic(self) -> None:
        self.way.periodic()

    # -- the end

    def client_ended(self) -> None:
        self.fail(ClosedByClient())

    def answer(self, error: TaskError, closes: bool) -> None:
        """Nothing more once the connection is no HTTP any more."""
        if self.way.path is None:
            super().answer(error, closes)

    def release(self) -> None:
        held, self._held = self._held, None
        if held is not None:
            held.cancel()
        self.way.close()

    def end(self, error: TaskError, closes: bool) -> None:
        # What the client still sends is no request.
        super().end(error, closes or self.way.path is not None)

    def record(self, event: TaskEvent, error: TaskError | None = None) -> None:
        server, marks = self.client.server, self.marks
        if server.task_log is None or marks is None:
            return
        way = self.way
        read, written, _, _ = marks.traffic(self)
        notes = UDPNotes(
            client_read=read,
            client_read_packets=way.remote_out_packets,
            client_written=written,
            client_written_packets=way.remote_in_packets,
            remote_read=way.remote_in,
            remote_read_packets=way.remote_in_packets,
            remote_written=way.remote_out,
            remote_written_packets=way.remote_out_packets,
        )
        log_udp(server.task_log, self.task, notes, event, server.clock(), error=error)
