# SPDX-License-Identifier: Apache-2.0
"""Routes: escapers that only choose another one (followed by L{g3.route})."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from twisted.internet.defer import Deferred
from zope.interface import implementer

from g3.errors import EscaperNotUsable
from g3.interfaces import IRoute
from g3.metrics.escaper import RouteStats
from g3.tree.node import Node

if TYPE_CHECKING:
    from g3.task import Task
    from g3.tree.node import NodeContext


@implementer(IRoute)
class Route(Node):
    """Base of every route: C{choose} in a subclass, counting here (upstream: metrics/escaper, route)."""

    def __init__(self, config: Any, context: NodeContext) -> None:
        super().__init__(config, context)
        self.stats: RouteStats = self.lasting("escaper", "stats", lambda: RouteStats(config.name))

    def choose(self, task: Task) -> Any:
        """The next escaper (the node, not its slot), or a Deferred of it.

        @raise EscaperNotUsable: there is none for this task.
        """
        raise NotImplementedError

    def start(self) -> None:
        self.context.metrics.add(self.stats)

    def stop(self) -> Deferred[Any] | None:
        self.context.metrics.remove(self.stats)
        return None

    def pick(self, task: Task) -> Any:
        """IRoute."""
        task.connect.escaper = self.config.name
        try:
            chosen = self.choose(task)
        except EscaperNotUsable:
            self.stats.failed += 1
            raise
        if isinstance(chosen, Deferred):
            return chosen.addCallbacks(self._passed, self._failed)
        self.stats.passed += 1
        return chosen

    def _passed(self, chosen: Any) -> Any:
        self.stats.passed += 1
        return chosen

    def _failed(self, failure: Any) -> Any:
        self.stats.failed += 1
        return failure


def consistent_key(task: Task) -> bytes:
    """What a hashing pick policy keeps together: the client's address, the user as it was named, the host of the upstream."""
    return f"{task.client.client[0]}\0{task.user_name or ''}\0{task.upstream.host}".encode()
