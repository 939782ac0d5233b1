# SPDX-License-Identifier: Apache-2.0
"""The socks_proxy server: what its connections share."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from g3.servers.socks_proxy.config import SocksProxyConfig
from g3.servers.socks_proxy.connection import SocksConnection
from g3.servers.tasks import TaskServer

if TYPE_CHECKING:
    from g3.task import ClientInfo


class SocksProxyServer(TaskServer):
    """A proxy for SOCKS 4, 4a and 5 clients (upstream: configuration/servers/socks_proxy)."""

    schema = SocksProxyConfig
    config: SocksProxyConfig
    tells_local = True

    def serve(self, stream: Any, info: ClientInfo) -> SocksConnection:
        return SocksConnection(self, stream, info)
