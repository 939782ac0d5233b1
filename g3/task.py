# SPDX-License-Identifier: Apache-2.0
"""A task: one request or tunnel from a client to an upstream, and what is known of it so far.

A server makes it, gates and escapers read it and note on it, and it ends with exactly one final reason. Nobody down the way
reaches back: what the far end needs stands here.
"""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from enum import Enum
from functools import lru_cache
from ipaddress import IPv4Address, IPv6Address, ip_address
from typing import TYPE_CHECKING, Any, Protocol

from g3.ids import new_id

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import datetime

IPAddress = IPv4Address | IPv6Address
#: (ip, port), ip as the kernel prints it; a v4-mapped address is written as IPv4.
SocketAddress = tuple[str, int]


class Stage(Enum):
    """How far a task came; the value is the task log's C{stage}."""

    CREATED = "Created"
    PREPARING = "Preparing"
    CONNECTING = "Connecting"
    CONNECTED = "Connected"
    REPLYING = "Replying"
    LOGGED_IN = "LoggedIn"
    RELAYING = "Relaying"
    FINISHED = "Finished"


_CREATED = Stage.CREATED  # an enum is slow to ask


@lru_cache(maxsize=4096)
def parse_ip(host: str) -> IPAddress | None:
    """The address C{host} spells (a v4-mapped one as IPv4), or None when it is a name."""
    try:
        address = ip_address(host)
    except ValueError:
        return None
    return getattr(address, "ipv4_mapped", None) or address


def format_address(address: SocketAddress) -> str:
    """C{ip:port}, IPv6 in brackets."""
    host, port = address
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


class Upstream:
    """Where a task wants to go: a lower-case A-label name or an address, and a port. Immutable, hashable."""

    __slots__ = ("_hash", "host", "ip", "port")

    def __init__(self, host: str, port: int) -> None:
        self.ip = parse_ip(host)
        self.host = host if self.ip is None else str(self.ip)
        self.port = port
        self._hash = hash((self.host, port))

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Upstream) and self.port == other.port and self.host == other.host

    def __hash__(self) -> int:
        return self._hash

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if self.ip is not None and self.ip.version == 6 else f"{self.host}:{self.port}"

    def __repr__(self) -> str:
        return f"Upstream({self})"


@dataclass(slots=True)  # not frozen: that costs a microsecond for each client
class ClientInfo:
    """Who came in where; never changed. After a PROXY protocol header C{client} and C{server} are the header's, C{peer} stays the socket's."""

    client: SocketAddress
    server: SocketAddress
    peer: SocketAddress
    tls_name: str = ""

    @property
    def client_ip(self) -> IPAddress:
        ip = parse_ip(self.client[0])
        if ip is None:
            raise ValueError(f"{self.client[0]!r} is no address")
        return ip


@dataclass(slots=True)
class EgressInfo:
    """What a float escaper knows of the way out it chose."""

    isp: str | None = None
    eip: str | None = None
    area: str | None = None
    expire: datetime | None = None


class ConnectNotes:
    """What an escaper did to reach the upstream: the C{next_*} and C{tcp_connect_*} fields of the logs. Durations in seconds."""

    # Every task makes one and most write few of these: no __init__, and what was not written is the class's.
    escaper = ""
    bind_ip: IPAddress | None = None
    #: Where the connection comes from, noted only for a task that L{Task.tells_local}, and where to: the next proxy, or the upstream.
    local: SocketAddress | None = None
    peer: SocketAddress | None = None
    #: Whether the peer is the upstream itself, and no other proxy.
    last = False
    override_peer: str | None = None
    egress: EgressInfo | None = None
    tries = 0
    spend = 0.0

    @property
    def chained_target(self) -> SocketAddress | None:
        """Where the last proxy of the chain reached the upstream, None where that is not known."""
        return self.peer if self.last else None

    @property
    def chained_outgoing(self) -> SocketAddress | None:
        """Where it came from, the same."""
        return self.local if self.last else None


@dataclass(slots=True, frozen=True)
class PathUpstream:
    """A next proxy that a path selection names. C{resolve_sticky_key} picks among its addresses, always the same one; "" = any."""

    addr: Upstream
    resolve_sticky_key: str = ""


@dataclass(slots=True, frozen=True)
class PathSelection:
    """What picks among an escaper's ways out: request level number id, per-escaper string ids and values."""

    number: int | None = None
    ids: Mapping[str, str] = field(default_factory=dict)
    values: Mapping[str, Any] = field(default_factory=dict)
    upstreams: Mapping[str, PathUpstream] = field(default_factory=dict)


class DatagramOptions(Protocol):
    """How datagrams are relayed: g3.net.options.DatagramRelay."""

    @property
    def packet_size(self) -> int: ...

    @property
    def batch_size(self) -> int: ...

    @property
    def socket_buffer(self) -> Any: ...


class Task:
    """One request or tunnel. C{created} is monotonic seconds, C{started_at} seconds since the epoch."""

    __slots__ = (
        "_id",
        "auditor",
        "client",
        "connect",
        "created",
        "path",
        "ready",
        "server_name",
        "server_type",
        "stage",
        "started_at",
        "tells_local",
        "told",
        "type",
        "udp",
        "upstream",
        "user",
        "wait",
    )

    def __init__(self, type: str, server_type: str, server_name: str, client: ClientInfo, upstream: Upstream, now: float) -> None:  # noqa: A002 - the log field
        self.type = type
        self.server_type = server_type
        self.server_name = server_name
        self.client = client
        self.upstream = upstream
        self.created = now
        self.started_at = time.time()
        self.wait = 0.0
        self.ready = 0.0
        #: Whether anybody is told where the connection to the upstream comes from, by a log or an answer; else the kernel is not asked.
        self.tells_local = True
        self.stage = _CREATED
        self.user: Any = None
        self.auditor: Any = None
        self.path: PathSelection | None = None
        #: How the server relays datagrams; an escaper's sockets do the same. None where it does not.
        self.udp: DatagramOptions | None = None
        self.connect = ConnectNotes()
        #: What of it the task log has written already, and from what.
        self.told: tuple[Any, Any] | None = None
        self._id: str | None = None

    @property
    def id(self) -> str:
        """Unique, 32 hexadecimal digits; made when first asked for, since most tasks are never named."""
        if self._id is None:
            self._id = new_id()
        return self._id

    @property
    def user_name(self) -> str | None:
        return None if self.user is None else self.user.name
