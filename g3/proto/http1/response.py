# SPDX-License-Identifier: Apache-2.0
"""A response head, parsed for forwarding (RFC 9112 sections 4 to 7)."""

from __future__ import annotations

from functools import lru_cache
from typing import Final

from g3.proto.http1 import headers
from g3.proto.http1.headers import (
    CHUNKED,
    LENGTH,
    MAX_FIELDS,
    MAX_HEAD,
    NONE,
    UNTIL_CLOSE,
    FieldKinds,
    FieldLines,
    Head,
    HTTPError,
    Special,
    parse_codings,
    parse_length,
    parse_options,
    split_head,
)

__all__ = ["CHUNKED", "LENGTH", "NONE", "UNTIL_CLOSE", "HTTPError", "Response", "find_end", "parse_response"]

_CONNECTION, _LENGTH, _CODING, _DROP, _UPGRADE = range(1, 6)
#: What a line of the kind _CONNECTION may turn out to be.
_KEEP_ALIVE, _CLOSE = range(6, 8)

_KINDS = FieldKinds(
    {
        b"connection": _CONNECTION,
        b"proxy-connection": _CONNECTION,
        b"content-length": _LENGTH,
        b"transfer-encoding": _CODING,
        b"keep-alive": _DROP,
        b"upgrade": _UPGRADE,
    },
    502,
)
_KEPT: Final = frozenset({b"content-length", b"transfer-encoding", b"keep-alive", b"close"})
_BY_OPTION: Final[dict[tuple[bytes, ...], int]] = {(b"keep-alive",): _KEEP_ALIVE, (b"close",): _CLOSE}
_NO_OPTIONS: Final[tuple[bytes, ...]] = ()


class Response(Head):
    """One response head.

    C{forward_lines} are the raw field lines to send on (no CRLF) without those that are for this hop only; Transfer-Encoding stands,
    Connection does not: the sender adds its own. C{keep_alive} says whether the connection may carry another request afterwards.
    """

    __slots__ = (
        "body",
        "chunked",
        "content_length",
        "head_size",
        "keep_alive",
        "status",
        "status_line",
        "upgrade",
        "version",
    )

    #: 100 to 999.
    status: int
    #: 10 or 11.
    version: int
    #: The whole status line without CRLF.
    status_line: bytes
    #: NONE, LENGTH, CHUNKED or UNTIL_CLOSE.
    body: int
    #: Bytes of the body when C{body} is LENGTH; of an answer to HEAD or a 304, what it would be; None: not said.
    content_length: int | None
    chunked: bool
    keep_alive: bool
    #: The value of Upgrade, which is not among C{forward_lines}.
    upgrade: bytes | None
    #: Bytes of the head on the wire.
    head_size: int

    @property
    def reason(self) -> bytes:
        """The reason phrase, maybe empty."""
        return self.status_line[13:]

    @property
    def interim(self) -> bool:
        """Whether a final response is still to come."""
        return self.status < 200 and self.status != 101

    def serialize(self, *extra: bytes) -> bytes:
        """The head to send on: status line, forwarded fields, then C{extra} lines (no CRLF), then the empty line."""
        return b"\r\n".join([self.status_line, *self.forward_lines, *extra, b"\r\n"])


def find_end(buffer: bytes | bytearray, start: int = 0, seen: int = 0, limit: int = MAX_HEAD) -> int:
    """L{headers.find_end} for a response: every fault is a 502."""
    return headers.find_end(buffer, start, seen, limit, 502)


def _read(kind: int, line: bytes, value: bytes) -> Special:
    if kind == _LENGTH:
        return kind, line, parse_length(value, 502)
    if kind == _CONNECTION:
        options = tuple(parse_options(value, 502))
        return _BY_OPTION.get(options, kind), line, options
    return kind, line, value.strip(headers.OWS)


_LINES: Final = FieldLines(_KINDS, _read)
_known: Final = _LINES.__getitem__


