# SPDX-License-Identifier: Apache-2.0
"""The C{stat} section: where metrics go (upstream: configuration/stat)."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from g3.config.main import Section
from g3.config.schema import config_class, key
from g3.config.targets import AnyTarget, Target, UDPTarget, UnixTarget, last_of
from g3.config.values.basic import NodeName
from g3.config.values.duration import Duration
from g3.config.values.options import Options
from g3.config.values.size import Size
from g3.metrics.options import StatsdOptions
from g3.task import parse_ip

if TYPE_CHECKING:
    from g3.config.document import Node
    from g3.config.schema import Key
    from g3.config.value import ParseContext

_TARGETS = ("target", "target_udp", "target_unix")


@config_class
class StatKeys:
    """Metrics are sent to a statsd server. Without this section there are none."""

    target: Target | None = key(AnyTarget(), default=None, aliases=("backend",), doc="The statsd server; UDP 127.0.0.1:8125 when none is given.")
    target_udp: Target | None = key(UDPTarget(), default=None, aliases=("backend_udp",), doc="The same, for a UDP server.")
    target_unix: Target | None = key(UnixTarget(), default=None, aliases=("backend_unix",), doc="The same, for a unix datagram socket.")
    prefix: str | None = key(NodeName(), default=None, doc="What metric names start with; the program's name when not given.")
    cache_size: int = key(Size(1), default=256 * 1024, unit="bytes", doc="How much is made ready before it is sent.")
    max_segment_size: int | None = key(
        Size(1, 65000), default=None, unit="bytes", doc="The largest datagram; 1400 for UDP and 4096 for a unix socket when not given."
    )
    emit_interval: float = key(Duration(0.001), default=0.2, unit="seconds", doc="The time between two sendings.")
    emit_duration: float | None = key(Duration(0.001), deprecated_for="emit_interval")


class StatSection(Options[StatsdOptions]):
    """A map of where and how."""

    type_name = "stat section"
    keys = StatKeys

    def __init__(self, prefix: str = "g3proxy") -> None:
        self.prefix = prefix

    def build(self, given: StatKeys, node: Node, context: ParseContext) -> StatsdOptions:
        target: Target = last_of(given, node, context, _TARGETS, "targets") or Target(address=StatsdOptions().udp)
        return StatsdOptions(
            udp=target.address or StatsdOptions().udp,
            bind_ip="" if target.bind_ip is None else str(target.bind_ip),
            unix="" if target.path is None else str(target.path),
            prefix=self.prefix if given.prefix is None else given.prefix,
            cache_size=given.cache_size,
            max_segment_size=given.max_segment_size,
            emit_interval=given.emit_interval,
        )

    def key_value(self, value: StatsdOptions, key: Key) -> Any:
        if key.name == "target":
            return Target(path=Path(value.unix)) if value.unix else Target(address=value.udp, bind_ip=parse_ip(value.bind_ip))
        return None if key.name.startswith("target_") else getattr(value, key.name)


def stat_section(program: str = "g3proxy") -> Section:
    """The section of a daemon's main configuration."""
    return Section(StatSection(program), None, "Where metrics go.")
