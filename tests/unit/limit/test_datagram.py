# SPDX-License-Identifier: Apache-2.0
"""Tests of g3.limit.datagram."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from g3.limit.datagram import DatagramLimiter, datagram_limiters


class DatagramLimiterTests(SynchronousTestCase):
    """Windows of datagrams."""

    def test_packets_fill_a_window(self) -> None:
        limiter = DatagramLimiter(10, 2, 0)
        self.assertEqual(limiter.spend(100.0, 1500), 0.0)
        self.assertAlmostEqual(limiter.spend(100.1, 1500), 0.924)
        self.assertEqual(limiter.spend(101.024, 1500), 0.0)

    def test_bytes_too_many_are_taken_from_later_windows(self) -> None:
        limiter = DatagramLimiter(10, 0, 1000)
        self.assertAlmostEqual(limiter.spend(100.0, 2500), 2 * 1.024)
        self.assertAlmostEqual(limiter.spend(102.048, 500), 1.024)

    def test_idle_windows_save_nothing_up(self) -> None:
        limiter = DatagramLimiter(10, 0, 1000)
        limiter.spend(0.0, 1)
        self.assertGreater(limiter.spend(500.0, 1000), 0)

    def test_no_number_is_no_limit(self) -> None:
        self.assertEqual(datagram_limiters(10, 0, 0), ())
        self.assertEqual(datagram_limiters(0, 5, 5), ())
        self.assertEqual(len(datagram_limiters(10, 5, 0)), 1)
        self.assertRaises(ValueError, DatagramLimiter, 13, 1, 1)

    @settings(max_examples=300, deadline=None, database=None)
    @given(st.integers(0, 12), st.integers(0, 20), st.integers(0, 5000), st.lists(st.tuples(st.floats(0, 2), st.integers(0, 3000)), max_size=40))
    def test_who_waits_as_told_stays_within_the_limit(self, shift: int, packets: int, size: int, steps: list[tuple[float, int]]) -> None:
        """Over any time, no more than the windows it touches allow, and one datagram too much."""
        limiter, now, passed, total, largest = DatagramLimiter(shift, packets, size), 0.0, 0, 0, 0
        for pause, length in steps:
            now += pause
            now += limiter.spend(now, length)
            passed, total, largest = passed + 1, total + length, max(largest, length)
            windows = int(now / limiter.window + 1e-6) + 2
            if packets:
                self.assertLessEqual(passed, windows * packets)
            if size:
                self.assertLessEqual(total, windows * size + largest)
