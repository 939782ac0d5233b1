# SPDX-License-Identifier: Apache-2.0
"""The plain_tcp_port server."""

from __future__ import annotations

from typing import ClassVar

from g3.servers.plain_tcp_port.config import PlainTCPPortConfig
from g3.servers.port import NextServerPort


class PlainTCPPortServer(NextServerPort):
    """Hands TCP connections to another server (upstream: configuration/servers/plain_tcp_port)."""

    schema: ClassVar[type[PlainTCPPortConfig]] = PlainTCPPortConfig
