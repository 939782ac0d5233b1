# SPDX-License-Identifier: Apache-2.0
"""A request head, parsed for forwarding (RFC 9112 sections 2 to 7)."""

from __future__ import annotations

import re
from typing import Final

from g3.proto.http1.headers import (
    CHUNKED,
    LENGTH,
    MAX_FIELDS,
    NONE,
    OWS,
    FieldKinds,
    FieldLines,
    Head,
    HTTPError,
    Special,
    field_values,
    find_end,
    is_token,
    parse_codings,
    parse_length,
    parse_options,
    split_head,
)
from g3.proto.http1.uri import valid_host

__all__ = ["CHUNKED", "LENGTH", "NONE", "HTTPError", "Request", "find_end", "parse_request"]

_HOST, _CONNECTION, _LENGTH, _CODING, _DROP, _CREDENTIALS, _TE, _UPGRADE, _AUTHORIZATION = range(1, 10)
#: What a line of the kinds _CONNECTION and _LENGTH may turn out to be.
_KEEP_ALIVE, _CLOSE, _ODD_LENGTH = range(10, 13)

_KINDS = FieldKinds(
    {
        b"host": _HOST,
        b"connection": _CONNECTION,
        b"proxy-connection": _CONNECTION,
        b"content-length": _LENGTH,
        b"transfer-encoding": _CODING,
        b"keep-alive": _DROP,
        b"proxy-authenticate": _DROP,
        b"proxy-authentication-info": _DROP,
        b"http2-settings": _DROP,
        b"proxy-authorization": _CREDENTIALS,
        b"te": _TE,
        b"upgrade": _UPGRADE,
        b"authorization": _AUTHORIZATION,
        b"cookie": _AUTHORIZATION,
    },
    400,
)
_METHODS: Final = frozenset({b"GET", b"POST", b"HEAD", b"PUT", b"DELETE", b"CONNECT", b"OPTIONS", b"PATCH", b"TRACE"})
_IDEMPOTENT: Final = frozenset({b"GET", b"HEAD", b"PUT", b"DELETE", b"OPTIONS", b"TRACE"})
_MAX_METHOD: Final = 64
_VERSION: Final = re.compile(rb"HTTP/[0-9]\.[0-9]")
_NO_OPTIONS: Final[tuple[bytes, ...]] = ()
#: What these name is never removed because Connection names it: it frames or routes the message.
_KEPT: Final = frozenset({b"host", b"content-length", b"transfer-encoding", b"te", b"keep-alive", b"close"})
_BY_OPTION: Final[dict[tuple[bytes, ...], int]] = {(b"keep-alive",): _KEEP_ALIVE, (b"close",): _CLOSE}


class Request(Head):
    """One request head.

    C{forward_lines} are the raw field lines to send on (no CRLF): those that are for this hop only are gone, TE and Transfer-Encoding
    stand, and so does Host. No Connection line is among them: the sender adds its own. The values of
    Content-Length and Transfer-Encoding are spelled in the one way that every recipient reads alike.
    C{content_length} is None when there was none or Transfer-Encoding rules; C{body} says how the body is framed.
    """

    __slots__ = (
        "body",
        "chunked",
        "content_length",
        "head_size",
        "host",
        "idempotent",
        "keep_alive",
        "method",
        "personal",
        "proxy_authorization",
        "target",
        "te",
        "upgrade",
        "version",
    )

    method: bytes
    #: Whether it may be sent twice: no other request must be retried by a proxy (RFC 9110 section 9.2.2).
    idempotent: bool
    #: The request target as it came: SP-free and free of control bytes, not looked into.
    target: bytes
    #: 10 or 11.
    version: int
    #: The value of Host, valid (maybe empty), or None: only HTTP/1.0 may go without.
    host: bytes | None
    content_length: int | None
    chunked: bool
    #: Whether the client may send another request after this one.
    keep_alive: bool
    #: The value of Upgrade, which is not forwarded.
    upgrade: bytes | None
    #: The value of TE.
    te: bytes | None
    #: The value of Proxy-Authorization, which is not forwarded.
    proxy_authorization: bytes | None
    #: Whether it carries Authorization or Cookie.
    personal: bool
    body: int
    #: Bytes of the head on the wire.
    head_size: int

    @property
    def expect_continue(self) -> bool:
        """Whether the client waits for a 100 before it sends its body (RFC 9110 section 10.1.1)."""
        return any(value.lower() == b"100-continue" for value in field_values(self.forward_lines, b"expect"))

    def set_host(self, value: bytes) -> None:
        """Make C{value} the Host, keeping the place and the case of the line that is there."""
        self.host = value
        lines = self.forward_lines
        for index, line in enumerate(lines):
            if line[:5].lower() == b"host:":
                lines[index] = line[:5] + b" " + value
                return
        lines.insert(0, b"Host: " + value)


