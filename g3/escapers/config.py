# SPDX-License-Identifier: Apache-2.0
"""Keys that several types of escaper share (upstream: configuration/escapers). Each class is a mixin: a type takes those it has."""

from __future__ import annotations

from typing import TYPE_CHECKING

from g3.config.schema import config_class, key
from g3.config.values.basic import Ascii, Bool, Reference
from g3.config.values.limit import DatagramSpeedValue, StreamSpeedValue
from g3.config.values.metrics import MetricTags
from g3.config.values.net import Interface
from g3.config.values.resolve import ResolveStrategyValue
from g3.config.values.tcp import HappyEyeballsValue, TCPConnectValue, TCPMiscValue
from g3.config.values.udp import UDPMiscValue
from g3.limit.options import DatagramSpeed, StreamSpeed
from g3.net.options import HappyEyeballs, ResolveStrategy, TCPConnect, TCPMisc, UDPMisc

if TYPE_CHECKING:
    from g3.config.schema import Places


@config_class
class ObservedKeys:
    """How an escaper is logged and measured."""

    shared_logger: str | None = key(Ascii(), default=None, doc="Nodes with the same name here write their logs over one queue.")
    extra_metrics_tags: tuple[tuple[str, str], ...] = key(MetricTags(), default=(), doc="Tags added to the metrics of this escaper.")


@config_class
class TCPKeys:
    """The TCP connections an escaper makes."""

    tcp_sock_speed_limit: StreamSpeed = key(StreamSpeedValue(), default=StreamSpeed(), doc="Speed limit of each TCP connection.")
    tcp_conn_speed_limit: StreamSpeed | None = key(
        StreamSpeedValue(), default=None, aliases=("tcp_conn_limit",), deprecated_for="tcp_sock_speed_limit", doc="Its older name."
    )
    tcp_misc_opts: TCPMisc = key(TCPMiscValue(), default=TCPMisc(), doc="Options of TCP sockets; no_delay is on unless it is turned off.")
    bind_interface: str | None = key(Interface(), default=None, doc="Send through this network interface, where no address to bind is set.")


@config_class
class UDPKeys:
    """The UDP sockets an escaper uses."""

    udp_sock_speed_limit: DatagramSpeed = key(DatagramSpeedValue(), default=DatagramSpeed(), doc="Speed limit of each UDP socket.")
    udp_relay_speed_limit: DatagramSpeed | None = key(
        DatagramSpeedValue(), default=None, aliases=("udp_relay_limit",), deprecated_for="udp_sock_speed_limit", doc="Its older name."
    )
    udp_misc_opts: UDPMisc = key(UDPMiscValue(), default=UDPMisc(), doc="Options of UDP sockets.")


@config_class
class ResolveKeys:
    """How the names an escaper connects to become addresses."""

    resolver: str | None = key(Reference("resolver"), default=None, doc="The resolver for names.")
    resolve_strategy: ResolveStrategy = key(
        ResolveStrategyValue(), default=ResolveStrategy(), doc="Which address families to ask for and in which order, and which address to take."
    )
    no_ipv4: bool = key(Bool(), default=False, doc="Never connect to IPv4 addresses.")
    no_ipv6: bool = key(Bool(), default=False, doc="Never connect to IPv6 addresses.")
    tcp_connect: TCPConnect = key(TCPConnectValue(), default=TCPConnect(), doc="How often and how long to try.")
    happy_eyeballs: HappyEyeballs = key(HappyEyeballsValue(), default=HappyEyeballs(), doc="Timing when a name has several addresses (RFC 8305).")

    @property
    def strategy(self) -> ResolveStrategy:
        """C{resolve_strategy} without the families that are disabled; its families are also those of literal addresses."""
        return self.resolve_strategy.narrowed(no_ipv4=self.no_ipv4, no_ipv6=self.no_ipv6)

    def check(self, at: Places) -> None:
        """Report families that exclude each other."""
        if self.no_ipv4 and self.no_ipv6:
            at.error("no_ipv6", "both IPv4 and IPv6 are disabled: nothing could be reached")
            return
        try:
            self.strategy  # noqa: B018 - it is the test
        except ValueError as error:
            at.error("no_ipv4" if self.no_ipv4 else "no_ipv6", str(error))
