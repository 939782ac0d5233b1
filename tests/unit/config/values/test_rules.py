# SPDX-License-Identifier: Apache-2.0
"""Limits, access rules, matches, redirections and tags, as upstream's files write them."""

from __future__ import annotations

from ipaddress import ip_address
from typing import TYPE_CHECKING, Any

from twisted.trial.unittest import SynchronousTestCase

from g3.acl import Action
from g3.config.schema import Nested, config_class, key
from g3.config.value import Reported, Value
from g3.config.values.acl import (
    ChildDomainFilterValue,
    EgressFilter,
    ExactHostFilterValue,
    HostFilterSetValue,
    IngressFilter,
    PortFilterValue,
    RegexDomainFilterValue,
    RequestFilterValue,
    UserAgentFilterValue,
)
from g3.config.values.basic import Int, NodeName, Reference
from g3.config.values.limit import (
    DatagramSpeedValue,
    GlobalDatagramSpeedValue,
    GlobalStreamSpeedValue,
    RateQuotaValue,
    StreamSpeedValue,
)
from g3.config.values.metrics import HistogramValue, MetricTags, Quantiles, WeightedNodeName
from g3.config.values.resolve import ResolveRedirectionValue, ResolveStrategyValue
from g3.config.values.route import AlpnMatched, HostMatched, PathMatched
from g3.limit.options import DatagramSpeed, GlobalDatagramSpeed, GlobalStreamSpeed, RateQuota, StreamSpeed
from g3.metrics.quantile import HistogramOptions
from g3.net.options import Pick, Query, ResolveStrategy
from g3.net.redirection import ResolveRedirection
from g3.pick import Weighted
from tests.unit.config.samples import parse, refusal
from tests.unit.config.values.test_sockets import reported

if TYPE_CHECKING:
    from g3.acl.match import HostMatch

PERMIT, FORBID = Action.PERMIT, Action.FORBID


class SpeedTests(SynchronousTestCase):
    def test_a_size_limits_both_directions(self) -> None:
        """In slices of 1024 milliseconds."""
        self.assertEqual(parse(StreamSpeedValue(), "10M"), StreamSpeed(shift=10, upload=10**7, download=10**7))
        self.assertEqual(parse(DatagramSpeedValue(), "10M"), DatagramSpeed(shift=10, upload_bytes=10**7, download_bytes=10**7))
        self.assertTrue(refusal(StreamSpeedValue(), "0"))

    def test_a_map_limits_each_direction(self) -> None:
        """Without a shift nothing is limited, with one a stream needs both."""
        for north, south in (("upload", "download"), ("north", "south"), ("upload_bytes", "download_bytes"), ("north_bytes", "south_bytes")):
            self.assertEqual(
                parse(StreamSpeedValue(), f"{{shift_millis: 8, {north}: 1K, {south}: 2K}}"), StreamSpeed(shift=8, upload=1000, download=2000)
            )
        self.assertEqual(parse(StreamSpeedValue(), "{upload: 1K}"), StreamSpeed(upload=1000))
        self.assertEqual(parse(DatagramSpeedValue(), "{shift: 8, north_packets: 5}"), DatagramSpeed(shift=8, upload_packets=5))
        self.assertEqual(
            reported(StreamSpeedValue(), "{shift: 10, upload: 1K}"), ["1:1: download must not be 0 where there is a limit: nothing would ever pass"]
        )
        self.assertEqual(reported(DatagramSpeedValue(), "{shift: 13}"), ["1:9: shift must be at most 12, which is about four seconds"])

    def test_a_shared_bucket_holds_at_least_one_replenishment(self) -> None:
        """A size is one per second."""
        self.assertEqual(parse(GlobalStreamSpeedValue(), "1M"), GlobalStreamSpeed(replenish_bytes=10**6, max_burst=10**6))
        self.assertEqual(
            parse(GlobalStreamSpeedValue(), "{replenish_interval: 2s, replenish_bytes: 5K, max_burst_bytes: 1K}"),
            GlobalStreamSpeed(replenish_bytes=5000, max_burst=5000, replenish_interval=2),
        )
        self.assertEqual(parse(GlobalDatagramSpeedValue(), "1M"), GlobalDatagramSpeed(replenish_bytes=10**6, max_burst_bytes=10**6))
        self.assertEqual(
            parse(GlobalDatagramSpeedValue(), "{replenish_packets: 5, max_burst_packets: 9}"),
            GlobalDatagramSpeed(replenish_packets=5, max_burst_packets=9),
        )
        self.assertEqual(reported(GlobalStreamSpeedValue(), "{}"), ['1:1: required key "replenish_bytes" is missing'])
        self.assertEqual(reported(GlobalDatagramSpeedValue(), "{}"), ["1:1: one of replenish_bytes and replenish_packets must be set"])

    def test_a_rate_is_so_many_per_time(self) -> None:
        """All of them at once, then evenly spread."""
        for text, quota in {
            "30": (1 / 30, 30),
            "'30'": (1 / 30, 30),
            "30/s": (1 / 30, 30),
            "'30 /m'": (2.0, 30),
            "3600/h": (1.0, 3600),
            "{rate: 10/s, max_burst: 3}": (0.1, 3),
            "{replenish_interval: 100ms}": (0.1, 1),
            "{replenish_interval: 2s, rate: 4}": (0.25, 4),
            "{rate: 4, replenish-interval: 2s}": (2.0, 1),
        }.items():
            self.assertEqual(parse(RateQuotaValue(), text), RateQuota(replenish_interval=quota[0], max_burst=quota[1]), text)
        for text in ("0", "-1", "30/d", "a", "~", "true", "1.5", "4294967296", "4000000000/s", "[]"):
            self.assertTrue(refusal(RateQuotaValue(), text), text)
        self.assertEqual(reported(RateQuotaValue(), "{max_burst: 3}"), ["1:1: one of rate and replenish_interval must be set"])


