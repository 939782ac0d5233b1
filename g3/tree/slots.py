# SPDX-License-Identifier: Apache-2.0
"""Slots: where nodes find each other by name, through every reload.

A name nobody defined has a stand-in that refuses: C{dummy_deny}, C{deny_all}, C{dummy_close}. When a later reload defines it, the real
node takes its place under everybody who holds the slot.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from g3.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

#: The type that stands in for a missing node of each kind.
STAND_INS = {"escaper": "dummy_deny", "resolver": "deny_all", "server": "dummy_close", "user_group": "basic", "auditor": "auditor"}


class Slot:
    """The place of one name. C{node} is what to use now; C{defined} whether it is the configured one or a stand-in."""

    __slots__ = ("defined", "kind", "name", "node")

    def __init__(self, kind: str, name: str, node: Any, defined: bool) -> None:
        self.kind = kind
        self.name = name
        self.node = node
        self.defined = defined

    def __repr__(self) -> str:
        return f"<Slot {self.kind} {self.name}: {self.node!r}>"


class Slots:
    """All slots, by kind and name. C{stand_in(kind, name)} makes what refuses; it may raise ConfigError."""

    def __init__(self, stand_in: Callable[[str, str], Any]) -> None:
        self._stand_in = stand_in
        self._slots: dict[tuple[str, str], Slot] = {}

    def get(self, kind: str, name: str) -> Slot:
        """The slot of a name; one never heard of gets a stand-in.

        @raise ConfigError: this kind has none.
        """
        key = (kind, name)
        if key not in self._slots:
            self._slots[key] = Slot(kind, name, self._make_stand_in(kind, name), defined=False)
        return self._slots[key]

    def put(self, kind: str, name: str, node: Any) -> None:
        """C{node} is what the name means from now on."""
        key = (kind, name)
        if key in self._slots:
            slot = self._slots[key]
            slot.node, slot.defined = node, True
        else:
            self._slots[key] = Slot(kind, name, node, defined=True)

    def clear(self, kind: str, name: str, stand_in: Any) -> None:
        """The name means nothing any more: whoever holds its slot meets C{stand_in}; None forgets the slot."""
        if stand_in is None:
            self._slots.pop((kind, name), None)
            return
        slot = self._slots[kind, name]
        slot.node, slot.defined = stand_in, False

    def restore(self, kind: str, name: str, node: Any, defined: bool) -> None:
        """Undo a C{put}: the slot is as it was; C{node} None forgets it."""
        if node is None:
            self._slots.pop((kind, name), None)
            return
        self.put(kind, name, node)
        self._slots[kind, name].defined = defined

    def peek(self, kind: str, name: str) -> Slot | None:
        """The slot of a name, if there is one."""
        return self._slots.get((kind, name))

    def of(self, kind: str) -> Iterator[Slot]:
        """The slots of one kind, sorted by name."""
        return iter(sorted((slot for slot in self._slots.values() if slot.kind == kind), key=lambda slot: slot.name))

    def make_stand_in(self, kind: str, name: str) -> Any:
        """What would stand in for a name, or None when its kind has nothing."""
        try:
            return self._make_stand_in(kind, name)
        except ConfigError:
            return None

    def _make_stand_in(self, kind: str, name: str) -> Any:
        try:
            return self._stand_in(kind, name)
        except ConfigError as error:
            raise ConfigError(f'{kind} "{name}" is not defined, and nothing can stand in for it: {error}') from error
