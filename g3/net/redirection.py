# SPDX-License-Identifier: Apache-2.0
"""Names that are to resolve to something else. Upstream: configuration/values/resolve, resolve redirection."""

from __future__ import annotations

from typing import TYPE_CHECKING

from g3.acl.tables import ChildTable, ExactTable

if TYPE_CHECKING:
    from collections.abc import Iterable

    from g3.task import IPAddress


class ResolveRedirection:
    """C{query(name)}: a name is mapped by itself, to another name or to addresses, else its closest parent known is replaced in it.

    What it maps to is not looked up again. Made once, compared by value.
    """

    __slots__ = ("_exact", "_parents")

    def __init__(self, exact: Iterable[tuple[str, str | tuple[IPAddress, ...]]] = (), parents: Iterable[tuple[str, str]] = ()) -> None:
        self._exact = ExactTable(exact)
        self._parents = ChildTable(parents)

    @property
    def exact(self) -> tuple[tuple[str, str | tuple[IPAddress, ...]], ...]:
        return self._exact.items

    @property
    def parents(self) -> tuple[tuple[str, str], ...]:
        return self._parents.items

    def query(self, name: str) -> str | tuple[IPAddress, ...] | None:
        """Another name, or the addresses in the order given (both families mixed), or None where nothing is said.

        C{name} is a lower-case A-label.
        """
        found = self._exact.get(name)
        if found is not None:
            return found
        closest = self._parents.closest(name)
        if closest is None:
            return None
        before, parent = closest
        return f"{before}.{parent}" if before else parent

    def __eq__(self, other: object) -> bool:
        return isinstance(other, ResolveRedirection) and (self._exact, self._parents) == (other._exact, other._parents)

    def __hash__(self) -> int:
        return hash((self._exact, self._parents))

    def __repr__(self) -> str:
        return f"ResolveRedirection({list(self.exact)!r}, {list(self.parents)!r})"
