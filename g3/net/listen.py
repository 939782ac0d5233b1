# SPDX-License-Identifier: Apache-2.0
"""Listening sockets, and accepting from one that other processes accept from too.

A listener is one raw non-blocking socket, bound once and shared by every worker. Twisted's C{listenTCP} is not used: its close shuts
the socket down for all who share it, and it closes clients when descriptors run out. Here a client that cannot be accepted now stays in
the kernel's queue, where another worker finds it.
"""

from __future__ import annotations

import contextlib
import ctypes
import errno
import os
import resource
import socket
import struct
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Final, Protocol

from twisted.internet.interfaces import IReadDescriptor
from twisted.logger import Logger
from zope.interface import implementer

from g3.errors import ConfigError
from g3.net.sockopts import PlainSocket, bind_to_interface, bound, mark_of, set_keepalive, set_mark, set_transparent
from g3.net.transport import plain_address
from g3.task import format_address

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from twisted.internet.interfaces import IDelayedCall
    from twisted.python.failure import Failure

    from g3.net.options import TCPListen
    from g3.task import SocketAddress

#: Accepts per wake-up: enough to drain a burst, few enough that established connections are served between.
BATCH: Final = 32
#: What listen(2) takes; the kernel has a limit of its own below that (net.core.somaxconn).
MOST_BACKLOG: Final = (1 << 31) - 1
#: Seconds without accepting once descriptors or kernel memory ran out.
EXHAUSTED_PAUSE: Final = 0.1
#: Descriptors kept for ourselves (resolvers, logs, control, pipes): at most so many, and this part of all.
RESERVE: Final = 64
RESERVE_PART: Final = 8
#: Seconds for which who has begun to connect may finish that before a socket is closed: a round trip across the world.
HANDSHAKE: Final = 0.5
#: Accepts while draining; a bound, since new clients may come in as fast as they are taken.
DRAIN_LIMIT: Final = 65536

EXHAUSTED: Final = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM})

# Of asm-generic/socket.h; the socket module has no names for them.
_SO_ATTACH_FILTER: Final = 26
_SO_DETACH_FILTER: Final = 27
#: Classic BPF over a TCP segment: with SYN and without ACK it is dropped, anything else passes whole.
_NO_SYN: Final = b"".join(
    struct.pack("=HBBI", *instruction)
    for instruction in ((0x30, 0, 0, 13), (0x54, 0, 0, 0x12), (0x15, 0, 1, 0x02), (0x06, 0, 0, 0), (0x06, 0, 0, 0xFFFFFFFF))
)


def bind_tcp(options: TCPListen, *, reuse_port: bool = False) -> socket.socket:
    """A non-blocking listening socket with everything C{options} ask for.

    C{[::]} serves IPv4 too unless C{ipv6_only} is set; on a host without IPv6 it serves IPv4 alone. The port is ours alone: without
    C{reuse_port}, SO_REUSEPORT is not set, so that a port taken by another program is an error and not a share of its clients.

    @raise ConfigError: with the address and the reason; nothing is left open.
    """
    host, port = options.address
    try:
        return bound(options, lambda host: _bind(options, host, port, reuse_port))
    except OSError as error:
        raise refusal(options.address, error) from error


def _bind(options: TCPListen, host: str, port: int, reuse_port: bool) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    sock = socket.socket(family, socket.SOCK_STREAM | socket.SOCK_NONBLOCK)
    try:
        _prepare(sock, options, host)
        if reuse_port:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        sock.bind((host, port))
        # After bind, as the bind itself may need an address of another device.
        if options.interface is not None:
            bind_to_interface(sock, str(options.interface))
        _listen(sock, options)
    except BaseException:
        sock.close()
        raise
    return sock


def _prepare(sock: socket.socket, options: TCPListen, host: str) -> None:
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    if host == "::":
        sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, int(bool(options.ipv6_only)))
    if options.transparent:
        set_transparent(sock)
    if options.netfilter_mark is not None:
        set_mark(sock, options.netfilter_mark)
    _set_inherited(sock, options)


def _listen(sock: socket.socket, options: TCPListen) -> None:
    sock.listen(min(options.backlog, MOST_BACKLOG))


def _set_inherited(sock: socket.socket, options: TCPListen) -> None:
    """What accepted sockets inherit."""
    if options.max_segment_size is not None:
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_MAXSEG, options.max_segment_size)
    set_keepalive(sock, options.keepalive)


