# SPDX-License-Identifier: Apache-2.0
"""Configuration of direct_fixed (upstream: configuration/escapers/direct_fixed)."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from g3.acl import Action, NetworkFilter, egress_filter
from g3.config.node import EscaperConfig
from g3.config.schema import config_class, key
from g3.config.values.acl import EgressFilter
from g3.config.values.basic import Bool, Reference
from g3.config.values.net import IPList, ProxyProtocolVersion
from g3.config.values.resolve import ResolveRedirectionValue
from g3.config.values.tcp import KeepaliveValue
from g3.escapers.config import ObservedKeys, ResolveKeys, TCPKeys, UDPKeys
from g3.net.options import Keepalive

if TYPE_CHECKING:
    from g3.config.schema import Places
    from g3.net.redirection import ResolveRedirection
    from g3.task import IPAddress


@config_class
class DirectFixedConfig(ObservedKeys, TCPKeys, UDPKeys, ResolveKeys, EscaperConfig):
    """Reaches upstreams directly from this host, from addresses that the configuration fixes.

    With path selection a number id picks the address to bind, where there are two or more of the family.
    """

    type_word: ClassVar[str] = "direct_fixed"

    resolver: str = key(Reference("resolver"), doc="The resolver for names.")
    bind_ip: tuple[IPAddress, ...] = key(
        IPList(), default=(), doc="Local addresses to connect from, IPv4 and IPv6 mixed; one of the right family is picked at random."
    )
    bind_foreign: bool = key(Bool(), default=False, doc="Connect from the client's own address (TPROXY; needs CAP_NET_ADMIN). Beats bind_ip.")
    bind_foreign_port: bool = key(
        Bool(), default=False, doc="With bind_foreign, from the client's own port too; a second connection from the same client port fails."
    )
    egress_network_filter: NetworkFilter[Action] = key(
        EgressFilter(),
        default=egress_filter(missed=Action.PERMIT),
        aliases=("egress_net_filter",),
        doc="Which addresses may be connected to, as literals or as what a name resolves to.",
    )
    tcp_keepalive: Keepalive = key(KeepaliveValue(), default=Keepalive(), doc="TCP keepalive towards the upstream.")
    resolve_redirection: ResolveRedirection | None = key(
        ResolveRedirectionValue(), default=None, doc="Names that resolve to something else; a user's own redirection comes first."
    )
    enable_path_selection: bool = key(Bool(), default=False, doc="Let a task's egress path selection pick the address to bind.")
    use_proxy_protocol: int | None = key(
        ProxyProtocolVersion(), default=None, doc="Send a PROXY protocol header of this version first on each TCP connection, but not for FTP data."
    )

    @property
    def serves_as_admin(self) -> bool:
        return self.bind_foreign or super().serves_as_admin

    def check(self, at: Places) -> None:
        """Report contradictions."""
        super().check(at)
        if self.bind_foreign_port and not self.bind_foreign:
            at.warn("bind_foreign_port", "has no effect without bind_foreign")
        if self.bind_foreign and self.bind_ip:
            at.warn("bind_ip", "has no effect with bind_foreign")
