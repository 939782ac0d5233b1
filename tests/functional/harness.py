# SPDX-License-Identifier: Apache-2.0
"""The real daemon, started the way a user starts it, and ended so that nothing it complained of goes unseen."""

from __future__ import annotations

import os
import resource
import shutil
import signal
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from twisted.trial.unittest import SynchronousTestCase

from tests.functional.needs import ROOT
from tests.functional.processes import Process

if TYPE_CHECKING:
    import socket
    from collections.abc import Mapping, Sequence

    from tests.functional.namespaces import Namespace

BIN = Path(sys.executable).parent
#: A line that starts so in a daemon's output is a fault of ours, whatever else went well.
COMPLAINTS = ("Traceback (most recent call last)", "Unhandled error in Deferred", "Unhandled Error")
#: How a user starts it.
COMMANDS: dict[str, list[str]] = {
    "twistd": [str(BIN / "twistd"), "-n", "--pidfile=", "g3proxy"],
    "g3proxy": [str(BIN / "g3proxy")],
    # On the reactors everybody has.
    "epoll": [str(BIN / "twistd"), "-n", "--pidfile=", "--reactor=epoll", "g3proxy"],
    "asyncio": [str(BIN / "twistd"), "-n", "--pidfile=", "--reactor=asyncio", "g3proxy"],
}


def command_line(program: str, command: str = "twistd") -> list[str]:
    """How a user starts another program of the suite: by twistd, or by its own command."""
    return [word.replace("g3proxy", program) for word in COMMANDS[command]]


#: Descriptors as arguments up to C{--}, then a command: it finds them from 3 on.
PASSING = """
import fcntl, os, sys
end = sys.argv.index("--")
for number, descriptor in enumerate([fcntl.fcntl(int(word), fcntl.F_DUPFD, 100) for word in sys.argv[1:end]], 3):
    os.dup2(descriptor, number)
os.environ.update(LISTEN_PID=str(os.getpid()), LISTEN_FDS=str(end - 1))
os.execv(sys.argv[end + 1], sys.argv[end + 1:])
"""


def passing(argv: Sequence[str], sockets: Sequence[socket.socket]) -> list[str]:
    """The command line under which C{argv} finds sockets where systemd passes them (sd_listen_fds(3)); they are inherited as they are here."""
    if not sockets:
        return list(argv)
    return [sys.executable, "-c", PASSING, *(str(sock.fileno()) for sock in sockets), "--", *argv]


def environment(*packages: Path) -> dict[str, str]:
    """What a user's shell has, with this tree first, so that the commands work from any directory; C{packages} are folders of plugins, as if
    they were installed."""
    path = os.pathsep.join(filter(None, [str(ROOT), *map(str, packages), os.environ.get("PYTHONPATH", "")]))
    return {"PYTHONPATH": path, "PYTHONUNBUFFERED": "1"}


def run_g3proxy(
    *arguments: str,
    directory: Path | None = None,
    seconds: float = 60.0,
    command: str = "g3proxy",
    packages: Sequence[Path] = (),
    program: str = "g3proxy",
) -> subprocess.CompletedProcess[str]:
    """Run the command to its end, for what ends by itself: C{--test-config}, C{--list-types}; output and error output apart."""
    return subprocess.run(
        [*command_line(program, command), *arguments],
        cwd=directory,
        env={**os.environ, **environment(*packages)},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=seconds,
        check=False,
    )


def take_descriptors() -> None:
    """As many descriptors as we are allowed: some tests have a thousand clients."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


take_descriptors()


class Daemon(Process):
    """g3proxy, or another C{program}, running with a configuration. It serves when this returns.

    @raise AssertionError: it ended, or did not serve in time; its log is in the message.
    """

    program = "g3proxy"

    def __init__(
        self,
        config: Path,
        directory: Path,
        *,
        ports: Sequence[int] = (),
        command: str = "twistd",
        group: str = "test",
        namespace: Namespace | None = None,
        arguments: Sequence[str] = (),
        packages: Sequence[Path] = (),
        beside: Daemon | None = None,
        env: Mapping[str, str] | None = None,
        passed: Sequence[socket.socket] = (),
    ) -> None:
        """
        @param beside: another one whose control directory it shares.
        @param passed: sockets that it gets as systemd passes them.
        """
        self.group = group
        # Short, since the name of a unix socket has room for 107 bytes only.
        self.control_dir = Path(tempfile.mkdtemp(prefix="g3t")) if beside is None else beside.control_dir
        words = command_line(self.program, command)
        argv = [*words, "--config", str(config), "--group-name", group, "--control-dir", str(self.control_dir), *arguments]
        super().__init__(
            self.program,
            passing(argv, passed),
            directory / f"{self.program}.log",
            namespace=namespace,
            env={**environment(*packages), **(env or {})},
            pass_fds=[sock.fileno() for sock in passed],
        )
        try:
            self.wait_until(self.control_socket.exists, "its control socket is there", 30)
            if ports:
                self.wait_listening(*ports)
        except AssertionError:
            self.kill()
            self.forget()
            raise

    @property
    def control_socket(self) -> Path:
        return self.control_dir / f"{self.group}_{self.pid}.sock"

    def ctl(self, *arguments: str, seconds: float = 30.0) -> subprocess.CompletedProcess[str]:
        """Run its control command against this daemon."""
        argv = [str(BIN / f"{self.program}-ctl"), "-G", self.group, "-p", str(self.pid), "-C", str(self.control_dir), *arguments]
        return subprocess.run(
            argv, env={**os.environ, **environment()}, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=seconds, check=False
        )

    def quit(self, number: signal.Signals = signal.SIGINT) -> None:
        """End it, and hold it to a clean end: status 0 and no traceback in all it wrote."""
        try:
            status = self.stop(number)
            if status != 0:
                raise self.fail(f"ended with {status}")
            self.check_log()
        finally:
            self.forget()

    def check_log(self) -> None:
        """Nothing in its output is a fault of ours."""
        output = self.output()
        if any(complaint in output for complaint in COMPLAINTS):
            raise self.fail("complained")

    def forget(self) -> None:
        """Remove what was made for it outside the test's directory."""
        shutil.rmtree(self.control_dir, ignore_errors=True)


class FunctionalTestCase(SynchronousTestCase):
    """A test with a directory of its own, and a daemon to start in it."""

    def setUp(self) -> None:
        self.directory = Path(self.mktemp()).resolve()
        self.directory.mkdir(parents=True)

    def write(self, name: str, text: str) -> Path:
        """A file in the test's directory."""
        path = self.directory / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        return path

    def start_daemon(self, config: str | Path, *, ports: Sequence[int] = (), **options: object) -> Daemon:
        """A running daemon, ended and checked after the test. A str is the configuration's text, a Path its file."""
        path = self.write("g3proxy.yaml", config) if isinstance(config, str) else config
        daemon = Daemon(path, self.directory, ports=ports, **options)  # type: ignore[arg-type]
        self.addCleanup(daemon.quit)
        return daemon