def check(sock: socket.socket, options: TCPListen) -> None:
    """See that what L{adjust} sets can be as C{options} say; on C{sock} nothing is changed. Raises ConfigError."""
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as trial:
        try:
            _set_inherited(trial, options)
            if options.netfilter_mark is not None and mark_of(sock) != options.netfilter_mark:
                set_mark(trial, options.netfilter_mark)
        except OSError as error:
            raise refusal(options.address, error) from error


def adjust(sock: socket.socket, options: TCPListen) -> None:
    """Set on a listening socket what of C{options} can be changed while it listens. Accepted sockets inherit it. Raises OSError."""
    _let_in(sock)
    _listen(sock, options)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 0)
    _set_inherited(sock, options)
    if options.netfilter_mark is not None and mark_of(sock) != options.netfilter_mark:
        # One that was passed to us may have it, and we may not set it.
        set_mark(sock, options.netfilter_mark)


def following(options: TCPListen, before: TCPListen) -> TCPListen:
    """C{options} for a socket that is as C{before} says: what only that says is as the kernel has it by itself."""
    mark = 0 if options.netfilter_mark is None and before.netfilter_mark is not None else options.netfilter_mark
    size = 0 if options.max_segment_size is None and before.max_segment_size is not None else options.max_segment_size
    return replace(options, netfilter_mark=mark, max_segment_size=size)


@contextlib.contextmanager
def turned_away(sockets: Iterable[socket.socket]) -> Iterator[None]:
    """Meanwhile nobody begins to connect to these listening sockets, which are about to be closed by all who share them: a client whose connect
    succeeded after the last of us has looked at the queue would be reset. It tries again after a second (RFC 6298), and finds the port closed or
    open. Who has begun before ends its handshake within L{HANDSHAKE}. They may be closed meanwhile: the last to do so is this, at the end. Where
    the kernel cannot do it, nothing."""
    held = [descriptor for sock in sockets if (descriptor := _dropping_syn(sock)) is not None]
    try:
        yield
    finally:
        for descriptor in held:
            # Somebody else may go on with it: a daemon after us, or who passed it to us.
            with descriptor:
                _let_in(descriptor)


def _let_in(sock: socket.socket) -> None:
    """Whoever was about to close it, and was perhaps killed before, somebody goes on with it."""
    with contextlib.suppress(OSError):
        sock.setsockopt(socket.SOL_SOCKET, _SO_DETACH_FILTER, 0)


