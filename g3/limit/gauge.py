# SPDX-License-Identifier: Apache-2.0
"""How many at once: a count of what is alive, and the permits it may not pass."""

from __future__ import annotations


class Gauge:
    """C{acquire} before, C{release} after, exactly once each. C{permits} 0 is no limit; it may change at any time."""

    __slots__ = ("alive", "permits")

    def __init__(self, permits: int = 0) -> None:
        self.permits = permits
        self.alive = 0

    def acquire(self) -> bool:
        """Count one more, unless that were too many."""
        if 0 < self.permits <= self.alive:
            return False
        self.alive += 1
        return True

    def release(self) -> None:
        """Count one less.

        @raise RuntimeError: nothing was acquired.
        """
        if not self.alive:
            raise RuntimeError("released what was not acquired")
        self.alive -= 1

    @property
    def available(self) -> int | None:
        """Permits left, None without a limit. 0 also where a reload left fewer permits than are alive."""
        return max(0, self.permits - self.alive) if self.permits else None
