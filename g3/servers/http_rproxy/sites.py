# SPDX-License-Identifier: Apache-2.0
"""Which host a request is for, by whose rules its connection must be made, and the head that goes to its upstream."""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING, Any

from g3.net.options import ForwardedHeader
from g3.net.tls.context import client_context
from g3.proto.http1.headers import HTTPError
from g3.proto.http1.hops import came_by, forwarded, pseudonym, via_line, x_forwarded_for
from g3.proto.http1.uri import ABSOLUTE, AUTHORITY, authority, parse_authority, parse_target
from g3.proto.http1.uri import Target as URITarget
from g3.proto.tls.clienthello import TLSError
from g3.servers.http.target import Target
from g3.task import parse_ip

if TYPE_CHECKING:
    from collections.abc import Callable

    from g3.net.tls.options import ServerTLSOptions
    from g3.net.tls.provider import ServerTLS
    from g3.proto.http1.request import Request
    from g3.servers.http_rproxy.config import HTTPHost, HTTPRProxyConfig
    from g3.task import ClientInfo

#: The port of an http:// URI.
PORT = 80


class Site:
    """A host with its TLS made ready.

    @ivar tls: how clients must speak TLS, None where they need not. @ivar demands_certificate: whether that asks them for a certificate.
    """

    __slots__ = ("demands_certificate", "tls", "tls_client", "tls_name", "upstream")

    def __init__(self, host: HTTPHost, tls: ServerTLS | None, demands_certificate: bool) -> None:
        """@raise ConfigError: its TLS cannot be had."""
        self.upstream = host.upstream
        self.tls = tls
        self.demands_certificate = demands_certificate
        self.tls_client = None if host.tls_client is None else client_context(host.tls_client)
        self.tls_name = host.tls_name or host.upstream.host


class SiteTarget(Target):
    """Logged as the client wrote it, as upstream does."""

    __slots__ = ()

    def logged(self, request: Request) -> bytes:
        return request.target


class Sites:
    """The hosts of one server."""

    def __init__(self, config: HTTPRProxyConfig, serve_tls: Callable[[ServerTLSOptions], ServerTLS]) -> None:
        """@raise ConfigError: the TLS of one cannot be had."""
        #: Hosts with the same rules have the same TLS.
        self._serve_tls = lru_cache(maxsize=None)(serve_tls)
        shared = config.global_tls_server if config.enable_tls_server else None
        self._enable_tls = config.enable_tls_server
        self._global = None if shared is None else self._serve_tls(shared)
        self._global_demands = shared is not None and shared.enable_client_auth
        self._hosts = config.hosts.map(self._site)
        self._pseudonym = None if config.server_id is None else pseudonym(config.server_id)
        self._append = config.append_forwarded_for

    def _site(self, host: HTTPHost) -> Site:
        own = host.tls_server
        if not self._enable_tls or own is None:
            return Site(host, self._global, self._global_demands)
        return Site(host, self._serve_tls(own), own.enable_client_auth)

    def tls_for(self, name: str) -> ServerTLS:
        """The TLS to speak with a client that asks for C{name}, "" for nobody: that of the host, or the global one.

        @raise TLSError: there is none.
        """
        site = self._hosts.get(name) if name else self._hosts.default
        tls = self._global if site is None else site.tls
        if tls is None:
            raise TLSError("no host of that name speaks TLS")
        return tls

    def read(self, request: Request) -> tuple[str, URITarget]:
        """The host that is asked for, and the target of the request.

        @raise HTTPError: it is no request for a reverse proxy, or came by here before; 400, 409, 501, 508.
        """
        uri = parse_target(request.method, request.target)
        if uri.form == AUTHORITY:
            raise HTTPError("CONNECT is not for a reverse proxy", 501)
        if request.upgrade is not None:
            raise HTTPError("Upgrade is not supported", 501)
        if not request.host:
            raise HTTPError("no Host")
        host, port = parse_authority(request.host, PORT)
        if uri.form == ABSOLUTE:
            self._agree(request, uri, host, port)
        name = self._pseudonym or _bracketed(host)
        if came_by(request.forward_lines, name):
            raise HTTPError("the request came by here before", 508)
        request.forward_lines.append(via_line(request.version, name))
        return host, uri

    @staticmethod
    def _agree(request: Request, uri: URITarget, host: str, port: int) -> None:
        """An absolute target names the same host; what it says of the port counts before Host (RFC 9112 section 3.2.2)."""
        if uri.scheme != "http":
            raise HTTPError("scheme not supported", 501)
        if uri.host != host:
            raise HTTPError("Host does not match the request target", 409)
        if uri.port != port:
            request.set_host(_bracketed(host) if uri.port == PORT else authority(host, uri.port))

    def hop_lines(self, info: ClientInfo) -> tuple[bytes, ...]:
        """The lines (no CRLF) that tell an upstream of a client."""
        if self._append is ForwardedHeader.CLASSIC:
            return (x_forwarded_for(info.client),)
        return (forwarded(info.client, info.server),) if self._append is ForwardedHeader.STANDARD else ()

    def target(self, host: str, uri: URITarget, side: Any) -> SiteTarget:
        """Where the request goes. C{side} is the TLS by which its client came in, None without.

        @raise HTTPError: 400 when there is no such host, 421 when it wants a certificate of its clients and this one was not asked for it: what
            one host lets in is not let in to another (RFC 9110 section 7.4).
        """
        site = self._hosts.get(host, parse_ip(host))
        if site is None:
            raise HTTPError("there is no such host")
        if site.demands_certificate and side is not site.tls:
            raise HTTPError("the client has to make a connection by the rules of this host", 421)
        upstream = site.upstream
        return SiteTarget(URITarget(ABSOLUTE, "http", upstream.host, upstream.port, uri.path_query), site.tls_client, site.tls_name, None)


@lru_cache(maxsize=4096)
def _bracketed(host: str) -> bytes:
    return b"[%b]" % host.encode() if ":" in host else host.encode()
