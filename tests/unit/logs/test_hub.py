# SPDX-License-Identifier: Apache-2.0
"""The hub: which logger a node gets."""

from __future__ import annotations

import socket
from typing import Any

from twisted.internet.task import Clock
from twisted.logger import LogLevel, globalLogPublisher
from twisted.trial.unittest import SynchronousTestCase

from g3.logs import LogHub
from g3.logs.options import RFC5424, Fluentd, Journal, LoggerOptions, LogOptions, Stdout, Syslog
from g3.metrics import MetricRegistry


class HubTest(SynchronousTestCase):
    """Loggers over a real unix socket."""

    def setUp(self) -> None:
        self.path = self.mktemp()
        self.server = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.server.bind(self.path)
        self.server.setblocking(False)
        self.addCleanup(self.server.close)
        self.metrics = MetricRegistry()

    def hub(self, options: LogOptions | None = None) -> LogHub:
        hub = LogHub(Clock(), options, daemon_name="blue", pid=7, metrics=self.metrics)
        self.addCleanup(hub.close)
        return hub

    def syslog(self, **more: Any) -> LoggerOptions:
        return LoggerOptions(Syslog(unix=self.path, **more))

    def test_without_a_section_there_are_no_loggers(self) -> None:
        """None tells callers to skip all work."""
        hub = self.hub()
        self.assertEqual([hub.logger(kind, "a", "t") for kind in ("task", "escape", "resolve", "inspect", "intercept")], [None] * 5)

    def test_each_kind_has_its_shared_fields(self) -> None:
        """daemon_name, log_type, pid, then whose log it is."""
        hub = self.hub(LogOptions(self.syslog()))
        wanted = {
            "task": 'log_type="Task", pid=7, server_type="HttpProxy", server_name="n"',
            "escape": 'log_type="Escape", pid=7, escaper_type="HttpProxy", escaper_name="n"',
            "resolve": 'log_type="Resolve", pid=7, resolver_type="HttpProxy", resolver_name="n"',
            "inspect": 'log_type="Inspect", pid=7, auditor_name="n"',
            "intercept": 'log_type="Intercept", pid=7, auditor_name="n"',
        }
        for kind, fields in wanted.items():
            logger = hub.logger(kind, "n", "HttpProxy")
            assert logger is not None
            logger.log("m", [("x", 1)])
            self.assertTrue(self.server.recv(1000).decode().endswith(f'g3proxy[7]: m, daemon_name="blue", {fields}, x=1'))

    def test_a_kind_may_have_its_own_driver(self) -> None:
        """Also none."""
        hub = self.hub(LogOptions(self.syslog(), escape=LoggerOptions(), audit=LoggerOptions()))
        self.assertIsNotNone(hub.logger("task", "a"))
        self.assertIsNone(hub.logger("escape", "a"))
        self.assertIsNone(hub.logger("inspect", "a"))
        self.assertIsNone(hub.logger("intercept", "a"))

    def test_nodes_with_the_same_shared_logger_share_its_channel_and_not_their_names(self) -> None:
        """One queue and one set of statistics; each record says whose it is."""
        hub = self.hub(LogOptions(self.syslog()))
        one, two = hub.logger("task", "one", "T", shared="s"), hub.logger("task", "two", "T", shared="s")
        assert one is not None
        assert two is not None
        one.log("", [])
        two.log("", [])
        self.assertIn(b'server_name="one"', self.server.recv(1000))
        self.assertIn(b'server_name="two"', self.server.recv(1000))
        self.assertEqual((one.name, two.name), ("lt-s", "lt-s"))
        self.assertEqual([sample.value for sample in self.metrics.samples() if sample.name == "logger.message.total"], [2])

    def test_logger_names_tell_kinds_apart_in_metrics(self) -> None:
        """As upstream names them."""
        hub = self.hub(LogOptions(self.syslog()))
        names = [hub.logger(kind, "n").name for kind in ("task", "escape", "resolve", "inspect")]  # type: ignore[union-attr]
        self.assertEqual(names, ["lt-n", "le-n", "lr-n", "la-n"])

    def test_a_node_made_again_has_the_same_channel(self) -> None:
        """A reload opens nothing new and counts on."""
        hub = self.hub(LogOptions(self.syslog()))
        for _ in range(3):
            hub.logger("task", "n").log("", [])  # type: ignore[union-attr]
        self.assertEqual([sample.value for sample in self.metrics.samples() if sample.name == "logger.message.total"], [3])

    def test_every_syslog_form_is_made(self) -> None:
        """By options."""
        wanted: list[tuple[dict[str, Any], str]] = [
            ({"rfc5424": RFC5424(99, "ID")}, " g3proxy 7 ID [g3proxy@99 daemon_name="),
            ({"cee_flag": "@cee:"}, ': @cee:{"daemon_name":'),
            ({"cee_flag": "@x:", "rfc5424": RFC5424()}, ' g3proxy 7 - @x:{"daemon_name":'),
            ({"append_report_ts": True}, ", report_ts="),
            ({"emit_hostname": True}, f" {socket.gethostname()} g3proxy[7]: "),
        ]
        for options, text in wanted:
            hub = self.hub(LogOptions(self.syslog(**options)))
            hub.logger("task", "n").log("", [])  # type: ignore[union-attr]
            self.assertIn(text, self.server.recv(1000).decode())

    def test_journal_and_stdout_are_made(self) -> None:
        """By options."""
        hub = self.hub(LogOptions(LoggerOptions(Journal(self.path)), escape=LoggerOptions(Stdout())))
        hub.logger("task", "n", "T").log("m", [])  # type: ignore[union-attr]
        self.assertIn(b"SYSLOG_IDENTIFIER=g3proxy\nDAEMON_NAME=blue\nLOG_TYPE=Task\nPID=7\n", self.server.recv(1000))
        self.assertIsNotNone(hub.logger("escape", "n", "T"))

    def test_fluentd_discards_and_says_so_once(self) -> None:
        """One warning for all its loggers."""
        events: list[Any] = []
        globalLogPublisher.addObserver(events.append)
        self.addCleanup(globalLogPublisher.removeObserver, events.append)
        hub = self.hub(LogOptions(LoggerOptions(Fluentd())))
        self.assertEqual([hub.logger("task", name) for name in "abc"], [None] * 3)
        self.assertEqual([event["log_level"] for event in events], [LogLevel.warn])

    def test_after_closing_records_are_dropped_and_counted(self) -> None:
        """A late task does not fail."""
        hub = self.hub(LogOptions(self.syslog()))
        logger = hub.logger("task", "n")
        assert logger is not None
        hub.close()
        logger.log("", [])
        drops = {dict(sample.tags)["drop_type"]: sample.value for sample in self.metrics.samples() if sample.name == "logger.message.drop"}
        self.assertEqual(drops, {"ChannelClosed": 1})