def parse_response(head: bytes, method: bytes, max_fields: int = MAX_FIELDS) -> Response:  # long: one pass, no call per field
    """Parse a whole head, its empty line included, that answers a request of C{method}.

    @raise HTTPError: 502 for every fault.
    """
    lines = split_head(head, max_fields, 502, 502)
    response = Response()
    line = lines.pop(0)
    response.status_line = line
    version, status = _parse_status_line(line if len(line) <= 13 else line[:13])
    response.version, response.status = version, status
    response.forward_lines = lines
    response.head_size = len(head)
    length: int | None = None
    codings: list[bytes] | None = None
    options = _NO_OPTIONS
    gone: list[bytes] = []
    keep_alive = version == 11
    close = False
    response.upgrade = None
    for kind, line, value in filter(None, map(_known, lines)):
        if kind == _LENGTH:
            if length is None:
                length = value
                continue
            if length != value:
                raise HTTPError("two Content-Length fields", 502)
        elif kind == _KEEP_ALIVE:
            keep_alive = True
        elif kind == _CLOSE:
            close = True
        elif kind == _CONNECTION:
            options += value
        elif kind == _CODING:
            codings = [value] if codings is None else [*codings, value]
            continue
        elif kind == _UPGRADE:
            response.upgrade = value if response.upgrade is None else response.upgrade + b", " + value
        gone.append(line)
    for line in gone:
        lines.remove(line)
    if options:
        keep_alive = keep_alive or b"keep-alive" in options
        close = close or b"close" in options
        response.drop(frozenset(options) - _KEPT)
    response.keep_alive = keep_alive and not close
    response.content_length = length
    response.chunked = False
    if codings is None and status >= 200 and status != 204 and status != 304 and method != b"HEAD" and method != b"CONNECT":
        if length is None:
            response.body = UNTIL_CLOSE
            response.keep_alive = False
        else:
            response.body = LENGTH if length else NONE
    else:
        _frame(response, method, codings)
    return response


@lru_cache(maxsize=1024)
def _parse_status_line(start: bytes) -> tuple[int, int]:
    """Version and status of the first 13 bytes."""
    version, status, end = start[:9], start[9:12], start[12:]
    if version == b"HTTP/1.1 ":
        number = 11
    elif version == b"HTTP/1.0 ":
        number = 10
    else:
        raise HTTPError("bad status line or HTTP version", 502)
    if len(status) != 3 or not status.isdigit() or status[:1] == b"0" or end not in {b"", b" "}:
        raise HTTPError("bad status line", 502)
    return number, int(status)


def _frame(response: Response, method: bytes, codings: list[bytes] | None) -> None:
    """The less usual framings (RFC 9112 section 6.3)."""
    chunked = _use_codings(response, codings) if codings is not None else False
    status = response.status
    if method == b"CONNECT" and 200 <= status < 300:
        _no_body(response)
    elif status < 200 or status == 204:
        if codings is not None or response.content_length:
            if status < 200:
                raise HTTPError("interim response with a body", 502)
            response.keep_alive = False
        _no_body(response)
    elif status == 304 or method == b"HEAD":
        response.body = NONE
    elif chunked:
        response.chunked = True
        response.body = CHUNKED
    elif codings is None and response.content_length is not None:
        response.body = LENGTH if response.content_length else NONE
    else:
        response.body = UNTIL_CLOSE
        response.keep_alive = False


def _no_body(response: Response) -> None:
    """Take off what a body's length is said with, where there can be no body (RFC 9110 sections 8.6 and 9.3.6)."""
    response.body = NONE
    response.content_length = None
    response.drop({b"content-length", b"transfer-encoding"})


def _use_codings(response: Response, values: list[bytes]) -> bool:
    """Whether the body is chunked. Transfer-Encoding beats Content-Length, and then the connection cannot be kept."""
    if response.version == 10:
        raise HTTPError("Transfer-Encoding on HTTP/1.0", 502)
    codings = parse_codings(values, 502, 502)
    if response.content_length is not None:
        response.content_length = None
        response.keep_alive = False
        response.remove(b"content-length")
    return codings[-1] == b"chunked"
