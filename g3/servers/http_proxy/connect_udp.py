# SPDX-License-Identifier: Apache-2.0
"""CONNECT-UDP over HTTP/1.1: datagrams for one upstream, in capsules on the client's connection (RFC 9298, RFC 9297)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from twisted.internet.defer import CancelledError

from g3.errors import ClosedByClient, DestDenied, Idle, InternalServerError, InvalidClientProtocol, ProtocolError, TaskError
from g3.logs.task import TaskEvent, UDPNotes, log_udp
from g3.net.coroutine import begin
from g3.net.options import DatagramRelay
from g3.proto.capsule import CapsuleReader, udp_capsule
from g3.relay.flow import HIGH_WATER
from g3.servers.datagrams import open_path
from g3.servers.http.exchange import NEVER, Exchange
from g3.servers.tasks import permit
from g3.task import Stage

if TYPE_CHECKING:
    from twisted.internet.defer import Deferred

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

    __slots__ = ("_capsules", "_held", "_opening", "_received", "_sent", "dropped", "idle_max", "idle_seen", "idle_ticks", "path")

    task_type = "UdpConnect"

    def __init__(self, client: Client, request: Request, target: Target, now: float) -> None:
        super().__init__(client, request, target, now)
        self.task.udp = RELAY
        self.path: Any = None
        self.dropped = 0
        self.idle_seen = self.idle_ticks = 0
        self.idle_max = client.server.config.task_idle_max_count
        self._opening: Deferred[None] | None = None
        self._held: Any = None
        self._capsules = CapsuleReader()
        #: Bytes and datagrams: from the client, from the upstream.
        self._sent = [0, 0]
        self._received = [0, 0]

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
        self.task.stage = Stage.CONNECTING
        self._opening = begin(self._open())

    async def _open(self) -> None:
        server = self.client.server
        try:
            path = await open_path(server.escaper, self.task, many=False)
        except TaskError as error:
            self._opening = None
            self.fail(error)
        except CancelledError:
            pass
        except Exception as error:
            self._opening = None
            server.failed(error)
            self.fail(InternalServerError())
        else:
            self._opening = None
            self._relay(path)

    def _relay(self, path: Any) -> None:
        client, server = self.client, self.client.server
        self.path = path
        self.task.stage = Stage.CONNECTED
        if server.config.flush_task_log_on_connected:
            self.note(TaskEvent.CONNECTED)
        custom = server.custom_headers
        extra = () if custom is None else custom.connection_lines(self.task.connect)
        client.stream.write(b"\r\n".join([_SWITCHED, *extra, b"\r\n"]))
        self.rsp_status = 101
        self.task.ready = server.clock() - self.task.created
        self.task.stage = Stage.RELAYING
        self.wants_body = True
        server.idle.add(self)
        path.start(self)
        ahead = client.take()
        if ahead and not self.ended:
            self.body_received(ahead)
        if not self.ended:
            client.resume()

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
            self._sent[0] += len(payload)
            self._sent[1] += 1
            delay = max(delay, self.path.send(payload, self.task.upstream))
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
        self._received[0] += len(data)
        self._received[1] += 1
        stream.write(udp_capsule(data))

    def path_closed(self, error: TaskError) -> None:
        """Of the path: it has ended."""
        self.fail(error)

    # -- time

    @property
    def activity(self) -> int:
        """A number that changes whenever a datagram moves."""
        return self._sent[1] + self._received[1]

    def went_idle(self) -> None:
        """The watch has seen enough."""
        self.fail(Idle())

    def expired(self) -> None:
        """The escaper keeps the time of what it does."""

    def periodic(self) -> None:
        if self.path is not None:
            self.note(TaskEvent.PERIODIC)

    # -- the end

    def client_ended(self) -> None:
        self.fail(ClosedByClient())

    def answer(self, error: TaskError, closes: bool) -> None:
        """Nothing more once the connection is no HTTP any more."""
        if self.path is None:
            super().answer(error, closes)

    def release(self) -> None:
        self.client.server.idle.remove(self)
        opening, self._opening = self._opening, None
        if opening is not None:
            opening.cancel()
        held, self._held = self._held, None
        if held is not None:
            held.cancel()
        if self.path is not None:
            self.path.close()

    def end(self, error: TaskError, closes: bool) -> None:
        # What the client still sends is no request.
        super().end(error, closes or self.path is not None)

    def record(self, event: TaskEvent, error: TaskError | None = None) -> None:
        server, marks = self.client.server, self.marks
        if server.task_log is None or marks is None:
            return
        client = marks.traffic(self)
        sent, received = self._sent, self._received
        notes = UDPNotes(
            client_read=client.client_read,
            client_read_packets=sent[1],
            client_written=client.client_written,
            client_written_packets=received[1],
            remote_read=received[0],
            remote_read_packets=received[1],
            remote_written=sent[0],
            remote_written_packets=sent[1],
        )
        log_udp(server.task_log, self.task, notes, event, server.clock(), error=error)
