# SPDX-License-Identifier: Apache-2.0
"""Kernel pipes for splicing, shared by all relays of a process: borrowed while data is in flight, never held by an idle one."""

from __future__ import annotations

import os

#: Pipes of one process at most: past a number of pages per user the kernel hands out pipes of two pages.
MAX_PIPES = 512
#: Empty pipes kept open for the next borrower.
KEEP_FREE = 64


class PipePool:
    """At most C{limit} pipes; a borrower that gets none copies instead."""

    __slots__ = ("_free", "_keep", "limit", "used")

    def __init__(self, limit: int = MAX_PIPES, keep: int = KEEP_FREE) -> None:
        self.limit = limit
        self._keep = keep
        #: Pipes open now, free ones included.
        self.used = 0
        self._free: list[tuple[int, int]] = []

    def borrow(self) -> tuple[int, int] | None:
        """An empty non-blocking pipe (read end, write end), or None when there is none to be had."""
        if self._free:
            return self._free.pop()
        if self.used >= self.limit:
            return None
        try:
            pipe = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        except OSError:  # out of descriptors: splicing is a luxury
            return None
        self.used += 1
        return pipe

    def give_back(self, pipe: tuple[int, int]) -> None:
        """Take back a pipe with nothing in it."""
        if len(self._free) < self._keep:
            self._free.append(pipe)
        else:
            self.discard(pipe)

    def discard(self, pipe: tuple[int, int]) -> None:
        """Close a pipe that may still hold bytes nobody wants."""
        self.used -= 1
        os.close(pipe[0])
        os.close(pipe[1])

    def close(self) -> None:
        """Close the free ones."""
        while self._free:
            self.discard(self._free.pop())


#: What relays use unless told otherwise. Pipes are made when first needed.
POOL = PipePool()