class ACLTests(SynchronousTestCase):
    def test_a_bare_list_permits_and_forbids_the_rest(self) -> None:
        """One value is a list of one."""
        for text in ("a.example", "[a.example]", "{permit: a.example}", "{Allow: [a.example], default: deny}"):
            rules = parse(ExactHostFilterValue(), text)
            self.assertEqual((rules.check("a.example"), rules.check("b.example")), ((True, PERMIT), (False, FORBID)), text)

    def test_a_bare_list_of_user_agents_forbids_them_and_permits_the_rest(self) -> None:
        """The other way round than all other rules."""
        rules = parse(UserAgentFilterValue(), "[curl, Go-http-client]")
        self.assertEqual((rules.check("CURL/8"), rules.check("Mozilla/5.0")), ((True, FORBID), (False, PERMIT)))

    def test_actions_have_three_words_each(self) -> None:
        """In any case, with - or _."""
        for action, words in {
            Action.PERMIT: ("permit", "allow", "ACCEPT"),
            Action.FORBID: ("forbid", "Deny", "reject"),
            Action.PERMIT_LOG: ("permit_log", "allow-log", "accept_log"),
            Action.FORBID_LOG: ("forbid-log", "deny_log", "reject_log"),
        }.items():
            for word in words:
                self.assertEqual(parse(PortFilterValue(), f"{{{word}: 80}}").check(80), (True, action))
                self.assertEqual(parse(PortFilterValue(), f"{{default: {word}}}").check(80), (False, action))

    def test_network_filters_have_their_built_in_rules(self) -> None:
        """Which a default does not remove, and a rule does."""
        egress = parse(EgressFilter(), "{default: allow, allow: 127.0.0.1}")
        self.assertEqual([egress.check(ip_address(ip))[1] for ip in ("127.0.0.1", "127.0.0.2", "192.0.2.1")], [PERMIT, FORBID, PERMIT])
        ingress = parse(IngressFilter(), "192.0.2.0/24")
        self.assertEqual(
            [ingress.check(ip_address(ip))[1] for ip in ("192.0.2.1", "127.0.0.1", "::1", "127.0.0.2")], [PERMIT, PERMIT, PERMIT, FORBID]
        )

    def test_patterns_may_belong_to_a_parent(self) -> None:
        """One or a list; the syntax is upstream's."""
        rules = parse(RegexDomainFilterValue(), r"{deny: ['^ads?\d', {parent: example.net, regex: ['^x$', '[[:digit:]]+\z']}], default: allow}")
        for host, found in {
            "ad7.example.com": True,
            "x.example.net": True,
            "a9.example.net": True,
            "y.example.net": False,
            "a9.example.com": False,
        }.items():
            self.assertEqual(rules.check(host)[0], found, host)
        self.assertEqual(
            reported(RegexDomainFilterValue(), "['(', {parent: a}, {parent: a, regex: b, x: 1}, 5]"),
            [
                '1:2: "(" is not a regular expression: missing ), unterminated subpattern at position 0',
                '1:7: required key "regex" is missing',
                '1:42: unknown key "x"',
                "1:49: expected a regular expression, not the number 5",
            ],
        )

    def test_a_pattern_that_may_take_forever_gets_a_warning(self) -> None:
        """And is used."""
        self.assertIn("exponential", reported(RegexDomainFilterValue(), "['(a+)+$']")[0])

    def test_ports_and_requests_have_their_own_words(self) -> None:
        """Ranges and lists; request types in one word or with underscores."""
        ports = parse(PortFilterValue(), "[80, '443,8000-8010']")
        self.assertEqual([ports.check(port)[0] for port in (80, 443, 8005, 8011)], [True, True, True, False])
        requests = parse(RequestFilterValue(), "[http_connect, HttpsForward, socks-udp-associate]")
        self.assertEqual(
            [requests.check(word)[0] for word in ("HttpConnect", "HttpsForward", "SocksUdpAssociate", "HttpForward")], [True, True, True, False]
        )
        self.assertTrue(reported(RequestFilterValue(), "[ftp]"))

    def test_every_problem_of_a_rule_is_told(self) -> None:
        """With its place."""
        self.assertEqual(
            reported(ChildDomainFilterValue(), "{alow: a, default: maybe,\n deny: [a, 'b c', ~]}"),
            [
                '1:2: unknown action "alow"; did you mean "allow"?',
                '1:20: default must be an action (permit, forbid, permit_log, forbid_log), not "maybe"',
                '2:12: character " " is not allowed in a host',
                "2:19: expected a domain, not nothing",
            ],
        )

    def test_a_set_has_four_kinds_of_rules(self) -> None:
        """Under two names each; a missed host gets the strictest default."""
        for exact, child, regex, subnet in (("exact", "child", "regex", "subnet"), ("exact_match", "child_match", "regex-match", "subnet_match")):
            text = f"{exact}: [a.example], {child}: {{deny: b.example, default: allow}}, {regex}: {{deny: c, default: allow}}"
            text = f"{{{text}, {subnet}: [10.0.0.0/8]}}"
            rules = parse(HostFilterSetValue(), text)
            checks = [rules.check(host, None) for host in ("a.example", "x.b.example", "c.d", "e")]
            self.assertEqual(checks, [(True, PERMIT), (True, FORBID), (True, FORBID), (False, FORBID)])
            ips = [rules.check(ip, ip_address(ip)) for ip in ("10.0.0.1", "127.0.0.1", "192.0.2.1")]
            self.assertEqual(ips, [(True, PERMIT), (True, FORBID), (False, FORBID)])
        self.assertEqual(parse(HostFilterSetValue(), "{}").check("a", None), (False, PERMIT))
        self.assertEqual(reported(HostFilterSetValue(), "{suffix: a}"), ['1:2: unknown key "suffix"'])


