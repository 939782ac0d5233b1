# SPDX-License-Identifier: Apache-2.0
"""The http_proxy server: what its connections share."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

from g3.net.tls.context import client_context
from g3.servers.http_proxy.config import HTTPProxyConfig
from g3.servers.http_proxy.connection import ClientConnection
from g3.servers.http_proxy.target import Targets
from g3.servers.http_proxy.upstream import SharedPool
from g3.servers.tasks import TaskServer

if TYPE_CHECKING:
    from g3.net.options import UpstreamKeepalive
    from g3.net.tls.provider import ClientTLS
    from g3.task import ClientInfo
    from g3.tree.node import NodeContext


class HTTPProxyServer(TaskServer):
    """A forward proxy for HTTP/1.0 and HTTP/1.1 clients, over TCP or TLS (upstream: configuration/servers/http_proxy)."""

    schema = HTTPProxyConfig
    config: HTTPProxyConfig
    alpn: ClassVar[tuple[str, ...]] = ("http/1.1", "http/1.0")

    def __init__(self, config: HTTPProxyConfig, context: NodeContext) -> None:
        super().__init__(config, context)
        self.targets = Targets(config)
        self.tls_client: ClientTLS | None = None
        self.keepalive: UpstreamKeepalive = config.http_forward_upstream_keepalive
        self.shared_pool = SharedPool(context.timers, self.clock, self.keepalive.idle_expire) if self.keepalive.shared else None
        self.custom_headers = config.server_id is not None or config.echo_chained_info

    def prepare(self) -> None:
        self.tls_client = client_context(self.config.tls_client)
        super().prepare()

    def serve(self, stream: Any, info: ClientInfo) -> ClientConnection:
        return ClientConnection(self, stream, info)

    def stop(self) -> Any:
        if self.shared_pool is not None:
            self.shared_pool.close()
        return super().stop()
