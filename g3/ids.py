# SPDX-License-Identifier: Apache-2.0
"""Ids of tasks and connections: UUIDs of version 1 (RFC 9562 section 5.1) as 32 hexadecimal digits, cheap to make.

C{uuid.uuid1} asks the system's library, which locks a file for each id: 7 microseconds; a C{UUID} object and its text take 3 more, and all but
eight digits change once in seven minutes. Here the node is 48 random bits, marked as no hardware address (section 6.10), and each process has
its own, also after a fork, so that ids of several never meet.
"""

from __future__ import annotations

import os
import time
from secrets import randbits

#: 100 ns steps from the first day of the Gregorian calendar to the epoch of Unix.
_GREGORIAN = 0x01B21DD213814000
_VARIANT = 1 << 63
_NO_HARDWARE = 1 << 40


class _Process:
    """What the ids of this process share, and the time of the last one, with the digits that follow those of its lower half."""

    __slots__ = ("digits", "last", "node", "upper")

    def __init__(self) -> None:
        self.last = 0
        self.begin()

    def begin(self) -> None:
        """Be another node."""
        self.node = f"{_VARIANT | randbits(14) << 48 | randbits(48) | _NO_HARDWARE:016x}"
        self.upper = -1
        self.digits = ""


_process = _Process()
os.register_at_fork(after_in_child=_process.begin)


def new_id() -> str:
    """An id that no other task has, in this process or another. Its time is the wall clock's, and moves on from id to id."""
    now = time.time_ns() // 100 + _GREGORIAN
    process = _process
    if now <= process.last:
        now = process.last + 1
    process.last = now
    upper = now >> 32
    if upper != process.upper:
        process.upper = upper
        process.digits = f"{upper & 0xFFFF:04x}1{upper >> 16 & 0xFFF:03x}{process.node}"
    return (now & 0xFFFFFFFF).to_bytes(4, "big").hex() + process.digits
