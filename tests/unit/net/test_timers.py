# SPDX-License-Identifier: Apache-2.0
"""The timer wheel: never early, late by one granularity at most."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from g3.errors import NegotiationPeerTimeout, NegotiationReadFailed
from g3.net.timers import TimerWheel, within


class TimerWheelTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.clock = Clock()
        self.wheel = TimerWheel(self.clock, 0.5)
        self.fired: list[object] = []

    @settings(max_examples=60, deadline=None)
    @given(st.lists(st.tuples(st.floats(0, 30), st.floats(0, 3)), max_size=30), st.sampled_from([0.1, 0.5, 1.0]), st.floats(0.01, 0.7))
    def test_never_early_and_at_most_one_granularity_late(self, timers: list[tuple[float, float]], granularity: float, step: float) -> None:
        """Whatever is added when, each fires once within [due, due + granularity + the clock's own step]."""
        clock, fired = Clock(), []
        wheel = TimerWheel(clock, granularity)
        for seconds, wait in timers:
            due = clock.seconds() + seconds
            wheel.add(seconds, lambda due=due: fired.append((due, clock.seconds())))
            clock.advance(wait)
        while len(wheel):
            clock.advance(step)
        self.assertEqual(len(fired), len(timers))
        for due, at in fired:
            self.assertGreaterEqual(at, due - 1e-9)
            self.assertLessEqual(at, due + granularity + max(step, 3) + 1e-9)
        self.assertEqual(clock.getDelayedCalls(), [])

    def test_it_fires_when_it_was_woken_up_for_it(self) -> None:
        """Whatever is lost in the sums: a clock that stands still would wake it up without end."""
        for start in range(200):
            clock, fired = Clock(), []
            clock.advance(start * 3.7)
            wheel = TimerWheel(clock, 0.1)
            wheel.add(start / 100, lambda fired=fired: fired.append(1))
            for _ in range(3):
                (call,) = clock.getDelayedCalls() or (None,)
                if call is not None:
                    clock.rightNow = call.getTime()
                    clock.calls.remove(call)
                    call.func()  # type: ignore[attr-defined]
            self.assertEqual((start, fired, clock.getDelayedCalls()), (start, [1], []))

    def test_one_clock_entry_for_any_number(self) -> None:
        """A thousand timers are one callLater, and none when all have fired."""
        for n in range(1000):
            self.wheel.add(n / 100, lambda: None)
        self.assertEqual(len(self.clock.getDelayedCalls()), 1)
        self.clock.advance(100)
        self.assertEqual((len(self.wheel), self.clock.getDelayedCalls()), (0, []))

    def test_a_cancelled_timer_never_fires(self) -> None:
        """Cancelling is final and may be repeated, before and after."""
        timer = self.wheel.add(1, lambda: self.fired.append(1))
        other = self.wheel.add(1, lambda: self.fired.append(2))
        timer.cancel()
        timer.cancel()
        self.assertEqual((timer.active, other.active), (False, True))
        self.clock.advance(2)
        other.cancel()
        self.assertEqual(self.fired, [2])

    def test_a_timer_cancelled_by_another_of_its_slot_does_not_fire(self) -> None:
        """What is cancelled while others fire is not called."""
        second = None

        def first() -> None:
            assert second is not None
            second.cancel()

        self.wheel.add(1, first)
        second = self.wheel.add(1, lambda: self.fired.append("second"))
        self.clock.advance(2)
        self.assertEqual(self.fired, [])

    def test_timers_of_one_slot_fire_in_order(self) -> None:
        """First added, first called."""
        for n in range(5):
            self.wheel.add(1, lambda n=n: self.fired.append(n))
        self.clock.advance(2)
        self.assertEqual(self.fired, [0, 1, 2, 3, 4])

    def test_a_failing_timer_stops_no_other(self) -> None:
        """It is logged."""
        self.wheel.add(1, lambda: 1 / 0)
        self.wheel.add(1, lambda: self.fired.append(1))
        self.clock.advance(2)
        self.assertEqual((self.fired, len(self.flushLoggedErrors(ZeroDivisionError))), ([1], 1))

    def test_a_timer_may_add_itself_again(self) -> None:
        """Even with no delay the wheel comes back to the reactor in between."""

        def again() -> None:
            self.fired.append(self.clock.seconds())
            if len(self.fired) < 5:
                self.wheel.add(0, again)

        self.wheel.add(0, again)
        for _ in range(10):
            self.clock.advance(0)
        self.assertEqual(len(self.fired), 5)

    def test_an_earlier_timer_is_not_kept_waiting(self) -> None:
        """Adding one that is due before all others moves the wake-up."""
        self.wheel.add(100, lambda: self.fired.append("late"))
        self.wheel.add(1, lambda: self.fired.append("soon"))
        self.clock.advance(1.5)
        self.assertEqual(self.fired, ["soon"])

    def test_stop_cancels_everything(self) -> None:
        """Nothing is left on the clock."""
        self.wheel.add(1, lambda: self.fired.append(1))
        self.wheel.stop()
        self.clock.advance(2)
        self.assertEqual((self.fired, self.clock.getDelayedCalls()), ([], []))

    def test_the_granularity_must_be_positive(self) -> None:
        """Else ValueError."""
        self.assertRaises(ValueError, TimerWheel, self.clock, 0)


class Within(SynchronousTestCase):
    def setUp(self) -> None:
        self.clock = Clock()
        self.timers = TimerWheel(self.clock)
        self.work: Deferred[str] = Deferred()

    async def wait(self) -> str:
        return await self.work

    def begin(self) -> Deferred[str]:
        return Deferred.fromCoroutine(within(self.timers, 10.0, self.wait(), NegotiationPeerTimeout))

    def test_what_is_done_in_time_is_returned(self) -> None:
        doing = self.begin()
        self.work.callback("done")
        self.assertEqual(self.successResultOf(doing), "done")
        self.clock.advance(11)
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_what_is_late_is_cancelled(self) -> None:
        doing = self.begin()
        self.clock.advance(9)
        self.assertNoResult(doing)
        self.clock.advance(2)
        self.failureResultOf(doing, NegotiationPeerTimeout)
        self.assertTrue(self.work.called)

    def test_an_error_passes(self) -> None:
        doing = self.begin()
        self.work.errback(NegotiationReadFailed())
        self.failureResultOf(doing, NegotiationReadFailed)

    def test_a_cancelled_task_is_not_late(self) -> None:
        doing = self.begin()
        doing.cancel()
        self.failureResultOf(doing, CancelledError)
        self.assertTrue(self.work.called)

    def test_what_is_done_at_once_sets_no_timer(self) -> None:
        self.work.callback("now")
        self.assertEqual(self.successResultOf(self.begin()), "now")
        self.assertEqual(self.clock.getDelayedCalls(), [])
