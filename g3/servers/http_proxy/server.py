# SPDX-License-Identifier: Apache-2.0
"""The http_proxy server: what its connections share."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

from g3.net.tls.context import client_context
from g3.relay.idle import IdleWatch
from g3.servers.base import ListeningServer
from g3.servers.destination import DestinationFilter
from g3.servers.http_proxy.config import HTTPProxyConfig
from g3.servers.http_proxy.connection import ClientConnection
from g3.servers.http_proxy.target import Targets
from g3.servers.http_proxy.upstream import SharedPool

if TYPE_CHECKING:
    from g3.errors import ProtocolError
    from g3.net.options import UpstreamKeepalive
    from g3.net.tls.provider import ClientTLS
    from g3.task import ClientInfo
    from g3.tree.node import NodeContext


class HTTPProxyServer(ListeningServer):
    """A forward proxy for HTTP/1.0 and HTTP/1.1 clients, over TCP or TLS (upstream: configuration/servers/http_proxy)."""

    schema = HTTPProxyConfig
    config: HTTPProxyConfig
    alpn: ClassVar[tuple[str, ...]] = ("http/1.1", "http/1.0")

    def __init__(self, config: HTTPProxyConfig, context: NodeContext) -> None:
        super().__init__(config, context)
        self._escaper = context.slot("escaper", config.escaper)
        self.destination = DestinationFilter(config.dst_host_filter_set, config.dst_port_filter)
        self.targets = Targets(config)
        self.tls_client: ClientTLS | None = None
        self.keepalive: UpstreamKeepalive = config.http_forward_upstream_keepalive
        self.shared_pool = SharedPool(context.timers, self.clock, self.keepalive.idle_expire) if self.keepalive.shared else None
        self.custom_headers = config.server_id is not None or config.echo_chained_info
        self.task_log = context.logs.logger("task", config.name, config.log_type, shared=config.shared_logger)
        self.idle = IdleWatch(context.timers, config.idle_interval)
        self._next_idle = self.clock() + config.idle_interval
        self._next_log = self.clock() + (config.task_log_flush_interval or 0)

    def prepare(self) -> None:
        self.tls_client = client_context(self.config.tls_client)
        super().prepare()

    @property
    def escaper(self) -> Any:
        """The escaper of now: a reload swaps it."""
        return self._escaper.node

    def serve(self, stream: Any, info: ClientInfo) -> ClientConnection:
        return ClientConnection(self, stream, info)

    def stop(self) -> Any:
        if self.shared_pool is not None:
            self.shared_pool.close()
        return super().stop()

    def refused(self, info: ClientInfo, error: ProtocolError) -> None:
        """One line for what was no request of ours, at debug level: hostile clients must not fill a log."""
        self.log.debug("{server}: {client}: {error}", server=self.name, client=info.client, error=error)

    def _tick(self) -> None:
        super()._tick()
        now, config = self.clock(), self.config
        if now >= self._next_idle:
            self._next_idle = now + config.idle_interval
            self._each_exchange("idle_tick")
        if config.task_log_flush_interval and self.task_log is not None and now >= self._next_log:
            self._next_log = now + config.task_log_flush_interval
            self._each_exchange("periodic")

    def _each_exchange(self, method: str) -> None:
        for connection in list(self.connections):
            exchange = getattr(connection, "exchange", None)
            if exchange is not None:
                getattr(exchange, method)()
