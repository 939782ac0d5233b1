# SPDX-License-Identifier: Apache-2.0
"""A client connection of an HTTP server: reads request heads, one exchange after the other, and keeps the answers in order."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any, ClassVar

from twisted.internet.interfaces import IHalfCloseableProtocol, IPushProducer
from zope.interface import implementer

from g3.errors import ProtocolError
from g3.net.transport import LOW_MARK
from g3.proto.http1.headers import HEAD_END, find_end
from g3.proto.http1.reply import reply
from g3.proto.http1.request import parse_request
from g3.relay.flow import HIGH_WATER
from g3.servers.http.auth import Authentication
from g3.servers.http.exchange import NEVER
from g3.task import PathSelection

if TYPE_CHECKING:
    from collections.abc import Mapping

    from twisted.python.failure import Failure

    from g3.net.transport import Stream
    from g3.proto.http1.request import Request
    from g3.servers.http.client import Server
    from g3.servers.http.exchange import Exchange
    from g3.servers.http.upstream import Key, UpstreamConnection
    from g3.task import ClientInfo, PathUpstream

#: After the last answer the client may still be sending: what it sends is read and thrown away, since closing at once would reset the
#: connection and take the answer with it (RFC 9112 section 9.6). Until it is silent for so long, but no longer in all (seconds), and at
#: most so many bytes.
LINGER_SILENCE = 3.0
LINGER_SECONDS = 30.0
LINGER_BYTES = 1 << 28
#: How long a client that was not told to close may be idle once the server is offline (seconds).
OFFLINE_IDLE = 2.0
_NO_CHOICE: Mapping[str, PathUpstream] = {}


@implementer(IHalfCloseableProtocol, IPushProducer)
class ClientConnection:
    """Between two requests C{exchange} is None and C{deadline} (monotonic seconds) says when the client has waited too long.

    Bytes that come while an exchange does not want them are the next request's: they wait in C{buffer}, at most one head and what one
    read brings more, and the client is paused meanwhile. No request begins while more than L{HIGH_WATER} bytes of earlier answers wait
    for the client to read them.

    @ivar auth_failures: refusals in a row.
    @ivar arrived: when what is in C{buffer} began to arrive, monotonic seconds.
    """

    __slots__ = (
        "_full",
        "_linger_end",
        "_lingering",
        "_looping",
        "_owed",
        "_paused",
        "arrived",
        "auth_failures",
        "buffer",
        "counted_in",
        "counted_out",
        "deadline",
        "ended",
        "exchange",
        "info",
        "kept",
        "lost",
        "server",
        "stream",
    )
    #: See L{Stream.loseWriteConnection}.
    hears_write_end: ClassVar[bool] = False
    #: How somebody is asked who it is.
    auth_status: ClassVar[int] = 407
    challenge: ClassVar[bytes] = b"Proxy-Authenticate"

    def __init__(self, server: Server, stream: Stream, info: ClientInfo) -> None:
        self.server = server
        self.stream = stream
        self.info = info
        self.exchange: Exchange | Authentication | None = None
        self.auth_failures = 0
        self.kept: UpstreamConnection | None = None
        self.buffer = b""
        self.lost = self.ended = False
        self.counted_in = self.counted_out = 0
        self._looping = self._paused = self._full = False
        self._lingering = self._owed = 0
        self._linger_end = 0.0
        self.arrived = server.clock()
        self.deadline = self.arrived + server.config.pipeline_read_idle_timeout

    def makeConnection(self, transport: object) -> None:
        """The stream is known already."""

    # -- from the client

    def dataReceived(self, data: bytes) -> None:
        exchange = self.exchange
        if exchange is None:
            if self._lingering:
                self._linger(len(data))
                return
            if self._full:
                self._read_ahead(data)
                return
            scanned = len(self.buffer)
            if scanned:
                data = self.buffer + data
                self.buffer = b""
            self._read_request(data, scanned)
        elif exchange.wants_body:
            exchange.body_received(data)
        else:
            self._read_ahead(data)

    def _read_ahead(self, data: bytes) -> None:
        """Keep what belongs to a later request; one request ahead is enough to stop reading (C{pipeline_size} counts heads)."""
        if not self.buffer:
            self.arrived = self.server.clock()
        self.buffer += data
        config = self.server.config
        if len(self.buffer) > config.req_header_max_size or self.buffer.count(b"\r\n\r\n") >= config.pipeline_size:
            self.pause()

    def pause(self) -> None:
        """Read no more until the next exchange; a hang-up is noticed all the same."""
        self._paused = True
        self.stream.pauseProducing()
        self.stream.watch_hangup(self._hung_up)

    def resume(self) -> None:
        if self._paused:
            self._paused = False
            self.stream.resumeProducing()

    def _hung_up(self, gone: bool) -> None:
        """A client that is C{gone} is told of by connectionLost; one that only ended its direction still wants its answer."""

    def take(self) -> bytes:
        """The bytes that came after the head of the request now beginning."""
        data, self.buffer = self.buffer, b""
        return data

    def give_back(self, data: bytes) -> None:
        """Bytes the exchange took that are the next request's."""
        self.buffer = data + self.buffer

    # -- requests

    def _read_request(self, data: bytes, scanned: int = 0, since: float | None = None) -> None:
        """Begin with the request at the start of C{data}, if all of its head is there; C{scanned} bytes were looked at before. C{since}: when
        it arrived, if it had to wait."""
        server = self.server
        try:
            end = 0 if scanned else data.find(HEAD_END) + 4
            if end < 4 or end > server.config.req_header_max_size:
                end = find_end(data, 0, scanned, server.config.req_header_max_size)
            if end < 0:
                if not scanned:
                    self.arrived = server.clock()
                    self.deadline = self.arrived + server.config.req_header_recv_timeout
                self.buffer = data
                return
            request = parse_request(data if end == len(data) else data[:end])
            now = server.clock()
            if end < len(data):
                self.buffer = data[end:]
                self.arrived = now if since is None else since
            if not server.online:
                request.keep_alive = False
            if server.gated:
                asking = self.exchange = Authentication(self, request, since)
                asking.start()
                return
            exchange = self.exchange = self.exchange_of(request, now)
        except ProtocolError as error:
            self.refuse(error)
            return
        if since is not None:
            exchange.task.wait = now - since
        exchange.start()

    def begin(self, request: Request, since: float | None, user: Any, upstreams: Mapping[str, PathUpstream] = _NO_CHOICE) -> None:
        """A request whose C{user} is known, and which next proxies it has chosen; C{since} as above."""
        now = self.server.clock()
        self.exchange = None
        try:
            exchange = self.exchange = self.exchange_of(request, now)
        except ProtocolError as error:
            self.refuse(error)
            return
        if since is not None:
            exchange.task.wait = now - since
        if upstreams:
            exchange.task.path = replace(exchange.task.path or PathSelection(), upstreams=upstreams)
        if user is not None:
            exchange.belong_to(user)
        exchange.start()
        if self.ended and self.exchange is exchange:
            exchange.client_ended()

    def credentials_of(self, request: Request) -> bytes | None:
        """The value of the field that says whom a request is from, which is for us alone.

        @raise ProtocolError: there are several.
        """
        raise NotImplementedError

    def exchange_of(self, request: Request, now: float) -> Exchange:
        """What a request becomes.

        @raise ProtocolError: it is none that is served.
        """
        raise NotImplementedError

    def _go_on(self) -> None:
        """Read the requests that wait in the buffer. A loop, since an exchange may end within its start."""
        if self._looping:
            return
        self._looping = True
        while self.buffer and self.exchange is None and not (self._full or self._lingering or self.lost):
            data = self.take()
            self._read_request(data, since=self.arrived)
            if self.exchange is None and len(self.buffer) == len(data):
                if self.ended:  # and never will be a whole head
                    self._close(linger=False)
                break
        self._looping = False

    def exchange_ended(self, closes: bool) -> None:
        """The exchange is over: read the next request, or close."""
        exchange, self.exchange = self.exchange, None
        if self.lost:
            self.close_kept()
            return
        if closes or (self.ended and not self.buffer):
            self._close(linger=bool(self.buffer) or (exchange is not None and exchange.wants_body))
            return
        server = self.server
        self.deadline = server.clock() + (server.config.pipeline_read_idle_timeout if server.online else OFFLINE_IDLE)
        if self.stream.queued > HIGH_WATER:
            self._full = True
            self.stream.registerProducer(self, True)
            return
        if self._paused:
            self.resume()
        if self.buffer:
            self._go_on()

    def closes_after(self, request: Request) -> bool:
        """Whether a refusal of C{request} is the last answer: its client wants no more, or has sent on after CONNECT. That was for the tunnel,
        whatever it looks like (RFC 9110 section 9.3.6)."""
        return not request.keep_alive or (request.method == b"CONNECT" and bool(self.buffer))

    def refuse(self, error: ProtocolError) -> None:
        """Answer what is no request (or one nobody serves) and close."""
        self.buffer = b""
        self.server.refused(self.info, error)
        if self.server.config.no_early_error_reply:
            self.stream.loseConnection()
            return
        told = self.server.proxy_status
        self.stream.write(reply(error.status, extra=() if told is None else (told.line(error),)))
        self._close(linger=True)

    # -- the idle upstream connection of this client

    def take_kept(self, key: Key, now: float) -> UpstreamConnection | None:
        """A live idle connection to the same place by the same escaper, or None. Another idle one is closed."""
        kept, self.kept = self.kept, None
        if kept is not None:
            kept.keeper = None
            if kept.key == key and kept.idle_since + self.server.keepalive.idle_expire > now:
                return kept
            kept.discard()
        pool = self.server.shared_pool
        return pool.take(key) if pool is not None and key[3] is None and key[4] is None else None

    def keep(self, upstream: UpstreamConnection, closes: bool) -> None:
        """An exchange is done with it, and it may serve another: this client's next, or anybody's where that is configured."""
        server = self.server
        upstream.idle_since = server.clock()
        if not server.keepalive.enable or not server.online:
            upstream.discard()
        elif server.shared_pool is not None and not upstream.private:
            server.shared_pool.put(upstream)
        elif closes or self.lost:
            upstream.discard()
        else:
            if self.kept is not None:
                self.close_kept()
            self.kept = upstream
            upstream.keeper = self

    def forget(self, upstream: UpstreamConnection) -> None:
        """The idle connection is gone."""
        if self.kept is upstream:
            self.kept = None

    def close_kept(self) -> None:
        if self.kept is not None:
            self.kept.discard()

    # -- time

    @property
    def fresh(self) -> bool:
        """Whether a request is on its way, is looked at, or has never come."""
        if self.lost or self._lingering:
            return False
        stream = self.stream
        return self.exchange is not None or bool(self.buffer) or not (stream.bytes_out or stream.queued)

    def tick(self, now: float) -> None:
        """Every second: what has waited too long ends."""
        if self.deadline <= now:
            if self.exchange is not None:
                self.exchange.expired()
            else:
                self.stream.loseConnection()
        kept = self.kept
        if kept is not None and kept.idle_since + self.server.keepalive.idle_expire <= now:
            kept.discard()

    # -- ends

    def _close(self, linger: bool) -> None:
        """Everything is answered. C{linger} where the client may still be sending: let it finish."""
        self.close_kept()
        if self.lost:
            return
        if self.ended or not linger:
            self.stream.loseConnection()
            return
        self.buffer = b""
        self._lingering = LINGER_BYTES
        now = self.server.clock()
        self._linger_end = now + LINGER_SECONDS
        self.deadline = now + LINGER_SILENCE
        self._paused = False
        self.stream.resumeProducing()
        self.stream.loseWriteConnection()

    def _linger(self, size: int) -> None:
        self._lingering -= size
        if self._lingering > 0:
            self.deadline = min(self.server.clock() + LINGER_SILENCE, self._linger_end)
        else:
            self.stream.loseConnection()

    def abort(self) -> None:
        """Cut the connection, so that what was sent is not taken for all of it."""
        self.close_kept()
        if not self.lost:
            self.stream.abortConnection()

    def quit(self) -> None:
        """The server quits: end what is running, and the connection after what was answered."""
        if self.exchange is not None:
            self.exchange.quit()
        if not self._lingering:
            self._close(linger=False)

    def readConnectionLost(self) -> None:
        self.ended = True
        if self.exchange is not None:
            self.exchange.client_ended()
        elif not (self._full and self.buffer):
            self._close(linger=False)

    def writeConnectionLost(self) -> None:
        """Our side is closed; the client's end is waited for."""

    def connectionLost(self, reason: Failure | None = None) -> None:
        self.lost = True
        self.deadline = NEVER
        if self.exchange is not None:
            self.exchange.client_lost()
        self.close_kept()
        self.server.gone(self)
        for _ in range(self._owed):
            self.server.task_ended()

    # -- answers that the client has not read yet

    def resumeProducing(self) -> None:
        """IPushProducer: the client has read on, go on with its next request."""
        if self._full and self.stream.queued <= LOW_MARK:
            self._full = False
            self.stream.unregisterProducer()
            if self.stream.disconnecting:
                return
            if self.ended and not self.buffer:
                self._close(linger=False)
                return
            self.deadline = self.server.clock() + self.server.config.pipeline_read_idle_timeout
            self.resume()
            self._go_on()

    def pauseProducing(self) -> None:
        """IPushProducer: no request is begun already."""

    def stopProducing(self) -> None:
        """IPushProducer: connectionLost follows."""

    def task_ended(self) -> None:
        """The exchange's task is over; for a server that waits for its last one only once the client has the whole answer."""
        if self.server.online or self.lost or not self.stream.queued:
            self.server.task_ended()
        else:
            self._owed += 1
