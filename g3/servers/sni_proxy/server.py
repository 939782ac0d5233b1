# SPDX-License-Identifier: Apache-2.0
"""The sni_proxy server: who may go where, once a client has said where it wants to go."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

from g3.errors import ClosedByClient, DestDenied, G3Error, InternalServerError
from g3.servers.sni_proxy.config import SNIProxyConfig
from g3.servers.sni_proxy.first import FirstBytes
from g3.servers.stream import StreamConnection, StreamServer

if TYPE_CHECKING:
    from g3.task import ClientInfo, Upstream
    from g3.tree.node import NodeContext


class SNIProxyServer(StreamServer):
    """Joins clients with the hosts they name (upstream: configuration/servers/sni_proxy). One in TLS with a port before it is closed."""

    schema: ClassVar[type[SNIProxyConfig]] = SNIProxyConfig
    takes_tls: ClassVar[bool] = False
    config: SNIProxyConfig

    def __init__(self, config: SNIProxyConfig, context: NodeContext) -> None:
        super().__init__(config, context, by_facts=config.auth_by_client_ip or config.auth_by_server_name)
        self.transparent = config.listen_transparent

    def serve(self, stream: Any, info: ClientInfo) -> SNIConnection:
        return SNIConnection(self, stream, info)

    def admit(self, asked: Upstream, info: ClientInfo) -> tuple[Upstream, Any]:
        """Where a client is led that asks for C{asked}, and as which user.

        @raise TaskError: nowhere.
        """
        upstream, hosts = asked, self.config.allowed_hosts
        if hosts is not None:
            host = hosts.get(asked.host, asked.ip)
            if host is None:
                raise DestDenied
            upstream = host.redirect(asked)
        fact = info.client_ip if self.config.auth_by_client_ip else upstream.ip or upstream.host
        return upstream, self.user_of(fact)


class SNIConnection(StreamConnection):
    """A client that says first whom it wants."""

    __slots__ = ("_first", "deadline")
    server: SNIProxyServer

    def opened(self) -> None:
        config = self.server.config
        self.deadline = self.accepted + config.request_wait_timeout
        self._first: FirstBytes | None = FirstBytes(
            self.info.server[1], config.tls_max_client_hello_size, config.protocol_inspection.data0_size_limit.http_request_uri
        )

    def dataReceived(self, data: bytes) -> None:
        first = self._first
        if first is None or self.task is not None:
            super().dataReceived(data)
            return
        if not first.data:
            self.deadline = self.server.clock() + self.server.config.request_recv_timeout
        try:
            asked = first.feed(data)
            if asked is not None:
                upstream, user = self.server.admit(asked, self.info)
                self.begin(upstream, user)
        except G3Error as error:
            self.turn_away(error)
        except Exception as error:
            self.server.failed(error)
            self.turn_away(InternalServerError())

    def greet(self) -> bytes:
        first, self._first = self._first, None
        return b"" if first is None else bytes(first.data)

    def readConnectionLost(self) -> None:
        if self.exchange is None:
            self.turn_away(ClosedByClient())

    def tick(self, now: float) -> None:
        if self.task is None and self.deadline <= now:
            self.close()
