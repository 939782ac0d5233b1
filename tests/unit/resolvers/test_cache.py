# SPDX-License-Identifier: Apache-2.0
"""The cache: lifetimes, stale answers, one question for many, bounds."""

from __future__ import annotations

from typing import Any

from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from g3.errors import ResolveError
from g3.metrics.resolver import QueryStats
from g3.resolvers import cache as module
from g3.resolvers.cache import Cache, Found, Record, Source, Table, lifetimes

NAME = "a.test"
NOT_FOUND = ResolveError("ServerError", "NOTFOUND")
SERV_FAIL = ResolveError("ServerError", "SERVFAIL")


class LifetimesTest(SynchronousTestCase):
    """The four branches of the TTL rule."""

    def test_table(self) -> None:
        """Each branch and both sides of each border, minimum 30 and maximum 3600."""
        table = {
            0: (30, 31),
            1: (30, 31),
            30: (30, 31),
            31: (30, 31),
            32: (30, 32),
            60: (30, 60),
            61: (31, 61),
            100: (70, 100),
            3600: (3570, 3600),
            3630: (3600, 3630),
            3631: (3600, 3631),
            86400: (3600, 86400),
        }
        for ttl, wanted in table.items():
            self.assertEqual(lifetimes(ttl, 30, 3600), wanted, ttl)

    def test_without_a_minimum(self) -> None:
        """A TTL of zero is still used for the questions of this moment."""
        self.assertEqual([lifetimes(ttl, 0, 10) for ttl in (0, 1, 10, 11)], [(0, 1), (1, 1), (10, 10), (10, 11)])


class RecordTest(SynchronousTestCase):
    """What a record is good for."""

    def test_which_answer_replaces_an_older_one(self) -> None:
        """Addresses, no addresses, and that the name does not exist; no other error."""
        records = [
            Record.resolved(0, 60, 30, 3600, ("192.0.2.1",)),
            Record.empty(0, 30),
            Record.failed(0, 30, NOT_FOUND),
            Record.failed(0, 30, SERV_FAIL),
            Record.failed(0, 30, ResolveError("DriverError", "Timeout")),
            Record.failed(0, 30, ResolveError("LocalError", "NOTFOUND")),
        ]
        self.assertEqual([record.acceptable for record in records], [True, True, True, False, False, False])
        self.assertEqual([record.ok for record in records], [True, True, False, False, False, False])
        self.assertEqual([record.usable for record in records], [True, False, False, False, False, False])


