# SPDX-License-Identifier: Apache-2.0
"""Rules on hosts, ports, user agents and kinds of requests, and sets of them."""

from __future__ import annotations

import re
import time
from ipaddress import ip_address, ip_network

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from g3.acl import (
    Action,
    ChildDomainFilter,
    ExactHostFilter,
    HostFilterSet,
    NetworkFilter,
    PortFilter,
    RegexDomainFilter,
    RegexSetFilter,
    RequestFilter,
    UserAgentFilter,
)
from g3.acl.tables import ChildTable, PatternTable, SuffixTable

PERMIT, PERMIT_LOG, FORBID, FORBID_LOG = Action.PERMIT, Action.PERMIT_LOG, Action.FORBID, Action.FORBID_LOG

NAMES = st.lists(st.sampled_from(["a", "b", "example", "net", "t"]), min_size=1, max_size=5).map(".".join)


class ExactTests(SynchronousTestCase):
    def test_only_the_very_host_is_found(self) -> None:
        """A name or an address; its parent and children are other hosts."""
        rules = ExactHostFilter([("www.example.net", FORBID), ("192.0.2.1", FORBID), ("2001:db8::1", FORBID)], PERMIT)
        for host in ("www.example.net", "192.0.2.1", "2001:db8::1", "www.example.net."):
            self.assertEqual(rules.check(host), (True, FORBID), host)
        for host in ("example.net", "a.www.example.net", "192.0.2.2", "wwwxexample.net", ""):
            self.assertEqual(rules.check(host), (False, PERMIT), host)

    def test_a_later_rule_for_the_same_host_replaces_the_earlier(self) -> None:
        """As upstream's hash map does."""
        self.assertEqual(ExactHostFilter([("a", FORBID), ("A.", PERMIT)], FORBID).check("a"), (True, PERMIT))


class ChildTests(SynchronousTestCase):
    def test_a_domain_and_all_below_it_are_found(self) -> None:
        """At label boundaries only."""
        rules = ChildDomainFilter([("example.net", FORBID)], PERMIT)
        for host in ("example.net", "www.example.net", "a.b.example.net", "example.net."):
            self.assertEqual(rules.check(host), (True, FORBID), host)
        for host in ("net", "notexample.net", "example.net.org", "example.ne", ""):
            self.assertEqual(rules.check(host), (False, PERMIT), host)

    def test_the_closest_parent_decides(self) -> None:
        """Whatever the order of the rules."""
        rules = ChildDomainFilter([("b.example.net", PERMIT), ("example.net", FORBID), ("net", PERMIT_LOG)], FORBID)
        self.assertEqual(rules.check("a.b.example.net"), (True, PERMIT))
        self.assertEqual(rules.check("a.example.net"), (True, FORBID))
        self.assertEqual(rules.check("other.net"), (True, PERMIT_LOG))

    @given(st.lists(st.tuples(NAMES, st.integers(1, 99)), max_size=8), NAMES)
    @settings(max_examples=300, deadline=None)
    def test_the_closest_parent_is_the_longest_that_ends_the_name(self, items: list[tuple[str, int]], host: str) -> None:
        """Compared with looking at every entry."""
        fitting = [(len(domain), at) for at, (domain, _) in enumerate(items) if host == domain or host.endswith(f".{domain}")]
        self.assertEqual(ChildTable(items).get(host), items[max(fitting)[1]][1] if fitting else None)

    @given(st.lists(st.tuples(NAMES, st.integers(1, 99)), max_size=8), NAMES)
    @settings(max_examples=300, deadline=None)
    def test_the_longest_suffix_decides(self, items: list[tuple[str, int]], host: str) -> None:
        """Not bound to labels."""
        fitting = [(len(suffix), at) for at, (suffix, _) in enumerate(items) if host.endswith(suffix)]
        self.assertEqual(SuffixTable(items).get(host), items[max(fitting)[1]][1] if fitting else None)

    def test_a_suffix_is_not_bound_to_labels(self) -> None:
        """t.example.net ends test.example.net."""
        self.assertEqual(SuffixTable([("t.example.net", 1)]).get("test.example.net"), 1)


