# SPDX-License-Identifier: Apache-2.0
"""Asking a next proxy for something and reading its answer, on a stream that a task is to have afterwards."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol

from twisted.internet.defer import Deferred
from twisted.internet.protocol import Protocol as TwistedProtocol

from g3.errors import NegotiationProtocolErr, NegotiationReadFailed, NegotiationWriteFailed, ProtocolError

if TYPE_CHECKING:
    from twisted.python.failure import Failure


class Reader(Protocol):
    """What understands the answer; bounded by itself."""

    #: Bytes behind the answer.
    rest: bytes

    def feed(self, data: bytes) -> bool:
        """Take bytes; true once the answer is whole. Raises ProtocolError."""


async def ask(stream: Any, request: bytes, reader: Reader) -> None:
    """Write C{request} to C{stream} (an IStream that nobody reads) and feed C{reader} until it has the whole answer.

    Then nobody reads the stream again, and bytes behind the answer are put back. On any error, and when cancelled, the stream is closed.

    @raise NegotiationWriteFailed: the connection broke while we wrote.
    @raise NegotiationReadFailed: it ended before the answer did.
    @raise NegotiationProtocolErr: the answer is none.
    """
    await _Asking(stream, request, reader).done


class _Asking(TwistedProtocol):
    """Reads for one L{ask}."""

    def __init__(self, stream: Any, request: bytes, reader: Reader) -> None:
        self.stream = stream
        self.reader = reader
        self.over = False
        self.done: Deferred[None] = Deferred(self._cancelled)
        stream.write(request)
        stream.start(self)

    def dataReceived(self, data: bytes) -> None:
        if self.over:
            return
        try:
            whole = self.reader.feed(data)
        except ProtocolError as error:
            self._fail(NegotiationProtocolErr(f"negotiation protocol error: {error}"))
            return
        if whole:
            self.over = True
            self.stream.pauseProducing()
            self.stream.unread(self.reader.rest)
            self.done.callback(None)

    def connectionLost(self, reason: Failure | None = None) -> None:
        if not self.over:
            self._fail(NegotiationWriteFailed() if getattr(self.stream, "write_failed", False) else NegotiationReadFailed())

    def _fail(self, error: Exception) -> None:
        self.over = True
        self.stream.abortConnection()
        self.done.errback(error)

    def _cancelled(self, _done: Deferred[None]) -> None:
        self.over = True
        self.stream.abortConnection()
