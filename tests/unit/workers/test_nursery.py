# SPDX-License-Identifier: Apache-2.0
"""Tests of g3.workers.nursery: what goes wrong in it. The rest is met in tests.functional.test_workers."""

from __future__ import annotations

import errno
import json
import signal
import socket
import subprocess
from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from g3.workers import nursery
from g3.workers.memory import Memory
from g3.workers.nursery import Nursery


class NurseryTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self.addCleanup(self.ours.close)
        self.addCleanup(theirs.close)
        self.memory = Memory(1)
        self.nursery = Nursery(theirs, self.memory, lambda *_: 0, "")

    def ask(self) -> tuple[dict[str, Any], list[int]]:
        """What it says of a worker that is asked for."""
        one, other = socket.socketpair()
        with one, other:
            socket.send_fds(self.ours, [b'{"slot": 0}'], [other.fileno()])
            self.assertTrue(self.nursery._serve())
        data, descriptors, _, _ = socket.recv_fds(self.ours, nursery.MAX_MESSAGE, 1)
        return json.loads(data), descriptors

    def test_one_that_cannot_be_forked_is_no_end_of_it(self) -> None:
        """The limit of processes is reached, or memory: the others keep their guard, and it is told."""

        def refuse() -> int:
            raise BlockingIOError(errno.EAGAIN, "Resource temporarily unavailable")

        self.patch(nursery.os, "fork", refuse)  # type: ignore[attr-defined]
        self.assertEqual(self.ask(), ({"slot": 0, "error": "Resource temporarily unavailable"}, []))

    def test_one_that_nobody_could_watch_does_not_live(self) -> None:
        """There is no descriptor for it."""

        def refuse(_: int) -> int:
            raise OSError(errno.EMFILE, "Too many open files")

        with subprocess.Popen(["sleep", "60"]) as sleeper:
            self.patch(nursery.os, "fork", lambda: sleeper.pid)  # type: ignore[attr-defined]
            self.patch(nursery.os, "pidfd_open", refuse)  # type: ignore[attr-defined]
            self.assertEqual(self.ask()[0]["error"], "Too many open files")
            self.assertEqual(sleeper.wait(10), -signal.SIGKILL)

    def test_a_worker_that_hung_while_it_was_busy_does_not_outlive_its_supervisor(self) -> None:
        """It gets longer, not for ever."""
        self.patch(nursery, "HANG", 0.0)
        self.patch(nursery, "BUSY_HANG", 0.5)
        self.memory.rows[0].busy = 1
        with subprocess.Popen(["sleep", "60"]) as sleeper:
            self.addCleanup(sleeper.kill)
            self.nursery._slots[sleeper.pid] = 0
            self.patch(self.nursery, "_reap", lambda: self.nursery._slots.pop(sleeper.pid) if sleeper.poll() is not None else None)
            waits: list[float] = []
            select = nursery.select.select  # type: ignore[attr-defined]

            def wait(read: Any, write: Any, bad: Any, seconds: float) -> Any:
                waits.append(seconds)
                if len(waits) > 20:
                    self.nursery._slots.clear()
                return select(read, write, bad, seconds)

            self.patch(nursery.select, "select", wait)  # type: ignore[attr-defined]
            self.nursery._guard()
            self.assertEqual(sleeper.poll(), -signal.SIGKILL)
