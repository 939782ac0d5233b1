# SPDX-License-Identifier: Apache-2.0
"""The tcp_stream server: which upstream a connection goes to, and how."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

from g3.errors import MethodUnavailable
from g3.interfaces import ITLSConnect
from g3.net.tls.context import client_context
from g3.pick import Selector
from g3.servers.stream import StreamConnection, StreamServer
from g3.servers.tcp_stream.config import StreamKeys, TCPStreamConfig

if TYPE_CHECKING:
    from g3.net.tls.provider import ClientTLS
    from g3.task import ClientInfo, Upstream
    from g3.tree.node import NodeContext


class TCPStreamServer(StreamServer):
    """Joins clients with upstreams (upstream: configuration/servers/tcp_stream).

    @ivar tls_client: what to speak with the upstream, None for plain TCP. @ivar tls_name: whom its certificate must be for.
    """

    schema: ClassVar[type[StreamKeys]] = TCPStreamConfig
    config: StreamKeys

    def __init__(self, config: StreamKeys, context: NodeContext) -> None:
        super().__init__(config, context, by_facts=config.auth_by_client_ip)
        self._upstreams = Selector(config.upstream, config.upstream_pick_policy)
        self.tls_client: ClientTLS | None = None
        self.tls_name = config.upstream_tls_name or config.upstream[0].value.host

    def prepare(self) -> None:
        if self.config.tls_client is not None:
            self.tls_client = client_context(self.config.tls_client)
        super().prepare()

    def serve(self, stream: Any, info: ClientInfo) -> FixedStream:
        return FixedStream(self, stream, info)

    def upstream_for(self, info: ClientInfo) -> Upstream:
        """The upstream of a client."""
        return self._upstreams.pick(f"{info.client[0]} {info.server[0]}".encode())


class FixedStream(StreamConnection):
    """A connection whose upstream its server knows from the start."""

    __slots__ = ()
    server: TCPStreamServer

    def opened(self) -> None:
        self.begin(self.server.upstream_for(self.info), self.server.user_of(self.info.client_ip))

    async def reach(self, escaper: Any) -> Any:
        tls = self.server.tls_client
        if tls is None:
            return await super().reach(escaper)
        way = ITLSConnect(escaper, None)
        if way is None:
            raise MethodUnavailable
        return await way.tls_connect(self.task, tls, self.server.tls_name)
