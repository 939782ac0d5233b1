# SPDX-License-Identifier: Apache-2.0
"""Who started us hears how it went: on standard error, or, when we are a daemon, through the pipe on which twistd waits for its child."""

from __future__ import annotations

import contextlib
import os
import select
import sys
from pathlib import Path

from twisted.logger import Logger

log = Logger()


class Launch:
    """One start. Only the first word counts; twistd shows the first 98 bytes of a reason, our own command all.

    @param pipe: where the launching process reads; None when there is none.
    """

    def __init__(self, pipe: int | None = None) -> None:
        self._pipe = pipe

    def good(self) -> None:
        """We serve."""
        self._say(b"0")

    def bad(self, report: str) -> None:
        """We do not, for that reason."""
        if self._pipe is not None:
            log.error("{report}", report=report)
            self._say(b"1 " + report.encode("utf-8", "replace")[: select.PIPE_BUF - 2])
        elif sys.__stderr__ is not None:
            sys.__stderr__.write(report + "\n")
            sys.__stderr__.flush()

    def over(self, program: str) -> None:
        """We end; if nothing was said until now that is the word, as nobody else would wake the launching process."""
        self._say(f"1 {program} was told to end before it served".encode())

    def _say(self, word: bytes) -> None:
        pipe, self._pipe = self._pipe, None
        if pipe is not None:
            with contextlib.suppress(OSError):
                os.write(pipe, word)
            os.close(pipe)


def close_other_end(pipe: int) -> None:
    """Close what else we have of a pipe, so that its end is heard of: twistd's launching process keeps what its child writes to."""
    name = Path(f"/proc/self/fd/{pipe}").readlink()
    for entry in list(Path("/proc/self/fd").iterdir()):
        with contextlib.suppress(OSError):
            if int(entry.name) != pipe and entry.readlink() == name:
                os.close(int(entry.name))
