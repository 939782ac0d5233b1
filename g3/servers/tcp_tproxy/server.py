# SPDX-License-Identifier: Apache-2.0
"""The tcp_tproxy server: the address a client wanted is the upstream, unless that is the server itself."""

from __future__ import annotations

import errno
import socket
from typing import TYPE_CHECKING, Any, ClassVar

from g3.errors import DestDenied
from g3.net.connect import zoned_address
from g3.servers.stream import StreamConnection, StreamServer
from g3.servers.tcp_tproxy.config import TCPTproxyConfig
from g3.task import Upstream, parse_ip

if TYPE_CHECKING:
    from g3.task import ClientInfo, SocketAddress
    from g3.tree.node import NodeContext


def is_of_this_host(ip: str) -> bool:
    """Whether C{ip} is an address of this host, as far as it lets itself be asked: one that allows foreign binds says so of every address. A
    link-local one without its zone cannot be asked for, nor reached: it counts as ours."""
    family = socket.AF_INET6 if ":" in ip else socket.AF_INET
    with socket.socket(family, socket.SOCK_DGRAM) as probe:
        try:
            probe.bind(zoned_address((ip, 0)) if "%" in ip else (ip, 0))
        except OSError as error:
            return error.errno != errno.EADDRNOTAVAIL
    return True


def with_zone(stream: Any, wanted: SocketAddress) -> SocketAddress:
    """The address that a client wanted, a link-local one with the interface at which it came: every interface has all of these addresses."""
    host, port = wanted
    if ":" not in host or stream.socket is None:
        return wanted
    try:
        zone = stream.socket.getsockname()[3]
    except OSError:  # the client is gone already
        return wanted
    return (f"{host}%{zone}", port) if zone else wanted


class TCPTproxyServer(StreamServer):
    """Joins diverted clients with the addresses they wanted (upstream: configuration/servers/tcp_tproxy).

    A client that was not diverted wanted the server itself. To carry that out would make the server its own client, without end.
    """

    schema: ClassVar[type[TCPTproxyConfig]] = TCPTproxyConfig
    transparent = True
    config: TCPTproxyConfig

    def __init__(self, config: TCPTproxyConfig, context: NodeContext) -> None:
        super().__init__(config, context, by_facts=config.auth_by_client_ip or config.auth_by_server_ip)
        assert config.listen is not None
        self._port = config.listen.address[1]

    def serve(self, stream: Any, info: ClientInfo) -> DivertedConnection:
        return DivertedConnection(self, stream, info)

    def upstream_for(self, wanted: SocketAddress) -> Upstream:
        """@raise DestDenied: C{wanted} is this server."""
        if wanted[1] == self._port and is_of_this_host(wanted[0]):
            raise DestDenied("the client was not diverted: it connected to this server itself")
        return Upstream(*wanted)


class DivertedConnection(StreamConnection):
    """A connection to somebody else, which the system gave to us."""

    __slots__ = ()
    server: TCPTproxyServer

    def opened(self) -> None:
        server, info = self.server, self.info
        upstream = server.upstream_for(with_zone(self.stream, info.server))
        fact = info.client_ip if server.config.auth_by_client_ip else parse_ip(info.server[0])
        assert fact is not None
        self.begin(upstream, server.user_of(fact))
