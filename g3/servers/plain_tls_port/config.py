# SPDX-License-Identifier: Apache-2.0
"""The keys of a plain_tls_port."""

from __future__ import annotations

from typing import ClassVar

from g3.config.schema import config_class
from g3.servers.port import TLSPortConfig


@config_class
class PlainTLSPortConfig(TLSPortConfig):
    """Takes TLS connections and hands what is in them to another server.

    Upstream reads tls_server with rustls here; its keys mean the same to the TLS library in use.
    """

    type_word: ClassVar[str] = "plain_tls_port"
