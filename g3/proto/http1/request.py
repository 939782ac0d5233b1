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
    HTTPError,
    field_value,
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

_HOST, _CONNECTION, _LENGTH, _CODING, _DROP, _CREDENTIALS, _EXPECT, _TE, _UPGRADE, _AUTHORIZATION = range(1, 11)

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
        b"expect": _EXPECT,
        b"te": _TE,
        b"upgrade": _UPGRADE,
        b"authorization": _AUTHORIZATION,
        b"cookie": _AUTHORIZATION,
    },
    400,
)
_METHODS: Final = frozenset({b"GET", b"POST", b"HEAD", b"PUT", b"DELETE", b"CONNECT", b"OPTIONS", b"PATCH", b"TRACE"})
#: Methods that may be sent again when nobody knows whether they were heard (RFC 9110 section 9.2.2).
_IDEMPOTENT: Final = frozenset({b"GET", b"HEAD", b"PUT", b"DELETE", b"OPTIONS", b"TRACE"})
_MAX_METHOD: Final = 64
_VERSION: Final = re.compile(rb"HTTP/[0-9]\.[0-9]")
_NO_OPTIONS: Final[list[bytes]] = []
#: What these name is never removed because Connection names it: it frames or routes the message.
_KEPT: Final = frozenset({b"host", b"content-length", b"transfer-encoding", b"te", b"keep-alive", b"close"})
_KEEP_ALIVE: Final = frozenset({b" keep-alive", b" Keep-Alive", b"keep-alive"})
_CLOSE: Final = frozenset({b" close", b" Close", b"close"})


class Request:
    """One request head.

    C{forward_lines} are the raw field lines to send on (no CRLF): those that are for this hop only are gone, TE and Transfer-Encoding
    stand, and so does Host, at C{host_index} (-1: none). No Connection line is among them: the sender adds its own. The values of
    Content-Length and Transfer-Encoding are spelled in the one way that every recipient reads alike.
    C{content_length} is None when there was none or Transfer-Encoding rules; C{body} says how the body is framed.
    """

    __slots__ = (
        "body",
        "chunked",
        "content_length",
        "expect_continue",
        "forward_lines",
        "head_size",
        "host",
        "host_index",
        "keep_alive",
        "method",
        "options",
        "personal",
        "proxy_authorization",
        "target",
        "te",
        "upgrade",
        "version",
    )

    method: bytes
    #: The request target as it came: SP-free and free of control bytes, not looked into.
    target: bytes
    #: 10 or 11.
    version: int
    forward_lines: list[bytes]
    #: The value of Host, valid (maybe empty), or None: only HTTP/1.0 may go without.
    host: bytes | None
    host_index: int
    content_length: int | None
    chunked: bool
    #: Whether the client may send another request after this one.
    keep_alive: bool
    #: The lower-case Connection (and Proxy-Connection) options other than keep-alive and close.
    options: list[bytes]
    #: The value of Upgrade, which is not forwarded.
    upgrade: bytes | None
    expect_continue: bool
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
    def user_agents(self) -> list[bytes]:
        """The values of User-Agent, usually one."""
        return field_values(self.forward_lines, b"user-agent")

    @property
    def idempotent(self) -> bool:
        """Whether it may be sent twice: no other request must be retried by a proxy."""
        return self.method in _IDEMPOTENT

    def get(self, name: bytes) -> bytes | None:
        """The value of the first forwarded field called C{name} (lower case), or None."""
        return field_value(self.forward_lines, name)

    def remove(self, name: bytes) -> None:
        """Take every field called C{name} (lower case) off."""
        self.drop({name})

    def drop(self, names: set[bytes]) -> None:
        """Take every field off whose lower-case name is in C{names}."""
        self.forward_lines = [line for line in self.forward_lines if line.partition(b":")[0].lower() not in names]
        self.host_index = next((index for index, line in enumerate(self.forward_lines) if line[:5].lower() == b"host:"), -1)

    def set_host(self, value: bytes) -> None:
        """Make C{value} the Host, keeping the place and the case of the line that is there."""
        self.host = value
        if self.host_index < 0:
            self.forward_lines.insert(0, b"Host: " + value)
            self.host_index = 0
        else:
            self.forward_lines[self.host_index] = self.forward_lines[self.host_index][:5] + b" " + value


