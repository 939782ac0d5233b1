# SPDX-License-Identifier: Apache-2.0
"""Slots: where nodes find each other by name, through every reload.

A name nobody defined has a stand-in that refuses: C{dummy_deny}, C{deny_all}, C{dummy_close}. When a later reload defines it, the real
node takes its place under everybody who holds the slot.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any
from weakref import WeakValueDictionary

from g3.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Callable

#: The type that stands in for a missing node of each kind.
STAND_INS = {"escaper": "dummy_deny", "resolver": "deny_all", "server": "dummy_close", "user_group": "basic", "auditor": "auditor"}


class Slot:
    """The place of one name. C{node} is what to use now; C{defined} whether it is the configured one or a stand-in."""

    __slots__ = ("__weakref__", "defined", "kind", "name", "node")

    def __init__(self, kind: str, name: str, node: Any, defined: bool) -> None:
        self.kind = kind
        self.name = name
        self.node = node
        self.defined = defined

    def __repr__(self) -> str:
        return f"<Slot {self.kind} {self.name}: {self.node!r}>"


class Slots:
    """All slots, by kind and name. One without a definition lives as long as some node holds it.

    @param stand_in: C{stand_in(kind, name)} makes what refuses; it may raise ConfigError.
    """

    def __init__(self, stand_in: Callable[[str, str], Any]) -> None:
        self._stand_in = stand_in
        self._slots: WeakValueDictionary[tuple[str, str], Slot] = WeakValueDictionary()
        self._kept: dict[tuple[str, str], Slot] = {}

    def get(self, kind: str, name: str) -> Slot:
        """The slot of a name; one never heard of gets a stand-in.

        @raise ConfigError: this kind has none.
        """
        slot = self._slots.get((kind, name))
        if slot is None:
            slot = self._slots[kind, name] = Slot(kind, name, self.stand_in(kind, name), defined=False)
        return slot

    def reserve(self, kind: str, name: str) -> Slot:
        """The slot of a name that is about to be put; no stand-in is made for it. Hold it, or it is gone."""
        slot = self._slots.get((kind, name))
        if slot is None:
            slot = self._slots[kind, name] = Slot(kind, name, None, defined=False)
        return slot

    def put(self, kind: str, name: str, node: Any) -> None:
        """C{node} is what the name means from now on."""
        slot = self.reserve(kind, name)
        slot.node, slot.defined = node, True
        self._kept[kind, name] = slot

    def clear(self, kind: str, name: str, stand_in: Any) -> None:
        """The name means nothing any more: whoever holds its slot meets C{stand_in}."""
        slot = self._kept.pop((kind, name))
        slot.node, slot.defined = stand_in, False

    def restore(self, slot: Slot, node: Any, defined: bool) -> None:
        """Undo a C{put} or C{clear}."""
        slot.node, slot.defined = node, defined
        if defined:
            self._kept[slot.kind, slot.name] = slot
        else:
            self._kept.pop((slot.kind, slot.name), None)

    def peek(self, kind: str, name: str) -> Slot | None:
        """The slot of a name, if there is one."""
        return self._slots.get((kind, name))

    def of(self, kind: str) -> list[Slot]:
        """The slots of one kind, stand-ins in use included, sorted by name."""
        return sorted((slot for slot in self._slots.values() if slot.kind == kind and slot.node is not None), key=lambda slot: slot.name)

    def stand_in(self, kind: str, name: str) -> Any:
        """What stands in for a name. Raises ConfigError when its kind has nothing that could."""
        try:
            return self._stand_in(kind, name)
        except ConfigError as error:
            raise ConfigError(f'{kind} "{name}" is not defined, and nothing can stand in for it: {error}') from error
