# SPDX-License-Identifier: Apache-2.0
"""What the resolvers that ask others have in common: two caches over a driver, metrics, the resolve log, and an end in good order."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

from twisted.internet.defer import Deferred
from zope.interface import implementer

from g3.errors import ResolveError
from g3.interfaces import IReloadable, IResolver
from g3.logs.resolve import log_resolve_error
from g3.metrics.resolver import RR_TYPES, ResolverStats
from g3.resolvers.cache import Cache, Record, Source
from g3.tree.node import Node

if TYPE_CHECKING:
    from g3.logs.logger import Logger
    from g3.metrics.resolver import QueryStats
    from g3.proto.record import Fields
    from g3.resolvers.cache import Found
    from g3.resolvers.config import RuntimeConfig
    from g3.tree.node import NodeContext

FAMILIES = (4, 6)
#: RFC 1035 section 2.3.4, as text without the last dot.
MAX_NAME = 253
MAX_LABEL = 63
#: What a name may consist of: that of host names, and what is seen in names of other things.
_NAME = re.compile(r"[A-Za-z0-9._/*-]+")


class Driver(Protocol):
    """Asks for one name. Made when the resolver starts, closed when it ends or its configuration changes."""

    def ask(self, name: str, family: int) -> Record | Deferred[Record]:
        """The answer, or a Deferred of it that can be cancelled. It does not fail: an error is a Record too."""

    def close(self) -> None:
        """End what goes on: its Deferreds get a LocalError."""


@runtime_checkable
class Lookup(Protocol):
    """A resolver whose answers come with their lifetime, for resolvers on top of it."""

    def lookup(self, name: str, family: int) -> Found | Deferred[Found]:
        """A record and its source; the Deferred does not fail."""


def name_error(name: str) -> ResolveError | None:
    """What is wrong with a name that nobody should be asked for."""
    if not name:
        return ResolveError("EmptyDomain")
    if len(name) > MAX_NAME + 1 or _NAME.fullmatch(name) is None:
        return ResolveError("DriverError", "BadName")
    labels = name.removesuffix(".").split(".")
    if len(name.removesuffix(".")) > MAX_NAME or not all(0 < len(label) <= MAX_LABEL for label in labels):
        return ResolveError("DriverError", "BadName")
    return None


@implementer(IResolver, IReloadable)
class CachingResolver(Node):
    """A resolver over a L{Driver}, which C{make_driver} makes."""

    config: RuntimeConfig

    def __init__(self, config: RuntimeConfig, context: NodeContext) -> None:
        super().__init__(config, context)
        self.stats: ResolverStats = self.lasting("resolver", "stats", lambda: ResolverStats(config.name, self._kept))
        self._driver: Driver | None = None
        self._logger: Logger | None = None
        self._ending: Deferred[None] | None = None
        self._stopping = False
        self._wait: Any = None
        self._retired: dict[Driver, Any] = {}
        self._caches = {family: self._make_cache(family) for family in FAMILIES}

    def _kept(self, what: str, stats: QueryStats) -> QueryStats:
        return self.lasting("resolver", what, lambda: stats)

    def make_driver(self) -> Driver:
        """A driver for C{config}, when the resolver starts and after each change of the configuration."""
        raise NotImplementedError

    def log_details(self) -> Fields:
        """Fields of the resolve log that only this type has."""
        return ()

    @property
    def negative_ttl(self) -> int:
        """How long an error of our own is kept, in seconds."""
        return 30

    def _make_cache(self, family: int) -> Cache:
        def ask(name: str) -> Record | Deferred[Record]:
            if self._driver is None:
                return Record.failed(self.context.reactor.seconds(), 0, ResolveError("LocalError", "NoResolverRunning"))
            return self._driver.ask(name, family)

        cache = Cache(
            self.context.reactor,
            self.stats.of(family),
            ask,
            timeout=self.config.protective_query_timeout,
            negative_ttl=self.negative_ttl,
        )
        cache.idle = self._idle
        return cache

    def _idle(self) -> None:
        """One cache has nothing to ask any more."""
        if self._ending is not None and not self._busy():
            self._close()

    def start(self) -> None:
        self._driver = self.make_driver()
        if self.context.logs is not None:
            self._logger = self.context.logs.logger("resolve", self.name, self.config.log_type)
        if self.context.metrics is not None:
            for family, cache in self._caches.items():
                stats = self.stats.of(family)
                stats.refresh = cache.measure
                self.context.metrics.add(stats)

    def accepts(self, config: object) -> bool:
        """IReloadable: any configuration of the same type and name, so that the cache is kept."""
        return type(config) is type(self.config) and getattr(config, "name", None) == self.name

    def reconfigure(self, config: Any) -> None:
        """IReloadable: later questions go by the new configuration; what is known stays known."""
        old, self.config = self._driver, config
        for cache in self._caches.values():
            cache.timeout = config.protective_query_timeout
            cache.negative_ttl = self.negative_ttl
        if old is not None:
            self._driver = self.make_driver()
            self._retire(old)

    def _retire(self, driver: Driver) -> None:
        """Let a replaced driver end its questions; by C{protective_query_timeout} they have all ended."""
        delay = self.config.protective_query_timeout + 1
        self._retired[driver] = self.context.reactor.callLater(delay, self._close_retired, driver)

    def _close_retired(self, driver: Driver) -> None:
        del self._retired[driver]
        driver.close()

    def stop(self) -> Deferred[None] | None:
        self._stopping = True
        if not self._busy():
            self._close()
            return None
        self._ending = Deferred()
        self._wait = self.context.reactor.callLater(self.config.graceful_stop_wait, self._give_up)
        return self._ending

    def _busy(self) -> bool:
        return any(cache.doing for cache in self._caches.values())

    def _give_up(self) -> None:
        self._wait = None
        self._close()

    def _close(self) -> None:
        if self._wait is not None:
            self._wait.cancel()
            self._wait = None
        ending, self._ending = self._ending, None
        for cache in self._caches.values():
            cache.close()
        for driver, call in list(self._retired.items()):
            call.cancel()
            self._close_retired(driver)
        if self._driver is not None:
            self._driver.close()
            self._driver = None
            if self.context.metrics is not None:
                for family in FAMILIES:
                    self.context.metrics.remove(self.stats.of(family))
        if ending is not None:
            ending.callback(None)

    def query(self, name: str, family: int) -> tuple[str, ...] | Deferred[tuple[str, ...]]:
        """IResolver: addresses at once when they are known."""
        now = self.context.reactor.seconds()
        found = self.lookup(name, family)
        if isinstance(found, Deferred):
            return found.addCallback(self._addresses, name, family, now)
        return self._addresses(found, name, family, now)

    def lookup(self, name: str, family: int) -> Found | Deferred[Found]:
        """See L{Lookup}. A stopping resolver answers from what it knows and asks nobody."""
        error = name_error(name)
        return self._bad(error) if error is not None else self._caches[family].lookup(name, ask=not self._stopping)

    def _bad(self, error: ResolveError) -> Found:
        return Record.failed(self.context.reactor.seconds(), 0, error), Source.QUERY

    def _addresses(self, found: Found, name: str, family: int, asked_at: float) -> tuple[str, ...]:
        record, source = found
        if record.addresses:
            return record.addresses
        error = record.error
        if error is None:
            raise ResolveError("EmptyResult")
        if self._logger is not None:
            spent = self.context.reactor.seconds() - asked_at
            log_resolve_error(self._logger, self.log_details(), RR_TYPES[family], spent, source.value, error, name)
        raise ResolveError(error.type, error.subtype)
