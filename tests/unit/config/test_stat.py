# SPDX-License-Identifier: Apache-2.0
"""The C{stat} section, in every form upstream reads."""

from __future__ import annotations

import json

from twisted.trial.unittest import SynchronousTestCase

from g3.config.document import read_text
from g3.config.problems import Problems
from g3.config.stat import StatSection
from g3.config.value import ParseContext
from g3.metrics.options import StatsdOptions


class StatTest(SynchronousTestCase):
    """Text in, options out."""

    def parse(self, text: str) -> tuple[StatsdOptions | None, list[str]]:
        problems = Problems()
        node = read_text(text, "f", problems)[0]
        ok, made = StatSection().attempt(node, ParseContext(problems))
        return made if ok else None, [str(problem) for problem in problems]

    def good(self, text: str) -> StatsdOptions:
        made, problems = self.parse(text)
        assert made is not None, problems
        again, _ = self.parse(json.dumps(StatSection().dump(made)))
        self.assertEqual(again, made, "a dump reads as what was dumped")
        return made

    def test_defaults_are_upstreams(self) -> None:
        """An empty map sends to the local statsd."""
        made = self.good("{}")
        self.assertEqual(made, StatsdOptions(("127.0.0.1", 8125), "", "", "g3proxy", 262144, None, 0.2))
        self.assertEqual(made.segment_size, 1400)
        self.assertEqual(self.good("{target_unix: /run/statsd}").segment_size, 4096)

    def test_targets_in_all_forms(self) -> None:
        """As in upstream's own tests."""
        self.assertEqual(self.good("{target_udp: '127.0.0.1:8125', prefix: myapp, cache_size: 512KB}").cache_size, 512000)
        made = self.good("{backend_udp: {address: '192.168.1.1:9125', bind_ip: 127.0.0.1}, prefix: test.prefix, cache_size: 1024, emit_interval: 1s}")
        self.assertEqual((made.udp, made.bind_ip, made.prefix, made.emit_interval), (("192.168.1.1", 9125), "127.0.0.1", "test.prefix", 1.0))
        made = self.good("{target: {udp: {addr: '10.0.0.1:8126', bind: 0.0.0.0}}, prefix: nested.udp}")
        self.assertEqual((made.udp, made.bind_ip), (("10.0.0.1", 8126), "0.0.0.0"))
        self.assertEqual(self.good("{backend: {unix: {path: /tmp/nested.sock}}}").unix, "/tmp/nested.sock")
        self.assertEqual(self.good("{backend_unix: {path: /var/run/statsd.sock}, max_segment_size: 1KB}").segment_size, 1000)

    def test_the_old_word_for_the_interval_is_read_with_a_warning(self) -> None:
        """emit_duration."""
        made, problems = self.parse("{emit_duration: 500ms}")
        assert made is not None
        self.assertEqual(made.emit_interval, 0.5)
        self.assertIn("emit_interval", problems[0])

    def test_what_is_wrong_is_refused(self) -> None:
        """As in upstream's own tests."""
        for text in (
            "{invalid_key: value}",
            "{target_udp: invalid-address}",
            "{target_udp: {bind_ip: 127.0.0.1}}",
            "{target_udp: {address: '127.0.0.1:8125', bind_ip: invalid-ip}}",
            "{backend_udp: false}",
            "{target_unix: relative/path}",
            "{target_unix: {path: }}",
            "{backend_unix: 123}",
            "{target: not_a_map}",
            "{target: {}}",
            "{backend: {invalid_backend: value}}",
            "{prefix: 123}",
            "{cache_size: -1}",
            "{max_segment_size: -100}",
            "{emit_interval: 1xs}",
            "{emit_interval: 0}",
            "[]",
            "123",
            "true",
        ):
            made, problems = self.parse(text)
            self.assertIsNone(made, text)
            self.assertNotEqual(problems, [], text)
