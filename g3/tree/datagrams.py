# SPDX-License-Identifier: Apache-2.0
"""The pool of bound UDP sockets, which outlive the servers on them, as those of TCP do (L{g3.tree.listeners}).

A datagram socket cannot be shared: who reads a datagram first has it. Where there are several workers each has a socket of its own on the same
address (SO_REUSEPORT), and the kernel gives all of one client's datagrams to the same; all of them are bound where the privileges are, and
stay open there.
"""

from __future__ import annotations

import contextlib
import socket
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from g3.errors import ConfigError
from g3.net.udp_listen import bind_udp
from g3.task import format_address

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from g3.net.options import UDPListen

#: What keys of datagram sockets begin with.
PREFIX = "udp "


class DatagramClaim:
    """One server's share of a socket. What is done with the datagrams is shared by all that claim it: C{endpoint}."""

    __slots__ = ("_entry", "options", "owner")

    def __init__(self, entry: DatagramEntry, options: UDPListen, owner: Any) -> None:
        self._entry = entry
        self.options = options
        self.owner = owner

    @property
    def address(self) -> Any:
        """Where the socket really is."""
        return self._entry.sockets[0].getsockname()

    @property
    def last(self) -> bool:
        """Whether nobody else claims it."""
        return self._entry.claims == [self]

    def endpoint(self, make: Callable[[socket.socket, Callable[[], object]], Any]) -> Any:
        """What reads the socket, made by the first who asks. It closes the socket itself, and then calls what it was given."""
        entry = self._entry
        if entry.endpoint is None:
            entry.endpoint = make(entry.sockets[0], entry.close)
        return entry.endpoint

    def release(self) -> None:
        """Need it no more: it is closed with its last claim, unless its endpoint lives. Again: nothing."""
        entry = self._entry
        if self in entry.claims:
            entry.claims.remove(self)
            if not entry.claims and entry.endpoint is None:
                entry.close()


class DatagramEntry:
    """An address, and its sockets: one for each worker, or one."""

    __slots__ = ("_forget", "claims", "endpoint", "key", "sockets")

    def __init__(self, key: str, sockets: list[socket.socket], forget: Callable[[DatagramEntry], object]) -> None:
        self.key = key
        self.sockets = sockets
        self.claims: list[DatagramClaim] = []
        self.endpoint: Any = None
        self._forget = forget

    def close(self) -> None:
        self._forget(self)
        for sock in self.sockets:
            sock.close()


class DatagramPool:
    """The datagram sockets of a process. C{slots}: how many of each, 0 for one that nobody else has."""

    def __init__(self, slots: int = 0, bind: Callable[..., socket.socket] = bind_udp) -> None:
        self._slots = slots
        self._bind = bind
        self._entries: dict[str, DatagramEntry] = {}

    def claim(self, options: UDPListen, owner: Any) -> DatagramClaim:
        """A share of the socket that C{options} describe, bound now if nobody has it. Raises ConfigError."""
        host, port = options.address
        key = f"{PREFIX}{host} {port} {options.interface} {options.ipv6_only} {owner.name if port == 0 else ''}"
        entry = self._entries.get(key)
        if entry is None or not entry.claims:
            try:
                sockets = self._bind_all(options, [] if entry is None else entry.sockets)
                entry = entry or DatagramEntry(key, sockets, self._forget)
                entry.sockets = sockets
            except ConfigError as error:
                raise ConfigError(f'server "{owner.name}" {error}') from error
            self._entries[key] = entry
        claim = DatagramClaim(entry, options, owner)
        entry.claims.append(claim)
        return claim

    def _bind_all(self, options: UDPListen, there: list[socket.socket]) -> list[socket.socket]:
        """As many as are wanted, C{there} among them."""
        wanted = max(1, self._slots)
        for sock in there[wanted:]:
            sock.close()
        sockets = there[:wanted]
        if len(sockets) == wanted:
            return sockets
        with contextlib.ExitStack() as undo:
            if not sockets:
                # Without SO_REUSEPORT: nobody else may be there.
                sockets.append(undo.enter_context(self._bind(options)))
            if wanted > 1:
                options = replace(options, address=(options.address[0], sockets[0].getsockname()[1]))
                for sock in sockets:
                    sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
            while len(sockets) < wanted:
                sockets.append(undo.enter_context(self._bind(options, reuse_port=True)))
            undo.pop_all()
        return sockets

    def _forget(self, entry: DatagramEntry) -> None:
        if self._entries.get(entry.key) is entry:
            del self._entries[entry.key]

    def adopt(self, key: str, sock: socket.socket) -> None:
        """Take over a socket that another process of ours bound."""
        if key in self._entries:
            sock.close()
        else:
            sock.setblocking(False)
            self._entries[key] = DatagramEntry(key, [sock], self._forget)

    def inherit(self, key: str, sock: socket.socket) -> None:
        """Take over one of the sockets of a daemon before us; C{key} as of L{handed}."""
        sock.setblocking(False)
        key, _, number = key.rpartition("#")
        entry = self._entries.setdefault(key, DatagramEntry(key, [], self._forget))
        entry.sockets.insert(int(number), sock)

    def handed(self) -> dict[str, socket.socket]:
        """Every socket, for a successor."""
        return {f"{key}#{number}": sock for key, entry in self._entries.items() for number, sock in enumerate(entry.sockets)}

    def keyed(self, slot: int) -> dict[str, socket.socket]:
        """The sockets of one worker."""
        return {key: entry.sockets[slot % len(entry.sockets)] for key, entry in self._entries.items()}

    def drop_unclaimed(self) -> None:
        """Close what was adopted and nobody claimed."""
        for entry in [entry for entry in self._entries.values() if not entry.claims and entry.endpoint is None]:
            entry.close()

    def conflicts(self, leaving: Callable[[Any], bool]) -> list[tuple[Any, str]]:
        """As of the pool of listeners."""
        return conflicts(self._entries.values(), leaving, lambda options: f"receive datagrams at {format_address(options.address)}")


def conflicts(entries: Iterable[Any], leaving: Callable[[Any], bool], what: Callable[[Any], str]) -> list[tuple[Any, str]]:
    """The entries of a pool that are claimed by more than one server when those for which C{leaving} holds are gone: the last of them, and a line
    with C{what(options)} they both do."""
    found = []
    for entry in entries:
        owners = [claim.owner for claim in entry.claims if not leaving(claim.owner)]
        if len(owners) > 1:
            names = " and ".join(sorted(f'"{owner.name}"' for owner in owners))
            found.append((owners[-1], f"servers {names} both {what(entry.claims[0].options)}"))
    return found
