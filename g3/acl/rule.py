# SPDX-License-Identifier: Apache-2.0
"""What all filters have in common: rules, and what holds where none matches; made once, compared by value."""

from __future__ import annotations

from typing import TYPE_CHECKING, Generic

from g3.acl.action import A

if TYPE_CHECKING:
    from collections.abc import Iterable


class Filter(Generic[A]):
    """C{rules} as (what, action), C{missed} the action where no rule matches. C{check} answers (found, action).

    Never changed after it is made; two are equal if they say the same, in whatever order.
    """

    __slots__ = ("miss", "missed", "rules")

    def __init__(self, rules: Iterable[tuple[object, A]], missed: A) -> None:
        self.rules: tuple[tuple[object, A], ...] = tuple(rules)
        self.missed = missed
        self.miss = (False, missed)

    def __eq__(self, other: object) -> bool:
        if type(other) is not type(self):
            return NotImplemented
        return self.missed is other.missed and frozenset(self.rules) == frozenset(other.rules)

    def __hash__(self) -> int:
        return hash((type(self), self.missed, frozenset(self.rules)))

    def __repr__(self) -> str:
        return f"{type(self).__name__}({[(str(what), action.name) for what, action in self.rules]}, {self.missed.name})"
