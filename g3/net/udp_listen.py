# SPDX-License-Identifier: Apache-2.0
"""Receiving datagrams from anybody: one bound socket, read in bounded batches, answered at once or not at all."""

from __future__ import annotations

import errno
import os
import socket
from typing import TYPE_CHECKING, Any, Final

from twisted.internet.interfaces import IReadDescriptor
from twisted.logger import Logger
from zope.interface import implementer

from g3.errors import ConfigError
from g3.net.sockopts import bind_to_interface, bound, set_buffers, set_udp_misc
from g3.task import format_address

if TYPE_CHECKING:
    from collections.abc import Callable

    from twisted.python.failure import Failure

    from g3.net.options import UDPListen

_log = Logger()

#: Datagrams per wake-up.
BATCH: Final = 64


def bind_udp(options: UDPListen, *, reuse_port: bool = False) -> socket.socket:
    """A non-blocking bound socket with everything C{options} ask for. C{[::]} receives IPv4 too unless C{ipv6_only} is set; on a host without
    IPv6 it receives IPv4 alone.

    @raise ConfigError: with the address and the reason; nothing is left open.
    """
    host, port = options.address
    try:
        return bound(options, lambda host: _bind(options, host, port, reuse_port))
    except OSError as error:
        where = format_address(options.address)
        reason = os.strerror(error.errno) if error.errno else str(error)
        what = " (another program receives there)" if error.errno == errno.EADDRINUSE else ""
        raise ConfigError(f"cannot receive datagrams on {where}: {reason}{what}") from error


def _bind(options: UDPListen, host: str, port: int, reuse_port: bool) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    sock = socket.socket(family, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK)
    try:
        if host == "::":
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, int(bool(options.ipv6_only)))
        if reuse_port:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        set_buffers(sock, options.socket_buffer)
        set_udp_misc(sock, options.socket_misc_opts)
        sock.bind((host, port))
        if options.interface is not None:
            bind_to_interface(sock, str(options.interface))
    except BaseException:
        sock.close()
        raise
    return sock


@implementer(IReadDescriptor)
class DatagramListener:
    """Gives each datagram to C{received(data, peer)}; C{peer} is what C{send} takes. Datagrams over C{limit} bytes are cut there."""

    __slots__ = ("_held", "_limit", "_reactor", "_reading", "_received", "socket")

    def __init__(self, reactor: Any, sock: socket.socket, received: Callable[[bytes, Any], None], limit: int) -> None:
        self._reactor = reactor
        self._received = received
        self._limit = limit
        self._reading = False
        self._held = True
        self.socket: socket.socket | None = sock

    @property
    def address(self) -> tuple[str, int]:
        """(ip, port) that it is bound to."""
        return ("", 0) if self.socket is None else self.socket.getsockname()[:2]

    def start(self) -> None:
        """Begin or go on reading."""
        self._held = False
        self._update()

    def pause(self) -> None:
        """Leave datagrams to the kernel, which keeps what fits into its buffer."""
        self._held = True
        self._update()

    def send(self, data: bytes, peer: Any) -> bool:
        """Send one datagram; False when the kernel does not take it. Never raises."""
        if self.socket is None:
            return False
        try:
            self.socket.sendto(data, peer)
        except OSError:
            return False
        return True

    def stop(self) -> None:
        """Close. A second call does nothing."""
        sock, self._held = self.socket, True
        self._update()
        self.socket = None
        if sock is not None:
            sock.close()

    def _update(self) -> None:
        wanted = self.socket is not None and not self._held
        if wanted == self._reading:
            return
        self._reading = wanted
        (self._reactor.addReader if wanted else self._reactor.removeReader)(self)

    def fileno(self) -> int:
        return -1 if self.socket is None else self.socket.fileno()

    def logPrefix(self) -> str:
        return "datagrams"

    def doRead(self) -> None:
        for _ in range(BATCH):
            if not self._reading or self.socket is None:
                return
            try:
                data, peer = self.socket.recvfrom(self._limit)
            except BlockingIOError:
                return
            except OSError:
                # An answer of ours was refused: nothing of ours is waiting for it.
                continue
            try:
                self._received(data, peer)
            except Exception:
                _log.failure("a datagram could not be handled")

    def connectionLost(self, reason: Failure) -> None:
        """The reactor ends."""
        self.stop()
