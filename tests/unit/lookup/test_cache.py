# SPDX-License-Identifier: Apache-2.0
"""One question for all who want to know, answers kept as long as they say, and nobody waiting for ever."""

from __future__ import annotations

from typing import Any
from unittest.mock import patch

from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from g3.lookup import cache
from g3.lookup.cache import QueryCache
from g3.net.timers import TimerWheel

QUERY_WAIT, PATIENCE, VANISH, PROTECTIVE = 4.0, 2.0, 100.0, 10.0


class QueryCacheTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.clock = Clock()
        self.asked: list[tuple[str, Any]] = []
        self.works = True
        self.cache: QueryCache[str, int] = QueryCache(
            self.clock,
            TimerWheel(self.clock, 0.5),
            ask=self.ask,
            query_wait=QUERY_WAIT,
            patience=PATIENCE,
            vanish_wait=VANISH,
            protective_ttl=PROTECTIVE,
        )

    def ask(self, key: str, extra: Any) -> bool:
        self.asked.append((key, extra))
        return self.works

    def fetched(self, key: str = "a") -> Deferred[int | None]:
        found = self.cache.fetch(key)
        assert isinstance(found, Deferred)
        return found

    def test_the_answer_goes_to_all_who_wait_for_one_question(self) -> None:
        first, second = self.fetched(), self.fetched()
        self.assertEqual(len(self.asked), 1)
        self.cache.answer("a", 7, 60)
        self.assertEqual((self.successResultOf(first), self.successResultOf(second)), (7, 7))

    def test_an_answer_is_given_at_once_until_it_expires(self) -> None:
        self.fetched()
        self.cache.answer("a", 7, 60)
        self.clock.advance(60)
        self.assertEqual(self.cache.fetch("a"), 7)
        self.assertEqual(len(self.asked), 1)

    def test_an_expired_answer_is_given_and_asked_for_again(self) -> None:
        """Once, whatever comes meanwhile, with what belongs to the first of these questions; the new answer takes its place."""
        self.fetched()
        self.cache.answer("a", 7, 60)
        self.clock.advance(61)
        self.assertEqual((self.cache.fetch("a", "new"), self.cache.fetch("a", "newer")), (7, 7))
        self.assertEqual(self.asked, [("a", None), ("a", "new")])
        self.cache.answer("a", 8, 60)
        self.assertEqual(self.cache.fetch("a"), 8)

    def test_an_answer_vanishes(self) -> None:
        """Then whoever asks waits again."""
        self.fetched()
        self.cache.answer("a", 7, 60)
        self.clock.advance(60 + VANISH)
        self.assertEqual(self.cache.cached("a"), None)
        self.fetched()
        self.assertEqual(len(self.asked), 2)

    def test_that_nobody_answered_is_kept_for_a_while(self) -> None:
        """A helper that is away is not asked for each connection, and holds none up."""
        waiting = self.fetched()
        self.clock.pump([0.5] * 10)
        self.assertEqual(self.successResultOf(waiting), None)
        self.assertEqual(self.cache.fetch("a"), None)
        self.assertEqual(len(self.asked), 1)
        self.clock.advance(PROTECTIVE + 0.5)
        self.assertEqual(self.cache.fetch("a"), None)
        self.assertEqual(len(self.asked), 2)
        self.cache.answer("a", 7, 60)
        self.assertEqual(self.cache.fetch("a"), 7)

    def test_who_waits_is_told_none_when_patience_ends(self) -> None:
        """The question stays open: its answer is for those who come later."""
        waiting = self.fetched()
        self.clock.pump([0.5] * 5)
        self.assertEqual(self.successResultOf(waiting), None)
        self.cache.answer("a", 7, 60)
        self.assertEqual(self.cache.fetch("a"), 7)

    def test_what_cannot_be_asked_is_none_at_once(self) -> None:
        self.works = False
        self.assertEqual(self.cache.fetch("a"), None)
        self.assertEqual(self.cache.fetch("a"), None)
        self.assertEqual(len(self.asked), 1)
        self.assertEqual(len(self.cache.open), 0)

    def test_an_answer_nobody_asked_for_is_ignored(self) -> None:
        self.cache.answer("a", 7, 60)
        self.assertEqual(self.cache.cached("a"), None)
        self.assertEqual(len(self.cache), 0)

    def test_a_look_ahead_asks_nobody(self) -> None:
        """And is given what has expired, too."""
        self.assertEqual(self.cache.cached("a"), None)
        self.assertEqual(self.asked, [])
        self.fetched()
        self.cache.answer("a", 7, 0)
        self.clock.advance(50)
        self.assertEqual(self.cache.cached("a"), 7)
        self.assertEqual(len(self.asked), 1)

    def test_what_is_kept_and_what_is_asked_is_bounded(self) -> None:
        """The answer that came longest ago goes first; one question too many is answered None at once."""
        with patch.object(cache, "MOST_ENTRIES", 3), patch.object(cache, "MOST_OPEN", 2), patch.object(cache, "MOST_WAITING", 2):
            for key in "abcd":
                self.fetched(key)
                self.cache.answer(key, 1, 60)
            self.assertEqual([self.cache.cached(key) for key in "abcd"], [None, 1, 1, 1])
            self.fetched("x")
            self.fetched("y")
            self.assertEqual(self.cache.fetch("z"), None)
            self.fetched("x")
            self.assertEqual(self.cache.fetch("x"), None)

    def test_at_the_end_all_who_wait_are_told_none(self) -> None:
        """And no timer is left."""
        waiting = self.fetched()
        self.cache.stop()
        self.assertEqual(self.successResultOf(waiting), None)
        self.clock.advance(1000)
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_who_asks_again_when_told_gets_the_answer(self) -> None:
        found: list[Any] = []
        self.fetched().addCallback(lambda _: found.append(self.cache.fetch("a")))
        self.cache.answer("a", 7, 60)
        self.assertEqual(found, [7])
