# SPDX-License-Identifier: Apache-2.0
"""The keys of an sni_proxy."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from g3.config.schema import Nested, config_class, key
from g3.config.values.basic import Bool
from g3.config.values.dpi import PortMapValue, ProtocolInspectionValue
from g3.config.values.duration import Duration
from g3.config.values.net import HostValue, Port
from g3.config.values.route import HostMatched
from g3.config.values.size import Size
from g3.proto.inspection import CLIENT_PORTS, SERVER_PORTS, PortMap, ProtocolInspection
from g3.servers.config import KIB, AuditKeys, TaskServerConfig
from g3.task import Upstream

if TYPE_CHECKING:
    from g3.acl.match import HostMatch
    from g3.config.schema import Places


@config_class
class SNIHost:
    """A host that clients may ask for, and where they are led instead."""

    redirect_host: str | None = key(HostValue(), default=None, doc="The host to connect to; the one asked for by default.")
    redirect_port: int | None = key(Port(), default=None, doc="The port to connect to; the one that would be by default.")

    def redirect(self, upstream: Upstream) -> Upstream:
        """Where a client that asks for C{upstream} is led."""
        return Upstream(self.redirect_host or upstream.host, self.redirect_port or upstream.port)


@config_class
class SNIProxyConfig(TaskServerConfig, AuditKeys):
    """Joins connections with the host that the TLS client hello (SNI) or the HTTP request (Host) in them names. Nothing in them is changed."""

    type_word: ClassVar[str] = "sni_proxy"

    listen_transparent: bool = key(Bool(), default=False, doc="Accept connections to any address that the system routes here; needs CAP_NET_ADMIN.")
    auth_by_client_ip: bool = key(Bool(), default=False, doc="Clients belong to the user of user_group, one of facts, that has their address.")
    auth_by_server_name: bool = key(
        Bool(), default=False, doc="Clients belong to the user of user_group, one of facts, that has the host they ask for, after redirection."
    )
    tls_max_client_hello_size: int = key(Size(64, 1 << 20), default=64 * KIB, unit="bytes", doc="Longest client hello.")
    request_wait_timeout: float = key(Duration(), default=60.0, unit="seconds", doc="For the first byte of a client.")
    request_recv_timeout: float = key(Duration(), default=4.0, unit="seconds", doc="From there to the end of the client hello or HTTP head.")
    protocol_inspection: ProtocolInspection = key(
        ProtocolInspectionValue(), default=ProtocolInspection(), doc="How protocols are told apart; here http_request_uri counts."
    )
    server_tcp_portmap: PortMap = key(PortMapValue(SERVER_PORTS), default=SERVER_PORTS, doc="Accepted; TLS and HTTP are told apart on every port.")
    client_tcp_portmap: PortMap = key(PortMapValue(CLIENT_PORTS), default=CLIENT_PORTS, doc="Accepted; it has no effect upstream either.")
    allowed_hosts: HostMatch[SNIHost] | None = key(
        HostMatched(Nested(SNIHost)), default=None, aliases=("allowed_sites",), doc="The hosts clients may ask for; any when it is not given."
    )

    @property
    def listens_as_admin(self) -> bool:
        return self.listen_transparent or super().listens_as_admin

    def check(self, at: Places) -> None:
        super().check(at)
        if self.auth_by_client_ip and self.auth_by_server_name:
            at.error("auth_by_server_name", "only one of auth_by_client_ip and auth_by_server_name can be on")
        for name in ("auth_by_client_ip", "auth_by_server_name"):
            if getattr(self, name) and self.user_group is None:
                at.error(name, f"{name} needs a user_group")
