# SPDX-License-Identifier: Apache-2.0
"""The server that closes: it stands where a port server hands its clients on and no server of that name is defined."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

from zope.interface import implementer

from g3.config.node import ServerConfig
from g3.config.schema import config_class
from g3.interfaces import IServer
from g3.metrics.server import ServerStats
from g3.tree.node import Node

if TYPE_CHECKING:
    from g3.task import ClientInfo
    from g3.tree.node import NodeContext


@config_class
class DummyCloseConfig(ServerConfig):
    """Accepts clients from other servers and closes them at once. Does not listen, has no keys (upstream: configuration/servers/dummy_close)."""

    type_word: ClassVar[str] = "dummy_close"


@implementer(IServer)
class DummyCloseServer(Node):
    """Closes every client it is given."""

    schema: ClassVar[Any] = DummyCloseConfig
    config: DummyCloseConfig

    def __init__(self, config: DummyCloseConfig, context: NodeContext) -> None:
        super().__init__(config, context)
        self.online = True
        self.stats: ServerStats = self.lasting("server", "stats", lambda: ServerStats(config.name))

    def stop(self) -> None:
        self.online = False

    def accept(self, stream: Any, client: ClientInfo) -> None:
        self.stats.total_connections += 1
        stream.loseConnection()

    def force_quit(self) -> None:
        """There is no task to end."""
