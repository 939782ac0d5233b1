# SPDX-License-Identifier: Apache-2.0
"""The server type native_tls_port: a TLS port before another server."""

from __future__ import annotations

from g3.servers.native_tls_port.config import NativeTLSPortConfig
from g3.servers.native_tls_port.server import NativeTLSPortServer

__all__ = ["NativeTLSPortConfig", "NativeTLSPortServer"]
