# SPDX-License-Identifier: Apache-2.0
"""The bytes of one FTP transfer, between a data connection and a client. Each mover says once, by C{done}, that all are through, or why not."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IHalfCloseableProtocol
from zope.interface import implementer

from g3.errors import InvalidClientProtocol, ProtocolError, TaskError, UpstreamAppError, UpstreamReadFailed, UpstreamWriteFailed
from g3.proto.http1.body import LengthReader, Unchunked
from g3.relay.flow import HIGH_WATER, hold, release
from g3.relay.pipe import End, Pipe

if TYPE_CHECKING:
    from collections.abc import Callable

    from twisted.python.failure import Failure

    from g3.proto.ftp.listing import ListingReader
    from g3.servers.http.client import Client


class Mover:
    """Base. C{done} fails with a TaskError; cancelling it stops. Once it has fired the streams are whoever's made them."""

    __slots__ = ("done", "over")

    def __init__(self) -> None:
        self.over = False
        self.done: Deferred[None] = Deferred(lambda _done: self.stop())

    def start(self) -> None:
        """Begin; C{done} may fire within."""
        raise NotImplementedError

    def stop(self) -> None:
        """Move nothing more."""
        self.over = True

    def fail(self, error: TaskError) -> None:
        """Stop, and let that be the reason. Nothing when it is over."""
        if not self.over:
            self.stop()
            self.done.errback(error)

    def confirmed(self) -> None:
        """The server says that the transfer is over, and went well."""

    def finish(self) -> None:
        """All is through."""
        if not self.over:
            self.over = True
            self.done.callback(None)


class Download(Mover):
    """C{size} bytes of a data connection to the client, from socket to socket where that can be."""

    __slots__ = ("_pipe", "size")

    def __init__(self, data: Any, client: Client, size: int) -> None:
        super().__init__()
        self.size = size
        self._pipe = Pipe(data, client.stream, limit=size, finished=self._piped)

    def start(self) -> None:
        self._pipe.start()

    def stop(self) -> None:
        super().stop()
        self._pipe.stop()

    def _piped(self, pipe: Pipe, end: End) -> None:
        """A lost sink is told to the client's connection."""
        if end is End.LIMIT:
            self.finish()
        elif end is End.EOF:
            self.fail(UpstreamAppError(f"the data connection ended after {pipe.moved} of {self.size} bytes"))
        elif end is End.SOURCE_LOST:
            self.fail(UpstreamReadFailed("the data connection broke"))


@implementer(IHalfCloseableProtocol)
class Copy(Mover):
    """A data connection to the client until its end, in chunks (or, for HTTP/1.0, as it is); a listing within its bounds."""

    __slots__ = ("_check", "_chunked", "client", "data")

    def __init__(self, data: Any, client: Client, chunked: bool, check: ListingReader | None) -> None:
        super().__init__()
        self.data, self.client = data, client
        self._chunked, self._check = chunked, check

    def start(self) -> None:
        self.data.start(self)

    def stop(self) -> None:
        if not self.over:
            super().stop()
            self.data.pauseProducing()

    def makeConnection(self, transport: object) -> None:
        """The stream is known already."""

    def dataReceived(self, data: bytes) -> None:
        if self.over:
            return
        if self._check is not None:
            try:
                self._check.feed(data)
            except ProtocolError as error:
                self.fail(UpstreamAppError(str(error)))
                return
        sink = self.client.stream
        sink.write(b"%x\r\n%b\r\n" % (len(data), data) if self._chunked else data)
        if sink.queued > HIGH_WATER:
            hold(self.data, sink)

    def readConnectionLost(self) -> None:
        self.finish()

    def writeConnectionLost(self) -> None:
        """We never half close."""

    def connectionLost(self, reason: Failure | None = None) -> None:
        self.fail(UpstreamReadFailed("the data connection broke"))


@implementer(IHalfCloseableProtocol)
class Upload(Mover):
    """A request body to a data connection, whose direction ends behind it: by length from socket to socket, or out of its chunks. It is through
    when the server has ended the other direction, or has confirmed it.

    The client's bytes are for L{feed}, unless a pipe takes them itself.
    """

    __slots__ = ("_all_sent", "_body", "_pipe", "_sent", "client", "data")

    def __init__(self, client: Client, data: Any, body: LengthReader | Unchunked, all_sent: Callable[[], object]) -> None:
        """@param all_sent: called when the body has ended: no more bytes of the client's are for L{feed}."""
        super().__init__()
        self._all_sent = all_sent
        self.client, self.data = client, data
        self._body = body
        self._pipe: Pipe | None = None
        self._sent = False

    def start(self) -> None:
        self.data.start(self)
        ahead = self.client.take()
        if ahead or self._body.done:
            self.feed(ahead)
        if self.over or self._sent:
            return
        if isinstance(self._body, LengthReader):
            self._pipe = Pipe(self.client.stream, self.data, limit=self._body.left, finished=self._piped)
            self._pipe.start()
        else:
            self.client.stream.resumeProducing()

    def feed(self, data: bytes) -> None:
        """Bytes from the client; those behind the body are given back to its connection."""
        body = self._body
        if self.over or self._sent:
            return
        try:
            used = body.feed(data)
        except ProtocolError as error:
            self.fail(InvalidClientProtocol(str(error), http_status=error.status))
            return
        if used < len(data):
            self.client.give_back(data[used:])
        content = body.take() if isinstance(body, Unchunked) else data[:used]
        if content:
            self.data.write(content)
        if body.done:
            self._close()
        elif self._pipe is None and self.data.queued > HIGH_WATER and not isinstance(body, LengthReader):
            hold(self.client.stream, self.data)

    def _piped(self, pipe: Pipe, end: End) -> None:
        """What the source's end means is the client connection's to say."""
        self._pipe = None
        if isinstance(self._body, LengthReader):
            self._body.advance(pipe.moved)
        if end is End.LIMIT:
            self.client.stream.resumeProducing()
            self._close()
        elif end is End.EOF:
            self.client.readConnectionLost()
        elif end is End.SOURCE_LOST:
            self.client.connectionLost(pipe.reason)
        else:
            self._lost()

    def _close(self) -> None:
        """All was given to the data connection: its end is the end of the file. No close, after which nobody would hear of what is lost."""
        self._sent = True
        self._all_sent()
        self.data.loseWriteConnection()

    def confirmed(self) -> None:
        if self._sent:
            self.finish()
        else:
            self.fail(UpstreamAppError("the server ended the transfer early"))

    def stop(self) -> None:
        super().stop()
        pipe, self._pipe = self._pipe, None
        if pipe is not None:
            pipe.stop()
        release(self.data)

    # -- the data connection

    def makeConnection(self, transport: object) -> None:
        """The stream is known already."""

    def dataReceived(self, data: bytes) -> None:
        """A server has nothing to say here."""

    def readConnectionLost(self) -> None:
        """It has read all; or, before that, says on the control connection why not."""
        if self._sent:
            self.finish()

    def writeConnectionLost(self) -> None:
        """It was given the end."""

    def connectionLost(self, reason: Failure | None = None) -> None:
        if self._sent and not self.data.write_failed and not self.data.error:
            self.finish()
        else:
            self._lost()

    def _lost(self) -> None:
        self.fail(UpstreamWriteFailed("the data connection broke"))