@config_class
class Site:
    """A value to be chosen."""

    size: int = key(Int())
    out: str = key(Reference("escaper"), default="")


class MatchTests(SynchronousTestCase):
    def test_a_map_matches_hosts_and_holds_the_value(self) -> None:
        """Without a key that matches it is the default."""
        value = HostMatched(Nested(Site))
        text = "[{exact_match: [A.example, 192.0.2.1], size: 1}, {child-match: example, set_default: true, size: 2}]"
        match: HostMatch[Site] = parse(value, text)
        found = [match.get("a.example"), match.get("192.0.2.1", ip_address("192.0.2.1")), match.get("b.example"), match.get("c")]
        self.assertEqual([site.size if site else None for site in found], [1, 1, 2, 2])
        only = parse(value, "{size: 3}").get("anything")
        self.assertEqual(only.size if only else None, 3)

    def test_each_match_and_the_default_are_given_once(self) -> None:
        """And every problem is told."""
        self.assertEqual(
            reported(
                HostMatched(Nested(Site)),
                "[{size: 1},\n {size: 2},\n {exact_match: a, size: 3},\n {exact_match: A, size: 4},\n {exact_match: 'a b', siz: 5},\n 6]",
            ),
            [
                "2:2: there is a default map already",
                '4:16: "a" is matched twice as exact_match',
                '5:2: required key "size" is missing',
                '5:16: character " " is not allowed in a host',
                '5:23: unknown key "siz"; did you mean "size"?',
                "6:2: expected a map, not the number 6",
            ],
        )

    def test_a_match_names_the_nodes_its_values_name(self) -> None:
        """Each value once."""
        value = HostMatched(Nested(Site))
        match = parse(value, "[{exact_match: [a, b], size: 1, out: x}, {size: 1, out: y}]")
        self.assertEqual([reference.name for reference in value.references(match)], ["x", "y"])

    def test_a_value_may_stand_under_a_key_of_its_own(self) -> None:
        """Or alone, as the default."""
        value = AlpnMatched(NodeName(), "backend")
        match = parse(value, "[{protocol: [h2, http], backend: one}, two]")
        self.assertEqual([match.get(protocol) for protocol in ("h2", "http/1.1", "ftp")], ["one", "one", "two"])
        self.assertEqual(parse(value, "one").get("any"), "one")
        self.assertEqual(
            reported(value, "{protocol: h2}"),
            ['1:1: required key "backend" is missing', "1:1: expected a name (quote one that looks like a number), not a map"],
        )

    def test_paths_match_by_prefix(self) -> None:
        """The longest."""
        match = parse(PathMatched(Nested(Site)), "[{prefix_match: /a, size: 1}, {prefix_match: /a/b, size: 2}]")
        found = [match.get(path) for path in ("/a/b/c", "/a/c", "/")]
        self.assertEqual([site.size if site else None for site in found], [2, 1, None])


