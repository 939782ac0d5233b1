# SPDX-License-Identifier: Apache-2.0
"""The statsd exporter: what changed since the last time goes out as datagrams, at an interval.

Never blocks and never waits: a datagram the kernel does not take now is not sent, and its counts go out with the next interval.
"""

from __future__ import annotations

import socket
from typing import TYPE_CHECKING, Any

from twisted.internet.task import LoopingCall
from twisted.logger import Logger

from g3.metrics.sample import COUNTER, Tags
from g3.proto.statsd import encode_line, encode_tags, pack

if TYPE_CHECKING:
    from collections.abc import Iterator

    from g3.metrics.options import StatsdOptions
    from g3.metrics.registry import MetricRegistry, Source

    SeriesKey = tuple[str, Tags]
    Pending = tuple[Any, SeriesKey, float]

_log = Logger()

#: Seconds between two warnings that sending fails.
_WARN_INTERVAL = 64.0


class StatsdExporter:
    """Sends a registry to a statsd server.

    @param reactor: clock of the interval; C{tags}: common to all lines, such as C{daemon_group} and C{stat_id}.

    C{sent} and C{failed} count datagrams. Rules: a counter is sent as the difference to what was last handed to the kernel, never zero;
    a gauge every time; a source that left the registry a last time.
    """

    def __init__(self, reactor: Any, registry: MetricRegistry, options: StatsdOptions, tags: Tags = ()) -> None:
        self.sent = self.failed = 0
        self._reactor = reactor
        self._registry = registry
        self._options = options
        self._common = encode_tags(tags)
        self._prefix = options.prefix + "." if options.prefix else ""
        self._seen: dict[int, Any] = {}
        self._leaving: list[Source] = []
        self._encoded: dict[Tags, str] = {}
        self._socket: socket.socket | None = None
        self._warned_at: float | None = None
        self._loop = LoopingCall(self.emit)
        self._loop.clock = reactor

    def start(self) -> None:
        """Begin; the first datagrams go out after one interval."""
        self._registry.follow(self)
        self._loop.start(self._options.emit_interval, now=False)

    def stop(self) -> None:
        """Send what is left and close. A second call does nothing."""
        if self._loop.running:
            self._loop.stop()
            self.emit()
        self._registry.unfollow(self)
        if self._socket is not None:
            self._socket.close()
            self._socket = None

    def source_removed(self, source: Source) -> None:
        """Follower of the registry."""
        self._leaving.append(source)

    def emit(self) -> None:
        """Send everything once, now. Raises nothing."""
        leaving, self._leaving = self._leaving, []
        batch: list[bytes] = []
        pending: list[Pending] = []
        size = 0
        for source in self._registry.sources() + leaving:
            for line, commit in self._lines(source):
                batch.append(line)
                pending.append(commit)
                size += len(line)
            if size >= self._options.cache_size:
                self._send(batch, pending)
                batch, pending, size = [], [], 0
        self._send(batch, pending)
        for source in leaving:
            if source not in self._registry:
                self._seen.pop(id(source), None)
        if len(self._encoded) > 65536:
            self._encoded.clear()

    def _lines(self, source: Source) -> Iterator[tuple[bytes, Pending]]:
        seen = self._seen.get(id(source))
        if seen is None:
            # A source may know itself what was sent of it, by an exporter before us.
            seen = self._seen[id(source)] = getattr(source, "sent", None) or {}
        for name, kind, value, tags, state in source.samples():
            key = (name, tags)
            amount = value - seen.get(key, 0) if kind == COUNTER else value
            if amount or kind != COUNTER:
                yield encode_line(self._prefix + name, kind, amount, self._tags(tags + state)), (seen, key, value)

    def _tags(self, tags: Tags) -> str:
        text = self._encoded.get(tags)
        if text is None:
            parts = [self._common] if self._common else []
            text = self._encoded[tags] = ",".join([*parts, encode_tags(tags)] if tags else parts)
        return text

    def _send(self, lines: list[bytes], pending: list[Pending]) -> None:
        done = 0
        for datagram, count in pack(lines, self._options.segment_size):
            if self._send_one(datagram):
                for seen, key, value in pending[done : done + count]:
                    seen[key] = value
            done += count

    def _send_one(self, datagram: bytes) -> bool:
        try:
            if self._socket is None:
                self._socket = self._open()
            self._socket.sendto(datagram, self._options.unix or self._options.udp)
        except OSError as error:
            self.failed += 1
            self._warn(error)
            return False
        self.sent += 1
        return True

    def _open(self) -> socket.socket:
        options = self._options
        if options.unix:
            sock = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        else:
            family = socket.AF_INET6 if ":" in options.udp[0] else socket.AF_INET
            sock = socket.socket(family, socket.SOCK_DGRAM)
            if options.bind_ip:
                self._bind(sock, options.bind_ip)
        sock.setblocking(False)
        return sock

    @staticmethod
    def _bind(sock: socket.socket, ip: str) -> None:
        try:
            sock.bind((ip, 0))
        except OSError:
            sock.close()
            raise

    def _warn(self, error: OSError) -> None:
        now = self._reactor.seconds()
        if self._warned_at is None or now - self._warned_at >= _WARN_INTERVAL:
            self._warned_at = now
            _log.warn("metrics are not sent: {error}; {failed} datagrams failed so far", error=error, failed=self.failed)
