# SPDX-License-Identifier: Apache-2.0
"""How often something may happen, and how many at once."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from g3.limit.gauge import Gauge
from g3.limit.options import RateQuota
from g3.limit.rate import RateLimiter


class RateTests(SynchronousTestCase):
    def test_a_burst_is_admitted_at_once_then_one_each_interval(self) -> None:
        """30/s: 30 at once, one more after a thirtieth of a second."""
        limiter = RateLimiter(RateQuota(replenish_interval=1 / 30, max_burst=30))
        self.assertEqual(sum(limiter.admit(100.0) for _ in range(50)), 30)
        self.assertFalse(limiter.admit(100.03))
        self.assertTrue(limiter.admit(100.034))
        self.assertFalse(limiter.admit(100.034))
        self.assertEqual(sum(limiter.admit(200.0) for _ in range(50)), 30)

    def test_the_delay_says_when_the_next_is_admitted(self) -> None:
        """Zero when it would be at once."""
        limiter = RateLimiter(RateQuota(replenish_interval=2.0))
        self.assertEqual(limiter.delay(5.0), 0.0)
        self.assertTrue(limiter.admit(5.0))
        self.assertEqual(limiter.delay(5.5), 1.5)
        self.assertFalse(limiter.admit(6.9))
        self.assertTrue(limiter.admit(7.0))

    def test_what_was_refused_costs_nothing(self) -> None:
        """A thousand refusals put nothing off."""
        limiter = RateLimiter(RateQuota(replenish_interval=1.0))
        limiter.admit(0.0)
        self.assertFalse(any(limiter.admit(0.5) for _ in range(1000)))
        self.assertTrue(limiter.admit(1.0))

    def test_a_reload_keeps_what_was_used(self) -> None:
        """A larger burst gives only what it adds."""
        limiter = RateLimiter(RateQuota(replenish_interval=1.0, max_burst=2))
        self.assertEqual(sum(limiter.admit(0.0) for _ in range(5)), 2)
        limiter.reload(RateQuota(replenish_interval=1.0, max_burst=3))
        self.assertEqual(sum(limiter.admit(0.0) for _ in range(5)), 1)

    @given(st.integers(1, 20), st.integers(1, 100), st.lists(st.floats(0, 0.3), max_size=200))
    @settings(max_examples=200, deadline=None)
    def test_no_window_admits_more_than_burst_and_its_share(self, burst: int, rate: int, gaps: list[float]) -> None:
        """Over any time t: burst + t * rate, and one for the moment itself."""
        limiter = RateLimiter(RateQuota(replenish_interval=1 / rate, max_burst=burst))
        now, admitted = 1000.0, []
        for gap in gaps:
            now += gap
            if limiter.admit(now):
                admitted.append(now)
        for first in range(len(admitted)):
            for last in range(first, len(admitted)):
                self.assertLessEqual(last - first + 1, burst + (admitted[last] - admitted[first]) * rate + 1e-3)


class GaugeTests(SynchronousTestCase):
    def test_permits_bound_what_is_alive(self) -> None:
        """One released makes room for one."""
        gauge = Gauge(2)
        self.assertEqual([gauge.acquire() for _ in range(3)], [True, True, False])
        gauge.release()
        self.assertEqual((gauge.alive, gauge.available, gauge.acquire()), (1, 1, True))

    def test_no_permits_is_no_limit(self) -> None:
        """But it is counted."""
        gauge = Gauge()
        self.assertTrue(all(gauge.acquire() for _ in range(1000)))
        self.assertEqual((gauge.alive, gauge.available), (1000, None))

    def test_fewer_permits_than_alive_let_nobody_in(self) -> None:
        """Until enough have gone."""
        gauge = Gauge(3)
        for _ in range(3):
            gauge.acquire()
        gauge.permits = 1
        self.assertEqual((gauge.acquire(), gauge.available), (False, 0))
        for _ in range(3):
            gauge.release()
        self.assertTrue(gauge.acquire())

    def test_releasing_too_often_is_a_mistake_that_shows(self) -> None:
        """The count never goes below zero."""
        self.assertRaises(RuntimeError, Gauge().release)
