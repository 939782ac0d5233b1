# SPDX-License-Identifier: Apache-2.0
"""Where a request wants to go, and the request head that goes there."""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING

from g3.errors import ProtocolError
from g3.proto.http1.headers import HTTPError
from g3.proto.http1.uri import ABSOLUTE, AUTHORITY, PORTS, authority, parse_authority, parse_target, parse_well_known
from g3.task import PathSelection, Upstream

if TYPE_CHECKING:
    from g3.proto.http1.request import Request
    from g3.proto.http1.uri import Target as URITarget
    from g3.servers.http_proxy.config import HTTPProxyConfig

_FORWARDED = {b"forwarded", b"x-forwarded-for"}


@lru_cache(maxsize=4096)
def _upstream(host: str, port: int) -> Upstream:
    return Upstream(host, port)


class Target:
    """The upstream of a request and how to spell it. C{path} selects among the escaper's ways out."""

    __slots__ = ("connect", "path", "scheme", "tls_name", "upstream", "uri")

    def __init__(self, uri: URITarget, tls_name: str, path: PathSelection | None) -> None:
        self.uri = uri
        self.connect = uri.form == AUTHORITY
        self.scheme = uri.scheme
        self.upstream = _upstream(uri.host, uri.port)
        self.tls_name = tls_name
        self.path = path

    def head(self, request: Request, absolute: bool, header_lines: bytes, keep: bool) -> bytes:
        """The whole head of the request to send: C{absolute} for a next proxy, C{keep} to ask for a persistent connection."""
        if not keep:
            connection = b"Connection: close\r\n" if request.te is None else b"Connection: close, TE\r\n"
        elif request.version == 10:
            connection = b"Connection: keep-alive\r\n"
        else:
            connection = b"" if request.te is None else b"Connection: TE\r\n"
        return b"%b %b HTTP/1.%d\r\n%b\r\n%b%b\r\n" % (
            request.method,
            self.uri.absolute() if absolute else self.uri.path_query,
            request.version - 10,
            b"\r\n".join(request.forward_lines),
            header_lines,
            connection,
        )


class Targets:
    """Finds the target of a request by the rules of one server's configuration, and rewrites the head as they ask."""

    def __init__(self, config: HTTPProxyConfig) -> None:
        self._local_names = frozenset(config.local_server_name)
        self._custom_host = config.allow_custom_host
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
        if uri.form != AUTHORITY:
            uri = self._forwarded(request, uri)
        path = self._path_selection(request) if self._path_header is not None else None
        if not self._custom_host and request.host and self._host_name(request) != uri.host:
            raise ProtocolError("Host does not match the request target", 409)
        tls_name = (self._host_name(request) or uri.host) if uri.scheme == "https" else ""
        return Target(uri, tls_name, path)

    def _forwarded(self, request: Request, uri: URITarget) -> URITarget:
        if request.upgrade is not None:
            raise HTTPError("Upgrade is not supported", 501)
        if uri.form != ABSOLUTE or (self._local_names and self._host_name(request) in self._local_names):
            uri = self._local(request, uri)
        if uri.scheme == "ftp":
            raise HTTPError("ftp is not supported", 501)
        if not request.host:
            request.set_host(self._authority(uri))
        if self._steal:
            request.drop(_FORWARDED)
        if self._drop_port and uri.port == PORTS[uri.scheme]:
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

    def _path_selection(self, request: Request) -> PathSelection | None:
        """The number id a client asks for; the header is for us alone."""
        name = self._path_header or b""
        value = request.get(name)
        if value is None:
            return None
        request.remove(name)
        if not value.isdigit() or len(value) > 18:
            raise HTTPError("bad egress path selection")
        return PathSelection(number=int(value))
