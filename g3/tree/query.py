# SPDX-License-Identifier: Apache-2.0
"""Asking a resolver for all addresses of a name, both families where the strategy says so."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from twisted.internet.defer import Deferred, maybeDeferred

from g3.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Callable

    from twisted.python.failure import Failure

#: Families in the order of preference, by the word of a query strategy.
STRATEGIES = {"ipv4only": (4,), "ipv6only": (6,), "ipv4first": (4, 6), "ipv6first": (6, 4)}


def families(strategy: str) -> tuple[int, ...]:
    """The families a strategy asks for. Raises ConfigError for an unknown word."""
    found = STRATEGIES.get(strategy.lower().replace("_", "").replace("-", ""))
    if found is None:
        raise ConfigError("invalid query strategy")
    return found


async def query(clock: Any, resolver: Any, name: str, strategy: str, delay: float) -> tuple[str, ...]:
    """Addresses of a name, as a connection would get them first.

    Both families are asked at once; when the second one answers first, the preferred one has C{delay} seconds more.

    @raise ResolveError: neither family has an answer.
    """
    wanted = families(strategy)
    asked = [maybeDeferred(resolver.query, name, family) for family in wanted]
    if len(asked) == 1:
        return tuple(await asked[0])
    return await _Race(clock, asked[0], asked[1], delay).result


class _Race:
    """The preferred answer, or the other one once the preferred failed or is C{delay} late."""

    def __init__(self, clock: Any, preferred: Deferred[Any], other: Deferred[Any], delay: float) -> None:
        self.result: Deferred[tuple[str, ...]] = Deferred()
        self._clock, self._delay = clock, delay
        self._timer: Any = None
        self._answers: dict[str, Any] = {}
        self._failures: dict[str, Failure] = {}
        preferred.addCallbacks(self._noting("preferred"), self._failing("preferred"))
        other.addCallbacks(self._noting("other"), self._failing("other"))

    def _noting(self, which: str) -> Callable[[Any], None]:
        def noted(addresses: Any) -> None:
            self._answers[which] = tuple(addresses)
            self._judge()

        return noted

    def _failing(self, which: str) -> Callable[[Failure], None]:
        def failed(failure: Failure) -> None:
            self._failures[which] = failure
            self._judge()

        return failed

    def _judge(self) -> None:
        if self.result.called:
            return
        if "preferred" in self._answers:
            self._finish(self._answers["preferred"])
        elif "other" in self._answers:
            if "preferred" in self._failures:
                self._finish(self._answers["other"])
            elif self._timer is None:
                self._timer = self._clock.callLater(self._delay, self._finish, self._answers["other"])
        elif len(self._failures) == 2:
            self._finish(self._failures["preferred"])

    def _finish(self, answer: Any) -> None:
        if self._timer is not None and self._timer.active():
            self._timer.cancel()
        self.result.callback(answer)
