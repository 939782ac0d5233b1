# SPDX-License-Identifier: Apache-2.0
"""Finding what stands still: one scan for all relays of a server, over integers they keep anyway."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol

from twisted.logger import Logger

if TYPE_CHECKING:
    from g3.net.timers import Timer, TimerWheel

_log = Logger()


class Watched(Protocol):
    """What can be found idle. C{activity} changes whenever something moves."""

    idle_seen: int
    idle_ticks: int
    idle_max: int

    @property
    def activity(self) -> int: ...
    def went_idle(self) -> None: ...


class IdleWatch:
    """Every C{interval} seconds counts, for each thing watched, the checks in a row at which nothing had moved; at C{idle_max} of them calls
    its C{went_idle}. No timer while nothing is watched."""

    __slots__ = ("_timer", "_timers", "_watched", "interval")

    def __init__(self, timers: TimerWheel, interval: float) -> None:
        self.interval = interval
        self._timers = timers
        self._watched: dict[Any, None] = {}
        self._timer: Timer | None = None

    def __len__(self) -> int:
        return len(self._watched)

    def add(self, watched: Watched) -> None:
        """Watch it from now on; its count starts at 0."""
        watched.idle_ticks = 0
        watched.idle_seen = -1
        self._watched[watched] = None
        if self._timer is None:
            self._timer = self._timers.add(self.interval, self._check)

    def remove(self, watched: Watched) -> None:
        """Watch it no more."""
        self._watched.pop(watched, None)

    def _check(self) -> None:
        self._timer = None
        for watched in self._scan():
            if watched in self._watched:
                try:
                    watched.went_idle()
                except Exception:
                    _log.failure("ending what was idle failed")
        if self._watched and self._timer is None:
            self._timer = self._timers.add(self.interval, self._check)

    def _scan(self) -> list[Watched]:
        """Count one tick; what has reached its maximum."""
        over = []
        for watched in self._watched:
            activity = watched.activity
            if activity != watched.idle_seen:
                watched.idle_seen = activity
                watched.idle_ticks = 0
            else:
                watched.idle_ticks += 1
                if watched.idle_ticks >= watched.idle_max:
                    over.append(watched)
        return over
