# SPDX-License-Identifier: Apache-2.0
"""The supervisor's tree: the same nodes as in the workers, made and prepared, never started; beside those that only the supervisor runs.

What a configuration has wrong is found here first, and what can be had only once, the listening sockets, is had here. A reload is prepared
here, then by all workers, and committed only when all of them could.
"""

from __future__ import annotations

from collections import Counter
from contextlib import ExitStack
from typing import TYPE_CHECKING, Any, Protocol

from twisted.application.service import Service
from twisted.logger import Logger

from g3.errors import ConfigError
from g3.tree.offline import within
from g3.tree.plan import Action, Change
from g3.tree.reload import Transition
from g3.tree.root import LAST_WAIT, Root

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from twisted.internet.defer import Deferred

    from g3.tree.root import IConfiguration

log = Logger()


class ICrew(Protocol):
    """Those who serve."""

    async def stage(self, configuration: IConfiguration) -> None:
        """Have all prepare. Raises ConfigError when one cannot; then all of them have rolled back."""

    async def commit(self, configuration: IConfiguration) -> None:
        """Have all go over. Raises ConfigError when they cannot; then all of them are where they were."""

    async def roll_back(self) -> None:
        """Have all forget what was staged."""

    async def all_up(self) -> None:
        """Wait for those who were being brought up meanwhile: they, too, serve what was committed then, or are gone."""


class Keeping(Transition):
    """A transition between nodes that do not run: they are exchanged, and the old ones give back what they took."""

    def __init__(self, tree: Any, changes: Iterable[Change], needed: Iterable[tuple[str, str]], places: Mapping[tuple[str, str], object]) -> None:
        # What is not running cannot be told of a change: it is made anew.
        changes = [
            Change(Action.REPLACE, change.kind, change.name, change.config, change.old) if change.action is Action.UPDATE else change
            for change in changes
        ]
        super().__init__(tree, changes, needed, places)
        self._kept = tree.kept

    def commit(self) -> None:
        for change, node in self._made:
            self._tree.slots.put(change.kind, change.name, node)
            if change.kind in self._kept:
                node.startService()
        self._prepared.clear()
        self._leave()


class Keeper(Root):
    """Root for a supervisor; give it its C{crew} before it begins."""

    crew: ICrew
    #: The kinds whose nodes run here, and in no worker.
    kept: frozenset[str] = frozenset()

    def __init__(self, *arguments: Any, **more: Any) -> None:
        super().__init__(*arguments, **more)
        #: How often the node of a kind and name has begun anew in the workers: then it knows nothing of what it was told before.
        self.begun: Counter[tuple[str, str]] = Counter()

    def _transition(self, configuration: IConfiguration, changes: list[Change]) -> Keeping:
        places = {(kind, name): entry.place for kind, entries in configuration.nodes.items() for name, entry in entries.items()}
        return Keeping(self, changes, configuration.references(), places)

    async def _go(self, configuration: IConfiguration, changes: list[Change]) -> None:
        transition = self._transition(configuration, changes)
        await transition.prepare()
        with ExitStack() as undo:
            undo.callback(transition.discard)
            await self.crew.stage(configuration)
            # The workers accept who is queued, but only we close a socket for good.
            async with self.closing_ports(changes):
                try:
                    if not self.ready:
                        raise ConfigError("shutting down, nothing was changed")
                    # Workers have the same sockets, and may not do that.
                    undo.callback(self.listeners.adjust())
                except ConfigError:
                    await self.crew.roll_back()
                    raise
                await self.crew.commit(configuration)
                if not self.ready:
                    raise ConfigError("shutting down")
                undo.pop_all()
                transition.commit()
                self.begun.update((change.kind, change.name) for change in changes if change.builds or change.retires)
                self.configuration = configuration
                await self.crew.all_up()

    def privilegedStartService(self) -> None:
        """Nothing: nodes that run here are started when the tree begins."""

    def startService(self) -> None:
        """Nothing either."""
        Service.startService(self)  # type: ignore[no-untyped-call]

    def retire(self, kind: str, node: Any) -> None:
        """Give back what C{node} took: the workers have what they need. What runs here is stopped."""
        if kind in self.kept:
            super().retire(kind, node)
            return
        try:
            node.discard()
        except Exception:
            log.failure("discard of {node} failed", node=node)
        self.context.lasting.prune((of, each.name, each.config.type_word) for of in self.kinds for each in self.nodes(of).values())

    def close_servers(self) -> None:
        """Close our descriptors of the listening sockets; workers close theirs."""
        self.ready = False
        for node in list(self.nodes("server").values()):
            self.take("server", node)
            self.retire("server", node)

    def stopService(self) -> Deferred[Any]:
        """Give everything back."""
        self.close_servers()
        for kind in reversed(self.kinds):
            for node in list(self.nodes(kind).values()):
                self.take(kind, node)
                self.retire(kind, node)
        return within(self.context.reactor, self.drained(), LAST_WAIT)
