# SPDX-License-Identifier: Apache-2.0
"""An escaper that connects to the first IPv4 address of an upstream."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from twisted.internet.defer import Deferred
from zope.interface import implementer

from g3.config.node import EscaperConfig
from g3.config.schema import config_class, key
from g3.config.values.basic import Reference
from g3.config.values.duration import Duration
from g3.errors import ResolveError, ResolveFailed
from g3.interfaces import IEscaper, ITCPConnect
from g3.net.connect import connect_tcp
from g3.net.transport import Stream
from g3.task import parse_ip
from g3.tree.node import Node

if TYPE_CHECKING:
    from g3.task import Task
    from g3.tree.node import NodeContext


@config_class
class FirstConfig(EscaperConfig):
    """Connects to the first IPv4 address of an upstream."""

    type_word: ClassVar[str] = "acme_first"

    resolver: str = key(Reference("resolver"), doc="The resolver for names.")
    timeout: float = key(Duration(), default=10.0, unit="seconds", doc="How long a connect may take.")


@implementer(IEscaper, ITCPConnect)
class FirstEscaper(Node):
    """See L{FirstConfig}."""

    schema = FirstConfig

    def __init__(self, config: FirstConfig, context: NodeContext) -> None:
        super().__init__(config, context)
        self._resolver = context.slot("resolver", config.resolver)

    async def tcp_connect(self, task: Task) -> Stream:
        """ITCPConnect."""
        reactor, notes = self.context.reactor, task.connect
        notes.escaper = self.name
        notes.tries += 1
        began = reactor.seconds()
        try:
            peer = (await self._address(task.upstream.host), task.upstream.port)
            sock = await connect_tcp(reactor, self.context.timers, peer, timeout=self.config.timeout)
        finally:
            notes.spend = reactor.seconds() - began
        notes.peer, notes.local = peer, sock.getsockname()[:2]
        return Stream(reactor, sock, local=notes.local, peer=notes.peer)

    async def _address(self, host: str) -> str:
        if parse_ip(host) is not None:
            return host
        try:
            found = self._resolver.node.query(host, 4)
            return str((await found if isinstance(found, Deferred) else found)[0])
        except ResolveError as error:
            raise ResolveFailed(error) from error
