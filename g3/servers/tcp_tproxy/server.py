# SPDX-License-Identifier: Apache-2.0
"""The tcp_tproxy server: the address a client wanted is the upstream, unless that is the server itself."""

from __future__ import annotations

import errno
import socket
from typing import TYPE_CHECKING, Any, ClassVar

from g3.errors import DestDenied
from g3.servers.stream import StreamConnection, StreamServer
from g3.servers.tcp_tproxy.config import TCPTproxyConfig
from g3.task import Upstream

if TYPE_CHECKING:
    from g3.task import ClientInfo, SocketAddress
    from g3.tree.node import NodeContext


def is_of_this_host(ip: str) -> bool:
    """Whether C{ip} is an address of this host, as far as it lets itself be asked: one that allows foreign binds says so of every address."""
    family = socket.AF_INET6 if ":" in ip else socket.AF_INET
    with socket.socket(family, socket.SOCK_DGRAM) as probe:
        try:
            probe.bind((ip, 0))
        except OSError as error:
            return error.errno != errno.EADDRNOTAVAIL
    return True


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
        upstream = server.upstream_for(info.server)
        fact = info.client_ip if server.config.auth_by_client_ip else upstream.ip
        assert fact is not None
        self.begin(upstream, server.user_of(fact))
