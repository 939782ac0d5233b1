# SPDX-License-Identifier: Apache-2.0
"""What an operator may say about limits: frozen values, made by g3.config.values. Sizes are bytes, times seconds."""

from __future__ import annotations

from dataclasses import dataclass

#: A slice of time is C{2 ** shift} milliseconds; 12 is about four seconds.
LARGEST_SHIFT = 12
DEFAULT_SHIFT = 10


@dataclass(frozen=True, slots=True, kw_only=True)
class StreamSpeed:
    """Bytes one stream may carry in each slice of time; nothing is limited while C{shift} is 0.

    With a shift, a limit of 0 (which no configuration can give) means to wait forever.
    """

    shift: int = 0
    upload: int = 0
    download: int = 0

    @property
    def slice(self) -> float:
        """Seconds."""
        return (1 << self.shift) / 1000

    def smaller(self, other: StreamSpeed) -> StreamSpeed:
        """The lower of both limits, counted in slices of this one where it is a limit at all."""
        if not (self.shift and other.shift):
            return self if self.shift else other
        return StreamSpeed(
            shift=self.shift,
            upload=_smaller(self.upload, _rescale(other.upload, self.shift - other.shift)),
            download=_smaller(self.download, _rescale(other.download, self.shift - other.shift)),
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class DatagramSpeed:
    """Bytes and packets one UDP session may carry in each slice of time; a number that is 0 is no limit, nor is any with C{shift} 0."""

    shift: int = 0
    upload_packets: int = 0
    download_packets: int = 0
    upload_bytes: int = 0
    download_bytes: int = 0

    @property
    def slice(self) -> float:
        """Seconds."""
        return (1 << self.shift) / 1000

    def smaller(self, other: DatagramSpeed) -> DatagramSpeed:
        """The lower of each, counted in slices of this one where it is a limit at all."""
        if not (self.shift and other.shift):
            return self if self.shift else other
        by = self.shift - other.shift
        return DatagramSpeed(
            shift=self.shift,
            upload_packets=_smaller(self.upload_packets, _rescale(other.upload_packets, by)),
            download_packets=_smaller(self.download_packets, _rescale(other.download_packets, by)),
            upload_bytes=_smaller(self.upload_bytes, _rescale(other.upload_bytes, by)),
            download_bytes=_smaller(self.download_bytes, _rescale(other.download_bytes, by)),
        )


def _rescale(number: int, by: int) -> int:
    """A number per slice as one per slice C{2 ** by} times as long; never rounded to 0, which means something else."""
    return max(number << by if by >= 0 else number >> -by, 1 if number else 0)


def _smaller(one: int, other: int) -> int:
    return min(one, other) if one and other else one or other


@dataclass(frozen=True, slots=True, kw_only=True)
class GlobalStreamSpeed:
    """A bucket shared by many streams: C{replenish_bytes} more every C{replenish_interval}, holding C{max_burst} at most."""

    replenish_bytes: int
    max_burst: int
    replenish_interval: float = 1.0


@dataclass(frozen=True, slots=True, kw_only=True)
class GlobalDatagramSpeed:
    """Two buckets shared by many UDP sessions, one of bytes, one of packets; a replenishment of 0 means that one is no limit."""

    replenish_bytes: int = 0
    replenish_packets: int = 0
    max_burst_bytes: int = 0
    max_burst_packets: int = 0
    replenish_interval: float = 1.0


@dataclass(frozen=True, slots=True, kw_only=True)
class RateQuota:
    """How often something may happen: once every C{replenish_interval} in the long run, C{max_burst} times at once."""

    replenish_interval: float
    max_burst: int = 1
