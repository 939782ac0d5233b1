# SPDX-License-Identifier: Apache-2.0
"""The cache of one record type: what is known, what may still be used while it is asked anew, and who waits for an answer.

Pure bookkeeping over a clock; the names are asked by whoever made it (upstream: configuration/resolvers, TTL Calculation).
"""

from __future__ import annotations

from collections import OrderedDict
from enum import Enum
from heapq import heapify, heappop, heappush
from typing import TYPE_CHECKING, Any

from twisted.internet.defer import Deferred
from twisted.logger import Logger

from g3.errors import ResolveError

if TYPE_CHECKING:
    from collections.abc import Callable

    from twisted.python.failure import Failure

    from g3.metrics.resolver import QueryStats

_log = Logger()

#: Records kept for one type, those in use and those in the trash each.
CACHE_SIZE = 32768
#: Names asked for at one time.
MAX_DOING = 16384


class Source(Enum):
    """Where an answer came from; the value is the resolve log's C{rr_source}."""

    CACHE = "cache"
    QUERY = "query"
    TRASH = "trash"


class Record:
    """One answer: addresses, or none and perhaps an error. Immutable by agreement; times are of the resolver's clock, in seconds.

    C{expire}: from then on it is asked anew; C{vanish}: from then on it must not be used, None when it is the same.
    """

    __slots__ = ("addresses", "error", "expire", "vanish")

    def __init__(self, addresses: tuple[str, ...], error: ResolveError | None, expire: float, vanish: float | None = None) -> None:
        self.addresses = addresses
        self.error = error
        self.expire = expire
        self.vanish = vanish

    @classmethod
    def resolved(cls, now: float, ttl: int, min_ttl: int, max_ttl: int, addresses: tuple[str, ...]) -> Record:
        """Addresses with a TTL; see L{lifetimes}."""
        expire, vanish = lifetimes(ttl, min_ttl, max_ttl)
        return cls(addresses, None, now + expire, now + vanish)

    @classmethod
    def empty(cls, now: float, ttl: int) -> Record:
        """The name exists and has no address of this type."""
        return cls((), None, now + ttl)

    @classmethod
    def failed(cls, now: float, ttl: int, error: ResolveError) -> Record:
        """No answer."""
        return cls((), error, now + ttl)

    @property
    def usable(self) -> bool:
        """Whether it has an address."""
        return bool(self.addresses)

    @property
    def ok(self) -> bool:
        """Whether it is no error; it may be empty."""
        return self.error is None

    @property
    def acceptable(self) -> bool:
        """Whether it replaces an older answer: it does unless it is an error other than that the name does not exist."""
        error = self.error
        return error is None or (error.type == "ServerError" and error.subtype == "NOTFOUND")


Found = tuple[Record, Source]


def lifetimes(ttl: int, min_ttl: int, max_ttl: int) -> tuple[int, int]:
    """(seconds until it is asked anew, seconds until it is gone) of a record with a TTL."""
    if ttl > max_ttl + min_ttl:
        return max_ttl, ttl
    if ttl > min_ttl + min_ttl:
        return ttl - min_ttl, ttl
    if ttl > min_ttl:
        return min_ttl, ttl
    return min_ttl, min_ttl + 1


