# SPDX-License-Identifier: Apache-2.0
"""The pool of listening sockets, which outlive the servers on them.

A server claims its address in C{prepare}, starts the claim in C{start} and releases it in C{stop} or C{discard}. Two generations of a
server claim the same socket; the one that started last gets the connections, and when it is released (a roll back) the one before gets
them again. The socket is closed with its last claim, so that no reload refuses one connection.
"""

from __future__ import annotations

import contextlib
import errno
import socket
from typing import TYPE_CHECKING, Any

from twisted.logger import Logger

from g3.errors import ConfigError
from g3.net.listen import TCPListener, adjust, bind_tcp, check, following, refusal
from g3.task import format_address
from g3.tree.datagrams import PREFIX, DatagramPool, conflicts

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from g3.net.options import TCPListen


log = Logger()


class Claim:
    """One server's share of a listening socket."""

    __slots__ = ("_entry", "on_accept", "options", "owner")

    def __init__(self, entry: Entry, options: TCPListen, owner: Any) -> None:
        self._entry = entry
        self.options = options
        self.owner = owner
        self.on_accept: Callable[[socket.socket, Any], None] | None = None

    @property
    def address(self) -> Any:
        """Where the socket really listens (port 0 was filled in by the kernel)."""
        return self._entry.socket.getsockname()

    def start(self, on_accept: Callable[[socket.socket, Any], None]) -> None:
        """From now on C{on_accept(socket, peer)} gets every connection of this address."""
        self.on_accept = on_accept
        self._entry.activate(self)

    def release(self) -> None:
        """Take no more; the socket is closed when this was the last claim. Again: nothing."""
        self._entry.release(self)


class Entry:
    """A listening socket and who claims it."""

    __slots__ = ("_acceptor", "_pool", "claims", "inherited", "key", "socket", "started")

    def __init__(self, pool: ListenerPool, key: str, sock: socket.socket) -> None:
        self._pool = pool
        self.key = key
        self.socket = sock
        self.claims: list[Claim] = []
        self.started: list[Claim] = []
        #: Whether a daemon before us made it, by a configuration of its own.
        self.inherited = False
        self._acceptor: Any = None

    def activate(self, claim: Claim) -> None:
        self.started = [each for each in self.started if each in self.claims and each is not claim]
        self.started.append(claim)
        if self._acceptor is None:
            self._acceptor = self._pool.acceptor(self._pool.reactor, self.socket, self._accepted)
            self._acceptor.start()

    def restore(self, options: TCPListen, after: TCPListen) -> None:
        """Be as C{options} say again, not as C{after}."""
        try:
            adjust(self.socket, following(options, after))
        except OSError as error:
            log.error("{error}", error=refusal(options.address, error))

    def release(self, claim: Claim) -> None:
        if claim not in self.claims:
            return
        if len(self.claims) == 1:
            self.close()
        self.claims.remove(claim)
        # While the others have not started, who comes is still its client: a daemon may end in the middle of a reload.
        if claim in self.started and len(self.started) > 1:
            self.started.remove(claim)

    def close(self) -> None:
        """Those who are queued now are still served: a client whose connect succeeded is never reset."""
        self._pool.forget(self)
        if self._acceptor is not None:
            self._acceptor.stop(drain=True)
        else:
            self.socket.close()

    def _accepted(self, sock: socket.socket, peer: Any) -> None:
        if self.started and self.started[-1].on_accept is not None:
            self.started[-1].on_accept(sock, peer)
        else:
            sock.close()


def where(options: TCPListen, name: str) -> str:
    """What makes two listen options the same socket: all that cannot be changed once it is bound. Port 0 is a port for each server."""
    host, port = options.address
    return f"{host} {port} {options.interface} {options.ipv6_only} {options.transparent} {name if port == 0 else ''}"


