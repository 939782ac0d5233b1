# SPDX-License-Identifier: Apache-2.0
"""What systemd says to a service by its environment, and what a service says to systemd (sd_notify(3), sd_listen_fds(3)).

All is read before the process becomes a daemon, and taken out of the environment, so that no child believes it is for it.
"""

from __future__ import annotations

import os
import socket
import time
from pathlib import Path
from typing import TYPE_CHECKING

from twisted.logger import Logger

from g3.net.passed import PassedSockets

if TYPE_CHECKING:
    from collections.abc import Mapping, MutableMapping

log = Logger()

#: The first descriptor that is passed (SD_LISTEN_FDS_START), and how many at most.
FIRST = 3
LISTEN = ("LISTEN_PID", "LISTEN_FDS", "LISTEN_FDNAMES")
MOST = 4096


class Notifier:
    """Tells the service manager how we are; nothing happens when there is none. Never raises, never waits.

    @param address: of its socket, C{@} first for an abstract one; empty: there is none.
    @param watchdog: microseconds in which it wants a sign of life; 0: never.
    """

    def __init__(self, address: str = "", watchdog: int = 0) -> None:
        self.address = address
        self.watchdog = watchdog
        self._failed = False

    def ready(self, status: str) -> None:
        """We serve (again)."""
        self._send(f"READY=1\nSTATUS={status}")

    def reloading(self) -> None:
        """We read our configuration; C{ready} comes after it."""
        self._send(f"RELOADING=1\nMONOTONIC_USEC={time.monotonic_ns() // 1000}\nSTATUS=reloading")

    def stopping(self) -> None:
        """We end."""
        self._send("STOPPING=1\nSTATUS=offline, waiting for tasks to end")

    def succeeded_by(self, pid: int) -> None:
        """That process is the service from now on, and tells all further."""
        self._send(f"MAINPID={pid}")
        self.address, self.watchdog = "", 0

    def alive(self) -> None:
        """The sign of life."""
        self._send("WATCHDOG=1")

    def _send(self, state: str) -> None:
        if not self.address:
            return
        address = "\0" + self.address[1:] if self.address.startswith("@") else self.address
        try:
            with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK) as sender:
                sender.sendto(state.encode(), address)
        except OSError as error:
            if not self._failed:
                log.warn("the service manager at {address} cannot be told: {error}", address=self.address, error=error.strerror or error)
            self._failed = True
        else:
            self._failed = False


def notifier(environment: MutableMapping[str, str]) -> Notifier:
    """What C{NOTIFY_SOCKET}, C{WATCHDOG_USEC} and C{WATCHDOG_PID} say; they are gone afterwards."""
    address, microseconds, pid = (environment.pop(name, "") for name in ("NOTIFY_SOCKET", "WATCHDOG_USEC", "WATCHDOG_PID"))
    if address and not address.startswith(("/", "@")):
        log.warn("NOTIFY_SOCKET={address} is of a kind that is not known here, ignored", address=address)
        address = ""
    watchdog = int(microseconds) if microseconds.isascii() and microseconds.isdecimal() and pid in ("", str(os.getpid())) else 0
    return Notifier(address, watchdog if address else 0)


def at_start(environment: MutableMapping[str, str]) -> dict[str, str]:
    """The environment that this program was started with, where C{LISTEN_FDS} is still to be found: importing Twisted's endpoints takes it out
    of C{environment}, and forgets what has no names. It is gone from there afterwards."""
    try:
        words = Path("/proc/self/environ").read_bytes().split(b"\0")
    except OSError:
        words = [os.fsencode(f"{name}={value}") for name, value in environment.items()]
    for name in LISTEN:
        environment.pop(name, None)
    return dict(os.fsdecode(word).split("=", 1) for word in words if b"=" in word)


def passed_sockets(environment: Mapping[str, str], first: int = FIRST) -> PassedSockets:
    """What C{LISTEN_PID}, C{LISTEN_FDS} and C{LISTEN_FDNAMES} say. Those of another process are none of ours."""
    pid, count, names = (environment.get(name, "") for name in LISTEN)
    if pid != str(os.getpid()) or not (count.isascii() and count.isdecimal()):
        return PassedSockets()
    named = dict(enumerate(names.split(":"), first))
    found = []
    for descriptor in range(first, first + min(int(count), MOST)):
        try:
            os.set_inheritable(descriptor, False)
            found.append((f"{named.get(descriptor) or 'unnamed'} (descriptor {descriptor})", socket.socket(fileno=descriptor)))
        except OSError as error:
            log.warn("descriptor {descriptor} was passed and is no socket: {error}", descriptor=descriptor, error=error.strerror)
    return PassedSockets(found)
