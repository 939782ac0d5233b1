# SPDX-License-Identifier: Apache-2.0
"""The registry: who has counters, and who is told when one goes."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from g3.metrics import MetricRegistry
from g3.metrics.server import ServerStats


class Follower:
    """Remembers what it is told."""

    def __init__(self) -> None:
        self.removed: list[object] = []

    def source_removed(self, source: object) -> None:
        self.removed.append(source)


class RegistryTest(SynchronousTestCase):
    """Adding and removing."""

    def setUp(self) -> None:
        self.registry = MetricRegistry()
        self.follower = Follower()
        self.registry.follow(self.follower)
        self.stats = ServerStats("s")

    def test_samples_are_those_of_all_sources(self) -> None:
        """In the order the sources came."""
        other = ServerStats("t")
        self.registry.add(self.stats)
        self.registry.add(other)
        self.assertEqual([sample.tags for sample in self.registry.samples()], [(("server", "s"),), (("server", "t"),)])

    def test_a_source_added_twice_is_exported_once(self) -> None:
        """Old and new node of a reload share statistics."""
        self.registry.add(self.stats)
        self.registry.add(self.stats)
        self.assertEqual(len(list(self.registry.samples())), 1)

    def test_a_shared_source_stays_until_its_last_user_goes(self) -> None:
        """The old node's removal does not take the new node's statistics."""
        self.registry.add(self.stats)
        self.registry.add(self.stats)
        self.registry.remove(self.stats)
        self.assertIn(self.stats, self.registry)
        self.assertEqual(self.follower.removed, [])
        self.registry.remove(self.stats)
        self.assertNotIn(self.stats, self.registry)
        self.assertEqual(self.follower.removed, [self.stats])

    def test_removing_a_stranger_is_no_error_and_nobody_is_told(self) -> None:
        """Nothing happens."""
        self.registry.remove(self.stats)
        self.assertEqual(self.follower.removed, [])

    def test_a_source_may_come_while_samples_are_taken(self) -> None:
        """The walk is over a snapshot."""
        self.registry.add(self.stats)
        for _ in self.registry.samples():
            self.registry.add(ServerStats("late"))
        self.assertEqual(len(self.registry), 2)

    def test_who_stops_following_is_not_told(self) -> None:
        """Also when it never followed."""
        self.registry.unfollow(self.follower)
        self.registry.unfollow(self.follower)
        self.registry.add(self.stats)
        self.registry.remove(self.stats)
        self.assertEqual(self.follower.removed, [])
