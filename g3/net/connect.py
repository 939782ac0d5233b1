# SPDX-License-Identifier: Apache-2.0
"""Open one TCP connection: a socket made, bound and connected, on any reactor.

Every tunnel pays this once. A coroutine that finds the connection made (loopback, or an answer that was faster than we are) never meets
the reactor: after EINPROGRESS the second look at the socket costs half a microsecond, a turn of the reactor with registration about fifty.
"""

from __future__ import annotations

import errno
import os
import socket
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IWriteDescriptor
from zope.interface import implementer

from g3.errors import ConnectFailed, SetupSocketFailed, TimeoutByRule
from g3.net.sockopts import PlainSocket, bind_address_no_port, bind_to_interface, set_keepalive, set_tcp_misc, set_transparent

if TYPE_CHECKING:
    from twisted.python.failure import Failure

    from g3.net.options import Keepalive, TCPMisc
    from g3.net.timers import Timer, TimerWheel
    from g3.task import SocketAddress

_PENDING: Final = frozenset({errno.EINPROGRESS, errno.EALREADY})
_STREAM: Final = socket.SOCK_STREAM | socket.SOCK_NONBLOCK


@dataclass(frozen=True, slots=True)
class Binding:
    """The local end of a connection to be made: an address, or a device, or a foreign address (TPROXY), or none of them.

    C{port} 0 lets the kernel choose one per destination.
    """

    ip: str = ""
    port: int = 0
    interface: str = ""
    foreign: bool = False


#: Leave the local end to the kernel.
ANY: Final = Binding()


def open_socket(ip: str, binding: Binding, misc: TCPMisc | None, keepalive: Keepalive | None) -> socket.socket:
    """An unconnected socket that can connect to C{ip}.

    @raise SetupSocketFailed: and nothing is left open.
    """
    family = socket.AF_INET6 if ":" in ip else socket.AF_INET
    try:
        sock: socket.socket = PlainSocket(family, _STREAM)
    except OSError as error:
        raise _setup_failed(error) from error
    try:
        if binding is not ANY:
            _bind(sock, binding)
        set_keepalive(sock, keepalive)
        set_tcp_misc(sock, misc)
    except OSError as error:
        sock.close()
        raise _setup_failed(error) from error
    return sock


def _bind(sock: socket.socket, binding: Binding) -> None:
    if binding.interface:
        bind_address_no_port(sock)
        bind_to_interface(sock, binding.interface)
    if not binding.ip:
        return
    if (":" in binding.ip) != (sock.family == socket.AF_INET6):
        raise OSError(errno.EAFNOSUPPORT, "the address to bind and the peer are of two families")
    if binding.port:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    else:
        bind_address_no_port(sock)
    if binding.foreign:
        set_transparent(sock)
    sock.bind((binding.ip, binding.port))


def _setup_failed(error: OSError) -> SetupSocketFailed:
    return SetupSocketFailed(f"setup of the local socket failed: {error.strerror or error}")


def begin_connect(
    reactor: Any,
    timers: TimerWheel,
    address: SocketAddress,
    *,
    timeout: float,
    binding: Binding = ANY,
    misc: TCPMisc | None = None,
    keepalive: Keepalive | None = None,
) -> tuple[socket.socket, Deferred[None] | None]:
    """L{connect_tcp} without a coroutine for a connection that is made at once: its socket, and what is still to be waited for, which is a
    Deferred that closes the socket when it fails, or None.

    @raise SetupSocketFailed: no such socket can be had here.
    @raise ConnectFailed: the kernel refused.
    """
    sock = open_socket(address[0], binding, misc, keepalive)
    if "%" in address[0]:
        number = _connect_in_zone(sock, address)
    else:
        number = sock.connect_ex(address)
        if number == errno.EINPROGRESS:
            # A loopback handshake ends while connect returns, which then has not seen it.
            number = sock.connect_ex(address)
    if number:
        if number not in _PENDING:
            sock.close()
            raise ConnectFailed(number, os.strerror(number))
        return sock, _Connecting(reactor, timers, sock, timeout).done
    return sock, None


def zoned_address(address: SocketAddress) -> tuple[str, int, int, int]:
    """What the kernel is told of an address with a zone (RFC 4007 section 11), the number or name of the interface it is at: C{fe80::1%2}.

    @raise OSError: there is no such interface.
    """
    host, _, zone = address[0].partition("%")
    return host, address[1], 0, int(zone) if zone.isdecimal() else socket.if_nametoindex(zone)


def _connect_in_zone(sock: socket.socket, address: SocketAddress) -> int:
    try:
        return sock.connect_ex(zoned_address(address))
    except (OSError, OverflowError) as error:
        return getattr(error, "errno", None) or errno.ENODEV


async def connect_tcp(reactor: Any, timers: TimerWheel, address: SocketAddress, **options: Any) -> socket.socket:
    """A connected non-blocking socket to C{address} (numeric), within C{timeout} seconds. TCP_NODELAY is set unless C{misc} says no.

    Cancelling closes the socket. Options as L{begin_connect}.

    @raise SetupSocketFailed: no such socket can be had here.
    @raise ConnectFailed: the kernel or the peer refused.
    @raise TimeoutByRule: C{timeout} passed.
    """
    sock, waiting = begin_connect(reactor, timers, address, **options)
    if waiting is not None:
        await waiting
    return sock


@implementer(IWriteDescriptor)
class _Connecting:
    """Waits for the kernel's word on one connection; C{done} fires with None, or fails with the socket closed."""

    __slots__ = ("_reactor", "_sock", "_timer", "done")

    def __init__(self, reactor: Any, timers: TimerWheel, sock: socket.socket, timeout: float) -> None:
        self._reactor = reactor
        self._sock = sock
        self.done: Deferred[None] = Deferred(self._cancelled)
        self._timer: Timer = timers.add(timeout, self._timed_out)
        reactor.addWriter(self)

    def fileno(self) -> int:
        return self._sock.fileno()

    def logPrefix(self) -> str:
        return "connect"

    def doWrite(self) -> None:
        if self.done.called:
            return
        number = self._sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
        self._leave(close=number != 0)
        if number:
            self.done.errback(ConnectFailed(number, os.strerror(number)))
        else:
            self.done.callback(None)

    def connectionLost(self, reason: Failure) -> None:
        """The reactor saw a hang-up before it asked us to write (poll's way to say refused), or is shutting down."""
        if self.done.called:
            return
        number = self._sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR) or errno.ECONNABORTED
        self._leave(close=True)
        self.done.errback(ConnectFailed(number, os.strerror(number)))

    def _timed_out(self) -> None:
        self._leave(close=True)
        self.done.errback(TimeoutByRule())

    def _cancelled(self, _done: Deferred[None]) -> None:
        self._leave(close=True)

    def _leave(self, *, close: bool) -> None:
        self._timer.cancel()
        self._reactor.removeWriter(self)
        if close:
            self._sock.close()
