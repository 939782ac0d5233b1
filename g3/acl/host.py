# SPDX-License-Identifier: Apache-2.0
"""Rules on hosts: the very host, or a domain with everything below it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Generic

from g3.acl.action import A
from g3.acl.rule import Filter
from g3.acl.tables import ChildTable, ExactTable

if TYPE_CHECKING:
    from collections.abc import Iterable


class ExactHostFilter(Filter[A], Generic[A]):
    """C{check(host)}: what is said of that very name or address."""

    __slots__ = ("_get",)

    def __init__(self, rules: Iterable[tuple[str, A]], missed: A) -> None:
        """A later rule for the same host replaces an earlier one."""
        table = ExactTable(rules)
        super().__init__(table.items, missed)
        self._get = ExactTable((host, (True, action)) for host, action in table.items).get

    def check(self, host: str) -> tuple[bool, A]:
        """(whether a rule was found, what holds)."""
        return self._get(host) or self.miss


class ChildDomainFilter(Filter[A], Generic[A]):
    """C{check(host)}: what is said of that name or its closest parent that is known."""

    __slots__ = ("_get",)

    def __init__(self, rules: Iterable[tuple[str, A]], missed: A) -> None:
        """A later rule for the same domain replaces an earlier one."""
        table = ChildTable(rules)
        super().__init__(table.items, missed)
        self._get = ChildTable((domain, (True, action)) for domain, action in table.items).get

    def check(self, host: str) -> tuple[bool, A]:
        """(whether a rule was found, what holds). C{host} is a name, no address."""
        return self._get(host) or self.miss
