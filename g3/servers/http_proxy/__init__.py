# SPDX-License-Identifier: Apache-2.0
"""The http_proxy server.

C{connection} reads requests, C{target} says where one goes, C{exchange} is one request in the making: C{forward} or C{connect}.
"""

from __future__ import annotations

from g3.servers.http_proxy.server import HTTPProxyServer

__all__ = ["HTTPProxyServer"]
