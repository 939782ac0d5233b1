# SPDX-License-Identifier: Apache-2.0
"""The difference between what runs and what is wanted: one change for each node, by equality of frozen configurations."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import TYPE_CHECKING, Any

from g3.interfaces import IReloadable
from g3.tree.node import KIND_ORDER

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping


class Action(Enum):
    """What a reload does to a node."""

    KEEP = "keep"
    ADD = "add"
    UPDATE = "update"
    REPLACE = "replace"
    REMOVE = "remove"


@dataclass(frozen=True, slots=True)
class Change:
    """One node's part in a reload. C{config} is None when it is removed, C{old} None when it is new."""

    action: Action
    kind: str
    name: str
    config: Any
    old: Any

    @property
    def builds(self) -> bool:
        """Whether a new node is made."""
        return self.action in (Action.ADD, Action.REPLACE)

    @property
    def retires(self) -> bool:
        """Whether the old node drains and ends."""
        return self.action in (Action.REPLACE, Action.REMOVE)

    def __str__(self) -> str:
        words = [getattr(config, "type_word", "") for config in (self.old and self.old.config, self.config) if config is not None]
        types = " -> ".join(dict.fromkeys(word for word in words if word))
        return f'{self.action.value} {self.kind} "{self.name}"' + (f" ({types})" if types else "")


def difference(running: Mapping[str, Mapping[str, Any]], wanted: Mapping[str, Iterable[Any]], kinds: Iterable[str] = KIND_ORDER) -> list[Change]:
    """All changes, kept nodes included, in the order to make them: by kind, within a kind as wanted, removals last."""
    changes = [change for kind in kinds for change in _of_kind(kind, running.get(kind, {}), wanted.get(kind, ()))]
    return [change for change in changes if change.action is not Action.REMOVE] + [c for c in reversed(changes) if c.action is Action.REMOVE]


def _of_kind(kind: str, running: Mapping[str, Any], wanted: Iterable[Any]) -> Iterator[Change]:
    names = set()
    for config in wanted:
        names.add(config.name)
        old = running.get(config.name)
        yield Change(_action(old, config), kind, config.name, config, old)
    for name, old in running.items():
        if name not in names:
            yield Change(Action.REMOVE, kind, name, None, old)


def _action(old: Any, config: Any) -> Action:
    if old is None:
        return Action.ADD
    if old.config == config:
        return Action.KEEP
    if type(old.config) is type(config) and IReloadable.providedBy(old) and old.accepts(config):
        return Action.UPDATE
    return Action.REPLACE


def summary(changes: Iterable[Change]) -> list[str]:
    """A line for each change; nodes that are kept are not told."""
    return [str(change) for change in changes if change.action is not Action.KEEP]
