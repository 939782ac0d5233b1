# SPDX-License-Identifier: Apache-2.0
"""The registry: everything that has counters, and who exports them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from collections.abc import Iterable

    from g3.metrics.sample import Sample


class Source(Protocol):
    """g3.interfaces.IMetricSource, for type checkers."""

    def samples(self) -> Iterable[Sample]:
        """Current totals."""


class Follower(Protocol):
    """An exporter that keeps something about each source."""

    def source_removed(self, source: Source) -> None:
        """C{source} is no longer in the registry: its last counts have to be sent, then it can be forgotten."""


class MetricRegistry:
    """The sources of one process, in the order they came."""

    def __init__(self) -> None:
        self._sources: dict[int, Source] = {}
        self._uses: dict[int, int] = {}
        self._followers: list[Follower] = []

    def add(self, source: Any) -> None:
        """Export C{source} (IMetricSource) from now on. Once, however often it is added; it leaves with as many removals, so that a
        node that replaces another one may share its statistics."""
        self._sources[id(source)] = source
        self._uses[id(source)] = self._uses.get(id(source), 0) + 1

    def remove(self, source: Any) -> None:
        """Undo one C{add}; after the last, C{source} is exported a last time. One that is not there is no error."""
        uses = self._uses.get(id(source), 0)
        if uses > 1:
            self._uses[id(source)] = uses - 1
        elif uses:
            del self._uses[id(source)], self._sources[id(source)]
            for follower in self._followers:
                follower.source_removed(source)

    def sources(self) -> list[Source]:
        """A snapshot, safe to walk while nodes come and go."""
        return list(self._sources.values())

    def samples(self) -> Iterable[Sample]:
        """What every source has to say."""
        for source in self.sources():
            yield from source.samples()

    def follow(self, follower: Follower) -> None:
        """Tell C{follower} of removals."""
        self._followers.append(follower)

    def unfollow(self, follower: Follower) -> None:
        """Tell it no more."""
        if follower in self._followers:
            self._followers.remove(follower)

    def __len__(self) -> int:
        return len(self._sources)

    def __contains__(self, source: object) -> bool:
        return id(source) in self._sources
