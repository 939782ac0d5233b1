# SPDX-License-Identifier: Apache-2.0
"""Rules on names by pattern. The strictest of several that match decides.

Python's engine backtracks, and some patterns take exponential time on names an attacker may choose; upstream's engine cannot. So names are
bounded to what DNS allows, and L{backtracks} finds the patterns that would still be too slow, for a warning when they are loaded.
"""

from __future__ import annotations

import re
from re import _constants as op  # type: ignore[attr-defined]
from re import _parser as parser  # type: ignore[attr-defined]
from typing import TYPE_CHECKING, Any, Generic

from g3.acl.action import A
from g3.acl.rule import Filter
from g3.acl.tables import PatternTable

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator


class RegexDomainFilter(Filter[A], Generic[A]):
    """C{check(host)}: what the strictest matching pattern says.

    A pattern is searched for in the full name, or with a parent in what comes before that parent. The closest parent's patterns go first.
    """

    __slots__ = ("_get", "_too_long")

    def __init__(self, rules: Iterable[tuple[tuple[str | None, str], A]], missed: A) -> None:
        """C{rules} are ((parent or None, pattern), action).

        @raise re.error: a pattern is none.
        """
        table = PatternTable(rules)
        super().__init__(table.items, missed)
        strict_first = sorted(table.items, key=lambda item: int(item[1].value))
        self._get = PatternTable((what, (True, action)) for what, action in strict_first).get
        self._too_long = (True, strict_first[0][1].restrict(missed)) if strict_first else self.miss

    def check(self, host: str) -> tuple[bool, A]:
        """(whether a rule was found, what holds). C{host} is a name; one longer than DNS allows gets the strictest of all."""
        try:
            return self._get(host) or self.miss
        except ValueError:
            return self._too_long


class RegexSetFilter(Filter[A], Generic[A]):
    """C{check(text)}: what the strictest pattern found in a text says."""

    __slots__ = ("_patterns",)

    def __init__(self, rules: Iterable[tuple[str, A]], missed: A) -> None:
        """@raise re.error: a pattern is none."""
        table = dict(rules)
        super().__init__(table.items(), missed)
        strict_first = sorted(table.items(), key=lambda item: int(item[1].value))
        self._patterns = tuple((re.compile(pattern), (True, action)) for pattern, action in strict_first)

    def check(self, text: str) -> tuple[bool, A]:
        """(whether a rule was found, what holds). The caller bounds C{text}."""
        for pattern, result in self._patterns:
            if pattern.search(text) is not None:
                return result
        return self.miss


_REPEATS = {op.MAX_REPEAT, op.MIN_REPEAT}


def backtracks(pattern: str) -> bool:
    """Whether a pattern repeats something that itself repeats or has overlapping alternatives, which can take exponential time.

    A sign, not a proof: what it finds deserves a look.

    @raise re.error: it is no pattern.
    """
    return any(_ambiguous(body) for body in _repeated(parser.parse(pattern)))


def _repeated(tree: Any) -> Iterator[Any]:
    """The bodies of all repeats without a small bound."""
    for code, value in _nodes(tree):
        if code in _REPEATS and value[1] > 16:
            yield value[2]


def _nodes(tree: Any) -> Iterator[tuple[Any, Any]]:
    for code, value in tree:
        yield code, value
        for inner in _inside(code, value):
            yield from _nodes(inner)


def _inside(code: Any, value: Any) -> list[Any]:
    if code in _REPEATS:
        return [value[2]]
    if code is op.SUBPATTERN:
        return [value[3]]
    if code is op.BRANCH:
        return list(value[1])
    if code in (op.ASSERT, op.ASSERT_NOT):
        return [value[1]]
    return []


def _ambiguous(body: Any) -> bool:
    """Whether one text can be cut into repeats of C{body} in several ways: a repeat that nothing fixed delimits, or like alternatives."""
    items = list(body)
    while len(items) == 1 and items[0][0] is op.SUBPATTERN:
        items = list(items[0][1][3])
    if any(code is op.BRANCH and _overlap(value[1]) for code, value in _nodes(items)):
        return True
    repeats = [code for code, value in items if code in _REPEATS and value[1] > 16]
    inner = [code for code, value in items if code is op.SUBPATTERN and any(c in _REPEATS for c, _ in _nodes(value[3]))]
    fixed = [code for code, value in items if code in (op.LITERAL, op.IN, op.NOT_LITERAL) or (code is op.SUBPATTERN and not inner)]
    return bool(repeats or inner) and not fixed


def _overlap(branches: Any) -> bool:
    """Whether two alternatives may begin alike."""
    firsts = [str(branch[0]) for branch in branches if len(branch)]
    return len(firsts) < len(branches) or len(set(firsts)) < len(firsts) or any("ANY" in first or "CATEGORY" in first for first in firsts)
