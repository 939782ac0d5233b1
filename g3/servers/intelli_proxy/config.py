# SPDX-License-Identifier: Apache-2.0
"""The keys of an intelli_proxy."""

from __future__ import annotations

from typing import ClassVar

from g3.config.schema import config_class, key
from g3.config.values.basic import Int, Reference
from g3.config.values.duration import Duration
from g3.servers.port import PortConfig


@config_class
class IntelliProxyConfig(PortConfig):
    """One port for HTTP and SOCKS proxy clients: the first byte says which server a connection is handed to."""

    type_word: ClassVar[str] = "intelli_proxy"

    http_server: str = key(Reference("server"), doc="The server of HTTP clients. While there is none of that name they are closed.")
    socks_server: str = key(Reference("server"), doc="The server of SOCKS clients. While there is none of that name they are closed.")
    protocol_detection_timeout: float = key(Duration(), default=4.0, unit="seconds", doc="For the first byte to arrive.")
    protocol_detection_channel_size: int | None = key(Int(), default=None, deprecated="it has no effect")
    protocol_detection_max_jobs: int | None = key(Int(), default=None, deprecated="it has no effect")
