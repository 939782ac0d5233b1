# SPDX-License-Identifier: Apache-2.0
"""HTTP/2 messages as HTTP/1.1 ones and back (RFC 9113 section 8).

A request becomes the bytes an HTTP/1.1 client would have sent a proxy, so that one machinery serves both; what that answers becomes fields and
data again. Nothing passes that would mean something else on the other side.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from g3.errors import ProtocolError
from g3.proto.http1.body import Unchunked, response_reader
from g3.proto.http1.headers import CHUNKED, NONE, TEXT, UNTIL_CLOSE, is_token
from g3.proto.http1.response import find_end, parse_response

if TYPE_CHECKING:
    from collections.abc import Iterable

    from g3.proto.http1.body import Reader
    from g3.proto.http1.response import Response

Field = tuple[bytes, bytes]

#: Fields about a connection, which no message of HTTP/2 may have (RFC 9113 section 8.2.2).
_CONNECTION: Final = frozenset({b"connection", b"proxy-connection", b"keep-alive", b"transfer-encoding", b"upgrade"})
_PSEUDO: Final = frozenset({b":method", b":scheme", b":authority", b":path"})
_UPPER: Final = b"ABCDEFGHIJKLMNOPQRSTUVWXYZ"
#: What may stand in a target: VCHAR.
_VISIBLE: Final = bytes(range(0x21, 0x7F))
_LAST_CHUNK: Final = b"0\r\n"


class Malformed(ProtocolError):
    """A message that is none: its stream is reset with PROTOCOL_ERROR (RFC 9113 section 8.1.1)."""


def chunk(data: bytes) -> bytes:
    """One chunk of a chunked body."""
    return b"%x\r\n%b\r\n" % (len(data), data)


def last_chunk(trailers: Iterable[Field] = ()) -> bytes:
    """The end of a chunked body.

    @raise Malformed: a trailer is no field.
    """
    lines = []
    for name, value in trailers:
        _check(name, value)
        lines.append(b"%b: %b\r\n" % (name, value))
    return b"".join([_LAST_CHUNK, *lines, b"\r\n"])


def request_head(fields: Iterable[Field], *, ends: bool) -> tuple[bytes, bytes, bool]:
    """The method, the head that an HTTP/1.1 client would have sent, and whether its body has to be sent in chunks. C{ends}: it has no body.

    @raise Malformed: it is no request (RFC 9113 sections 8.2 and 8.3).
    """
    pseudo: dict[bytes, bytes] = {}
    lines: list[bytes] = []
    cookies: list[bytes] = []
    host: bytes | None = None
    length = False
    for name, value in fields:
        if name[:1] == b":":
            if name not in _PSEUDO or name in pseudo or lines or cookies or host is not None:
                raise Malformed("a pseudo-header field that is unknown, repeated or late")
            pseudo[name] = value
            continue
        _check(name, value)
        if name == b"host":
            if host is not None:
                raise Malformed("two Host fields")
            host = value
        elif name == b"cookie":
            cookies.append(value)
        else:
            if name == b"content-length":
                length = True
                if ends and value.strip(b"0"):
                    raise Malformed("Content-Length of a request without a body")
            lines.append(b"%b: %b" % (name, value))
    if cookies:
        lines.append(b"cookie: " + b"; ".join(cookies))
    method = pseudo.get(b":method", b"")
    if not is_token(method):
        raise Malformed("no method")
    authority = _authority(pseudo.get(b":authority"), host)
    target = _target(method, authority, pseudo)
    chunked = not (ends or length or method == b"CONNECT")
    if chunked:
        lines.append(b"transfer-encoding: chunked")
    return method, b"\r\n".join([b"%b %b HTTP/1.1" % (method, target), b"Host: " + authority, *lines, b"\r\n"]), chunked


def _check(name: bytes, value: bytes) -> None:
    """@raise Malformed: it is no field that a message may have."""
    if not is_token(name) or name.translate(None, _UPPER) != name:
        raise Malformed("bad field name")
    if value.translate(None, TEXT) or value.strip(b" \t") != value:
        raise Malformed("bad field value")
    if name in _CONNECTION or (name == b"te" and value != b"trailers"):
        raise Malformed("a field about the connection")


def _authority(authority: bytes | None, host: bytes | None) -> bytes:
    if authority is None or (host is not None and host.lower() != authority.lower()):
        if host is None or authority is not None:
            raise Malformed("no authority, or not that of Host")
        authority = host
    if not authority or authority.translate(None, _VISIBLE) or b"@" in authority or b"/" in authority:
        raise Malformed("bad authority")
    return authority


def _target(method: bytes, authority: bytes, pseudo: dict[bytes, bytes]) -> bytes:
    """The request target: authority-form for CONNECT, absolute-form for all else, as a proxy is asked."""
    scheme, path = pseudo.get(b":scheme"), pseudo.get(b":path")
    if method == b"CONNECT":
        if scheme is not None or path is not None or b":authority" not in pseudo:
            raise Malformed("CONNECT has an authority alone")
        return authority
    if not scheme or not scheme.replace(b"+", b"").replace(b"-", b"").replace(b".", b"").isalnum() or not path:
        raise Malformed("no scheme or no path")
    if path == b"*" and method == b"OPTIONS":
        path = b""
    elif path[:1] != b"/" or path.translate(None, _VISIBLE) or b"#" in path:
        raise Malformed("bad path")
    return b"%b://%b%b" % (scheme, authority, path)


def response_fields(lines: Iterable[bytes], status: int) -> list[Field]:
    """The fields of a response of ours, whose header lines they are."""
    fields = [(b":status", b"%d" % status)]
    for line in lines:
        name, _, value = line.partition(b":")
        name = name.lower()
        if name not in _CONNECTION:
            fields.append((name, value.strip(b" \t")))
    return fields


class _WithTrailers(Unchunked):
    """A chunked body taken apart, trailers and all."""

    __slots__ = ("trailers",)

    def __init__(self, max_line: int) -> None:
        super().__init__(max_line)
        self.trailers: list[Field] = []

    def _take_trailer(self, line: bytes) -> None:
        super()._take_trailer(line)
        name, _, value = line.partition(b":")
        self.trailers.append((name.lower(), value.strip(b" \t")))


class ResponseReader:
    """Takes what an HTTP/1.1 server answers one request and gives what is to be sent: L{feed} returns heads that are complete, each the fields
    and whether nothing follows it; L{take} the content since the last time. After a tunnel's 2xx everything is content.

    @ivar done: the response is complete; C{trailers} are known then. @ivar until_close: only the end of the connection completes it.
    """

    __slots__ = ("_body", "_content", "_head", "_max_head", "_max_line", "_method", "_tunnel", "done", "until_close")

    def __init__(self, method: bytes, max_head: int = 1 << 20, max_line: int = 65536) -> None:
        self._method = method
        self._max_head, self._max_line = max_head, max_line
        self._head = b""
        self._body: Reader | None = None
        self._content: list[bytes] = []
        self._tunnel = self.done = self.until_close = False

    @property
    def tunnel(self) -> bool:
        """Whether it was the 2xx to CONNECT."""
        return self._tunnel

    @property
    def begun(self) -> bool:
        """Whether the final response has begun."""
        return self._body is not None or self._tunnel

    @property
    def trailers(self) -> list[Field]:
        """Those of a response that had some."""
        return self._body.trailers if isinstance(self._body, _WithTrailers) else []

    def feed(self, data: bytes) -> list[tuple[list[Field], bool]]:
        """Take bytes.

        @raise ProtocolError: they are no response.
        """
        heads: list[tuple[list[Field], bool]] = []
        if not self.begun:
            data = self._head + data
            self._head = b""
            data = self._read_heads(data, heads)
        if data and self.begun:
            self._read_body(data)
        return heads

    def _read_heads(self, data: bytes, heads: list[tuple[list[Field], bool]]) -> bytes:
        while not self.begun:
            end = find_end(data, limit=self._max_head)
            if end < 0:
                self._head = data
                return b""
            response = parse_response(data[:end], self._method)
            data = data[end:]
            if not response.interim:
                self._begin(response)
            heads.append((response_fields(response.forward_lines, response.status), self.done))
        return data

    def _begin(self, response: Response) -> None:
        if self._method == b"CONNECT" and 200 <= response.status < 300:
            self._tunnel = self.until_close = True
            return
        body = _WithTrailers(self._max_line) if response.body == CHUNKED else response_reader(response, self._max_line)
        self._body = body
        self.until_close = response.body == UNTIL_CLOSE
        self.done = response.body == NONE
        if response.chunked and (response.get(b"transfer-encoding") or b"").strip().lower() != b"chunked":
            raise ProtocolError("a transfer coding that HTTP/2 has not")

    def _read_body(self, data: bytes) -> None:
        body = self._body
        if body is None:
            self._content.append(data)
            return
        used = body.feed(data)
        self._content.append(body.take() if isinstance(body, Unchunked) else data[:used])
        self.done = self.done or (body.done and not self.until_close)

    def take(self) -> bytes:
        """Content that is to be sent."""
        content = b"".join(self._content)
        self._content.clear()
        return content
