# SPDX-License-Identifier: Apache-2.0
"""The process log: levels by C{-v}, three targets, and nothing that fails."""

from __future__ import annotations

import logging
import os
import socket
from typing import Any

import txaio
from twisted.internet.task import Clock
from twisted.logger import Logger, LogLevel, globalLogPublisher
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase

from g3.logs import process
from g3.logs.process import ConsoleWriter, ProcessObserver, process_observer, setup_levels


class LevelTest(SynchronousTestCase):
    """What passes."""

    def test_each_v_lets_one_more_level_pass(self) -> None:
        """Warnings always; more than three are three."""
        for verbosity, passing in ((0, 3), (1, 4), (2, 5), (3, 6), (9, 6), (-1, 3)):
            seen: list[int] = []
            observer = ProcessObserver(verbosity, lambda rank, *_, seen=seen: seen.append(rank))
            for level in (LogLevel.critical, LogLevel.error, LogLevel.warn, LogLevel.info, LogLevel.debug):
                observer({"log_level": level, "log_format": "x"})
            observer({"log_level": LogLevel.debug, "log_format": "x", "txaio_trace": True})
            self.assertEqual(seen, list(range(passing)))

    def test_a_writer_that_fails_is_counted_and_not_raised(self) -> None:
        """A log that fails must not fail the daemon."""

        def write(*_: object) -> None:
            raise OSError("full")

        observer = ProcessObserver(0, write)
        observer({"log_level": LogLevel.error, "log_format": "x"})
        self.assertEqual(observer.lost, 1)

    def test_an_event_that_cannot_be_formatted_is_no_error(self) -> None:
        """Twisted says so in the text."""
        seen: list[str] = []
        ProcessObserver(0, lambda _rank, text, _namespace: seen.append(text))({"log_level": LogLevel.error, "log_format": "{nothing.there}"})
        self.assertEqual(len(seen), 1)


class TargetTest(SynchronousTestCase):
    """Console, syslog, journald."""

    def event(self, **more: Any) -> dict[str, Any]:
        return {"log_level": LogLevel.warn, "log_format": "{a} is bad", "a": "x\ty", "log_namespace": "g3.test", **more}

    def console(self, event: dict[str, Any]) -> str:
        reader, writer = os.pipe()
        ProcessObserver(0, ConsoleWriter(writer, lambda: 0.5))(event)
        os.close(writer)
        with os.fdopen(reader, encoding="utf-8") as stream:
            return stream.read()

    def test_console(self) -> None:
        """One line, control characters escaped, the namespace at its end."""
        self.assertRegex(self.console(self.event()), r"^Jan 01 \d\d:\d\d:\d\d\.500 WARN x\\ty is bad <g3\.test>\n$")

    def test_console_shows_tracebacks_indented(self) -> None:
        """So that it is seen where the next message begins."""
        try:
            raise ValueError("oh\nno")
        except ValueError:
            text = self.console(self.event(log_failure=Failure()))
        lines = text.splitlines()
        self.assertTrue(all(line.startswith("    ") for line in lines[1:]))
        self.assertIn("ValueError", text)

    def test_syslog_has_the_severity(self) -> None:
        """A warning of facility user is 12; a traceback is one record."""
        path = self.mktemp()
        server = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.addCleanup(server.close)
        server.bind(path)
        process_observer(Clock(), 0, process.SYSLOG, "g3proxy", pid=7, path=path)(self.event())
        self.assertRegex(server.recv(1000).decode(), r'^<12>\w+ .+ g3proxy\[7\]: x\\ty is bad, module="g3\.test"$')

    def test_journald_has_the_priority(self) -> None:
        """A warning is 4."""
        path = self.mktemp()
        server = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.addCleanup(server.close)
        server.bind(path)
        process_observer(Clock(), 0, process.JOURNALD, "g3proxy", path=path)(self.event())
        self.assertEqual(server.recv(1000), b"PRIORITY=4\nSYSLOG_IDENTIFIER=g3proxy\nCODE_POSITION=g3.test\nMESSAGE=x\ty is bad\n")

    def test_there_is_no_other_target(self) -> None:
        """A word nobody knows is an error of the caller."""
        self.assertRaises(ValueError, process_observer, Clock(), 0, "nowhere", "g3proxy")


class SetupTest(SynchronousTestCase):
    """Loggers of others."""

    def setUp(self) -> None:
        root = logging.getLogger()
        handlers, level = list(root.handlers), root.level

        def restore() -> None:
            root.handlers[:] = handlers
            root.setLevel(level)
            setup_levels(1)
            root.handlers[:] = handlers
            root.setLevel(level)

        self.addCleanup(restore)
        self.seen: list[str] = []
        self.observer = ProcessObserver(9, lambda rank, text, _namespace: self.seen.append(f"{rank} {text}"))
        globalLogPublisher.addObserver(self.observer)
        self.addCleanup(globalLogPublisher.removeObserver, self.observer)

    def test_the_standard_library_and_txaio_speak_through_twisted(self) -> None:
        """At the level that was asked for."""
        setup_levels(1)
        setup_levels(1)
        logging.getLogger("some.library").warning("from %s", "logging")
        logging.getLogger("some.library").debug("too much")
        logger = txaio.make_logger()  # type: ignore[no-untyped-call]
        logger.info("from txaio")
        logger.debug("too much")
        Logger().warn("from twisted")
        self.assertEqual(self.seen, ["2 from logging", "3 from txaio", "2 from twisted"])

    def test_trace_is_below_debug(self) -> None:
        """txaio's lowest level needs -vvv."""
        setup_levels(2)
        logger = txaio.make_logger()  # type: ignore[no-untyped-call]
        logger.trace("too much")
        setup_levels(3)
        logger = txaio.make_logger()  # type: ignore[no-untyped-call]
        logger.trace("all")
        self.assertEqual(self.seen, ["5 all"])
