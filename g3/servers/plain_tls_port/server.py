# SPDX-License-Identifier: Apache-2.0
"""The plain_tls_port server."""

from __future__ import annotations

from typing import ClassVar

from g3.servers.plain_tls_port.config import PlainTLSPortConfig
from g3.servers.port import NextServerPort


class PlainTLSPortServer(NextServerPort):
    """Hands what is in TLS connections to another server (upstream: configuration/servers/plain_tls_port)."""

    schema: ClassVar[type[PlainTLSPortConfig]] = PlainTLSPortConfig
