# SPDX-License-Identifier: Apache-2.0
"""How many processes sign, and what each may do of a limit."""

from __future__ import annotations

import os
from types import SimpleNamespace
from typing import Any

from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from g3.apps.keymess_daemon import pinned_core
from g3.apps.keymess_supervisor import process_count
from g3.config.runtime import RuntimeConfig, WorkerConfig
from g3.keyless.common import Common
from g3.keyless.config import Backend


class CountTests(SynchronousTestCase):
    """upstream: configuration/runtime, configuration/worker; each process has a main thread."""

    def count(self, runtime: int | None = None, worker: WorkerConfig | None = None, group: str = "", limits: tuple[int, ...] = ()) -> int:
        servers = [SimpleNamespace(concurrency_limit=limit) for limit in limits]
        main: Any = SimpleNamespace(runtime=RuntimeConfig(thread_number=runtime), worker=worker, configs=lambda _: servers)
        return process_count(main, group)

    def test_who_says_how_many(self) -> None:
        """runtime; else worker; else the CPUs."""
        self.assertEqual(self.count(), len(os.sched_getaffinity(0)))
        self.assertEqual(self.count(worker=WorkerConfig(thread_number_total=3)), 3)
        self.assertEqual(self.count(2, WorkerConfig(thread_number_total=3)), 2)
        self.assertEqual(self.count(0, WorkerConfig(thread_number_total=3)), 0)

    def test_a_pinned_group_is_one_process(self) -> None:
        """It is how upstream has one on each CPU."""
        self.assertEqual(self.count(group="core1"), 0)
        self.assertEqual(self.count(2, group="core1"), 2)
        self.assertGreater(self.count(group="core"), 0)

    def test_no_more_than_may_work_at_one_time(self) -> None:
        """The lowest limit counts; 0 is none."""
        self.assertEqual(self.count(4, limits=(3, 2, 0)), 2)
        self.assertEqual(self.count(4, limits=(0,)), 4)
        self.assertEqual(self.count(0, limits=(1,)), 0)

    def test_words_that_are_no_core(self) -> None:
        """A number, and nothing else."""
        for group, core in (("core0", 0), ("core12", 12), ("core", None), ("cores", None), ("core-1", None), ("core\u0661", None), ("acore1", None)):
            self.assertEqual(pinned_core(group), core, group)


class PartTests(SynchronousTestCase):
    """A limit of all processes."""

    def test_parts_are_the_whole(self) -> None:
        """Each has one at least."""
        for limit, processes in ((8, 2), (7, 3), (3, 3), (0, 4)):
            parts = [Common(Clock(), 0, Backend(), (number, processes)).part(limit) for number in range(processes)]
            self.assertEqual(sum(parts), limit)
        self.assertEqual(Common(Clock(), 0, Backend(), (1, 2)).part(1), 1)