class Table:
    """Records by name: fresh ones, and expired ones that have not vanished. The least recently used go when it is full."""

    def __init__(self, size: int = CACHE_SIZE) -> None:
        self.size = size
        self.cache: OrderedDict[str, Record] = OrderedDict()
        self.trash: OrderedDict[str, Record] = OrderedDict()
        self._due: list[tuple[float, str]] = []

    def find(self, name: str, now: float) -> Found | None:
        """What is known of a name now."""
        if self._due and self._due[0][0] <= now:
            self.expire(now)
        record = self.cache.get(name)
        if record is not None:
            self.cache.move_to_end(name)
            return record, Source.CACHE
        record = self.trash.get(name)
        if record is not None:
            self.trash.move_to_end(name)
            return record, Source.TRASH
        return None

    def stale(self, name: str, now: float) -> Record | None:
        """The expired record of a name, if it has not vanished."""
        self.expire(now)
        return self.trash.get(name)

    def store(self, name: str, record: Record, now: float) -> None:
        """Know this of a name from now on, and nothing else."""
        self.trash.pop(name, None)
        self.cache[name] = record
        self.cache.move_to_end(name)
        self._schedule(record.expire, name)
        if len(self.cache) > self.size:
            self.cache.popitem(last=False)
        self.expire(now)

    def expire(self, now: float) -> None:
        """Move what expired to the trash, and drop what vanished."""
        due = self._due
        while due and due[0][0] <= now:
            self._retire(heappop(due)[1], now)

    def _retire(self, name: str, now: float) -> None:
        record = self.cache.get(name)
        if record is not None and record.expire <= now:
            del self.cache[name]
            if record.vanish is not None and record.vanish > now:
                self.trash[name] = record
                self._schedule(record.vanish, name)
                if len(self.trash) > self.size:
                    self.trash.popitem(last=False)
        old = self.trash.get(name)
        if old is not None and old.vanish is not None and old.vanish <= now:
            del self.trash[name]

    def _schedule(self, when: float, name: str) -> None:
        heappush(self._due, (when, name))
        if len(self._due) > 4 * self.size + 1024:
            self._rebuild()

    def _rebuild(self) -> None:
        """Forget the times of records that were evicted or replaced."""
        self._due = [(record.expire, name) for name, record in self.cache.items()]
        self._due += [(record.vanish or 0.0, name) for name, record in self.trash.items()]
        heapify(self._due)


class _Doing:
    """One name that is being asked for, and who waits."""

    __slots__ = ("answer", "asked", "timeout", "waiters")

    def __init__(self) -> None:
        self.answer: Record | None = None
        self.asked: Deferred[Record] | None = None
        self.timeout: Any = None
        self.waiters: dict[Deferred[Found], None] = {}


