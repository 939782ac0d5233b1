# SPDX-License-Identifier: Apache-2.0
"""FTP over HTTP: a request for an ftp:// URI, carried out with the FTP server (upstream: protocol/client/http, ftp over http).

Where a next proxy takes such requests itself, they are forwarded to it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any
from urllib.parse import quote_from_bytes

from twisted.internet.defer import CancelledError, Deferred

from g3.errors import (
    ClientAppTimeout,
    ClosedByClient,
    Finished,
    InternalServerError,
    InvalidClientProtocol,
    MethodUnavailable,
    ProtocolError,
    TaskError,
    TimeoutByRule,
    UnimplementedProtocol,
    UpstreamAppError,
    UpstreamAppTimeout,
)
from g3.interfaces import IFTPConnect, IHTTPForward
from g3.logs.task import TaskEvent
from g3.net.timers import within
from g3.proto.ftp.listing import ListingReader
from g3.proto.ftp.path import Kind, parse_login, parse_path
from g3.proto.http1.body import LengthReader, Unchunked
from g3.proto.http1.headers import CHUNKED, NONE
from g3.proto.http1.ranges import UnsatisfiableRange, byte_range
from g3.proto.http1.reply import CONTINUE, head, reply
from g3.relay.flow import unsent
from g3.route import final_escaper
from g3.servers.http.exchange import NEVER, Exchange
from g3.servers.http.forward import Forward
from g3.servers.http.tasklog import log_ftp
from g3.servers.http_proxy.ftp_data import Copy, Download, Upload
from g3.servers.http_proxy.ftp_session import FileUnavailable, LoginRefused, Session
from g3.servers.tasks import permit
from g3.task import ConnectNotes, Stage

if TYPE_CHECKING:
    from g3.proto.ftp.answers import Facts
    from g3.proto.ftp.path import Login, Path
    from g3.proto.http1.request import Request
    from g3.servers.http.client import Client
    from g3.servers.http.target import Target
    from g3.servers.http_proxy.ftp import FTPClient
    from g3.servers.http_proxy.ftp_data import Mover

_METHODS = frozenset({b"GET", b"HEAD", b"PUT", b"DELETE"})
_LAST_CHUNK = b"0\r\n\r\n"
#: Reply codes that say there is no such file. Some servers say so to LIST too.
_NO_FILE = (450, 550)


class FTPOverHTTP(Exchange):
    """One request. A coroutine leads the conversation; bytes are moved by a L{Mover}.

    A response whose body cannot be finished ends in a reset, never in an order that could be taken for its end; a file whose upload breaks
    off is reset at the FTP server too.

    @ivar data: how the data connection was made.
    """

    __slots__ = (
        "_body",
        "_client_ended",
        "_control",
        "_idle",
        "_login",
        "_mover",
        "_path",
        "_seen",
        "_session",
        "_stream",
        "_working",
        "begun",
        "config",
        "data",
    )

    task_type = "FtpOverHttp"

    def __init__(self, client: Client, request: Request, target: Target, now: float, config: FTPClient) -> None:
        super().__init__(client, request, target, now)
        self.config = config
        self.data = ConnectNotes()
        #: Whether the head of the answer was sent.
        self.begun = False
        #: The control stream, then the data stream, once there is one.
        self._control: Any = None
        self._stream: Any = None
        self._session: Session | None = None
        self._mover: Mover | None = None
        self._working: Deferred[None] | None = None
        self._body: LengthReader | Unchunked | None = None
        self._client_ended = False
        self._seen = -1
        self._idle = 0

    # -- the way to the server

    def start(self) -> None:
        client = self.client
        client.deadline = NEVER
        if not self.admitted():
            return
        try:
            permit(client.server, self.task.upstream)
        except TaskError as error:
            self.fail(error)
            return
        if client.server.config.flush_task_log_on_created:
            self.note(TaskEvent.CREATED)
        working = Deferred.fromCoroutine(self._run())
        if not working.called:
            self._working = working

    async def _run(self) -> None:
        """Everything, to its one end."""
        try:
            forwarder = await self._serve()
        except CancelledError:
            return
        except FileUnavailable:
            self._working = None
            self._answer_whole(404)
        except TaskError as error:
            self._working = None
            self.fail(error)
        except Exception as error:
            self._working = None
            self.client.server.failed(error)
            self.fail(InternalServerError())
        else:
            self._working = None
            if forwarder is not None:
                self._forward(forwarder)

    async def _serve(self) -> Any:
        """Do what is asked. An escaper is returned when it is to be forwarded by that."""
        picked = final_escaper(self.client.server.escaper, self.task)
        escaper = await picked if isinstance(picked, Deferred) else picked
        capability = IHTTPForward(escaper, None)
        if capability is not None and capability.http_capability.forwards_ftp(self.request.method):
            return escaper
        self._examine()
        session = await self._connect(escaper)
        await session.login(self._login)
        self.task.stage = Stage.LOGGED_IN
        method = self.request.method
        if method == b"PUT":
            await self._put(session, escaper)
        elif method == b"DELETE":
            await self._delete(session)
        else:
            await self._get(session, escaper)
        return None

    def _forward(self, escaper: Any) -> None:
        """Hand the request over."""
        client = self.client
        self.ended = True
        forward = Forward(client, self.request, self.target, self.task.created, self.task)
        client.exchange = forward
        if self.task.user is not None:
            forward.leave, self.leave = self.leave, None
        forward.start_by(escaper)
        if self._client_ended and not forward.ended:
            forward.client_ended()

    def _examine(self) -> None:
        """@raise TaskError: it is no request for FTP."""
        request = self.request
        if request.method not in _METHODS:
            raise UnimplementedProtocol
        if request.method == b"PUT":
            self._body = self._request_body()
        elif request.body != NONE:
            raise InvalidClientProtocol("a body is not allowed here")
        try:
            self._path: Path = parse_path(self.target.uri.path_query)
            self._login: Login = parse_login(self.target.uri.userinfo, request.get(b"authorization"))
        except ProtocolError as error:
            raise InvalidClientProtocol(str(error)) from None
        if request.method in {b"PUT", b"DELETE"} and self._path.kind is Kind.DEFAULT:
            raise InvalidClientProtocol("a path is required")

    def _request_body(self) -> LengthReader | Unchunked:
        request = self.request
        if request.get(b"content-range") is not None:
            raise InvalidClientProtocol("Content-Range is not allowed here")
        if request.body == CHUNKED:
            return Unchunked(self.client.server.config.body_line_max_length, status=400)
        if request.content_length is None:
            raise InvalidClientProtocol("a body is required")
        return LengthReader(request.content_length)

    async def _connect(self, escaper: Any) -> Session:
        """A control connection whose server has greeted."""
        way = IFTPConnect(escaper, None)
        if way is None:
            raise MethodUnavailable
        server, task = self.client.server, self.task
        task.stage = Stage.CONNECTING
        config, timers = self.config, server.context.timers
        self._control = await within(timers, config.connect_timeout, way.ftp_control(task), _connect_timed_out)
        self._session = session = Session(self._control, config, timers)
        await session.greet()
        task.stage = Stage.CONNECTED
        if server.config.flush_task_log_on_connected:
            self.note(TaskEvent.CONNECTED)
        return session

    async def _open(self, session: Session, escaper: Any, word: bytes) -> Any:
        """The data stream for a command."""
        server, task = self.client.server, self.task

        async def connect(port: int) -> Any:
            notes = task.connect
            self.data = task.connect = ConnectNotes()
            try:
                data = escaper.ftp_data(task, self._control, port)
                return await within(server.context.timers, self.config.connect_timeout, data, TimeoutByRule)
            finally:
                task.connect = notes

        self._stream = await session.open(word, self._path.name, connect)
        self._stream.read_size = server.config.tcp_copy_buffer_size
        return self._stream

    # -- GET and HEAD

    async def _get(self, session: Session, escaper: Any) -> None:
        kind, name = self._path
        if kind in {Kind.ANY, Kind.FILE}:
            facts = await session.facts(name)
            if not facts.directory and (facts.size is not None or kind is Kind.FILE):
                await self._download(session, escaper, facts)
                return
        if self.request.method == b"HEAD":
            if not await session.is_directory(name):
                raise FileUnavailable
            self._answer_head(self._list_lines())
        else:
            await self._list(session, escaper)

    async def _list(self, session: Session, escaper: Any) -> None:
        name = self._path.name
        if name.startswith(b"-"):  # no option of ls
            name = b"./" + name
        transfer = self.config.transfer
        await session.ascii()
        data = await self._open(session, escaper, b"LIST")
        await session.begin(b"LIST", name, *_NO_FILE)
        self._begin(200, self._list_lines())
        copy = Copy(data, self.client, self._chunks, ListingReader(transfer.list_max_line_len, transfer.list_max_entries))
        await within(self.client.server.context.timers, transfer.list_all_timeout, self._move(session, copy), _list_timed_out)
        self._end_chunks()

    async def _download(self, session: Session, escaper: Any, facts: Facts) -> None:
        media_type = facts.media_type or b"application/octet-stream"
        if facts.size is None:
            await self._download_to_end(session, escaper, media_type)
            return
        size = facts.size
        try:
            part = self._part(size)
        except UnsatisfiableRange:
            self._answer_whole(416, b"Content-Range: bytes */%d" % size)
            return
        if self.request.method == b"HEAD":
            self._answer_head(self._file_lines(media_type, size))
            return
        data = await self._open(session, escaper, b"RETR")
        if part is not None and part[0] and not await session.restart(part[0]):
            part = None
        await session.begin(b"RETR", self._path.name, *_NO_FILE)
        first, last = part or (0, size - 1)
        lines = self._file_lines(media_type, last - first + 1)
        if part is not None:
            lines.append(b"Content-Range: bytes %d-%d/%d" % (first, last, size))
        self._begin(200 if part is None else 206, lines)
        # By its length the client knows that it has everything: no need to wait until the server says so.
        await self._move(session, Download(data, self.client, last - first + 1), confirmed=False)
        self._finish()

    async def _download_to_end(self, session: Session, escaper: Any, media_type: bytes) -> None:
        """A file whose size nobody knows."""
        lines = self._file_lines(media_type, None)
        if self.request.method == b"HEAD":
            if session.tells(b"SIZE"):
                raise FileUnavailable
            self._answer_head(lines)
            return
        data = await self._open(session, escaper, b"RETR")
        await session.begin(b"RETR", self._path.name, *_NO_FILE)
        self._begin(200, lines)
        await self._move(session, Copy(data, self.client, self._chunks, None))
        self._end_chunks()

    def _part(self, size: int) -> tuple[int, int] | None:
        """First and last byte asked for, None for all. C{If-Range} never holds, since an answer from here has no validator.

        @raise UnsatisfiableRange: none of it is there.
        """
        request = self.request
        asked = request.get(b"range")
        if asked is None or request.method != b"GET" or request.get(b"if-range") is not None:
            return None
        return byte_range(asked, size)

    # -- PUT and DELETE

    async def _put(self, session: Session, escaper: Any) -> None:
        await session.binary()
        data = await self._open(session, escaper, b"STOR")
        await session.begin(b"STOR", self._path.name, 450)
        assert self._body is not None
        if self.request.expect_continue and self.request.version >= 11:
            self.client.stream.write(CONTINUE)
        self.wants_body = True
        await self._move(session, Upload(self.client, data, self._body, self._body_sent))
        self._answer_whole(200)

    async def _delete(self, session: Session) -> None:
        kind, name = self._path
        word = b"RMD" if kind is Kind.DIRECTORY else b"DELE"
        if kind is Kind.ANY:
            facts = await session.facts(name)
            word = b"RMD" if facts.directory or facts.size is None else b"DELE"
        await session.remove(word, name)
        self.task.stage = Stage.REPLYING
        self._answer_whole(200)

    # -- transfers

    async def _move(self, session: Session, mover: Mover, confirmed: bool = True) -> None:
        """Move everything, and see it confirmed."""
        server, task = self.client.server, self.task
        task.stage = Stage.RELAYING
        task.ready = server.clock() - task.created
        self._mover = mover
        mover.start()
        if self._client_ended and self.wants_body and not mover.over:
            raise _broken_off()
        await session.transfer(mover, confirmed)

    def body_received(self, data: bytes) -> None:
        if isinstance(self._mover, Upload):
            self._mover.feed(data)

    def _body_sent(self) -> None:
        self.wants_body = False

    def client_ended(self) -> None:
        """An end in the middle of the body is one too early; before the body was asked for it is looked at later."""
        self._client_ended = True
        if self.wants_body and self._mover is not None:
            self.fail(_broken_off())

    # -- answers

    @property
    def _chunks(self) -> bool:
        return self.request.version >= 11

    def _list_lines(self) -> list[bytes]:
        return [*self._until_end(), b"Content-Type: text/plain"]

    def _file_lines(self, media_type: bytes, size: int | None) -> list[bytes]:
        return [*(self._until_end() if size is None else (b"Content-Length: %d" % size,)), b"Content-Type: " + media_type]

    def _until_end(self) -> list[bytes]:
        """How the end of a body of unknown length is told."""
        if self._chunks:
            return [b"Transfer-Encoding: chunked"]
        self.request.keep_alive = False
        return []

    def _end_chunks(self) -> None:
        if self._chunks:
            self.client.stream.write(_LAST_CHUNK)
        self._finish()

    def _extra(self) -> list[bytes]:
        custom = self.client.server.custom_headers
        return [] if custom is None else custom.connection_lines(self.task.connect)

    def _begin(self, status: int, lines: list[bytes]) -> None:
        """Send the head of an answer whose body follows."""
        self.task.stage = Stage.REPLYING
        self.client.stream.write(head(status, self.request.version, [*lines, *self._extra()], close=self._closes()))
        self.rsp_status = status
        self.begun = True

    def _closes(self) -> bool:
        """Whether this answer is the connection's last, from now on."""
        if self.wants_body or not self.client.server.online:
            self.request.keep_alive = False
        return not self.request.keep_alive

    def _answer_head(self, lines: list[bytes]) -> None:
        """Answer a HEAD that finds something."""
        self._begin(200, lines)
        self._finish()

    def _answer_whole(self, status: int, *lines: bytes) -> None:
        """Send a whole answer, and be finished."""
        self._give_up_body()
        request = self.request
        close = self._closes()
        extra = [*lines, *self._extra()]
        if status == 200:
            self.client.stream.write(head(status, request.version, [*extra, b"Content-Length: 0"], close=close))
        else:
            self.client.stream.write(reply(status, request.version, close=close, extra=extra, head=request.method == b"HEAD"))
        self.rsp_status = status
        self._finish()

    def answer(self, error: TaskError, closes: bool) -> None:
        """Before the response head an error page; after it the connection is cut."""
        if self.begun:
            self.client.abort()
        elif isinstance(error, LoginRefused) and not self.client.lost:
            lines = [self._challenge(), *self._extra()]
            head_only = self.request.method == b"HEAD"
            self.client.stream.write(reply(401, self.request.version, close=closes, extra=lines, head=head_only))
            self.rsp_status = 401
        else:
            super().answer(error, closes)

    def _challenge(self) -> bytes:
        user = f"{quote_from_bytes(self._login.name, safe='')}@" if self._login.name else ""
        return f'WWW-Authenticate: Basic realm="ftp://{user}{self.task.upstream}"'.encode("ascii")

    # -- ends

    def _give_up_body(self) -> None:
        """A body that is not read to its end ends the client connection."""
        if self._mover is None and self.request.body != NONE:
            self.wants_body = True

    def _finish(self) -> None:
        self._working = None
        if self._stream is not None:
            self._stream.loseConnection()
        self.release()
        self.end(Finished(), self._closes())

    def fail(self, error: TaskError) -> None:
        if not self.ended:
            self._give_up_body()
            super().fail(error)

    def release(self) -> None:
        working, self._working = self._working, None
        if working is not None:
            working.cancel()
        if self._mover is not None:
            self._mover.stop()
        if self._stream is not None:
            self._stream.abortConnection()
        if self._session is not None:
            self._session.control.close()
        elif self._control is not None:
            self._control.abortConnection()

    def expired(self) -> None:
        """Every wait has its own limit."""

    def periodic(self) -> None:
        if self._mover is not None:
            self.note(TaskEvent.PERIODIC)

    def idle_tick(self) -> None:
        if self._mover is None:
            return
        stream, data = self.client.stream, self._stream
        seen = stream.bytes_in + stream.bytes_out + data.bytes_in + data.bytes_out
        if seen != self._seen:
            self._seen, self._idle = seen, 0
            return
        self._idle += 1
        if self._idle >= self.client.server.config.task_idle_max_count:
            self.fail(self._idle_error())

    def _idle_error(self) -> TaskError:
        if isinstance(self._mover, Upload):
            stuck = unsent(self._stream) or not self.wants_body
            return UpstreamAppTimeout("idle while sending data") if stuck else ClientAppTimeout("idle while reading data")
        return ClientAppTimeout("idle while writing data") if unsent(self.client.stream) else UpstreamAppTimeout("idle while reading data")

    def record(self, event: TaskEvent, error: TaskError | None = None) -> None:
        server = self.client.server
        if server.task_log is not None:
            log_ftp(server.task_log, self, event, server.clock(), error, self._control, self._stream)


def _broken_off() -> ClosedByClient:
    return ClosedByClient("client closed in the middle of its request")


def _connect_timed_out() -> UpstreamAppTimeout:
    return UpstreamAppTimeout("ftp connect timed out")


def _list_timed_out() -> UpstreamAppError:
    return UpstreamAppError("the listing took too long")
