# SPDX-License-Identifier: Apache-2.0
"""The hub: loggers of nodes by kind, from the C{log} section.

Loggers of one name share a channel, channels of one driver configuration share its socket.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

from twisted.logger import Logger as ProcessLogger

from g3.logs import drivers
from g3.logs.logger import Channel, Logger
from g3.logs.options import Discard, Fluentd, Journal, LoggerOptions, LogOptions, Stdout, Syslog
from g3.metrics.logger import LoggerStats

if TYPE_CHECKING:
    from collections.abc import Callable

    from g3.logs.logger import Encoder, Sink
    from g3.logs.options import Driver
    from g3.metrics.registry import MetricRegistry
    from g3.proto.record import Fields

_log = ProcessLogger()

#: kind: (log_type, start of the logger's name, key of the node's type, key of its name).
_KINDS = {
    "task": ("Task", "lt-", "server_type", "server_name"),
    "escape": ("Escape", "le-", "escaper_type", "escaper_name"),
    "resolve": ("Resolve", "lr-", "resolver_type", "resolver_name"),
    "inspect": ("Inspect", "la-", "", "auditor_name"),
    "intercept": ("Intercept", "la-", "", "auditor_name"),
    "request": ("Request", "lr-", "", "server_name"),
}


class LogHub:
    """All event logs of one process.

    @param program: syslog identifier and fluentd tag; C{daemon_name}: the daemon group; C{stdout}: descriptor of the stdout driver;
        C{kept} says for a log type and the new counters of a logger which to use, such as some that go on from before.
    """

    def __init__(
        self,
        reactor: Any,
        options: LogOptions | None = None,
        *,
        daemon_name: str = "",
        pid: int | None = None,
        program: str = "g3proxy",
        metrics: MetricRegistry | None = None,
        stdout: int = 1,
        kept: Callable[[str, LoggerStats], LoggerStats] = lambda _, stats: stats,
    ) -> None:
        self._reactor = reactor
        self._options = options or LogOptions()
        self._daemon_name = daemon_name
        self._pid = os.getpid() if pid is None else pid
        self._program = program
        self._metrics = metrics
        self._stdout = stdout
        self._kept = kept
        self._sinks: dict[Driver, Sink] = {}
        self._channels: dict[tuple[str, str], Channel] = {}
        self._warned = False

    def logger(self, kind: str, name: str = "", node_type: str = "", *, shared: str | None = None) -> Logger | None:
        """The logger of a node, or None when this kind of log is discarded: then skip all work of making records.

        @param kind: C{task}, C{escape}, C{resolve}, C{inspect}, C{intercept} or C{request}; C{shared}: the node's C{shared_logger}.
        """
        options = self._options.of(kind)
        if not self._writes(options.driver):
            return None
        channel = self._channel(kind, shared or name, options)
        return Logger(channel, self._constants(kind, name, node_type))

    def _constants(self, kind: str, name: str, node_type: str) -> Fields:
        log_type, _, type_key, name_key = _KINDS[kind]
        fields: list[tuple[str, str | int]] = [("daemon_name", self._daemon_name), ("log_type", log_type), ("pid", self._pid)]
        if type_key and node_type:
            fields.append((type_key, node_type))
        if name:
            fields.append((name_key, name))
        return fields

    def _writes(self, driver: Driver) -> bool:
        if isinstance(driver, Fluentd):
            if not self._warned:
                self._warned = True
                _log.warn("the fluentd log driver is not available yet: its records are discarded")
            return False
        return not isinstance(driver, Discard)

    def _channel(self, kind: str, name: str, options: LoggerOptions) -> Channel:
        log_type, start, _, _ = _KINDS[kind]
        channel = self._channels.get((log_type, name))
        if channel is None:
            stats = self._kept(log_type, LoggerStats(start + name))
            channel = Channel(
                self._reactor,
                start + name,
                self._encoder(options.driver),
                self._sink(options.driver),
                stats,
                size=options.channel_size,
                offset=options.io_error_sampling_offset,
            )
            self._channels[log_type, name] = channel
            if self._metrics is not None:
                self._metrics.add(stats)
        return channel

    def _encoder(self, driver: Driver) -> Encoder:
        if isinstance(driver, Syslog):
            return drivers.syslog_encoder(driver, self._program, self._pid)
        return drivers.JournalEncoder(self._program) if isinstance(driver, Journal) else drivers.LineEncoder()

    def _sink(self, driver: Driver) -> Sink:
        if driver not in self._sinks:
            self._sinks[driver] = self._make_sink(driver)
        return self._sinks[driver]

    def _make_sink(self, driver: Driver) -> Sink:
        if isinstance(driver, Syslog):
            return drivers.syslog_sink(self._reactor, driver)
        if isinstance(driver, Journal):
            return drivers.journal_sink(self._reactor, driver)
        if isinstance(driver, Stdout):
            return drivers.StdoutSink(self._stdout)
        raise TypeError(f"{driver!r} has no sink")

    def close(self) -> None:
        """Hand on what waits, then close everything; later records are dropped and counted."""
        for channel in self._channels.values():
            channel.close()
        for sink in self._sinks.values():
            sink.close()
        self._sinks.clear()
