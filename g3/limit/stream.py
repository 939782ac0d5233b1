# SPDX-License-Identifier: Apache-2.0
"""Speed limits of byte streams: a fixed window for one connection, a token bucket for all that share it.

Both answer the same three questions, with the time passed in: how many bytes may pass now, so many have passed, how long to wait.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from g3.limit.options import GlobalStreamSpeed

#: Seconds a stream with nothing allowed for ever looks again.
FOREVER = 3600.0
_MAX_SHIFT = 12


class StreamLimiter:
    """At most C{size} bytes in each window of 2^C{shift} milliseconds, of one direction of one connection.

    A size of 0 lets nothing pass, ever (upstream: configuration/values/speed_limit). Windows start when the first byte is asked for.
    """

    __slots__ = ("_left", "_start", "size", "window")

    def __init__(self, shift: int, size: int) -> None:
        """@param shift: 0 to 12."""
        if not 0 <= shift <= _MAX_SHIFT:
            raise ValueError(f"shift {shift} is not within 0 to {_MAX_SHIFT}")
        self.size = size
        #: Seconds.
        self.window = (1 << shift) / 1000
        self._start = -math.inf
        self._left = size

    def allowance(self, now: float) -> int:
        """Bytes that may pass now; 0 = wait."""
        if now - self._start >= self.window:
            # aligned to the windows before, so that an idle moment gives no second start
            self._start = now if self._start == -math.inf else now - (now - self._start) % self.window
            self._left = self.size
        return self._left if self._left > 0 else 0

    def spend(self, n: int) -> None:
        """C{n} bytes have passed; no more than C{allowance} said."""
        self._left -= n

    def delay(self, now: float) -> float:
        """Seconds until C{allowance} may be more than 0."""
        if self.size <= 0:
            return FOREVER
        return 0.0 if self._left > 0 else max(self._start + self.window - now, 0.001)


def stream_limiters(shift: int, size: int, *shared: GlobalStreamLimiter) -> tuple[StreamLimiter | GlobalStreamLimiter, ...]:
    """What C{set_read_limit} and C{set_write_limit} of a stream take; C{shift} 0 is no limit of its own."""
    return (StreamLimiter(shift, size), *shared) if shift else shared


class GlobalStreamLimiter:
    """A token bucket shared by many streams: C{replenish_bytes} more each C{replenish_interval} seconds, C{max_burst} at most (upstream:
    configuration/values/rate_limit). It starts with one replenishment."""

    __slots__ = ("_last", "_tokens", "options")

    def __init__(self, options: GlobalStreamSpeed, now: float) -> None:
        self.options = options
        self._tokens = min(options.replenish_bytes, options.max_burst)
        self._last = now

    def update(self, options: GlobalStreamSpeed) -> None:
        """Take new options; the tokens there are stay."""
        self.options = options
        self._tokens = min(self._tokens, options.max_burst)

    def allowance(self, now: float) -> int:
        """Bytes that may pass now; 0 = wait."""
        options = self.options
        elapsed = now - self._last
        if elapsed >= options.replenish_interval:
            times = int(elapsed / options.replenish_interval)
            self._last += times * options.replenish_interval
            self._tokens = min(self._tokens + times * options.replenish_bytes, options.max_burst)
        return max(self._tokens, 0)

    def spend(self, n: int) -> None:
        """C{n} bytes have passed."""
        self._tokens -= n

    def delay(self, now: float) -> float:
        """Seconds until the next replenishment, 0 when there are tokens."""
        if self._tokens > 0:
            return 0.0
        if self.options.replenish_bytes <= 0 or self.options.max_burst <= 0:
            return FOREVER
        missing = -self._tokens // self.options.replenish_bytes
        return max(self._last + (missing + 1) * self.options.replenish_interval - now, 0.001)
