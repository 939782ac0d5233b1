# SPDX-License-Identifier: Apache-2.0
"""The keys of an http_proxy."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

from g3.auth.name_params import UsernameParams
from g3.config.schema import Nested, config_class, key
from g3.config.values.basic import Ascii, Bool, Int, OneOrMany
from g3.config.values.duration import Duration
from g3.config.values.http import HeaderName, ServerID, UpstreamKeepaliveValue
from g3.config.values.limit import StreamSpeedValue
from g3.config.values.net import HostValue
from g3.config.values.size import Size
from g3.config.values.tls import ClientTLSValue
from g3.net.options import UpstreamKeepalive
from g3.net.tls.options import ClientTLSOptions
from g3.servers.config import KIB, DestinationKeys, TaskServerConfig, TLSKeys
from g3.servers.http_proxy.ftp import FTPClient

if TYPE_CHECKING:
    from g3.config.schema import Places


@config_class
class HTTPProxyConfig(TaskServerConfig, TLSKeys, DestinationKeys):
    """A forward proxy for HTTP clients: absolute-form requests, CONNECT tunnels, and the well-known URIs that name another target.

    Clients speak HTTP/1.0 or HTTP/1.1, over TCP or, with tls_server, over TLS.
    """

    type_word: ClassVar[str] = "http_proxy"

    local_server_name: tuple[str, ...] = key(
        OneOrMany(HostValue()), default=(), doc="Names of this proxy itself: a request whose Host is one of them is for its well-known URIs."
    )
    server_id: str | None = key(ServerID(), default=None, doc="Names this proxy in the X-BD-* response headers, which are off without it.")
    auth_realm: str = key(Ascii(), default="proxy", doc="Realm of the 407 answer.")
    tls_client: ClientTLSOptions = key(ClientTLSValue(), default=ClientTLSOptions(), doc="TLS with the upstream of an https:// URI.")
    ftp_client: FTPClient = key(Nested(FTPClient), default=FTPClient(), doc="FTP over HTTP.")
    username_params: UsernameParams | None = key(
        Nested(UsernameParams),
        default=None,
        aliases=("username_params_to_escaper_addr",),
        doc="Parameters after a user's name that choose the next proxy.",
    )
    req_header_recv_timeout: float = key(
        Duration(), default=30.0, unit="seconds", doc="From the first byte of a request to the end of its head; then the connection closes."
    )
    rsp_header_recv_timeout: float = key(
        Duration(), default=60.0, unit="seconds", doc="From the end of the request to the end of the response head; then 504."
    )
    req_header_max_size: int = key(Size(1024, 1 << 30), default=64 * KIB, unit="bytes", doc="Largest request head; larger ones get 431.")
    rsp_header_max_size: int = key(Size(1024, 1 << 30), default=64 * KIB, unit="bytes", doc="Largest response head; larger ones are a 502.")
    log_uri_max_chars: int = key(Int(0, 1 << 30), default=1024, aliases=("uri_log_max_chars",), doc="Characters of a URI in the log.")
    pipeline_size: int = key(Int(1, 1 << 20), default=10, doc="Requests of one connection that may wait for their turn.")
    pipeline_read_idle_timeout: float = key(Duration(), default=300.0, unit="seconds", doc="How long a connection may wait for its next request.")
    no_early_error_reply: bool = key(Bool(), default=False, doc="Close without an answer what is no valid request.")
    allow_custom_host: bool = key(Bool(), default=True, doc="Let the Host header name another host than the URI; if not, 409.")
    drop_default_port_in_host: bool = key(Bool(), default=False, doc="Take :80 (http) or :443 (https) off the Host header.")
    body_line_max_length: int = key(Int(64, 1 << 20), default=8192, unit="bytes", doc="Longest line of a chunked body.")
    http_forward_upstream_keepalive: UpstreamKeepalive = key(
        UpstreamKeepaliveValue(), default=UpstreamKeepalive(), doc="Upstream connections between two requests: kept at all, how long, for whom."
    )
    http_forward_mark_upstream: bool = key(Bool(), default=False, doc="Add X-BD-Upstream-Id to responses.")
    echo_chained_info: bool = key(Bool(), default=False, doc="Add X-BD-Upstream-Addr and X-BD-Outgoing-IP to responses.")
    egress_path_selection_header: str | None = key(
        HeaderName(), default=None, aliases=("path_selection_header",), doc="Request header with the number that selects a way out; it is taken off."
    )
    steal_forwarded_for: bool = key(Bool(), default=False, doc="Take Forwarded and X-Forwarded-For off requests.")
    untrusted_read_speed_limit: Any = key(StreamSpeedValue(), default=None, doc="Speed at which the body of an unauthenticated request is read.")
    untrusted_read_limit: Any = key(StreamSpeedValue(), default=None, deprecated_for="untrusted_read_speed_limit")

    def check(self, at: Places) -> None:
        super().check(at)
        if self.http_forward_mark_upstream and self.server_id is None:
            at.warn("http_forward_mark_upstream", "does nothing without server_id")
        if self.username_params is not None and self.user_group is None:
            at.error("username_params", "username_params needs a user_group")
