# SPDX-License-Identifier: Apache-2.0
"""Where a message body ends (RFC 9112 section 6.3), in one shape for every framing: C{feed} says how much of the data belongs to it."""

from __future__ import annotations


class LengthReader:
    """A body of C{left} more bytes."""

    __slots__ = ("done", "left")

    def __init__(self, length: int) -> None:
        self.left = length
        self.done = length == 0

    def feed(self, data: bytes) -> int:
        """How many of these bytes belong to the body."""
        return self.advance(len(data))

    def advance(self, size: int) -> int:
        """Count C{size} bytes that went by elsewhere. Returns how many of them belong to the body."""
        if size < self.left:
            self.left -= size
            return size
        used, self.left, self.done = self.left, 0, True
        return used


class UntilCloseReader:
    """A response body that the end of the connection ends."""

    __slots__ = ("done",)

    def __init__(self) -> None:
        self.done = False

    def feed(self, data: bytes) -> int:
        """All of them."""
        return len(data)
