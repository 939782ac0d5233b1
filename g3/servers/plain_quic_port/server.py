# SPDX-License-Identifier: Apache-2.0
"""The plain_quic_port server."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any, ClassVar

from twisted.logger import Logger
from zope.interface import implementer

from g3.errors import ConfigError
from g3.interfaces import IServer
from g3.metrics.listen import ListenStats
from g3.metrics.server import ServerStats
from g3.net.quic.endpoint import QUICEndpoint
from g3.net.quic.settings import quic_settings
from g3.net.udp_listen import bind_udp
from g3.servers.plain_quic_port.config import PlainQUICPortConfig
from g3.task import ClientInfo, parse_ip
from g3.tree.node import Node

if TYPE_CHECKING:
    from twisted.internet.defer import Deferred

    from g3.net.channel import ChannelStream
    from g3.net.quic.connection import QUICPeer
    from g3.net.quic.endpoint import Offer
    from g3.net.quic.settings import QUICSettings
    from g3.net.tls.ticketer import TicketedKeys
    from g3.task import SocketAddress
    from g3.tree.datagrams import DatagramClaim
    from g3.tree.node import NodeContext


@implementer(IServer)
class PlainQUICPortServer(Node):
    """Hands the streams of QUIC connections to another server (upstream: configuration/servers/plain_quic_port)."""

    schema: ClassVar[type[PlainQUICPortConfig]] = PlainQUICPortConfig
    log: ClassVar[Logger] = Logger()
    config: PlainQUICPortConfig

    def __init__(self, config: PlainQUICPortConfig, context: NodeContext) -> None:
        super().__init__(config, context)
        self.online = True
        self.stats: ServerStats = self.lasting("server", "stats", lambda: ServerStats(config.name))
        self.listen_stats: ListenStats = self.lasting("server", "listen", lambda: ListenStats(config.name))
        self._next = context.slot("server", config.server)
        self._claim: DatagramClaim | None = None
        self._tickets: TicketedKeys | None = None
        self._settings: QUICSettings
        self._endpoint: QUICEndpoint
        self._offer: Offer

    # -- life

    def prepare(self) -> None:
        options = self.config.quic_server
        try:
            if not options.no_session_ticket:
                self._tickets = self.context.ticketing.keys(self.config.tls_ticketer)
            self._settings = quic_settings(options, None if self._tickets is None else self._tickets.keys)
            self._claim = self.context.listeners.datagrams.claim(self.config.listen, self)
        except ConfigError:
            self.discard()
            raise

    def discard(self) -> None:
        if self._claim is not None:
            self._claim.release()
        if self._tickets is not None:
            self._tickets.release()

    def start(self) -> None:
        assert self._claim is not None
        if self._tickets is not None:
            self._tickets.start()
        self.listen_stats.online = True
        self.listen_stats.instances += 1
        self.context.metrics.add(self.listen_stats)
        reactor = self.context.reactor
        self._endpoint = self._claim.endpoint(lambda sock, closed: QUICEndpoint(reactor, sock, closed))
        self._offer = self._endpoint.offer(self, self._settings)

    def stop(self) -> Deferred[Any] | None:
        """Connections end as soon as they have no stream while another server takes over the address. When nobody does they move to
        C{offline_rebind_port}, or are closed, as upstream does: whoever comes next must find the port free."""
        self.online = False
        self.listen_stats.instances -= 1
        assert self._claim is not None
        if self._claim.last and not self._moved():
            self._offer.close("the server goes offline")
        drained = self._offer.withdraw()
        self.discard()
        return drained.addCallback(self._ended)

    def _ended(self, _: object) -> None:
        self.context.metrics.remove(self.listen_stats)

    def _moved(self) -> bool:
        """Whether the connections go on at another port."""
        port, listen = self.config.offline_rebind_port, self.config.listen
        if port is None or not len(self._endpoint):
            return False
        port += int(self.context.daemon.stat_id)
        try:
            self._endpoint.move(bind_udp(replace(listen, address=(listen.address[0], port))))
        except (ConfigError, OverflowError) as error:
            self.log.warn("{server}: QUIC connections are closed: {error}", server=self.name, error=error)
            return False
        self.log.info("{server}: {count} QUIC connections go on at port {port}", server=self.name, count=len(self._endpoint), port=port)
        return True

    def force_quit(self) -> None:
        """End every connection now."""
        self._offer.close("the server quits")

    def accept(self, stream: Any, client: ClientInfo) -> None:
        """A client of another server (IServer): it speaks no QUIC."""
        stream.abortConnection()

    # -- connections (g3.net.quic.endpoint.Owner)

    def admits(self, peer: SocketAddress, local: SocketAddress) -> bool:
        """Whether C{ingress_network_filter} lets a client in; counted."""
        rules, ip = self.config.ingress_network_filter, parse_ip(peer[0])
        if rules is not None and (ip is None or rules.check(ip)[1].forbids):
            self.listen_stats.dropped += 1
            return False
        self.listen_stats.accepted += 1
        return True

    def opened(self, peer: QUICPeer, stream: ChannelStream) -> None:
        """A stream is a client of the next server."""
        self._next.node.accept(stream, ClientInfo(peer.peer, peer.local, peer.peer))

    def ended(self, peer: QUICPeer) -> None:
        """A connection is gone."""
        if not peer.established:
            self.listen_stats.failed += 1
