# SPDX-License-Identifier: Apache-2.0
"""What the connections of a server that speaks HTTP/1 share."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from g3.servers.http.headers import CustomHeaders
from g3.servers.http.upstream import SharedPool
from g3.servers.tasks import TaskServer

if TYPE_CHECKING:
    from g3.net.options import UpstreamKeepalive
    from g3.proto.http1.request import Request
    from g3.servers.http.config import HTTPServerConfig
    from g3.servers.http.proxy_status import ProxyStatus
    from g3.tree.node import NodeContext


class HTTPServer(TaskServer):
    """A server for HTTP/1.0 and HTTP/1.1 clients, over TCP or TLS.

    @ivar custom_headers: what is added to responses, None for nothing. @ivar proxy_status: says in error answers why, None for nobody.
    """

    config: HTTPServerConfig
    alpn: tuple[str, ...] = ("http/1.1", "http/1.0")

    def __init__(self, config: HTTPServerConfig, context: NodeContext) -> None:
        super().__init__(config, context)
        self.keepalive: UpstreamKeepalive = config.http_forward_upstream_keepalive
        self.shared_pool = SharedPool(context.timers, self.clock, self.keepalive.idle_expire) if self.keepalive.shared else None
        self.proxy_status: ProxyStatus | None = None
        self.custom_headers = None if config.server_id is None else CustomHeaders(config.server_id)

    def keeps(self, request: Request) -> bool:
        """Whether the upstream connection of a request is worth keeping afterwards."""
        return self.keepalive.enable and (request.keep_alive or self.shared_pool is not None)

    def stop(self) -> Any:
        if self.shared_pool is not None:
            self.shared_pool.close()
        return super().stop()
