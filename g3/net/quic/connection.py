# SPDX-License-Identifier: Apache-2.0
"""One QUIC connection of a client, and its streams.

aioquic opens windows by itself as bytes arrive; here they open as bytes are read, so that a reader that rests stops its client. What waits to be
sent is bounded by what is taken from a stream.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from aioquic.quic import events
from aioquic.quic.connection import QuicConnection
from twisted.logger import Logger

from g3.net.channel import ChannelStream
from g3.net.quic.settings import MOST_STREAMS, STREAM_WINDOW, WINDOW
from g3.net.tls.provider import TLSInfo
from g3.net.transport import call_soon

if TYPE_CHECKING:
    from collections.abc import Callable

    from g3.net.quic.tickets import TicketOffice
    from g3.task import SocketAddress

log = Logger()

#: Bytes kept for one stream until the client has acknowledged them.
SEND_BUFFER: Final = 1 << 17
#: Windows are opened again in such parts of their size: less would be many frames.
_STEP: Final = 4
#: RFC 9000 section 20.1; and what a stream is broken off with, a number that QUIC leaves to what is spoken inside.
NO_ERROR: Final = 0
_PROTOCOL_VIOLATION: Final = 0x0A
_ABORTED: Final = 0


class FlowControlled(QuicConnection):
    """A connection whose windows are ours to open (RFC 9000 section 4.1)."""

    def __init__(self, tickets: TicketOffice | None = None, **words: Any) -> None:
        super().__init__(**words)
        self._tickets = tickets
        for limit, most in ((self._local_max_streams_bidi, MOST_STREAMS), (self._local_max_streams_uni, 0)):
            # What the handshake tells the client.
            limit.value = limit.sent = most
        self._read = 0

    def consumed(self, count: int) -> bool:
        """C{count} bytes of any stream were read; whether the client should hear of it."""
        self._read += count
        limit = self._local_max_data
        if self._read + WINDOW - limit.value < WINDOW // _STEP:
            return False
        limit.value = self._read + WINDOW
        return True

    def stream_consumed(self, stream_id: int, total: int) -> bool:
        """The first C{total} bytes of a stream were read; whether the client should hear of it."""
        stream = self._streams.get(stream_id)
        if stream is None or stream.receiver.is_finished or total + STREAM_WINDOW - stream.max_stream_data_local < STREAM_WINDOW // _STEP:
            return False
        stream.max_stream_data_local = total + STREAM_WINDOW
        return True

    def arrived(self, stream_id: int) -> int:
        """Bytes of a stream that count against the window of the connection."""
        stream = self._streams.get(stream_id)
        return 0 if stream is None else stream.receiver.highest_offset

    def kept(self, stream_id: int) -> int:
        """Bytes of a stream that the client has not acknowledged yet."""
        stream = self._streams.get(stream_id)
        return 0 if stream is None else stream.sender._buffer_stop - stream.sender._buffer_start

    def push(self, stream_id: int, data: bytes, end: bool) -> None:
        """Send on a stream, unless the client wants none of it any more."""
        stream = self._streams.get(stream_id)
        if stream is not None and stream.sender._reset_error_code is None and stream.sender._buffer_fin is None:
            stream.sender.write(data, end_stream=end)

    def drop(self, stream_id: int) -> None:
        """Have the client send no more on a stream."""
        if self.receives(stream_id):
            self.stop_stream(stream_id, _ABORTED)

    def receives(self, stream_id: int) -> bool:
        """Whether something of a stream may still come."""
        stream = self._streams.get(stream_id)
        return stream is not None and not stream.receiver.is_finished

    def unsent(self) -> bool:
        """Whether something of any stream is not acknowledged yet."""
        return any(not stream.sender.is_finished for stream in self._streams.values())

    def _initialize(self, peer_cid: bytes) -> None:
        super()._initialize(peer_cid)
        if self._tickets is not None:
            self._tickets.attach(self.tls)

    def _write_connection_limits(self, builder: Any, space: Any) -> None:
        limit = self._local_max_data
        used, limit.used = limit.used, 0
        try:
            super()._write_connection_limits(builder, space)
        finally:
            limit.used = used

    def _write_stream_limits(self, builder: Any, space: Any, stream: Any) -> None:
        receiver = stream.receiver
        highest, receiver.highest_offset = receiver.highest_offset, 0
        try:
            super()._write_stream_limits(builder, space, stream)
        finally:
            receiver.highest_offset = highest


class Lane:
    """The carrier of one stream (g3.net.channel.Carrier)."""

    __slots__ = ("_connection", "_quic", "_read", "ignored", "stream", "stream_id")

    def __init__(self, connection: QUICPeer, stream_id: int) -> None:
        self._connection = connection
        self._quic = connection.quic
        self.stream_id = stream_id
        self._read = 0
        self.ignored = False
        self.stream: ChannelStream

    def room(self) -> int:
        """Carrier."""
        room = SEND_BUFFER - self._quic.kept(self.stream_id)
        if room <= 0:
            self._connection.starved.add(self)
        return room

    def send(self, data: bytes) -> None:
        """Carrier."""
        self._quic.push(self.stream_id, data, False)
        self._connection.flush_soon()

    def finish(self) -> None:
        """Carrier."""
        self._quic.push(self.stream_id, b"", True)
        self._connection.flush_soon()

    def abort(self) -> None:
        """Carrier."""
        self._quic.reset_stream(self.stream_id, _ABORTED)
        self.ignore()

    def ignore(self) -> None:
        """Carrier."""
        if not self.ignored:
            self.ignored = True
            self._quic.drop(self.stream_id)
        self._connection.flush_soon()

    def consumed(self, count: int) -> None:
        """Carrier."""
        self._read += count
        tell = self._quic.stream_consumed(self.stream_id, self._read)
        if self._quic.consumed(count) or tell:
            self._connection.flush_soon()

    def unacknowledged(self) -> int:
        """Carrier."""
        return self._quic.kept(self.stream_id)

    def give_up(self) -> None:
        """Nothing more will be read: what arrived and is missing its beginning counts no more."""
        missing = self._quic.arrived(self.stream_id) - self._read
        if missing > 0:
            self.consumed(missing)


class QUICPeer:
    """A connection with one client. Each stream that it opens goes to C{accept(stream)}.

    @param send: C{send(datagram, address)}. @param ended: called once, with whether the handshake was ever done.
    """

    def __init__(
        self,
        reactor: Any,
        quic: FlowControlled,
        *,
        local: SocketAddress,
        peer: SocketAddress,
        send: Callable[[bytes, Any], object],
        accept: Callable[[ChannelStream], object],
        ids: Callable[[QUICPeer, bytes, bool], object],
        ended: Callable[[QUICPeer], object],
    ) -> None:
        self.quic = quic
        self.local, self.peer = local, peer
        self.established = False
        self.on_established: Callable[[], object] = lambda: None
        #: What the endpoint knows us by.
        self.names: set[bytes] = set()
        self.starved: set[Lane] = set()
        self._reactor = reactor
        self._send = send
        self._accept = accept
        self._ids = ids
        self._ended: Callable[[QUICPeer], object] | None = ended
        self._lanes: dict[int, Lane] = {}
        #: Streams that nobody reads any more and of which something may still come.
        self._gone: dict[int, Lane] = {}
        self._next = 0
        self._unopened: set[int] = set()
        self._tls = TLSInfo("TLSv1.3", "", "", "", False)
        self._timer: Any = None
        self._flushing = self._leaving = self._lingers = False

    # -- what the endpoint tells

    def received(self, data: bytes, address: Any) -> None:
        """A datagram."""
        self.quic.receive_datagram(data, address, self._reactor.seconds())
        self._after()

    def retire(self) -> None:
        """End as soon as there is no stream: the client has to come anew."""
        self._leaving = True
        self._maybe_leave()

    def close(self, code: int = NO_ERROR, why: str = "") -> None:
        """End now: every stream is lost."""
        self.quic.close(error_code=code, reason_phrase=why)
        self._flush()
        self._end(why)

    def ping(self) -> None:
        """Have the client hear from us."""
        self.quic.send_ping(0)
        self.flush_soon()

    def flush_soon(self) -> None:
        """There is something to send: it is sent after the current event."""
        if not self._flushing:
            self._flushing = True
            call_soon(self._reactor, self._flush_now)

    # -- what goes on

    def _flush_now(self) -> None:
        self._flushing = False
        self._flush()

    def _after(self) -> None:
        while self._ended is not None and (event := self.quic.next_event()) is not None:
            self._heard(event)
        starved, self.starved = self.starved, set()
        for lane in starved:
            lane.stream.make_room()
        self._flush()

    def _heard(self, event: Any) -> None:
        if isinstance(event, events.StreamDataReceived):
            if not self.established:
                # Early data: whoever recorded it could send it again, from any address.
                self.close(_PROTOCOL_VIOLATION, "early data is not accepted")
                return
            self._data(event.stream_id, event.data, event.end_stream)
        elif isinstance(event, events.ConnectionIdIssued):
            self._ids(self, event.connection_id, True)
        elif isinstance(event, events.ConnectionIdRetired):
            self._ids(self, event.connection_id, False)
        elif isinstance(event, events.HandshakeCompleted):
            self.established = True
            self.on_established()
            schedule = self.quic.tls.key_schedule
            suite = "" if schedule is None else f"TLS_{schedule.cipher_suite.name}"
            self._tls = TLSInfo("TLSv1.3", suite, event.alpn_protocol or "", "", event.session_resumed)
        elif isinstance(event, events.StreamReset | events.StopSendingReceived):
            lane = self._lanes.get(event.stream_id)
            # A reset may be the answer to our wanting no more: what we send is still wanted.
            if lane is not None and not (lane.ignored and isinstance(event, events.StreamReset)):
                lane.stream.feed_lost("the client broke the stream off")
        elif isinstance(event, events.ConnectionTerminated):
            self._end(event.reason_phrase or "the client closed the connection")

    def _data(self, stream_id: int, data: bytes, end: bool) -> None:
        lane = self._lanes.get(stream_id)
        if lane is None:
            lane = self._open(stream_id)
        if lane is None:
            gone = self._gone.get(stream_id)
            if gone is not None:
                gone.give_up()
            return
        if data:
            lane.stream.feed(data)
        if end:
            lane.stream.feed_end()

    def _open(self, stream_id: int) -> Lane | None:
        """A new stream; None for one that we are done with. Opening one opens all before it (RFC 9000 section 2.1)."""
        if stream_id >= self._next:
            self._unopened.update(range(self._next, stream_id + 1, 4))
            self._next = stream_id + 4
        if stream_id not in self._unopened:
            return None
        self._unopened.discard(stream_id)
        lane = self._lanes[stream_id] = Lane(self, stream_id)
        lane.stream = ChannelStream(self._reactor, lane, local=self.local, peer=self.peer, tls=self._tls)
        lane.stream.on_close = lambda _: self._closed(lane)
        self._accept(lane.stream)
        return lane

    def _closed(self, lane: Lane) -> None:
        if self._lanes.pop(lane.stream_id, None) is None:
            return
        self.starved.discard(lane)
        if not lane.stream.finished:
            lane.abort()
        lane.give_up()
        if self.quic.receives(lane.stream_id):
            # What still comes of it opens windows and is dropped.
            if len(self._gone) >= 2 * MOST_STREAMS:
                self._gone = {number: each for number, each in self._gone.items() if self.quic.receives(number)}
            self._gone[lane.stream_id] = lane
        self._maybe_leave()

    def _maybe_leave(self) -> None:
        if self._leaving and not self._lanes:
            call_soon(self._reactor, self._leave)

    def _leave(self) -> None:
        if self._leaving and not self._lanes and self._ended is not None:
            if self.quic.unsent():
                # The last answers are on their way; the timer or an acknowledgement brings us here again.
                self._lingers = True
                return
            self.close(why="going offline")

    def _flush(self) -> None:
        if self._ended is None:
            return
        now = self._reactor.seconds()
        for datagram, address in self.quic.datagrams_to_send(now):
            self._send(datagram, address)
        if self._lingers:
            self._lingers = False
            self._leave()
        if self._ended is not None:
            self._wait(self.quic.get_timer())

    def _wait(self, moment: float | None) -> None:
        timer = self._timer
        if timer is not None and timer.active():
            if moment is not None:
                timer.reset(max(0.0, moment - self._reactor.seconds()))
                return
            timer.cancel()
        self._timer = None if moment is None else self._reactor.callLater(max(0.0, moment - self._reactor.seconds()), self._late)

    def _late(self) -> None:
        self.quic.handle_timer(self._reactor.seconds())
        self._after()

    def _end(self, why: str) -> None:
        ended, self._ended = self._ended, None
        if ended is None:
            return
        if self._timer is not None and self._timer.active():
            self._timer.cancel()
        ended(self)
        for lane in list(self._lanes.values()):
            lane.stream.feed_lost(why)
