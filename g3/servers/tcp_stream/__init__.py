# SPDX-License-Identifier: Apache-2.0
"""The server type tcp_stream: a port that leads to one upstream, or to one of several."""

from __future__ import annotations

from g3.servers.tcp_stream.config import TCPStreamConfig
from g3.servers.tcp_stream.server import TCPStreamServer

__all__ = ["TCPStreamConfig", "TCPStreamServer"]
