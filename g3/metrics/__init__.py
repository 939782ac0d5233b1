# SPDX-License-Identifier: Apache-2.0
"""Counters and the ways they leave the process. Counting is adding to an int of a slotted object; all else is the exporters'."""

from __future__ import annotations

from g3.metrics.registry import MetricRegistry
from g3.metrics.sample import Sample

__all__ = ["MetricRegistry", "Sample"]
