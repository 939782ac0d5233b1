# SPDX-License-Identifier: Apache-2.0
"""How to listen, connect and set up TCP sockets. Upstream: configuration/values/network."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any, Generic

from g3.config.problems import quote
from g3.config.schema import Key, config_class, key
from g3.config.value import Value, ValueProblem, wrong_type
from g3.config.values.basic import U8, U16, U32, Ascii, Bool, Int, float_of, only_string
from g3.config.values.duration import Duration
from g3.config.values.net import Interface, SocketAddr
from g3.config.values.options import O, Options
from g3.net.options import DEFAULT_BACKLOG, LEAST_BACKLOG, HappyEyeballs, Keepalive, TCPConnect, TCPListen, TCPMisc

if TYPE_CHECKING:
    from g3.config.document import Node
    from g3.config.value import ParseContext
    from g3.task import SocketAddress

#: What the kernel takes (tcp(7)): seconds and number of keepalive probes, and bytes of a segment.
MOST_KEEPALIVE = 32767
MOST_PROBES = 127
LEAST_SEGMENT, MOST_SEGMENT = 88, 32767
#: More sockets than this for one listener help nobody.
MOST_INSTANCES = 1024

_CONNECT, _EYEBALLS, _KEEPALIVE = TCPConnect(), HappyEyeballs(), Keepalive()


@config_class
class KeepaliveKeys:
    """TCP keepalive (tcp(7)); times are rounded up to seconds."""

    enable: bool = key(Bool(), default=_KEEPALIVE.enable, doc="Whether to probe idle connections.")
    idle_time: float = key(Duration(0, MOST_KEEPALIVE), default=_KEEPALIVE.idle_time, doc="Idle before the first probe.", unit="seconds")
    probe_interval: float | None = key(Duration(0, MOST_KEEPALIVE), default=None, doc="Between probes.", unit="seconds")
    probe_count: int | None = key(Int(1, MOST_PROBES), default=None, doc="Unanswered probes that end the connection.")


class KeepaliveValue(Options[Keepalive]):
    """A bool, a duration (which enables it with that idle time), or a map."""

    type_name = "TCP keepalive"
    doc = "A bool, the idle time as a duration, or a map."
    keys, made, expected = KeepaliveKeys, Keepalive, "a bool, a duration or a map"
    _idle = Duration(0, MOST_KEEPALIVE)

    def short(self, node: Node, context: ParseContext) -> Keepalive:
        if isinstance(node.value, bool):
            return Keepalive(enable=node.value)
        return Keepalive(enable=True, idle_time=self._idle.parse(node, context))

    def short_schemas(self) -> list[dict[str, Any]]:
        return [{"type": "boolean"}, *self._idle.json_schema()["anyOf"]]


@config_class
class TCPConnectKeys:
    """How long to try to connect."""

    max_retry: int = key(Int(0, 1000), default=_CONNECT.max_retry, doc="More tries after the first, each to another address.")
    each_timeout: float = key(Duration(), default=_CONNECT.each_timeout, doc="Of each try; 0 is the default.", unit="seconds")


class TCPConnectValue(Options[TCPConnect]):
    """How long to try to connect."""

    type_name = "TCP connect"
    keys, made = TCPConnectKeys, TCPConnect

    def build(self, given: Any, node: Node, context: ParseContext) -> TCPConnect:
        return TCPConnect(max_retry=given.max_retry, each_timeout=given.each_timeout or _CONNECT.each_timeout)


@config_class
class HappyEyeballsKeys:
    """Timing of connection attempts over both address families (RFC 8305)."""

    resolution_delay: float = key(
        Duration(),
        default=_EYEBALLS.resolution_delay,
        aliases=("first_resolution_delay",),
        doc="Wait for the preferred family's answer after the other's came.",
        unit="seconds",
    )
    second_resolution_timeout: float = key(
        Duration(),
        default=_EYEBALLS.second_resolution_timeout,
        doc="Wait for the second answer once the addresses of the first failed.",
        unit="seconds",
    )
    first_address_family_count: int = key(
        Int(0, 1000), default=_EYEBALLS.first_address_family_count, doc="Addresses of the preferred family before they alternate."
    )
    connection_attempt_delay: float = key(
        Duration(), default=_EYEBALLS.connection_attempt_delay, doc="Between attempts; brought into 100ms to 2s.", unit="seconds"
    )


class HappyEyeballsValue(Options[HappyEyeballs]):
    """Timing of connection attempts over both address families."""

    type_name = "happy eyeballs"
    keys, made = HappyEyeballsKeys, HappyEyeballs

    def build(self, given: Any, node: Node, context: ParseContext) -> HappyEyeballs:
        return HappyEyeballs(
            resolution_delay=given.resolution_delay,
            second_resolution_timeout=given.second_resolution_timeout,
            first_address_family_count=given.first_address_family_count,
            connection_attempt_delay=min(max(given.connection_attempt_delay, 0.1), 2.0),
        )


class SegmentSize(Int):
    """Bytes of a segment; 0 leaves it to the kernel."""

    def __init__(self) -> None:
        super().__init__(0, MOST_SEGMENT)

    def parse(self, node: Node, context: ParseContext) -> int:
        size = super().parse(node, context)
        if 0 < size < LEAST_SEGMENT:
            raise ValueProblem(node, f"{size} is not from {LEAST_SEGMENT} to {MOST_SEGMENT}, or 0 for the kernel's choice")
        return size


@config_class
class IPMiscKeys:
    """Fields of the IP header and the firewall mark."""

    time_to_live: int | None = key(Int(1, U8), default=None, aliases=("ttl",), doc="Of IPv4 packets.")
    hop_limit: int | None = key(Int(0, U8), default=None, doc="Of IPv6 packets.")
    type_of_service: int | None = key(Int(0, U8), default=None, aliases=("tos",), doc="Of IPv4 packets.")
    traffic_class: int | None = key(Int(0, U8), default=None, doc="Of IPv6 packets.")
    netfilter_mark: int | None = key(Int(0, U32), default=None, aliases=("mark",), doc="For firewall and routing rules; needs CAP_NET_ADMIN.")


@config_class
class TCPMiscKeys(IPMiscKeys):
    """Options of TCP sockets."""

    no_delay: bool | None = key(Bool(), default=None, doc="Send small segments at once.")
    max_segment_size: int | None = key(SegmentSize(), default=None, aliases=("mss",), doc="Largest segment to announce.", unit="bytes")
    congestion_control: str | None = key(Ascii(min_length=1, max_length=15), default=None, doc="Name of the algorithm, such as bbr.")


class TCPMiscValue(Options[TCPMisc]):
    """Options of TCP sockets."""

    type_name = "TCP socket options"
    keys, made = TCPMiscKeys, TCPMisc


class Scale(Value[int]):
    """How many for each CPU: 1.5, C{"50%"} or C{"1/2"}, made into a whole number for the CPUs this process may use."""

    type_name = "scale"
    doc = 'A factor of the number of CPUs: 0.5, "50%" or "1/2".'

    def parse(self, node: Node, context: ParseContext) -> int:
        cpus = len(os.sched_getaffinity(0))
        if node.is_string and (text := only_string(node).strip()):
            return self._checked(node, _scaled(text, cpus))
        return self._checked(node, cpus * float_of(node, 'a number, "n%" or "n/d"'))

    def _checked(self, node: Node, number: float | None) -> int:
        if number is None:
            raise wrong_type(node, 'a number, "n%" or "n/d"')
        if not 0 <= number <= MOST_INSTANCES:
            raise ValueProblem(node, f"{quote(node.text)} of the CPUs is not from 0 to {MOST_INSTANCES}")
        return int(number + 0.5)

    def json_schema(self) -> dict[str, Any]:
        return {"type": ["number", "string"]}


def _scaled(text: str, cpus: int) -> float | None:
    numerator, slash, denominator = text.partition("/")
    try:
        if slash:
            above, below = int(numerator), int(denominator)
            return cpus * above // below if below > 0 and len(text) < 40 else None
        number = float(text.removesuffix("%"))
    except ValueError:
        return None
    return cpus * (number / 100 if text.endswith("%") else number)


@config_class
class ListenKeys:
    """Where to listen."""

    address: SocketAddress | None = key(SocketAddr(indirect=True), default=None, aliases=("addr",), doc="Address and port to bind.")
    interface: str | None = key(Interface(), default=None, doc="Only clients that come in through it.")
    ipv6_only: bool | None = key(Bool(), default=None, aliases=("ipv6only",), doc="Whether [::] leaves out IPv4 clients.")
    instance: int = key(Int(0, MOST_INSTANCES), default=1, aliases=("instance_count",), doc="Sockets upstream would open; one socket is shared here.")
    scale: int = key(Scale(), default=0, doc="The same for each CPU; the larger of both counts.")


@config_class
class TCPListenKeys(ListenKeys):
    """Where to accept TCP connections."""

    backlog: int = key(
        Int(0, U32), default=DEFAULT_BACKLOG, doc=f"Connections that may wait to be accepted; less than {LEAST_BACKLOG} is the default."
    )
    netfilter_mark: int | None = key(Int(0, U32), default=None, aliases=("fwmark", "mark"), doc="Firewall mark; needs CAP_NET_ADMIN.")
    max_segment_size: int | None = key(SegmentSize(), default=None, aliases=("mss",), doc="Largest segment to announce.", unit="bytes")
    follow_cpu_affinity: bool = key(Bool(), default=False, doc="Accepted for upstream's sake.")
    keepalive: Keepalive | None = key(KeepaliveValue(), default=None, doc="Of accepted connections.")


def _listen_address(node: Node, context: ParseContext) -> SocketAddress:
    """The address of a short form: a port for all addresses of both families, or an address.

    @raise ValueProblem: it is neither.
    """
    if isinstance(node.value, int) and not isinstance(node.value, bool):
        if not 0 <= node.value <= U16:
            raise ValueProblem(node, f"{node.value} is not a port (1 to {U16})")
        return with_port(node, ("::", node.value))
    if not node.is_string:
        raise wrong_type(node, "a port, a socket address or a map")
    return with_port(node, SocketAddr(indirect=True).parse(node, context))


def with_port(node: Node, address: SocketAddress | None) -> SocketAddress:
    """@raise ValueProblem: it has no port."""
    if address is None or address[1] == 0:
        raise ValueProblem(node, "no port to listen on is set")
    return address


class ListenValue(Options[O], Generic[O]):
    """A port (all addresses, IPv4 and IPv6), a socket address or a map."""

    doc = "A port for all addresses of both families, a socket address, or a map."

    def short(self, node: Node, context: ParseContext) -> O:
        made: O = self.made(address=_listen_address(node, context))
        return made

    def key_value(self, value: O, key: Key) -> Any:
        return None if key.name == "scale" else super().key_value(value, key)

    def short_schemas(self) -> list[dict[str, Any]]:
        return [{"type": "integer", "minimum": 1, "maximum": U16}, {"type": "string", "minLength": 1}]


class TCPListenValue(ListenValue[TCPListen]):
    """A port (all addresses, IPv4 and IPv6), a socket address or a map."""

    type_name = "TCP listen"
    keys, made = TCPListenKeys, TCPListen

    def build(self, given: Any, node: Node, context: ParseContext) -> TCPListen:
        return TCPListen(
            address=with_port(node, given.address),
            interface=given.interface,
            keepalive=given.keepalive,
            max_segment_size=given.max_segment_size,
            backlog=given.backlog if given.backlog >= LEAST_BACKLOG else DEFAULT_BACKLOG,
            netfilter_mark=given.netfilter_mark,
            ipv6_only=given.ipv6_only,
            instance=max(given.instance, given.scale, 1),
            follow_cpu_affinity=given.follow_cpu_affinity,
        )
