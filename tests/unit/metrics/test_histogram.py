# SPDX-License-Identifier: Apache-2.0
"""Durations as quantiles: how exact, and over which time."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from g3.metrics.histogram import RotatingHistogram, bucket_of, middle_of
from g3.metrics.quantile import HistogramOptions, Quantile


class BucketTests(SynchronousTestCase):
    """Numbers in buckets."""

    @settings(max_examples=300, deadline=None)
    @given(st.integers(0, 1 << 62))
    def test_a_bucket_is_half_a_percent_wide(self, value: int) -> None:
        """To either side."""
        self.assertLessEqual(abs(middle_of(bucket_of(value)) - value), max(value * 0.005, 0.5))

    @settings(max_examples=300, deadline=None)
    @given(st.integers(0, 1 << 62), st.integers(0, 1 << 62))
    def test_buckets_are_in_order(self, one: int, two: int) -> None:
        """Of two numbers the larger is in no lower bucket."""
        self.assertEqual(bucket_of(min(one, two)) <= bucket_of(max(one, two)), True)


class RotatingHistogramTests(SynchronousTestCase):
    """Windows of time."""

    def setUp(self) -> None:
        self.clock = Clock()
        options = HistogramOptions(quantile=(Quantile(0.5, "0.50"), Quantile(0.99, "0.990")), rotate=4.0)
        self.histogram = RotatingHistogram(options, self.clock.seconds)

    @settings(max_examples=100, deadline=None)
    @given(st.lists(st.integers(1, 10**10), min_size=1, max_size=300))
    def test_figures_are_those_of_the_sorted_list(self, values: list[int]) -> None:
        """The least, the most and the mean exactly, quantiles to half a percent."""
        self.setUp()
        for value in values:
            self.histogram.record(value)
        self.clock.advance(4)
        figures = dict(self.histogram.figures())
        self.assertEqual((figures["min"], figures["max"]), (min(values), max(values)))
        self.assertLessEqual(abs(figures["mean"] - sum(values) / len(values)), 1)
        ordered = sorted(values)
        for word, share in (("0.50", 0.5), ("0.990", 0.99)):
            at = next(index for index in range(len(ordered)) if index + 1 >= share * len(ordered))
            self.assertLessEqual(abs(figures[word] - ordered[at]), max(ordered[at] * 0.006, 0.6))

    def test_a_window_is_told_when_it_is_full(self) -> None:
        """Until the next is; one without a value changes nothing."""
        self.histogram.record(100)
        self.assertEqual(self.histogram.figures(), ())
        self.clock.advance(4)
        self.assertEqual(dict(self.histogram.figures())["max"], 100)
        self.histogram.record(7)
        self.assertEqual(dict(self.histogram.figures())["max"], 100)
        self.clock.advance(4)
        self.assertEqual(dict(self.histogram.figures())["max"], 7)
        self.clock.advance(40)
        self.assertEqual(dict(self.histogram.figures())["max"], 7)

    def test_zero_is_no_sample(self) -> None:
        """As upstream."""
        self.histogram.record(0)
        self.clock.advance(4)
        self.assertEqual(list(self.histogram.samples("name", (), ())), [])
