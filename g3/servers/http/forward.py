# SPDX-License-Identifier: Apache-2.0
"""Forwarding one request (http, https by our own TLS, anything in absolute form to a next proxy) and its response.

The way of a request without a body over a kept connection is all callbacks: head parsed, gated, written to the upstream; response
head parsed, rewritten, written to the client. Only a new connection is made in a coroutine.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from twisted.internet.defer import CancelledError, Deferred

from g3.errors import (
    ClientAppTimeout,
    ClosedByUpstream,
    DestDenied,
    Finished,
    Idle,
    InternalServerError,
    InvalidClientProtocol,
    InvalidUpstreamProtocol,
    MethodUnavailable,
    ProtocolError,
    TaskError,
    UpstreamAppTimeout,
    UpstreamReadFailed,
)
from g3.interfaces import IHTTPForward
from g3.logs.task import TaskEvent
from g3.net.coroutine import begin
from g3.proto.http1.body import WHOLE, Unchunked, request_reader, response_reader
from g3.proto.http1.headers import HEAD_END, find_end
from g3.proto.http1.reply import CONNECTION_CLOSE, CONNECTION_KEEP_ALIVE
from g3.proto.http1.response import CHUNKED, LENGTH, UNTIL_CLOSE, parse_response
from g3.relay.flow import HIGH_WATER, hold, release, unsent
from g3.relay.pipe import End, Pipe
from g3.route import final_escaper
from g3.servers.http.exchange import NEVER, Exchange
from g3.servers.http.tasklog import log_forward
from g3.servers.http.upstream import Key, UpstreamConnection
from g3.task import ConnectNotes, Stage

if TYPE_CHECKING:
    from collections.abc import Callable

    from g3.proto.http1.request import Request
    from g3.proto.http1.response import Response
    from g3.servers.http.client import Client
    from g3.servers.http.target import Target
    from g3.task import Task

_WELL = Finished()  # never raised, so that one will do
_CONNECTING, _CONNECTED, _RELAYING = Stage.CONNECTING, Stage.CONNECTED, Stage.RELAYING  # an enum is slow to ask
#: Body bytes still to come from which on a body of known length is piped from socket to socket.
PIPE_FROM = 262144
#: Request body bytes taken before the upstream is there.
READ_AHEAD = 65536
#: Seconds for which a kept connection is used without asking the kernel about it first, by a request that can be sent again.
SURE = 1.0
#: Interim responses passed on for one request.
INTERIM_MAX = 64


class Forward(Exchange):
    """One forwarded request.

    What was written upstream (head, and the body bytes that had come by then) is kept until the response begins: if a reused connection
    dies before that, it goes once more, over a new one, but for methods that must not be sent twice (RFC 9110 section 9.2.2).
    """

    __slots__ = (
        "_connecting",
        "_first",
        "_head",
        "_held",
        "_idle_count",
        "_interims",
        "_partial",
        "_request_body",
        "_request_pipe",
        "_response_body",
        "_response_pipe",
        "_retried",
        "_seen",
        "_streamed",
        "_unchunked",
        "origin_status",
        "response",
        "reused",
        "times",
        "tls",
        "upstream",
    )

    task_type = "HttpForward"

    def __init__(self, client: Client, request: Request, target: Target, now: float, task: Task | None = None) -> None:
        Exchange.__init__(self, client, request, target, now, task)  # super() makes an object
        #: The TLS that we speak with the upstream.
        self.tls = target.tls
        self.reused = False
        self.origin_status = 0
        self.upstream: UpstreamConnection | None = None
        self.response: Response | None = None
        #: Monotonic seconds of: head sent, all sent, response head received, all received; 0 until then.
        self.times = [0.0, 0.0, 0.0, 0.0]
        self._connecting: Deferred[None] | None = None
        self._request_body: Any = request_reader(request, client.server.config.body_line_max_length) if request.body else None
        self._response_body: Any = None
        self._head = self._first = self._partial = b""
        #: The end of a chunked request body, from its last chunk on, until all of it is there and known to be good.
        self._held = b""
        self._interims = 0
        self._streamed = self._retried = False
        self._request_pipe: Pipe | None = None
        self._response_pipe: Pipe | None = None
        self._unchunked: Unchunked | None = None
        self._seen = -1
        self._idle_count = 0

    # -- towards the upstream

    def start(self) -> None:
        if self._request_body is not None and not self._take_buffered():
            return
        task, server = self.task, self.client.server
        if task.user is not None and not self.admitted():
            return
        if server.destination.forbids(task.upstream):
            server.stats.forbidden_dest_denied += 1
            self.fail(DestDenied())
            return
        if self.marks is not None and server.config.flush_task_log_on_created:
            self.note(TaskEvent.CREATED)
        self._choose()

    def start_by(self, escaper: Any) -> None:
        """As L{start}, for a request that was let in and whose routes were followed by another exchange."""
        if self._take_buffered():
            self._carry(escaper)

    def _choose(self) -> None:
        """Follow the routes, then go."""
        escaper = self.client.server.escaper
        picked = final_escaper(escaper, self.task)
        if picked is not escaper and isinstance(picked, Deferred):  # the second test is slow
            self.client.deadline = NEVER
            self._connecting = begin(self._route(picked))
        else:
            self._carry(picked)

    def _take_buffered(self) -> bool:
        """Check the body bytes that came with the head before anything goes upstream. Whether to go on."""
        if self._request_body is None:
            return True
        self.wants_body = not self._request_body.done
        data = self.client.take()
        if data and self.wants_body:
            self.body_received(data)
        elif data:
            self.client.give_back(data)
        return not self.ended

    async def _route(self, picking: Deferred[Any]) -> None:
        try:
            escaper = await picking
        except CancelledError:
            return
        except Exception as error:
            self._connecting = None
            self._not_connected(error)
            return
        self._connecting = None
        self._carry(escaper)

    def _not_connected(self, error: Exception) -> None:
        if isinstance(error, TaskError):
            self.fail(error)
        else:
            self.client.server.failed(error)
            self.fail(InternalServerError())

    def _carry(self, escaper: Any) -> None:
        """Send over a kept connection if there is a live one, else over a new one."""
        target, task = self.target, self.task
        if target.uri.scheme != "http" and not self._suits(escaper):
            self.fail(MethodUnavailable())
            return
        key = (escaper, task.upstream, None if self.tls is None else (self.tls, target.tls_name), task.path, task.user)
        kept = None if self._retried else self.client.take_kept(key, task.created)
        if kept is not None and (self._sure(kept) or kept.alive()):
            self.reused = True
            escaper.http_reuse(task)
            self._send(kept)
            return
        if kept is not None:
            kept.discard()
        if IHTTPForward.providedBy(escaper):
            self._connect(escaper, key)
        else:
            self.fail(MethodUnavailable())

    def _sure(self, kept: UpstreamConnection) -> bool:
        """Whether to use it unasked: idle for a moment only, and if that was too long the request can go again."""
        return kept.idle_since + SURE > self.task.created and not self.wants_body and self.request.idempotent

    def _suits(self, escaper: Any) -> bool:
        """Whether C{escaper} carries a scheme other than http, and then whose TLS it is."""
        if not IHTTPForward.providedBy(escaper):
            return False
        target, capability = self.target, escaper.http_capability
        if target.uri.scheme == "ftp":
            return bool(capability.forwards_ftp(self.request.method))
        if target.tls is not None and capability.forward_https:
            self.tls = None  # the next proxy speaks it
        return True

    def _connect(self, escaper: Any, key: Key) -> None:
        self.task.stage = _CONNECTING
        self.reused = False
        self.client.deadline = NEVER
        self._connecting = begin(self._open(escaper, key))

    async def _open(self, escaper: Any, key: Key) -> None:
        try:
            if self.tls is not None:
                connection = await escaper.https_forward(self.task, self.tls, self.target.tls_name)
            else:
                connection = await escaper.http_forward(self.task)
            connection.stream.read_size = self.client.server.config.tcp_copy_buffer_size
        except CancelledError:
            return
        except Exception as error:
            self._connecting = None
            self._not_connected(error)
            return
        self._connecting = None
        self._send(UpstreamConnection(connection, key))

    def _send(self, upstream: UpstreamConnection) -> None:
        client, task, request = self.client, self.task, self.request
        self.upstream = upstream
        upstream.exchange = self
        task.connect = upstream.notes
        task.stage = _CONNECTED
        now = client.server.clock()
        task.ready = now - task.created
        if self.marks is not None:
            self.marks.mark_upstream(upstream.stream)
            if client.server.config.flush_task_log_on_connected:
                self.note(TaskEvent.CONNECTED)
        task.stage = _RELAYING
        if request.personal or request.proxy_authorization is not None:
            upstream.private = True
        if upstream.lost:  # it spoke, or ended, before it was asked
            self._broken(UpstreamReadFailed())
            return
        self._head = self.target.head(request, upstream.absolute_form, upstream.header_lines, client.server.keeps(request))
        upstream.stream.write(self._head + self._first if self._first else self._head)
        self.times[0] = now
        if self.wants_body:
            client.deadline = NEVER
            self._resume_client()
        else:
            self.times[1] = now
            client.deadline = now + client.server.config.rsp_header_recv_timeout

    def _request_sent(self, now: float) -> None:
        self.wants_body = False
        self.times[1] = now
        if self.response is None:
            self.client.deadline = now + self.client.server.config.rsp_header_recv_timeout

    def _resume_client(self) -> None:
        remaining = getattr(self._request_body, "left", 0)
        if remaining >= PIPE_FROM and self.upstream is not None:
            self._streamed = True
            self._request_pipe = self._pipe(self.client.stream, self.upstream.stream, remaining, self._request_piped)
            self._request_pipe.start()
        else:
            self.client.stream.resumeProducing()

    def _pipe(self, source: Any, sink: Any, limit: int | None, finished: Callable[[Pipe, End], object]) -> Pipe:
        return Pipe(source, sink, limit=limit, finished=finished, turn=self.client.server.config.tcp_copy_yield_size)

    def _request_piped(self, pipe: Pipe, end: End) -> None:
        """A lost sink is told to its own connection; the source's end was told to the pipe alone."""
        self._request_pipe = None
        self._request_body.advance(pipe.moved)
        if end is End.LIMIT:
            self.client.stream.resumeProducing()
            self._request_sent(self.client.server.clock())
            self._finish_if_answered()
        elif end is End.EOF:
            self.client.readConnectionLost()
        elif end is End.SOURCE_LOST:
            self.client.connectionLost(pipe.reason)

    def _finish_if_answered(self) -> None:
        if self.response is not None and self._response_body.done:
            self._finish()

    def body_received(self, data: bytes) -> None:
        body = self._request_body
        try:
            used = body.feed(data)
        except ProtocolError as error:
            self.fail(InvalidClientProtocol(str(error), http_status=error.status))
            return
        if used < len(data):
            self.client.give_back(data[used:])
            data = data[:used]
        if body.done:
            self.wants_body = False
            if self._held:
                data, self._held = self._held + data, b""
        elif body.ending:
            self._held += data
            return
        upstream = self.upstream
        if upstream is None:
            self._first += data
            if self.wants_body and len(self._first) >= READ_AHEAD:
                self.client.pause()
            return
        self._streamed = True
        upstream.stream.write(data)
        if body.done:
            self._request_sent(self.client.server.clock())
            self._finish_if_answered()
        elif upstream.stream.queued > HIGH_WATER:
            hold(self.client.stream, upstream.stream)

    # -- from the upstream

    def upstream_data(self, data: bytes) -> None:
        if self.response is not None:
            self._response_data(data)
            return
        scanned = len(self._partial)
        if scanned:
            data = self._partial + data
            self._partial = b""
        config = self.client.server.config
        try:
            while self.response is None and not self.ended:
                end = 0 if scanned else data.find(HEAD_END) + 4
                if end < 4 or end > config.rsp_header_max_size:
                    end = find_end(data, 0, scanned, config.rsp_header_max_size, 502)
                if end < 0:
                    self._partial = data
                    return
                response = parse_response(data if end == len(data) else data[:end], self.request.method)
                data, scanned = data[end:], 0
                if response.status < 200:
                    self._interim(response)
                else:
                    self._final(response, data)
        except ProtocolError as error:
            self.response = None
            self.fail(InvalidUpstreamProtocol(f"invalid remote response: {error}"))

    def _interim(self, response: Response) -> None:
        """Pass a 1xx on; a client of HTTP/1.0 is told nothing of it (RFC 9110 section 15.2)."""
        if response.status == 101:
            raise ProtocolError("unexpected 101")
        self._interims += 1
        if self._interims > INTERIM_MAX:
            raise ProtocolError("too many interim responses")
        if self.request.version >= 11:
            response.status_line = b"HTTP/1.1" + response.status_line[8:]
            self.client.stream.write(response.serialize())

    def _final(self, response: Response, data: bytes) -> None:
        client, request = self.client, self.request
        server = client.server
        whole = response.body == LENGTH and response.content_length == len(data)  # most are
        body = self._response_body = WHOLE if whole else response_reader(response, server.config.body_line_max_length)
        if response.body == CHUNKED and request.version == 10:
            # The client cannot read it, and our closing is the end it understands.
            body = self._response_body = self._unchunked = Unchunked(server.config.body_line_max_length)
            response.remove(b"transfer-encoding")
            response.remove(b"trailer")
            request.keep_alive = False
        used = len(data) if whole else body.feed(data) if data else 0
        self.response = response
        self.origin_status = self.rsp_status = response.status
        self._head = self._first = b""
        client.deadline = NEVER
        now = self.times[2] = server.clock()
        if not server.online or response.body == UNTIL_CLOSE or (self.wants_body and not response.keep_alive):
            request.keep_alive = False
        lines = response.forward_lines
        if server.custom_headers is not None:
            lines += server.custom_headers.response_lines(self.task.connect, response)
        if not request.keep_alive:
            lines.append(CONNECTION_CLOSE)
        elif request.version == 10:
            lines.append(CONNECTION_KEEP_ALIVE)
        first = response.status_line if response.version == 11 else b"HTTP/1.1" + response.status_line[8:]
        if used:
            begun = data if used == len(data) else data[:used]
            out = b"\r\n".join([first, *lines, b"", begun if self._unchunked is None else self._unchunked.take()])
        else:
            out = b"\r\n".join([first, *lines, b"\r\n"])
        if body.done:
            self._write_end(out)
            self._response_done(used == len(data), now)
        else:
            client.stream.write(out)
            self._more()

    def _write_end(self, data: bytes) -> None:
        """The last bytes of the response, together with the end of the connection where that follows."""
        if self.request.keep_alive or self.wants_body:
            self.client.stream.write(data)
        else:
            self.client.stream.write_last(data)

    def _response_data(self, data: bytes) -> None:
        body = self._response_body
        try:
            used = body.feed(data)
        except ProtocolError as error:
            self.fail(InvalidUpstreamProtocol(f"invalid remote response: {error}"))
            return
        clean = used == len(data)
        out = (data if clean else data[:used]) if self._unchunked is None else self._unchunked.take()
        if body.done:
            self._write_end(out)
            self._response_done(clean, self.client.server.clock())
        else:
            self.client.stream.write(out)
            if not self.ended:
                self._more()

    def _more(self) -> None:
        """Go on with the response body: by pipe when much of it may be left, else piece by piece, no faster than the client reads."""
        upstream, client, response = self.upstream, self.client, self.response
        if upstream is None or response is None:
            return
        limit = None if response.body == UNTIL_CLOSE else getattr(self._response_body, "left", 0)
        if limit is None or limit >= PIPE_FROM:
            self._response_pipe = self._pipe(upstream.stream, client.stream, limit, self._response_piped)
            self._response_pipe.start()
        elif client.stream.queued > HIGH_WATER:
            hold(upstream.stream, client.stream)

    def _response_piped(self, pipe: Pipe, end: End) -> None:
        self._response_pipe = None
        if end is End.SINK_LOST:
            return
        if end is End.SOURCE_LOST:
            if self.upstream is not None:
                self.upstream.connectionLost(pipe.reason)
            return
        self._response_body.advance(pipe.moved)
        if end is End.EOF:
            self.upstream_ended()
        else:
            pipe.source.resumeProducing()
            self._response_done(True, self.client.server.clock())

    def _response_done(self, clean: bool, now: float) -> None:
        """C{clean}: nothing came after the body, so the connection may be used again."""
        self.times[3] = now
        if not clean and self.response is not None:
            self.response.keep_alive = False
        if self.wants_body and self.response is not None and self.response.keep_alive:
            return  # the client is still sending to an origin that goes on reading
        self._finish()

    def _finish(self) -> None:
        upstream, response = self.upstream, self.response
        self.upstream = None
        if self.wants_body:
            self.request.keep_alive = False
            self._stop_pipes()
        if upstream is not None:
            upstream.exchange = None
            if response is not None and response.keep_alive and not upstream.lost and not self.wants_body:
                self.client.keep(upstream, not self.request.keep_alive)
            else:
                upstream.discard()
        self.end(_WELL, not self.request.keep_alive)

    def upstream_ended(self) -> None:
        """The upstream closed its sending side."""
        if self.response is None:
            self._broken(ClosedByUpstream())
        elif self._response_body.done:
            self._finish()
        elif self.response.body == UNTIL_CLOSE:
            self._response_body.done = True
            self._response_done(True, self.client.server.clock())
        else:
            self.fail(ClosedByUpstream("closed by upstream in the middle of its response"))

    def upstream_lost(self) -> None:
        """The upstream connection broke."""
        if self.response is None:
            self._broken(UpstreamReadFailed())
        elif self._response_body.done:
            self._finish()
        else:
            self.fail(UpstreamReadFailed())

    def _broken(self, error: TaskError) -> None:
        """No response will come on this connection: try once more if it was an old one that had said nothing."""
        upstream = self.upstream
        heard = self._streamed or self._partial or self._interims or (self._head and not self.request.idempotent)
        if upstream is None or not self.reused or self._retried or heard:
            self.fail(error)
            return
        if self.marks is not None:
            self.record(TaskEvent.FINISHED, error)
        self.upstream = None
        upstream.exchange = None
        upstream.discard()
        self.task.connect = ConnectNotes()
        self._retried = True
        self._choose()

    # -- ends

    def release(self) -> None:
        if self._connecting is not None:
            connecting, self._connecting = self._connecting, None
            connecting.cancel()
        self._stop_pipes()
        upstream, self.upstream = self.upstream, None
        if upstream is not None:
            release(upstream.stream)
            upstream.discard()

    def _stop_pipes(self) -> None:
        for pipe in (self._request_pipe, self._response_pipe):
            if pipe is not None:
                pipe.stop()
        self._request_pipe = self._response_pipe = None

    def answer(self, error: TaskError, closes: bool) -> None:
        """Before the response head an error page; after it the connection is cut, so that nobody takes it for a clean end."""
        if self.response is None:
            super().answer(error, closes)
        else:
            self.client.abort()

    def expired(self) -> None:
        self.fail(UpstreamAppTimeout("timeout to receive response header"))

    def periodic(self) -> None:
        if self.upstream is not None:
            self.note(TaskEvent.PERIODIC)

    def idle_tick(self) -> None:
        if self.client.deadline != NEVER or self.upstream is None:
            return
        seen = self.client.stream.bytes_in + self.client.stream.bytes_out
        if seen != self._seen:
            self._seen, self._idle_count = seen, 0
            return
        self._idle_count += 1
        if self._idle_count >= self.client.server.config.task_idle_max_count:
            self.fail(self._idle_error())

    def _idle_error(self) -> TaskError:
        if self.response is not None:
            return Idle()
        stuck = self.upstream is not None and unsent(self.upstream.stream)  # what was piped is never queued
        return UpstreamAppTimeout("idle while sending request body") if stuck else ClientAppTimeout("idle while reading request body")

    def record(self, event: TaskEvent, error: TaskError | None = None) -> None:
        server = self.client.server
        if server.task_log is not None:
            log_forward(server.task_log, self, event, server.clock(), error)