class RegexTests(SynchronousTestCase):
    def test_a_pattern_is_searched_for_in_the_full_name(self) -> None:
        """Not anchored."""
        rules = RegexDomainFilter([((None, "ad[0-9]+"), FORBID)], PERMIT)
        self.assertEqual(rules.check("www.ad17.example.net"), (True, FORBID))
        self.assertEqual(rules.check("www.example.net"), (False, PERMIT))

    def test_with_a_parent_the_pattern_sees_what_comes_before_it(self) -> None:
        """Without the dot; nothing for the parent itself."""
        rules = RegexDomainFilter([(("example.net", "^www$"), FORBID), (("example.org", "^$"), FORBID)], PERMIT)
        for host, found in {"www.example.net": True, "a.www.example.net": False, "www.example.com": False, "example.org": True}.items():
            self.assertEqual(rules.check(host)[0], found, host)

    def test_only_the_closest_parent_is_asked_then_full_names(self) -> None:
        """Patterns of a farther parent are not."""
        rules = RegexDomainFilter([(("net", "."), FORBID), (("example.net", "^x"), FORBID), ((None, "^y"), FORBID_LOG)], PERMIT)
        self.assertEqual(rules.check("x.example.net"), (True, FORBID))
        self.assertEqual(rules.check("a.example.net"), (False, PERMIT))
        self.assertEqual(rules.check("y.example.net"), (True, FORBID_LOG))
        self.assertEqual(rules.check("a.net"), (True, FORBID))

    def test_the_strictest_of_the_matching_patterns_decides(self) -> None:
        """Whatever the order."""
        for pairs in ([("a", PERMIT), ("b", FORBID)], [("b", FORBID), ("a", PERMIT)]):
            self.assertEqual(RegexDomainFilter([((None, p), action) for p, action in pairs], PERMIT).check("ab"), (True, FORBID))
            self.assertEqual(RegexSetFilter(pairs, PERMIT).check("ab"), (True, FORBID))

    def test_a_name_too_long_for_dns_gets_the_strictest_action(self) -> None:
        """No pattern is run on it."""
        rules = RegexDomainFilter([((None, "^good"), PERMIT), ((None, "^bad"), FORBID)], PERMIT)
        self.assertEqual(rules.check("good" + "a" * 300), (True, FORBID))
        self.assertRaises(ValueError, PatternTable([((None, "a"), 1)]).get, "a" * 256)
        self.assertEqual(RegexDomainFilter([], PERMIT).check("a" * 300), (False, PERMIT))

    def test_what_is_no_pattern_is_refused(self) -> None:
        """When the filter is made."""
        self.assertRaises(re.error, RegexDomainFilter, [((None, "("), FORBID)], PERMIT)


class UserAgentTests(SynchronousTestCase):
    rules = UserAgentFilter([("Go-http-client", FORBID), ("curl", FORBID)], PERMIT)

    def test_a_name_is_found_as_a_word(self) -> None:
        """In any case; it ends at a slash, space, semicolon or the end."""
        for value in ("curl", "curl/7.74.0", "CURL/8", "Mozilla/5.0 (X11; curl)".replace(")", ""), "a;curl;b", "x curl y", "go-HTTP-client/1.1"):
            self.assertEqual(self.rules.check(value), (True, FORBID), value)
        for value in ("", "mycurl/7", "curly/7", "curl-like", "(curl/7)", "a,curl", "pycurl", "Mozilla/5.0"):
            self.assertEqual(self.rules.check(value), (False, PERMIT), value)

    def test_a_false_match_does_not_hide_a_true_one(self) -> None:
        """Later in the header."""
        for value in ("xcurl curl", "curlcurl curl", "curl-x;curl/1"):
            self.assertTrue(self.rules.check(value)[0], value)

    def test_the_first_name_in_order_decides(self) -> None:
        """Not the first in the header."""
        rules = UserAgentFilter([("b", PERMIT), ("a", FORBID)], PERMIT_LOG)
        self.assertEqual(rules.check("b a"), (True, FORBID))