class TableTest(SynchronousTestCase):
    """Bounds of the memory."""

    def found(self, table: Table, name: str, now: float) -> Source | None:
        found = table.find(name, now)
        return None if found is None else found[1]

    def test_a_record_goes_from_cache_to_trash_to_nothing(self) -> None:
        """At its expire and its vanish time exactly."""
        table = Table()
        table.store("a", Record.resolved(0, 100, 30, 3600, ("x",)), 0)
        states = [(now, self.found(table, "a", now)) for now in (0, 69.9, 70, 99.9, 100, 1000)]
        self.assertEqual(
            states,
            [(0, Source.CACHE), (69.9, Source.CACHE), (70, Source.TRASH), (99.9, Source.TRASH), (100, None), (1000, None)],
        )

    def test_an_error_has_no_trash(self) -> None:
        """It is gone when it expires."""
        table = Table()
        table.store("a", Record.failed(0, 30, SERV_FAIL), 0)
        self.assertEqual([self.found(table, "a", now) for now in (29.9, 30)], [Source.CACHE, None])
        self.assertEqual((len(table.cache), len(table.trash)), (0, 0))

    def test_the_least_recently_used_goes_when_it_is_full(self) -> None:
        """Asking for a record keeps it."""
        table = Table(size=3)
        for name in "abc":
            table.store(name, Record.resolved(0, 100, 30, 3600, ("x",)), 0)
        self.found(table, "a", 1)
        table.store("d", Record.resolved(0, 100, 30, 3600, ("x",)), 1)
        self.assertEqual([name for name in "abcd" if self.found(table, name, 1)], ["a", "c", "d"])

    def test_the_trash_is_bounded_too(self) -> None:
        """By the same size."""
        table = Table(size=3)
        for now in range(10):
            table.store(f"n{now}", Record(("x",), None, now, 1000.0), now)
        self.assertLessEqual(len(table.trash), 3)

    def test_a_name_that_is_stored_over_and_over_costs_no_more_than_one(self) -> None:
        """The times of what was replaced are forgotten; those of others are not."""
        table = Table(4)
        table.store("old", Record(("192.0.2.1",), None, 1.0, 100.0), 0.0)
        table.expire(2.0)
        for _ in range(5000):
            table.store("new", Record(("192.0.2.2",), None, 1000.0), 2.0)
        self.assertLess(len(table._due), 2000)
        self.assertIsNotNone(table.find("old", 99.0))
        self.assertIsNone(table.find("old", 101.0))

    def test_names_that_never_come_back_do_not_pile_up(self) -> None:
        """A flood of names leaves no more than the size, and no unbounded list of times either."""
        table = Table(size=50)
        for number in range(20000):
            table.store(f"n{number}", Record.resolved(0, 86400, 30, 3600, ("x",)), 0)
        self.assertEqual(len(table.cache), 50)
        self.assertLessEqual(len(table._due), 4 * 50 + 1024)
        self.assertEqual(self.found(table, "n19999", 3600), Source.TRASH)

    def test_an_old_time_does_not_end_a_newer_record(self) -> None:
        """A record that was replaced leaves its times behind."""
        table = Table()
        table.store("a", Record.resolved(0, 40, 30, 3600, ("x",)), 0)
        table.store("a", Record.resolved(20, 100, 30, 3600, ("y",)), 20)
        self.assertEqual(self.found(table, "a", 45), Source.CACHE)
        self.assertEqual(self.found(table, "a", 95), Source.TRASH)


class Driver:
    """Questions that the test answers."""

    def __init__(self) -> None:
        self.asked: list[tuple[str, Deferred[Record]]] = []
        self.cancelled = 0
        self.sync: Record | None = None

    def ask(self, name: str) -> Record | Deferred[Record]:
        if self.sync is not None:
            return self.sync
        answer: Deferred[Record] = Deferred(self._cancel)
        self.asked.append((name, answer))
        return answer

    def _cancel(self, _: object) -> None:
        self.cancelled += 1

    def answer(self, record: Record) -> None:
        self.asked.pop(0)[1].callback(record)


