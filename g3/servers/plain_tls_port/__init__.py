# SPDX-License-Identifier: Apache-2.0
"""The server type plain_tls_port: a TLS port before another server."""

from __future__ import annotations

from g3.servers.plain_tls_port.config import PlainTLSPortConfig
from g3.servers.plain_tls_port.server import PlainTLSPortServer

__all__ = ["PlainTLSPortConfig", "PlainTLSPortServer"]
