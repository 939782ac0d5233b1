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


@dataclass(frozen=True, slots=True, kw_only=True)
class DatagramSpeed:
    """Bytes and packets one UDP session may carry in each slice of time; a number that is 0 is no limit, nor is any with C{shift} 0."""

    shift: int = 0
    upload_packets: int = 0
    download_packets: int = 0
    upload_bytes: int = 0
    download_bytes: int = 0


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
