# SPDX-License-Identifier: Apache-2.0
"""Two resolvers, one answer."""

from __future__ import annotations

from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from g3.config.document import read_text
from g3.config.problems import Problems
from g3.config.schema import parse_map
from g3.config.value import ParseContext
from g3.errors import ResolveError
from g3.resolvers.cache import Found, Record, Source
from g3.resolvers.fail_over import FailOverConfig, FailOverResolver
from g3.tree.node import NodeContext
from g3.tree.slots import Slots

DELAY = 0.1
SERV_FAIL = ResolveError("ServerError", "SERVFAIL")
TIMEOUT = ResolveError("DriverError", "Timeout")


class Child:
    """A resolver with lifetimes that the test answers."""

    def __init__(self, clock: Clock) -> None:
        self.clock = clock
        self.now: Found | None = None
        self.waiters: list[Deferred[Found]] = []
        self.asked = 0

    def lookup(self, name: str, family: int) -> Found | Deferred[Found]:
        self.asked += 1
        if self.now is not None:
            return self.now
        waiter: Deferred[Found] = Deferred(self.waiters.remove)
        self.waiters.append(waiter)
        return waiter

    def say(self, found: Found) -> None:
        self.waiters.pop(0).callback(found)


class Plain:
    """A resolver that offers query() only."""

    def __init__(self, answer: Any) -> None:
        self.answer = answer

    def query(self, name: str, family: int) -> Any:
        if isinstance(self.answer, Exception):
            raise self.answer
        return self.answer


