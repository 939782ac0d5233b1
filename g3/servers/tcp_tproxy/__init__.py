# SPDX-License-Identifier: Apache-2.0
"""The server type tcp_tproxy: connections that the system diverted here go on to where they were going."""

from __future__ import annotations

from g3.servers.tcp_tproxy.config import TCPTproxyConfig
from g3.servers.tcp_tproxy.server import TCPTproxyServer

__all__ = ["TCPTproxyConfig", "TCPTproxyServer"]
