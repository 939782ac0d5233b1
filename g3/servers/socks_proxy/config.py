# SPDX-License-Identifier: Apache-2.0
"""The keys of a socks_proxy."""

from __future__ import annotations

from ipaddress import IPv4Address, IPv6Address
from typing import TYPE_CHECKING, Any, ClassVar

from g3.auth.name_params import UsernameParams
from g3.config.schema import Nested, config_class, key
from g3.config.value import Value
from g3.config.values.basic import Bool, FrozenMap, Int, Map, OneOrMany
from g3.config.values.duration import Duration
from g3.config.values.limit import DatagramSpeedValue
from g3.config.values.net import IPValue, PortRangeValue, SocketBufferValue
from g3.config.values.size import Size
from g3.config.values.udp import UDPMiscValue
from g3.limit.options import DatagramSpeed
from g3.net.options import DatagramRelay, PortRange, SocketBuffer, UDPMisc
from g3.servers.config import KIB, AuditKeys, DestinationKeys, TaskServerConfig

if TYPE_CHECKING:
    from g3.config.document import Node
    from g3.config.schema import Places
    from g3.config.value import ParseContext
    from g3.task import IPAddress

#: Bytes of a datagram's payload and header, and datagrams of one batch: what is said beyond is taken as the bound.
PACKET_MIN, PACKET_MAX = 512, 64 * KIB
BATCH_MAX = 1024
YIELD_MIN = 256 * KIB

_ANY: dict[int, IPAddress] = {4: IPv4Address(0), 6: IPv6Address(0)}


class EchoIPValue(Value[FrozenMap["IPAddress", "IPAddress"] | None]):
    """C{true}, C{false}, or a map of local addresses to the addresses that clients are told."""

    type_name = "map of IP address to IP address"
    doc = "A map of local addresses to those that clients are told; true is an empty map, false is none."
    _map: Map[IPAddress, IPAddress] = Map(IPValue(), IPValue())
    _bool = Bool()

    def parse(self, node: Node, context: ParseContext) -> FrozenMap[IPAddress, IPAddress] | None:
        if node.kind == "map":
            return self._map.parse(node, context)
        return FrozenMap() if self._bool.parse(node, context) else None

    def json_schema(self) -> dict[str, Any]:
        return {"anyOf": [self._map.json_schema(), self._bool.json_schema()]}

    def dump(self, value: FrozenMap[IPAddress, IPAddress] | None) -> Any:
        return False if value is None else self._map.dump(value)


@config_class
class UDPRelayKeys:
    """How datagrams are relayed between clients and upstreams."""

    udp_sock_speed_limit: DatagramSpeed = key(DatagramSpeedValue(), default=DatagramSpeed(), doc="Speed of each client's UDP socket.")
    udp_relay_speed_limit: DatagramSpeed | None = key(
        DatagramSpeedValue(), default=None, aliases=("udp_relay_limit", "relay_limit"), deprecated_for="udp_sock_speed_limit"
    )
    udp_relay_packet_size: int = key(Size(), default=4 * KIB, unit="bytes", doc="Longest datagram, 512 bytes to 64 KiB; longer ones are dropped.")
    udp_relay_yield_size: int = key(
        Size(), default=1024 * KIB, unit="bytes", doc="Bytes relayed before other connections get their turn; at least 256 KiB."
    )
    udp_relay_batch_size: int = key(Int(1, 1 << 20), default=8, doc="Datagrams received before other connections get their turn.")
    udp_misc_opts: UDPMisc = key(UDPMiscValue(), default=UDPMisc(), doc="Socket options of clients' UDP sockets.")

    @property
    def packet_size(self) -> int:
        """C{udp_relay_packet_size} within its bounds."""
        return min(max(self.udp_relay_packet_size, PACKET_MIN), PACKET_MAX)

    @property
    def batch_size(self) -> int:
        """C{udp_relay_batch_size} within its bounds, and so many datagrams that they do not pass C{udp_relay_yield_size} by much."""
        yields = max(self.udp_relay_yield_size, YIELD_MIN)
        return max(1, min(self.udp_relay_batch_size, BATCH_MAX, -(-yields // self.packet_size)))

    def check_udp(self, at: Places) -> None:
        """Warn of what is taken as something else."""
        if self.packet_size != self.udp_relay_packet_size:
            at.warn("udp_relay_packet_size", f"is taken as {self.packet_size} bytes: it can be from 512 bytes to 64 KiB")


@config_class
class SocksProxyConfig(TaskServerConfig, AuditKeys, DestinationKeys, UDPRelayKeys):
    """A proxy for SOCKS clients: versions 4, 4a and 5 on one port, CONNECT and UDP ASSOCIATE.

    A UDP session carries one target, that of its first datagram; with use_udp_associate it carries any number.
    """

    type_word: ClassVar[str] = "socks_proxy"

    use_udp_associate: bool = key(
        Bool(), default=False, aliases=("enable_udp_associate", "udp_associate_enabled"), doc="Let a UDP session have many targets."
    )
    negotiation_timeout: float = key(Duration(), default=4.0, unit="seconds", doc="From accept to the end of the request.")
    udp_client_initial_timeout: float = key(Duration(), default=30.0, unit="seconds", doc="From the reply to the first datagram of a session.")
    udp_bind_ipv4: tuple[IPAddress, ...] = key(
        OneOrMany(IPValue(4)), default=(), doc="Local addresses for IPv4 clients' UDP sockets, one picked at random; else that of the TCP connection."
    )
    udp_bind_ipv6: tuple[IPAddress, ...] = key(
        OneOrMany(IPValue(6)), default=(), doc="The same for IPv6. With either the UDP socket may be of another family than the TCP connection."
    )
    udp_bind_port_range: PortRange | None = key(PortRangeValue(), default=None, doc="Ports for clients' UDP sockets; else any.")
    udp_socket_buffer: SocketBuffer = key(SocketBufferValue(), default=SocketBuffer(), doc="Kernel buffers of UDP sockets, on both sides.")
    transmute_udp_echo_ip: FrozenMap[IPAddress, IPAddress] | None = key(
        EchoIPValue(), default=None, doc="Addresses to tell clients in place of local ones; one that is not named is told as unspecified."
    )
    auto_reply_local_ip_map: FrozenMap[IPAddress, IPAddress] | None = key(EchoIPValue(), default=None, deprecated_for="transmute_udp_echo_ip")
    username_params: UsernameParams | None = key(
        Nested(UsernameParams),
        default=None,
        aliases=("username_params_to_escaper_addr",),
        doc="Parameters after a user's name that choose the next proxy.",
    )

    @property
    def datagram_relay(self) -> DatagramRelay:
        """How datagrams are relayed, for the escaper's sockets too."""
        return DatagramRelay(packet_size=self.packet_size, batch_size=self.batch_size, socket_buffer=self.udp_socket_buffer)

    def check(self, at: Places) -> None:
        super().check(at)
        self.check_udp(at)
        if self.username_params is not None and self.user_group is None:
            at.error("username_params", "username_params needs a user_group")

    def echo_ip(self, ip: IPAddress) -> IPAddress:
        """The address that a client is told for the local address C{ip}."""
        told = self.transmute_udp_echo_ip
        return ip if told is None else told.get(ip, _ANY[ip.version])
