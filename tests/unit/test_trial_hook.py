# SPDX-License-Identifier: Apache-2.0
"""The test run itself: it must not pass on nothing."""

from __future__ import annotations

import importlib.util
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from g3 import test_suite as hook

ROOT = Path(__file__).resolve().parent.parent.parent


def load_tool(name: str) -> Any:
    """tools/NAME.py as a module."""
    spec = importlib.util.spec_from_file_location(name, ROOT / "tools" / f"{name}.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


class HookTests(SynchronousTestCase):
    """g3.test_suite, which trial asks."""

    def test_the_suite_has_the_tests_of_every_folder(self) -> None:
        """Unit, fuzz and functional tests are all in it."""
        found: set[str] = set()

        def walk(suite: Any) -> None:
            for test in getattr(suite, "_tests", ()):
                walk(test)
            if hasattr(suite, "id"):
                found.add(".".join(suite.id().split(".")[:2]))

        walk(hook.testSuite())
        self.assertTrue({"tests.unit", "tests.functional"} <= found, found)

    def test_a_busy_machine_fails_no_test_of_random_values(self) -> None:
        """However long an example takes."""

        @settings(max_examples=2, database=None)
        @given(st.booleans())
        def slow(_value: bool) -> None:
            time.sleep(0.25)

        slow()

    def test_without_tests_beside_it_the_hook_fails(self) -> None:
        """An installed g3 has none, and a run of no tests must not pass."""
        empty = Path(self.mktemp())
        empty.mkdir()
        self.patch(hook, "ROOT", empty)
        self.assertRaises(RuntimeError, hook.testSuite)

    def test_another_package_named_tests_is_not_taken_for_ours(self) -> None:
        """Some packages install one at the top level."""
        other = Path(self.mktemp()).resolve()
        (other / "tests").mkdir(parents=True)
        (other / "tests" / "__init__.py").touch()
        self.patch(hook, "ROOT", other)
        self.patch(sys, "path", list(sys.path))
        self.assertRaises(RuntimeError, hook.testSuite)

    def test_trial_on_a_copy_without_tests_fails(self) -> None:
        """Seen from the command line: the exit status says so."""
        copy = Path(self.mktemp()).resolve()
        (copy / "g3").mkdir(parents=True)
        for name in ("__init__.py", "test_suite.py"):
            (copy / "g3" / name).write_text((ROOT / "g3" / name).read_text())
        ran = subprocess.run(
            [sys.executable, "-m", "twisted.trial", "g3"], cwd=copy, env={"PYTHONPATH": str(copy)}, capture_output=True, text=True, check=False
        )
        self.assertNotEqual(ran.returncode, 0, ran.stdout)
        self.assertIn("no tests beside", ran.stdout)


class JudgeTests(SynchronousTestCase):
    """What tools/run_tests.py thinks of an outcome."""

    def setUp(self) -> None:
        self.judge = load_tool("run_tests").judge

    def test_enough_tests_and_no_fault_is_good(self) -> None:
        """Nothing to complain of."""
        self.assertEqual(self.judge(0, {"successes": 10}, 10, skips_allowed=False), [])

    def test_fewer_tests_than_the_floor_is_a_fault(self) -> None:
        """Even when all of them pass."""
        self.assertEqual(len(self.judge(0, {"successes": 9}, 10, skips_allowed=True)), 1)

    def test_a_skip_is_a_fault_where_none_may_be(self) -> None:
        """In CI; elsewhere a missing peer is no fault."""
        self.assertEqual(len(self.judge(0, {"successes": 10, "skips": 1}, 10, skips_allowed=False)), 1)
        self.assertEqual(self.judge(0, {"successes": 10, "skips": 1}, 10, skips_allowed=True), [])

    def test_the_status_of_trial_counts(self) -> None:
        """It may fail for what is in no count."""
        self.assertEqual(len(self.judge(1, {"successes": 10}, 10, skips_allowed=True)), 1)


class SlowestTests(SynchronousTestCase):
    """What tools/timed_trial.py says of the time tests took."""

    def test_the_slowest_come_first_and_modules_are_summed(self) -> None:
        """As many of each as are asked for."""
        said = load_tool("timed_trial").slowest(2, {"m.a.T.x": 1.0, "m.a.T.y": 2.0, "m.b.T.z": 2.5})
        self.assertEqual(said[0], "5.5 s in 3 tests")
        self.assertEqual([line.split()[-1] for line in said[1:]], ["m.b.T.z", "m.a.T.y", "m.a", "m.b"])

    def test_each_test_of_a_run_is_timed(self) -> None:
        """Named or not, side by side or not."""
        words = [sys.executable, str(ROOT / "tools" / "run_tests.py"), "--slowest", "1", "tests.unit.test_ids"]
        ran = subprocess.run(words, capture_output=True, text=True, check=False)
        self.assertEqual(ran.returncode, 0, ran.stdout + ran.stderr)
        self.assertRegex(ran.stdout, r"slowest test: \d+\.\d\d s tests\.unit\.test_ids\.IdTests\.test_\w+\n")
        self.assertRegex(ran.stdout, r"slowest module: \d+\.\d\d s tests\.unit\.test_ids\n")
