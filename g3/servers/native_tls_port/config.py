# SPDX-License-Identifier: Apache-2.0
"""The keys of a native_tls_port."""

from __future__ import annotations

from typing import ClassVar

from g3.config.schema import config_class
from g3.servers.port import TLSPortConfig


@config_class
class NativeTLSPortConfig(TLSPortConfig):
    """Takes TLS connections and hands what is in them to another server.

    The keys of tls_server are those of upstream with OpenSSL.
    """

    type_word: ClassVar[str] = "native_tls_port"
