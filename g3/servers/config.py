# SPDX-License-Identifier: Apache-2.0
"""The keys that servers share, in the sets in which they share them (upstream: configuration/servers)."""

from __future__ import annotations

from math import ceil
from typing import TYPE_CHECKING, Any

from g3.config.node import ServerConfig
from g3.config.schema import config_class, key
from g3.config.values.acl import HostFilterSetValue, IngressFilter, PortFilterValue
from g3.config.values.basic import Bool, Int, NodeName, Reference
from g3.config.values.duration import Duration
from g3.config.values.limit import StreamSpeedValue
from g3.config.values.metrics import MetricTags
from g3.config.values.size import MOST_READ, RaisedSize
from g3.config.values.tcp import TCPListenValue, TCPMiscValue
from g3.config.values.tls import ServerTLSValue, TicketerValue
from g3.net.options import TCPMisc

if TYPE_CHECKING:
    from g3.acl import HostFilterSet, NetworkFilter, PortFilter
    from g3.config.schema import Places
    from g3.limit.options import StreamSpeed
    from g3.net.options import TCPListen
    from g3.net.tls.options import ServerTLSOptions

KIB = 1024
#: Seconds.
IDLE_CHECK_MIN, IDLE_CHECK_MAX = 2, 1800


@config_class
class ListenKeys(ServerConfig):
    """A server with a TCP listener."""

    listen: TCPListen | None = key(TCPListenValue(), default=None, doc="Where to accept clients. None: only through other servers.")
    listen_in_worker: bool = key(Bool(), default=False, doc="Accepted for upstream's sake: workers share one listening socket anyway.")
    ingress_network_filter: NetworkFilter[Any] | None = key(
        IngressFilter(), default=None, aliases=("ingress_net_filter",), doc="Which client addresses are served; others are closed at once."
    )


@config_class
class TLSKeys:
    """TLS with clients."""

    tls_server: ServerTLSOptions | None = key(ServerTLSValue(), default=None, aliases=("tls",), doc="Speak TLS with clients.")
    tls_ticketer: Any = key(TicketerValue(), default=None, doc="Session ticket keys that roll, shared through Redis.")


@config_class
class StreamServerConfig(ListenKeys):
    """A server that talks with its clients."""

    tcp_sock_speed_limit: StreamSpeed | None = key(StreamSpeedValue(), default=None, doc="Speed of each client connection.")
    tcp_conn_speed_limit: StreamSpeed | None = key(
        StreamSpeedValue(), default=None, aliases=("tcp_conn_limit", "conn_limit"), deprecated_for="tcp_sock_speed_limit"
    )
    tcp_misc_opts: TCPMisc = key(TCPMiscValue(), default=TCPMisc(), doc="Socket options of client connections.")
    tcp_copy_buffer_size: int = key(
        RaisedSize(4 * KIB, MOST_READ), default=16 * KIB, unit="bytes", doc="Most bytes of one read while relaying; at least 4 KiB."
    )
    tcp_copy_yield_size: int = key(
        RaisedSize(256 * KIB), default=1024 * KIB, unit="bytes", doc="Bytes relayed before other connections get their turn; at least 256 KiB."
    )
    extra_metrics_tags: Any = key(MetricTags(), default=(), doc="Tags added to every metric of this server.")


@config_class
class ListeningServerConfig(StreamServerConfig, TLSKeys):
    """A server that talks with its clients, in TLS where that is configured."""


@config_class
class TaskServerConfig(StreamServerConfig):
    """A server that runs tasks: each leaves by an escaper, can go idle, and is logged."""

    escaper: str = key(Reference("escaper"), doc="The escaper by which tasks leave.")
    user_group: str | None = key(Reference("user_group"), default=None, doc="Whose users may use the server.")
    shared_logger: str | None = key(NodeName(), default=None, doc="Share one log queue with every node that names the same.")
    task_idle_check_interval: float = key(
        Duration(), default=60.0, unit="seconds", doc="How often to see whether a task still moves bytes; 2 s to 30 min, in whole seconds."
    )
    task_idle_check_duration: float | None = key(Duration(), default=None, deprecated_for="task_idle_check_interval")
    task_idle_max_count: int = key(Int(0, 1 << 30), default=5, doc="Idle checks in a row after which a task ends; the first one, if 0.")
    flush_task_log_on_created: bool = key(Bool(), default=False, doc="Log a task when it is made, too.")
    flush_task_log_on_connected: bool = key(Bool(), default=False, doc="Log a task when its upstream is there, too.")
    task_log_flush_interval: float | None = key(Duration(), default=None, unit="seconds", doc="Log running tasks this often, too.")

    @property
    def idle_interval(self) -> int:
        """C{task_idle_check_interval} in whole seconds, within its bounds."""
        return min(max(ceil(self.task_idle_check_interval), IDLE_CHECK_MIN), IDLE_CHECK_MAX)

    def check(self, at: Places) -> None:
        if not IDLE_CHECK_MIN <= self.task_idle_check_interval <= IDLE_CHECK_MAX:
            at.warn("task_idle_check_interval", f"is taken as {self.idle_interval}s: it can be from 2s to 30min")


@config_class
class AuditKeys:
    """Looking into the traffic."""

    auditor: str | None = key(Reference("auditor"), default=None, doc="The auditor that looks into the traffic.")


@config_class
class DestinationKeys:
    """Rules on where clients may go."""

    dst_host_filter_set: HostFilterSet[Any] | None = key(HostFilterSetValue(), default=None, doc="Rules on the host a client asks for.")
    dst_port_filter: PortFilter[Any] | None = key(PortFilterValue(), default=None, doc="Rules on the port a client asks for.")
