# SPDX-License-Identifier: Apache-2.0
"""Configuration of dummy_deny (upstream: configuration/escapers/dummy_deny)."""

from __future__ import annotations

from typing import ClassVar

from g3.config.node import EscaperConfig
from g3.config.schema import config_class, key
from g3.config.values.metrics import MetricTags


@config_class
class DummyDenyConfig(EscaperConfig):
    """Refuses every task: HTTP clients are answered 403, SOCKS clients 2."""

    type_word: ClassVar[str] = "dummy_deny"

    extra_metrics_tags: tuple[tuple[str, str], ...] = key(MetricTags(), default=(), doc="Tags added to the metrics of this escaper.")
    #: Nothing is connected, so nothing is logged.
    shared_logger: ClassVar[str | None] = None
