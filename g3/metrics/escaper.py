# SPDX-License-Identifier: Apache-2.0
"""Counters of an escaper and of a route (upstream: metrics/escaper)."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from g3.metrics.stats import Row, Stats, TrafficStats, traffic

if TYPE_CHECKING:
    from collections.abc import Mapping


class EscaperStats(TrafficStats):
    """What an escaper did. Bytes are those above TCP or UDP, so TLS counts as sent.

    C{tcp_connect_success} counts connects that succeeded, C{tcp_connect_establish} those that a task then used.
    """

    __slots__ = (
        "connection_attempt",
        "connection_establish",
        "forbidden_ip_blocked",
        "task_total",
        "tcp_connect_attempt",
        "tcp_connect_error",
        "tcp_connect_establish",
        "tcp_connect_success",
        "tcp_connect_timeout",
        "tls_handshake_error",
        "tls_handshake_success",
        "tls_handshake_timeout",
        "tls_peer_closure_abortive",
        "tls_peer_closure_orderly",
    )

    task_total: int
    connection_attempt: int
    connection_establish: int
    tcp_connect_attempt: int
    tcp_connect_establish: int
    tcp_connect_success: int
    tcp_connect_error: int
    tcp_connect_timeout: int
    tls_handshake_success: int
    tls_handshake_error: int
    tls_handshake_timeout: int
    tls_peer_closure_orderly: int
    tls_peer_closure_abortive: int
    forbidden_ip_blocked: int

    counters: ClassVar[tuple[Row, ...]] = (
        ("task_total", "escaper.task.total", ()),
        ("connection_attempt", "escaper.connection.attempt", ()),
        ("connection_establish", "escaper.connection.establish", ()),
        ("tcp_connect_attempt", "escaper.tcp.connect.attempt", ()),
        ("tcp_connect_establish", "escaper.tcp.connect.establish", ()),
        ("tcp_connect_success", "escaper.tcp.connect.success", ()),
        ("tcp_connect_error", "escaper.tcp.connect.error", ()),
        ("tcp_connect_timeout", "escaper.tcp.connect.timeout", ()),
        ("tls_handshake_success", "escaper.tls.handshake.success", ()),
        ("tls_handshake_error", "escaper.tls.handshake.error", ()),
        ("tls_handshake_timeout", "escaper.tls.handshake.timeout", ()),
        ("tls_peer_closure_orderly", "escaper.tls.peer.closure.orderly", ()),
        ("tls_peer_closure_abortive", "escaper.tls.peer.closure.abortive", ()),
        ("forbidden_ip_blocked", "escaper.forbidden.ip_blocked", ()),
        *traffic("escaper"),
    )

    def __init__(self, name: str, extra_tags: Mapping[str, str] | None = None) -> None:
        super().__init__((("escaper", name),), extra_tags)


class RouteStats(Stats):
    """What a route escaper chose: C{passed} got an escaper, C{failed} none."""

    __slots__ = ("failed", "passed")

    passed: int
    failed: int

    counters: ClassVar[tuple[Row, ...]] = (
        ("passed", "route.request.passed", ()),
        ("failed", "route.request.failed", ()),
    )

    def __init__(self, name: str) -> None:
        super().__init__((("escaper", name),))
