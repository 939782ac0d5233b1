# SPDX-License-Identifier: Apache-2.0
"""A strict check of a chunked body that is passed on as it is (RFC 9112 section 7.1)."""

from __future__ import annotations

import re
from typing import Final

from g3.proto.http1.headers import TEXT, FieldKinds, HTTPError

#: What a trailer must not have: it would frame, route or authenticate a message whose head has gone by (RFC 9110 section 6.5.1).
_FORBIDDEN: Final = (
    b"authorization",
    b"connection",
    b"content-encoding",
    b"content-length",
    b"content-range",
    b"content-type",
    b"cookie",
    b"expect",
    b"host",
    b"keep-alive",
    b"max-forwards",
    b"proxy-authenticate",
    b"proxy-authorization",
    b"proxy-connection",
    b"range",
    b"set-cookie",
    b"te",
    b"trailer",
    b"transfer-encoding",
    b"upgrade",
    b"www-authenticate",
)
_TOKEN: Final = rb"[!#$%&'*+.^_`|~0-9A-Za-z-]+"
_QUOTED: Final = rb'"(?:[\t \x21\x23-\x5b\x5d-\x7e\x80-\xff]|\\[\t \x21-\x7e\x80-\xff])*"'
#: No BWS: RFC 9112 has it for bad senders only, and it is where parsers differ.
_LINE: Final = re.compile(rb"([0-9A-Fa-f]{1,15})(?:;" + _TOKEN + rb"(?:=(?:" + _TOKEN + rb"|" + _QUOTED + rb"))?)*")

_SIZE, _DATA, _DATA_END, _TRAILER, _DONE = range(5)


class ChunkedReader:
    """Walks over a chunked body; what L{feed} has passed is known to be good and is sent on unchanged.

    Bounds: a line of C{max_line} bytes (its CRLF included), C{max_trailer} bytes of trailers altogether, and C{max_extension} bytes of
    chunk extensions over the whole body. C{status} is that of the HTTPErrors: 400 for a client's body, 502 for an upstream's.
    """

    __slots__ = ("_extension", "_left", "_line", "_state", "_status", "_trailer", "kinds", "max_line", "payload", "payload_bytes")

    def __init__(self, max_line: int = 8192, max_trailer: int = 16384, max_extension: int = 16384, status: int = 400) -> None:
        self.max_line = max_line
        #: Bytes of content passed so far, without framing.
        self.payload_bytes = 0
        #: Where content is kept, if anywhere.
        self.payload: list[bytes] | None = None
        self._trailer = max_trailer
        self._extension = max_extension
        self._status = status
        self._state = _SIZE
        self._left = 0
        self._line = b""
        self.kinds = _REQUEST_TRAILERS if status == 400 else _RESPONSE_TRAILERS

    @property
    def done(self) -> bool:
        """Whether the last chunk, the trailers and the empty line after them have gone by."""
        return self._state == _DONE

    @property
    def ending(self) -> bool:
        """Whether the last chunk has gone by, and what follows it not yet."""
        return self._state == _TRAILER

    @property
    def in_line(self) -> bool:
        """Whether part of a line was passed that cannot be judged before the rest of it arrives."""
        return bool(self._line) or self._state == _DATA_END

    def feed(self, data: bytes | bytearray | memoryview, start: int = 0) -> int:
        """Check C{data} from C{start}; the index up to which it belongs to this body: its length, or less when C{done}.

        Bytes of a line not yet complete count as passed. A caller that must not send on anything unproven looks at L{in_line}.

        """
        data = bytes(data) if not isinstance(data, bytes) else data
        at, end = start, len(data)
        while at < end:
            state = self._state
            if state == _DATA:
                take = min(self._left, end - at)
                if self.payload is not None:
                    self.payload.append(data[at : at + take])
                at += take
                self._left -= take
                self.payload_bytes += take
                if self._left:
                    return at
                self._state = _DATA_END
            elif state == _DONE:
                return at
            else:
                stop = data.find(b"\n", at) + 1
                if not stop:
                    self._hold(data[at:])
                    return end
                if self._line:
                    line, self._line = self._line + data[at:stop], b""
                else:
                    line = data[at:stop]
                self._take_line(line)
                at = stop
        return at

    def _hold(self, data: bytes) -> None:
        self._line += data
        limit = 2 if self._state == _DATA_END else self.max_line
        line = self._line
        if len(line) >= limit or line.translate(None, TEXT) not in {b"", b"\r"} or (b"\r" in line and line[-1] != 13):
            raise self._bad("chunk line")
        if (self._state == _DATA_END and line != b"\r") or (self._state == _SIZE and line[0] not in b"0123456789abcdefABCDEF"):
            raise self._bad("chunk")

    def _take_line(self, line: bytes) -> None:
        if len(line) > self.max_line or line[-2:] != b"\r\n":
            raise self._bad("chunk line: too long or not ended by CRLF")
        state = self._state
        if state == _SIZE:
            self._take_size(line)
        elif state == _DATA_END:
            if line != b"\r\n":
                raise self._bad("chunk: longer than its size")
            self._state = _SIZE
        elif line == b"\r\n":
            self._state = _DONE
        else:
            self._take_trailer(line[:-2])

    def _take_size(self, line: bytes) -> None:
        match = _LINE.fullmatch(line, 0, len(line) - 2)
        if match is None:
            raise self._bad("chunk size")
        digits = match[1]
        self._extension -= len(line) - len(digits) - 2
        if self._extension < 0:
            raise self._bad("chunk extensions: too long")
        self._left = int(digits, 16)
        self._state = _DATA if self._left else _TRAILER

    def _take_trailer(self, line: bytes) -> None:
        self._trailer -= len(line) + 2
        if self._trailer < 0:
            raise self._bad("trailers: too long")
        name, colon, value = line.partition(b":")
        if not colon or value.translate(None, TEXT):
            raise self._bad("trailer")
        if self.kinds[name]:
            raise self._bad("trailer: field not allowed there")

    def _bad(self, what: str) -> HTTPError:
        return HTTPError(f"bad {what}", self._status)


class Unchunked(ChunkedReader):
    """A body taken out of its chunks, for a receiver that knows none: C{take} gives the content of what was fed; trailers are lost."""

    __slots__ = ()

    def __init__(self, max_line: int, status: int = 502) -> None:
        super().__init__(max_line, status=status)
        self.payload: list[bytes] = []

    def take(self) -> bytes:
        """The content since the last time."""
        content = b"".join(self.payload)
        self.payload.clear()
        return content


_REQUEST_TRAILERS: Final = FieldKinds(dict.fromkeys(_FORBIDDEN, 1), 400)
_RESPONSE_TRAILERS: Final = FieldKinds(dict.fromkeys(_FORBIDDEN, 1), 502)
