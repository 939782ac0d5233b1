# SPDX-License-Identifier: Apache-2.0
"""Happy Eyeballs, with attempts that end when the test says so and a clock that stands still."""

from __future__ import annotations

import errno
from typing import TYPE_CHECKING, Any

from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from g3.errors import ConnectFailed, ForbiddenRemoteAddress, ResolveError, ResolveFailed, SetupSocketFailed, TimeoutByRule
from g3.net.happy_eyeballs import happy_connect
from g3.net.options import HappyEyeballs

if TYPE_CHECKING:
    from collections.abc import Sequence

V4 = ("192.0.2.1", "192.0.2.2", "192.0.2.3", "192.0.2.4")
V6 = ("2001:db8::1", "2001:db8::2", "2001:db8::3")


class Won:
    def __init__(self, ip: str) -> None:
        self.ip, self.closed = ip, False

    def close(self) -> None:
        self.closed = True


class HappyEyeballsTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.clock = Clock()
        self.attempts: dict[str, Deferred[Won]] = {}
        self.order: list[str] = []
        self.cancelled: list[str] = []
        self.at_once: dict[str, Any] = {}

    async def attempt(self, ip: str) -> Won:
        self.order.append(ip)
        outcome = self.at_once.get(ip)
        if isinstance(outcome, Exception):
            raise outcome
        if outcome is not None:
            return outcome
        self.attempts[ip] = Deferred(lambda _: self.cancelled.append(ip))
        return await self.attempts[ip]

    def race(self, first: Any, second: Any = None, *, max_tries: int = 3, **options: Any) -> Deferred[Won]:
        return Deferred.fromCoroutine(
            happy_connect(self.clock, first, second, self.attempt, HappyEyeballs(**options), max_tries=max_tries)  # type: ignore[arg-type]
        )

    def refuse(self, ip: str) -> None:
        self.attempts[ip].errback(ConnectFailed(errno.ECONNREFUSED))

    def test_one_address_is_tried_without_a_timer(self) -> None:
        """A single known address is an attempt and nothing more."""
        race = self.race(V4[:1])
        self.assertEqual(self.clock.getDelayedCalls(), [])
        won = Won(V4[0])
        self.attempts[V4[0]].callback(won)
        self.assertIs(self.successResultOf(race), won)

    def test_an_attempt_that_succeeds_at_once_leaves_no_timer(self) -> None:
        self.at_once[V4[0]] = Won(V4[0])
        self.assertEqual(self.successResultOf(self.race(V4, V6)).ip, V4[0])
        self.assertEqual((self.order, self.clock.getDelayedCalls()), ([V4[0]], []))

    def test_the_families_are_tried_by_turns(self) -> None:
        """After first_address_family_count attempts of the preferred family the other one is mixed in (RFC 8305 section 4)."""
        race = self.race(V4, V6)
        for _ in range(5):
            self.clock.advance(0.25)
        self.assertEqual(self.order, [V4[0], V6[0], V4[1], V6[1], V4[2], V6[2]])
        self.assertNoResult(race)

    def test_more_of_the_first_family_go_first_when_so_configured(self) -> None:
        self.race(V4, V6, first_address_family_count=2)
        for _ in range(3):
            self.clock.advance(0.25)
        self.assertEqual(self.order, [V4[0], V4[1], V6[0], V4[2]])

    def test_a_silent_attempt_delays_the_next_by_connection_attempt_delay(self) -> None:
        self.race(V4, V6)
        self.clock.advance(0.24)
        self.assertEqual(self.order, [V4[0]])
        self.clock.advance(0.02)
        self.assertEqual(self.order, [V4[0], V6[0]])

    def test_a_refused_attempt_starts_the_next_at_once(self) -> None:
        self.race(V4, V6)
        self.refuse(V4[0])
        self.assertEqual(self.order, [V4[0], V6[0]])

    def test_the_first_connection_wins_and_the_others_are_cancelled(self) -> None:
        race = self.race(V4, V6)
        self.clock.advance(0.25)
        self.clock.advance(0.25)
        self.attempts[V6[0]].callback(Won(V6[0]))
        self.assertEqual(self.successResultOf(race).ip, V6[0])
        self.assertEqual(sorted(self.cancelled), sorted([V4[0], V4[1]]))
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_an_attempt_that_does_not_hear_its_cancellation_is_closed(self) -> None:
        """A connection that was made although it lost the race does not stay open."""

        async def deaf(ip: str) -> Won:
            try:
                return await self.attempt(ip)
            except CancelledError:
                late.append(Won(ip))
                return late[0]

        late: list[Won] = []
        race = Deferred.fromCoroutine(happy_connect(self.clock, V4[:2], None, deaf, HappyEyeballs(), max_tries=3))  # type: ignore[arg-type]
        self.clock.advance(0.25)
        self.attempts[V4[1]].callback(Won(V4[1]))
        self.assertEqual(self.successResultOf(race).ip, V4[1])
        self.assertTrue(late[0].closed)

    def test_each_family_has_at_most_max_tries(self) -> None:
        race = self.race(V4, V6, max_tries=2)
        for _ in range(4):
            self.refuse(self.order[-1])
        self.assertEqual(self.order, [V4[0], V6[0], V4[1], V6[1]])
        self.assertEqual(self.failureResultOf(race, ConnectFailed).value.errno, errno.ECONNREFUSED)

    def test_an_address_is_tried_once(self) -> None:
        """However often a name server repeats it."""
        race = self.race((V4[0], V4[1]), (V4[0],))
        self.refuse(V4[0])
        self.refuse(V4[1])
        self.failureResultOf(race, ConnectFailed)
        self.assertEqual(self.order, [V4[0], V4[1]])

    def test_the_last_error_is_the_answer(self) -> None:
        self.at_once.update({V4[0]: TimeoutByRule(), V4[1]: SetupSocketFailed("no")})
        self.failureResultOf(self.race(V4[:2]), SetupSocketFailed)

    def test_a_forbidden_address_ends_it_at_once(self) -> None:
        """An error that is not one address's trouble is not tried around: the others under way are cancelled."""
        self.at_once[V6[0]] = ForbiddenRemoteAddress()
        race = self.race(V4, V6)
        self.clock.advance(0.25)
        self.failureResultOf(race, ForbiddenRemoteAddress)
        self.assertEqual(self.cancelled, [V4[0]])

    def test_cancelling_cancels_every_attempt(self) -> None:
        race = self.race(V4, V6)
        self.clock.advance(0.25)
        race.cancel()
        self.failureResultOf(race, CancelledError)
        self.assertEqual(sorted(self.cancelled), sorted([V4[0], V6[0]]))
        self.assertEqual(self.clock.getDelayedCalls(), [])

    # -- resolving

    def answers(self) -> tuple[Deferred[Sequence[str]], Deferred[Sequence[str]]]:
        return Deferred(), Deferred()

    def test_the_other_family_waits_resolution_delay_for_the_preferred(self) -> None:
        first, second = self.answers()
        self.race(first, second)
        second.callback(V6)
        self.clock.advance(0.04)
        self.assertEqual(self.order, [])
        first.callback(V4)
        self.assertEqual(self.order, [V4[0]])

    def test_after_resolution_delay_the_other_family_begins(self) -> None:
        first, second = self.answers()
        self.race(first, second)
        second.callback(V6)
        self.clock.advance(0.06)
        self.assertEqual(self.order, [V6[0]])
        first.callback(V4)
        self.clock.advance(0.25)
        self.assertEqual(self.order, [V6[0], V4[0]])

    def test_a_failed_preferred_family_is_not_waited_for(self) -> None:
        first, second = self.answers()
        self.race(first, second)
        second.callback(V6)
        first.errback(ResolveError("ServerError", "NOTFOUND"))
        self.assertEqual(self.order, [V6[0]])

    def test_both_families_unresolved_is_a_resolve_error(self) -> None:
        first, second = self.answers()
        race = self.race(first, second)
        first.errback(ResolveError("ServerError", "NOTFOUND"))
        self.assertNoResult(race)
        second.errback(ResolveError("ServerError", "SERVFAIL"))
        self.assertEqual(self.failureResultOf(race, ResolveError).value.subtype, "SERVFAIL")

    def test_an_error_at_hand_counts_like_one_that_comes(self) -> None:
        self.failureResultOf(self.race(ResolveError("EmptyResult"), None), ResolveError)
        self.race(ResolveError("EmptyResult"), V6)
        self.assertEqual(self.order, [V6[0]])

    def test_when_all_failed_the_second_answer_is_waited_for(self) -> None:
        second: Deferred[Sequence[str]] = Deferred()
        race = self.race(V4[:1], second)
        self.refuse(V4[0])
        self.clock.advance(1.9)
        self.assertNoResult(race)
        second.callback(V6)
        self.assertEqual(self.order, [V4[0], V6[0]])

    def test_the_second_answer_is_waited_for_no_longer_than_its_timeout(self) -> None:
        second: Deferred[Sequence[str]] = Deferred()
        race = self.race(V4[:1], second)
        self.refuse(V4[0])
        self.clock.advance(2.1)
        self.failureResultOf(race, TimeoutByRule)
        second.callback(V6)
        self.assertEqual(self.order, [V4[0]])

    def test_a_late_answer_does_not_wait_for_a_delay_that_is_over(self) -> None:
        """The one address known is silent for longer than the delay: the other family's answer starts an attempt as it comes."""
        second: Deferred[Sequence[str]] = Deferred()
        self.race(V4[:1], second)
        self.clock.advance(1)
        second.callback(V6)
        self.assertEqual(self.order, [V4[0], V6[0]])

    def test_answers_after_the_end_are_ignored(self) -> None:
        second: Deferred[Sequence[str]] = Deferred()
        race = self.race(V4[:1], second)
        self.attempts[V4[0]].callback(Won(V4[0]))
        self.successResultOf(race)
        second.errback(ResolveError("ServerError", "NOTFOUND"))
        self.assertEqual(self.order, [V4[0]])

    def test_a_broken_resolver_ends_the_connect(self) -> None:
        """An error nobody foresaw fails the task instead of leaving it to hang."""
        first, second = self.answers()
        race = self.race(first, second)
        first.errback(ZeroDivisionError())
        self.failureResultOf(race, ZeroDivisionError)

    def test_a_resolve_error_is_a_connect_error_for_the_client(self) -> None:
        """What escapers make of it: 530, and the reason that tells a name server's no from our own trouble."""
        self.assertEqual(ResolveFailed(ResolveError("ServerError", "NOTFOUND")).reason, "UpstreamNotResolved")
        self.assertEqual(ResolveFailed(ResolveError("DriverError", "Timeout")).reason, "InternalResolverError")
