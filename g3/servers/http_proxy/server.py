# SPDX-License-Identifier: Apache-2.0
"""The http_proxy server."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

from g3.net.tls.context import client_context
from g3.servers.http.headers import CustomHeaders
from g3.servers.http.proxy_status import ProxyStatus
from g3.servers.http.server import HTTPServer
from g3.servers.http_proxy.config import HTTPProxyConfig
from g3.servers.http_proxy.connection import ProxyConnection
from g3.servers.http_proxy.http2 import HTTP2Connection
from g3.servers.http_proxy.target import Targets

if TYPE_CHECKING:
    from g3.task import ClientInfo
    from g3.tree.node import NodeContext


class HTTPProxyServer(HTTPServer):
    """A forward proxy (upstream: configuration/servers/http_proxy)."""

    schema: ClassVar[type[HTTPProxyConfig]] = HTTPProxyConfig
    config: HTTPProxyConfig
    targets: Targets

    def __init__(self, config: HTTPProxyConfig, context: NodeContext) -> None:
        super().__init__(config, context)
        if config.enable_http2:
            self.alpn = ("h2", *self.alpn)
        if config.server_id is not None or config.echo_chained_info:
            self.tells_local = True
            self.custom_headers = CustomHeaders(
                config.server_id, mark_upstream=config.http_forward_mark_upstream, echo_chained=config.echo_chained_info
            )
        if config.proxy_status:
            self.proxy_status = ProxyStatus(config.server_id or config.name)

    def prepare(self) -> None:
        self.targets = Targets(self.config, client_context(self.config.tls_client))
        super().prepare()

    def serve(self, stream: Any, info: ClientInfo) -> ProxyConnection | HTTP2Connection:
        if self.config.enable_http2 and getattr(stream, "alpn", "") == "h2":
            return HTTP2Connection(self, stream, info, self.targets)
        return ProxyConnection(self, stream, info, self.targets)
