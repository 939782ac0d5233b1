# SPDX-License-Identifier: Apache-2.0
"""What is HTTP's: keepalive, idle pools, header values, server ids. Upstream: configuration/values/network."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, TypeVar

from g3.config.problems import quote
from g3.config.schema import Places, config_class, key
from g3.config.value import Value, ValueProblem
from g3.config.values.basic import Bool, Enum, Int, Str, any_case, only_string
from g3.config.values.duration import Duration
from g3.config.values.options import Options
from g3.net.options import ConnectionPool, ForwardedHeader, HTTPForwardCapability, HTTPKeepalive, UpstreamKeepalive

if TYPE_CHECKING:
    from g3.config.document import Node
    from g3.config.value import ParseContext

K = TypeVar("K", bound=HTTPKeepalive)

_KEEPALIVE, _POOL = HTTPKeepalive(), ConnectionPool()
_TOKEN = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]{1,255}\Z", re.ASCII)
_BAD_SERVER_ID = re.compile(r"[^\x20-\x7e]|[;,]")
_BAD_HEADER_VALUE = re.compile(r"[^\t\x20-\x7e\x80-\xff]")


@config_class
class HTTPKeepaliveKeys:
    """HTTP keep-alive."""

    enable: bool = key(Bool(), default=_KEEPALIVE.enable, doc="Whether a connection may carry another request.")
    idle_expire: float = key(Duration(), default=_KEEPALIVE.idle_expire, doc="How long it may wait for one.", unit="seconds")


class _KeepaliveValue(Options[K]):
    """A bool, a duration (which enables it with that idle time), or a map."""

    doc = "A bool, the idle time as a duration, or a map."
    expected = "a bool, a duration or a map"
    _idle = Duration()

    def short(self, node: Node, context: ParseContext) -> K:
        keepalive: K
        if isinstance(node.value, bool):
            keepalive = self.made(enable=node.value)
        else:
            keepalive = self.made(idle_expire=self._idle.parse(node, context))
        return keepalive

    def short_schemas(self) -> list[dict[str, Any]]:
        return [{"type": "boolean"}, *self._idle.json_schema()["anyOf"]]


class HTTPKeepaliveValue(_KeepaliveValue[HTTPKeepalive]):
    """Keep-alive of HTTP connections."""

    type_name = "HTTP keepalive"
    keys, made = HTTPKeepaliveKeys, HTTPKeepalive


@config_class
class UpstreamKeepaliveKeys(HTTPKeepaliveKeys):
    """HTTP keep-alive towards upstreams."""

    shared: bool = key(Bool(), default=False, doc="Idle connections may serve any client, not only the one they were opened for. Ours.")


class UpstreamKeepaliveValue(_KeepaliveValue[UpstreamKeepalive]):
    """The same, for connections to upstreams."""

    type_name = "upstream HTTP keepalive"
    keys, made = UpstreamKeepaliveKeys, UpstreamKeepalive


@config_class
class ConnectionPoolKeys:
    """Idle connections kept to one peer."""

    check_interval: float = key(Duration(0.001), default=_POOL.check_interval, doc="Between looks at the pool.", unit="seconds")
    max_idle_count: int = key(Int(0, 1 << 20), default=_POOL.max_idle_count, doc="More are closed.")
    min_idle_count: int = key(Int(0, 1 << 20), default=_POOL.min_idle_count, doc="Fewer are filled up.")
    idle_timeout: float = key(Duration(), default=_POOL.idle_timeout, doc="How long one may wait to be used.", unit="seconds")

    def check(self, at: Places) -> None:
        if self.min_idle_count > self.max_idle_count:
            at.warn("min_idle_count", f"min_idle_count is above max_idle_count, {self.max_idle_count}")


class ConnectionPoolValue(Options[ConnectionPool]):
    """Idle connections kept to one peer."""

    type_name = "connection pool"
    keys, made = ConnectionPoolKeys, ConnectionPool


@config_class
class HTTPForwardCapabilityKeys:
    """What the next proxy takes in absolute form besides http://."""

    forward_https: bool = key(Bool(), default=False, doc="https:// URIs.")
    forward_ftp: bool | None = key(Bool(), default=None, doc="All of the following.")
    forward_ftp_get: bool | None = key(Bool(), default=None, doc="GET of ftp:// URIs.")
    forward_ftp_put: bool | None = key(Bool(), default=None, doc="PUT of ftp:// URIs.")
    forward_ftp_del: bool | None = key(Bool(), default=None, doc="DELETE of ftp:// URIs.")


