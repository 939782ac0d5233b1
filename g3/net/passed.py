# SPDX-License-Identifier: Apache-2.0
"""Sockets that were bound before we started, by who started us (sd_listen_fds(3)): a listener on the same address gets one in place of a new
one.

They stay open as long as we run: who passed them has them too, so that an address that a reload gives up and another takes again could not be
bound.
"""

from __future__ import annotations

import os
import socket
from typing import TYPE_CHECKING

from g3.net.listen import adjust, bind_tcp, refusal
from g3.net.transport import plain_address
from g3.net.udp_listen import bind_udp
from g3.task import format_address

if TYPE_CHECKING:
    from collections.abc import Iterable

    from g3.net.options import TCPListen, UDPListen


class PassedSockets:
    """What was passed: sockets, and a name for each to tell of it."""

    def __init__(self, sockets: Iterable[tuple[str, socket.socket]] = ()) -> None:
        self._sockets = list(sockets)
        self._used: set[socket.socket] = set()
        for _, sock in self._sockets:
            sock.setblocking(False)

    def sockets(self) -> list[socket.socket]:
        """All of them."""
        return [sock for _, sock in self._sockets]

    def inherit(self, sockets: Iterable[socket.socket]) -> None:
        """Have also what was passed to the daemon before us."""
        for sock in sockets:
            sock.setblocking(False)
            self._sockets.append(("inherited", sock))

    def has(self, sock: socket.socket) -> bool:
        """Whether a socket is one of them: who passed it has it, too."""
        return any(os.path.sameopenfile(sock.fileno(), each.fileno()) for _, each in self._sockets)

    def bind_tcp(self, options: TCPListen, *, reuse_port: bool = False) -> socket.socket:
        """As g3.net.listen.bind_tcp; the socket passed for that address, if there is one, with what can still be set of C{options}."""
        found = self._find(socket.SOCK_STREAM, options.address)
        if found is None:
            return bind_tcp(options, reuse_port=reuse_port)
        try:
            adjust(found, options)
        except OSError as error:
            found.close()
            raise refusal(options.address, error) from error
        return found

    def bind_udp(self, options: UDPListen, *, reuse_port: bool = False) -> socket.socket:
        """As g3.net.udp_listen.bind_udp, likewise; with C{reuse_port} one more, beside it."""
        found = None if reuse_port else self._find(socket.SOCK_DGRAM, options.address)
        return bind_udp(options, reuse_port=reuse_port) if found is None else found

    def unused(self) -> list[str]:
        """A line for each that nobody listens on."""
        return [f"{name}: {_described(sock)}" for name, sock in self._sockets if sock not in self._used]

    def _find(self, kind: int, address: tuple[str, int]) -> socket.socket | None:
        for _, sock in self._sockets:
            if _kind(sock) == kind and plain_address(sock.getsockname()) == address and address[1]:
                self._used.add(sock)
                return sock.dup()
        return None


def _kind(sock: socket.socket) -> int | None:
    """SOCK_STREAM for a listening TCP socket, SOCK_DGRAM for one of UDP, None for all that nobody can listen on here."""
    if sock.family not in (socket.AF_INET, socket.AF_INET6):
        return None
    kind = sock.getsockopt(socket.SOL_SOCKET, socket.SO_TYPE)
    if kind == socket.SOCK_STREAM and not sock.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN):
        return None
    return kind if kind in (socket.SOCK_STREAM, socket.SOCK_DGRAM) else None


def _described(sock: socket.socket) -> str:
    if sock.family not in (socket.AF_INET, socket.AF_INET6):
        return "a socket that is neither of IPv4 nor of IPv6"
    where = format_address(sock.getsockname()[:2])
    return f"{'TCP' if sock.getsockopt(socket.SOL_SOCKET, socket.SO_TYPE) == socket.SOCK_STREAM else 'UDP'} {where}" + (
        "" if _kind(sock) is not None else ", which does not listen (Accept=yes?)"
    )
