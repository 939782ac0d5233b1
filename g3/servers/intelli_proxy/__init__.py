# SPDX-License-Identifier: Apache-2.0
"""The server type intelli_proxy: a port before an HTTP and a SOCKS server."""

from __future__ import annotations

from g3.servers.intelli_proxy.config import IntelliProxyConfig
from g3.servers.intelli_proxy.server import IntelliProxyServer

__all__ = ["IntelliProxyConfig", "IntelliProxyServer"]
