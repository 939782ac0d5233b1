# SPDX-License-Identifier: Apache-2.0
"""The process log: what the daemon says of itself, to the console, syslog or journald (upstream: command line options).

Everything arrives through Twisted's logger, also what txaio loggers and the standard library's C{logging} say.
"""

from __future__ import annotations

import logging
import os
import time
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import txaio
from twisted.logger import ILogObserver, LogLevel, formatEvent
from twisted.logger import Logger as TwistedLogger
from txaio import tx
from zope.interface import implementer

from g3.logs.drivers import DatagramSink, JournalSink, line_time
from g3.proto import journald, syslog
from g3.proto.escape import escape

if TYPE_CHECKING:
    from collections.abc import Callable

    from twisted.logger import LogEvent

    from g3.proto.record import Fields

CONSOLE, SYSLOG, JOURNALD = "console", "syslog", "journald"
TARGETS = (CONSOLE, SYSLOG, JOURNALD)

#: txaio's words for what C{-v} counts.
LEVELS = ("warn", "info", "debug", "trace")

#: (name on the console, colour, syslog severity) by rank; the rank of a level is how much it matters less.
_RANKS = (
    ("CRIT", "35", syslog.CRITICAL),
    ("ERRO", "31", syslog.ERROR),
    ("WARN", "33", syslog.WARNING),
    ("INFO", "32", syslog.NOTICE),
    ("DEBG", "36", syslog.INFORMATIONAL),
    ("TRCE", "34", syslog.DEBUG),
)
_RANK_OF = {LogLevel.critical: 0, LogLevel.error: 1, LogLevel.warn: 2, LogLevel.info: 3, LogLevel.debug: 4}
_TRACE_RANK = 5

#: A message is cut to this many characters.
MAX_MESSAGE = 32768


def level_word(verbosity: int) -> str:
    """What C{-v} given so often asks for: C{warn}, C{info}, C{debug} or C{trace}."""
    return LEVELS[max(0, min(verbosity, len(LEVELS) - 1))]


def event_rank(event: LogEvent) -> int:
    """0 critical ... 4 debug, 5 trace."""
    if event.get("txaio_trace"):
        return _TRACE_RANK
    return _RANK_OF.get(event.get("log_level", LogLevel.info), 3)


def event_text(event: LogEvent) -> str:
    """The message; a failure with its traceback after it."""
    text = formatEvent(event) or ""
    failure = event.get("log_failure")
    if failure is None:
        return text[:MAX_MESSAGE]
    with suppress(Exception):
        text = f"{text}\n{failure.getTraceback()}" if text else failure.getTraceback()
    return text[-MAX_MESSAGE:].rstrip("\n")


@implementer(ILogObserver)
class ProcessObserver:
    """Hands events that matter enough to a writer. Never raises: a log that fails must not fail the daemon."""

    def __init__(self, verbosity: int, write: Callable[[int, str, str], None]) -> None:
        self.max_rank = 2 + max(0, min(verbosity, len(LEVELS) - 1))
        self.lost = 0
        self._write = write

    def __call__(self, event: LogEvent) -> None:
        rank = event_rank(event)
        if rank > self.max_rank:
            return
        try:
            self._write(rank, event_text(event), str(event.get("log_namespace", "")))
        except Exception:
            self.lost += 1


class ConsoleWriter:
    """C{Dec 01 10:20:30.123 WARN message <namespace>} lines; the lines of a traceback follow indented. Colours on a terminal."""

    def __init__(self, descriptor: int = 2, wall: Callable[[], float] = time.time) -> None:
        self._descriptor = descriptor
        self._colours = os.isatty(descriptor)
        self._wall = wall

    def __call__(self, rank: int, text: str, namespace: str) -> None:
        name, colour, _ = _RANKS[rank]
        if self._colours:
            name = f"\x1b[{colour}m{name}\x1b[0m"
        lines = [_printable(line) for line in text.split("\n")]
        lines[0] = f"{line_time(self._wall())} {name} {lines[0] or '()'} <{namespace}>"
        data = memoryview(("\n    ".join(lines) + "\n").encode("utf-8", "replace"))
        while data:
            data = data[os.write(self._descriptor, data) :]


def _printable(line: str) -> str:
    return line if line.isprintable() else "".join([char if char.isprintable() else escape(char) for char in line])


class SyslogWriter:
    """One datagram a message, to the local syslog daemon."""

    def __init__(self, reactor: Any, ident: str, pid: int, path: str = "/dev/log", wall: Callable[[], float] = time.time) -> None:
        self._sink = DatagramSink(reactor, path)
        self._format = syslog.Text3164(syslog.Header3164(ident, pid, facility=syslog.FACILITY_USER))
        self._wall = wall

    def __call__(self, rank: int, text: str, namespace: str) -> None:
        self._sink.send(self._format.encode(b"", text, [("module", namespace)], self._wall(), _RANKS[rank][2]))


class JournalWriter:
    """One entry a message, tracebacks as they are."""

    def __init__(self, reactor: Any, ident: str, path: str = journald.SOCKET_PATH) -> None:
        self._sink = JournalSink(reactor, path)
        self._ident = ident

    def __call__(self, rank: int, text: str, namespace: str) -> None:
        fields: Fields = [
            ("PRIORITY", _RANKS[rank][2]),
            ("SYSLOG_IDENTIFIER", self._ident),
            ("CODE_POSITION", namespace),
            ("MESSAGE", text),
        ]
        self._sink.send(journald.encode_fields(fields, MAX_MESSAGE))


def process_observer(reactor: Any, verbosity: int, target: str, ident: str, *, pid: int | None = None, path: str = "") -> ProcessObserver:
    """The observer to give to twistd (its C{logger} option or an ILogObserver component).

    @param verbosity: how often C{-v} was given; C{target}: one of L{TARGETS}; C{path}: another socket than the usual one.
    @raise ValueError: there is no such target.
    """
    if target == CONSOLE:
        return ProcessObserver(verbosity, ConsoleWriter())
    if target == SYSLOG:
        return ProcessObserver(verbosity, SyslogWriter(reactor, ident, os.getpid() if pid is None else pid, path or "/dev/log"))
    if target == JOURNALD:
        return ProcessObserver(verbosity, JournalWriter(reactor, ident, path or journald.SOCKET_PATH))
    raise ValueError(f"no such log target: {target}")


class _ToTwisted(logging.Handler):
    """The standard library's records as events of Twisted's logger."""

    def emit(self, record: logging.LogRecord) -> None:
        level = LogLevel.debug
        for number, name in ((50, LogLevel.critical), (40, LogLevel.error), (30, LogLevel.warn), (20, LogLevel.info)):
            if record.levelno >= number:
                level = name
                break
        with suppress(Exception):
            TwistedLogger(namespace=record.name).emit(level, "{text}", text=record.getMessage())


def setup_levels(verbosity: int) -> None:
    """Set txaio's level, and let the standard library's loggers speak through Twisted's. Call once, before anything logs."""
    txaio.use_twisted()  # type: ignore[no-untyped-call]
    tx.set_global_log_level(level_word(verbosity))  # type: ignore[no-untyped-call]
    root = logging.getLogger()
    if not any(isinstance(handler, _ToTwisted) for handler in root.handlers):
        root.addHandler(_ToTwisted())
    root.setLevel((logging.WARNING, logging.INFO, logging.DEBUG, logging.DEBUG)[max(0, min(verbosity, 3))])
