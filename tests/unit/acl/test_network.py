# SPDX-License-Identifier: Apache-2.0
"""Rules on addresses, judged by the ipaddress module."""

from __future__ import annotations

from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from g3.acl import Action, NetworkFilter, egress_filter, ingress_filter
from g3.acl.tables import NetworkTable

PERMIT, FORBID = Action.PERMIT, Action.FORBID
Network = IPv4Network | IPv6Network

# few distinct bits, so that networks nest and addresses hit
SMALL = st.sampled_from([0, 1, 2, 3, 0x7F, 0x80, 0xFE, 0xFF])
BYTES4 = st.lists(SMALL, min_size=4, max_size=4).map(bytes)
BYTES6 = st.lists(SMALL, min_size=16, max_size=16).map(bytes)
ADDRESSES = st.one_of(BYTES4.map(IPv4Address), BYTES6.map(IPv6Address), BYTES4.map(lambda tail: IPv6Address(b"\0" * 10 + b"\xff\xff" + tail)))


def network(address: IPv4Address | IPv6Address, length: int) -> Network:
    return ip_network((address, min(length, address.max_prefixlen)), strict=False)


NETWORKS = st.builds(network, ADDRESSES, st.integers(0, 128))


def plain(ip: IPv4Address | IPv6Address) -> IPv4Address | IPv6Address:
    return getattr(ip, "ipv4_mapped", None) or ip


def oracle(rules: list[tuple[Network, int]], ip: IPv4Address | IPv6Address) -> int | None:
    """The rule of the longest network that holds the address, later ones over earlier ones."""
    best: tuple[int, int] | None = None
    for net, value in rules:
        if net.version == 6 and net.prefixlen >= 96 and plain(net.network_address).version == 4:
            net = IPv4Network((plain(net.network_address), net.prefixlen - 96))
        if net.version == ip.version and ip in net and (best is None or net.prefixlen >= best[0]):
            best = net.prefixlen, value
    return None if best is None else best[1]


class PrefixTests(SynchronousTestCase):
    @given(st.lists(st.tuples(NETWORKS, st.integers(1, 1000)), max_size=30), st.lists(ADDRESSES, max_size=10))
    @settings(max_examples=400, deadline=None)
    def test_the_longest_prefix_decides(self, rules: list[tuple[Network, int]], addresses: list[IPv4Address | IPv6Address]) -> None:
        """Each family apart, v4-mapped addresses and networks as IPv4."""
        table = NetworkTable(rules)
        for ip in [*addresses, *(net.network_address for net, _ in rules), *(net.broadcast_address for net, _ in rules)]:
            self.assertEqual(table.get(ip), oracle(rules, plain(ip)), (rules, ip))

    def test_a_missed_address_gets_the_missed_action(self) -> None:
        """And is not found."""
        rules = NetworkFilter([(ip_network("10.0.0.0/8"), PERMIT)], FORBID)
        self.assertEqual(rules.check(ip_address("10.1.2.3")), (True, PERMIT))
        self.assertEqual(rules.check(ip_address("11.1.2.3")), (False, FORBID))
        self.assertEqual(rules.check(ip_address("::a01:203")), (False, FORBID))


class BuiltInTests(SynchronousTestCase):
    def test_egress_forbids_what_is_no_destination(self) -> None:
        """Even where everything else is allowed."""
        rules = egress_filter(missed=PERMIT)
        for text in ("0.0.0.0", "127.0.0.1", "127.255.255.254", "169.254.169.254", "::", "::1", "fe80::1", "febf::1", "100::1"):
            self.assertEqual(rules.check(ip_address(text)), (True, FORBID), text)
        for text in ("0.0.0.1", "128.0.0.1", "169.253.1.1", "::2", "fec0::1", "100:0:0:1::1", "192.0.2.1"):
            self.assertEqual(rules.check(ip_address(text)), (False, PERMIT), text)

    def test_a_mapped_address_is_no_way_around_egress(self) -> None:
        """::ffff:127.0.0.1 is 127.0.0.1."""
        self.assertEqual(egress_filter(missed=PERMIT).check(IPv6Address("::ffff:127.0.0.1")), (True, FORBID))

    def test_a_more_specific_rule_opens_a_built_in_one(self) -> None:
        """127.0.0.1 allowed leaves 127.0.0.2 forbidden; the very network named replaces the built-in rule."""
        rules = egress_filter([(ip_network("127.0.0.1"), PERMIT), (ip_network("fe80::/10"), PERMIT)], PERMIT)
        self.assertEqual(rules.check(ip_address("127.0.0.1")), (True, PERMIT))
        self.assertEqual(rules.check(ip_address("127.0.0.2")), (True, FORBID))
        self.assertEqual(rules.check(ip_address("fe80::1")), (True, PERMIT))

    def test_ingress_lets_the_own_host_in(self) -> None:
        """127.0.0.1 and ::1, no other loopback address, unless a rule says otherwise."""
        rules = ingress_filter([(ip_network("192.0.2.0/24"), PERMIT)])
        self.assertEqual([rules.check(ip_address(ip))[1] for ip in ("127.0.0.1", "::1", "192.0.2.9")], [PERMIT] * 3)
        self.assertEqual([rules.check(ip_address(ip))[1] for ip in ("127.0.0.2", "198.51.100.1")], [FORBID] * 2)
        closed = ingress_filter([(ip_network("127.0.0.1"), FORBID)])
        self.assertEqual(closed.check(ip_address("127.0.0.1")), (True, FORBID))


class ValueTests(SynchronousTestCase):
    def test_filters_are_equal_by_what_they_say(self) -> None:
        """Not by the order of rules, nor by rules that were replaced."""
        one, two = ip_network("10.0.0.0/8"), ip_network("11.0.0.0/8")
        rules = NetworkFilter([(one, PERMIT), (two, FORBID)], FORBID)
        same = NetworkFilter([(two, PERMIT), (two, FORBID), (one, PERMIT)], FORBID)
        self.assertEqual(rules, same)
        self.assertEqual(hash(rules), hash(same))
        for other in (NetworkFilter([(one, PERMIT)], FORBID), NetworkFilter([(one, PERMIT), (two, FORBID)], PERMIT), None):
            self.assertNotEqual(rules, other)

    def test_actions_are_ordered_by_strictness(self) -> None:
        """Forbid before permit, and of each the one that logs."""
        order = [Action.FORBID_LOG, Action.FORBID, Action.PERMIT_LOG, Action.PERMIT]
        for at, strict in enumerate(order):
            for lax in order[at:]:
                self.assertIs(strict.restrict(lax), strict)
                self.assertIs(lax.restrict(strict), strict)
        self.assertEqual([action.forbids for action in order], [True, True, False, False])
