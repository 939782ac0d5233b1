# SPDX-License-Identifier: Apache-2.0
"""HTTP/2 with a client of an http_proxy: each of its streams is served as a client connection of HTTP/1.1 with one request (RFC 9113).

What a client may cost is bounded: streams, windows, the size of a head, what waits to be sent, and frames that carry nothing.
"""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, Any, Final

from h2 import events
from h2.config import H2Configuration
from h2.connection import H2Connection
from h2.errors import ErrorCodes
from h2.exceptions import H2Error
from h2.settings import SettingCodes, Settings
from hyperframe.frame import Frame, GoAwayFrame
from twisted.internet.interfaces import IHalfCloseableProtocol, IPushProducer
from zope.interface import implementer

from g3.errors import ProtocolError
from g3.net.channel import SMALL, ChannelStream, keep_piece
from g3.net.transport import call_soon
from g3.proto.http2 import Malformed, ResponseReader, chunk, last_chunk, request_head
from g3.servers.http.upstream import SharedPool
from g3.servers.http_proxy.connection import ProxyConnection

if TYPE_CHECKING:
    from collections.abc import Callable

    from twisted.python.failure import Failure

    from g3.proto.http1.request import Request
    from g3.servers.http.upstream import Key, UpstreamConnection
    from g3.servers.http_proxy.target import Targets
    from g3.task import ClientInfo

MOST_STREAMS: Final = 100
#: Bytes of request bodies that a client may send ahead on one stream, HTTP/2's initial window, and on all of them: streams whose upstream does not
#: read take nothing from the others.
STREAM_WINDOW: Final = 65535
WINDOW: Final = MOST_STREAMS * STREAM_WINDOW
#: Bytes of one response that wait for the client's window.
SEND_BUFFER: Final = 65536
#: Frames that carry nothing: so many at once, and so many a second. One that undoes a request costs as much as several.
CALM: Final = 1000.0
CALM_PER_SECOND: Final = 100.0
_COSTS: Final[dict[type, float]] = {
    events.PingReceived: 1.0,
    events.PriorityUpdated: 1.0,
    events.RemoteSettingsChanged: 2.0,
    events.UnknownFrameReceived: 1.0,
    events.StreamReset: 5.0,
    events.ConnectionTerminated: 5.0,
}
_OPENED: Final = 0.1
#: A window that is opened costs nothing where so many bytes were sent for it, with those of so many bytes at once.
_OPENED_BYTES: Final = 512
_OPENED_MOST: Final = 1 << 24
_MALFORMED: Final = 5.0
_EMPTY: Final = 1.0
#: Bytes of an answer to a frame: an acknowledgement, a reset.
_ANSWER: Final = 13
#: Seconds that the rest of an answer waits for a client that takes nothing of it.
DRAIN_SECONDS: Final = 60.0
#: Bytes of fields of earlier answers that are kept to say them shorter, however many the client allows (RFC 7541 section 4.2).
_TABLE: Final = 4096


class _Framing(H2Connection):
    """h2, but for what it makes of a client that goes away."""

    MAX_CLOSED_STREAMS = 1024

    def _receive_goaway_frame(self, frame: GoAwayFrame) -> tuple[list[Frame], list[events.Event]]:
        """Without an error the streams that run go on to their end (RFC 9113 section 6.8)."""
        if frame.error_code:
            return super()._receive_goaway_frame(frame)
        event = events.ConnectionTerminated()
        event.error_code = ErrorCodes.NO_ERROR
        return [], [event]


class StreamConnection(ProxyConnection):
    """One stream of a client that speaks HTTP/2. Connections to upstreams are kept for all of them."""

    __slots__ = ("_mux",)

    def __init__(self, server: Any, stream: Any, info: ClientInfo, targets: Targets, mux: HTTP2Connection) -> None:
        super().__init__(server, stream, info, targets)
        self._mux = mux

    def take_kept(self, key: Key, now: float) -> UpstreamConnection | None:
        return self._mux.kept.take(key) or super().take_kept(key, now)

    def keep(self, upstream: UpstreamConnection, closes: bool) -> None:
        server = self.server
        shared = server.shared_pool is not None and not upstream.private
        if shared or not server.keepalive.enable or not server.online or self.lost:
            super().keep(upstream, closes)
        else:
            upstream.idle_since = server.clock()
            self._mux.kept.put(upstream)

    def closes_after(self, request: Request) -> bool:
        """A stream has one request: what follows a refused CONNECT is none, whenever it comes."""
        return True

    def task_ended(self) -> None:
        """For a server that waits for its last task: once the client has all that was answered."""
        if self.server.online:
            self.server.task_ended()
        else:
            self._mux.owe()