class CacheTest(SynchronousTestCase):
    """Lookups over a driver."""

    def setUp(self) -> None:
        self.clock, self.driver = Clock(), Driver()
        self.stats = QueryStats(())
        self.cache = Cache(self.clock, self.stats, self.driver.ask, timeout=60, negative_ttl=30)

    def good(self, ttl: int = 100, *addresses: str) -> Record:
        return Record.resolved(self.clock.seconds(), ttl, 30, 3600, addresses or ("192.0.2.1",))

    def bad(self, error: ResolveError = SERV_FAIL) -> Record:
        return Record.failed(self.clock.seconds(), 30, error)

    def waiting(self) -> Deferred[Found]:
        found = self.cache.lookup(NAME)
        assert isinstance(found, Deferred)
        return found

    def at_once(self) -> Found:
        found = self.cache.lookup(NAME)
        assert not isinstance(found, Deferred)
        return found

    def test_a_known_name_is_answered_at_once(self) -> None:
        """No Deferred, no question."""
        asked = self.waiting()
        record = self.good()
        self.driver.answer(record)
        self.assertEqual(self.successResultOf(asked), (record, Source.QUERY))
        self.assertEqual(self.at_once(), (record, Source.CACHE))
        self.assertEqual((self.stats.total, self.stats.driver, self.stats.cached), (2, 1, 1))

    def test_one_question_goes_out_for_many(self) -> None:
        """The first who waits made the query, the others had it from the cache."""
        waiters = [self.waiting() for _ in range(5)]
        self.assertEqual(len(self.driver.asked), 1)
        self.driver.answer(self.good())
        self.assertEqual([self.successResultOf(waiter)[1] for waiter in waiters], [Source.QUERY] + [Source.CACHE] * 4)
        self.assertEqual((self.stats.total, self.stats.driver, self.stats.cached), (5, 1, 4))

    def test_a_stale_name_is_answered_at_once_and_asked_in_the_background_once(self) -> None:
        """Stale while revalidate."""
        self.waiting()
        self.driver.answer(self.good())
        self.clock.advance(70)
        for _ in range(3):
            self.assertIs(self.at_once()[1], Source.TRASH)
        self.assertEqual((len(self.driver.asked), self.stats.trashed, self.stats.driver), (1, 3, 2))
        fresh = self.good(100, "192.0.2.2")
        self.driver.answer(fresh)
        self.assertEqual(self.at_once(), (fresh, Source.CACHE))

    def test_an_error_leaves_the_stale_record_in_use(self) -> None:
        """And the next request asks again."""
        self.waiting()
        self.driver.answer(self.good())
        self.clock.advance(70)
        self.at_once()
        self.driver.answer(self.bad())
        record, source = self.at_once()
        self.assertEqual((record.addresses, source), (("192.0.2.1",), Source.TRASH))
        self.assertEqual(len(self.driver.asked), 1)
        self.assertEqual(self.stats.server_serv_fail, 1)

    def test_that_the_name_is_gone_replaces_the_stale_record(self) -> None:
        """NOTFOUND and an empty answer are answers."""
        for answer in (Record.failed(70, 30, NOT_FOUND), Record.empty(70, 30)):
            cache = Cache(self.clock, self.stats, self.driver.ask)
            cache.table.store(NAME, Record(("x",), None, self.clock.seconds(), self.clock.seconds() + 30), self.clock.seconds())
            self.assertIs(cache.lookup(NAME)[1], Source.TRASH)  # type: ignore[index]
            self.driver.answer(answer)
            self.assertEqual(cache.table.trash, {})

    def test_when_the_stale_record_vanished_meanwhile_the_error_counts(self) -> None:
        """The question took longer than it had to live."""
        self.waiting()
        self.driver.answer(self.good())
        self.clock.advance(99)
        self.at_once()
        self.clock.advance(2)
        waiter = self.waiting()
        self.driver.answer(self.bad())
        record, source = self.successResultOf(waiter)
        self.assertEqual((record.error, source), (SERV_FAIL, Source.QUERY))

    def test_errors_are_kept_for_their_time(self) -> None:
        """Then asked again."""
        self.waiting()
        self.driver.answer(self.bad())
        self.clock.advance(29)
        self.assertIs(self.at_once()[1], Source.CACHE)
        self.clock.advance(1)
        self.waiting()
        self.assertEqual(self.stats.driver, 2)

    def test_a_question_without_an_answer_is_given_up(self) -> None:
        """After the protective timeout, whatever the driver does; a late answer is not used."""
        waiter = self.waiting()
        late = self.driver.asked[0][1]
        self.clock.advance(60)
        record, _ = self.successResultOf(waiter)
        assert record.error is not None
        self.assertEqual((record.error.type, record.error.subtype), ("LocalError", "DriverTimedOut"))
        self.assertEqual((self.driver.cancelled, self.cache.doing, self.stats.driver_timeout), (1, 0, 1))
        self.assertTrue(late.called)

    def test_a_waiter_can_go_and_the_others_stay(self) -> None:
        """Cancelling one does not end the question."""
        one, two = self.waiting(), self.waiting()
        one.cancel()
        self.failureResultOf(one, CancelledError)
        self.driver.answer(self.good())
        self.assertIs(self.successResultOf(two)[1], Source.QUERY)

    def test_when_all_waiters_go_the_answer_is_kept(self) -> None:
        """The next one has it at once."""
        waiter = self.waiting()
        waiter.cancel()
        self.failureResultOf(waiter, CancelledError)
        self.driver.answer(self.good())
        self.assertIs(self.at_once()[1], Source.CACHE)

    def test_a_driver_that_answers_at_once_needs_no_deferred(self) -> None:
        """Such as one with a hosts file."""
        self.driver.sync = self.good()
        self.assertEqual(self.at_once(), (self.driver.sync, Source.QUERY))
        self.assertEqual(self.at_once()[1], Source.CACHE)
        self.assertEqual(self.cache.doing, 0)
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_a_driver_whose_deferred_has_fired_already_is_no_wait(self) -> None:
        """An error found before anything was sent."""
        fired: Deferred[Record] = Deferred()
        fired.callback(self.bad())
        cache = Cache(self.clock, self.stats, lambda _: fired)
        record, source = cache.lookup(NAME)  # type: ignore[misc]
        self.assertEqual((record.error, source, cache.doing), (SERV_FAIL, Source.QUERY, 0))
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_a_driver_that_fails_is_an_error_of_the_driver(self) -> None:
        """Raised or in its Deferred; logged once each."""

        def raising(name: str) -> Record:
            raise RuntimeError(name)

        record, _ = Cache(self.clock, self.stats, raising).lookup(NAME)  # type: ignore[misc]
        self.assertEqual(str(record.error), "DriverError: InternalError")
        waiter = self.waiting()
        self.driver.asked.pop()[1].errback(RuntimeError("broken"))
        self.assertEqual(str(self.successResultOf(waiter)[0].error), "DriverError: InternalError")
        self.assertEqual(len(self.flushLoggedErrors(RuntimeError)), 2)

    def test_a_waiter_may_ask_again_from_inside_its_answer(self) -> None:
        """And gets what was just learned."""
        again: list[Any] = []
        self.waiting().addCallback(lambda _: again.append(self.cache.lookup(NAME)))
        self.driver.answer(self.good())
        self.assertIs(again[0][1], Source.CACHE)

    def test_names_asked_for_at_one_time_are_bounded(self) -> None:
        """One more is refused, and not remembered."""
        self.patch(module, "MAX_DOING", 3)
        for number in range(3):
            self.cache.lookup(f"n{number}.test")
        record, _ = self.at_once()
        self.assertEqual(str(record.error), "LocalError: DriverTimedOut")
        self.driver.answer(self.good())
        self.waiting()

    def test_who_may_not_ask_gets_what_is_known(self) -> None:
        """A stopping resolver."""
        record, _ = self.cache.lookup(NAME, ask=False)  # type: ignore[misc]
        self.assertEqual(str(record.error), "LocalError: NoResolverRunning")
        self.waiting()
        self.driver.answer(self.good())
        self.assertIs(self.cache.lookup(NAME, ask=False)[1], Source.CACHE)  # type: ignore[index]
        self.clock.advance(70)
        self.assertIs(self.cache.lookup(NAME, ask=False)[1], Source.TRASH)  # type: ignore[index]
        self.assertEqual(self.driver.asked, [])

    def test_closing_answers_everybody(self) -> None:
        """Nobody waits for ever, no timer stays."""
        waiters = [self.waiting() for _ in range(3)]
        self.cache.close()
        self.assertEqual([str(self.successResultOf(waiter)[0].error) for waiter in waiters], ["LocalError: NoResolverRunning"] * 3)
        self.assertEqual((self.driver.cancelled, self.clock.getDelayedCalls()), (1, []))

    def test_gauges_follow_time(self) -> None:
        """Also when nobody asks any more."""
        self.waiting()
        self.assertEqual(self.stats.doing_length, 1)
        self.driver.answer(self.good())
        seen = []
        for step in (0, 70, 30):
            self.clock.advance(step)
            self.cache.measure()
            seen.append((self.stats.cache_length, self.stats.trash_length, self.stats.doing_length))
        self.assertEqual(seen, [(1, 0, 0), (0, 1, 0), (0, 0, 0)])
