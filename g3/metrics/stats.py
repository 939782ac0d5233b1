# SPDX-License-Identifier: Apache-2.0
"""What all statistics classes share: slotted ints, and a table that says which metric each int is."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from zope.interface import implementer

from g3.interfaces import IMetricSource
from g3.metrics.sample import COUNTER, GAUGE, Sample

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from g3.metrics.sample import Tags

TCP: Tags = (("transport", "tcp"),)
UDP: Tags = (("transport", "udp"),)

#: (attribute, metric name, tags beside the node's own)
Row = tuple[str, str, "Tags"]


@implementer(IMetricSource)
class Stats:
    """Ints of one node. Add to them directly; C{samples} is for exporters.

    A counter that never counted is not exported, a gauge in C{gauges} always, one in C{quiet_gauges} from its first non-zero value on.
    """

    __slots__ = ("_extra", "_gauged", "_rows", "tags")

    counters: ClassVar[tuple[Row, ...]] = ()
    gauges: ClassVar[tuple[Row, ...]] = ()
    quiet_gauges: ClassVar[tuple[Row, ...]] = ()

    def __init__(self, tags: Tags, extra: Mapping[str, str] | None = None) -> None:
        for attribute, _, _ in self.counters + self.gauges + self.quiet_gauges:
            setattr(self, attribute, 0)
        self.tags: Tags = tags
        self._gauged: set[str] = set()
        self.set_extra_tags(extra or {})

    def set_extra_tags(self, extra: Mapping[str, str]) -> None:
        """The node's C{extra_metrics_tags}; a changed set starts new series for what is counted from now on."""
        self._extra: Tags = tuple(sorted(extra.items()))
        own = self.tags + self._extra
        self._rows: dict[str, Tags] = {attribute + name: own + more for attribute, name, more in self.counters + self.gauges + self.quiet_gauges}

    @property
    def extra_tags(self) -> Tags:
        """The extra tags now in use."""
        return self._extra

    def state(self) -> Tags:
        """Tags that may change; see L{Sample}."""
        return ()

    def samples(self) -> Iterator[Sample]:
        """IMetricSource."""
        state, rows = self.state(), self._rows
        for attribute, name, _ in self.counters:
            value = getattr(self, attribute)
            if value:
                yield Sample(name, COUNTER, value, rows[attribute + name], state)
        for attribute, name, _ in self.gauges:
            yield Sample(name, GAUGE, getattr(self, attribute), rows[attribute + name], state)
        for attribute, name, _ in self.quiet_gauges:
            value = getattr(self, attribute)
            if value or attribute in self._gauged:
                self._gauged.add(attribute)
                yield Sample(name, GAUGE, value, rows[attribute + name], state)


class TrafficStats(Stats):
    """Those of a node that carries bytes and datagrams; C{traffic} makes their rows."""

    __slots__ = ("in_bytes", "out_bytes", "udp_in_bytes", "udp_in_packets", "udp_out_bytes", "udp_out_packets")

    in_bytes: int
    out_bytes: int
    udp_in_bytes: int
    udp_in_packets: int
    udp_out_bytes: int
    udp_out_packets: int


def traffic(kind: str) -> tuple[Row, ...]:
    """The counters of a L{TrafficStats}; C{kind} begins the names of its metrics."""
    return (
        ("in_bytes", f"{kind}.traffic.in.bytes", TCP),
        ("out_bytes", f"{kind}.traffic.out.bytes", TCP),
        ("udp_in_packets", f"{kind}.traffic.in.packets", UDP),
        ("udp_in_bytes", f"{kind}.traffic.in.bytes", UDP),
        ("udp_out_packets", f"{kind}.traffic.out.packets", UDP),
        ("udp_out_bytes", f"{kind}.traffic.out.bytes", UDP),
    )
