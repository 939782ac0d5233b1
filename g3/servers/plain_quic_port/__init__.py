# SPDX-License-Identifier: Apache-2.0
"""The server type plain_quic_port: QUIC connections whose streams go to another server."""

from __future__ import annotations

from g3.servers.plain_quic_port.config import PlainQUICPortConfig
from g3.servers.plain_quic_port.server import PlainQUICPortServer

__all__ = ["PlainQUICPortConfig", "PlainQUICPortServer"]
