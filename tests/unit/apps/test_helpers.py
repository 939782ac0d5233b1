# SPDX-License-Identifier: Apache-2.0
"""What g3fcgen and g3iploc have in common: command line, address, sections."""

from __future__ import annotations

import io
import sys
from pathlib import Path
from typing import Any

from twisted.python import usage
from twisted.trial.unittest import SynchronousTestCase

from g3.apps import answers, fcgen, g3proxy, helper_command, iploc
from g3.apps.fcgen_daemon import threads_of
from g3.apps.helper import listen_address
from g3.config.runtime import WorkerConfig
from g3.errors import ConfigError

DEFAULT = ("127.0.0.1", 2999)


class AddressTests(SynchronousTestCase):
    def test_the_environment_wins_over_the_group_and_the_group_over_the_default(self) -> None:
        for group, environment, wanted in (
            ("", None, DEFAULT),
            ("other", None, DEFAULT),
            ("port3999", None, ("::", 3999)),
            ("port3999", "192.0.2.1:5", ("192.0.2.1", 5)),
            ("", "[2001:db8::1]:5", ("2001:db8::1", 5)),
        ):
            self.assertEqual(listen_address(DEFAULT, group, environment), wanted)

    def test_what_is_no_address_is_ignored(self) -> None:
        for group, environment in (("port", None), ("portx", None), ("port70000", None), ("", "nonsense"), ("", "1.2.3.4"), ("", "name:5"), ("", "")):
            self.assertEqual(listen_address(DEFAULT, group, environment), DEFAULT)


class CommandLineTests(SynchronousTestCase):
    def words(self, program: str, *given: str) -> list[str]:
        return g3proxy.twistd_words(helper_command.parser(program, "").parse_args(given), program)

    def test_upstreams_options_become_twistds(self) -> None:
        wanted = ["--nodaemon", "--pidfile=", "g3fcgen", "--config=a", "--group-name=port5", "--recv-buf-size=4096", "--alone"]
        self.assertEqual(self.words("g3fcgen", "-c", "a", "-G", "port5", "--recv-buf-size", "4096"), wanted)

    def test_there_is_no_control_socket_and_no_graph(self) -> None:
        self.patch(sys, "stderr", io.StringIO())
        for option in ("-C", "-g"):
            self.assertRaises(SystemExit, helper_command.parser("g3iploc", "").parse_args, ["-c", "a", option, "x"])

    def test_twistd_has_every_option_that_both_have(self) -> None:
        for options in (fcgen.Options(), iploc.Options()):
            known = {f"--{option.rstrip('=')}" for option in options.longOpt}
            self.assertLessEqual({"--config", "--group-name", "--test-config", "--recv-buf-size", "--send-buf-size", "--verbose"}, known)
            self.assertNotIn("--control-dir", known)

    def test_sizes_are_numbers_of_bytes(self) -> None:
        for text, good in (("4096", True), ("0", True), ("-1", False), ("4K", False), (str(1 << 31), False)):
            options = fcgen.Options()
            options["recv-buf-size"] = text
            if good:
                self.assertEqual(options.buffer().recv, int(text))
            else:
                self.assertRaises(usage.UsageError, options.buffer)


class SectionTests(SynchronousTestCase):
    def read(self, program: str, text: str) -> Any:
        folder = Path(self.mktemp())
        folder.mkdir()
        (folder / "main.yaml").write_text(text)
        return answers.read(folder, program)[1]

    def test_a_generator_must_have_its_authority(self) -> None:
        error = self.assertRaises(ConfigError, self.read, "g3fcgen", "runtime: {thread_number: 1}")
        self.assertIn('required key "backend" is missing', str(error))

    def test_sections_of_others_are_refused(self) -> None:
        """Logs of events and control sockets are not theirs, as upstream."""
        for section in ("log: discard", "controller: {}", "server: []", "nonsense: 1"):
            self.assertRaises(ConfigError, self.read, "g3iploc", section)

    def test_a_locator_may_have_no_database(self) -> None:
        main = self.read("g3iploc", "stat: {target: {udp: 127.0.0.1:8125}}\nworker: {thread_number: 2}")
        self.assertIs(main.sections["geoip_db"].country, None)
        self.assertEqual(main.stat.prefix, "g3iploc")

    def test_threads_are_those_of_the_section_worker(self) -> None:
        self.assertEqual(threads_of(None), 1)
        self.assertEqual(threads_of(WorkerConfig(thread_number_total=3)), 3)
        self.assertGreaterEqual(threads_of(WorkerConfig()), 1)

    def test_the_schema_and_the_explanation_know_them(self) -> None:
        for program, section in (("g3fcgen", "backend"), ("g3iploc", "geoip_db")):
            self.assertIn(section, answers.schema(program)["properties"])
        self.assertIn("issues", answers.explanation("backend.ca_certificate", "g3fcgen"))
