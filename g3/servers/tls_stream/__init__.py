# SPDX-License-Identifier: Apache-2.0
"""The server type tls_stream: a tcp_stream whose clients speak TLS."""

from __future__ import annotations

from g3.servers.tls_stream.config import TLSStreamConfig
from g3.servers.tls_stream.server import TLSStreamServer

__all__ = ["TLSStreamConfig", "TLSStreamServer"]
