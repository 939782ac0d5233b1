# SPDX-License-Identifier: Apache-2.0
"""Where a request wants to go."""

from __future__ import annotations

from typing import TYPE_CHECKING

from g3.errors import ProtocolError
from g3.proto.http1.headers import HTTPError
from g3.proto.http1.uri import ABSOLUTE, AUTHORITY, PORTS, authority, parse_authority, parse_masque_udp, parse_target, parse_well_known
from g3.servers.http.target import Target
from g3.task import PathSelection

if TYPE_CHECKING:
    from g3.net.tls.provider import ClientTLS
    from g3.proto.http1.request import Request
    from g3.proto.http1.uri import Target as URITarget
    from g3.servers.http_proxy.config import HTTPProxyConfig

_FORWARDED = {b"forwarded", b"x-forwarded-for"}


class Targets:
    """Finds the target of a request by the rules of one server's configuration, and rewrites the head as they ask."""

    def __init__(self, config: HTTPProxyConfig, tls: ClientTLS | None) -> None:
        """@param tls: for https:// URIs."""
        self._tls = tls
        self._local_names = frozenset(config.local_server_name)
        self._custom_host = config.allow_custom_host
        self._masque_udp = config.enable_masque_udp
        self._drop_port = config.drop_default_port_in_host
        self._steal = config.steal_forwarded_for
        header = config.egress_path_selection_header
        self._path_header = header.lower().encode() if header else None
        self._escaper = config.escaper

    def resolve(self, request: Request) -> Target:
        """Where it goes.

        @raise ProtocolError: 400, 409 or 501, and nothing is done.
        """
        uri = parse_target(request.method, request.target)
        if self._masque_udp and request.upgrade is not None:
            return Target(self._udp(request, uri), None, "", None if self._path_header is None else self._path(request))
        if uri.form != AUTHORITY:
            uri = self._forwarded(request, uri)
        path = None if self._path_header is None else self._path(request)
        if not self._custom_host and request.host and self._host_name(request) != uri.host:
            raise ProtocolError("Host does not match the request target", 409)
        if uri.scheme != "https":
            return Target(uri, None, "", path)
        return Target(uri, self._tls, self._host_name(request) or uri.host, path)

    def _forwarded(self, request: Request, uri: URITarget) -> URITarget:
        if request.upgrade is not None:
            raise HTTPError("Upgrade is not supported", 501)
        if uri.form != ABSOLUTE or (self._local_names and self._host_name(request) in self._local_names):
            uri = self._local(request, uri)
        if not request.host:
            request.set_host(self._authority(uri))
        if self._steal:
            request.drop(_FORWARDED)
        if self._drop_port and uri.scheme != "ftp" and uri.port == PORTS[uri.scheme]:
            self._drop_default_port(request, uri.port)
        return uri

    def _local(self, request: Request, uri: URITarget) -> URITarget:
        """A request to this proxy itself: only well-known URIs that name another target are served."""
        if self._local_names and self._host_name(request) not in self._local_names:
            raise HTTPError("not a local server name", 501)
        uri = parse_well_known(request.method, uri.path_query)
        request.set_host(authority(uri.host, uri.port))
        return uri

    @staticmethod
    def _udp(request: Request, uri: URITarget) -> URITarget:
        """The URI names this proxy in any form it takes, and the upstream in its path (RFC 9298 section 3.2)."""
        if request.version == 10 or (request.upgrade or b"").lower() != b"connect-udp" or uri.form == AUTHORITY:
            raise HTTPError("Upgrade is not supported", 501)
        if request.method != b"GET" or request.body:
            raise HTTPError("CONNECT-UDP is a GET without a body")
        return parse_masque_udp(uri.path_query)

    @staticmethod
    def _host_name(request: Request) -> str:
        return parse_authority(request.host, 0)[0] if request.host else ""

    @staticmethod
    def _authority(uri: URITarget) -> bytes:
        full = authority(uri.host, uri.port)
        return full.rpartition(b":")[0] if uri.port == PORTS[uri.scheme] else full

    @staticmethod
    def _drop_default_port(request: Request, default: int) -> None:
        value = request.host or b""
        name, colon, port = value.rpartition(b":")
        if colon and port.isdigit() and int(port) == default:
            request.set_host(name)

    def _path(self, request: Request) -> PathSelection | None:
        """The number id a client asks for; the header is for us alone."""
        name = self._path_header or b""
        value = request.get(name)
        if value is None:
            return None
        request.remove(name)
        if not value.isdigit() or len(value) > 18:
            raise HTTPError("bad egress path selection")
        return PathSelection(number=int(value))
