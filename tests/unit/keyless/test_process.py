# SPDX-License-Identifier: Apache-2.0
"""That keys stay inside the process, and that this is so before the first is loaded."""

from __future__ import annotations

import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from tests.unit.keyless.world import pem

ROOT = Path(__file__).resolve().parents[3]
#: A daemon that tells, when a key is loaded, whether the process is dumpable, then ends.
PROGRAM = """
import os, sys
import g3.keyless.store as store
from g3.keyless.process import is_dumpable
load = store.load_private_key
def told(data):
    os.write(1, b"dumpable\\n" if is_dumpable() else b"undumpable\\n")
    return load(data)
store.load_private_key = told
os.write(1, b"dumpable\\n" if is_dumpable() else b"undumpable\\n")
from g3.net.reactor import install
install()
from twisted.internet import reactor
reactor.callLater(0, reactor.stop)
from g3.apps.g3keymess import main
sys.exit(main(["-c", sys.argv[1], "-C", sys.argv[2]]))
"""


class ProcessTests(SynchronousTestCase):
    """In a process of its own."""

    def test_the_process_is_undumpable_before_a_key_is_loaded(self) -> None:
        """It is dumpable as it starts."""
        directory = Path(self.mktemp()).resolve()
        (directory / "keys").mkdir(parents=True)
        (directory / "keys" / "one.key").write_bytes(pem("p256"))
        config = directory / "g3keymess.yaml"
        config.write_text("store:\n  - name: local\n    type: local\n    dir: keys\n")
        # Short, since the name of a unix socket has room for 107 bytes only.
        control = tempfile.mkdtemp(prefix="g3t")
        self.addCleanup(shutil.rmtree, control, ignore_errors=True)
        words = [sys.executable, "-c", PROGRAM, str(config), control]
        ran = subprocess.run(words, cwd=ROOT, capture_output=True, text=True, timeout=60, check=False)
        self.assertEqual(
            ([line for line in ran.stdout.splitlines() if "dumpable" in line], ran.returncode), (["dumpable", "undumpable"], 0), ran.stderr
        )
