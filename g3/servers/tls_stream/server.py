# SPDX-License-Identifier: Apache-2.0
"""The tls_stream server."""

from __future__ import annotations

from typing import ClassVar

from g3.servers.tcp_stream.server import TCPStreamServer
from g3.servers.tls_stream.config import TLSStreamConfig


class TLSStreamServer(TCPStreamServer):
    """Joins what is in TLS with upstreams (upstream: configuration/servers/tls_stream). Clients that speak TLS with a port before it are closed."""

    schema: ClassVar[type[TLSStreamConfig]] = TLSStreamConfig
    takes_tls: ClassVar[bool] = False
