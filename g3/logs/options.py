# SPDX-License-Identifier: Apache-2.0
"""Which driver each kind of log has: what the C{log} section comes down to (upstream: configuration/log)."""

from __future__ import annotations

import socket
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from g3.proto.journald import SOCKET_PATH
from g3.proto.syslog import CEE_FLAG, FACILITY_DAEMON

if TYPE_CHECKING:
    from g3.task import SocketAddress

#: (what is logged, the key that configures it).
KINDS = {"task": "task", "escape": "escape", "resolve": "resolve", "inspect": "audit", "intercept": "audit", "request": "request"}


@dataclass(frozen=True, slots=True)
class Discard:
    """No records are made at all."""


@dataclass(frozen=True, slots=True)
class Stdout:
    """Lines on standard output."""


@dataclass(frozen=True, slots=True)
class Journal:
    """systemd-journald, by its native protocol."""

    path: str = SOCKET_PATH


@dataclass(frozen=True, slots=True)
class RFC5424:
    """The C{format_rfc5424} value; C{message_id} empty means none."""

    enterprise_id: int = 0
    message_id: str = ""


@dataclass(frozen=True, slots=True)
class Syslog:
    """A syslog daemon: UDP when C{udp} is set, else the unix datagram socket C{unix}. C{cee_flag} empty means no CEE syntax."""

    unix: str = "/dev/log"
    udp: SocketAddress | None = None
    bind_ip: str = ""
    facility: int = FACILITY_DAEMON
    rfc5424: RFC5424 | None = None
    cee_flag: str = ""
    emit_hostname: bool = False
    append_report_ts: bool = False


@dataclass(frozen=True, slots=True)
class Fluentd:
    """A fluentd server by its forward protocol. Durations in seconds; C{tls_client} and C{tcp_keepalive} are option objects of g3.net."""

    address: SocketAddress = ("127.0.0.1", 24224)
    bind_ip: str = ""
    shared_key: str = ""
    username: str = ""
    password: str = ""
    hostname: str = field(default_factory=socket.gethostname)
    tcp_keepalive: object = None
    tls_client: object = None
    tls_name: str = ""
    connect_timeout: float = 10.0
    connect_delay: float = 10.0
    write_timeout: float = 1.0
    flush_interval: float = 0.1
    retry_queue_len: int = 10


Driver = Discard | Stdout | Journal | Syslog | Fluentd


@dataclass(frozen=True, slots=True)
class LoggerOptions:
    """One log config value. At most C{channel_size} records wait; of I/O errors every 2**C{io_error_sampling_offset}th is reported.

    C{thread_number} is accepted and means nothing: nothing here has threads.
    """

    driver: Driver = field(default_factory=Discard)
    channel_size: int = 4096
    thread_number: int = 1
    io_error_sampling_offset: int = 10


@dataclass(frozen=True, slots=True)
class LogOptions:
    """The whole section; None means C{default}."""

    default: LoggerOptions = field(default_factory=LoggerOptions)
    task: LoggerOptions | None = None
    escape: LoggerOptions | None = None
    resolve: LoggerOptions | None = None
    audit: LoggerOptions | None = None
    #: The failed requests of a key server.
    request: LoggerOptions | None = None

    def of(self, kind: str) -> LoggerOptions:
        """The options of a kind in L{KINDS}."""
        own: LoggerOptions | None = getattr(self, KINDS[kind])
        return self.default if own is None else own


__all__ = [
    "CEE_FLAG",
    "KINDS",
    "RFC5424",
    "Discard",
    "Driver",
    "Fluentd",
    "Journal",
    "LogOptions",
    "LoggerOptions",
    "Stdout",
    "Syslog",
]