class HTTPForwardCapabilityValue(Options[HTTPForwardCapability]):
    """What the next proxy takes in absolute form besides http://."""

    type_name = "HTTP forward capability"
    keys, made = HTTPForwardCapabilityKeys, HTTPForwardCapability

    def build(self, given: Any, node: Node, context: ParseContext) -> HTTPForwardCapability:
        def said(one: bool | None) -> bool:
            return bool(given.forward_ftp) if one is None else one

        return HTTPForwardCapability(
            forward_https=given.forward_https,
            forward_ftp_get=said(given.forward_ftp_get),
            forward_ftp_put=said(given.forward_ftp_put),
            forward_ftp_del=said(given.forward_ftp_del),
        )

    def dump(self, value: HTTPForwardCapability) -> Any:
        return {name: getattr(value, name) for name in HTTPForwardCapability.__slots__}


class ForwardedHeaderValue(Value[ForwardedHeader]):
    """none, classic (X-Forwarded-For), standard (Forwarded, RFC 7239), or a bool, true for classic."""

    type_name = "forwarded header type"
    doc = "none, classic (X-Forwarded-For), standard (Forwarded), or a bool, true for classic."
    _bool = Bool()
    _words = Enum(
        ForwardedHeader,
        {
            "none": ForwardedHeader.DISABLE,
            "disable": ForwardedHeader.DISABLE,
            "classic": ForwardedHeader.CLASSIC,
            "enable": ForwardedHeader.CLASSIC,
            "standard": ForwardedHeader.STANDARD,
            "rfc7239": ForwardedHeader.STANDARD,
        },
    )

    def parse(self, node: Node, context: ParseContext) -> ForwardedHeader:
        try:
            return ForwardedHeader.CLASSIC if self._bool.parse(node, context) else ForwardedHeader.DISABLE
        except ValueProblem:
            return self._words.parse(node, context)

    def json_schema(self) -> dict[str, Any]:
        return {"anyOf": [self._bool.json_schema(), {"type": "string", "pattern": any_case(self._words.words)}]}

    def dump(self, value: ForwardedHeader) -> Any:
        return self._words.dump(value)


class ServerID(Value[str]):
    """What the proxy calls itself in headers: printable ASCII without semicolon and comma."""

    type_name = "HTTP server id"

    def parse(self, node: Node, context: ParseContext) -> str:
        name = only_string(node, self.type_name)
        if not name or len(name) > 255:
            raise ValueProblem(node, "must not be empty" if not name else "must have at most 255 characters")
        if bad := _BAD_SERVER_ID.search(name):
            raise ValueProblem(node, f"character {quote(bad[0])} is not allowed in a server id (printable ASCII without ; and ,)")
        return name

    def json_schema(self) -> dict[str, Any]:
        return {"type": "string", "pattern": "^[ -+.-:<-~-]*$"}


class HeaderName(Value[str]):
    """The name of a header field, lower case."""

    type_name = "HTTP header name"

    def parse(self, node: Node, context: ParseContext) -> str:
        name = only_string(node, self.type_name)
        if not _TOKEN.match(name):
            raise ValueProblem(node, f"{quote(name)} is not a header name (RFC 9110 section 5.1)")
        return name.lower()

    def json_schema(self) -> dict[str, Any]:
        return {"type": "string", "minLength": 1}


class HeaderValue(Str):
    """The value of a header field: no control characters, so no line breaks."""

    type_name = "HTTP header value"

    def __init__(self) -> None:
        super().__init__(max_length=8192)

    def parse(self, node: Node, context: ParseContext) -> str:
        value = super().parse(node, context)
        if bad := _BAD_HEADER_VALUE.search(value):
            raise ValueProblem(node, f"character {quote(bad[0])} is not allowed in a header value")
        return value


class PathAndQuery(Value[str]):
    """The path of a URI with its query, beginning with a slash."""

    type_name = "URI path"

    def parse(self, node: Node, context: ParseContext) -> str:
        path = only_string(node, self.type_name)
        if not path.startswith("/") or len(path) > 8192 or not path.isascii() or not path.isprintable() or " " in path or "#" in path:
            raise ValueProblem(node, f"{quote(path)} is not the path of a URI")
        return path

    def json_schema(self) -> dict[str, Any]:
        return {"type": "string", "pattern": "^/"}
