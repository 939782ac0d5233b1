# SPDX-License-Identifier: Apache-2.0
"""Options of one owner under those of another, and names that resolve to something else."""

from __future__ import annotations

from dataclasses import fields
from ipaddress import ip_address

from twisted.trial.unittest import SynchronousTestCase

from g3.net.options import HTTPKeepalive, Keepalive, Pick, PortRange, Query, ResolveStrategy, TCPConnect, TCPMisc, UDPMisc, UpstreamKeepalive
from g3.net.redirection import ResolveRedirection
from g3.net.tls.options import PEM, CertificatePair


class CombineTests(SynchronousTestCase):
    def test_keepalive_is_on_if_either_is(self) -> None:
        """With the smaller numbers."""
        one, other = Keepalive(enable=True, idle_time=30, probe_count=5), Keepalive(probe_interval=2, probe_count=3)
        self.assertEqual(one.adjusted(other), Keepalive(enable=True, idle_time=30, probe_interval=2, probe_count=3))
        self.assertEqual(Keepalive(idle_time=1).adjusted(Keepalive()), Keepalive())

    def test_http_keepalive_is_on_only_if_both_are(self) -> None:
        """For the shorter time, and what else there is stays."""
        both = UpstreamKeepalive(idle_expire=30, shared=True).adjusted(HTTPKeepalive(idle_expire=20))
        self.assertEqual(both, UpstreamKeepalive(idle_expire=20, shared=True))
        self.assertFalse(HTTPKeepalive().adjusted(HTTPKeepalive(enable=False)).enable)

    def test_a_user_may_only_shrink_sizes_and_lifetimes(self) -> None:
        """The rest is the user's choice."""
        ours = TCPMisc(no_delay=True, time_to_live=64, type_of_service=1, netfilter_mark=7)
        users = TCPMisc(no_delay=False, time_to_live=128, max_segment_size=1400, type_of_service=2)
        self.assertEqual(ours.adjusted(users), TCPMisc(no_delay=True, time_to_live=64, max_segment_size=1400, type_of_service=2, netfilter_mark=7))
        self.assertEqual(UDPMisc(hop_limit=9).adjusted(UDPMisc(hop_limit=8, traffic_class=1)), UDPMisc(hop_limit=8, traffic_class=1))

    def test_options_know_whether_they_set_more_than_no_delay(self) -> None:
        """Each other one counts, also after two were put together."""
        for quiet in (TCPMisc(), TCPMisc(no_delay=False), TCPMisc().adjusted(TCPMisc(no_delay=True))):
            self.assertTrue(quiet.only_no_delay)
        said = [TCPMisc(**{item.name: 1}) for item in fields(TCPMisc) if item.init and item.name != "no_delay"]  # type: ignore[arg-type]
        self.assertEqual(len(said), 7)
        self.assertFalse(any(options.only_no_delay for options in [*said, TCPMisc().adjusted(TCPMisc(hop_limit=3))]))

    def test_connecting_is_limited_to_the_smaller_of_both(self) -> None:
        """Tries and time."""
        self.assertEqual(TCPConnect(max_retry=5, each_timeout=10).limited(TCPConnect()), TCPConnect(max_retry=2, each_timeout=10))
        self.assertEqual(TCPConnect().max_tries, 3)

    def test_a_single_family_strategy_keeps_its_range(self) -> None:
        """Only what picks is taken from the user."""
        only = ResolveStrategy(Query.IPV4_ONLY)
        user = ResolveStrategy(Query.IPV6_FIRST, Pick.SERIAL)
        self.assertEqual(only.adjusted(user), ResolveStrategy(Query.IPV4_ONLY, Pick.SERIAL))
        self.assertEqual(ResolveStrategy().adjusted(user), user)

    def test_a_family_that_is_off_narrows_the_strategy(self) -> None:
        """Nothing left is an error."""
        for query, four, six in (
            (Query.IPV4_FIRST, Query.IPV6_ONLY, Query.IPV4_ONLY),
            (Query.IPV6_FIRST, Query.IPV6_ONLY, Query.IPV4_ONLY),
            (Query.IPV6_ONLY, Query.IPV6_ONLY, None),
            (Query.IPV4_ONLY, None, Query.IPV4_ONLY),
        ):
            for no_ipv4, left in ((True, four), (False, six)):
                strategy = ResolveStrategy(query, Pick.SERIAL)
                if left is None:
                    self.assertRaises(ValueError, strategy.narrowed, no_ipv4=no_ipv4, no_ipv6=not no_ipv4)
                else:
                    self.assertEqual(strategy.narrowed(no_ipv4=no_ipv4, no_ipv6=not no_ipv4), ResolveStrategy(left, Pick.SERIAL))
        self.assertRaises(ValueError, ResolveStrategy().narrowed, no_ipv4=True, no_ipv6=True)

    def test_a_range_of_ports_has_both_ends(self) -> None:
        """And as many ports as there are."""
        ports = PortRange(5, 7)
        self.assertEqual((len(ports), 5 in ports, 7 in ports, 8 in ports), (3, True, True, False))


class TLSOptionTests(SynchronousTestCase):
    def test_a_changed_file_makes_other_options(self) -> None:
        """The same content under another path does not."""
        self.assertEqual(PEM(b"x", "/a"), PEM(b"x", "/b"))
        self.assertNotEqual(PEM(b"x", "/a"), PEM(b"y", "/a"))

    def test_private_keys_do_not_show(self) -> None:
        """In no repr."""
        self.assertNotIn("secret", repr(CertificatePair(PEM(b"cert", "/c"), PEM(b"secret", "/k"))))


class RedirectionTests(SynchronousTestCase):
    rules = ResolveRedirection(
        [("a.example.net", "b.example.net"), ("c.example.net", (ip_address("192.0.2.1"), ip_address("::1")))],
        [("example.net", "example.org"), ("x.example.net", "y")],
    )

    def test_a_name_itself_goes_before_its_parents(self) -> None:
        """To another name or to addresses."""
        self.assertEqual(self.rules.query("a.example.net"), "b.example.net")
        self.assertEqual(self.rules.query("c.example.net"), (ip_address("192.0.2.1"), ip_address("::1")))

    def test_the_closest_parent_is_replaced(self) -> None:
        """At label boundaries, the parent itself too."""
        for name, other in {"d.example.net": "d.example.org", "example.net": "example.org", "q.x.example.net": "q.y", "x.example.net": "y"}.items():
            self.assertEqual(self.rules.query(name), other, name)
        for name in ("notexample.net", "net", "example.org"):
            self.assertIsNone(self.rules.query(name), name)

    def test_redirections_are_equal_by_what_they_say(self) -> None:
        """Not by order."""
        self.assertEqual(ResolveRedirection([("a", "b"), ("c", "d")]), ResolveRedirection([("c", "d"), ("a", "b")]))
        self.assertNotEqual(ResolveRedirection([("a", "b")]), ResolveRedirection([], [("a", "b")]))
