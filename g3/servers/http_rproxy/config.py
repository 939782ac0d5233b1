# SPDX-License-Identifier: Apache-2.0
"""The keys of an http_rproxy."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

from g3.config.schema import Nested, config_class, key
from g3.config.values.basic import Ascii, Bool
from g3.config.values.duration import Duration
from g3.config.values.http import ForwardedHeaderValue
from g3.config.values.net import HostValue, UpstreamAddr
from g3.config.values.route import HostMatched
from g3.config.values.tls import ClientTLSValue, ServerTLSValue, TicketerValue
from g3.net.options import ForwardedHeader
from g3.proto.http1.headers import is_token
from g3.servers.http.config import HTTPServerConfig

if TYPE_CHECKING:
    from g3.acl.match import HostMatch
    from g3.config.schema import Places
    from g3.net.tls.options import ClientTLSOptions, ServerTLSOptions
    from g3.task import Upstream


@config_class
class HTTPHost:
    """A host that clients may ask for."""

    upstream: Upstream = key(UpstreamAddr(80), doc="Where its requests go; port 80 when none is given.")
    tls_server: ServerTLSOptions | None = key(ServerTLSValue(), default=None, doc="TLS with its clients; global_tls_server by default.")
    tls_client: ClientTLSOptions | None = key(ClientTLSValue(), default=None, doc="TLS with the upstream; an empty map is TLS as it comes.")
    tls_name: str | None = key(HostValue(), default=None, doc="The name the upstream's certificate must be for; the upstream's host by default.")

    def check(self, at: Places) -> None:
        if self.tls_name is not None and self.tls_client is None:
            at.warn("tls_name", "does nothing without tls_client")


@config_class
class HTTPRProxyConfig(HTTPServerConfig):
    """A reverse proxy: stands before HTTP origins, and sends each request to the one that its Host belongs to.

    Clients speak HTTP/1.0 or HTTP/1.1, over TCP or, with enable_tls_server, over TLS.
    """

    type_word: ClassVar[str] = "http_rproxy"

    auth_realm: str = key(Ascii(), default="g3proxy", doc="Realm of the 401 answer.")
    append_forwarded_for: ForwardedHeader = key(
        ForwardedHeaderValue(), default=ForwardedHeader.CLASSIC, doc="How the upstream is told of the client's address."
    )
    hosts: HostMatch[HTTPHost] = key(HostMatched(Nested(HTTPHost)), aliases=("sites",), doc="The hosts that are served.")
    enable_tls_server: bool = key(Bool(), default=False, doc="Speak TLS with clients, by the rules of the host that they ask for.")
    global_tls_server: ServerTLSOptions | None = key(ServerTLSValue(), default=None, doc="TLS for hosts without a tls_server of their own.")
    tls_ticketer: Any = key(TicketerValue(), default=None, doc="Session ticket keys that roll, shared through Redis.")
    client_hello_recv_timeout: float = key(Duration(), default=1.0, unit="seconds", doc="For the whole client hello.")

    def check(self, at: Places) -> None:
        super().check(at)
        own = any(host.tls_server is not None for host in self.hosts.values)
        if self.enable_tls_server and self.global_tls_server is None and not own:
            at.error("enable_tls_server", "enable_tls_server needs global_tls_server, or a host with a tls_server")
        if not self.enable_tls_server and (own or self.global_tls_server is not None):
            at.warn("enable_tls_server", "is off: tls_server and global_tls_server do nothing")
        if self.server_id is not None and not is_token(self.server_id.encode("latin-1")):
            at.warn("server_id", 'is no token (RFC 9110 section 5.6.2): in Via what cannot stand there is a "-"')
