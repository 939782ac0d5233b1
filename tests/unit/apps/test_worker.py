# SPDX-License-Identifier: Apache-2.0
"""Tests of g3.apps.worker: what is between a worker and its supervisor. The rest is met in tests.functional.test_workers."""

from __future__ import annotations

import socket
from typing import Any

from twisted.logger import LogLevel

from g3.apps import worker
from g3.apps.worker import Worker
from g3.workers import link as words
from g3.workers.memory import Memory
from tests.unit.net.reactors import ReactorTestCase, receive_all


class SayTests(ReactorTestCase):
    """Lines for the process log."""

    def test_a_supervisor_that_does_not_read_costs_no_memory(self) -> None:
        """They are left out, and go on when it reads again."""
        ours, theirs = socket.socketpair()
        theirs.setblocking(False)
        self.addCleanup(theirs.close)
        self.patch(worker, "MAX_LINES", 1 << 30)
        one = Worker(self.reactor, Memory(1), 0)
        words.attach(self.reactor, ours, one)
        one.lost = None
        event: dict[str, Any] = {"log_level": LogLevel.error, "log_format": "{x}", "x": "x" * 10_000, "log_namespace": "n", "log_time": 0.0}
        for _ in range(1000):
            one.observe(event)
            self.turn()
        got = 0
        for _ in range(100):
            got += len(receive_all(theirs))
            self.turn()
        self.assertTrue(100_000 < got < 1_000_000, got)
        one.observe(event)
        self.spin(lambda: len(receive_all(theirs)) > 10_000)
        one._beating.stop()
        one.transport.abortConnection()
