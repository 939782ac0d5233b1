# SPDX-License-Identifier: Apache-2.0
"""The server type plain_tcp_port: a TCP port before another server."""

from __future__ import annotations

from g3.servers.plain_tcp_port.config import PlainTCPPortConfig
from g3.servers.plain_tcp_port.server import PlainTCPPortServer

__all__ = ["PlainTCPPortConfig", "PlainTCPPortServer"]