class Lane:
    """What carries one stream (g3.net.channel.Carrier): HTTP/1.1 on the side of the server, frames on the side of the client."""

    __slots__ = (
        "_deaf", "_ended", "_ignored", "_mux", "_owed", "_pending", "_read", "_response", "chunked", "connection", "id", "request_ended", "size",
        "stream", "trailers",
    )  # fmt: skip

    def __init__(self, mux: HTTP2Connection, number: int, method: bytes, chunked: bool) -> None:
        self._mux = mux
        self.id = number
        self.chunked = chunked
        self.trailers: list[tuple[bytes, bytes]] = []
        self.request_ended = False
        self.stream: ChannelStream
        self.connection: StreamConnection
        #: Bytes that wait for the client's window.
        self.size = 0
        self._response = ResponseReader(method)
        self._pending: deque[bytes] = deque()
        #: Whether our direction was ended or broken off; whether nobody reads the request any more.
        self._ended = self._ignored = False
        #: Whether what is sent is thrown away.
        self._deaf = False
        #: Bytes of HTTP/1.1 read so far, and for each piece where it ends there and what it takes of the window.
        self._read = 0
        self._owed: deque[tuple[int, int]] = deque()

    # -- the request

    def feed(self, data: bytes, flow: int) -> None:
        """Bytes for the server, and what of the client's window they took."""
        if self._ignored:
            self._mux.acknowledge(self.id, flow)
            return
        before, waiting = self._owed[-1] if self._owed else (self._read, SMALL)
        if waiting + flow < SMALL:
            self._owed[-1] = (before + len(data), waiting + flow)
        else:
            self._owed.append((before + len(data), flow))
        self.stream.feed(data)

    def end_request(self) -> None:
        """The client has sent all. @raise Malformed: its trailers are none."""
        self.request_ended = True
        end = last_chunk(self.trailers)
        if self.chunked:
            self.feed(end, 0)
        self.stream.feed_end()

    def consumed(self, count: int) -> None:
        """Carrier."""
        self._read += count
        while self._owed and self._owed[0][0] <= self._read:
            self._mux.acknowledge(self.id, self._owed.popleft()[1])

    def ignore(self) -> None:
        """Carrier."""
        self._ignored = True
        while self._owed:
            self._mux.acknowledge(self.id, self._owed.popleft()[1])

    # -- the response

    def room(self) -> int:
        """Carrier. Nothing while the client does not read at all: heads have no window."""
        return 0 if self._mux.blocked else SEND_BUFFER - self.size

    def send(self, data: bytes) -> None:
        """Carrier."""
        if self._deaf:
            call_soon(self.stream.reactor, self.cut, "the client does not listen")
            return
        response = self._response
        try:
            for fields, ends in response.feed(data):
                self._mux.send_head(self, fields, ends)
                self._ended = self._ended or ends
        except ProtocolError:
            self.abort()
            self._deaf = True
            call_soon(self.stream.reactor, self.cut, "an answer that HTTP/2 does not carry")
            return
        content = response.take()
        if content:
            keep_piece(self._pending, content)
            self.size += len(content)
        self._mux.pump_soon()

    def finish(self) -> None:
        """Carrier."""
        response = self._response
        if response.until_close and response.begun:
            response.done = True
            self._mux.pump_soon()
        elif not response.done:
            self.abort()

    def abort(self) -> None:
        """Carrier."""
        if not self._ended:
            self._ended = True
            self._pending.clear()
            self.size = 0
            self._mux.reset(self.id, ErrorCodes.INTERNAL_ERROR)

    def cut(self, why: str) -> None:
        """The stream is gone: nothing is sent or read any more."""
        self._ended = True
        self._pending.clear()
        self.size = 0
        self.stream.feed_lost(why)

    def unacknowledged(self) -> int:
        """Carrier."""
        return self.size

    @property
    def waits(self) -> bool:
        """Whether there is anything to send."""
        return not self._ended and (bool(self._pending) or self._response.done)

    @property
    def tunnel(self) -> bool:
        """Whether it is one that was opened."""
        return self._response.tunnel

    def leave(self) -> None:
        """The client of a tunnel has ended and does not listen any more."""
        self._deaf = True
        self._pending.clear()
        self.size = 0
        if not self.request_ended:
            self.request_ended = True
            self.stream.feed_end()

    @property
    def answered(self) -> bool:
        """Whether our direction is over."""
        return self._ended

    def next_piece(self, most: int) -> bytes:
        """Content of at most C{most} bytes, taken out."""
        data = self._pending.popleft()
        if len(data) > most:
            self._pending.appendleft(data[most:])
            data = data[:most]
        self.size -= len(data)
        return data

    def last(self) -> list[tuple[bytes, bytes]] | None:
        """The trailers, once everything else was sent and the response is complete; None before."""
        if self._pending or not self._response.done:
            return None
        self._ended = True
        return self._response.trailers


