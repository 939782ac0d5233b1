# SPDX-License-Identifier: Apache-2.0
"""A network and mount namespace of one's own: every port free, no way out, its own name server and hosts file."""

from __future__ import annotations

import ctypes
import os
import socket
import subprocess
import threading
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

T = TypeVar("T")

#: Holds the namespaces: they last as long as it, and it ends when its standard input does.
HOLDER = """
set -e
ip link set lo up
mount --bind "$1/resolv.conf" "$(readlink -f /etc/resolv.conf)"
mount --bind "$1/hosts" /etc/hosts
echo ready
exec cat >/dev/null
"""
CLONE_NEWNET = 0x40000000
Address = tuple[str, int]


class Namespace:
    """Made at once; C{close} ends it. Needs root (see L{tests.functional.needs.need_namespaces})."""

    def __init__(self, directory: Path, *, nameserver: str = "127.0.0.1", hosts: str = "127.0.0.1 localhost\n::1 localhost\n") -> None:
        (directory / "resolv.conf").write_text(f"nameserver {nameserver}\n")
        (directory / "hosts").write_text(hosts)
        argv = ["unshare", "--net", "--mount", "--propagation", "private", "sh", "-c", HOLDER, "holder", str(directory)]
        self.holder = subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        assert self.holder.stdout is not None
        said = self.holder.stdout.readline()
        if said != "ready\n":
            raise AssertionError(f"no namespace: {said}{self.holder.stdout.read()}")

    @property
    def pid(self) -> int:
        """A process inside it."""
        return self.holder.pid

    def command(self, argv: Sequence[str]) -> list[str]:
        """The command line that runs C{argv} inside, in place of nsenter itself."""
        return ["nsenter", f"--target={self.pid}", "--net", "--mount", "--", *argv]

    def run(self, *argv: str, seconds: float = 60.0) -> subprocess.CompletedProcess[str]:
        """Run a command inside to its end; its output and error output are one."""
        return subprocess.run(
            self.command(argv), stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=seconds, check=False
        )

    def inside(self, make: Callable[[], T]) -> T:
        """What C{make} returns inside: what it opens belongs there, and is for use out here. Raises OSError."""
        made: list[T] = []
        errors: list[OSError] = []

        def enter() -> None:
            # A thread of its own, which enters and never comes back.
            try:
                with open(f"/proc/{self.pid}/ns/net", "rb") as space:  # noqa: PTH123 - a descriptor is wanted
                    if ctypes.CDLL(None, use_errno=True).setns(space.fileno(), CLONE_NEWNET) != 0:
                        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
                made.append(make())
            except OSError as error:
                errors.append(error)

        thread = threading.Thread(target=enter)
        thread.start()
        thread.join()
        if errors:
            raise errors[0]
        return made[0]

    def socket(self, family: socket.AddressFamily = socket.AF_INET, type: socket.SocketKind = socket.SOCK_STREAM) -> socket.socket:  # noqa: A002
        """A socket that belongs inside, for use out here."""
        return self.inside(lambda: socket.socket(family, type))

    def connect(self, address: Address, seconds: float = 10.0) -> socket.socket:
        """A TCP connection made inside."""
        family = socket.AF_INET6 if ":" in address[0] else socket.AF_INET
        connection = self.socket(family)
        connection.settimeout(seconds)
        connection.connect(address)
        return connection

    def close(self) -> None:
        if self.holder.stdin is not None:
            self.holder.stdin.close()
        if self.holder.stdout is not None:
            self.holder.stdout.close()
        self.holder.wait(10)
