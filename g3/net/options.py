# SPDX-License-Identifier: Apache-2.0
"""What an operator may say about sockets, connections and names: frozen values, made by g3.config.values, obeyed by g3.net.

Times are seconds, sizes bytes. A field that is None was not said and leaves the kernel's (or the caller's) own choice.
"""

from __future__ import annotations

from dataclasses import dataclass, field, fields, replace
from enum import Enum
from typing import TYPE_CHECKING, TypeVar

from g3.net.tls.options import ClientTLSOptions

if TYPE_CHECKING:
    from g3.task import SocketAddress, Upstream

N = TypeVar("N", int, float)
T = TypeVar("T")

#: What upstream listens with unless told otherwise, and the least it takes (less means the default).
DEFAULT_BACKLOG = 4096
LEAST_BACKLOG = 8


@dataclass(frozen=True, slots=True, kw_only=True)
class Keepalive:
    """TCP keepalive (tcp(7)). Said in short as a duration it is enabled with that idle time."""

    enable: bool = False
    idle_time: float = 60.0
    probe_interval: float | None = None
    probe_count: int | None = None

    def adjusted(self, other: Keepalive) -> Keepalive:
        """Enabled if either is, with the smaller of each number."""
        if not (self.enable or other.enable):
            return Keepalive()
        return Keepalive(
            enable=True,
            idle_time=min(self.idle_time, other.idle_time),
            probe_interval=_least(self.probe_interval, other.probe_interval),
            probe_count=_least(self.probe_count, other.probe_count),
        )


def _least(one: N | None, other: N | None) -> N | None:
    """The smaller one of those that were said."""
    if one is None or other is None:
        return other if one is None else one
    return min(one, other)


def _said(one: T | None, other: T | None) -> T | None:
    return one if other is None else other


