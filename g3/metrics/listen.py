# SPDX-License-Identifier: Apache-2.0
"""Counters of a server's listeners (upstream: metrics/server, Listen)."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from g3.metrics.stats import Row, Stats

if TYPE_CHECKING:
    from g3.metrics.sample import Tags


class ListenStats(Stats):
    """C{instances} are the listening sockets now open; C{dropped} by ingress rules, C{timeout} in early negotiation such as TLS, C{failed}
    in accept itself."""

    __slots__ = ("accepted", "dropped", "failed", "instances", "online", "timeout")

    accepted: int
    dropped: int
    timeout: int
    failed: int
    instances: int

    counters: ClassVar[tuple[Row, ...]] = (
        ("accepted", "listen.accepted", ()),
        ("dropped", "listen.dropped", ()),
        ("timeout", "listen.timeout", ()),
        ("failed", "listen.failed", ()),
    )
    gauges: ClassVar[tuple[Row, ...]] = (("instances", "listen.instance.count", ()),)

    def __init__(self, server: str) -> None:
        super().__init__((("server", server),))
        self.online = True

    def state(self) -> Tags:
        return (("online", "y" if self.online else "n"),)
