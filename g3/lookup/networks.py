# SPDX-License-Identifier: Apache-2.0
"""Networks that come and go, found by longest prefix: a dict for each prefix length in use."""

from __future__ import annotations

from bisect import insort
from typing import TYPE_CHECKING, Generic, TypeVar

if TYPE_CHECKING:
    from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network

V = TypeVar("V")


class _Family(Generic[V]):
    """The networks of one family. C{shifts} are how far to shift an address for each prefix length in use, the longest prefix first."""

    __slots__ = ("bits", "levels", "shifts")

    def __init__(self, bits: int) -> None:
        self.bits = bits
        self.levels: dict[int, dict[int, V]] = {}
        self.shifts: list[int] = []

    def level(self, shift: int) -> dict[int, V]:
        found = self.levels.get(shift)
        if found is None:
            found = self.levels[shift] = {}
            insort(self.shifts, shift)
        return found


class NetworkMap(Generic[V]):
    """A value for each network, IPv4 and IPv6 apart; a v4-mapped address is the IPv6 address that it is, as upstream.

    At most C{most} networks: one more drops the one that was set longest ago.
    """

    __slots__ = ("_families", "_most", "_order")

    def __init__(self, most: int = 0) -> None:
        self._families: dict[int, _Family[V]] = {4: _Family(32), 6: _Family(128)}
        self._most = most
        self._order: dict[tuple[int, int, int], None] = {}

    def __len__(self) -> int:
        return sum(len(level) for family in self._families.values() for level in family.levels.values())

    def set(self, version: int, number: int, prefix: int, value: V) -> None:
        """C{number} is the network address as a number, no bit set beyond C{prefix}."""
        family = self._families[version]
        shift = family.bits - prefix
        family.level(shift)[number >> shift] = value
        if self._most:
            self._note((version, shift, number >> shift))

    def _note(self, place: tuple[int, int, int]) -> None:
        self._order.pop(place, None)
        self._order[place] = None
        if len(self._order) > self._most:
            self._drop(next(iter(self._order)))

    def _drop(self, place: tuple[int, int, int]) -> None:
        version, shift, number = place
        del self._order[place]
        family = self._families[version]
        level = family.levels[shift]
        del level[number]
        if not level:
            del family.levels[shift]
            family.shifts.remove(shift)

    def put(self, network: IPv4Network | IPv6Network, value: V) -> None:
        """The same for a network object."""
        self.set(network.version, int(network.network_address), network.prefixlen, value)

    def get(self, ip: IPv4Address | IPv6Address) -> tuple[V, int] | None:
        """(value, prefix length) of the smallest network around C{ip}, or None."""
        family = self._families[ip.version]
        number = int(ip)
        levels = family.levels
        for shift in family.shifts:
            found = levels[shift].get(number >> shift)
            if found is not None:
                return found, family.bits - shift
        return None
