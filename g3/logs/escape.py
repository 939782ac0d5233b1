# SPDX-License-Identifier: Apache-2.0
"""Escape log records: what went wrong on the way to an upstream (upstream: log/escape). Only errors are logged."""

from __future__ import annotations

from typing import TYPE_CHECKING

from g3.logs.fields import address, duration, ip, moment, optional

if TYPE_CHECKING:
    from g3.errors import ConnectError
    from g3.logs.logger import Logger
    from g3.proto.record import Value
    from g3.task import SocketAddress, Task, Upstream

    Pairs = list[tuple[str, Value]]

#: Values of C{tls_application}: what was to be spoken inside TLS.
HTTP_FORWARD, HTTP_PROXY, TCP_STREAM = "HttpForward", "HttpProxy", "TcpStream"


def _start(task: Task, escape_type: str) -> Pairs:
    return [
        ("escape_type", escape_type),
        ("task_id", task.id),
        ("upstream", str(task.upstream) if task.upstream.host else None),
    ]


def _path(task: Task) -> Pairs:
    notes = task.connect
    return [
        ("next_bind_ip", ip(notes.bind_ip)),
        ("next_bound_addr", address(notes.local)),
        ("next_peer_addr", address(notes.peer)),
        ("next_expire", _expire(task)),
    ]


def _expire(task: Task) -> str | None:
    egress = task.connect.egress
    return None if egress is None else moment(egress.expire)


def log_tcp_connect(logger: Logger, task: Task, error: ConnectError) -> None:
    """A connection that was not made."""
    notes = task.connect
    fields = _start(task, "TcpConnect")
    fields.append(("override_peer", optional(notes.override_peer)))
    fields += _path(task)
    fields += [
        ("tcp_connect_tries", notes.tries),
        ("tcp_connect_spend", duration(notes.spend)),
        ("reason", error.escape_reason),
    ]
    logger.log(str(error), fields)


def log_tls_handshake(logger: Logger, task: Task, error: Exception, *, tls_name: str, tls_peer: Upstream | str, tls_application: str) -> None:
    """A TLS handshake that failed, with the upstream or a next proxy."""
    fields = _start(task, "TlsHandshake")
    fields += _path(task)
    fields += [
        ("tls_name", optional(tls_name)),
        ("tls_peer", optional(str(tls_peer))),
        ("tls_application", tls_application),
    ]
    logger.log(str(error), fields)


def log_udp_sendto(
    logger: Logger,
    task: Task,
    error: ConnectError,
    *,
    upstream: Upstream | None = None,
    local: SocketAddress | None = None,
    peer: SocketAddress | None = None,
) -> None:
    """A datagram that could not be sent on, or what ended its way; C{upstream}, C{local} and C{peer} where they are not those of the task."""
    notes = task.connect
    fields: Pairs = [
        ("escape_type", "UdpSendto"),
        ("task_id", task.id),
        ("upstream", str(upstream or task.upstream) if (upstream or task.upstream).host else None),
        ("next_bound_addr", address(local or notes.local)),
        ("next_peer_addr", address(peer or notes.peer)),
        ("next_expire", _expire(task)),
        ("reason", error.escape_reason),
    ]
    logger.log(str(error), fields)
