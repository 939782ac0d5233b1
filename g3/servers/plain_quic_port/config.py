# SPDX-License-Identifier: Apache-2.0
"""The keys of a plain_quic_port."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

from g3.config.node import ServerConfig
from g3.config.schema import config_class, key
from g3.config.values.acl import IngressFilter
from g3.config.values.basic import U16, Bool, Int, Reference
from g3.config.values.tls import ServerTLSValue, TicketerValue
from g3.config.values.udp import UDPListenValue
from g3.net.quic.settings import quic_problems, quic_warnings

if TYPE_CHECKING:
    from g3.acl import NetworkFilter
    from g3.config.schema import Places
    from g3.net.options import UDPListen
    from g3.net.tls.options import ServerTLSOptions


@config_class
class PlainQUICPortConfig(ServerConfig):
    """Takes QUIC connections and hands each stream that a client opens to another server, as if it were a connection of its own."""

    type_word: ClassVar[str] = "plain_quic_port"

    listen: UDPListen = key(UDPListenValue(), doc="Where to receive datagrams. Each worker has a socket there; instance and scale do nothing more.")
    listen_in_worker: bool = key(Bool(), default=False, doc="Accepted for upstream's sake: each worker has its own socket anyway.")
    ingress_network_filter: NetworkFilter[Any] | None = key(
        IngressFilter(), default=None, aliases=("ingress_net_filter",), doc="Which client addresses are served; others get no answer."
    )
    quic_server: ServerTLSOptions = key(ServerTLSValue(), doc="How to speak TLS 1.3 with clients; handshake_timeout is that of QUIC's handshake.")
    tls_ticketer: Any = key(TicketerValue(), default=None, doc="Session ticket keys that roll, shared through Redis.")
    offline_rebind_port: int | None = key(
        Int(1, U16),
        default=None,
        doc="Where the connections there are go on when the server goes offline, the worker of slot N at this port plus N. "
        "Without it they are closed.",
    )
    server: str = key(Reference("server"), doc="The server that serves the streams. While there is none of that name they are closed.")

    def check(self, at: Places) -> None:
        for problem in quic_problems(self.quic_server):
            at.error("quic_server", problem)
        for warning in quic_warnings(self.quic_server):
            at.warn("quic_server", warning)
