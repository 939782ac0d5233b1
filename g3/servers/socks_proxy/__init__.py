# SPDX-License-Identifier: Apache-2.0
"""The socks_proxy server.

C{connection} reads the negotiation and says which exchange follows: a C{connect} tunnel or a C{udp} session.
"""

from __future__ import annotations

from g3.servers.socks_proxy.server import SocksProxyServer

__all__ = ["SocksProxyServer"]
