# SPDX-License-Identifier: Apache-2.0
"""What port servers share: they take a client in, learn who it is, and hand it to another server.

The PROXY protocol header comes first, then TLS.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

from g3.config.schema import config_class, key
from g3.config.values.basic import Reference
from g3.config.values.duration import Duration
from g3.config.values.net import ProxyProtocolVersion
from g3.config.values.tcp import TCPListenValue
from g3.config.values.tls import ServerTLSValue
from g3.errors import ProtocolError
from g3.net.look import LookEnded, LookTimeout, look
from g3.proto.proxyproto import Decoder
from g3.servers.base import Listener
from g3.servers.config import ListenKeys, TLSKeys
from g3.task import ClientInfo

if TYPE_CHECKING:
    from g3.net.options import TCPListen
    from g3.net.tls.options import ServerTLSOptions
    from g3.tree.node import NodeContext


@config_class
class PortConfig(ListenKeys):
    """A server that hands its clients on."""

    listen: TCPListen = key(TCPListenValue(), doc="Where to accept clients.")
    proxy_protocol: int | None = key(
        ProxyProtocolVersion(), default=None, doc="Each connection begins with a PROXY protocol header of this version; others are closed."
    )
    proxy_protocol_read_timeout: float = key(Duration(), default=5.0, unit="seconds", doc="For the whole of that header to arrive.")


@config_class
class NextServerConfig(PortConfig):
    """A port before one other server."""

    server: str = key(Reference("server"), doc="The server that serves the clients. While there is none of that name they are closed.")


@config_class
class TLSPortConfig(NextServerConfig, TLSKeys):
    """A port before one other server, with TLS."""

    tls_server: ServerTLSOptions = key(ServerTLSValue(), aliases=("tls",), doc="How to speak TLS with clients.")


class PortServer(Listener):
    """Hands on every client that has said who it is. What it says is believed: C{ingress_network_filter} tests the real peer here, and the
    next server's own tests whom the header names.

    A client that already speaks TLS with a server before this one is closed, as upstream does.
    """

    takes_tls: ClassVar[bool] = False
    config: PortConfig

    def _arrived(self, stream: Any, info: ClientInfo) -> None:
        if self.config.proxy_protocol is None:
            self._secure(stream, info)
        else:
            self._run(self._introduced(stream, info, self.config.proxy_protocol))

    async def _introduced(self, stream: Any, info: ClientInfo, version: int) -> None:
        """Read the PROXY protocol header. One that names nobody leaves the socket's addresses."""
        decoder = Decoder(version)

        def judge(data: bytes) -> int | None:
            return len(data) - len(decoder.rest) if decoder.feed(data) else None

        try:
            await look(stream, self.context.timers, self.config.proxy_protocol_read_timeout, judge)
        except LookTimeout:
            self.listen_stats.timeout += 1
        except ProtocolError as error:
            self.listen_stats.dropped += 1
            self.log.debug("{server}: {peer}: {error}", server=self.name, peer=info.peer, error=error)
        except LookEnded:
            self.listen_stats.failed += 1
        else:
            header = decoder.header
            if header is not None and header.client is not None and header.server is not None:
                info = ClientInfo(header.client, header.server, info.peer)
            self._secure(stream, info)


class NextServerPort(PortServer):
    """A port before one other server."""

    config: NextServerConfig

    def __init__(self, config: NextServerConfig, context: NodeContext) -> None:
        super().__init__(config, context)
        self._next = context.slot("server", config.server)

    def _begin(self, stream: Any, info: ClientInfo) -> None:
        self._next.node.accept(stream, info)
