# SPDX-License-Identifier: Apache-2.0
"""What every escaper that connects has in common: statistics, the escape log, names made addresses, and one TCP connect over them."""

from __future__ import annotations

import random
from typing import TYPE_CHECKING, Any

from zope.interface import implementer

from g3.errors import (
    ConnectError,
    ConnectFailed,
    ProxyProtocolWriteFailed,
    ResolveError,
    ResolveFailed,
    TimeoutByRule,
    UpstreamTlsHandshakeFailed,
    UpstreamTlsHandshakeTimeout,
)
from g3.escapers.traffic import Traffic
from g3.interfaces import IEscaper
from g3.limit.stream import StreamLimiter
from g3.logs.escape import log_tcp_connect, log_tls_handshake
from g3.metrics.escaper import EscaperStats
from g3.net.connect import ANY, begin_connect
from g3.net.happy_eyeballs import happy_connect
from g3.net.options import Pick
from g3.net.tls.errors import TLSHandshakeFailed, TLSHandshakeTimeout
from g3.net.tls.handshake import connect as tls_connect
from g3.net.transport import Stream
from g3.proto.proxyproto import encode
from g3.task import parse_ip
from g3.tree.node import Node

if TYPE_CHECKING:
    import socket
    from collections.abc import Sequence

    from twisted.internet.defer import Deferred

    from g3.limit.options import StreamSpeed
    from g3.logs.logger import Logger
    from g3.net.connect import Binding
    from g3.net.options import HappyEyeballs, Keepalive, ResolveStrategy, TCPConnect, TCPMisc
    from g3.net.redirection import ResolveRedirection
    from g3.net.tls.provider import ClientTLS
    from g3.task import IPAddress, Task
    from g3.tree.node import NodeContext


@implementer(IEscaper)
class Escaper(Node):
    """Base of the escapers that connect. Its statistics are kept over reloads while name and type stay."""

    def __init__(self, config: Any, context: NodeContext) -> None:
        super().__init__(config, context)
        self.stats: EscaperStats = self.lasting("escaper", "stats", lambda: EscaperStats(config.name))
        self.traffic: Traffic = self.lasting("escaper", "traffic", lambda: Traffic(self.stats))
        self.logger: Logger | None = None
        #: Whether the far end of a connection knows who the client is, so that no other client may be carried over it.
        self.tells_client = getattr(config, "use_proxy_protocol", None) is not None or getattr(config, "bind_foreign", False)
        self.clock = context.reactor.seconds

    def start(self) -> None:
        self.stats.set_extra_tags(dict(self.config.extra_metrics_tags))
        if self.context.logs is not None:
            self.logger = self.context.logs.logger("escape", self.name, self.config.log_type, shared=self.config.shared_logger)
        if self.context.metrics is not None:
            self.context.metrics.add(self.traffic)

    def http_reuse(self, task: Task) -> None:
        """IHTTPForward, for the escapers that provide it."""
        self.stats.task_total += 1

    def stop(self) -> Deferred[Any] | None:
        """Connections belong to their tasks and live on."""
        if self.context.metrics is not None:
            self.context.metrics.remove(self.traffic)
        return None

    def resolve(self, resolver: Any, name: str, strategy: ResolveStrategy, *redirections: ResolveRedirection | None) -> tuple[Any, Any]:
        """The addresses of a name by families, preferred first, as L{happy_connect} takes them. The first of C{redirections} that knows the name
        counts, and is asked once."""
        for redirection in redirections:
            found = None if redirection is None else redirection.query(name)
            if found is None:
                continue
            if not isinstance(found, str):
                return _by_family(found, strategy)
            name = found
            break
        families = strategy.query.families
        first = _ask(resolver, name, families[0])
        return first, None if len(families) == 1 else _ask(resolver, name, families[1])

    async def secure(self, stream: Stream, task: Task, tls: ClientTLS, name: str, application: str) -> Any:
        """TLS with the task's upstream over C{stream}.

        @raise UpstreamTlsHandshakeFailed: or UpstreamTlsHandshakeTimeout; logged, and the stream is closed.
        """
        try:
            return await tls_connect(stream, tls, name, port=task.upstream.port)
        except TLSHandshakeTimeout as error:
            failed: ConnectError = UpstreamTlsHandshakeTimeout(f"upstream {error}")
        except TLSHandshakeFailed as error:
            failed = UpstreamTlsHandshakeFailed(f"upstream tls handshake failed: {error}")
        if self.logger is not None:
            log_tls_handshake(self.logger, task, failed, tls_name=name, tls_peer=task.upstream, tls_application=application)
        raise failed


def limit_speed(stream: Any, speed: StreamSpeed) -> None:
    """Bound a connection to an upstream: C{upload} is what is written to it."""
    if speed.shift:
        stream.set_write_limit((StreamLimiter(speed.shift, speed.upload),))
        stream.set_read_limit((StreamLimiter(speed.shift, speed.download),))


def introduce(stream: Stream, task: Task, version: int) -> None:
    """Tell the upstream who the client is, with a PROXY protocol header, before anything else is sent.

    @raise ProxyProtocolEncodeError: the client's addresses do not fit; ProxyProtocolWriteFailed. The stream is closed.
    """
    try:
        stream.write(encode(version, task.client.client, task.client.server))
    except BaseException:
        stream.abortConnection()
        raise
    if stream.write_failed:
        stream.abortConnection()
        raise ProxyProtocolWriteFailed


