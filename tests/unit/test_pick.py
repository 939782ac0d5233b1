# SPDX-License-Identifier: Apache-2.0
"""Picking one of several weighted nodes."""

from __future__ import annotations

import random
import zlib
from collections import Counter

from twisted.trial.unittest import SynchronousTestCase

from g3.pick import MOST_POINTS, PickPolicy, Selector, Weighted

KEYS = [f"192.0.2.{number % 256}/user{number}".encode() for number in range(4000)]
HASHING = (PickPolicy.KETAMA, PickPolicy.RENDEZVOUS, PickPolicy.JUMP_HASH)


def nodes(*weights: float) -> list[Weighted[str]]:
    """a, b, c, ... with these weights."""
    return [Weighted(chr(ord("a") + at), weight) for at, weight in enumerate(weights)]


def picks(selector: Selector[str]) -> list[str]:
    return [selector.pick(key) for key in KEYS]


def shares(selector: Selector[str]) -> dict[str, float]:
    return {value: count / len(KEYS) for value, count in Counter(picks(selector)).items()}


def near(share: float, wanted: float, delta: float) -> bool:
    return abs(share - wanted) <= delta


class PickTests(SynchronousTestCase):
    def test_nodes_are_ordered_by_weight_and_equal_ones_stay_in_order(self) -> None:
        """Heaviest first."""
        self.assertEqual([node.value for node in Selector(nodes(1, 3, 1, 2)).nodes], ["b", "d", "a", "c"])

    def test_serial_takes_the_heaviest_first_node(self) -> None:
        """Always."""
        self.assertEqual(set(picks(Selector(nodes(1, 2, 2), PickPolicy.SERIAL))), {"b"})

    def test_round_robin_ignores_weights(self) -> None:
        """Each in turn, in order of weight."""
        selector = Selector(nodes(1, 5, 1), PickPolicy.ROUND_ROBIN)
        self.assertEqual([selector.pick(b"") for _ in range(7)], ["b", "a", "c", "b", "a", "c", "b"])

    def test_random_shares_follow_weights(self) -> None:
        """A weight of 0 is never picked where others have more; equal weights, even 0, share evenly."""
        got = shares(Selector(nodes(1, 3, 0), rng=random.Random(7)))
        self.assertEqual(set(got), {"a", "b"})
        self.assertTrue(near(got["b"], 0.75, 0.03))
        for weight in (0, 1):
            self.assertTrue(near(shares(Selector(nodes(weight, weight), rng=random.Random(7)))["a"], 0.5, 0.03))

    def test_one_node_is_picked_by_every_policy(self) -> None:
        """Whatever its weight."""
        for policy in PickPolicy:
            self.assertEqual(Selector(nodes(0), policy).pick(b"key"), "a")

    def test_nothing_to_pick_from_is_an_error(self) -> None:
        """When made, not when asked."""
        self.assertRaises(ValueError, Selector, [])


class HashTests(SynchronousTestCase):
    def test_a_key_always_leads_to_the_same_node(self) -> None:
        """In another selector made of the same nodes in another order too."""
        for policy in HASHING:
            first = Selector(nodes(1, 2, 1, 4), policy)
            again = Selector(sorted(nodes(1, 2, 1, 4), key=lambda node: node.weight, reverse=True), policy)
            self.assertEqual(picks(first), picks(Selector(nodes(1, 2, 1, 4), policy)), policy)
            if policy is not PickPolicy.JUMP_HASH:
                self.assertEqual(picks(first), picks(again), policy)

    def test_equal_weights_share_evenly(self) -> None:
        """Within the spread of the method."""
        for policy in HASHING:
            got = shares(Selector(nodes(1, 1, 1, 1), policy))
            self.assertEqual(len(got), 4)
            for share in got.values():
                self.assertTrue(near(share, 0.25, 0.08))

    def test_weights_divide_the_keys(self) -> None:
        """Ketama and rendezvous; jump hash knows no weights."""
        for policy in (PickPolicy.KETAMA, PickPolicy.RENDEZVOUS):
            got = shares(Selector(nodes(1, 3), policy))
            self.assertTrue(near(got["b"], 0.75, 0.08))
        self.assertTrue(near(shares(Selector(nodes(1, 3), PickPolicy.JUMP_HASH))["b"], 0.5, 0.05))

    def test_a_node_more_moves_only_its_own_share(self) -> None:
        """No key moves between the nodes that were there."""
        for policy in HASHING:
            before, after = picks(Selector(nodes(1, 1, 1, 1), policy)), picks(Selector(nodes(1, 1, 1, 1, 1), policy))
            moved = [(old, new) for old, new in zip(before, after, strict=True) if old != new]
            self.assertEqual({new for _, new in moved}, {"e"}, policy)
            self.assertLess(len(moved) / len(KEYS), 0.3)

    def test_a_node_without_weight_gets_no_key(self) -> None:
        """If others have some; if none has, the first node gets all by ketama."""
        for policy in (PickPolicy.KETAMA, PickPolicy.RENDEZVOUS):
            self.assertEqual(set(picks(Selector(nodes(0, 1, 2), policy))), {"b", "c"}, policy)
        self.assertEqual(set(picks(Selector(nodes(0, 0), PickPolicy.KETAMA))), {"a"})

    def test_ketama_points_are_those_of_nginx(self) -> None:
        """160 for each unit of weight, rounded up, each the crc32 of the node and the point before."""
        selector = Selector(nodes(1.5), PickPolicy.KETAMA)
        point, points = 0, []
        for _ in range(320):
            point = zlib.crc32(b"a" + point.to_bytes(4, "little"))
            points.append(point)
        self.assertEqual(selector._ring, sorted(points))

    def test_huge_weights_do_not_make_a_huge_ring(self) -> None:
        """The shares stay."""
        selector = Selector(nodes(1e5, 3e5), PickPolicy.KETAMA)
        self.assertLessEqual(len(selector._ring), MOST_POINTS + 2)
        self.assertTrue(near(shares(selector)["b"], 0.75, 0.05))
