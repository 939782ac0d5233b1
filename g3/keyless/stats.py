# SPDX-License-Identifier: Apache-2.0
"""Counters of a key server (upstream: metrics of g3keymess)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from zope.interface import implementer

from g3.interfaces import IMetricSource
from g3.keyless.actions import GROUPS, NO_OP
from g3.metrics.histogram import RotatingHistogram
from g3.metrics.sample import COUNTER, GAUGE, Sample
from g3.proto.keyless import ErrorCode

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from g3.metrics.quantile import HistogramOptions
    from g3.metrics.sample import Tags

#: The tag C{reason} of what failed, by error code; all others are C{other_fail}.
_REASONS = {
    ErrorCode.KEY_NOT_FOUND: "key_not_found",
    ErrorCode.CRYPTOGRAPHY_FAILED: "crypto_fail",
    ErrorCode.BAD_OPCODE: "bad_op_code",
    ErrorCode.MALFORMED: "format_error",
}
OTHER = "other_fail"


class RequestStats:
    """Requests of one sort."""

    __slots__ = ("alive", "durations", "failed", "passed", "request", "total")

    def __init__(self, request: str) -> None:
        self.request = request
        self.total = self.alive = self.passed = 0
        self.failed: dict[int, int] = {}
        self.durations: RotatingHistogram | None = None

    def fail(self, code: int) -> None:
        """A request was answered with an error."""
        self.failed[code] = self.failed.get(code, 0) + 1

    def samples(self, tags: Tags, state: Tags) -> Iterator[Sample]:
        """Nothing before the first request."""
        if not self.total:
            return
        own = (*tags, ("request", self.request))
        yield Sample("server.request.total", COUNTER, self.total, own, state)
        yield Sample("server.request.alive", GAUGE, self.alive, own, state)
        yield Sample("server.request.passed", COUNTER, self.passed, own, state)
        reasons: dict[str, int] = {}
        for code, number in self.failed.items():
            reason = _REASONS.get(ErrorCode(code), OTHER)
            reasons[reason] = reasons.get(reason, 0) + number
        for reason, number in reasons.items():
            yield Sample("server.request.failed", COUNTER, number, (*own, ("reason", reason)), state)
        if self.durations is not None:
            yield from self.durations.samples("server.request.duration", own, state)


@implementer(IMetricSource)
class KeyServerStats:
    """What a key server did. C{in_bytes} and C{out_bytes} are kept for whoever asks and not exported, as upstream."""

    __slots__ = ("_extra", "alive_tasks", "dynamic", "in_bytes", "name", "online", "out_bytes", "requests", "total_connections", "total_tasks")

    def __init__(self, name: str) -> None:
        self.name = name
        self.online = True
        self.alive_tasks = self.total_tasks = self.total_connections = self.in_bytes = self.out_bytes = 0
        #: By the group of an action.
        self.requests = tuple(RequestStats(group) for group in GROUPS)
        #: Tags added while we run; they win over configured ones, and reloads keep them.
        self.dynamic: dict[str, str] = {}
        self._extra: dict[str, str] = {}

    def measure(self, options: HistogramOptions, clock: Callable[[], float]) -> None:
        """Begin to make quantiles of durations, anew."""
        for requests in self.requests:
            if requests.request != NO_OP:
                requests.durations = RotatingHistogram(options, clock)

    def set_extra_tags(self, extra: Mapping[str, str]) -> None:
        """The server's C{extra_metrics_tags}."""
        self._extra = dict(extra)

    def add_tag(self, name: str, value: str) -> None:
        """A tag for every metric from now on."""
        self.dynamic[name] = value

    def samples(self) -> Iterator[Sample]:
        """IMetricSource."""
        state: Tags = (("online", "y" if self.online else "n"),)
        tags: Tags = (("server", self.name), *sorted({**self._extra, **self.dynamic}.items()))
        if self.total_tasks:
            yield Sample("server.task.total", COUNTER, self.total_tasks, tags, state)
        yield Sample("server.task.alive", GAUGE, self.alive_tasks, tags, state)
        for requests in self.requests:
            yield from requests.samples(tags, state)
