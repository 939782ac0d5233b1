# SPDX-License-Identifier: Apache-2.0
"""Rules on ports and on kinds of requests: one dict look-up."""

from __future__ import annotations

from typing import TYPE_CHECKING, Generic

from g3.acl.action import A
from g3.acl.rule import Filter

if TYPE_CHECKING:
    from collections.abc import Iterable


class PortFilter(Filter[A], Generic[A]):
    """C{check(port)}: what is said of that port."""

    __slots__ = ("_table",)

    def __init__(self, rules: Iterable[tuple[int, A]], missed: A) -> None:
        """A later rule for the same port replaces an earlier one."""
        table = dict(rules)
        super().__init__(_runs(table), missed)
        self._table = {port: (True, action) for port, action in table.items()}

    def check(self, port: int) -> tuple[bool, A]:
        """(whether a rule was found, what holds)."""
        return self._table.get(port, self.miss)


def _runs(table: dict[int, A]) -> list[tuple[object, A]]:
    """Neighbouring ports with one action as one (first, last): what a dump shows, and less to compare."""
    runs: list[tuple[tuple[int, int], A]] = []
    for port in sorted(table):
        action = table[port]
        if runs and runs[-1][0][1] == port - 1 and runs[-1][1] is action:
            runs[-1] = (runs[-1][0][0], port), action
        else:
            runs.append(((port, port), action))
    return list(runs)


class RequestFilter(Filter[A], Generic[A]):
    """C{check(word)}: what is said of that kind of request, named as the C{type} of a task."""

    __slots__ = ("_table",)

    def __init__(self, rules: Iterable[tuple[str, A]], missed: A) -> None:
        table = dict(rules)
        super().__init__(table.items(), missed)
        self._table = {word: (True, action) for word, action in table.items()}

    def check(self, word: str) -> tuple[bool, A]:
        """(whether a rule was found, what holds)."""
        return self._table.get(word, self.miss)
