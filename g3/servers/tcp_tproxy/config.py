# SPDX-License-Identifier: Apache-2.0
"""The keys of a tcp_tproxy."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from g3.config.schema import REQUIRED, config_class, key
from g3.config.values.basic import Bool
from g3.config.values.tcp import TCPListenValue
from g3.servers.config import AuditKeys, TaskServerConfig

if TYPE_CHECKING:
    from g3.config.schema import Places
    from g3.net.options import TCPListen


@config_class
class TCPTproxyConfig(TaskServerConfig, AuditKeys):
    """Takes connections that a firewall rule (TPROXY) diverts to it, and joins each with one to the address it was meant for."""

    type_word: ClassVar[str] = "tcp_tproxy"

    listen: TCPListen | None = key(
        TCPListenValue(), default=REQUIRED, doc="Where the firewall rule leads connections; needs CAP_NET_ADMIN, since they are to any address."
    )
    auth_by_client_ip: bool = key(Bool(), default=False, doc="Clients belong to the user of user_group, one of facts, that has their address.")
    auth_by_server_ip: bool = key(
        Bool(), default=False, doc="Clients belong to the user of user_group, one of facts, that has the address they want to reach."
    )

    @property
    def listens_as_admin(self) -> bool:
        return True

    def check(self, at: Places) -> None:
        super().check(at)
        if self.auth_by_client_ip and self.auth_by_server_ip:
            at.error("auth_by_server_ip", "only one of auth_by_client_ip and auth_by_server_ip can be on")
        for name in ("auth_by_client_ip", "auth_by_server_ip"):
            if getattr(self, name) and self.user_group is None:
                at.error(name, f"{name} needs a user_group")
