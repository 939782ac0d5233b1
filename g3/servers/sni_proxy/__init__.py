# SPDX-License-Identifier: Apache-2.0
"""The server type sni_proxy: connections go where their first bytes say, and the bytes go along."""

from __future__ import annotations

from g3.servers.sni_proxy.config import SNIProxyConfig
from g3.servers.sni_proxy.server import SNIProxyServer

__all__ = ["SNIProxyConfig", "SNIProxyServer"]
