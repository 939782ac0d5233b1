# SPDX-License-Identifier: Apache-2.0
"""Trial that says at the end which tests and modules took longest: C{python tools/timed_trial.py HOW_MANY ARGUMENTS_OF_TRIAL...}."""

from __future__ import annotations

import sys
import time
from collections import defaultdict
from typing import Any

from twisted.scripts import trial
from twisted.trial._dist.distreporter import DistReporter
from twisted.trial._dist.disttrial import DistTrialRunner

#: Seconds by test.
spent: dict[str, float] = {}


class Timing(DistReporter):
    """Notes when tests begin and end; those who report get it all at once."""

    def __init__(self, original: Any) -> None:
        super().__init__(original)
        self._begun: dict[str, float] = {}

    def startTest(self, test: Any) -> None:
        self._begun[test.id()] = time.monotonic()
        super().startTest(test)

    def stopTest(self, test: Any) -> None:
        spent[test.id()] = time.monotonic() - self._begun.pop(test.id())
        super().stopTest(test)


def slowest(how_many: int, seconds: dict[str, float]) -> list[str]:
    """A line for each of the tests that took longest, and then of the modules."""
    modules: defaultdict[str, float] = defaultdict(float)
    for name, each in seconds.items():
        modules[name.rsplit(".", 2)[0]] += each
    lines = [f"{sum(seconds.values()):.1f} s in {len(seconds)} tests"]
    for what, found in (("test", seconds), ("module", modules)):
        first = sorted(found, key=lambda name: -found[name])[:how_many]
        lines += [f"slowest {what}: {found[name]:.2f} s {name}" for name in first]
    return lines


def main() -> None:
    how_many, arguments = int(sys.argv[1]), sys.argv[2:]
    if not any(word.startswith(("-j", "--jobs")) for word in arguments):
        # Only tests in another process are timed.
        arguments = ["-j1", *arguments]
    sys.argv[1:] = arguments
    DistTrialRunner._distReporterFactory = Timing
    try:
        trial.run()
    finally:
        print(*slowest(how_many, spent), sep="\n", flush=True)


if __name__ == "__main__":
    main()