class PortTests(SynchronousTestCase):
    def test_a_port_is_found_or_missed(self) -> None:
        """A later rule replaces an earlier one for the same port."""
        rules = PortFilter([(80, PERMIT), (443, PERMIT), (80, FORBID)], FORBID_LOG)
        self.assertEqual([rules.check(port) for port in (80, 443, 81)], [(True, FORBID), (True, PERMIT), (False, FORBID_LOG)])

    def test_port_filters_are_equal_by_what_they_say(self) -> None:
        """Ranges or single ports."""
        self.assertEqual(PortFilter([(2, PERMIT), (1, PERMIT)], FORBID), PortFilter([(1, PERMIT), (2, PERMIT)], FORBID))
        self.assertNotEqual(PortFilter([(1, PERMIT)], FORBID), PortFilter([(2, PERMIT)], FORBID))
        self.assertEqual(PortFilter(((port, PERMIT) for port in (5, 1, 2, 3)), FORBID).rules, (((1, 3), PERMIT), ((5, 5), PERMIT)))

    def test_kinds_of_requests_are_found_by_their_word(self) -> None:
        """The type of the task."""
        rules = RequestFilter([("HttpConnect", PERMIT)], FORBID)
        self.assertEqual([rules.check(word) for word in ("HttpConnect", "HttpForward")], [(True, PERMIT), (False, FORBID)])


class SetTests(SynchronousTestCase):
    def check(self, rules: HostFilterSet[Action], host: str) -> tuple[bool, Action]:
        try:
            return rules.check(host, ip_address(host))
        except ValueError:
            return rules.check(host, None)

    def test_the_first_kind_of_rule_that_finds_the_host_decides(self) -> None:
        """Exact, child, regex for names; exact, subnet for addresses."""
        rules = HostFilterSet(
            ExactHostFilter([("www.example.net", PERMIT), ("10.0.0.1", PERMIT)], PERMIT),
            ChildDomainFilter([("example.net", FORBID)], PERMIT),
            RegexDomainFilter([((None, "example"), FORBID_LOG)], PERMIT),
            NetworkFilter([(ip_network("10.0.0.0/8"), FORBID)], PERMIT),
            missed=PERMIT,
        )
        expected = {
            "www.example.net": (True, PERMIT),
            "a.example.net": (True, FORBID),
            "example.org": (True, FORBID_LOG),
            "other.org": (False, PERMIT),
            "10.0.0.1": (True, PERMIT),
            "10.0.0.2": (True, FORBID),
            "11.0.0.1": (False, PERMIT),
        }
        self.assertEqual({host: self.check(rules, host) for host in expected}, expected)

    def test_an_address_is_never_looked_up_among_domains(self) -> None:
        """Even if a rule could match its text."""
        rules = HostFilterSet(child=ChildDomainFilter([("1", FORBID)], PERMIT), missed=PERMIT)
        self.assertEqual(self.check(rules, "10.0.0.1"), (False, PERMIT))

    def test_missed_hosts_get_the_strictest_missed_action_of_all_members(self) -> None:
        """Of those that were not asked too."""
        exact = ExactHostFilter([("a", PERMIT)], PERMIT)
        subnet = NetworkFilter([(ip_network("10.0.0.0/8"), PERMIT)], FORBID)
        self.assertEqual(self.check(HostFilterSet(exact, missed=PERMIT), "b"), (False, PERMIT))
        self.assertEqual(self.check(HostFilterSet(exact, subnet=subnet, missed=PERMIT), "b"), (False, FORBID))

    def test_sets_are_equal_by_what_they_say(self) -> None:
        """And hash alike."""

        def made(host: str) -> HostFilterSet[Action]:
            return HostFilterSet(ExactHostFilter([(host, PERMIT)], FORBID), missed=PERMIT)

        self.assertEqual(made("a"), made("a"))
        self.assertEqual(hash(made("a")), hash(made("a")))
        self.assertNotEqual(made("a"), made("b"))


class SpeedTests(SynchronousTestCase):
    def test_a_check_costs_no_more_with_many_rules(self) -> None:
        """A look-up among 20,000 rules takes about what one among 20 takes (ten times is allowed for)."""

        def cost(count: int) -> float:
            hosts = ExactHostFilter([(f"h{at}.example.net", FORBID) for at in range(count)], PERMIT)
            domains = ChildDomainFilter([(f"d{at}.example.org", FORBID) for at in range(count)], PERMIT)
            nets = NetworkFilter([(ip_network((at << 12, 20)), FORBID) for at in range(count)], PERMIT)
            ip = ip_address("192.0.2.1")
            rounds = []
            for _ in range(5):
                start = time.perf_counter()
                for _ in range(200):
                    hosts.check("www.example.com")
                    domains.check("www.example.com")
                    nets.check(ip)
                rounds.append(time.perf_counter() - start)
            return min(rounds)

        self.assertLess(cost(20000), 10 * cost(20))
