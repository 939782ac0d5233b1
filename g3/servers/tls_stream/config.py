# SPDX-License-Identifier: Apache-2.0
"""The keys of a tls_stream."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from g3.config.schema import config_class, key
from g3.config.values.tls import ServerTLSValue
from g3.servers.config import TLSKeys
from g3.servers.tcp_stream.config import StreamKeys

if TYPE_CHECKING:
    from g3.net.tls.options import ServerTLSOptions


@config_class
class TLSStreamConfig(StreamKeys, TLSKeys):
    """Takes TLS connections and joins what is in each with a connection to an upstream, in plain TCP or in TLS."""

    type_word: ClassVar[str] = "tls_stream"

    tls_server: ServerTLSOptions = key(ServerTLSValue(), aliases=("tls",), doc="How to speak TLS with clients.")
