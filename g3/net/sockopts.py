# SPDX-License-Identifier: Apache-2.0
"""Socket options: the option dataclasses of g3.net.options put onto real sockets.

Every function raises OSError as the kernel gave it; callers know whether that is a config error or a SetupSocketFailed.
"""

from __future__ import annotations

import _socket
import errno
import socket
import struct
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import Callable

    from g3.net.options import IPMisc, Keepalive, SocketBuffer, TCPListen, TCPMisc, UDPListen, UDPMisc

# Of linux/in.h and linux/in6.h; the socket module has no names for them before Python 3.12.
IP_TRANSPARENT: Final = 19
IP_BIND_ADDRESS_NO_PORT: Final = 24
IPV6_TRANSPARENT: Final = 75

_MARK: Final = struct.Struct("=I")
_NO_IPV6: Final = frozenset({errno.EAFNOSUPPORT, errno.EADDRNOTAVAIL})

#: What makes the sockets of connections: the base of socket.socket, which has all that a transport uses. What the subclass adds (enums for the
#: constants, C{makefile}) costs two microseconds for each connection.
PlainSocket: Any = _socket.socket


def set_tcp_misc(sock: socket.socket, options: TCPMisc | None, *, has_no_delay: bool = False) -> None:
    """Apply C{tcp_misc_opts}. TCP_NODELAY is on unless they say no; C{has_no_delay}: it is already, as for what a listener of ours accepted."""
    no_delay = options is None or options.no_delay is not False
    if no_delay is not has_no_delay:
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, no_delay)
    if options is None or options.only_no_delay:
        return
    if options.max_segment_size is not None:
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_MAXSEG, options.max_segment_size)
    _set_ip_fields(sock, options)
    if options.congestion_control is not None:
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_CONGESTION, options.congestion_control.encode("ascii"))
    if options.netfilter_mark is not None:
        set_mark(sock, options.netfilter_mark)


def set_udp_misc(sock: socket.socket, options: UDPMisc | None) -> None:
    """Apply C{udp_misc_opts}."""
    if options is None:
        return
    _set_ip_fields(sock, options)
    if options.netfilter_mark is not None:
        set_mark(sock, options.netfilter_mark)


def _set_ip_fields(sock: socket.socket, options: IPMisc) -> None:
    """TTL and TOS for IPv4, hop limit and traffic class for IPv6; a dual-stack IPv6 socket takes both."""
    if options.hop_limit is options.traffic_class is options.time_to_live is options.type_of_service is None:
        return
    v6 = sock.family == socket.AF_INET6
    if v6 and options.hop_limit is not None:
        sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_UNICAST_HOPS, options.hop_limit)
    if v6 and options.traffic_class is not None:
        sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_TCLASS, options.traffic_class)
    if v6 and not _carries_ipv4(sock):
        return
    if options.time_to_live is not None:
        sock.setsockopt(socket.IPPROTO_IP, socket.IP_TTL, options.time_to_live)
    if options.type_of_service is not None:
        sock.setsockopt(socket.IPPROTO_IP, socket.IP_TOS, options.type_of_service)


def _carries_ipv4(sock: socket.socket) -> bool:
    """Whether an IPv6 socket has, or could have, an IPv4 peer: the dual-stack listeners and what they accept."""
    if sock.getsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY):
        return False
    local: str = sock.getsockname()[0]
    return local == "::" or local.startswith("::ffff:")


def set_keepalive(sock: socket.socket, options: Keepalive | None) -> None:
    """Turn TCP keepalive on if the options enable it; times are rounded up to whole seconds, the kernel's unit."""
    if options is None or not options.enable:
        return
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, _whole(options.idle_time))
    if options.probe_interval is not None:
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPINTVL, _whole(options.probe_interval))
    if options.probe_count is not None:
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPCNT, options.probe_count)


def _whole(seconds: float) -> int:
    return max(1, -int(-seconds // 1))


def set_mark(sock: socket.socket, mark: int) -> None:
    """Netfilter mark, 32 bits; needs CAP_NET_ADMIN."""
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_MARK, _MARK.pack(mark))


def mark_of(sock: socket.socket) -> int:
    """The netfilter mark."""
    (mark,) = _MARK.unpack(sock.getsockopt(socket.SOL_SOCKET, socket.SO_MARK, _MARK.size))
    return int(mark)


def bind_to_interface(sock: socket.socket, interface: str) -> None:
    """Send and receive through one network device only."""
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, interface.encode() + b"\0")


def bound(options: TCPListen | UDPListen, bind: Callable[[str], socket.socket]) -> socket.socket:
    """What C{bind(host)} returns for the address of C{options}: C{[::]} on a host without IPv6 is that of IPv4. Raises OSError."""
    host, _ = options.address
    try:
        return bind(host)
    except OSError as error:
        if host != "::" or options.ipv6_only or error.errno not in _NO_IPV6:
            raise
        return bind("0.0.0.0")


def set_transparent(sock: socket.socket) -> None:
    """Let the socket have addresses that are not ours (TPROXY); needs CAP_NET_ADMIN."""
    if sock.family == socket.AF_INET6:
        sock.setsockopt(socket.IPPROTO_IPV6, IPV6_TRANSPARENT, 1)
    else:
        sock.setsockopt(socket.IPPROTO_IP, IP_TRANSPARENT, 1)


def bind_address_no_port(sock: socket.socket) -> None:
    """Bind to an address and let connect choose the port, so that one port may serve many destinations (ip(7))."""
    sock.setsockopt(socket.IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT, 1)


def set_buffers(sock: socket.socket, options: SocketBuffer | None) -> None:
    """Kernel buffer sizes in bytes."""
    if options is None:
        return
    if options.recv is not None:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, options.recv)
    if options.send is not None:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, options.send)
