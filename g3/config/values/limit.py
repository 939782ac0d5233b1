# SPDX-License-Identifier: Apache-2.0
"""Limits of speed and rate. Upstream: configuration/values/rate_limit."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, ClassVar, Generic

from g3.config.problems import quote
from g3.config.schema import Key, Places, config_class, key
from g3.config.value import Value, ValueProblem, wrong_type
from g3.config.values.basic import U32, Int
from g3.config.values.duration import Duration
from g3.config.values.options import O, Options
from g3.config.values.size import Size
from g3.limit.options import DEFAULT_SHIFT, LARGEST_SHIFT, DatagramSpeed, GlobalDatagramSpeed, GlobalStreamSpeed, RateQuota, StreamSpeed

if TYPE_CHECKING:
    from g3.config.document import Node
    from g3.config.value import ParseContext

_RATE = re.compile(r"\+?([0-9]{1,10})\s*(?:/([smh]))?\Z", re.ASCII)
_PERIODS = {None: 1.0, "s": 1.0, "m": 60.0, "h": 3600.0}
#: The finest spacing upstream can count.
_NANOSECOND = 1e-9


@config_class
class StreamSpeedKeys:
    """Bytes a stream may carry in each slice of time. Without a shift nothing is limited."""

    shift: int = key(Int(0, 255), default=0, aliases=("shift_millis",), doc="A slice is 2^shift milliseconds, 0 to 12; 10 is about a second.")
    upload: int = key(Size(), default=0, aliases=("north", "upload_bytes", "north_bytes"), doc="From the client, in each slice.", unit="bytes")
    download: int = key(Size(), default=0, aliases=("south", "download_bytes", "south_bytes"), doc="To the client, in each slice.", unit="bytes")

    def check(self, at: Places) -> None:
        check_shift(self.shift, at)
        for name in ("upload", "download"):
            if self.shift and not getattr(self, name):
                at.error(name, f"{name} must not be 0 where there is a limit: nothing would ever pass")


def check_shift(shift: int, at: Places) -> None:
    """Report a shift that is too large."""
    if shift > LARGEST_SHIFT:
        at.error("shift", f"shift must be at most {LARGEST_SHIFT}, which is about four seconds")


class _Speed(Options[O], Generic[O]):
    """A size, or a map."""

    doc = "A size, the limit of each direction in 1024 milliseconds, or a map."
    expected = 'a size such as "10M" or a map'
    _size: ClassVar[Size] = Size()

    def short(self, node: Node, context: ParseContext) -> O:
        if node.kind != "scalar":
            raise wrong_type(node, self.expected)
        return self.of_size(self._size.parse(node, context), node)

    def of_size(self, size: int, node: Node) -> O:
        """What a size stands for. May raise as C{parse}."""
        raise NotImplementedError

    def short_schemas(self) -> list[dict[str, Any]]:
        return [self._size.json_schema()]


class StreamSpeedValue(_Speed[StreamSpeed]):
    """A size for both directions in 1024 milliseconds, or a map."""

    type_name = "TCP socket speed limit"
    keys, made = StreamSpeedKeys, StreamSpeed

    def of_size(self, size: int, node: Node) -> StreamSpeed:
        if not size:
            raise ValueProblem(node, "a speed limit of 0 would let nothing pass")
        return StreamSpeed(shift=DEFAULT_SHIFT, upload=size, download=size)


@config_class
class DatagramSpeedKeys:
    """Bytes and packets a UDP session may carry in each slice of time; 0 is no limit. Without a shift nothing is limited."""

    shift: int = key(Int(0, 255), default=0, aliases=("shift_millis",), doc="A slice is 2^shift milliseconds, 0 to 12; 10 is about a second.")
    upload_packets: int = key(Int(), default=0, aliases=("north_packets",), doc="From the client, in each slice.")
    download_packets: int = key(Int(), default=0, aliases=("south_packets",), doc="To the client, in each slice.")
    upload_bytes: int = key(Size(), default=0, aliases=("north_bytes",), doc="From the client, in each slice.", unit="bytes")
    download_bytes: int = key(Size(), default=0, aliases=("south_bytes",), doc="To the client, in each slice.", unit="bytes")

    def check(self, at: Places) -> None:
        check_shift(self.shift, at)


class DatagramSpeedValue(_Speed[DatagramSpeed]):
    """A size for both directions in 1024 milliseconds, or a map."""

    type_name = "UDP socket speed limit"
    keys, made = DatagramSpeedKeys, DatagramSpeed

    def of_size(self, size: int, node: Node) -> DatagramSpeed:
        return DatagramSpeed(shift=DEFAULT_SHIFT, upload_bytes=size, download_bytes=size)


class _GlobalSpeed(_Speed[O], Generic[O]):
    """A size per second, or a map."""

    doc = "A size per second, or a map."
    expected = 'a size per second such as "10M" or a map'
    _size = Size(1)


@config_class
class GlobalStreamSpeedKeys:
    """A bucket of bytes that many streams take from."""

    replenish_interval: float = key(Duration(_NANOSECOND), default=1.0, doc="Between replenishments.", unit="seconds")
    replenish_bytes: int = key(Size(1), doc="Added at each.", unit="bytes")
    max_burst_bytes: int = key(Size(), default=0, doc="What the bucket holds; at least replenish_bytes, which is the default.", unit="bytes")


class GlobalStreamSpeedValue(_GlobalSpeed[GlobalStreamSpeed]):
    """A size per second, or a map."""

    type_name = "global stream speed limit"
    keys, made = GlobalStreamSpeedKeys, GlobalStreamSpeed

    def of_size(self, size: int, node: Node) -> GlobalStreamSpeed:
        return GlobalStreamSpeed(replenish_bytes=size, max_burst=size)

    def build(self, given: Any, node: Node, context: ParseContext) -> GlobalStreamSpeed:
        return GlobalStreamSpeed(
            replenish_interval=given.replenish_interval,
            replenish_bytes=given.replenish_bytes,
            max_burst=max(given.max_burst_bytes, given.replenish_bytes),
        )

    def key_value(self, value: GlobalStreamSpeed, key: Key) -> Any:
        return value.max_burst if key.name == "max_burst_bytes" else super().key_value(value, key)


@config_class
class GlobalDatagramSpeedKeys:
    """Buckets of bytes and of packets that many UDP sessions take from; one that is not replenished is no limit."""

    replenish_interval: float = key(Duration(_NANOSECOND), default=1.0, doc="Between replenishments.", unit="seconds")
    replenish_bytes: int = key(Size(), default=0, doc="Added at each.", unit="bytes")
    replenish_packets: int = key(Size(), default=0, doc="Added at each.")
    max_burst_bytes: int = key(Size(), default=0, doc="What the bucket of bytes holds; at least replenish_bytes, which is the default.", unit="bytes")
    max_burst_packets: int = key(Size(), default=0, doc="What the bucket of packets holds; at least replenish_packets, which is the default.")

    def check(self, at: Places) -> None:
        if not (self.replenish_bytes or self.replenish_packets):
            at.error("replenish_bytes", "one of replenish_bytes and replenish_packets must be set")


class GlobalDatagramSpeedValue(_GlobalSpeed[GlobalDatagramSpeed]):
    """A size per second, or a map."""

    type_name = "global datagram speed limit"
    keys, made = GlobalDatagramSpeedKeys, GlobalDatagramSpeed

    def of_size(self, size: int, node: Node) -> GlobalDatagramSpeed:
        return GlobalDatagramSpeed(replenish_bytes=size, max_burst_bytes=size)

    def build(self, given: Any, node: Node, context: ParseContext) -> GlobalDatagramSpeed:
        return GlobalDatagramSpeed(
            replenish_interval=given.replenish_interval,
            replenish_bytes=given.replenish_bytes,
            replenish_packets=given.replenish_packets,
            max_burst_bytes=max(given.max_burst_bytes, given.replenish_bytes),
            max_burst_packets=max(given.max_burst_packets, given.replenish_packets),
        )


class Rate(Value[RateQuota]):
    """C{30}, C{"30/s"}, C{"600/m"}, C{"1000/h"}: so many at once, spread evenly over that time in the long run."""

    type_name = "rate"
    expected = 'a rate such as 30, "30/s", "600/m" or "1000/h"'

    def parse(self, node: Node, context: ParseContext) -> RateQuota:
        if isinstance(node.value, bool) or not isinstance(node.value, (int, str)):
            raise wrong_type(node, self.expected)
        match = _RATE.match(str(node.value).strip())
        if match is None:
            raise ValueProblem(node, f"{quote(node.text)} is not {self.expected}")
        count = int(match[1])
        if not 0 < count <= U32:
            raise ValueProblem(node, f"{count} is not from 1 to {U32}")
        interval = _PERIODS[match[2]] / count
        if interval < _NANOSECOND:
            raise ValueProblem(node, f"{quote(node.text)} is more than once in a nanosecond")
        return RateQuota(replenish_interval=interval, max_burst=count)

    def json_schema(self) -> dict[str, Any]:
        return {"anyOf": [{"type": "integer", "minimum": 1, "maximum": U32}, {"type": "string", "pattern": r"^\s*\+?[0-9]+\s*(/[smh])?\s*$"}]}


@config_class
class RateQuotaKeys:
    """How often something may happen. Of C{rate} and C{replenish_interval} one must be given; the later one counts."""

    rate: RateQuota | None = key(Rate(), default=None, doc="So many at once, and as many again over that time.")
    replenish_interval: float | None = key(Duration(_NANOSECOND), default=None, doc="One more is allowed after this time.", unit="seconds")
    max_burst: int | None = key(Int(1, U32), default=None, doc="At once; the default is the number of the rate, or 1.")

    def check(self, at: Places) -> None:
        if self.rate is None and self.replenish_interval is None:
            at.error("rate", "one of rate and replenish_interval must be set")


class RateQuotaValue(Options[RateQuota]):
    """A rate, or a map."""

    type_name = "rate limit"
    doc = '30, "30/s", "600/m", "1000/h", or a map.'
    keys, made = RateQuotaKeys, RateQuota
    _rate = Rate()

    def short(self, node: Node, context: ParseContext) -> RateQuota:
        return self._rate.parse(node, context)

    def build(self, given: Any, node: Node, context: ParseContext) -> RateQuota:
        last = [
            key.value.lower() for key, _ in node.items if key.is_string and key.value.lower().replace("-", "_") in ("rate", "replenish_interval")
        ][-1]
        quota = given.rate if last == "rate" else RateQuota(replenish_interval=given.replenish_interval)
        return quota if given.max_burst is None else RateQuota(replenish_interval=quota.replenish_interval, max_burst=given.max_burst)

    def key_value(self, value: RateQuota, key: Key) -> Any:
        return None if key.name == "rate" else super().key_value(value, key)

    def short_schemas(self) -> list[dict[str, Any]]:
        return [self._rate.json_schema()]
