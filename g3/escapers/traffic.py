# SPDX-License-Identifier: Apache-2.0
"""Bytes of an escaper's connections, brought into its statistics when those are asked for and when a connection closes.

The streams count for themselves; nothing is added up per chunk.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from zope.interface import implementer

from g3.interfaces import IMetricSource

if TYPE_CHECKING:
    from collections.abc import Iterable

    from g3.metrics.escaper import EscaperStats
    from g3.metrics.sample import Sample

_NOTHING: Final = (0, 0)


@implementer(IMetricSource)
class Traffic:
    """The statistics of an escaper with the bytes of its live connections."""

    __slots__ = ("_live", "stats")

    def __init__(self, stats: EscaperStats) -> None:
        self.stats = stats
        self._live: dict[Any, tuple[int, int]] = {}

    def __len__(self) -> int:
        """Connections now open."""
        return len(self._live)

    @property
    def sent(self) -> Any:
        """What of the statistics was sent, where they know it."""
        return getattr(self.stats, "sent", None)

    def follow(self, stream: Any, counted: tuple[int, int] = _NOTHING) -> None:
        """Count what C{stream} (on a socket of its own) has moved and will move, but for the C{counted} bytes (in, out)."""
        self._live[stream] = counted
        stream.on_close = self._closed

    def release(self, stream: Any) -> None:
        """Count what C{stream} has moved, and follow it no longer: it is about to give up its socket."""
        stream.on_close = None
        self._closed(stream)

    def _closed(self, stream: Any) -> None:
        self._count(stream, self._live.pop(stream, _NOTHING))

    def _count(self, stream: Any, before: tuple[int, int]) -> tuple[int, int]:
        now: tuple[int, int] = stream.wire_bytes()
        self.stats.in_bytes += now[0] - before[0]
        self.stats.out_bytes += now[1] - before[1]
        return now

    def samples(self) -> Iterable[Sample]:
        """IMetricSource."""
        for stream, before in self._live.items():
            self._live[stream] = self._count(stream, before)
        return self.stats.samples()
