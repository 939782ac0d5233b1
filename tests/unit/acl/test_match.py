# SPDX-License-Identifier: Apache-2.0
"""Values chosen by host, ALPN protocol or path."""

from __future__ import annotations

from ipaddress import ip_address

from twisted.trial.unittest import SynchronousTestCase

from g3.acl.match import AlpnMatch, HostMatch, PathMatch


class HostMatchTests(SynchronousTestCase):
    match = HostMatch((("www.example.net", 1), ("192.0.2.1", 2)), (("example.net", 3),), 4)

    def test_exact_before_child_before_default(self) -> None:
        """Addresses are never children."""
        for host, value in {"www.example.net": 1, "a.example.net": 3, "example.net": 3, "example.org": 4}.items():
            self.assertEqual(self.match.get(host), value, host)
        self.assertEqual(self.match.get("192.0.2.1", ip_address("192.0.2.1")), 2)
        self.assertEqual(self.match.get("192.0.2.2", ip_address("192.0.2.2")), 4)

    def test_without_a_default_nothing_is_found(self) -> None:
        """None."""
        self.assertIsNone(HostMatch((("a", 1),)).get("b"))

    def test_each_value_is_made_once(self) -> None:
        """However many hosts lead to it."""
        shared, made = object(), []
        match = HostMatch((("a", shared), ("b", shared)), (("c", shared),), shared).map(lambda value: made.append(value) or len(made))
        self.assertEqual((made, match.get("a"), match.get("x.c"), match.get("z"), match.values), ([shared], 1, 1, 1, (1,)))

    def test_matches_are_equal_by_what_they_say(self) -> None:
        """Not by order."""
        self.assertEqual(HostMatch((("a", 1), ("b", 2))), HostMatch((("b", 2), ("a", 1))))
        self.assertEqual(hash(HostMatch((("a", 1), ("b", 2)))), hash(HostMatch((("b", 2), ("a", 1)))))
        self.assertNotEqual(HostMatch((("a", 1),)), HostMatch((("a", 2),)))
        self.assertNotEqual(HostMatch((("a", 1),)), HostMatch((), (("a", 1),)))


class OtherMatchTests(SynchronousTestCase):
    def test_alpn_falls_back_to_what_is_before_the_slash(self) -> None:
        """Then to the default."""
        match = AlpnMatch((("http/1.1", 1), ("http", 2), ("h2", 3)), 4)
        for protocol, value in {"http/1.1": 1, "http/1.0": 2, "http": 2, "h2": 3, "h2/x": 3, "h3": 4}.items():
            self.assertEqual(match.get(protocol), value, protocol)

    def test_the_longest_prefix_of_a_path_decides(self) -> None:
        """Then the default."""
        match = PathMatch((("/", 1), ("/a/b", 2), ("/a", 3)), 4)
        for path, value in {"/x": 1, "/a/b/c": 2, "/abc": 3, "x": 4}.items():
            self.assertEqual(match.get(path), value, path)
