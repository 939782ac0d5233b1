# SPDX-License-Identifier: Apache-2.0
"""How many workers a configuration asks for."""

from __future__ import annotations

import os
from types import SimpleNamespace
from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from g3.apps.supervisor import worker_count
from g3.config.runtime import RuntimeConfig, WorkerConfig


class CountTests(SynchronousTestCase):
    """upstream: configuration/runtime, configuration/worker."""

    def count(self, runtime: Any = None, worker: Any = None) -> int:
        main: Any = SimpleNamespace(runtime=RuntimeConfig(thread_number=runtime), worker=worker)
        return worker_count(main)

    def test_without_a_word_the_cpus_we_may_run_on(self) -> None:
        """With a worker section that does not say, too."""
        cpus = len(os.sched_getaffinity(0))
        self.assertEqual(self.count(), cpus)
        self.assertEqual(self.count(0, WorkerConfig()), cpus)

    def test_zero_is_none(self) -> None:
        """All in one process."""
        self.assertEqual(self.count(0), 0)
        self.assertEqual(self.count(3), 3)

    def test_a_worker_section_has_the_last_word(self) -> None:
        """Its total over what each runtime has."""
        self.assertEqual(self.count(1, WorkerConfig(thread_number_total=6, thread_number_per_runtime=2)), 3)