def _ask(resolver: Any, name: str, family: int) -> Any:
    try:
        return resolver.query(name, family)
    except ResolveError as error:
        return error


def _by_family(addresses: Sequence[IPAddress], strategy: ResolveStrategy) -> tuple[Any, Any]:
    """Addresses a redirection gives: those of the preferred family, then the other one's where it is allowed."""
    allowed = [tuple(str(ip) for ip in addresses if ip.version == family) for family in strategy.query.families]
    some = [group for group in allowed if group]
    if not some:
        return (), None
    return some[0], some[1] if len(some) > 1 else None


def pick_random(addresses: Sequence[str], most: int) -> Sequence[str]:
    """At most C{most} addresses of one family, in any order."""
    return addresses if len(addresses) == 1 else random.sample(addresses, min(most, len(addresses)))


def pick_first(addresses: Sequence[str], most: int) -> Sequence[str]:
    """The first C{most} addresses."""
    return addresses[:most]


class Dial:
    """One TCP connect of one task. Subclasses say what may be connected to and from where; what was done is noted on C{task.connect}.

    C{connect}, C{misc} and C{keepalive} are the options that hold for this task. C{local}: where an earlier connection of the task, which this one
    belongs to, comes from; of the addresses to bind it is to be that one.
    """

    __slots__ = ("began", "connect", "escaper", "keepalive", "local", "misc", "port", "task")

    def __init__(self, escaper: Escaper, task: Task, port: int, connect: TCPConnect, misc: TCPMisc | None, keepalive: Keepalive | None) -> None:
        self.escaper = escaper
        self.task = task
        self.port = port
        self.connect = connect
        self.misc = misc
        self.keepalive = keepalive
        self.local = ""
        self.began = 0.0

    def permit(self, ip: IPAddress) -> None:
        """@raise ForbiddenRemoteAddress: or ForbiddenAddressFamily: no connection to C{ip}."""

    def binding(self, ip: IPAddress) -> Binding:
        """Where to connect to C{ip} from."""
        return ANY

    async def to_address(self, host: str) -> Stream:
        """A stream to a literal address.

        @raise ConnectError: nothing is left open.
        """
        self.began = self.escaper.clock()
        try:
            return self._made(await self._attempt(host))
        finally:
            self._note_spend()

    async def to_name(self, first: Any, second: Any, strategy: ResolveStrategy, eyeballs: HappyEyeballs) -> Stream:
        """A stream to the first address of a name that answers.

        @raise ConnectError: nothing is left open.
        """
        self.began = self.escaper.clock()
        pick = pick_random if strategy.pick is Pick.RANDOM else pick_first
        if isinstance(second, ResolveError) and not isinstance(first, ResolveError):
            second = None
        try:
            reactor = self.escaper.context.reactor
            tries = self.connect.max_tries
            made = await happy_connect(reactor, first, second, self._attempt, eyeballs, max_tries=tries, pick=pick, discard=_discard)
            return self._made(made)
        except ResolveError as error:
            raise ResolveFailed(error) from error
        finally:
            self._note_spend()

    def _note_spend(self) -> None:
        self.task.connect.spend = self.escaper.clock() - self.began

    async def _attempt(self, host: str) -> tuple[socket.socket, str, Binding]:
        """One connect to one address, counted and noted."""
        ip = parse_ip(host)
        if ip is None:
            raise ResolveError("DriverError", "BadResp")
        self.permit(ip)
        escaper, notes = self.escaper, self.task.connect
        stats = escaper.stats
        binding = self.binding(ip)
        notes.tries += 1
        stats.tcp_connect_attempt += 1
        stats.connection_attempt += 1
        context = escaper.context
        try:
            sock, waiting = begin_connect(
                context.reactor,
                context.timers,
                (host, self.port),
                timeout=self.connect.each_timeout,
                binding=binding,
                misc=self.misc,
                keepalive=self.keepalive,
            )
            if waiting is not None:
                await waiting
        except ConnectError as error:
            self._failed(error, host, binding)
            raise
        stats.tcp_connect_success += 1
        return sock, host, binding

    def _failed(self, error: ConnectError, host: str, binding: Binding) -> None:
        stats = self.escaper.stats
        if isinstance(error, TimeoutByRule):
            stats.tcp_connect_timeout += 1
        elif isinstance(error, ConnectFailed):
            stats.tcp_connect_error += 1
        notes = self.task.connect
        notes.peer = (host, self.port)
        notes.bind_ip = parse_ip(binding.ip) if binding.ip else None
        self._note_spend()
        if self.escaper.logger is not None:
            log_tcp_connect(self.escaper.logger, self.task, error)

    def _made(self, made: tuple[socket.socket, str, Binding]) -> Stream:
        """The connection that is used: noted, and its bytes counted."""
        sock, host, binding = made
        escaper, notes = self.escaper, self.task.connect
        notes.peer = peer = (host, self.port)
        notes.bind_ip = parse_ip(binding.ip) if binding.ip else None
        escaper.stats.tcp_connect_establish += 1
        escaper.stats.connection_establish += 1
        if self.task.tells_local or escaper.logger is not None:
            notes.local = sock.getsockname()[:2]
        return Stream(escaper.context.reactor, sock, notes.local, peer)


def _discard(made: tuple[socket.socket, str, Binding]) -> None:
    made[0].close()