class Cache:
    """Lookups of one record type.

    Rules: a fresh record is the answer; an expired one is too, and one question goes out in the background; all others wait for one question.
    An error does not replace an expired record, and every answer, also an error, is kept for its time.

    @param ask: asks for a name: a Record, or a Deferred of one, which should not fail.
    @param timeout: seconds until a question is given up, whatever C{ask} does; C{negative_ttl}: seconds this error is kept.
    """

    def __init__(
        self,
        clock: Any,
        stats: QueryStats,
        ask: Callable[[str], Record | Deferred[Record]],
        *,
        timeout: float = 60.0,
        negative_ttl: int = 30,
        size: int = CACHE_SIZE,
    ) -> None:
        self.timeout = timeout
        self.negative_ttl = negative_ttl
        self.table = Table(size)
        #: Called after an answer when nothing more is being asked.
        self.idle: Callable[[], None] | None = None
        self._clock = clock
        self._stats = stats
        self._ask = ask
        self._doing: dict[str, _Doing] = {}
        stats.cache_capacity = stats.trash_capacity = size
        stats.doing_capacity = MAX_DOING

    @property
    def doing(self) -> int:
        """Names being asked for."""
        return len(self._doing)

    def lookup(self, name: str, *, ask: bool = True) -> Found | Deferred[Found]:
        """A record and where it came from, at once when it is known. The Deferred does not fail; cancel it to wait no longer.

        With C{ask} false nothing new is asked: a name not known is an error.
        """
        stats = self._stats
        stats.total += 1
        found = self.table.find(name, self._clock.seconds())
        if found is not None:
            if found[1] is Source.CACHE:
                stats.cached += 1
                return found
            stats.trashed += 1
            if ask and name not in self._doing:
                self._start(name)
            return found
        doing = self._doing.get(name)
        if doing is None:
            if not ask:
                return self._refused("NoResolverRunning")
            answer = self._start(name)
            if not isinstance(answer, _Doing):
                return answer, Source.QUERY
            doing = answer
        return self._wait(doing)

    def _refused(self, why: str) -> Found:
        return Record.failed(self._clock.seconds(), 0, ResolveError("LocalError", why)), Source.QUERY

    def _wait(self, doing: _Doing) -> Deferred[Found]:
        waiter: Deferred[Found] = Deferred(lambda gone: doing.waiters.pop(gone, None))
        doing.waiters[waiter] = None
        return waiter

    def _start(self, name: str) -> Record | _Doing:
        """Ask for a name. The answer itself, if there was no need to wait."""
        if len(self._doing) >= MAX_DOING:
            return self._refused("DriverTimedOut")[0]
        self._stats.driver += 1
        doing = self._doing[name] = _Doing()
        asked = self._asked(name)
        if isinstance(asked, Record):
            return self._finish(name, doing, asked)
        doing.asked = asked
        doing.timeout = self._clock.callLater(self.timeout, self._timed_out, name, doing)
        asked.addCallbacks(self._answered, self._broken, callbackArgs=(name, doing), errbackArgs=(name, doing))
        self._measure()
        return doing if doing.answer is None else doing.answer

    def _asked(self, name: str) -> Record | Deferred[Record]:
        try:
            return self._ask(name)
        except Exception:
            _log.failure("asking for {name} failed", name=name)
            return Record.failed(self._clock.seconds(), self.negative_ttl, ResolveError("DriverError", "InternalError"))

    def _answered(self, record: Record, name: str, doing: _Doing) -> None:
        if self._doing.get(name) is doing:
            self._finish(name, doing, record)

    def _broken(self, failure: Failure, name: str, doing: _Doing) -> None:
        """The question itself failed: its error, or one of ours."""
        if self._doing.get(name) is not doing:
            return
        error = failure.value
        if not isinstance(error, ResolveError):
            _log.failure("asking for {name} failed", failure, name=name)
            error = ResolveError("DriverError", "InternalError")
        self._answered(Record.failed(self._clock.seconds(), self.negative_ttl, error), name, doing)

    def _timed_out(self, name: str, doing: _Doing) -> None:
        doing.timeout = None
        self._give_up(name, doing, self.negative_ttl, "DriverTimedOut")

    def _give_up(self, name: str, doing: _Doing, ttl: int, why: str) -> None:
        if self._doing.get(name) is not doing:
            return
        asked, doing.asked = doing.asked, None
        self._finish(name, doing, Record.failed(self._clock.seconds(), ttl, ResolveError("LocalError", why)))
        if asked is not None:
            asked.addErrback(lambda _: None)
            asked.cancel()

    def _finish(self, name: str, doing: _Doing, record: Record) -> Record:
        """Keep the answer and hand it out. What the asker gets."""
        used = doing.answer = self._settle(name, doing, record)
        if self.idle is not None and not self._doing:
            self.idle()
        return used

    def _settle(self, name: str, doing: _Doing, record: Record) -> Record:
        del self._doing[name]
        if doing.timeout is not None:
            doing.timeout.cancel()
            doing.timeout = None
        now = self._clock.seconds()
        if record.error is not None:
            self._stats.add_error(record.error)
        old = None if record.acceptable else self.table.stale(name, now)
        waiters = list(doing.waiters)
        doing.waiters.clear()
        if old is not None:
            self._stats.trashed += len(waiters)
            self._measure()
            for waiter in waiters:
                waiter.callback((old, Source.TRASH))
            return old
        self.table.store(name, record, now)
        self._measure()
        source = Source.QUERY
        self._stats.cached += max(len(waiters) - 1, 0)
        for waiter in waiters:
            waiter.callback((record, source))
            source = Source.CACHE
        return record

    def measure(self) -> None:
        """Bring the gauges up to date."""
        self.table.expire(self._clock.seconds())
        self._measure()

    def _measure(self) -> None:
        stats = self._stats
        stats.cache_length = len(self.table.cache)
        stats.trash_length = len(self.table.trash)
        stats.doing_length = len(self._doing)

    def close(self) -> None:
        """Answer everybody that no resolver runs, and forget the questions. What is known stays known."""
        for name, doing in list(self._doing.items()):
            self._give_up(name, doing, 0, "NoResolverRunning")
