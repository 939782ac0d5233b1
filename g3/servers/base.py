# SPDX-License-Identifier: Apache-2.0
"""What every server that listens has: its socket, the first look at a client, its connections, and how it ends."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any, ClassVar, Protocol

from twisted.internet.defer import Deferred
from twisted.internet.task import LoopingCall
from twisted.logger import Logger
from zope.interface import implementer

from g3.errors import ConfigError, G3Error
from g3.interfaces import IServer
from g3.limit.stream import StreamLimiter
from g3.metrics.listen import ListenStats
from g3.metrics.server import ServerStats
from g3.net.sockopts import set_tcp_misc
from g3.net.tls.errors import TLSHandshakeTimeout
from g3.net.tls.handshake import accept as tls_accept
from g3.net.transport import Stream, plain_address
from g3.task import ClientInfo, parse_ip
from g3.tree.node import Node

if TYPE_CHECKING:
    import socket
    from collections.abc import Callable, Coroutine

    from twisted.internet.interfaces import IDelayedCall

    from g3.net.tls.options import ServerTLSOptions
    from g3.net.tls.provider import ServerTLS
    from g3.net.tls.ticketer import TicketedTLS
    from g3.servers.config import ListenKeys, StreamServerConfig
    from g3.task import SocketAddress
    from g3.tree.listeners import Claim
    from g3.tree.node import NodeContext

#: Seconds between two looks at every connection: deadlines are met that much late at most.
TICK = 1.0
#: Seconds that a client which was let in has to say what it wants once its server takes no more: it has just found the port open.
LAST_CALL = 2.0


class Connection(Protocol):
    """A client connection as its server keeps it."""

    stream: Any
    counted_in: int
    counted_out: int

    @property
    def fresh(self) -> bool:
        """Whether it has not got anything for having come yet, and no task is under way."""

    def tick(self, now: float) -> None:
        """Another second has passed; C{now} is monotonic."""

    def quit(self) -> None:
        """End now."""


@implementer(IServer)
class Listener(Node):
    """Listens, refuses by C{ingress_network_filter}, and speaks TLS where configured."""

    log: ClassVar[Logger] = Logger()
    #: What makes our statistics from our name.
    make_stats: ClassVar[Callable[[str], Any]] = ServerStats
    #: ALPN protocols offered to TLS clients.
    alpn: tuple[str, ...] = ()
    #: Whether a client that speaks TLS with the server that hands it on is served.
    takes_tls: ClassVar[bool] = True
    #: Most bytes of one read of a client.
    read_size = 65536
    #: Whether the listener takes connections to any address that the system routes to it.
    transparent = False
    config: ListenKeys

    def __init__(self, config: ListenKeys, context: NodeContext) -> None:
        super().__init__(config, context)
        self.online = True
        self.clock = context.reactor.seconds
        self.stats: ServerStats = self.lasting("server", "stats", lambda: type(self).make_stats(config.name))
        self.listen_stats: ListenStats = self.lasting("server", "listen", lambda: ListenStats(config.name))
        self._claim: Claim | None = None
        self._tls: ServerTLS | None = None
        self._ticketed: list[TicketedTLS] = []
        #: The address clients connect to, where there is but one.
        self._local: SocketAddress | None = None
        #: Clients for whom something takes its time before they are served, or handed on.
        self._coming = 0
        #: Until when somebody who has said nothing yet is waited for (monotonic), once we are stopped.
        self.last_call = 0.0
        self._calling: IDelayedCall | None = None
        self._quitting = False
        self._drained: Deferred[None] | None = None

    # -- life

    def prepare(self) -> None:
        try:
            self._prepare_tls()
            listen = self.config.listen
            if listen is not None:
                self._claim = self.context.listeners.claim(replace(listen, transparent=self.transparent), self)
        except ConfigError:
            self.discard()
            raise

    def _prepare_tls(self) -> None:
        options = getattr(self.config, "tls_server", None)
        if options is not None:
            self._tls = self.serve_tls(options)

    def serve_tls(self, options: ServerTLSOptions) -> ServerTLS:
        """TLS with our ticket keys, followed while we serve; to be called while we are prepared. Raises ConfigError."""
        made = self.context.ticketing.serve(options, self.alpn, getattr(self.config, "tls_ticketer", None))
        self._ticketed.append(made)
        return made.tls

    def discard(self) -> None:
        self._release()

    def _release(self) -> None:
        if self._claim is not None:
            self._claim.release()
        for made in self._ticketed:
            made.release()

    def start(self) -> None:
        self.listen_stats.online = True
        self.context.metrics.add(self.listen_stats)
        for made in self._ticketed:
            made.start()
        if self._claim is not None:
            self.listen_stats.instances += 1
            self._local = self._only_address(self._claim)
            self._claim.start(self._accepted)

    def _only_address(self, claim: Claim) -> SocketAddress | None:
        address = plain_address(claim.address)
        return None if self.transparent or address[0] in {"0.0.0.0", "::"} else address

    def stop(self) -> Deferred[None] | None:
        self._close_listener()
        self.last_call = self.clock() + LAST_CALL
        if not self.busy:
            self._ended(None)
            return None
        self._calling = self.context.reactor.callLater(LAST_CALL, self._called)
        self._drained = Deferred()
        return self._drained.addCallback(self._ended)

    def _called(self) -> None:
        self._calling, self.last_call = None, 0.0
        self._left()

    @property
    def busy(self) -> bool:  # type: ignore[override]
        """Of a server that was stopped: whether somebody it let in is still to be served. Who says nothing is waited for no longer than
        L{LAST_CALL}."""
        return not self._quitting and self.clock() < self.last_call and self._expecting()

    def _expecting(self) -> bool:
        """Whether somebody has come who has not said yet what he wants."""
        return self._coming > 0

    def _left(self) -> None:
        """Somebody is served: who waits for the last one is told."""
        if self._drained is None or self.busy:
            return
        if self._calling is not None:
            self._calling.cancel()
            self._calling = None
        drained, self._drained = self._drained, None
        drained.callback(None)

    def _close_listener(self) -> None:
        self.online = False
        if self._claim is not None:
            self.listen_stats.instances -= 1
        self._release()

    def _ended(self, _: object) -> None:
        """The last task has ended."""
        self.context.metrics.remove(self.listen_stats)

    def force_quit(self) -> None:
        """End every task now; nobody is waited for."""
        self._quitting = True
        self._left()

    # -- clients

    def _set_options(self, sock: socket.socket) -> None:
        """Put our options on a client's socket."""

    def _accepted(self, sock: socket.socket, peer: SocketAddress) -> None:
        self.listen_stats.accepted += 1
        try:
            local = self._local or plain_address(sock.getsockname())
            self._set_options(sock)
        except OSError:  # the client is gone already
            self.listen_stats.failed += 1
            sock.close()
            return
        info = ClientInfo(peer, local, peer)
        if self.denied(info):
            sock.close()
            return
        self._arrived(Stream(self.context.reactor, sock, local, peer, self.read_size), info)

    def _arrived(self, stream: Any, info: ClientInfo) -> None:
        """A client that may be served; in plain TCP as yet."""
        self._secure(stream, info)

    def _secure(self, stream: Any, info: ClientInfo) -> None:
        """Speak TLS first where that is configured."""
        if self._tls is None:
            self._begin(stream, info)
        else:
            self._run(self._accept_tls(stream, info, self._tls))

    def _run(self, coroutine: Coroutine[Any, Any, None]) -> None:
        """Do what takes its time for a client; what goes wrong in it is told to L{failed}."""
        Deferred.fromCoroutine(self._watched(coroutine))

    async def _watched(self, coroutine: Coroutine[Any, Any, None]) -> None:
        self._coming += 1
        try:
            await coroutine
        except Exception as error:
            self.failed(error)
        self._coming -= 1
        self._left()

    async def _accept_tls(self, stream: Any, info: ClientInfo, tls: ServerTLS) -> None:
        try:
            secure = await tls_accept(stream, tls)
        except TLSHandshakeTimeout:
            self.listen_stats.timeout += 1
        except G3Error as error:
            self._not_secured(info, error)
        else:
            self._begin(secure, info)

    def _not_secured(self, info: ClientInfo, error: G3Error) -> None:
        """TLS did not come about."""
        self.listen_stats.failed += 1
        self.log.debug("{server}: TLS handshake with {client} failed: {error}", server=self.name, client=info.client, error=error)

    def denied(self, info: ClientInfo) -> bool:
        """Whether C{ingress_network_filter} keeps this client out; counted."""
        rules = self.config.ingress_network_filter
        if rules is None:
            return False
        ip = parse_ip(info.client[0])
        if ip is None or not rules.check(ip)[1].forbids:
            return False
        self.listen_stats.dropped += 1
        return True

    def accept(self, stream: Any, client: ClientInfo) -> None:
        """A client that another server hands on (IServer). One that speaks TLS with that one does not with us."""
        if self.denied(client):
            stream.abortConnection()
            return
        sock = getattr(stream, "socket", None)
        try:
            if sock is not None:
                self._set_options(sock)
        except OSError:
            self.listen_stats.failed += 1
            stream.abortConnection()
            return
        if getattr(stream, "tls", None) is None:
            stream.read_size = self.read_size
            self._arrived(stream, client)
        elif self.takes_tls:
            self._begin(stream, client)
        else:
            stream.loseConnection()

    def _begin(self, stream: Any, info: ClientInfo) -> None:
        """The client is there, with TLS if there is any."""
        raise NotImplementedError

    def failed(self, error: BaseException) -> None:
        """Something of ours went wrong while serving a client: a defect, logged with its traceback."""
        self.log.error("{server}: {error!r}", server=self.name, error=error, exc_info=error)


