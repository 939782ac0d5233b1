# SPDX-License-Identifier: Apache-2.0
"""Asking a resolver for all addresses."""

from __future__ import annotations

from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from g3.errors import ConfigError, ResolveError
from g3.tree.query import families, query


class QueryTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.clock = Clock()
        self.asked: dict[int, Deferred[Any]] = {}

    def query(self, name: str, family: int) -> Any:
        self.asked[family] = Deferred()
        return self.asked[family]

    def ask(self, strategy: str) -> Deferred[Any]:
        return Deferred.fromCoroutine(query(self.clock, self, "a.test", strategy, 0.05))

    def test_one_family_is_asked_alone(self) -> None:
        """The answer is its addresses."""
        done = self.ask("IPv6-Only")
        self.asked[6].callback(("::1",))
        self.assertEqual(self.successResultOf(done), ("::1",))
        self.assertEqual(list(self.asked), [6])

    def test_the_preferred_family_wins_at_once(self) -> None:
        """The other one is not waited for."""
        done = self.ask("Ipv4First")
        self.asked[4].callback(("192.0.2.1",))
        self.assertEqual(self.successResultOf(done), ("192.0.2.1",))
        self.asked[6].errback(ResolveError("ServerError"))

    def test_the_other_family_waits_for_the_preferred(self) -> None:
        """The resolution delay, then it is taken."""
        done = self.ask("Ipv4First")
        self.asked[6].callback(("::1",))
        self.clock.advance(0.04)
        self.assertNoResult(done)
        self.clock.advance(0.01)
        self.assertEqual(self.successResultOf(done), ("::1",))
        self.asked[4].callback(("192.0.2.1",))

    def test_a_preferred_answer_within_the_delay_wins(self) -> None:
        """And no timer is left."""
        done = self.ask("Ipv6First")
        self.asked[4].callback(("192.0.2.1",))
        self.asked[6].callback(("::1",))
        self.assertEqual(self.successResultOf(done), ("::1",))
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_a_failed_family_is_no_reason_to_wait(self) -> None:
        """In either order."""
        done = self.ask("Ipv4First")
        self.asked[4].errback(ResolveError("ServerError"))
        self.asked[6].callback(("::1",))
        self.assertEqual(self.successResultOf(done), ("::1",))

    def test_no_answer_at_all_is_the_preferred_familys_error(self) -> None:
        """Nobody hears of the other one."""
        done = self.ask("Ipv4First")
        self.asked[6].errback(ResolveError("ServerError", "NotFound"))
        self.asked[4].errback(ResolveError("DriverError", "TimedOut"))
        self.assertEqual(str(self.failureResultOf(done, ResolveError).value), "DriverError: TimedOut")

    def test_a_strategy_that_is_none_is_refused(self) -> None:
        """Case, underscores and dashes do not matter."""
        self.assertEqual(families("ipv4_first"), (4, 6))
        self.assertRaises(ConfigError, families, "both")
