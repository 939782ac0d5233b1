# SPDX-License-Identifier: Apache-2.0
"""Where upstream's own configuration files are, for tests that read them."""

from __future__ import annotations

import os
from pathlib import Path

from twisted.trial.unittest import SkipTest

ROOT = Path(__file__).resolve().parent.parent


def upstream_dir() -> Path:
    """The directory with upstream's C{examples} and C{coverage}: the environment's G3_UPSTREAM, else C{../shared/upstream} beside the repository.

    @raise SkipTest: it is not there.
    """
    path = Path(os.environ.get("G3_UPSTREAM") or ROOT / ".." / "shared" / "upstream").resolve()
    if not (path / "examples").is_dir():
        raise SkipTest(f"upstream's configuration files are not in {path}; set G3_UPSTREAM to the directory that has them")
    return path
