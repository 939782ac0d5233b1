# SPDX-License-Identifier: Apache-2.0
"""Rules on the User-Agent header, by the names of its products."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Generic

from g3.acl.action import A
from g3.acl.rule import Filter

if TYPE_CHECKING:
    from collections.abc import Iterable


class UserAgentFilter(Filter[A], Generic[A]):
    """C{check(value)}: what is said of a name that stands in the header as a word of its own, in any case.

    A word begins at the start or after a space or semicolon, and ends at the end or before a slash, space or semicolon. Of several names
    that are there the first in alphabetical order decides.
    """

    __slots__ = ("_names",)

    def __init__(self, rules: Iterable[tuple[str, A]], missed: A) -> None:
        """Empty names are left out: they would match everything."""
        table = {name.lower(): action for name, action in rules if name}
        names = sorted(table)
        super().__init__(((name, table[name]) for name in names), missed)
        self._names = tuple((name, _word(name), (True, table[name])) for name in names)

    def check(self, value: str) -> tuple[bool, A]:
        """(whether a rule was found, what holds)."""
        value = value.lower()
        for name, word, result in self._names:
            if name in value and word.search(value) is not None:
                return result
        return self.miss


def _word(name: str) -> re.Pattern[str]:
    return re.compile(rf"(?:^|(?<=[ ;])){re.escape(name)}(?=$|[/ ;])")
