# SPDX-License-Identifier: Apache-2.0
"""Runs C{trial g3}, or the tests that are named, holds the outcome against the floor in tests/floor.txt, and closes with the counts.

C{--slowest N} before the names: say which N tests and modules took longest.

Exit status 0 when nothing failed and at least as many tests ran as the floor says. With C{CI=true} in the environment a skip is a
failure too: there everything is installed, so that a skip is a test that silently went away.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
SUMMARY = re.compile(r"^(?:PASSED|FAILED)(?: \((.*)\))?$")


def run_trial(arguments: list[str], slowest: int = 0) -> tuple[int, dict[str, int] | None]:
    """Trial's exit status, and the counts of its last summary line, None when it wrote none."""
    # Most tests wait for other programs: one more at once than there are processors.
    side_by_side = ["-j", str((os.cpu_count() or 1) + 1)] if not arguments else []
    trial = ["-m", "twisted.trial"] if not slowest else [str(ROOT / "tools" / "timed_trial.py"), str(slowest)]
    command = [sys.executable, *trial, *side_by_side, *(arguments or ["g3"])]
    counts: dict[str, int] | None = None
    pipes = {"stdin": subprocess.DEVNULL, "stdout": subprocess.PIPE, "stderr": subprocess.STDOUT}
    with subprocess.Popen(command, cwd=ROOT, text=True, errors="replace", **pipes) as trial:
        assert trial.stdout is not None
        for line in trial.stdout:
            sys.stdout.write(line)
            sys.stdout.flush()
            found = SUMMARY.match(line.strip())
            if found:
                counts = {key: int(number) for key, number in (part.split("=") for part in (found[1] or "").split(", ") if part)}
    return trial.returncode, counts


def judge(status: int, counts: dict[str, int], floor: int, skips_allowed: bool) -> list[str]:
    """Why this outcome is not good enough; empty when it is."""
    ran = sum(counts.values())
    faults = []
    if status != 0:
        faults.append(f"trial ended with status {status}")
    if ran < floor:
        faults.append(f"only {ran} tests ran, and tests/floor.txt says {floor}")
    skipped = counts.get("skips", 0) + counts.get("expectedFailures", 0)
    if skipped and not skips_allowed:
        faults.append(f"{skipped} tests were skipped, and none may be here")
    return faults


def main(arguments: list[str]) -> int:
    slowest = 0
    if arguments[:1] == ["--slowest"]:
        slowest, arguments = int(arguments[1]), arguments[2:]
    status, counts = run_trial(arguments, slowest)
    if counts is None:
        print("trial wrote no summary", "0 passed, 1 failed, 0 skipped", sep="\n")
        return 1
    floor = 0 if arguments else int((ROOT / "tests" / "floor.txt").read_text())
    faults = judge(status, counts, floor, skips_allowed=os.environ.get("CI") != "true")
    for fault in faults:
        print("not good enough:", fault)
    passed = counts.get("successes", 0)
    failed = counts.get("failures", 0) + counts.get("errors", 0) + counts.get("unexpectedSuccesses", 0)
    skipped = counts.get("skips", 0) + counts.get("expectedFailures", 0)
    if faults and not failed:
        failed = 1
    print(f"{passed} passed, {failed} failed, {skipped} skipped", flush=True)
    return 1 if faults else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
