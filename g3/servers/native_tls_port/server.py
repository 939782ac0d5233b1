# SPDX-License-Identifier: Apache-2.0
"""The native_tls_port server."""

from __future__ import annotations

from typing import ClassVar

from g3.servers.native_tls_port.config import NativeTLSPortConfig
from g3.servers.port import NextServerPort


class NativeTLSPortServer(NextServerPort):
    """Hands what is in TLS connections to another server (upstream: configuration/servers/native_tls_port)."""

    schema: ClassVar[type[NativeTLSPortConfig]] = NativeTLSPortConfig
