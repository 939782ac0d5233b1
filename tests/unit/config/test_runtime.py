# SPDX-License-Identifier: Apache-2.0
"""The sections about the process."""

from __future__ import annotations

from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from g3.config.document import read_text
from g3.config.problems import Problems
from g3.config.runtime import RuntimeConfig, SchedAffinity, WorkerConfig, parse_cpu_list
from g3.config.schema import parse_map
from g3.config.value import ParseContext

from .samples import parse, refusal, told


class AffinityTests(SynchronousTestCase):
    def test_cpu_lists(self) -> None:
        """Ids and ranges, sorted."""
        cases = {"3": (3,), "0-2,7": (0, 1, 2, 7), " 4 , 1 ": (1, 4), "": None, "a": None, "3-1": None, "5000": None, "1-": None, "-1": None}
        for text, cpus in cases.items():
            self.assertEqual(parse_cpu_list(text), cpus, text)

    def test_a_map_of_workers_to_cpus(self) -> None:
        """Numbers, text, lists of these."""
        self.assertEqual(parse(SchedAffinity(), "{0: 3, 1: 0-1, '2': [4, 6-7]}"), {0: (3,), 1: (0, 1), 2: (4, 6, 7)})
        self.assertIn("CPU ids", refusal(SchedAffinity(), "{0: [a]}"))
        self.assertIn("worker number", refusal(SchedAffinity(), "{a: 1}"))

    def test_true_takes_the_environment_or_one_cpu_each(self) -> None:
        """True stands for one CPU each; false for no affinity."""
        self.assertEqual(parse(SchedAffinity(), "true", env={"WORKER_1_CPU_LIST": "2-3", "OTHER": "x"}), {1: (2, 3)})
        self.assertIs(parse(SchedAffinity(), "true"), True)
        self.assertEqual(parse(SchedAffinity(), "false"), {})
        self.assertIn("bool", refusal(SchedAffinity(), "maybe"))


class SectionTests(SynchronousTestCase):
    def test_defaults_are_those_of_upstream(self) -> None:
        """In seconds."""
        config = RuntimeConfig()
        waits = (config.server_offline_delay, config.task_wait_delay, config.task_wait_timeout, config.task_quit_timeout)
        self.assertEqual(waits, (4.0, 2.0, 36000.0, 1800.0))

    def test_threads_must_divide_among_runtimes(self) -> None:
        """Told at the key."""
        problems = Problems()
        (node,) = read_text("thread_number: 5\nthread_number_per_runtime: 2", "f", problems)
        self.assertIdentical(parse_map(WorkerConfig, node, ParseContext(problems, Path())), None)
        self.assertEqual(told(problems), ["1:16: thread_number_total 5 cannot be divided by thread_number_per_runtime 2"])