@dataclass(frozen=True, slots=True, kw_only=True)
class SocketBuffer:
    """Kernel buffer sizes in bytes; the kernel doubles and caps them (socket(7))."""

    recv: int | None = None
    send: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class IPMisc:
    """What C{tcp_misc_opts} and C{udp_misc_opts} both say."""

    time_to_live: int | None = None
    hop_limit: int | None = None
    type_of_service: int | None = None
    traffic_class: int | None = None
    netfilter_mark: int | None = None

    def _adjusted(self, other: IPMisc) -> dict[str, int | None]:
        """Sizes and lifetimes can only shrink, the rest is the other's if it says so."""
        return {
            "time_to_live": _least(self.time_to_live, other.time_to_live),
            "hop_limit": _least(self.hop_limit, other.hop_limit),
            "type_of_service": _said(self.type_of_service, other.type_of_service),
            "traffic_class": _said(self.traffic_class, other.traffic_class),
            "netfilter_mark": _said(self.netfilter_mark, other.netfilter_mark),
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class TCPMisc(IPMisc):
    """C{tcp_misc_opts}."""

    no_delay: bool | None = None
    max_segment_size: int | None = None
    congestion_control: str | None = None
    #: Whether they say nothing but C{no_delay}.
    only_no_delay: bool = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        others = {item.name for item in fields(self)} - {"no_delay", "only_no_delay"}
        object.__setattr__(self, "only_no_delay", all(getattr(self, name) is None for name in others))

    def adjusted(self, other: TCPMisc) -> TCPMisc:
        """These with a user's options over them: sizes and lifetimes can only shrink, the rest is the other's if it says so."""
        return TCPMisc(
            no_delay=_either(self.no_delay, other.no_delay),
            max_segment_size=_least(self.max_segment_size, other.max_segment_size),
            congestion_control=_said(self.congestion_control, other.congestion_control),
            **self._adjusted(other),
        )


def _either(one: bool | None, other: bool | None) -> bool | None:
    return None if one is None and other is None else bool(one or other)


@dataclass(frozen=True, slots=True, kw_only=True)
class UDPMisc(IPMisc):
    """C{udp_misc_opts}."""

    def adjusted(self, other: UDPMisc) -> UDPMisc:
        """These with a user's options over them, as for L{TCPMisc.adjusted}."""
        return UDPMisc(**self._adjusted(other))


@dataclass(frozen=True, slots=True, kw_only=True)
class TCPListen:
    """Where to accept connections. An address C{::} without C{ipv6_only} takes IPv4 clients too.

    C{instance} is the larger one of what the keys C{instance} and C{scale} say.
    """

    address: SocketAddress = ("::", 0)
    interface: str | None = None
    keepalive: Keepalive | None = None
    max_segment_size: int | None = None
    backlog: int = DEFAULT_BACKLOG
    netfilter_mark: int | None = None
    ipv6_only: bool | None = None
    instance: int = 1
    follow_cpu_affinity: bool = False
    #: Take connections to any address that the system routes to this socket (IP_TRANSPARENT); some server types set it.
    transparent: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class UDPListen:
    """Where to receive datagrams."""

    address: SocketAddress = ("::", 0)
    interface: str | None = None
    ipv6_only: bool | None = None
    socket_buffer: SocketBuffer = field(default_factory=SocketBuffer)
    socket_misc_opts: UDPMisc = field(default_factory=UDPMisc)
    instance: int = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class DatagramRelay:
    """How datagrams are relayed: the longest one (bytes), how many before others get their turn, and the kernel buffers of each socket."""

    packet_size: int = 4096
    batch_size: int = 8
    socket_buffer: SocketBuffer = field(default_factory=SocketBuffer)


@dataclass(frozen=True, slots=True, kw_only=True)
class TCPConnect:
    """How long to try: C{max_retry} more tries after the first, each of C{each_timeout} seconds at most."""

    max_retry: int = 2
    each_timeout: float = 30.0

    @property
    def max_tries(self) -> int:
        return self.max_retry + 1

    def limited(self, other: TCPConnect) -> TCPConnect:
        """The smaller of both: a user's limits on an escaper's."""
        return TCPConnect(max_retry=min(self.max_retry, other.max_retry), each_timeout=min(self.each_timeout, other.each_timeout))


@dataclass(frozen=True, slots=True, kw_only=True)
class HappyEyeballs:
    """Timing of RFC 8305."""

    resolution_delay: float = 0.05
    second_resolution_timeout: float = 2.0
    first_address_family_count: int = 1
    connection_attempt_delay: float = 0.25


@dataclass(frozen=True, slots=True, kw_only=True)
class HTTPKeepalive:
    """Whether an HTTP connection may carry more than one request, and how long it may wait for the next."""

    enable: bool = True
    idle_expire: float = 60.0

    def adjusted(self, other: HTTPKeepalive) -> HTTPKeepalive:
        """Enabled only if both are, for the shorter time."""
        return replace(self, enable=self.enable and other.enable, idle_expire=min(self.idle_expire, other.idle_expire))


@dataclass(frozen=True, slots=True, kw_only=True)
class UpstreamKeepalive(HTTPKeepalive):
    """C{http_forward_upstream_keepalive}. C{shared}, which upstream has not: idle connections serve every client, not one."""

    shared: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class ConnectionPool:
    """Idle connections kept to one peer, between C{min_idle_count} and C{max_idle_count}."""

    check_interval: float = 10.0
    max_idle_count: int = 1024
    min_idle_count: int = 32
    idle_timeout: float = 300.0


class ForwardedHeader(Enum):
    """Which header tells an HTTP upstream who asked."""

    DISABLE = "none"
    CLASSIC = "classic"
    STANDARD = "standard"


@dataclass(frozen=True, slots=True, kw_only=True)
class HTTPForwardCapability:
    """What the next HTTP proxy may be sent in absolute form besides http://."""

    forward_https: bool = False
    forward_ftp_get: bool = False
    forward_ftp_put: bool = False
    forward_ftp_del: bool = False

    def forwards_ftp(self, method: bytes) -> bool:
        """Whether a request for an ftp:// URI may be; C{HEAD} where C{GET} may."""
        return (
            (method in {b"GET", b"HEAD"} and self.forward_ftp_get)
            or (method == b"PUT" and self.forward_ftp_put)
            or (method == b"DELETE" and self.forward_ftp_del)
        )


@dataclass(frozen=True, slots=True)
class PortRange:
    """Ports from C{start} to C{end}, both included; C{0 < start < end}."""

    start: int
    end: int

    def __len__(self) -> int:
        return self.end - self.start + 1

    def __contains__(self, port: object) -> bool:
        return isinstance(port, int) and self.start <= port <= self.end


class Query(Enum):
    """Which address families to ask for, and which of them to use first; the value is the word of the logs."""

    IPV4_ONLY = "Ipv4Only"
    IPV6_ONLY = "Ipv6Only"
    IPV4_FIRST = "Ipv4First"
    IPV6_FIRST = "Ipv6First"

    @property
    def families(self) -> tuple[int, ...]:
        """4 and 6, preferred first."""
        return _FAMILIES[self]

    @property
    def single(self) -> bool:
        return len(_FAMILIES[self]) == 1


_FAMILIES = {Query.IPV4_ONLY: (4,), Query.IPV6_ONLY: (6,), Query.IPV4_FIRST: (4, 6), Query.IPV6_FIRST: (6, 4)}


class Pick(Enum):
    """Which of several addresses to use."""

    RANDOM = "Random"
    SERIAL = "Serial"


@dataclass(frozen=True, slots=True)
class ResolveStrategy:
    """How a name becomes an address to connect to."""

    query: Query = Query.IPV4_FIRST
    pick: Pick = Pick.RANDOM

    def adjusted(self, other: ResolveStrategy) -> ResolveStrategy:
        """An escaper's strategy with a user's over it: one that allows a single family keeps its range."""
        return ResolveStrategy(self.query if self.query.single else other.query, other.pick)

    def narrowed(self, *, no_ipv4: bool, no_ipv6: bool) -> ResolveStrategy:
        """What is left when a family may not be used.

        @raise ValueError: nothing is.
        """
        left = [f for f in self.query.families if not (no_ipv4 and f == 4) and not (no_ipv6 and f == 6)]
        if not left:
            raise ValueError(f"query strategy is {self.query.value} but {'IPv4' if no_ipv4 else 'IPv6'} is disabled")
        if len(left) == len(self.query.families):
            return self
        return replace(self, query=Query.IPV4_ONLY if left == [4] else Query.IPV6_ONLY)


class DNSProtocol(Enum):
    """How queries to a name server are hidden; the value is the word of the logs."""

    TLS = "DnsOverTls"
    HTTPS = "DnsOverHttps"
    H3 = "DnsOverHttp/3"
    QUIC = "DnsOverQuic"

    @property
    def default_port(self) -> int:
        return 853 if self in (DNSProtocol.TLS, DNSProtocol.QUIC) else 443


@dataclass(frozen=True, slots=True, kw_only=True)
class DNSEncryption:
    """Encryption towards a name server, whose certificate must be for C{tls_name}."""

    tls_name: str
    protocol: DNSProtocol = DNSProtocol.TLS
    tls_client: ClientTLSOptions = field(default_factory=ClientTLSOptions)


@dataclass(frozen=True, slots=True, kw_only=True)
class QUICTransport:
    """QUIC transport parameters (RFC 9000 section 18.2); windows in bytes."""

    max_idle_timeout: float = 60.0
    keep_alive_interval: float = 10.0
    stream_receive_window: int | None = None
    receive_window: int | None = None
    send_window: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class RedisOptions:
    """How to reach a redis server. The password is kept out of messages."""

    addr: Upstream
    tls_client: ClientTLSOptions | None = None
    tls_name: str | None = None
    db: int = 0
    username: str | None = None
    password: str | None = field(default=None, repr=False)
    connect_timeout: float = 5.0
    response_timeout: float = 2.0


@dataclass(frozen=True, slots=True, kw_only=True)
class RedisTicketSource:
    """Ticket keys shared by a fleet: C{enc_key} names the key to encrypt with, C{dec_set} the set of those that may still decrypt."""

    redis: RedisOptions
    enc_key: str
    dec_set: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Ticketer:
    """TLS session ticket keys (RFC 5077). A local key lives C{local_lifetime} seconds and is replaced at half of that."""

    check_interval: float = 300.0
    local_lifetime: int = 43200
    source: RedisTicketSource | None = None
