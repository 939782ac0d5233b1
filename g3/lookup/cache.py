# SPDX-License-Identifier: Apache-2.0
"""Questions to a helper: each is asked once however many want to know, and the answer is kept.

An answer is given until it I{vanishes}. From the moment it I{expires} it is still given, and asked for again behind the scenes. That nobody
answered is an answer, too: None, kept for a while, so that a helper that is away is not asked for each connection. No one waits longer than
the timeout, and nothing here fails.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, Generic, TypeVar

from twisted.internet.defer import Deferred
from twisted.logger import Logger

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable

    from g3.net.timers import Timer, TimerWheel

_log = Logger()

K = TypeVar("K", bound="Hashable")
V = TypeVar("V")

#: Answers kept, questions open at one time, and askers that wait for one answer.
MOST_ENTRIES: Final = 8192
MOST_OPEN: Final = 1024
MOST_WAITING: Final = 4096


class Waiters(Generic[K, V]):
    """The questions that are open, each with those who wait for its answer.

    @param ask: called with a key and what else belongs to the question; whether it could be asked.
    @param unanswered: called with a key when it could not be asked, or its time is over: has to call C{answer}.
    """

    __slots__ = ("_ask", "_open", "_patience", "_query_wait", "_timers", "_unanswered")

    def __init__(
        self, timers: TimerWheel, query_wait: float, patience: float, ask: Callable[[K, Any], bool], unanswered: Callable[[K], None]
    ) -> None:
        self._timers = timers
        self._query_wait, self._patience = query_wait, patience
        self._ask, self._unanswered = ask, unanswered
        self._open: dict[K, tuple[list[Deferred[V | None]], Timer]] = {}

    def __contains__(self, key: K) -> bool:
        return key in self._open

    def __len__(self) -> int:
        return len(self._open)

    def question(self, key: K, extra: Any = None) -> bool:
        """Ask, unless it is being asked. False when too much is open already."""
        if key in self._open:
            return True
        if len(self._open) >= MOST_OPEN:
            return False
        timer = self._timers.add(self._query_wait, lambda: self._unanswered(key))
        self._open[key] = ([], timer)
        if not self._ask(key, extra):
            self._unanswered(key)
        return True

    def wait(self, key: K) -> Deferred[V | None] | None:
        """The answer to an open question, None in it when patience ends. None at once where nobody may wait any more."""
        found = self._open.get(key)
        if found is None or len(found[0]) >= MOST_WAITING:
            return None
        result: Deferred[V | None] = Deferred()
        found[0].append(result)
        if self._patience < self._query_wait:
            timer = self._timers.add(self._patience, lambda: self._give_up(key, result))
            result.addCallback(_cancelling, timer)
        return result

    def _give_up(self, key: K, result: Deferred[V | None]) -> None:
        found = self._open.get(key)
        if found is not None and result in found[0]:
            found[0].remove(result)
        if not result.called:
            result.callback(None)

    def answer(self, key: K, value: V | None) -> bool:
        """Tell all who wait; False when nobody asked, or not any more."""
        found = self._open.pop(key, None)
        if found is None:
            return False
        waiting, timer = found
        timer.cancel()
        for result in waiting:
            if not result.called:
                result.callback(value)
        return True

    def stop(self) -> None:
        """All who wait are told None."""
        for key in list(self._open):
            self.answer(key, None)


def _cancelling(value: V, timer: Timer) -> V:
    timer.cancel()
    return value


class Entry(Generic[V]):
    """An answer; times are those of the clock."""

    __slots__ = ("expires", "value", "vanishes")

    def __init__(self, value: V | None, expires: float, vanishes: float) -> None:
        self.value, self.expires, self.vanishes = value, expires, vanishes


class QueryCache(Generic[K, V]):
    """Answers by key.

    @param clock: IReactorTime. @param vanish_wait: seconds from the expiry of an answer to its end.
    @param protective_ttl: seconds that None is kept as an answer.
    """

    __slots__ = ("_clock", "_entries", "_protective", "_vanish_wait", "open")

    def __init__(
        self,
        clock: Any,
        timers: TimerWheel,
        *,
        ask: Callable[[K, Any], bool],
        query_wait: float,
        patience: float,
        vanish_wait: float,
        protective_ttl: float,
    ) -> None:
        self._clock = clock
        self._vanish_wait = vanish_wait
        self._protective = protective_ttl
        self._entries: dict[K, Entry[V]] = {}
        self.open: Waiters[K, V] = Waiters(timers, query_wait, patience, ask, self.fail)

    def __len__(self) -> int:
        return len(self._entries)

    def _find(self, key: K) -> Entry[V] | None:
        entry = self._entries.get(key)
        if entry is not None and entry.vanishes <= self._clock.seconds():
            del self._entries[key]
            return None
        return entry

    def cached(self, key: K) -> V | None:
        """What is kept, even when it has expired. Nobody is asked."""
        entry = self._find(key)
        return None if entry is None else entry.value

    def fetch(self, key: K, extra: Any = None) -> V | Deferred[V | None] | None:
        """What is kept, or a Deferred of the answer. None is that there is none: it never fails.

        @param extra: what else belongs to the question, if it is asked now.
        """
        entry = self._find(key)
        if entry is not None:
            if entry.expires < self._clock.seconds():
                self.open.question(key, extra)
            return entry.value
        if not self.open.question(key, extra):
            return None
        return self.open.wait(key) or self.cached(key)

    def answer(self, key: K, value: V, ttl: float) -> None:
        """The answer to an open question; one that is not open any more is ignored."""
        if key in self.open:
            self._keep(key, value, ttl)
            self.open.answer(key, value)

    def fail(self, key: K) -> None:
        """There is no answer."""
        if key in self.open:
            self._keep(key, None, self._protective)
            self.open.answer(key, None)

    def _keep(self, key: K, value: V | None, ttl: float) -> None:
        expires = self._clock.seconds() + ttl
        # A new answer is the youngest again: what goes first when there are too many is what was answered longest ago.
        self._entries.pop(key, None)
        while len(self._entries) >= MOST_ENTRIES:
            del self._entries[next(iter(self._entries))]
        self._entries[key] = Entry(value, expires, expires + self._vanish_wait)

    def stop(self) -> None:
        """Forget all; who waits is told None."""
        self.open.stop()
        self._entries.clear()
