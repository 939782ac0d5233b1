# SPDX-License-Identifier: Apache-2.0
"""The socks_proxy server: what its connections share."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from g3.servers.socks_proxy.config import SocksProxyConfig
from g3.servers.socks_proxy.connection import SocksConnection
from g3.servers.tasks import TaskServer

if TYPE_CHECKING:
    from g3.task import ClientInfo
    from g3.tree.node import NodeContext


class SocksProxyServer(TaskServer):
    """A proxy for SOCKS 4, 4a and 5 clients (upstream: configuration/servers/socks_proxy)."""

    schema = SocksProxyConfig
    config: SocksProxyConfig

    def __init__(self, config: SocksProxyConfig, context: NodeContext) -> None:
        super().__init__(config, context)
        self._users = None if config.user_group is None else context.slot("user_group", config.user_group)

    @property
    def users(self) -> Any:
        """The user group of now, None where anybody may use the server."""
        return None if self._users is None else self._users.node

    def serve(self, stream: Any, info: ClientInfo) -> SocksConnection:
        return SocksConnection(self, stream, info)
