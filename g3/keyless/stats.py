# SPDX-License-Identifier: Apache-2.0
"""Counters of a key server (upstream: metrics of g3keymess)."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from g3.keyless.actions import NO_OP
from g3.metrics.histogram import RotatingHistogram
from g3.metrics.stats import Row, Stats
from g3.proto.keyless import ErrorCode

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from g3.metrics.quantile import HistogramOptions
    from g3.metrics.sample import Sample, Tags

#: The tag C{reason} of what failed, by error code; all others are C{other_fail}.
_REASONS = {
    ErrorCode.KEY_NOT_FOUND: "key_not_found",
    ErrorCode.CRYPTOGRAPHY_FAILED: "crypto_fail",
    ErrorCode.BAD_OPCODE: "bad_op_code",
    ErrorCode.MALFORMED: "format_error",
}
OTHER = "other_fail"


class KeyServerStats(Stats):
    """What a key server did. C{in_bytes}, C{out_bytes} and C{total_connections} are kept for whoever asks and not exported, as upstream."""

    __slots__ = ("alive_tasks", "in_bytes", "online", "out_bytes", "total_connections", "total_tasks")

    alive_tasks: int
    total_tasks: int

    counters: ClassVar[tuple[Row, ...]] = (("total_tasks", "server.task.total", ()),)
    gauges: ClassVar[tuple[Row, ...]] = (("alive_tasks", "server.task.alive", ()),)

    def __init__(self, name: str) -> None:
        super().__init__((("server", name),))
        self.online = True
        self.total_connections = self.in_bytes = self.out_bytes = 0

    def state(self) -> Tags:
        return (("online", "y" if self.online else "n"),)


class RequestStats(Stats):
    """Requests of one sort to a C{server}, whose state is theirs. Each reason to fail has a counter of its name."""

    __slots__ = ("alive", "durations", "passed", "request", "server", "total", *_REASONS.values(), OTHER)

    alive: int
    passed: int
    total: int

    counters: ClassVar[tuple[Row, ...]] = (
        ("total", "server.request.total", ()),
        ("passed", "server.request.passed", ()),
        *((reason, "server.request.failed", (("reason", reason),)) for reason in (*_REASONS.values(), OTHER)),
    )
    gauges: ClassVar[tuple[Row, ...]] = (("alive", "server.request.alive", ()),)

    def __init__(self, request: str, name: str, server: KeyServerStats) -> None:
        super().__init__((("server", name), ("request", request)))
        self.request = request
        self.server = server
        self.durations: RotatingHistogram | None = None

    def measure(self, options: HistogramOptions, clock: Callable[[], float]) -> None:
        """Begin to make quantiles of durations, anew; what is no operation has none."""
        self.durations = None if self.request == NO_OP else RotatingHistogram(options, clock)

    @property
    def failed(self) -> int:
        """For whatever reason."""
        return sum(getattr(self, reason) for reason in (*_REASONS.values(), OTHER))

    def fail(self, code: int) -> None:
        """A request was answered with an error."""
        reason = _REASONS.get(ErrorCode(code), OTHER)
        setattr(self, reason, getattr(self, reason) + 1)

    def state(self) -> Tags:
        return self.server.state()

    def samples(self) -> Iterator[Sample]:
        """IMetricSource. Nothing before the first request."""
        if not self.total:
            return
        yield from Stats.samples(self)
        if self.durations is not None:
            yield from self.durations.samples("server.request.duration", self.tags + self.extra_tags, self.state())
