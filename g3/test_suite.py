# SPDX-License-Identifier: Apache-2.0
"""Lets C{trial g3} run the tests beside the package: trial asks modules named C{test_*} for a C{testSuite}, and only them."""

from __future__ import annotations

import importlib
import sys
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from unittest import TestSuite

ROOT = Path(__file__).resolve().parent.parent


def testSuite() -> TestSuite:
    """Every test below C{tests/}, unit, fuzz and functional.

    @raise RuntimeError: this g3 has no C{tests/} beside it, as when it was installed from a wheel; no tests must never pass for none failed.
    """
    from twisted.trial.runner import TestLoader

    if not (ROOT / "tests" / "__init__.py").is_file():
        raise RuntimeError(f"no tests beside {ROOT / 'g3'}: they are in the source tree only, run them there (make test)")
    if str(ROOT) not in sys.path:
        sys.path.insert(0, str(ROOT))
    tests = importlib.import_module("tests")
    if tests.__file__ is None or Path(tests.__file__).resolve().parent != ROOT / "tests":
        raise RuntimeError(f"another package named tests comes first on the path: {tests.__file__}")
    suite: TestSuite = TestLoader().loadPackage(tests, recurse=True)  # type: ignore[no-untyped-call]
    return suite
