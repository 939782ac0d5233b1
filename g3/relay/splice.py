# SPDX-License-Identifier: Apache-2.0
"""Kernel pipes for splicing, shared by all relays of a process: borrowed while data is in flight, never held by an idle one."""

from __future__ import annotations

import fcntl
import os

#: Pipes of one process at most: past a number of pages per user the kernel hands out pipes of two pages.
MAX_PIPES = 512
#: The first pipes are made larger, since nearly all traffic goes through the few that come back at once: half the system calls for each byte.
LARGE_PIPES = 16
LARGE = 1 << 20
#: Empty pipes kept open for the next borrower.
KEEP_FREE = 64


class PipePool:
    """At most C{limit} pipes, the C{large} first of them of L{LARGE} bytes where the system lets us; a borrower that gets none copies instead.

    Kernel memory: C{large} MiB and 64 KiB for each of the others, only while it is full of bytes that wait for a slow reader.
    """

    __slots__ = ("_free", "_keep", "_large", "large", "limit", "used")

    def __init__(self, limit: int = MAX_PIPES, keep: int = KEEP_FREE, large: int = LARGE_PIPES) -> None:
        self.limit = limit
        self.large = large
        self._keep = keep
        #: Pipes open now, free ones included.
        self.used = 0
        self._free: list[tuple[int, int]] = []
        #: Read ends of the large ones.
        self._large: set[int] = set()

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
        if len(self._large) < self.large:
            self._enlarge(pipe)
        return pipe

    def _enlarge(self, pipe: tuple[int, int]) -> None:
        try:
            fcntl.fcntl(pipe[1], fcntl.F_SETPIPE_SZ, LARGE)
        except OSError:  # past the limit of this user: no use to ask again
            self.large = 0
        else:
            self._large.add(pipe[0])

    def give_back(self, pipe: tuple[int, int]) -> None:
        """Take back a pipe with nothing in it."""
        if pipe[0] in self._large:
            self._free.append(pipe)  # on top: the next to be used
        elif len(self._free) < self._keep:
            self._free.insert(0, pipe)
        else:
            self.discard(pipe)

    def discard(self, pipe: tuple[int, int]) -> None:
        """Close a pipe that may still hold bytes nobody wants."""
        self.used -= 1
        self._large.discard(pipe[0])
        os.close(pipe[0])
        os.close(pipe[1])

    def close(self) -> None:
        """Close the free ones."""
        while self._free:
            self.discard(self._free.pop())


#: What relays use unless told otherwise. Pipes are made when first needed.
POOL = PipePool()
