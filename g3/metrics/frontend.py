# SPDX-License-Identifier: Apache-2.0
"""Counters of a helper that answers datagrams (upstream: metrics of g3fcgen and g3iploc)."""

from __future__ import annotations

from typing import ClassVar

from g3.metrics.stats import Row, Stats


class FrontendStats(Stats):
    """C{invalid} are requests that are none, C{failed} replies that could not be sent; C{responses} counts these, too."""

    __slots__ = ("failed", "invalid", "requests", "responses")

    requests: int
    invalid: int
    responses: int
    failed: int

    counters: ClassVar[tuple[Row, ...]] = (
        ("requests", "frontend.request_total", ()),
        ("invalid", "frontend.request_invalid", ()),
        ("responses", "frontend.response_total", ()),
        ("failed", "frontend.response_fail", ()),
    )

    def __init__(self) -> None:
        super().__init__(())
