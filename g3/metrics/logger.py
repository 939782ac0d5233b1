# SPDX-License-Identifier: Apache-2.0
"""Counters of a logger (upstream: metrics/logger)."""

from __future__ import annotations

from typing import ClassVar

from g3.metrics.stats import Row, Stats


class LoggerStats(Stats):
    """Records asked for, passed on, and dropped by reason."""

    __slots__ = ("channel_closed", "channel_overflow", "format_failed", "passed", "peer_unreachable", "size", "total")

    total: int
    passed: int
    size: int
    format_failed: int
    channel_closed: int
    channel_overflow: int
    peer_unreachable: int

    counters: ClassVar[tuple[Row, ...]] = (
        ("total", "logger.message.total", ()),
        ("passed", "logger.message.pass", ()),
        ("size", "logger.traffic.pass", ()),
        ("format_failed", "logger.message.drop", (("drop_type", "FormatFailed"),)),
        ("channel_closed", "logger.message.drop", (("drop_type", "ChannelClosed"),)),
        ("channel_overflow", "logger.message.drop", (("drop_type", "ChannelOverflow"),)),
        ("peer_unreachable", "logger.message.drop", (("drop_type", "PeerUnreachable"),)),
    )

    def __init__(self, logger: str) -> None:
        super().__init__((("logger", logger),))

    @property
    def dropped(self) -> int:
        """All drops."""
        return self.format_failed + self.channel_closed + self.channel_overflow + self.peer_unreachable
