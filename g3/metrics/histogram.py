# SPDX-License-Identifier: Apache-2.0
"""Durations as quantiles over a window of time: what is recorded costs half a microsecond, whatever the number (upstream: metrics/server)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from g3.metrics.sample import GAUGE, Sample

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from g3.metrics.quantile import HistogramOptions
    from g3.metrics.sample import Tags

#: Bits of a value that its bucket keeps: quantiles are exact to a half of one percent.
PRECISION = 7


def bucket_of(value: int) -> int:
    """The number of the bucket of a value of 0 or more."""
    shift = value.bit_length() - PRECISION - 1
    return value if shift <= 0 else (shift << PRECISION) + (value >> shift)


def middle_of(bucket: int) -> float:
    """The value that stands for all of a bucket."""
    shift = max((bucket >> PRECISION) - 1, 0)
    low = (bucket - (shift << PRECISION)) << shift
    return low + ((1 << shift) - 1) / 2


class RotatingHistogram:
    """Nanoseconds of one window. When C{rotate} seconds have passed the window's figures are what is told, and the next one begins; a window
    in which nothing was recorded changes nothing.

    @ivar clock: monotonic seconds.
    """

    __slots__ = ("_buckets", "_count", "_figures", "_least", "_most", "_options", "_sum", "_turn", "clock")

    def __init__(self, options: HistogramOptions, clock: Callable[[], float]) -> None:
        self.clock = clock
        self._options = options
        self._figures: tuple[tuple[str, float], ...] = ()
        self._turn = clock() + options.rotate
        self._empty()

    def _empty(self) -> None:
        self._buckets: dict[int, int] = {}
        self._count = self._sum = self._most = 0
        self._least = 0

    def record(self, nanos: int) -> None:
        """One duration."""
        shift = nanos.bit_length() - PRECISION - 1
        bucket = nanos if shift <= 0 else (shift << PRECISION) + (nanos >> shift)
        buckets = self._buckets
        buckets[bucket] = buckets.get(bucket, 0) + 1
        self._count += 1
        self._sum += nanos
        if nanos > self._most:
            self._most = nanos
        if nanos < self._least or self._count == 1:
            self._least = nanos

    def figures(self) -> tuple[tuple[str, float], ...]:
        """(word, nanoseconds) of the last full window: min, max, mean and each quantile as it was written."""
        if self.clock() >= self._turn:
            self._turn = self.clock() + self._options.rotate
            if self._count:
                self._figures = tuple(self._measure())
                self._empty()
        return self._figures

    def _measure(self) -> Iterator[tuple[str, float]]:
        yield "min", self._least
        yield "max", self._most
        yield "mean", self._sum / self._count
        ordered = sorted(self._buckets.items())
        for quantile in self._options.quantile:
            wanted, seen = quantile.value * self._count, 0
            for bucket, count in ordered:
                seen += count
                if seen >= wanted:
                    yield quantile.text, min(max(middle_of(bucket), self._least), self._most)
                    break

    def samples(self, name: str, tags: Tags, state: Tags) -> Iterator[Sample]:
        """A gauge for each figure over zero."""
        for word, value in self.figures():
            if value > 0:
                yield Sample(name, GAUGE, value, (*tags, ("quantile", word)), state)