class ResolveTests(SynchronousTestCase):
    def test_a_strategy_is_a_word_or_a_map(self) -> None:
        """In any spelling."""
        for text, strategy in {
            "IPv4Only": ResolveStrategy(Query.IPV4_ONLY),
            "ipv6-first": ResolveStrategy(Query.IPV6_FIRST),
            "{query: ipv6_only, pick: first}": ResolveStrategy(Query.IPV6_ONLY, Pick.SERIAL),
            "{pick: Serial}": ResolveStrategy(Query.IPV4_FIRST, Pick.SERIAL),
            "{}": ResolveStrategy(),
        }.items():
            self.assertEqual(parse(ResolveStrategyValue(), text), strategy)
        for text in ("IPv5", "4", "~", "[]"):
            self.assertTrue(refusal(ResolveStrategyValue(), text), text)

    def test_a_redirection_is_a_map_or_a_list_of_maps(self) -> None:
        """To a name, an address or several; a parent to a parent."""
        one, six = ip_address("192.0.2.1"), ip_address("2001:db8::1")
        self.assertEqual(
            parse(ResolveRedirectionValue(), "{A.example: B.example, c.example: 192.0.2.1, d.example: ['::ffff:192.0.2.1', '2001:db8::1']}"),
            ResolveRedirection([("a.example", "b.example"), ("c.example", (one,)), ("d.example", (one, six))]),
        )
        self.assertEqual(
            parse(ResolveRedirectionValue(), "[{exact: a.example, to: b.example}, {parent: example.net, to: example.org}]"),
            ResolveRedirection([("a.example", "b.example")], [("example.net", "example.org")]),
        )

    def test_every_problem_of_a_redirection_is_told(self) -> None:
        """With its place."""
        self.assertEqual(
            reported(
                ResolveRedirectionValue(),
                "[{exact: a, to: []},\n {parent: a, to: [1.1.1.1]},\n {exact: 1.1.1.1, to: a},\n {to: a},\n {exact: a},\n"
                " 5, {exact: a, to: b, x: c}]",
            ),
            [
                "1:17: must not be empty",
                "2:18: expected a domain, not a list",
                '3:10: "1.1.1.1" is an address and never resolved',
                '4:2: required key "exact" is missing',
                '5:2: required key "to" is missing',
                "6:2: expected a map with exact or parent, and to, not the number 5",
                '6:23: unknown key "x"',
            ],
        )
        self.assertTrue(refusal(ResolveRedirectionValue(), "a"))


