# SPDX-License-Identifier: Apache-2.0
"""Values chosen by what a client asks for: the host, the ALPN protocol or the path. Upstream: configuration/values/route.

Made once, compared by value. C{values} has each value once, in the order given.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import TYPE_CHECKING, Generic, TypeVar

from g3.acl.tables import ChildTable, ExactTable

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from g3.acl.tables import IPNetwork
    from g3.task import IPAddress

V = TypeVar("V")
W = TypeVar("W")

Pairs = tuple[tuple[str, V], ...]


class Match(Generic[V]):
    """What all of them are: tables of words, one for each way to match, and a value for everything else (None: there is none)."""

    __slots__ = ("default", "pairs")

    def __init__(self, pairs: Iterable[Pairs[V]], default: V | None) -> None:
        self.pairs: tuple[Pairs[V], ...] = tuple(tuple(some) for some in pairs)
        self.default = default

    @property
    def values(self) -> tuple[V, ...]:
        """Each value once."""
        found = [value for some in self.pairs for _, value in some]
        if self.default is not None:
            found.append(self.default)
        return tuple({id(value): value for value in found}.values())

    def _mapped(self, make: Callable[[V], W]) -> tuple[list[Pairs[W]], W | None]:
        made = {id(value): make(value) for value in self.values}
        pairs = [tuple((word, made[id(value)]) for word, value in some) for some in self.pairs]
        return pairs, None if self.default is None else made[id(self.default)]

    def __eq__(self, other: object) -> bool:
        if type(other) is not type(self):
            return NotImplemented
        return self.default == other.default and [dict(some) for some in self.pairs] == [dict(some) for some in other.pairs]

    def __hash__(self) -> int:
        return hash((type(self), tuple(frozenset(word for word, _ in some) for some in self.pairs)))

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.pairs!r}, default={self.default!r})"


class HostMatch(Match[V]):
    """By the very host, else by the closest parent domain, else the default."""

    __slots__ = ("_child", "_exact")

    def __init__(self, exact: Pairs[V] = (), child: Pairs[V] = (), default: V | None = None) -> None:
        super().__init__((exact, child), default)
        self._exact, self._child = ExactTable(exact), ChildTable(child)

    def get(self, host: str, ip: IPAddress | None = None) -> V | None:
        """The value for C{host}; C{ip} is the address it spells, None for a name."""
        found = self._exact.get(host)
        if found is None and ip is None:
            found = self._child.get(host)
        return self.default if found is None else found

    def map(self, make: Callable[[V], W]) -> HostMatch[W]:
        """The same with every value made into another, each once."""
        pairs, default = self._mapped(make)
        return HostMatch(pairs[0], pairs[1], default)


class AlpnMatch(Match[V]):
    """By the very protocol (C{http/1.1}), else by what comes before its slash (C{http}), else the default."""

    __slots__ = ("_table",)

    def __init__(self, protocols: Pairs[V] = (), default: V | None = None) -> None:
        super().__init__((protocols,), default)
        self._table = dict(protocols)

    @property
    def protocols(self) -> tuple[str, ...]:
        return tuple(self._table)

    def get(self, protocol: str) -> V | None:
        found = self._table.get(protocol)
        if found is None and "/" in protocol:
            found = self._table.get(protocol.partition("/")[0])
        return self.default if found is None else found

    def map(self, make: Callable[[V], W]) -> AlpnMatch[W]:
        """The same with every value made into another, each once."""
        pairs, default = self._mapped(make)
        return AlpnMatch(pairs[0], default)


class PathMatch(Match[V]):
    """By the longest prefix of a path, else the default."""

    __slots__ = ("_prefixes",)

    def __init__(self, prefixes: Pairs[V] = (), default: V | None = None) -> None:
        super().__init__((prefixes,), default)
        self._prefixes = tuple(sorted(prefixes, key=lambda pair: -len(pair[0])))

    def get(self, path: str) -> V | None:
        for prefix, value in self._prefixes:
            if path.startswith(prefix):
                return value
        return self.default

    def map(self, make: Callable[[V], W]) -> PathMatch[W]:
        """The same with every value made into another, each once."""
        pairs, default = self._mapped(make)
        return PathMatch(pairs[0], default)


class FactKind(Enum):
    """What a fact is about; the value is the word of the configuration."""

    IP = "ip"
    NETWORK = "net"
    EXACT_DOMAIN = "exact_domain"
    CHILD_DOMAIN = "child_domain"


@dataclass(frozen=True, slots=True)
class Fact:
    """What makes out a user of a facts group: an address, a network of several addresses, a name, or a domain with all below it."""

    kind: FactKind
    value: IPAddress | IPNetwork | str