class ListenerPool:
    """The listening sockets of a process, by address. C{bind}, C{check} and C{acceptor} are those of g3.net.listen; who did not bind them passes
    others, and tests."""

    def __init__(
        self,
        reactor: Any,
        *,
        bind: Callable[..., socket.socket] = bind_tcp,
        check: Callable[[socket.socket, TCPListen], None] = check,
        acceptor: Callable[..., Any] = TCPListener,
        datagrams: DatagramPool | None = None,
        kept: Callable[[socket.socket], bool] = lambda _: False,
    ) -> None:
        self.reactor = reactor
        #: The sockets of servers over UDP.
        self.datagrams = DatagramPool() if datagrams is None else datagrams
        self.acceptor = acceptor
        #: Whether somebody else goes on listening on the socket of a key when we and those who have it of us close it.
        self.stays: Callable[[str], bool] = lambda _: False
        #: Whether who started us goes on listening on a socket.
        self._kept = kept
        self._bind = bind
        self._check = check
        self._entries: dict[str, Entry] = {}

    def claim(self, options: TCPListen, owner: Any) -> Claim:
        """A share of the socket that C{options} (g3.net.options.TCPListen) describe, bound now if nobody has it.

        @param owner: the server; its name and place stand in the error.
        @raise ConfigError: the address cannot be listened on.
        """
        key = where(options, owner.name)
        entry = self._entries.get(key)
        try:
            if entry is None:
                entry = self._entries[key] = Entry(self, key, self._bind_beside(options))
            else:
                self._check(entry.socket, following(options, entry.claims[0].options) if entry.claims else options)
        except ConfigError as error:
            raise ConfigError(f'server "{owner.name}" {error}') from error
        claim = Claim(entry, options, owner)
        entry.claims.append(claim)
        return claim

    def adopt(self, options: TCPListen, name: str, sock: socket.socket) -> None:
        """Take over a socket that somebody else bound for C{options} of the server C{name}; it waits for a claim."""
        self.adopt_keyed(where(options, name), sock)

    def conflicts(self, leaving: Callable[[Any], bool]) -> list[tuple[Any, str]]:
        """Addresses claimed by more than one server when those for which C{leaving} holds are gone: the last of them, and a line."""
        found = conflicts(self._entries.values(), leaving, lambda options: f"listen on {format_address(options.address)}")
        return found + self.datagrams.conflicts(leaving)

    def closing(self, leaving: Callable[[Any], bool]) -> list[socket.socket]:
        """The TCP sockets that nobody will listen on any more when the owners for which C{leaving} holds are gone."""
        return [
            entry.socket
            for entry in self._entries.values()
            if entry.claims and all(leaving(claim.owner) for claim in entry.claims) and not (self.stays(entry.key) or self._kept(entry.socket))
        ]

    def drop_unclaimed(self) -> None:
        """Close what was adopted and nobody claimed."""
        for entry in [entry for entry in self._entries.values() if not entry.claims]:
            entry.close()
        self.datagrams.drop_unclaimed()

    def inherit(self, sockets: Mapping[str, socket.socket]) -> None:
        """Take over the sockets of a daemon before us, which serves on them until it is told to leave; each waits for a claim."""
        for key, sock in sockets.items():
            if key.startswith(PREFIX):
                self.datagrams.inherit(key, sock)
                continue
            self.adopt_keyed(key, sock)
            self._entries[key].inherited = True

    def settle_inherited(self) -> None:
        """What we inherited is ours now: it becomes what our configuration says."""
        for entry in self._entries.values():
            if entry.inherited and entry.claims:
                entry.inherited = False
                adjust(entry.socket, entry.claims[-1].options)

    def adjust(self) -> Callable[[], None]:
        """Have each socket as he wants it who claimed it last, as far as that can be changed while it listens; to be called by who bound them, before
        the first client comes to him. What is returned has them as they were.

        @raise ConfigError: one cannot be so; all are as they were.
        """
        with contextlib.ExitStack() as undo:
            for entry in self._entries.values():
                if len(entry.claims) > 1:
                    before, options = entry.claims[0].options, entry.claims[-1].options
                    undo.callback(entry.restore, before, options)
                    try:
                        adjust(entry.socket, following(options, before))
                    except OSError as error:
                        raise refusal(options.address, error) from error
            return undo.pop_all().close

    def sockets(self) -> Iterable[socket.socket]:
        """Every listening socket."""
        return [entry.socket for entry in self._entries.values()]

    def keyed(self, slot: int = 0) -> dict[str, socket.socket]:
        """Every socket for the worker of a slot, by what it is for; it adopts it under the same key."""
        return {key: entry.socket for key, entry in self._entries.items()} | self.datagrams.keyed(slot)

    def handed(self) -> dict[str, socket.socket]:
        """Every socket there is, for a daemon that succeeds ours, which will L{inherit} it."""
        return {key: entry.socket for key, entry in self._entries.items()} | self.datagrams.handed()

    def adopt_keyed(self, key: str, sock: socket.socket) -> None:
        """Take over a socket that another process of ours bound; it waits for a claim. Is there one already, it is kept."""
        if key.startswith(PREFIX):
            self.datagrams.adopt(key, sock)
            return
        if key in self._entries:
            sock.close()
            return
        sock.setblocking(False)
        self._entries[key] = Entry(self, key, sock)

    def forget(self, entry: Entry) -> None:
        """C{entry} closes itself."""
        if self._entries.get(entry.key) is entry:
            del self._entries[entry.key]

    def _bind_beside(self, options: TCPListen) -> socket.socket:
        """Bind; where an own socket on the same port is in the way (C{[::]:80} to C{127.0.0.1:80}), beside it.

        The kernel lets two sockets of one user overlap while both have SO_REUSEPORT. It is set for the time of the bind only: with it
        set for good, a second daemon could listen unnoticed on our port and take half of the connections.
        """
        try:
            return self._bind(options)
        except ConfigError as error:
            taken = getattr(error.__cause__, "errno", None) == errno.EADDRINUSE
            beside = [entry.socket for entry in self._entries.values() if taken and _port(entry.socket) == options.address[1]]
            if not beside:
                raise
        for sock in beside:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        try:
            sock = self._bind(options, reuse_port=True)
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 0)
            return sock
        finally:
            for sock in beside:
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 0)


def _port(sock: socket.socket) -> int:
    return int(sock.getsockname()[1])