class FailOverTest(SynchronousTestCase):
    """The rules of the choice."""

    def setUp(self) -> None:
        self.clock = Clock()
        self.clock.advance(1000)
        self.primary, self.standby = Child(self.clock), Child(self.clock)
        self.make()

    def make(self, **options: Any) -> None:
        slots = Slots(lambda kind, name: None)  # noqa: ARG005 - both are defined
        slots.put("resolver", "p", self.primary)
        slots.put("resolver", "s", self.standby)
        self.slots = slots
        context = NodeContext(reactor=self.clock, slots=slots)
        self.resolver = FailOverResolver(FailOverConfig(name="f", primary="p", standby="s", **options), context)
        self.resolver.start()

    def good(self, address: str, source: Source = Source.QUERY) -> Found:
        now = self.clock.seconds()
        expired = source is Source.TRASH
        return Record((address,), None, now - 1 if expired else now + 70, now + 100), source

    def bad(self, error: ResolveError = SERV_FAIL) -> Found:
        return Record.failed(self.clock.seconds(), 30, error), Source.QUERY

    def empty(self) -> Found:
        return Record.empty(self.clock.seconds(), 30), Source.QUERY

    def ask(self) -> Deferred[tuple[str, ...]]:
        found = self.resolver.query("a.test", 4)
        assert isinstance(found, Deferred)
        return found

    def test_both_are_asked_at_once(self) -> None:
        """So that the standby's answer is there when it is needed."""
        self.ask()
        self.assertEqual((self.primary.asked, self.standby.asked), (1, 1))

    def test_before_the_delay_only_the_primary_counts(self) -> None:
        """A faster standby waits."""
        asked = self.ask()
        self.standby.say(self.good("192.0.2.2"))
        self.clock.advance(DELAY / 2)
        self.assertNoResult(asked)
        self.primary.say(self.good("192.0.2.1"))
        self.assertEqual(self.successResultOf(asked), ("192.0.2.1",))
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_after_the_delay_the_first_good_answer_wins(self) -> None:
        """That of the standby, which was there already, or comes first."""
        asked = self.ask()
        self.standby.say(self.good("192.0.2.2"))
        self.clock.advance(DELAY)
        self.assertEqual(self.successResultOf(asked), ("192.0.2.2",))
        self.assertEqual(self.primary.waiters, [], "nobody waits for the other one any more")

    def test_after_the_delay_the_primary_may_still_be_first(self) -> None:
        """It is a race then."""
        asked = self.ask()
        self.clock.advance(DELAY)
        self.primary.say(self.good("192.0.2.1"))
        self.assertEqual(self.successResultOf(asked), ("192.0.2.1",))

    def test_an_error_of_the_primary_makes_the_standby_count_at_once(self) -> None:
        """Without waiting for the delay."""
        asked = self.ask()
        self.standby.say(self.good("192.0.2.2"))
        self.primary.say(self.bad())
        self.assertEqual(self.successResultOf(asked), ("192.0.2.2",))

    def test_two_errors_give_the_last(self) -> None:
        """Whichever side it is of."""
        asked = self.ask()
        self.clock.advance(DELAY)
        self.standby.say(self.bad(TIMEOUT))
        self.assertNoResult(asked)
        self.primary.say(self.bad(SERV_FAIL))
        self.assertEqual(str(self.failureResultOf(asked, ResolveError).value), "ServerError: SERVFAIL")

    def test_an_empty_answer_is_good_unless_it_is_to_be_retried(self) -> None:
        """retry_empty_record."""
        asked = self.ask()
        self.primary.say(self.empty())
        self.assertEqual(str(self.failureResultOf(asked, ResolveError).value), "EmptyResult")
        self.make(retry_empty_record=True)
        self.standby.waiters.clear()
        asked = self.ask()
        self.primary.say(self.empty())
        self.assertNoResult(asked)
        self.standby.say(self.good("192.0.2.2"))
        self.assertEqual(self.successResultOf(asked), ("192.0.2.2",))

    def test_a_stale_answer_waits_for_a_fresh_one_of_the_other(self) -> None:
        """And is used when the other has none."""
        for second, wanted in ((self.good("192.0.2.2"), "192.0.2.2"), (self.bad(), "192.0.2.1"), (self.good("192.0.2.3", Source.TRASH), "192.0.2.1")):
            self.primary, self.standby = Child(self.clock), Child(self.clock)
            self.make()
            asked = self.ask()
            self.primary.say(self.good("192.0.2.1", Source.TRASH))
            self.assertNoResult(asked)
            self.standby.say(second)
            self.assertEqual(self.successResultOf(asked), (wanted,))

    def test_a_known_name_of_the_primary_is_answered_at_once(self) -> None:
        """No Deferred, no timer; and kept as long as the primary keeps it."""
        self.primary.now = self.good("192.0.2.1", Source.CACHE)
        self.assertEqual(self.resolver.query("a.test", 4), ("192.0.2.1",))
        self.assertEqual(self.clock.getDelayedCalls(), [])
        self.clock.advance(69)
        self.assertEqual(self.resolver.query("a.test", 4), ("192.0.2.1",))
        self.assertEqual(self.primary.asked, 1)
        self.clock.advance(2)
        self.resolver.query("a.test", 4)
        self.assertEqual(self.primary.asked, 2)

    def test_a_resolver_without_lifetimes_is_asked_each_time(self) -> None:
        """A plugin that offers IResolver only."""
        self.slots.put("resolver", "p", Plain(("192.0.2.1",)))
        self.assertEqual([self.resolver.query("a.test", 4) for _ in range(2)], [("192.0.2.1",)] * 2)
        self.assertEqual(self.standby.asked, 2)
        self.slots.put("resolver", "p", Plain(SERV_FAIL))
        later: Deferred[tuple[str, ...]] = Deferred()
        self.slots.put("resolver", "s", Plain(later))
        asked = self.ask()
        later.callback(("192.0.2.2",))
        self.assertEqual(self.successResultOf(asked), ("192.0.2.2",))

    def test_a_reload_moves_the_children(self) -> None:
        """The slots are read for each question."""
        self.slots.put("resolver", "p", Plain(("192.0.2.9",)))
        self.assertEqual(self.resolver.query("b.test", 4), ("192.0.2.9",))

    def test_a_query_nobody_answers_is_given_up(self) -> None:
        """After protective_query_timeout; nothing stays behind."""
        asked = self.ask()
        self.clock.pump([DELAY, 60])
        self.assertEqual(str(self.failureResultOf(asked, ResolveError).value), "LocalError: DriverTimedOut")
        self.assertEqual((self.primary.waiters, self.standby.waiters), ([], []))
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_closing_ends_the_races(self) -> None:
        """Also those in the middle of the delay."""
        asked = self.ask()
        stopped = self.resolver.stop()
        assert stopped is not None
        self.clock.advance(30)
        self.assertEqual(str(self.failureResultOf(asked, ResolveError).value), "LocalError: NoResolverRunning")
        self.assertEqual(self.clock.getDelayedCalls(), [])


class ConfigTest(SynchronousTestCase):
    """Its keys."""

    def parse(self, text: str) -> tuple[FailOverConfig | None, list[str]]:
        problems = Problems()
        made = parse_map(FailOverConfig, read_text(text, "f", problems)[0], ParseContext(problems))
        return made, [str(problem) for problem in problems]

    def test_words_for_the_delay(self) -> None:
        """All of upstream's."""
        for word in ("fallback_delay", "delay", "fallback-timeout", "timeout"):
            made, problems = self.parse(f"{{name: f, type: fail_over, primary: a, standby: b, {word}: 300ms}}")
            assert made is not None, problems
            self.assertEqual(made.fallback_delay, 0.3)

    def test_both_children_are_needed_and_differ(self) -> None:
        """Each is a problem with its place."""
        self.assertIn("primary", self.parse("{name: f, standby: b}")[1][0])
        self.assertIn("must be another resolver", self.parse("{name: f, primary: b, standby: b}")[1][0])
