# SPDX-License-Identifier: Apache-2.0
"""Tests of g3.workers.privileges, in processes that become another user."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

from twisted.trial.unittest import SkipTest, SynchronousTestCase

from g3.workers import privileges

BIND_SERVICE, NET_ADMIN, NET_RAW = 1 << 10, 1 << 12, 1 << 13
#: What it has itself, then what a program has that it starts.
SCRIPT = """
import ctypes, os, subprocess
from g3.workers import privileges
privileges.keep()
os.setresgid(65534, 65534, 65534)
os.setresuid(65534, 65534, 65534)
privileges.{}
show = lambda text: print(*[line.split()[1] for line in text.splitlines() if line[:6] in ("CapPrm", "CapEff")])
show(open("/proc/self/status").read())
show(subprocess.run(["cat", "/proc/self/status"], capture_output=True, text=True).stdout)
"""


class PrivilegeTests(SynchronousTestCase):
    """Of a process that was root."""

    def left(self, call: str) -> tuple[set[int], set[int]]:
        """The capabilities, permitted and in effect, of the process and of a program that it starts."""
        if os.geteuid():
            raise SkipTest("only root can become somebody else")
        environment: Any = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
        done = subprocess.run([sys.executable, "-c", SCRIPT.format(call)], env=environment, capture_output=True, text=True, timeout=60, check=False)
        self.assertEqual((done.returncode, done.stderr), (0, ""))
        own, started = ({int(word, 16) for word in line.split()} for line in done.stdout.splitlines())
        return own, started

    def test_a_supervisor_keeps_what_its_listeners_need(self) -> None:
        """And hands nothing on; but CAP_NET_ADMIN where workers need it."""
        self.assertEqual(self.left("settle(listening=False, serving=False, hands_on=True)"), ({BIND_SERVICE}, {0}))
        self.assertEqual(self.left("settle(listening=True, serving=False, hands_on=True)"), ({BIND_SERVICE | NET_ADMIN | NET_RAW}, {0}))
        self.assertEqual(self.left("settle(listening=False, serving=True, hands_on=True)"), ({BIND_SERVICE | NET_ADMIN}, {NET_ADMIN}))

    def test_a_daemon_that_serves_itself_hands_nothing_on(self) -> None:
        self.assertEqual(self.left("settle(listening=False, serving=True, hands_on=False)"), ({BIND_SERVICE | NET_ADMIN}, {0}))

    def test_a_worker_keeps_nothing_but_what_its_sockets_need(self) -> None:
        self.assertEqual(self.left("settle_to_serve(admin=False)"), ({0}, {0}))
        self.assertEqual(self.left("settle_to_serve(admin=True)"), ({NET_ADMIN}, {0}))

    def test_root_stays_root(self) -> None:
        """Nothing is given up."""
        before = self.status()
        if os.geteuid() == 0:
            privileges.settle(listening=False, serving=False, hands_on=False)
        self.assertEqual(self.status(), before)

    def status(self) -> list[str]:
        return [line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("Cap")]