class ListeningServer(Listener):
    """A listener that hands each client to L{serve}.

    Timeouts of connections are deadlines looked at once a second: a connection sets an attribute, and no timer is made for it.
    """

    config: StreamServerConfig

    def __init__(self, config: StreamServerConfig, context: NodeContext) -> None:
        super().__init__(config, context)
        self.read_size = config.tcp_copy_buffer_size
        self.connections: set[Connection] = set()
        self._tasks = 0
        self._ticking = LoopingCall(self._tick)
        self._ticking.clock = context.reactor

    def start(self) -> None:
        self.stats.set_extra_tags(dict(self.config.extra_metrics_tags))
        self.stats.online = True
        self.context.metrics.add(self.stats)
        super().start()

    def stop(self) -> Deferred[None] | None:
        self._rest()
        return super().stop()

    @property
    def busy(self) -> bool:  # type: ignore[override]
        """A task is waited for as long as it takes."""
        return self._tasks > 0 or super().busy

    def _expecting(self) -> bool:
        return super()._expecting() or any(connection.fresh for connection in self.connections)

    def _ended(self, _: object) -> None:
        self.context.metrics.remove(self.stats)
        super()._ended(_)

    def force_quit(self) -> None:
        for connection in list(self.connections):
            connection.quit()
        super().force_quit()

    def _set_options(self, sock: socket.socket) -> None:
        set_tcp_misc(sock, self.config.tcp_misc_opts, has_no_delay=True)

    def _begin(self, stream: Any, info: ClientInfo) -> None:
        self.stats.total_connections += 1
        speed = self.config.tcp_sock_speed_limit
        if speed is not None and speed.shift:
            self.limit_reading(stream)
            stream.set_write_limit((StreamLimiter(speed.shift, speed.download),))
        connection = self.serve(stream, info)
        self.connections.add(connection)
        self.context.load.live += 1
        if not self._ticking.running:
            self._ticking.start(TICK, now=False)
        stream.start(connection)

    def limit_reading(self, stream: Any, *more: StreamLimiter) -> None:
        """Bound what is read of a client by C{tcp_sock_speed_limit}, and by C{more}."""
        speed = self.config.tcp_sock_speed_limit
        own = () if speed is None or not speed.shift else (StreamLimiter(speed.shift, speed.upload),)
        stream.set_read_limit((*own, *more))

    def serve(self, stream: Any, info: ClientInfo) -> Any:
        """The connection (a protocol, see L{Connection}) that serves a client."""
        raise NotImplementedError

    def gone(self, connection: Any) -> None:
        """A connection has ended. Again: nothing."""
        if connection not in self.connections:
            return
        self.connections.discard(connection)
        self.context.load.live -= 1
        self._count(connection)
        if not self.online:
            self._rest()
            self._left()

    def _rest(self) -> None:
        """Tick no more when nobody is connected. A server that is online finds out at its next tick: clients that come and go one after the
        other make no timer each."""
        if not self.connections and self._ticking.running:
            self._ticking.stop()

    def task_started(self) -> None:
        """Count a task; it counts as alive until L{task_ended}."""
        self._tasks += 1
        self.stats.total_tasks += 1
        self.stats.alive_tasks += 1

    def task_ended(self) -> None:
        """The last one ends a server that was stopped."""
        self._tasks -= 1
        self.stats.alive_tasks -= 1
        if self._drained is not None and not self._tasks:
            self._left()

    def _tick(self) -> None:
        now = self.clock()
        for connection in list(self.connections):
            self._count(connection)
            connection.tick(now)
        self._rest()
        self._left()

    def _count(self, connection: Connection) -> None:
        """Bring what the connection's stream has moved into the statistics."""
        stream = connection.stream
        self.stats.in_bytes += stream.bytes_in - connection.counted_in
        self.stats.out_bytes += stream.bytes_out - connection.counted_out
        connection.counted_in, connection.counted_out = stream.bytes_in, stream.bytes_out
