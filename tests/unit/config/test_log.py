# SPDX-License-Identifier: Apache-2.0
"""The C{log} section, in every form upstream reads."""

from __future__ import annotations

import json
from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from g3.config.document import read_text
from g3.config.log import LogSection
from g3.config.problems import Problems
from g3.config.value import ParseContext
from g3.logs.options import RFC5424, Discard, Fluentd, Journal, LoggerOptions, LogOptions, Stdout, Syslog
from g3.net.options import Keepalive
from g3.net.tls.options import ClientTLSOptions
from g3.proto.syslog import FACILITY_DAEMON, FACILITY_USER


class LogTest(SynchronousTestCase):
    """Text in, options out."""

    def parse(self, text: str) -> tuple[LogOptions | None, list[str]]:
        problems = Problems()
        node = read_text(text, "f", problems)[0]
        ok, made = LogSection().attempt(node, ParseContext(problems))
        return made if ok else None, [str(problem) for problem in problems]

    def good(self, text: str) -> LogOptions:
        made, problems = self.parse(text)
        assert made is not None, problems
        self.assertEqual(problems, [])
        again, problems = self.parse(json.dumps(LogSection().dump(made)))
        self.assertEqual((again, problems), (made, []), "a dump reads as what was dumped")
        return made

    def bad(self, text: str) -> list[str]:
        made, problems = self.parse(text)
        self.assertIsNone(made)
        return problems

    def test_a_word_is_the_driver_of_all(self) -> None:
        """Five words, in any case."""
        drivers = {
            "discard": Discard(),
            "journal": Journal(),
            "syslog": Syslog(facility=FACILITY_USER),
            "stdout": Stdout(),
            "Syslog": Syslog(facility=FACILITY_USER),
        }
        for word, driver in drivers.items():
            self.assertEqual(self.good(word), LogOptions(LoggerOptions(driver)))
        self.assertIsInstance(self.good("fluentd").default.driver, Fluentd)

    def test_without_a_value_nothing_is_logged(self) -> None:
        """Null and an empty map."""
        for text in ("~", "{}", "{default: {}}"):
            self.assertIsInstance(self.good(text).default.driver, Discard)

    def test_kinds_may_differ_from_the_default(self) -> None:
        """inspect and intercept follow audit."""
        made = self.good("{default: journal, task: syslog, escape: discard, resolve: stdout, audit: {journal: {}}}")
        found = {kind: type(made.of(kind).driver) for kind in ("task", "escape", "resolve", "inspect", "intercept")}
        self.assertEqual(found, {"task": Syslog, "escape": Discard, "resolve": Stdout, "inspect": Journal, "intercept": Journal})
        self.assertEqual(type(self.good("{task: syslog}").of("escape").driver), Discard)

    def test_syslog_and_fluentd_at_the_top_are_defaults(self) -> None:
        """With their own keys."""
        made = self.good("{syslog: {target_unix: /run/log}, task: journal}")
        self.assertEqual(made.default, LoggerOptions(Syslog(unix="/run/log")))
        made = self.good('{fluentd: "127.0.0.2:24225"}')
        assert isinstance(made.default.driver, Fluentd)
        self.assertEqual(made.default.driver.address, ("127.0.0.2", 24225))

    def test_stdout_may_have_a_queue_too(self) -> None:
        """As a key, like the other drivers."""
        for text in ("{default: {stdout: , async_channel_size: 9}}", "{default: {stdout: {}, channel_size: 9}}"):
            self.assertEqual(self.good(text).default, LoggerOptions(Stdout(), channel_size=9))

    def test_a_syslog_map_has_the_facility_daemon(self) -> None:
        """Also an empty one; the word alone has user."""
        for text in ("{default: {syslog: {}}}", "{default: {syslog: }}", "{syslog: }"):
            driver = self.good(text).default.driver
            assert isinstance(driver, Syslog)
            self.assertEqual((driver.facility, driver.unix), (FACILITY_DAEMON, "/dev/log"))

    def test_syslog_targets_in_all_forms(self) -> None:
        """Short and long, nested and not, by upstream's other words."""
        udp = Syslog(udp=("192.0.2.1", 514))
        bound = Syslog(udp=("192.0.2.1", 514), bind_ip="192.0.2.9")
        unix = Syslog(unix="/run/log")
        forms = {
            '{target_udp: "192.0.2.1:514"}': udp,
            '{target: {udp: "192.0.2.1:514"}}': udp,
            '{backend_udp: {address: "192.0.2.1:514"}}': udp,
            '{target-udp: {addr: "192.0.2.1:514", bind: 192.0.2.9}}': bound,
            '{backend: {udp: {address: "192.0.2.1:514", bind_ip: 192.0.2.9}}}': bound,
            "{target_unix: /run/log}": unix,
            "{target: {unix: {path: /run/log}}}": unix,
            "{backend_unix: {path: /run/log}}": unix,
        }
        for text, driver in forms.items():
            self.assertEqual(self.good(f"{{syslog: {text}}}").default.driver, driver, text)

    def test_syslog_formats_in_all_forms(self) -> None:
        """An int is the enterprise id, a string the message id."""
        forms = {
            "{format_rfc5424: 32473}": Syslog(rfc5424=RFC5424(32473)),
            "{format_rfc5424: ID47}": Syslog(rfc5424=RFC5424(0, "ID47")),
            "{format_rfc5424: {enterprise_id: 1, message_id: x}}": Syslog(rfc5424=RFC5424(1, "x")),
            "{use_cee_log_syntax: true}": Syslog(cee_flag="@cee:"),
            "{use_cls: true, cee_cookie: '@x:'}": Syslog(cee_flag="@x:"),
            "{cee_event_flag: '@x:'}": Syslog(),
            "{emit_hostname: true, append_report_ts: true}": Syslog(emit_hostname=True, append_report_ts=True),
        }
        for text, driver in forms.items():
            self.assertEqual(self.good(f"{{syslog: {text}}}").default.driver, driver, text)

    def test_the_queue_has_its_keys(self) -> None:
        """By both words each."""
        wanted = LoggerOptions(Journal(), 10, 3, 16)
        for text in (
            "{journal: {}, async_channel_size: 10, async_thread_number: 3, io_error_sampling_offset: 16}",
            "{journal: , channel_size: 10, thread_number: 3, io_error_sampling_offset: 16}",
        ):
            self.assertEqual(self.good(f"{{task: {text}}}").task, wanted)

    def test_fluentd_is_read_in_full(self) -> None:
        """Every key."""
        made = self.good(
            "{default: {fluentd: {addr: '192.0.2.1:1', bind_ip: 192.0.2.2, shared_key: k, username: u, password: p, hostname: h,"
            " tcp_keepalive: 30s, tls_client: {}, tls_name: fluentd.example, connect_timeout: 1s, connect_delay: 2s, write_timeout: 3s,"
            " flush_interval: 4ms, retry_queue_len: 5}}}"
        ).default.driver
        assert isinstance(made, Fluentd)
        self.assertIsInstance(made.tls_client, ClientTLSOptions)
        plain: dict[str, Any] = {
            "address": ("192.0.2.1", 1),
            "bind_ip": "192.0.2.2",
            "shared_key": "k",
            "username": "u",
            "password": "p",
            "hostname": "h",
            "tcp_keepalive": Keepalive(enable=True, idle_time=30.0),
            "tls_name": "fluentd.example",
            "connect_timeout": 1.0,
            "connect_delay": 2.0,
            "write_timeout": 3.0,
            "flush_interval": 0.004,
            "retry_queue_len": 5,
        }
        self.assertEqual({name: getattr(made, name) for name in plain}, plain)

    def test_every_problem_is_reported_at_its_place(self) -> None:
        """All in one go."""
        text = """
default: sylog
task: {journal: {x: 1}, async_channel_size: none}
escape: {syslog: {target_udp: nowhere, target_unix: relative}}
resolve: {io_error_sampling_offset: 17}
audit: 7
inspect: discard
"""
        problems = self.bad(text)
        self.assertEqual([problem.split(": ")[0] for problem in sorted(problems)], sorted(
            ["f:2:10", "f:3:18", "f:3:45", "f:4:31", "f:4:53", "f:5:37", "f:6:8", "f:7:1"]
        ))  # fmt: skip
        self.assertIn('did you mean "syslog"', problems[[problem.startswith("f:2") for problem in problems].index(True)])

    def test_of_several_targets_the_last_is_used_with_a_warning(self) -> None:
        """As upstream reads them."""
        for text, unix in (("{target_udp: '127.0.0.1:1', target_unix: /x}", "/x"), ("{target_unix: /x, target_udp: '127.0.0.1:1'}", "/dev/log")):
            made, problems = self.parse(f"{{syslog: {text}}}")
            assert made is not None
            assert isinstance(made.default.driver, Syslog)
            self.assertEqual(made.default.driver.unix, unix)
            self.assertEqual(len(problems), 1)
            self.assertIn("warning", problems[0])

    def test_a_bind_address_of_the_other_family_is_refused(self) -> None:
        """It could never send."""
        self.assertIn("address family", self.bad("{syslog: {target_udp: {address: '127.0.0.1:1', bind_ip: '::1'}}}")[0])
