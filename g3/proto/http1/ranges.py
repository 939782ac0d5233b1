# SPDX-License-Identifier: Apache-2.0
"""Which bytes a Range field asks for (RFC 9110 section 14)."""

from __future__ import annotations

import re
from typing import Final

_ONE: Final = re.compile(rb"bytes[ \t]*=[ \t]*(?:([0-9]{1,18})[ \t]*-[ \t]*([0-9]{1,18})?|-[ \t]*([0-9]{1,18}))[ \t]*", re.IGNORECASE)


class UnsatisfiableRange(ValueError):
    """None of these bytes is there: 416."""


def byte_range(value: bytes, size: int) -> tuple[int, int] | None:
    """First and last byte asked for of C{size}, both included; None for everything: another unit, several ranges, or no sense in it.

    @raise UnsatisfiableRange: it begins behind the end, or ends before it begins.
    """
    found = _ONE.fullmatch(value)
    if found is None:
        return None
    if found[3] is not None:
        count = min(int(found[3]), size)
        first, last = size - count, size - 1
    else:
        first, last = int(found[1]), size - 1 if found[2] is None else min(int(found[2]), size - 1)
        if found[2] is not None and int(found[2]) < first:
            raise UnsatisfiableRange
    if first > last:
        raise UnsatisfiableRange
    return first, last
