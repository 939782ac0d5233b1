# SPDX-License-Identifier: Apache-2.0
"""Counters of a resolver, one set for A and one for AAAA (upstream: metrics/resolver)."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from g3.metrics.stats import Row, Stats

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from g3.errors import ResolveError
    from g3.metrics.sample import Sample, Tags

RR_TYPES = {4: "A", 6: "AAAA"}

_BY_ERROR = {
    ("ServerError", "REFUSED"): "server_refused",
    ("ServerError", "FORMERR"): "server_malformed",
    ("ServerError", "NOTFOUND"): "server_not_found",
    ("ServerError", "SERVFAIL"): "server_serv_fail",
    ("DriverError", "ConnRefused"): "driver_refused",
    ("DriverError", "Timeout"): "driver_timeout",
    ("DriverError", "BadName"): "driver_malformed",
    ("DriverError", "BadQuery"): "driver_malformed",
    ("DriverError", "BadResp"): "driver_malformed",
    ("LocalError", "DriverTimedOut"): "driver_timeout",
}


class QueryStats(Stats):
    """Queries for one record type: C{total} asked of us, C{driver} asked by us of a name server. C{refresh} is called before samples are taken."""

    __slots__ = (
        "cache_capacity",
        "cache_length",
        "cached",
        "doing_capacity",
        "doing_length",
        "driver",
        "driver_malformed",
        "driver_refused",
        "driver_timeout",
        "refresh",
        "server_malformed",
        "server_not_found",
        "server_refused",
        "server_serv_fail",
        "total",
        "trash_capacity",
        "trash_length",
        "trashed",
    )

    total: int
    cached: int
    trashed: int
    driver: int
    driver_timeout: int
    driver_refused: int
    driver_malformed: int
    server_refused: int
    server_malformed: int
    server_not_found: int
    server_serv_fail: int
    cache_capacity: int
    cache_length: int
    doing_capacity: int
    doing_length: int
    trash_capacity: int
    trash_length: int

    counters: ClassVar[tuple[Row, ...]] = (
        ("total", "resolver.query.total", ()),
        ("cached", "resolver.query.cached", ()),
        ("trashed", "resolver.query.trashed", ()),
        ("driver", "resolver.query.driver.total", ()),
        ("driver_timeout", "resolver.query.driver.timeout", ()),
        ("driver_refused", "resolver.query.driver.refused", ()),
        ("driver_malformed", "resolver.query.driver.malformed", ()),
        ("server_refused", "resolver.query.server.refused", ()),
        ("server_malformed", "resolver.query.server.malformed", ()),
        ("server_not_found", "resolver.query.server.not_found", ()),
        ("server_serv_fail", "resolver.query.server.serv_fail", ()),
    )
    quiet_gauges: ClassVar[tuple[Row, ...]] = (
        ("cache_capacity", "resolver.memory.cache.capacity", ()),
        ("cache_length", "resolver.memory.cache.length", ()),
        ("doing_capacity", "resolver.memory.doing.capacity", ()),
        ("doing_length", "resolver.memory.doing.length", ()),
        ("trash_capacity", "resolver.memory.trash.capacity", ()),
        ("trash_length", "resolver.memory.trash.length", ()),
    )

    def __init__(self, tags: Tags) -> None:
        super().__init__(tags)
        self.refresh: Callable[[], None] | None = None

    def samples(self) -> Iterator[Sample]:
        """IMetricSource."""
        if self.refresh is not None:
            self.refresh()
        # Not by super: a worker's counters have these methods and another base.
        return Stats.samples(self)

    def add_error(self, error: ResolveError) -> None:
        """Count an answer that was an error; kinds upstream does not count are not counted."""
        attribute = _BY_ERROR.get((error.type, error.subtype))
        if attribute is not None:
            setattr(self, attribute, getattr(self, attribute) + 1)


class ResolverStats:
    """Both record types of one resolver."""

    __slots__ = ("a", "aaaa")

    def __init__(self, name: str, kept: Callable[[str, QueryStats], QueryStats] = lambda _, stats: stats) -> None:
        """@param kept: says for each record type and its new counters which to use, such as some that go on from before."""
        self.a = kept("A", QueryStats((("resolver", name), ("rr_type", "A"))))
        self.aaaa = kept("AAAA", QueryStats((("resolver", name), ("rr_type", "AAAA"))))

    def of(self, family: int) -> QueryStats:
        """The counters of family 4 or 6."""
        return self.a if family == 4 else self.aaaa