class MetricsTests(SynchronousTestCase):
    def test_tags_are_letters_digits_and_some_marks(self) -> None:
        """A number counts as written; they come in order of their names."""
        self.assertEqual(parse(MetricTags(), "{b: x-1, a: 1.10, Ü: '', c_d: a/b.c}"), (("a", "1.10"), ("b", "x-1"), ("c_d", "a/b.c"), ("Ü", "")))
        self.assertEqual(
            reported(MetricTags(), "{a: 'x y', 'b|c': d, '': e, f: ~}"),
            [
                '1:5: character " " is not allowed in a tag (letters, digits, - _ . /)',
                '1:12: character "|" is not allowed in a tag (letters, digits, - _ . /)',
                "1:22: the name of a tag must not be empty",
                "1:32: expected a metric tag value, not nothing",
            ],
        )
        self.assertTrue(refusal(MetricTags(), "{" + ", ".join(f"t{at}: 1" for at in range(65)) + "}"))

    def test_quantiles_are_a_list_or_a_string_of_numbers(self) -> None:
        """As written they become the tag; each once, in order."""
        for text, shown in {"'0.9, 0.50'": ["0.50", "0.9"], "[0.99, '0.5', 0.50, 1]": ["0.5", "0.99", "1"], "0.9": ["0.9"]}.items():
            self.assertEqual([quantile.text for quantile in parse(Quantiles(), text)], shown)
        for text in ("'a'", "'0.5,'", "1.1", "~", "{}", "true", "nan"):
            self.assertTrue(refusal(Quantiles(), text), text)
        self.assertRaises(Reported, parse, Quantiles(), "[0.5, 2]")

    def test_a_histogram_is_a_duration_or_a_map(self) -> None:
        """With upstream's defaults."""
        self.assertEqual(parse(HistogramValue(), "8s"), HistogramOptions(rotate=8))
        self.assertEqual([q.text for q in parse(HistogramValue(), "{}").quantile], ["0.50", "0.80", "0.90", "0.95", "0.99"])

    def test_node_names_may_have_weights(self) -> None:
        """Under name."""
        self.assertEqual(parse(WeightedNodeName(), "a"), Weighted("a"))
        self.assertEqual(parse(WeightedNodeName(), "{name: a, weight: 0}"), Weighted("a", 0.0))


class DumpTests(SynchronousTestCase):
    def test_a_dump_shows_what_holds(self) -> None:
        """Built-in rules too, under the first word of each action."""
        cases: list[tuple[Value[Any], str, Any]] = [
            (PortFilterValue(), "{deny: ['1-3', 9], default: allow-log}", {"default": "permit_log", "forbid": ["1-3", "9"]}),
            (IngressFilter(), "[]", {"default": "forbid", "permit": ["127.0.0.1/32", "::1/128"]}),
            (RegexDomainFilterValue(), "{deny: {parent: a, regex: b}}", {"default": "forbid", "forbid": [{"parent": "a", "regex": "b"}]}),
            (
                HostMatched(Nested(Site)),
                "{exact_match: a, set_default: on, size: 1}",
                [{"exact_match": ["a"], "set_default": True, "size": 1, "out": ""}],
            ),
            (RateQuotaValue(), "30/m", {"replenish_interval": "2s", "max_burst": 30}),
        ]
        for value, text, dumped in cases:
            self.assertEqual(value.dump(parse(value, text)), dumped)
