# SPDX-License-Identifier: Apache-2.0
"""The keys of an http_proxy."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from g3.auth.name_params import UsernameParams
from g3.config.schema import Nested, config_class, key
from g3.config.values.basic import Bool, OneOrMany
from g3.config.values.http import HeaderName
from g3.config.values.net import HostValue
from g3.config.values.tls import ClientTLSValue
from g3.net.tls.options import ClientTLSOptions, SessionCache
from g3.servers.config import AuditKeys, DestinationKeys, TLSKeys
from g3.servers.http.config import HTTPServerConfig
from g3.servers.http_proxy.ftp import FTPClient

if TYPE_CHECKING:
    from g3.config.schema import Places


@config_class
class HTTPProxyConfig(HTTPServerConfig, AuditKeys, TLSKeys, DestinationKeys):
    """A forward proxy for HTTP clients: absolute-form requests, CONNECT tunnels, and the well-known URIs that name another target.

    Clients speak HTTP/1.0 or HTTP/1.1, over TCP or, with tls_server, over TLS; there also HTTP/2 where that is on.
    """

    type_word: ClassVar[str] = "http_proxy"

    local_server_name: tuple[str, ...] = key(
        OneOrMany(HostValue()), default=(), doc="Names of this proxy itself: a request whose Host is one of them is for its well-known URIs."
    )
    tls_client: ClientTLSOptions = key(
        ClientTLSValue(SessionCache.MANY), default=ClientTLSOptions(session_cache=SessionCache.MANY), doc="TLS with the upstream of an https:// URI."
    )
    ftp_client: FTPClient = key(Nested(FTPClient), default=FTPClient(), doc="FTP over HTTP.")
    username_params: UsernameParams | None = key(
        Nested(UsernameParams),
        default=None,
        aliases=("username_params_to_escaper_addr",),
        doc="Parameters after a user's name that choose the next proxy.",
    )
    allow_custom_host: bool = key(Bool(), default=True, doc="Let the Host header name another host than the URI; if not, 409.")
    enable_http2: bool = key(Bool(), default=False, doc="Speak HTTP/2 with clients that want it, by ALPN; needs tls_server. Not of upstream.")
    enable_masque_udp: bool = key(Bool(), default=False, doc="Serve CONNECT-UDP (RFC 9298) over HTTP/1.1; 501 without. Not of upstream.")
    drop_default_port_in_host: bool = key(Bool(), default=False, doc="Take :80 (http) or :443 (https) off the Host header.")
    http_forward_mark_upstream: bool = key(Bool(), default=False, doc="Add X-BD-Upstream-Id to responses.")
    echo_chained_info: bool = key(Bool(), default=False, doc="Add X-BD-Upstream-Addr and X-BD-Outgoing-IP to responses.")
    proxy_status: bool = key(
        Bool(), default=False, doc="Say in a Proxy-Status field (RFC 9209) of error answers made here, by server_id or name, what went wrong."
    )
    egress_path_selection_header: str | None = key(
        HeaderName(), default=None, aliases=("path_selection_header",), doc="Request header with the number that selects a way out; it is taken off."
    )
    steal_forwarded_for: bool = key(Bool(), default=False, doc="Take Forwarded and X-Forwarded-For off requests.")

    def check(self, at: Places) -> None:
        super().check(at)
        if self.http_forward_mark_upstream and self.server_id is None:
            at.warn("http_forward_mark_upstream", "does nothing without server_id")
        if self.enable_http2 and self.tls_server is None:
            at.warn("enable_http2", "does nothing without tls_server")
        if self.username_params is not None and self.user_group is None:
            at.error("username_params", "username_params needs a user_group")
