# SPDX-License-Identifier: Apache-2.0
"""Open UDP sockets: for a client to send to, and to reach upstreams from."""

from __future__ import annotations

import errno
import os
import random
import socket
from typing import TYPE_CHECKING, Final

from g3.net.sockopts import bind_to_interface, set_buffers, set_transparent, set_udp_misc

if TYPE_CHECKING:
    from g3.net.connect import Binding
    from g3.net.options import PortRange, SocketBuffer, UDPMisc

_DATAGRAM: Final = socket.SOCK_DGRAM | socket.SOCK_NONBLOCK
#: Ports of a range tried at random before all of them are tried in order.
_GUESSES: Final = 10


def _family(ip: str) -> socket.AddressFamily:
    return socket.AF_INET6 if ":" in ip else socket.AF_INET


def _made(family: socket.AddressFamily, buffers: SocketBuffer | None) -> socket.socket:
    sock = socket.socket(family, _DATAGRAM)
    try:
        if family == socket.AF_INET6:
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        set_buffers(sock, buffers)
    except BaseException:
        sock.close()
        raise
    return sock


def bind_udp(ip: str, ports: PortRange | None, buffers: SocketBuffer | None, misc: UDPMisc | None) -> socket.socket:
    """A socket at C{ip} for somebody to send to, at any port or one of C{ports}.

    @raise OSError: and nothing is left open.
    """
    sock = _made(_family(ip), buffers)
    try:
        if ports is None:
            sock.bind((ip, 0))
        else:
            _bind_in(sock, ip, ports)
        set_udp_misc(sock, misc)
    except BaseException:
        sock.close()
        raise
    return sock


def _bind_in(sock: socket.socket, ip: str, ports: PortRange) -> None:
    for _ in range(min(_GUESSES, len(ports))):
        if _tried(sock, ip, random.randint(ports.start, ports.end)):
            return
    if not any(_tried(sock, ip, port) for port in range(ports.start, ports.end + 1)):
        raise OSError(errno.EADDRINUSE, f"no port from {ports.start} to {ports.end} is free")


def _tried(sock: socket.socket, ip: str, port: int) -> bool:
    try:
        sock.bind((ip, port))
    except OSError as error:
        if error.errno in (errno.EADDRINUSE, errno.EACCES):
            return False
        raise
    return True


def open_udp(family: int, binding: Binding, buffers: SocketBuffer | None, misc: UDPMisc | None) -> socket.socket:
    """A socket to reach upstreams of C{family} (4 or 6) from.

    @raise OSError: and nothing is left open.
    """
    sock = _made(socket.AF_INET6 if family == 6 else socket.AF_INET, buffers)
    try:
        if binding.interface:
            bind_to_interface(sock, binding.interface)
        if binding.ip:
            _bind(sock, binding)
        set_udp_misc(sock, misc)
    except BaseException:
        sock.close()
        raise
    return sock


def _bind(sock: socket.socket, binding: Binding) -> None:
    if _family(binding.ip) != sock.family:
        raise OSError(errno.EAFNOSUPPORT, os.strerror(errno.EAFNOSUPPORT))
    if binding.port:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    if binding.foreign:
        set_transparent(sock)
    sock.bind((binding.ip, binding.port))
