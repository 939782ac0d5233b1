# SPDX-License-Identifier: Apache-2.0
"""An escaper that sends every task to one host, whatever its client asked for."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

from twisted.internet.defer import Deferred
from zope.interface import implementer

from g3.config.node import EscaperConfig
from g3.config.schema import config_class, key
from g3.config.values.basic import Bool
from g3.config.values.net import SocketAddr
from g3.errors import ConfigError, ConnectError
from g3.interfaces import IEscaper, ITCPConnect
from g3.net.connect import connect_tcp
from g3.net.transport import Stream
from g3.tree.node import Node

if TYPE_CHECKING:
    from socket import socket

    from g3.task import SocketAddress, Task


@config_class
class FixedHostConfig(EscaperConfig):
    """Sends every task to one host."""

    type_word: ClassVar[str] = "acme_fixed_host"
    host: SocketAddress = key(SocketAddr(), doc="Where all tasks go.")
    ask_first: bool = key(Bool(), default=False, doc="Whether the host must answer before the escaper is used.")


@implementer(IEscaper, ITCPConnect)
class FixedHostEscaper(Node):
    """Connects to C{host}."""

    schema: ClassVar[Any] = FixedHostConfig

    def prepare(self) -> Deferred[None] | None:
        """Takes its time when the host is to be asked."""
        return Deferred.fromCoroutine(self._check()) if self.config.ask_first else None

    async def _check(self) -> None:
        try:
            sock = await self._connect()
        except ConnectError as error:
            raise ConfigError(f'escaper "{self.name}": {error}') from error
        sock.close()

    async def _connect(self) -> socket:
        return await connect_tcp(self.context.reactor, self.context.timers, self.config.host, timeout=10.0)

    async def tcp_connect(self, task: Task) -> Stream:
        """ITCPConnect."""
        task.connect.escaper = self.config.name
        return Stream(self.context.reactor, await self._connect())
