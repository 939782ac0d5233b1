# SPDX-License-Identifier: Apache-2.0
"""Rules on addresses: the smallest network that holds an address decides."""

from __future__ import annotations

from ipaddress import ip_network
from typing import TYPE_CHECKING, Generic

from g3.acl.action import A, Action
from g3.acl.rule import Filter
from g3.acl.tables import NetworkTable

if TYPE_CHECKING:
    from collections.abc import Iterable

    from g3.acl.tables import IPNetwork
    from g3.task import IPAddress

#: Where no proxy should be asked to go: unspecified, loopback, link-local and discard-only addresses.
EGRESS_FORBIDDEN = tuple(ip_network(text) for text in ("0.0.0.0/32", "127.0.0.0/8", "169.254.0.0/16", "::/128", "::1/128", "fe80::/10", "100::/64"))
#: Who may always come in.
INGRESS_PERMITTED = tuple(ip_network(text) for text in ("127.0.0.1/32", "::1/128"))


class NetworkFilter(Filter[A], Generic[A]):
    """C{check(ip)}: what the longest matching prefix says. A v4-mapped address is judged as the IPv4 address it is."""

    __slots__ = ("_get",)

    def __init__(self, rules: Iterable[tuple[IPNetwork, A]], missed: A) -> None:
        """C{missed} is what holds for an address no rule knows; a later rule for the same network replaces an earlier one."""
        table = NetworkTable(rules)
        super().__init__(table.items, missed)
        self._get = NetworkTable((network, (True, action)) for network, action in table.items).get

    def check(self, ip: IPAddress) -> tuple[bool, A]:
        """(whether a rule was found, what holds)."""
        return self._get(ip) or self.miss


def egress_filter(rules: Iterable[tuple[IPNetwork, Action]] = (), missed: Action = Action.FORBID) -> NetworkFilter[Action]:
    """For the addresses an escaper may connect to: L{EGRESS_FORBIDDEN} holds unless a rule says otherwise of it or of a part of it."""
    return NetworkFilter([*((network, Action.FORBID) for network in EGRESS_FORBIDDEN), *rules], missed)


def ingress_filter(rules: Iterable[tuple[IPNetwork, Action]] = (), missed: Action = Action.FORBID) -> NetworkFilter[Action]:
    """For the addresses a server takes clients from: L{INGRESS_PERMITTED} too, unless a rule says otherwise."""
    return NetworkFilter([*((network, Action.PERMIT) for network in INGRESS_PERMITTED), *rules], missed)