def _read(kind: int, line: bytes, value: bytes) -> Special:
    if kind == _HOST:
        value = value.strip(OWS)
        if not valid_host(value):
            raise HTTPError("bad Host")
        return kind, line, value
    if kind == _CONNECTION:
        options = tuple(parse_options(value, 400))
        return _BY_OPTION.get(options, kind), line, options
    if kind == _LENGTH:
        number = parse_length(value, 400)
        return (kind if line == _spell_length(line, number) else _ODD_LENGTH), line, number
    return kind, line, value.strip(OWS)


def _spell_length(line: bytes, number: int) -> bytes:
    return b"%b: %d" % (line.partition(b":")[0], number)


_LINES: Final = FieldLines(_KINDS, _read)
_known: Final = _LINES.__getitem__


def parse_request(head: bytes, max_fields: int = MAX_FIELDS) -> Request:  # long: one pass, no call per field, is what makes it fast
    """Parse a whole head, its empty line included (see L{find_end}). One CRLF before the request line is passed over.

    @raise HTTPError: 400, 431 (over C{max_fields}), 501 (a transfer coding other than chunked), 505 (a version other than 1.0 and 1.1).
    """
    lines = split_head(head, max_fields, 400, 431)
    request = Request()
    version = _parse_request_line(request, lines.pop(0))
    request.forward_lines = lines
    request.head_size = len(head)
    host: bytes | None = None
    length: int | None = None
    codings: list[bytes] | None = None
    options = _NO_OPTIONS
    gone: list[bytes] = []
    keep_alive = version == 11
    close = False
    request.upgrade = request.te = request.proxy_authorization = None
    request.personal = False
    for kind, line, value in filter(None, map(_known, lines)):
        if kind == _HOST:
            if host is not None:
                raise HTTPError("two Host fields")
            host = value
            continue
        if kind == _AUTHORIZATION:
            request.personal = True
            continue
        if kind == _KEEP_ALIVE:
            keep_alive = True
        elif kind == _CLOSE:
            close = True
        elif kind == _CONNECTION:
            options += value
        elif kind in (_LENGTH, _ODD_LENGTH):
            if length is None:
                length = value
                if kind == _ODD_LENGTH:
                    lines[lines.index(line)] = _spell_length(line, value)
                continue
            if length != value:
                raise HTTPError("two Content-Length fields")
        elif kind == _CODING:
            if codings is None:
                lines[lines.index(line)] = line.partition(b":")[0] + b": chunked"
                codings = [value]
                continue
            codings.append(value)
        elif _note(request, kind, value):
            continue
        gone.append(line)
    for line in gone:
        lines.remove(line)
    request.host = host
    if options:
        keep_alive = keep_alive or b"keep-alive" in options
        close = close or b"close" in options
        request.drop(frozenset(options) - _KEPT)
    request.keep_alive = keep_alive and not close
    if host is None and version == 11:
        raise HTTPError("no Host")
    request.content_length = length
    request.chunked = False
    request.body = LENGTH if length else NONE
    if codings is not None:
        _use_codings(request, codings)
    if request.body and request.method == b"CONNECT":
        raise HTTPError("CONNECT with a body")
    return request


def _parse_request_line(request: Request, line: bytes) -> int:
    try:
        method, target, version = line.split(b" ")
    except ValueError:
        raise HTTPError("bad request line") from None
    if version == b"HTTP/1.1":
        number = 11
    elif version == b"HTTP/1.0":
        number = 10
    else:
        raise _bad_version(method, version)
    if method not in _METHODS and (len(method) > _MAX_METHOD or not is_token(method)):
        raise HTTPError("bad method")
    if not target or target.find(b"\t") >= 0:
        raise HTTPError("bad request line")
    request.method = method
    request.idempotent = method in _IDEMPOTENT
    request.target = target
    request.version = number
    return number


def _bad_version(method: bytes, version: bytes) -> HTTPError:
    if _VERSION.fullmatch(version) and is_token(method):
        return HTTPError("HTTP version not supported", 505)
    return HTTPError("bad request line")


def _note(request: Request, kind: int, value: bytes) -> bool:
    """Note a line of the less usual kinds. Whether it is passed on."""
    if kind == _CREDENTIALS:
        if request.proxy_authorization is not None:
            raise HTTPError("two Proxy-Authorization fields")
        request.proxy_authorization = value
    elif kind == _TE:
        request.te = value if request.te is None else request.te + b", " + value
        return True
    elif kind == _UPGRADE:
        request.upgrade = value if request.upgrade is None else request.upgrade + b", " + value
    return False


def _use_codings(request: Request, values: list[bytes]) -> None:
    if request.version == 10:
        raise HTTPError("Transfer-Encoding on HTTP/1.0")
    codings = parse_codings(values, 400, 501)
    if codings[-1] != b"chunked":
        raise HTTPError("the last transfer coding is not chunked")
    if len(codings) > 1:
        raise HTTPError("transfer coding not supported", 501)
    request.chunked = True
    request.body = CHUNKED
    if request.content_length is not None:
        request.content_length = None
        request.keep_alive = False
        request.remove(b"content-length")
