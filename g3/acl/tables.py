# SPDX-License-Identifier: Apache-2.0
"""Look-up tables for hosts: what is known of an address, a name, a parent domain, a suffix, a pattern.

Filters map to actions, routes map to escapers; both look up here. All are made once, never changed, and compare by what they map. A
look-up costs one dict access for each prefix length, label or suffix length present, not for each entry.
Hosts are given as g3.task.Upstream holds them: lower-case A-labels, or addresses as the kernel prints them.
"""

from __future__ import annotations

import re
from ipaddress import IPv4Address, IPv4Network, IPv6Network, ip_network
from typing import TYPE_CHECKING, Generic, TypeVar

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from g3.task import IPAddress

K = TypeVar("K")
V = TypeVar("V")
IPNetwork = IPv4Network | IPv6Network

#: No DNS name is longer (RFC 1035 section 2.3.4), so no pattern is ever asked about more.
LONGEST_NAME = 255


class Table(Generic[K, V]):
    """C{items} is the mapping as it was given, later entries over earlier ones; no value is None. Equality and hash go by it."""

    __slots__ = ("items",)
    items: tuple[tuple[K, V], ...]

    def __eq__(self, other: object) -> bool:
        return type(other) is type(self) and frozenset(self.items) == frozenset(other.items)

    def __hash__(self) -> int:
        return hash(frozenset(self.items))

    def __repr__(self) -> str:
        return f"{type(self).__name__}({list(self.items)!r})"

    def __len__(self) -> int:
        return len(self.items)

    def __iter__(self) -> Iterator[tuple[K, V]]:
        return iter(self.items)


def plain_network(network: IPNetwork) -> IPNetwork:
    """A network of v4-mapped addresses as the IPv4 network it means; others unchanged."""
    mapped = network.network_address.ipv4_mapped if isinstance(network, IPv6Network) else None
    if mapped is None or network.prefixlen < 96:
        return network
    return ip_network((int(mapped), network.prefixlen - 96))


class NetworkTable(Table[IPNetwork, V], Generic[V]):
    """Longest prefix match, IPv4 and IPv6 apart. A v4-mapped address is looked up as the IPv4 address it is."""

    __slots__ = ("_levels4", "_levels6")

    def __init__(self, items: Iterable[tuple[IPNetwork, V]]) -> None:
        table = {plain_network(network): value for network, value in items}
        self.items = tuple(table.items())
        self._levels4 = _levels(table, 32)
        self._levels6 = _levels(table, 128)

    def get(self, ip: IPAddress) -> V | None:
        """What the smallest network around C{ip} maps to, or None."""
        number = int(ip)
        levels = self._levels4
        if ip.__class__ is not IPv4Address:
            if number >> 32 == 0xFFFF:
                number &= 0xFFFFFFFF
            else:
                levels = self._levels6
        for shift, level in levels:
            found = level.get(number >> shift)
            if found is not None:
                return found
        return None


def _levels(table: dict[IPNetwork, V], bits: int) -> tuple[tuple[int, dict[int, V]], ...]:
    """For each prefix length of a family, longest first: how far to shift an address, and what the rest maps to."""
    levels: dict[int, dict[int, V]] = {}
    for network, value in table.items():
        if network.max_prefixlen == bits:
            shift = bits - network.prefixlen
            levels.setdefault(shift, {})[int(network.network_address) >> shift] = value
    return tuple(sorted(levels.items(), key=lambda level: level[0]))


class ExactTable(Table[str, V], Generic[V]):
    """The very host, name or address."""

    __slots__ = ("_table",)

    def __init__(self, items: Iterable[tuple[str, V]]) -> None:
        self._table = {plain_name(host): value for host, value in items}
        self.items = tuple(self._table.items())

    def get(self, host: str) -> V | None:
        """What C{host} maps to, or None. A root dot makes no difference."""
        found = self._table.get(host)
        if found is None and host[-1:] == ".":
            return self._table.get(host[:-1])
        return found


class ChildTable(Table[str, V], Generic[V]):
    """A domain and everything below it; among several the closest parent."""

    __slots__ = ("_table",)

    def __init__(self, items: Iterable[tuple[str, V]]) -> None:
        self._table = {plain_name(domain): value for domain, value in items}
        self.items = tuple(self._table.items())

    def get(self, host: str) -> V | None:
        """What the closest of C{host} and its parents maps to, or None."""
        found = self.closest(host)
        return None if found is None else found[1]

    def closest(self, host: str) -> tuple[str, V] | None:
        """The same with the part of C{host} that comes before that parent and its dot."""
        table = self._table
        if host[-1:] == ".":
            host = host[:-1]
        start = 0
        while True:
            found = table.get(host[start:])
            if found is not None:
                return host[: max(0, start - 1)], found
            start = host.find(".", start) + 1
            if start == 0:
                return None


class SuffixTable(Table[str, V], Generic[V]):
    """A plain suffix, not bound to labels: C{t.example.net} is one of C{test.example.net}. The longest wins."""

    __slots__ = ("_levels",)

    def __init__(self, items: Iterable[tuple[str, V]]) -> None:
        table = {suffix.rstrip(".").lower(): value for suffix, value in items}
        self.items = tuple(table.items())
        levels: dict[int, dict[str, V]] = {}
        for suffix, value in table.items():
            levels.setdefault(len(suffix), {})[suffix] = value
        self._levels = tuple(sorted(levels.items(), key=lambda level: -level[0]))

    def get(self, host: str) -> V | None:
        """What the longest suffix of C{host} maps to, or None."""
        if host[-1:] == ".":
            host = host[:-1]
        size = len(host)
        for length, level in self._levels:
            if length <= size:
                found = level.get(host[size - length :])
                if found is not None:
                    return found
        return None


class PatternTable(Table[tuple[str | None, str], V], Generic[V]):
    """Patterns searched for in a name, or in what comes before a parent domain.

    Where parents match, only the closest one's patterns are asked; where none of those matches, the patterns for full names are. The first
    in the order given wins.
    """

    __slots__ = ("_full", "_parents")

    def __init__(self, items: Iterable[tuple[tuple[str | None, str], V]]) -> None:
        """C{items} are ((parent or None, pattern), value).

        @raise re.error: a pattern is none.
        """
        table = {(None if parent is None else plain_name(parent), pattern): value for (parent, pattern), value in items}
        self.items = tuple(table.items())
        full: list[tuple[re.Pattern[str], V]] = []
        parents: dict[str, list[tuple[re.Pattern[str], V]]] = {}
        for (parent, pattern), value in table.items():
            (full if parent is None else parents.setdefault(parent, [])).append((re.compile(pattern), value))
        self._full = tuple(full)
        self._parents = ChildTable((parent, tuple(patterns)) for parent, patterns in parents.items()) if parents else None

    def get(self, host: str) -> V | None:
        """What the first matching pattern maps to, or None.

        @raise ValueError: C{host} is longer than a name can be.
        """
        if len(host) > LONGEST_NAME:
            raise ValueError("no name is that long")
        if host[-1:] == ".":
            host = host[:-1]
        if self._parents is not None and (closest := self._parents.closest(host)) is not None:
            before, patterns = closest
            for pattern, value in patterns:
                if pattern.search(before) is not None:
                    return value
        for pattern, value in self._full:
            if pattern.search(host) is not None:
                return value
        return None


def plain_name(name: str) -> str:
    """Without a leading or a root dot, lower case."""
    return name.removeprefix(".").removesuffix(".").lower()
