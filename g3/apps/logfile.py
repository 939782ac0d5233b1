# SPDX-License-Identifier: Apache-2.0
"""twistd's log file, which it opens to write where the file ended then: two daemons, at an upgrade, would write over each other's lines."""

from __future__ import annotations

import fcntl
import os
from contextlib import suppress
from pathlib import Path


def append_to(path: Path) -> None:
    """Have what this process writes to that file appended, wherever its end is by then. A file that it has not open is left alone."""
    for entry in list(Path("/proc/self/fd").iterdir()):
        with suppress(OSError):
            if entry.samefile(path):
                number = int(entry.name)
                fcntl.fcntl(number, fcntl.F_SETFL, fcntl.fcntl(number, fcntl.F_GETFL) | os.O_APPEND)
