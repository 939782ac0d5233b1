# SPDX-License-Identifier: Apache-2.0
"""Where a message body ends (RFC 9112 section 6.3), in one shape for every framing: C{feed} says how much of the data belongs to it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from g3.proto.http1.chunked import ChunkedReader, Unchunked
from g3.proto.http1.headers import CHUNKED, LENGTH, NONE, UNTIL_CLOSE

if TYPE_CHECKING:
    from g3.proto.http1.request import Request
    from g3.proto.http1.response import Response


__all__ = ["WHOLE", "ChunkedReader", "LengthReader", "Reader", "Unchunked", "UntilCloseReader", "request_reader", "response_reader"]


class LengthReader:
    """A body of C{left} more bytes."""

    __slots__ = ("done", "left")
    #: See L{ChunkedReader.ending}.
    ending = False

    def __init__(self, length: int) -> None:
        self.left = length
        self.done = length == 0

    def feed(self, data: bytes) -> int:
        """How many of these bytes belong to the body."""
        return self.advance(len(data))

    def advance(self, size: int) -> int:
        """Count C{size} bytes that went by elsewhere. Returns how many of them belong to the body."""
        if size < self.left:
            self.left -= size
            return size
        used, self.left, self.done = self.left, 0, True
        return used


class UntilCloseReader:
    """A response body that the end of the connection ends."""

    __slots__ = ("done",)

    def __init__(self) -> None:
        self.done = False

    def feed(self, data: bytes) -> int:
        """All of them."""
        return len(data)

    def advance(self, size: int) -> int:
        """All of them."""
        return size


#: Of a body that is there.
WHOLE = LengthReader(0)

Reader = LengthReader | ChunkedReader | UntilCloseReader


def request_reader(request: Request, max_line: int) -> LengthReader | ChunkedReader | None:
    """The reader of a request's body, None when it has none; C{max_line} bounds a line of a chunked one, in bytes."""
    if request.body == NONE:
        return None
    if request.body == CHUNKED:
        return ChunkedReader(max_line)
    return LengthReader(request.content_length or 0)


def response_reader(response: Response, max_line: int) -> Reader:
    """The reader of a response's body; one that has none is done at once."""
    if response.body == LENGTH:
        return LengthReader(response.content_length or 0)
    if response.body == CHUNKED:
        return ChunkedReader(max_line, status=502)
    return UntilCloseReader() if response.body == UNTIL_CLOSE else LengthReader(0)
