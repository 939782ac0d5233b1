# SPDX-License-Identifier: Apache-2.0
"""A sample: what a metric is worth now."""

from __future__ import annotations

from typing import NamedTuple

Tags = tuple[tuple[str, str], ...]

COUNTER = "c"
GAUGE = "g"


class Sample(NamedTuple):
    """A counter's total since start, or a gauge's value.

    C{name} has no prefix. C{tags} tell this series from others of its name. C{state} holds tags that may change while the series stays the
    same, such as C{online}: a counter goes on from where it was.
    """

    name: str
    kind: str
    value: float
    tags: Tags = ()
    state: Tags = ()