def parse_request(head: bytes, max_fields: int = MAX_FIELDS) -> Request:  # long: one pass, no call per field, is what makes it fast
    """Parse a whole head, its empty line included (see L{find_end}). One CRLF before the request line is passed over.

    @raise HTTPError: 400, 431 (over C{max_fields}), 501 (a transfer coding other than chunked), 505 (a version other than 1.0 and 1.1).
    """
    lines = split_head(head, max_fields, 400, 431)
    request = Request()
    version = _parse_request_line(request, lines[0])
    del lines[0]
    request.head_size = len(head)
    host: bytes | None = None
    length: int | None = None
    codings: list[bytes] | None = None
    options: list[bytes] = _NO_OPTIONS
    keep_alive = version == 11
    close = False
    request.host_index = -1
    request.upgrade = request.te = request.proxy_authorization = None
    request.expect_continue = request.personal = False
    kinds = _KINDS
    forward = request.forward_lines = []
    keep = forward.append
    for line in lines:
        name, colon, value = line.partition(b":")
        kind = kinds[name]
        if not colon:
            raise HTTPError("header field without a colon")
        if not kind:
            keep(line)
        elif kind == _HOST:
            if host is not None:
                raise HTTPError("two Host fields")
            host = value.strip(OWS)
            if not valid_host(host):
                raise HTTPError("bad Host")
            request.host_index = len(forward)
            keep(line)
        elif kind == _CONNECTION:
            if value in _KEEP_ALIVE:
                keep_alive = True
            elif value in _CLOSE:
                close = True
            else:
                options = options + parse_options(value, 400)
        elif kind == _AUTHORIZATION:
            request.personal = True
            keep(line)
        elif kind == _LENGTH:
            number = parse_length(value, 400)
            if length is None:
                keep(b"%b: %d" % (name, number))
            elif length != number:
                raise HTTPError("two Content-Length fields")
            length = number
        elif kind == _CODING:
            if codings is None:
                keep(name + b": chunked")
            codings = [value] if codings is None else [*codings, value]
        else:
            _note(request, kind, value, line)
    request.host = host
    if options:
        keep_alive, close, options = _apply_options(request, options, keep_alive, close)
    request.options = options
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
    method, _, rest = line.partition(b" ")
    target, _, version = rest.partition(b" ")
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
    request.target = target
    request.version = number
    return number


def _bad_version(method: bytes, version: bytes) -> HTTPError:
    if _VERSION.fullmatch(version) and is_token(method):
        return HTTPError("HTTP version not supported", 505)
    return HTTPError("bad request line")


def _note(request: Request, kind: int, value: bytes, line: bytes) -> None:
    value = value.strip(OWS)
    if kind == _CREDENTIALS:
        if request.proxy_authorization is not None:
            raise HTTPError("two Proxy-Authorization fields")
        request.proxy_authorization = value
    elif kind == _EXPECT:
        request.expect_continue = request.expect_continue or value.lower() == b"100-continue"
        request.forward_lines.append(line)
    elif kind == _TE:
        request.te = value if request.te is None else request.te + b", " + value
        request.forward_lines.append(line)
    elif kind == _UPGRADE:
        request.upgrade = value if request.upgrade is None else request.upgrade + b", " + value


def _apply_options(request: Request, options: list[bytes], keep_alive: bool, close: bool) -> tuple[bool, bool, list[bytes]]:
    keep_alive = keep_alive or b"keep-alive" in options
    close = close or b"close" in options
    options = [option for option in options if option not in {b"keep-alive", b"close"}]
    named = set(options) - _KEPT
    if named:
        request.drop(named)
    return keep_alive, close, options


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
