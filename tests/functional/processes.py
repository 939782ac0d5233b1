# SPDX-License-Identifier: Apache-2.0
"""A program under test or a peer: started with its output in a file, waited for until it serves, ended for certain."""

from __future__ import annotations

import contextlib
import fcntl
import os
import signal
import socket
import subprocess
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from tests.functional.namespaces import Namespace

LISTEN = "0A"
#: What L{free_port} gives. Tests run side by side, so that a port the kernel chose may be another one's a moment later.
PORTS = range(21000, 32000)


def listening(pid: int | str = "self") -> set[tuple[str, int]]:
    """What listens in the network namespace of a process: ("tcp" or "udp", port)."""
    found = set()
    for table in ("tcp", "tcp6", "udp", "udp6"):
        for line in Path(f"/proc/{pid}/net/{table}").read_text().splitlines()[1:]:
            fields = line.split()
            kind = table[:3]
            if kind == "udp" or fields[3] == LISTEN:
                found.add((kind, int(fields[1].rpartition(":")[2], 16)))
    return found


def free_port() -> int:
    """A port that nothing uses now, over TCP or UDP, and that no other test of this user is given for long: they are handed out in turn, and
    from below those that the kernel takes for connections of its own accord."""
    turns = os.open(Path(tempfile.gettempdir()) / f"g3-test-ports-{os.getuid()}", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    with os.fdopen(turns, "r+b", buffering=0) as counter:
        fcntl.flock(counter, fcntl.LOCK_EX)
        turn = int(counter.read() or b"0")
        for _ in PORTS:
            turn = (turn + 1) % len(PORTS)
            if _is_free(PORTS[turn]):
                os.pwrite(turns, b"%08d" % turn, 0)
                return PORTS[turn]
    raise AssertionError("every port is taken")


def _is_free(port: int) -> bool:
    for kind in (socket.SOCK_STREAM, socket.SOCK_DGRAM):
        with socket.socket(socket.AF_INET, kind) as probe:
            try:
                probe.bind(("", port))
            except OSError:
                return False
    return True


class Process:
    """One program. It dies with the test run, whatever happens to that."""

    def __init__(
        self,
        name: str,
        argv: Sequence[str],
        log: Path,
        *,
        namespace: Namespace | None = None,
        env: Mapping[str, str] | None = None,
        pass_fds: Sequence[int] = (),
    ) -> None:
        self.name = name
        self.log = log
        self.namespace = namespace
        command = ["setpriv", "--pdeathsig", "TERM", "--", *argv]
        if namespace is not None:
            command = namespace.command(command)
        with log.open("ab") as output:
            self.process = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                start_new_session=True,
                env={**os.environ, **(env or {})},
                pass_fds=pass_fds,
            )

    @property
    def pid(self) -> int:
        return self.process.pid

    def memory(self) -> int:
        """Bytes of memory it has resident now."""
        return int(Path(f"/proc/{self.pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")

    def output(self) -> str:
        """All it wrote so far."""
        return self.log.read_text(errors="replace")

    def fail(self, why: str) -> AssertionError:
        """An error with the end of its log, to raise."""
        return AssertionError(f"{self.name} {why}; its log {self.log} ends with:\n{self.output()[-6000:]}")

    def wait_until(self, ready: Callable[[], bool], what: str, seconds: float = 20.0) -> None:
        """Wait for something to be true. Fails with the log when the program ends first, or takes too long."""
        deadline = time.monotonic() + seconds
        while not ready():
            if self.process.poll() is not None:
                raise self.fail(f"ended with {self.process.returncode} before {what}")
            if time.monotonic() > deadline:
                raise self.fail(f"took more than {seconds} seconds: {what}")
            time.sleep(0.02)

    def wait_listening(self, *ports: int, kind: str = "tcp", seconds: float = 20.0) -> None:
        """Wait until all these ports are open where it runs."""
        wanted = {(kind, port) for port in ports}
        # Its own tables are the host's until it has entered the namespace.
        inside = "self" if self.namespace is None else self.namespace.pid
        self.wait_until(lambda: wanted <= listening(inside), f"it listens on {', '.join(map(str, ports))}", seconds)

    def wait(self, seconds: float = 20.0) -> int:
        """Its exit status. Fails with the log when it does not end."""
        try:
            return self.process.wait(seconds)
        except subprocess.TimeoutExpired:
            self.kill()
            raise self.fail(f"did not end within {seconds} seconds") from None

    def send_signal(self, number: signal.Signals) -> None:
        if self.process.poll() is None:
            self.process.send_signal(number)

    def stop(self, number: signal.Signals = signal.SIGTERM, seconds: float = 20.0) -> int:
        """End it with a signal; its exit status. A second stop does nothing."""
        self.send_signal(number)
        return self.wait(seconds)

    def kill(self) -> None:
        """End it and what it started, now."""
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()
