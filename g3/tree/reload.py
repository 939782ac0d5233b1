# SPDX-License-Identifier: Apache-2.0
"""From one configuration to the next, whole or not at all: make and prepare everything, then swap everything, then let the old drain.

An exception before the swap leaves what runs untouched. One during it (a node whose C{start} must not fail, and does) is undone.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol, TypeAlias

from twisted.logger import Logger

from g3.errors import ConfigError
from g3.tree.plan import Action, Change

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from twisted.internet.defer import Deferred

    from g3.tree.listeners import ListenerPool
    from g3.tree.slots import Slots

log = Logger()

#: (what the step is called, the node it is for, the step)
Undo: TypeAlias = "tuple[str, Any, Callable[[], object]]"


class ITree(Protocol):
    """What a transition works on."""

    slots: Slots
    listeners: ListenerPool

    def make(self, kind: str, config: Any) -> Any:
        """A node, verified to be of its kind, no I/O done. Raises ConfigError."""

    def put(self, kind: str, node: Any) -> None:
        """C{node} is the running one of its name."""

    def take(self, kind: str, node: Any) -> None:
        """C{node} is the running one no more."""

    def retire(self, kind: str, node: Any) -> None:
        """Stop C{node} and keep it until its last task ended. Never raises."""

    def vacate(self, kind: str, name: str, stand_in: Any, *, at_once: bool) -> None:
        """C{stand_in} takes the place of a node that was removed; unless C{at_once}, when nobody has a client for it any more."""


class Transition:
    """One reload: C{prepare}, then C{commit} or C{discard}. The first start is one too, from nothing.

    @param needed: (kind, name) that the wanted configurations refer to; C{places}: where each wanted (kind, name) is defined.
    """

    def __init__(
        self, tree: ITree, changes: Iterable[Change], needed: Iterable[tuple[str, str]] = (), places: Mapping[tuple[str, str], object] | None = None
    ) -> None:
        self._tree = tree
        self.changes = list(changes)
        self._needed = set(needed)
        self._places = places or {}
        self._made: list[tuple[Change, Any]] = []
        self._prepared: list[Any] = []
        self._stand_ins: dict[tuple[str, str], Any] = {}
        self._reserved: list[Any] = []
        self._problems: list[object] = []

    async def prepare(self) -> None:
        """Make and prepare all new nodes, going on after a failure so that all are told.

        @raise ConfigError: with every problem; nothing is left behind.
        """
        self._reserved = [self._tree.slots.reserve(change.kind, change.name) for change in self.changes if change.builds]
        for change in self.changes:
            if change.action is Action.REMOVE:
                self._make_stand_in(change)
            elif change.builds:
                self._make(change)
        for change, node in self._made:
            await self._prepare_node(change, node)
        if not self._problems:
            leaving = {id(change.old) for change in self.changes if change.retires}
            for owner, text in self._tree.listeners.conflicts(lambda owner: id(owner) in leaving):
                self._problem("server", owner.name, [text])
        if self._problems:
            self.discard()
            raise ConfigError(self._problems)

    def discard(self) -> None:
        """Give back what was prepared. Never raises."""
        for node in reversed(self._prepared):
            _guarded("discard", node, node.discard)
        self._prepared.clear()
        self._made.clear()
        self._reserved.clear()

    def commit(self) -> None:
        """Swap. Afterwards the new nodes serve and the old ones drain.

        @raise ConfigError: a node failed to start; everything is as it was, the new nodes are stopped.
        """
        undo: list[Undo] = []
        try:
            for change, node in self._made:
                self._enter(change, node, undo)
            for _, node in self._made:
                undo.append(("stop", node, node.stopService))
                self._prepared.remove(node)
                node.startService()
            for change in self.changes:
                if change.action is Action.UPDATE:
                    self._update(change, undo)
        except Exception as error:
            log.failure("a node failed to start, all is rolled back")
            for what, on, step in reversed(undo):
                _guarded(what, on, step)
            self.discard()
            raise ConfigError(f"rolled back: {type(error).__name__}: {error}") from error
        self._leave()

    def _make(self, change: Change) -> None:
        try:
            self._made.append((change, self._tree.make(change.kind, change.config)))
        except ConfigError as error:
            self._problem(change.kind, change.name, error.problems)
        except Exception as error:
            log.failure("making {kind} {name} failed", kind=change.kind, name=change.name)
            self._defect(change, error)

    async def _prepare_node(self, change: Change, node: Any) -> None:
        # Noted before it is tried: a prepare that failed half way may have taken something, too.
        self._prepared.append(node)
        try:
            waiting: Deferred[Any] | None = node.prepare()
            if waiting is not None:
                await waiting
        except ConfigError as error:
            self._problem(change.kind, change.name, error.problems)
        except Exception as error:
            log.failure("preparing {kind} {name} failed", kind=change.kind, name=change.name)
            self._defect(change, error)

    def _defect(self, change: Change, error: Exception) -> None:
        self._problem(change.kind, change.name, [f'{change.kind} "{change.name}": {type(error).__name__}: {error}'])

    def _problem(self, kind: str, name: str, problems: Iterable[object]) -> None:
        """Note what is wrong with a node, with the place where it is defined unless the problem has one of its own."""
        place = self._places.get((kind, name))
        self._problems.extend(f"{place}: {problem}" if place is not None and isinstance(problem, str) else problem for problem in problems)

    def _make_stand_in(self, change: Change) -> None:
        key = (change.kind, change.name)
        try:
            self._stand_ins[key] = self._tree.slots.stand_in(*key)
        except ConfigError as error:
            self._stand_ins[key] = None
            if key in self._needed:
                self._problems.extend(error.problems)

    def _enter(self, change: Change, node: Any, undo: list[Undo]) -> None:
        slot = self._tree.slots.reserve(change.kind, change.name)
        before, defined = slot.node, slot.defined
        undo.append(("restore", node, lambda: self._tree.slots.restore(slot, before, defined)))
        self._tree.slots.put(change.kind, change.name, node)

    def _update(self, change: Change, undo: list[Undo]) -> None:
        node, before = change.old, change.old.config

        def go_back() -> None:
            node.config = before
            node.reconfigure(before)

        undo.append(("reconfigure", node, go_back))
        node.reconfigure(change.config)
        node.config = change.config

    def _leave(self) -> None:
        for change in self.changes:
            if change.retires:
                self._tree.take(change.kind, change.old)
        for change, node in self._made:
            self._tree.put(change.kind, node)
        for change in reversed(self.changes):
            if change.retires:
                self._tree.retire(change.kind, change.old)
        for (kind, name), stand_in in self._stand_ins.items():
            self._tree.vacate(kind, name, stand_in, at_once=(kind, name) in self._needed)
        self._made.clear()
        self._reserved.clear()


def _guarded(what: str, node: Any, step: Callable[[], object]) -> None:
    """Call a step that must not fail; what it raises is logged."""
    try:
        step()
    except Exception:
        log.failure("{what} of {node} failed", what=what, node=node)
