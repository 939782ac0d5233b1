# SPDX-License-Identifier: Apache-2.0
"""Rules on names by pattern. The strictest of several that match decides.

Python's engine backtracks, upstream's cannot: so names are bounded to what DNS allows, and the configuration warns of patterns that
could still take too long. Patterns are in Python's syntax here; the configuration translates.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Generic

from g3.acl.action import A
from g3.acl.rule import Filter
from g3.acl.tables import PatternTable

if TYPE_CHECKING:
    from collections.abc import Iterable


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
