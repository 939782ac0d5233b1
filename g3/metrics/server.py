# SPDX-License-Identifier: Apache-2.0
"""Counters of a server (upstream: metrics/server)."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from g3.metrics.stats import TCP, Row, TrafficStats, traffic

if TYPE_CHECKING:
    from collections.abc import Mapping

    from g3.metrics.sample import Tags


class ServerStats(TrafficStats):
    """What a server did. Bytes are application bytes: above TLS, and of traffic with clients only."""

    __slots__ = (
        "alive_tasks",
        "forbidden_auth_failed",
        "forbidden_dest_denied",
        "forbidden_user_blocked",
        "online",
        "total_connections",
        "total_tasks",
        "untrusted_alive",
        "untrusted_in_bytes",
        "untrusted_total",
    )

    alive_tasks: int
    total_connections: int
    total_tasks: int
    forbidden_auth_failed: int
    forbidden_dest_denied: int
    forbidden_user_blocked: int
    untrusted_total: int
    untrusted_alive: int
    untrusted_in_bytes: int

    counters: ClassVar[tuple[Row, ...]] = (
        ("total_connections", "server.connection.total", ()),
        ("total_tasks", "server.task.total", ()),
        ("forbidden_auth_failed", "server.forbidden.auth_failed", ()),
        ("forbidden_dest_denied", "server.forbidden.dest_denied", ()),
        ("forbidden_user_blocked", "server.forbidden.user_blocked", ()),
        *traffic("server"),
        ("untrusted_total", "server.task.untrusted_total", ()),
        ("untrusted_in_bytes", "server.traffic.untrusted_in.bytes", TCP),
    )
    gauges: ClassVar[tuple[Row, ...]] = (("alive_tasks", "server.task.alive", ()),)
    quiet_gauges: ClassVar[tuple[Row, ...]] = (("untrusted_alive", "server.task.untrusted_alive", ()),)

    def __init__(self, name: str, extra_tags: Mapping[str, str] | None = None) -> None:
        super().__init__((("server", name),), extra_tags)
        self.online = True

    def state(self) -> Tags:
        return (("online", "y" if self.online else "n"),)
