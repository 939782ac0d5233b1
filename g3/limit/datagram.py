# SPDX-License-Identifier: Apache-2.0
"""Speed limits of datagrams: bytes and packets in fixed windows, for one direction of one socket."""

from __future__ import annotations

import math

_MAX_SHIFT = 12


class DatagramLimiter:
    """At most C{packets} datagrams and C{size} bytes in each window of 2^C{shift} milliseconds; 0 is no limit (upstream:
    configuration/values/speed_limit). A datagram that begins within the limit passes whole; what it had too much the next windows have less.
    """

    __slots__ = ("_bytes_left", "_packets_left", "_start", "packets", "size", "window")

    def __init__(self, shift: int, packets: int, size: int) -> None:
        """@param shift: 0 to 12."""
        if not 0 <= shift <= _MAX_SHIFT:
            raise ValueError(f"shift {shift} is not within 0 to {_MAX_SHIFT}")
        self.packets = packets
        self.size = size
        #: Seconds.
        self.window = (1 << shift) / 1000
        self._start = -math.inf
        self._packets_left = packets
        self._bytes_left = size

    def spend(self, now: float, size: int) -> float:
        """A datagram of C{size} bytes passes: seconds until the next one may, 0 for at once."""
        passed = now - self._start
        if passed >= self.window:
            windows = 1 if self._start == -math.inf else int(passed / self.window)
            self._start = now if self._start == -math.inf else now - passed % self.window
            self._packets_left = self.packets
            self._bytes_left = min(self._bytes_left + windows * self.size, self.size)
        self._packets_left -= 1
        self._bytes_left -= size
        behind = 0
        if self.packets and self._packets_left <= 0:
            behind = 1
        if self.size and self._bytes_left <= 0:
            behind = max(behind, -self._bytes_left // self.size + 1)
        return max(self._start + behind * self.window - now, 0.001) if behind else 0.0


def datagram_limiters(shift: int, packets: int, size: int) -> tuple[DatagramLimiter, ...]:
    """What a datagram socket takes; empty where nothing is limited."""
    return (DatagramLimiter(shift, packets, size),) if shift and (packets or size) else ()