@implementer(IHalfCloseableProtocol, IPushProducer)
class HTTP2Connection:
    """A client's connection, a protocol on its TLS stream. To its server it is one connection with any number of exchanges.

    @ivar blocked: the client does not read. @ivar kept: idle connections to upstreams.
    """

    __slots__ = (
        "_calm", "_calm_at", "_drain_end", "_drain_size", "_draining", "_farewell", "_gone", "_h2", "_lanes", "_leaving", "_lost", "_owed",
        "_pumping", "_sent", "_targets", "blocked", "counted_in", "counted_out", "deadline", "info", "kept", "server", "stream",
    )  # fmt: skip

    def __init__(self, server: Any, stream: Any, info: ClientInfo, targets: Targets) -> None:
        self.server, self.stream, self.info = server, stream, info
        self.counted_in = self.counted_out = 0
        self._targets = targets
        self._lanes: dict[int, Lane] = {}
        #: Streams that are over for the server, and of whose response something waits for the client's window.
        self._draining: dict[int, Lane] = {}
        self.kept = SharedPool(server.context.timers, server.clock, server.keepalive.idle_expire, MOST_STREAMS)
        #: Whether the client said that it goes: how some end their tunnels.
        self._farewell = False
        self.blocked = self._gone = self._leaving = self._lost = self._pumping = False
        #: Tasks that are over, and that a server that was stopped still waits for.
        self._owed = 0
        #: Bytes of answers for which a client has not opened windows again.
        self._sent = _OPENED_MOST
        #: Bytes that drained when somebody last looked, and when that is too long ago.
        self._drain_size, self._drain_end = 0, 0.0
        self._calm, self._calm_at = CALM, server.clock()
        self.deadline = server.clock() + server.config.req_header_recv_timeout
        # Requests are looked at where they become HTTP/1.1, and one that is none ends its stream alone.
        self._h2 = _Framing(H2Configuration(client_side=False, header_encoding=None, validate_inbound_headers=False))
        values = {SettingCodes.MAX_CONCURRENT_STREAMS: MOST_STREAMS, SettingCodes.MAX_HEADER_LIST_SIZE: server.config.req_header_max_size}
        self._h2.local_settings = Settings(client=False, initial_values=values)
        self._h2.decoder.max_header_list_size = server.config.req_header_max_size

    def makeConnection(self, transport: object) -> None:
        """The client is there."""
        self._h2.initiate_connection()
        self._h2.increment_flow_control_window(WINDOW - STREAM_WINDOW)
        self.stream.registerProducer(self, True)
        self._flush()

    # -- from the client

    def dataReceived(self, data: bytes) -> None:
        """Frames, or parts of them."""
        if self._lost:
            return
        self._flush()  # what h2 then has to send answers these frames
        try:
            heard = self._h2.receive_data(data)
            self._spend_answers()
            for event in heard:
                if self._lost:
                    return
                self._heard(event)
        except H2Error as error:  # what it is, it has told the client
            self.server.refused(self.info, ProtocolError(f"HTTP/2: {error}"))
            self._flush()
            self._close("the client broke the protocol")
            return
        self._flush()
        self._pump()

    def _heard(self, event: Any) -> None:
        cost = _COSTS.get(type(event))
        if cost is not None:
            self._spend(cost)
        if isinstance(event, events.WindowUpdated):
            self._opened()
        elif isinstance(event, events.RequestReceived):
            self._request(event.stream_id, event.headers, event.stream_ended is not None)
        elif isinstance(event, events.DataReceived):
            self._data(event)
        elif isinstance(event, events.TrailersReceived):
            lane = self._lanes.get(event.stream_id)
            if lane is not None:
                lane.trailers = [(bytes(name), bytes(value)) for name, value in event.headers]
        elif isinstance(event, events.StreamEnded):
            self._ended(event.stream_id)
        elif isinstance(event, events.StreamReset):
            self._draining.pop(event.stream_id, None)
            lane = self._lanes.get(event.stream_id)
            if lane is not None:
                lane.cut("the client reset the stream")
        elif isinstance(event, events.RemoteSettingsChanged):
            self._bound_table()
        elif isinstance(event, events.ConnectionTerminated):
            self._leaving = self._farewell = True
            if event.error_code != ErrorCodes.NO_ERROR:
                self._client_left()
            self._leave_if_done()

    def _request(self, number: int, fields: Any, ends: bool) -> None:
        if self._leaving:
            self.reset(number, ErrorCodes.REFUSED_STREAM)
            self._spend(_MALFORMED)
            return
        try:
            method, head, chunked = request_head([(bytes(name), bytes(value)) for name, value in fields], ends=ends)
        except Malformed as error:
            self._malformed(number, error)
            return
        lane = self._lanes[number] = Lane(self, number, method, chunked)
        below = self.stream
        stream = lane.stream = ChannelStream(below.reactor, lane, local=below.local, peer=below.peer, tls=getattr(below, "tls", None))
        stream.on_close = lambda _: self._closed(lane)
        lane.connection = StreamConnection(self.server, stream, self.info, self._targets, self)
        lane.connection.deadline = self.server.clock() + self.server.config.req_header_recv_timeout
        stream.start(lane.connection)
        lane.feed(head, 0)

    def _malformed(self, number: int, error: ProtocolError) -> None:
        self.server.refused(self.info, error)
        self.reset(number, ErrorCodes.PROTOCOL_ERROR)
        self._spend(_MALFORMED)

    def _data(self, event: Any) -> None:
        lane = self._lanes.get(event.stream_id)
        if not event.data and event.stream_ended is None:
            self._spend(_EMPTY)
        if lane is None or not event.data:
            self.acknowledge(event.stream_id, event.flow_controlled_length)
        else:
            data = bytes(event.data)
            lane.feed(chunk(data) if lane.chunked else data, event.flow_controlled_length)

    def _ended(self, number: int) -> None:
        lane = self._lanes.get(number)
        if lane is None:
            return
        try:
            lane.end_request()
        except Malformed as error:
            self._malformed(number, error)
            lane.cut("malformed trailers")

    def _opened(self) -> None:
        """A window was opened: for what was sent, or for nothing."""
        if self._sent >= _OPENED_BYTES:
            self._sent -= _OPENED_BYTES
        else:
            self._spend(_OPENED)

    def _bound_table(self) -> None:
        """Keep the table of fields small, and say so as RFC 7541 section 4.2 wants it: the smallest size since the last head, then the last."""
        encoder = self._h2.encoder
        changes = [min(size, _TABLE) for size in encoder.table_size_changes]
        if changes:
            encoder.header_table_size = changes[-1]
            encoder.table_size_changes = [min(changes), changes[-1]] if min(changes) < changes[-1] else changes[-1:]

    def _spend_answers(self) -> None:
        """What h2 answers by itself to frames, those for streams that are over among them, costs too."""
        data = self._h2.data_to_send()
        if data:
            self.stream.write(data)
            self._spend(len(data) / _ANSWER)

    def _spend(self, cost: float) -> None:
        """Count what costs us and brings the client nothing; too much of it is the end (RFC 9113 section 10.5)."""
        now = self.server.clock()
        self._calm = min(CALM, self._calm + (now - self._calm_at) * CALM_PER_SECOND) - cost
        self._calm_at = now
        if self._calm < 0 and not self._lost:
            self.server.refused(self.info, ProtocolError("HTTP/2: too many frames that carry nothing"))
            self._try(self._h2.close_connection, ErrorCodes.ENHANCE_YOUR_CALM)
            self._flush()
            self._close("the client was told to calm down")

    # -- to the client, for the lanes

    def send_head(self, lane: Lane, fields: list[tuple[bytes, bytes]], ends: bool) -> None:
        """Send the head of a response; C{ends}: it is all of it."""
        if not self._try(self._h2.send_headers, lane.id, fields, end_stream=ends):
            raise ProtocolError("a head that HTTP/2 does not carry")

    def reset(self, number: int, code: ErrorCodes) -> None:
        """Break a stream off."""
        self._try(self._h2.reset_stream, number, code)
        self.pump_soon()

    def acknowledge(self, number: int, size: int) -> None:
        """Open the windows again by C{size} bytes that were read."""
        if size and not self._lost:
            self._try(self._h2.acknowledge_received_data, size, number)
            self.pump_soon()

    @staticmethod
    def _try(method: Callable[..., object], *words: Any, **more: Any) -> bool:
        """Whether the state of the connection or the stream allowed it: the client may have ended either."""
        try:
            method(*words, **more)
        except (H2Error, KeyError):
            return False
        return True

    def pump_soon(self) -> None:
        """There may be something to send: it goes after the current event."""
        if not self._pumping and not self._lost:
            self._pumping = True
            call_soon(self.stream.reactor, self._pump)

    def _pump(self) -> None:
        """Send what the windows allow, a frame of each stream in turn."""
        self._pumping = False
        waiting = [lane for lane in (*self._lanes.values(), *self._draining.values()) if lane.waits]
        while waiting and not self.blocked and not self._lost:
            waiting = [lane for lane in waiting if self._send_some(lane)]
            self._flush()
        self._flush()
        if self._draining:
            self._draining = {number: lane for number, lane in self._draining.items() if lane.waits}
            self._leave_if_done()

    def _send_some(self, lane: Lane) -> bool:
        """Send a frame of a stream; whether another one can follow."""
        if lane.size:
            room = self._room(lane.id)
            if room <= 0:
                return False
            piece = lane.next_piece(room)
            self._sent = min(_OPENED_MOST, self._sent + len(piece))
            self._try(self._h2.send_data, lane.id, piece)
            call_soon(self.stream.reactor, lane.stream.make_room)
        trailers = lane.last()
        if trailers is None:
            return lane.size > 0
        if trailers:
            self._try(self._h2.send_headers, lane.id, trailers, end_stream=True)
        else:
            self._try(self._h2.end_stream, lane.id)
        if not (lane.request_ended or lane.tunnel):  # nobody reads the rest of it (RFC 9113 section 8.1)
            self._try(self._h2.reset_stream, lane.id, ErrorCodes.NO_ERROR)
            lane.cut("answered before the end of the request")
        return False

    def _room(self, number: int) -> int:
        try:
            return min(self._h2.local_flow_control_window(number), self._h2.max_outbound_frame_size)
        except (H2Error, KeyError):
            return 0

    def _flush(self) -> None:
        data = self._h2.data_to_send()
        if data and not self.stream.disconnecting:
            self.stream.write(data)

    def pauseProducing(self) -> None:
        """IPushProducer: the client does not read; then it is not listened to either, or what its frames are answered with would pile up."""
        self.blocked = True
        self.stream.pauseProducing()

    def resumeProducing(self) -> None:
        """IPushProducer."""
        self.blocked = False
        self.stream.resumeProducing()
        for lane in self._lanes.values():
            call_soon(self.stream.reactor, lane.stream.make_room)
        self.pump_soon()

    def stopProducing(self) -> None:
        """IPushProducer: connectionLost follows."""

    # -- what the server calls

    @property
    def exchange(self) -> HTTP2Connection | None:
        """Itself, for all the exchanges it has."""
        return self if self._lanes else None

    def idle_tick(self) -> None:
        for lane in list(self._lanes.values()):
            if lane.connection.exchange is not None:
                lane.connection.exchange.idle_tick()

    def periodic(self) -> None:
        for lane in list(self._lanes.values()):
            if lane.connection.exchange is not None:
                lane.connection.exchange.periodic()

    @property
    def fresh(self) -> bool:
        """Whether a request is looked at, or has never come."""
        return not self._lost and (bool(self._lanes) or not self._h2.highest_inbound_stream_id)

    def tick(self, now: float) -> None:
        """Every second."""
        for lane in list(self._lanes.values()):
            lane.connection.tick(now)
        if not self.server.online and (self._h2.highest_inbound_stream_id or now >= self.server.last_call):
            self.leave()
        if self._draining:
            self._watch_draining(now)
        elif not self._lanes and self.deadline <= now:
            self._go("idle")

    def _watch_draining(self, now: float) -> None:
        """Wait for a client only while it takes something."""
        size = sum(lane.size for lane in self._draining.values())
        if size != self._drain_size:
            self._drain_size, self._drain_end = size, now + DRAIN_SECONDS
        elif self._drain_end <= now:
            if not self._lanes:
                self.stream.abortConnection()
                return
            for lane in self._draining.values():
                lane.abort()
            self._pump()

    def owe(self) -> None:
        """A task of a server that was stopped is over."""
        if self._gone:
            self.server.task_ended()
        else:
            self._owed += 1

    def leave(self) -> None:
        """Take no more requests; end with the last one."""
        if not self._leaving and not self._lost:
            self._leaving = True
            # Written by hand, since h2 sends nothing more once it has said so itself.
            last = self._h2.highest_inbound_stream_id
            self.stream.write(GoAwayFrame(0, last_stream_id=last, error_code=int(ErrorCodes.NO_ERROR)).serialize())
        if not self._lanes and not self._draining:
            self._go("the server is offline")

    def quit(self) -> None:
        """The server quits."""
        for lane in list(self._lanes.values()):
            lane.connection.quit()
        self._pump()
        self._go("the server quits")

    # -- ends

    def _closed(self, lane: Lane) -> None:
        """A stream is over."""
        if self._lanes.pop(lane.id, None) is None:
            return
        lane.ignore()
        if lane.waits:
            self._draining[lane.id] = lane
            self.pump_soon()
        elif not lane.answered:
            lane.abort()
        elif not lane.request_ended:
            self.reset(lane.id, ErrorCodes.NO_ERROR)
        self._leave_if_done()

    def _leave_if_done(self) -> None:
        if not self._lanes and not self._draining:
            self.deadline = self.server.clock() + self.server.config.pipeline_read_idle_timeout
            if self._leaving:
                call_soon(self.stream.reactor, self._go, "the server is offline")

    def _go(self, why: str) -> None:
        """End in order."""
        if not self._lost:
            self._try(self._h2.close_connection, ErrorCodes.NO_ERROR)
            self._flush()
            self._close(why)

    def _close(self, why: str) -> None:
        """Nothing more is said or heard."""
        if self._lost:
            return
        self._lost = True
        self._drop(why)
        self.stream.unregisterProducer()
        self.stream.loseConnection()

    def _drop(self, why: str) -> None:
        lanes, self._lanes = list(self._lanes.values()), {}
        self._draining.clear()
        for lane in lanes:
            if self._farewell and lane.tunnel:
                lane.leave()
                call_soon(self.stream.reactor, lane.cut, why)
            else:
                lane.cut(why)
        self.kept.close()

    def _client_left(self) -> None:
        """The client hears nothing more. That is how it ends its tunnels too; a request or a response that was under way is broken off."""
        self._leaving = True
        for lane in list(self._lanes.values()):
            if lane.tunnel:
                lane.leave()
            else:
                lane.cut("the client has gone away")
        self._draining.clear()
        if not self._lanes:
            self._go("the client has gone away")

    def readConnectionLost(self) -> None:
        """No frame comes any more, none that opens a window either."""
        self._client_left()

    def writeConnectionLost(self) -> None:
        """Our end is the end of all."""

    def connectionLost(self, reason: Failure | None = None) -> None:
        self._lost = True
        self._gone = True
        self._drop("the connection is lost")
        self.server.gone(self)
        for _ in range(self._owed):
            self.server.task_ended()
