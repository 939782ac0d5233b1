# SPDX-License-Identifier: Apache-2.0
"""The http_rproxy server.

C{sites} says which host a request is for and what becomes of its head; the rest it shares with other servers: L{g3.servers.http}.
"""

from __future__ import annotations

from g3.servers.http_rproxy.server import HTTPRProxyServer

__all__ = ["HTTPRProxyServer"]
