# SPDX-License-Identifier: Apache-2.0
"""Speed limits: never more than allowed, never stuck while something is allowed."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from g3.limit.options import GlobalStreamSpeed
from g3.limit.stream import FOREVER, GlobalStreamLimiter, StreamLimiter, stream_limiters


class StreamLimiterTests(SynchronousTestCase):
    def test_a_window_lets_its_size_pass_and_then_waits_for_the_next(self) -> None:
        """1000 bytes each 1.024 seconds."""
        limiter = StreamLimiter(10, 1000)
        self.assertEqual(limiter.allowance(5.0), 1000)
        limiter.spend(400)
        self.assertEqual(limiter.allowance(5.5), 600)
        limiter.spend(600)
        self.assertEqual((limiter.allowance(6.0), round(limiter.delay(6.0), 6)), (0, 0.024))
        self.assertEqual(limiter.allowance(6.024001), 1000)

    def test_windows_keep_their_beat(self) -> None:
        """A pause gives no second start: the window asked for in its middle ends where it would have."""
        limiter = StreamLimiter(10, 1000)
        limiter.allowance(0.0)
        limiter.allowance(1.5)
        limiter.spend(1000)
        self.assertEqual((limiter.allowance(2.0), limiter.allowance(2.05)), (0, 1000))

    def test_size_0_waits_for_ever(self) -> None:
        """Nothing passes at any time."""
        limiter = StreamLimiter(4, 0)
        for now in (0.0, 1.0, 1e6):
            self.assertEqual((limiter.allowance(now), limiter.delay(now)), (0, FOREVER))

    def test_the_shift_is_bounded(self) -> None:
        """0 to 12."""
        for shift in (-1, 13):
            self.assertRaises(ValueError, StreamLimiter, shift, 1)
        self.assertEqual((StreamLimiter(0, 1).window, StreamLimiter(12, 1).window), (0.001, 4.096))

    @settings(max_examples=100, deadline=None)
    @given(st.integers(0, 12), st.integers(1, 10**6), st.lists(st.tuples(st.floats(0, 2), st.integers(1, 10**6)), max_size=60))
    def test_in_any_time_no_more_than_the_windows_in_it_allow(self, shift: int, size: int, steps: list[tuple[float, int]]) -> None:
        """Sent <= size * (windows touched); and after delay() there is always something to send."""
        limiter, now, sent = StreamLimiter(shift, size), 100.0, 0
        limiter.allowance(now)
        for wait, want in steps:
            now += wait
            n = min(limiter.allowance(now), want)
            limiter.spend(n)
            sent += n
            self.assertLessEqual(sent, size * (int((now - 100.0) / limiter.window + 1e-6) + 1))
            if not limiter.allowance(now):
                self.assertLessEqual(limiter.delay(now), limiter.window + 0.001)
                later = now + limiter.delay(now) + 1e-6
                self.assertEqual(limiter.allowance(later), size)
                now = later

    def test_shift_0_is_no_limit(self) -> None:
        """Only the shared ones remain."""
        shared = GlobalStreamLimiter(GlobalStreamSpeed(replenish_bytes=1, max_burst=1), 0.0)
        self.assertEqual(stream_limiters(0, 5), ())
        self.assertEqual(stream_limiters(0, 5, shared), (shared,))
        self.assertEqual(len(stream_limiters(3, 5, shared)), 2)


class GlobalStreamLimiterTests(SynchronousTestCase):
    def limiter(self, replenish: int = 1000, burst: int = 2500, interval: float = 1.0) -> GlobalStreamLimiter:
        return GlobalStreamLimiter(GlobalStreamSpeed(replenish_bytes=replenish, max_burst=burst, replenish_interval=interval), 10.0)

    def test_it_starts_with_one_replenishment(self) -> None:
        """Not with the whole burst."""
        self.assertEqual(self.limiter().allowance(10.0), 1000)

    def test_tokens_gather_up_to_the_burst(self) -> None:
        """However long it was idle."""
        limiter = self.limiter()
        self.assertEqual([limiter.allowance(t) for t in (10.9, 11.0, 12.5, 1000.0)], [1000, 2000, 2500, 2500])

    def test_an_empty_bucket_waits_for_the_next_replenishment(self) -> None:
        """delay says until when."""
        limiter = self.limiter()
        limiter.spend(limiter.allowance(10.25))
        self.assertEqual((limiter.allowance(10.25), limiter.delay(10.25)), (0, 0.75))
        self.assertEqual(limiter.allowance(11.0), 1000)

    def test_nothing_to_replenish_waits_for_ever(self) -> None:
        """A bucket that is never filled."""
        limiter = self.limiter(replenish=0)
        self.assertEqual((limiter.allowance(99.0), limiter.delay(99.0)), (0, FOREVER))

    def test_new_options_keep_the_tokens(self) -> None:
        """Capped at the new burst."""
        limiter = self.limiter()
        limiter.update(GlobalStreamSpeed(replenish_bytes=1000, max_burst=300))
        self.assertEqual(limiter.allowance(10.0), 300)

    @settings(max_examples=60, deadline=None)
    @given(st.lists(st.tuples(st.floats(0, 3), st.integers(1, 4000)), max_size=60))
    def test_streams_that_share_it_get_no_more_than_it_holds(self, steps: list[tuple[float, int]]) -> None:
        """Spent <= one replenishment for each interval begun, whoever asks."""
        limiter, now, spent = self.limiter(), 10.0, 0
        for wait, want in steps:
            now += wait
            n = min(limiter.allowance(now), want)
            limiter.spend(n)
            spent += n
            self.assertLessEqual(spent, 1000 * (int(now - 10.0 + 1e-9) + 1))
            if not limiter.allowance(now):
                now += limiter.delay(now) + 1e-9
                self.assertGreater(limiter.allowance(now), 0)
