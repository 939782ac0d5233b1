# SPDX-License-Identifier: Apache-2.0
"""The intelli_proxy server: whom a client wants to talk to, by its first byte."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

from g3.net.look import LookEnded, LookTimeout, look
from g3.servers.intelli_proxy.config import IntelliProxyConfig
from g3.servers.port import PortServer

if TYPE_CHECKING:
    from g3.task import ClientInfo
    from g3.tree.node import NodeContext
    from g3.tree.slots import Slot

#: SOCKS 4 and 5; and the letters that the methods of HTTP begin with.
SOCKS, HTTP = b"\x04\x05", b"GHPDCOT"


class IntelliProxyServer(PortServer):
    """Hands HTTP clients to one server and SOCKS clients to another (upstream: configuration/servers/intelli_proxy).

    The byte is looked at, not taken. What is neither is closed, as is a client that says nothing.
    """

    schema: ClassVar[type[IntelliProxyConfig]] = IntelliProxyConfig
    config: IntelliProxyConfig

    def __init__(self, config: IntelliProxyConfig, context: NodeContext) -> None:
        super().__init__(config, context)
        self._http = context.slot("server", config.http_server)
        self._socks = context.slot("server", config.socks_server)

    def _begin(self, stream: Any, info: ClientInfo) -> None:
        self._run(self._detect(stream, info))

    async def _detect(self, stream: Any, info: ClientInfo) -> None:
        first = b""

        def judge(data: bytes) -> int:
            nonlocal first
            first = data[:1]
            return 0

        try:
            await look(stream, self.context.timers, self.config.protocol_detection_timeout, judge)
        except (LookTimeout, LookEnded):
            self.listen_stats.failed += 1
            return
        slot = self._slot_of(first)
        if slot is None:
            self.listen_stats.failed += 1
            stream.loseConnection()
        else:
            slot.node.accept(stream, info)

    def _slot_of(self, first: bytes) -> Slot | None:
        """Who serves a client that begins with this byte."""
        if first in SOCKS:
            return self._socks
        return self._http if first in HTTP else None