def _dropping_syn(sock: socket.socket) -> socket.socket | None:
    """A descriptor of its own of a socket that from now on nobody can connect to; None when that cannot be had."""
    program = ctypes.create_string_buffer(_NO_SYN, len(_NO_SYN))
    try:
        descriptor = sock.dup()
    except OSError:
        return None
    try:
        descriptor.setsockopt(socket.SOL_SOCKET, _SO_ATTACH_FILTER, struct.pack("@HP", len(_NO_SYN) // 8, ctypes.addressof(program)))
    except OSError:
        descriptor.close()
        return None
    return descriptor


def refusal(address: SocketAddress, error: OSError) -> ConfigError:
    """What to say of an address that cannot be listened on."""
    what = {
        errno.EADDRINUSE: "another program listens there",
        errno.EADDRNOTAVAIL: "this host has no such address",
        errno.EACCES: "ports below 1024 need CAP_NET_BIND_SERVICE",
        errno.EPERM: "interface, mark and transparent need CAP_NET_ADMIN",
        errno.ENODEV: "there is no such interface",
    }.get(error.errno or 0)
    reason = os.strerror(error.errno) if error.errno else str(error)
    return ConfigError(f"cannot listen on {format_address(address)}: {reason}" + (f" ({what})" if what else ""))


class Load(Protocol):
    """How many clients there are now."""

    live: int


class Room:
    """Whether the descriptors are enough for one more client: it may need a second one for its upstream, and some are kept for ourselves.

    So whoever is accepted can be served, and who cannot be waits in the kernel's queue.
    """

    __slots__ = ("_load", "most")

    def __init__(self, load: Load, limit: int | None = None) -> None:
        """@param limit: descriptors of this process; as it is now when not said."""
        if limit is None:
            limit = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
        self._load = load
        #: Clients at most.
        self.most = 1 << 62 if limit == resource.RLIM_INFINITY else max(1, (limit - min(RESERVE, limit // RESERVE_PART)) // 2)

    @property
    def left(self) -> bool:
        """Whether there is room for one more."""
        return self._load.live < self.most


@implementer(IReadDescriptor)
class TCPListener:
    """Accepts from a listening socket on any reactor: C{on_accept(socket, peer)} for each client, its socket non-blocking, TCP_NODELAY on.

    Counts C{accepted}, C{failed} (accept errors of one client) and C{exhausted} (times descriptors, or the C{room} for clients, ran out). When
    they do, accepting pauses for L{EXHAUSTED_PAUSE} seconds and the clients stay queued: no busy loop, no dropped client.
    """

    __slots__ = ("_family", "_held", "_on_accept", "_reactor", "_reading", "_retry", "_room", "accepted", "address", "exhausted", "failed", "socket")

    log = Logger()

    def __init__(
        self, reactor: Any, sock: socket.socket, on_accept: Callable[[socket.socket, SocketAddress], None], *, room: Room | None = None
    ) -> None:
        self._reactor = reactor
        self._room = room
        self._on_accept = on_accept
        self._reading = False
        self._held = False
        self._retry: IDelayedCall | None = None
        # Accepted sockets inherit it.
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.socket: socket.socket | None = sock
        self._family = int(sock.family)
        self.address: SocketAddress = plain_address(sock.getsockname())
        self.accepted = 0
        self.failed = 0
        self.exhausted = 0

    def start(self) -> None:
        """Begin or go on accepting."""
        self._held = False
        self._update()

    resume = start

    def pause(self) -> None:
        """Leave clients in the queue until C{resume}."""
        self._held = True
        self._update()

    def stop(self, *, drain: bool = True) -> None:
        """Close our descriptor, never the socket of those who share it. C{drain} first accepts all that is queued now."""
        sock, self._held = self.socket, True
        if sock is None:
            return
        if self._retry is not None:
            self._retry.cancel()
            self._retry = None
        self._update()
        if drain:
            self._accept_many(sock, DRAIN_LIMIT)
        # on_accept may have stopped us.
        if self.socket is not None:
            self.socket = None
            sock.close()

    def fileno(self) -> int:
        return -1 if self.socket is None else self.socket.fileno()

    def logPrefix(self) -> str:
        return "listener"

    def doRead(self) -> None:
        # An event may be delivered after pause, out of the batch in which pause was called.
        if self._reading and self.socket is not None:
            self._accept_many(self.socket, BATCH)

    def connectionLost(self, reason: Failure) -> None:
        """The reactor is shutting down or gave up on the descriptor."""
        self.stop(drain=False)

    def _update(self) -> None:
        wanted = self.socket is not None and not self._held and self._retry is None
        if wanted == self._reading:
            return
        self._reading = wanted
        if wanted:
            self._reactor.addReader(self)
        else:
            self._reactor.removeReader(self)

    def _accept_many(self, sock: socket.socket, most: int) -> int:
        """Accept until nobody waits or C{most} were tried; how many were accepted."""
        before = self.accepted
        accept, family = sock._accept, self._family  # type: ignore[attr-defined]  # of the base: see PlainSocket
        for _ in range(most):
            # Who is queued on a listener that closes is accepted while that can be done at all.
            if self._room is not None and not self._room.left and not self._held:
                self._exhausted()
                break
            try:
                descriptor, peer = accept()
                client = PlainSocket(family, socket.SOCK_STREAM, 0, descriptor)
                client.setblocking(False)
            except BlockingIOError:
                break
            except OSError as error:
                if error.errno in EXHAUSTED:
                    self._exhausted()
                    break
                if error.errno == errno.EBADF:
                    break
                # One client's trouble (it went away, a firewall said no): the next one is in the queue.
                self.failed += 1
                continue
            self.accepted += 1
            try:
                self._on_accept(client, peer if family == socket.AF_INET else plain_address(peer))
            except Exception:
                self.log.failure("accepting a client on {address} failed", address=self.address)
                client.close()
            if self.socket is None:
                break
        return self.accepted - before

    def _exhausted(self) -> None:
        self.exhausted += 1
        if self._retry is None and self.socket is not None and not self._held:
            self._retry = self._reactor.callLater(EXHAUSTED_PAUSE, self._try_again)
            self._update()

    def _try_again(self) -> None:
        self._retry = None
        self._update()
