# SPDX-License-Identifier: Apache-2.0
"""Thousands of timeouts on one clock entry: a wheel of slots, one C{callLater} while it holds anything.

For timeouts that are nearly always cancelled: add and cancel are a dict operation each. Times are rounded up to the granularity, so a
timer is late by at most that and never early.
"""

from __future__ import annotations

import math
from heapq import heappop, heappush
from typing import TYPE_CHECKING, Any, TypeVar

from twisted.internet.defer import CancelledError, Deferred
from twisted.logger import Logger

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine

_log = Logger()

T = TypeVar("T")


class Timer:
    """One pending call. Fires at most once."""

    __slots__ = ("_slot", "callback")

    def __init__(self, callback: Callable[[], object], slot: dict[Timer, None]) -> None:
        self.callback: Callable[[], object] | None = callback
        self._slot: dict[Timer, None] | None = slot

    @property
    def active(self) -> bool:
        """Whether it is still to fire."""
        return self._slot is not None

    def cancel(self) -> None:
        """Never call; nothing happens when it has fired or was cancelled. O(1)."""
        slot = self._slot
        if slot is not None:
            self._slot = self.callback = None
            del slot[self]


class TimerWheel:
    """Timers on C{clock} (IReactorTime), rounded up to C{granularity} seconds.

    A callback that raises is logged and does not stop the others; what is cancelled while others fire is not called.
    """

    __slots__ = ("_call", "_clock", "_due", "_origin", "_slots", "granularity")

    def __init__(self, clock: Any, granularity: float = 0.5) -> None:
        if granularity <= 0:
            raise ValueError("the granularity must be positive")
        self.granularity = granularity
        self._clock = clock
        self._origin = clock.seconds()
        self._slots: dict[int, dict[Timer, None]] = {}
        #: Numbers of the slots there are, as a heap.
        self._due: list[int] = []
        self._call: Any = None

    def __len__(self) -> int:
        """Timers pending."""
        return sum(len(slot) for slot in self._slots.values())

    @property
    def armed(self) -> bool:
        """Whether it has a call on the clock, for timers pending or for some that were cancelled."""
        return self._call is not None and bool(self._call.active())

    def add(self, seconds: float, callback: Callable[[], object]) -> Timer:
        """Call C{callback()} no earlier than C{seconds} from now and at most one granularity later."""
        number = math.ceil((self._clock.seconds() - self._origin + max(seconds, 0.0)) / self.granularity)
        slot = self._slots.get(number)
        if slot is None:
            slot = self._slots[number] = {}
            heappush(self._due, number)
            if self._due[0] == number:
                self._arm()
        timer = Timer(callback, slot)
        slot[timer] = None
        return timer

    def _arm(self) -> None:
        """Wake up for the first slot."""
        if self._call is not None and self._call.active():
            self._call.cancel()
        delay = self._time_of(self._due[0]) - self._clock.seconds()
        self._call = self._clock.callLater(max(delay, 0.0), self._fire)

    def _time_of(self, number: int) -> float:
        """When a slot is due: by the same sum for waking up and for looking, or the one might never see what the other woke it up for."""
        return float(self._origin + number * self.granularity)

    def _fire(self) -> None:
        self._call = None
        now = self._clock.seconds()
        due: list[Timer] = []
        while self._due and self._time_of(self._due[0]) <= now:
            due.extend(self._slots.pop(heappop(self._due)))
        for timer in due:
            self._fire_one(timer)
        self._forget_empty()
        if self._due and self._call is None:
            self._arm()

    @staticmethod
    def _fire_one(timer: Timer) -> None:
        callback = timer.callback
        timer._slot = timer.callback = None
        if callback is None:  # cancelled by one that fired before it
            return
        try:
            callback()
        except Exception:
            _log.failure("a timer failed")

    def _forget_empty(self) -> None:
        """Slots whose timers were all cancelled need no waking up."""
        while self._due and not self._slots[self._due[0]]:
            del self._slots[heappop(self._due)]

    def stop(self) -> None:
        """Cancel every timer."""
        for slot in self._slots.values():
            for timer in list(slot):
                timer.cancel()
        self._slots.clear()
        self._due.clear()
        if self._call is not None and self._call.active():
            self._call.cancel()
        self._call = None


async def within(timers: TimerWheel, seconds: float, work: Coroutine[Any, Any, T], error: Callable[[], Exception]) -> T:
    """What C{work} returns. After C{seconds} it is cancelled and C{error()} raised instead."""
    doing = Deferred.fromCoroutine(work)
    if doing.called:
        return await doing
    late = False

    def expire() -> None:
        nonlocal late
        late = True
        doing.cancel()

    timer = timers.add(seconds, expire)
    try:
        return await doing
    except CancelledError:
        if late:
            raise error() from None
        raise
    finally:
        timer.cancel()
