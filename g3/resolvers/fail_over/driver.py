# SPDX-License-Identifier: Apache-2.0
"""The race of two resolvers for one name."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol

from twisted.internet.defer import Deferred

from g3.errors import ResolveError
from g3.resolvers.base import Lookup
from g3.resolvers.cache import Record, Source

if TYPE_CHECKING:
    from collections.abc import Callable

    from twisted.python.failure import Failure

    from g3.resolvers.cache import Found
    from g3.tree.slots import Slot


class Rules(Protocol):
    """The keys of the configuration that matter here."""

    @property
    def fallback_delay(self) -> float: ...

    @property
    def negative_ttl(self) -> int: ...

    @property
    def retry_empty_record(self) -> bool: ...


class FailOverDriver:
    """See g3.resolvers.base.Driver. Slots are read for each question: a reload moves them."""

    def __init__(self, reactor: Any, rules: Rules, primary: Slot, standby: Slot) -> None:
        self.reactor = reactor
        self.rules = rules
        self._primary = primary
        self._standby = standby
        self._races: dict[Race, None] = {}

    def ask(self, name: str, family: int) -> Record | Deferred[Record]:
        """Ask both. At once when the primary one knows a good answer."""
        first = self._lookup(self._primary.node, name, family)
        race = Race(self)
        self._races[race] = None
        race.run(first, self._lookup(self._standby.node, name, family))
        return race.result if race.result is not None else race.answer

    def _lookup(self, node: Any, name: str, family: int) -> Found | Deferred[Found]:
        if isinstance(node, Lookup):
            return node.lookup(name, family)
        return self._queried(node, name, family)

    def _queried(self, node: Any, name: str, family: int) -> Found | Deferred[Found]:
        """A resolver that offers IResolver only: nothing is known of the lifetime of its answers, so they are not kept."""
        try:
            answer = node.query(name, family)
        except ResolveError as error:
            return self.failed(error)
        if isinstance(answer, Deferred):
            return answer.addCallbacks(self._found, self._query_failed)
        return self._found(answer)

    def _found(self, addresses: tuple[str, ...]) -> Found:
        return Record(addresses, None, self.reactor.seconds()), Source.QUERY

    def _query_failed(self, failure: Failure) -> Found:
        error = failure.value
        return self.failed(error if isinstance(error, ResolveError) else ResolveError("DriverError", "InternalError"))

    def failed(self, error: ResolveError) -> Found:
        """An error of our own, kept for C{negative_ttl}."""
        return Record.failed(self.reactor.seconds(), self.rules.negative_ttl, error), Source.QUERY

    def good(self, record: Record) -> bool:
        """Whether an answer ends the race."""
        return record.usable if self.rules.retry_empty_record else record.ok

    def over(self, race: Race) -> None:
        """A race has ended."""
        self._races.pop(race, None)

    def close(self) -> None:
        """End all races."""
        for race in list(self._races):
            race.end(self.failed(ResolveError("LocalError", "NoResolverRunning"))[0])


class Race:
    """One name, asked of two. C{result} is the answer once there is one, C{answer} a Deferred of it."""

    def __init__(self, driver: FailOverDriver) -> None:
        self.result: Record | None = None
        self.answer: Deferred[Record] = Deferred(lambda _: self._stop())
        self._driver = driver
        self._asked: list[Deferred[Found]] = []
        self._found: list[Found | None] = [None, None]
        self._first: int | None = None
        self._waiting = True
        self._delay: Any = None

    def run(self, primary: Found | Deferred[Found], standby: Found | Deferred[Found]) -> None:
        """Begin, with what both said when asked."""
        for side, found in enumerate((primary, standby)):
            if isinstance(found, Deferred):
                self._asked.append(found)
                found.addCallbacks(self._came(side), self._broke(side))
            else:
                self._found[side] = found
        self._decide()
        if self.result is None:
            self._delay = self._driver.reactor.callLater(self._driver.rules.fallback_delay, self._delayed)

    def _came(self, side: int) -> Callable[[Found], None]:
        def came(found: Found) -> None:
            self._found[side] = found
            if not self._waiting and self._first is None:
                self._first = side
            self._decide()

        return came

    def _broke(self, side: int) -> Callable[[Failure], None]:
        def broke(_: Failure) -> None:
            if self.result is None:
                self._found[side] = self._driver.failed(ResolveError("LocalError", "NoResolverRunning"))
                self._decide()

        return broke

    def _delayed(self) -> None:
        self._delay = None
        self._waiting = False
        self._decide()

    def _decide(self) -> None:
        """Take what the rules say, if they say something by now."""
        if self.result is not None:
            return
        primary, standby = self._found
        if self._first is None and primary is not None:
            self._first = 0
        elif self._first is None and standby is not None and not self._waiting:
            self._first = 1
        if self._first is not None:
            self._choose(self._found[self._first], self._found[1 - self._first])

    def _choose(self, first: Found | None, second: Found | None) -> None:
        """Between an answer and the later one, which may still be missing."""
        if first is None:
            return
        record, source = first
        if source is Source.TRASH:
            if second is not None:
                fresh = second[0].usable and second[1] is not Source.TRASH
                self.end(second[0] if fresh else record)
        elif self._driver.good(record):
            self.end(record)
        elif second is not None:
            self.end(second[0])

    def end(self, record: Record) -> None:
        """This is the answer."""
        if self.result is not None:
            return
        self.result = record
        self._stop()
        if not self.answer.called:
            self.answer.callback(record)

    def _stop(self) -> None:
        """Wait no longer: whoever was asked goes on for its own cache."""
        self._driver.over(self)
        if self._delay is not None:
            self._delay.cancel()
            self._delay = None
        asked, self._asked = self._asked, []
        for question in asked:
            if not question.called:
                question.addErrback(lambda _: None)
                question.cancel()
