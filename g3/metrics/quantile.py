# SPDX-License-Identifier: Apache-2.0
"""Which quantiles of a duration are reported, and how often the window they are taken from moves."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True, order=True)
class Quantile:
    """A share from 0 to 1; C{text} is it as written, and the value of the metric's tag. Equality goes by the number."""

    value: float
    text: str = field(compare=False)


DEFAULT_QUANTILES = tuple(Quantile(float(text), text) for text in ("0.50", "0.80", "0.90", "0.95", "0.99"))


@dataclass(frozen=True, slots=True, kw_only=True)
class HistogramOptions:
    """Upstream: configuration/values/metrics, histogram metrics. C{rotate} is seconds."""

    quantile: tuple[Quantile, ...] = DEFAULT_QUANTILES
    rotate: float = 4.0
