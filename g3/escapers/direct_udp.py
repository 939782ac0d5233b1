# SPDX-License-Identifier: Apache-2.0
"""Datagrams straight to upstreams: a path to one of them, and a path to any number."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, Protocol

from twisted.internet.defer import CancelledError, Deferred
from twisted.logger import Logger
from zope.interface import implementer

from g3.errors import (
    AddressNotSupported,
    ConnectError,
    DomainNotResolved,
    ForbiddenAddressFamily,
    ForbiddenRemoteAddress,
    ForbiddenTargetIpAddress,
    InternalServerError,
    RecvFailed,
    ResolveError,
    ResolveFailed,
    SendFailed,
    SetupSocketFailed,
    TaskError,
)
from g3.escapers.base import pick_first, pick_random
from g3.interfaces import IDatagramPath
from g3.limit.datagram import datagram_limiters
from g3.logs.escape import log_udp_sendto
from g3.net.options import DatagramRelay, Pick
from g3.net.transport import plain_address
from g3.net.udp import open_udp
from g3.relay.udp import DatagramSocket
from g3.task import parse_ip

if TYPE_CHECKING:
    import socket

    from g3.logs.logger import Logger as RecordLogger
    from g3.metrics.escaper import EscaperStats
    from g3.net.connect import Binding
    from g3.net.egress import UserEgress
    from g3.net.options import ResolveStrategy
    from g3.net.redirection import ResolveRedirection
    from g3.task import IPAddress, SocketAddress, Task, Upstream

#: Of one session with many upstreams: upstreams and names remembered, and datagrams that wait for their name.
TARGETS: Final = 256
NAMES: Final = 64
WAITING: Final = 32

_DEFAULT: Final = DatagramRelay()
_log = Logger()


class Direct(Protocol):
    """The escaper whose paths they are: its rules, its names, and where it sends from."""

    config: Any
    context: Any
    stats: EscaperStats
    strategy: ResolveStrategy
    logger: RecordLogger | None

    @property
    def resolver(self) -> Any: ...

    def resolve(self, resolver: Any, name: str, strategy: ResolveStrategy, *redirections: ResolveRedirection | None) -> tuple[Any, Any]: ...

    def permit(self, task: Task, ip: IPAddress) -> None: ...

    def binding(self, task: Task, ip: IPAddress) -> Binding: ...


def _egress(task: Task) -> UserEgress | None:
    return None if task.user is None else task.user.egress(task)


async def _own(answer: Any) -> Any:
    """The addresses of an answer, which others may wait for too: it is not cancelled with us."""
    if isinstance(answer, Deferred):
        ours: Deferred[Any] = Deferred()  # without a canceller: an answer after a cancel is no fault
        answer.addCallbacks(ours.callback, ours.errback)
        answer = await ours
    if isinstance(answer, ResolveError):
        raise answer
    return answer


async def resolve_one(escaper: Direct, task: Task, name: str) -> IPAddress:
    """One address of a name: of the preferred family if it has one.

    @raise ResolveFailed: it has none.
    """
    egress, strategy = _egress(task), escaper.strategy
    redirection = None
    if egress is not None:
        redirection = egress.resolve_redirection
        strategy = strategy if egress.resolve_strategy is None else strategy.adjusted(egress.resolve_strategy)
    first, second = escaper.resolve(escaper.resolver, name, strategy, redirection, escaper.config.resolve_redirection)
    try:
        try:
            addresses = await _own(first)
        except ResolveError:
            if second is None:
                raise
            addresses, second = await _own(second), None
    except ResolveError as error:
        raise ResolveFailed(error) from error
    finally:
        if isinstance(second, Deferred):
            second.addErrback(lambda _: None)
    pick = pick_random if strategy.pick is Pick.RANDOM else pick_first
    ip = parse_ip(pick(addresses, 1)[0]) if addresses else None
    if ip is None:
        raise ResolveFailed(ResolveError("EmptyResult"))
    return ip


def open_socket(escaper: Direct, task: Task, ip: IPAddress) -> tuple[DatagramSocket, socket.socket, Binding]:
    """A socket that can send to C{ip}, from where the escaper says.

    @raise SetupSocketFailed: there is none to be had.
    """
    config, relay, egress = escaper.config, task.udp or _DEFAULT, _egress(task)
    misc = config.udp_misc_opts
    if egress is not None and egress.udp_remote_misc_opts is not None:
        misc = misc.adjusted(egress.udp_remote_misc_opts)
    binding = escaper.binding(task, ip)
    try:
        sock = open_udp(ip.version, binding, relay.socket_buffer, misc)
    except OSError as error:
        raise SetupSocketFailed(f"setup of the local socket failed: {error.strerror or error}") from error
    speed = config.udp_sock_speed_limit
    datagrams = DatagramSocket(
        escaper.context.reactor,
        sock,
        escaper.stats,
        packet_size=relay.packet_size,
        batch=relay.batch_size,
        read_limits=datagram_limiters(speed.shift, speed.download_packets, speed.download_bytes),
        write_limits=datagram_limiters(speed.shift, speed.upload_packets, speed.upload_bytes),
    )
    return datagrams, sock, binding


async def udp_connect(escaper: Direct, task: Task) -> ConnectedPath:
    """A path to the task's upstream.

    @raise ConnectError: nothing is left open.
    """
    notes, upstream = task.connect, task.upstream
    notes.escaper = escaper.config.name
    ip = upstream.ip
    if ip is None:
        ip = await resolve_one(escaper, task, upstream.host)
    notes.peer = peer = (str(ip), upstream.port)
    escaper.permit(task, ip)
    datagrams, sock, binding = open_socket(escaper, task, ip)
    try:
        sock.connect(peer)
        notes.local = plain_address(sock.getsockname())
    except OSError as error:
        datagrams.close()
        raise SetupSocketFailed(f"setup of the local socket failed: {error.strerror or error}") from error
    notes.bind_ip = parse_ip(binding.ip) if binding.ip else None
    datagrams.connected = True
    return ConnectedPath(escaper, task, datagrams)


class _Path:
    """What both paths have: they end once, and say so once."""

    __slots__ = ("_escaper", "_receiver", "_task", "datagram_received")

    def __init__(self, escaper: Direct, task: Task) -> None:
        self._escaper, self._task = escaper, task
        self._receiver: Any = None
        #: The receiver's own: a datagram takes no step more.
        self.datagram_received: Any = None

    def start(self, receiver: Any) -> None:
        self._receiver = receiver
        self.datagram_received = receiver.datagram_received

    def close(self) -> None:
        self._receiver = self.datagram_received = None

    def _log(self, error: ConnectError, upstream: Upstream | None, local: SocketAddress | None, peer: SocketAddress | None) -> None:
        if self._escaper.logger is not None:
            log_udp_sendto(self._escaper.logger, self._task, error, upstream=upstream, local=local, peer=peer)

    def _end(self, error: TaskError) -> None:
        receiver = self._receiver
        self.close()
        if receiver is not None:
            receiver.path_closed(error)


@implementer(IDatagramPath)
class ConnectedPath(_Path):
    """To one upstream; what comes from others the kernel drops. An answer that nobody listens there ends it."""

    __slots__ = ("_socket",)

    def __init__(self, escaper: Direct, task: Task, datagrams: DatagramSocket) -> None:
        super().__init__(escaper, task)
        self._socket = datagrams

    def start(self, receiver: Any) -> None:
        super().start(receiver)
        self._socket.start(self)

    def send(self, data: Any, upstream: Upstream | None) -> float:
        try:
            return self._socket.send(data)
        except OSError as error:
            self._failed(SendFailed(f"send failed: {error.strerror}"))
            return 0.0

    def socket_failed(self, error: OSError) -> None:
        """Receiving failed."""
        self._failed(RecvFailed(f"recv failed: {error.strerror or error}"))

    def _failed(self, error: ConnectError) -> None:
        self._log(error, None, None, None)
        self._end(error)

    def hold(self, seconds: float) -> None:
        self._socket.hold(seconds)

    def close(self) -> None:
        super().close()
        self._socket.close()


@implementer(IDatagramPath)
class RelayPath(_Path):
    """To any upstream: each is resolved and judged when first sent to, and remembered. A socket of a family is opened when first needed.

    An upstream that is forbidden, that does not resolve or that the kernel cannot send to ends the path.
    """

    __slots__ = ("_names", "_resolving", "_sockets", "_targets", "_waiting", "_waiting_count")

    def __init__(self, escaper: Direct, task: Task) -> None:
        super().__init__(escaper, task)
        self._sockets: dict[int, DatagramSocket] = {}
        self._targets: dict[Upstream, tuple[DatagramSocket, SocketAddress]] = {}
        self._names: dict[str, IPAddress] = {}
        self._waiting: dict[str, list[tuple[bytes, Upstream]]] = {}
        self._waiting_count = 0
        self._resolving: set[Deferred[None]] = set()

    def start(self, receiver: Any) -> None:
        super().start(receiver)
        for datagrams in self._sockets.values():
            datagrams.start(self)

    def send(self, data: Any, upstream: Upstream) -> float:
        target = self._targets.get(upstream)
        if target is None:
            target = self._find(upstream, data)
            if target is None:
                return 0.0
        datagrams, address = target
        try:
            return datagrams.send_to(data, address)
        except OSError as error:
            failed = SendFailed(f"send failed: (remote: {address[0]}) {error.strerror}")
            self._failed(failed, upstream, datagrams, address)
            return 0.0

    def _find(self, upstream: Upstream, data: Any) -> tuple[DatagramSocket, SocketAddress] | None:
        """Where an upstream is that was not sent to yet; None where it waits for its address, or must not be sent to."""
        if self._receiver is None:  # it has ended
            return None
        ip = upstream.ip or self._names.get(upstream.host)
        if ip is None:
            self._wait(upstream, bytes(data))
            return None
        address = (str(ip), upstream.port)
        try:
            datagrams = self._socket_for(ip)
        except ForbiddenAddressFamily:
            self._failed(AddressNotSupported(), upstream, None, address)
        except ForbiddenRemoteAddress:
            self._failed(ForbiddenTargetIpAddress(), upstream, None, address)
        except ConnectError as error:
            self._failed(error, upstream, None, address)
        else:
            if len(self._targets) >= TARGETS:
                self._targets.clear()
            found = self._targets[upstream] = (datagrams, address)
            return found
        return None

    def _socket_for(self, ip: IPAddress) -> DatagramSocket:
        """@raise ConnectError: C{ip} is not to be sent to, or there is no socket for it."""
        self._escaper.permit(self._task, ip)
        datagrams = self._sockets.get(ip.version)
        if datagrams is None:
            datagrams, _, _ = open_socket(self._escaper, self._task, ip)
            self._sockets[ip.version] = datagrams
            if self._receiver is not None:
                datagrams.start(self)
        return datagrams

    # -- names

    def _wait(self, upstream: Upstream, data: bytes) -> None:
        """Keep a datagram until its upstream's name is resolved; one too many is dropped."""
        if self._waiting_count >= WAITING:
            return
        self._waiting_count += 1
        waiting = self._waiting.get(upstream.host)
        if waiting is not None:
            waiting.append((data, upstream))
            return
        self._waiting[upstream.host] = [(data, upstream)]
        resolving = Deferred.fromCoroutine(self._resolve(upstream))
        if not resolving.called:
            self._resolving.add(resolving)
            resolving.addBoth(lambda _: self._resolving.discard(resolving))

    async def _resolve(self, upstream: Upstream) -> None:
        try:
            ip = await resolve_one(self._escaper, self._task, upstream.host)
        except ResolveFailed as error:
            self._failed(DomainNotResolved(error.error), upstream, None, None)
        except CancelledError:
            return
        except Exception as error:
            _log.error("{escaper}: {error!r}", escaper=self._escaper.config.name, error=error)
            self._end(InternalServerError())
        else:
            self._resolved(upstream.host, ip)

    def _resolved(self, name: str, ip: IPAddress) -> None:
        if len(self._names) >= NAMES:
            del self._names[next(iter(self._names))]
        self._names[name] = ip
        waiting = self._waiting.pop(name, [])
        self._waiting_count -= len(waiting)
        for data, upstream in waiting:
            if self._receiver is not None:
                self.send(data, upstream)

    # -- the rest

    def socket_failed(self, error: OSError) -> None:
        """Receiving failed."""
        self._failed(RecvFailed(f"recv failed: {error.strerror or error}"), None, None, None)

    def _failed(self, error: ConnectError, upstream: Upstream | None, datagrams: DatagramSocket | None, peer: SocketAddress | None) -> None:
        local = None
        if datagrams is not None and datagrams.socket is not None:
            local = plain_address(datagrams.socket.getsockname())
        self._log(error, upstream, local, peer)
        self._end(error)

    def hold(self, seconds: float) -> None:
        for datagrams in self._sockets.values():
            datagrams.hold(seconds)

    def close(self) -> None:
        super().close()
        self._waiting.clear()
        self._targets.clear()
        for resolving in list(self._resolving):
            resolving.cancel()
        for datagrams in self._sockets.values():
            datagrams.close()
