# SPDX-License-Identifier: Apache-2.0
"""How often something may happen: a token bucket that keeps one number (the generic cell rate algorithm, ITU-T I.371)."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from g3.limit.options import RateQuota

#: Less than any real interval: what adding up floating point seconds may lose.
_ROUNDING = 1e-7


class RateLimiter:
    """Admits C{quota.max_burst} at once and then one for every C{quota.replenish_interval}. Times are seconds of one monotonic clock."""

    __slots__ = ("_burst", "_interval", "_next", "quota")

    def __init__(self, quota: RateQuota) -> None:
        self._next = float("-inf")
        self.reload(quota)

    def reload(self, quota: RateQuota) -> None:
        """Go on under another quota; what was used stays used."""
        self.quota = quota
        self._interval = quota.replenish_interval
        self._burst = (quota.max_burst - 1) * quota.replenish_interval

    def admit(self, now: float) -> bool:
        """Whether it may happen at C{now}; if so it counts."""
        if now - self._next + self._burst < -_ROUNDING:
            return False
        self._next = max(self._next, now) + self._interval
        return True

    def delay(self, now: float) -> float:
        """Seconds until the next would be admitted; 0 if it would be at once."""
        return max(0.0, self._next - self._burst - now)
