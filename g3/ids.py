# SPDX-License-Identifier: Apache-2.0
"""Ids of tasks and connections: UUIDs of version 1 (RFC 9562 section 5.1), cheap to make.

C{uuid.uuid1} asks the system's library, which locks a file for each id: 7 microseconds. Here the node is 48 random bits, marked as no
hardware address (section 6.10), and each process has its own, also after a fork, so that ids of several never meet.
"""

from __future__ import annotations

import os
import time
from secrets import randbits
from uuid import UUID

#: 100 ns steps from the first day of the Gregorian calendar to the epoch of Unix.
_GREGORIAN = 0x01B21DD213814000
_VERSION_1 = 1 << 76
_VARIANT = 1 << 63
_NO_HARDWARE = 1 << 40


class _Process:
    """What the ids of this process share, and the time of the last one."""

    rest = 0
    last = 0


def _begin() -> None:
    _Process.rest = _VARIANT | randbits(14) << 48 | randbits(48) | _NO_HARDWARE


_begin()
os.register_at_fork(after_in_child=_begin)


def new_id() -> UUID:
    """An id that no other task has, in this process or another. Its time is the wall clock's, and moves on from id to id."""
    now = time.time_ns() // 100 + _GREGORIAN
    if now <= _Process.last:
        now = _Process.last + 1
    _Process.last = now
    return UUID(int=(now & 0xFFFFFFFF) << 96 | (now >> 32 & 0xFFFF) << 80 | _VERSION_1 | (now >> 48 & 0x0FFF) << 64 | _Process.rest)
