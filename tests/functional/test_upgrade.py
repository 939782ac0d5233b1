# SPDX-License-Identifier: Apache-2.0
"""A new daemon takes the place of an old one, and no client notices."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING, Any

from g3.control.client import ControlClient
from g3.control.handover import take
from tests.functional.harness import BIN, Daemon, environment, run_g3proxy
from tests.functional.processes import free_port
from tests.functional.test_daemon import PACKAGES, DaemonCase
from tests.functional.test_workers import nursery, wait_for, workers
from tests.functional.traffic import Traffic

if TYPE_CHECKING:
    from collections.abc import Iterable


def descriptors(pids: Iterable[int]) -> list[int]:
    """How many descriptors each process has."""
    return [len(list(Path(f"/proc/{pid}/fd").iterdir())) for pid in pids]


class UpgradeCase(DaemonCase):
    """With so many workers."""

    number = 0

    def config(self, **options: Any) -> str:
        return super().config(**options).replace("runtime: {", f"runtime: {{thread_number: {self.number}, ")

    def successor(self, before: Daemon, config: str | None = None, **options: Any) -> Daemon:
        """A daemon of the same group, beside the one that serves; it serves when this returns."""
        path = self.write(f"g3proxy-{before.pid}.yaml", config or self.config())
        daemon = Daemon(path, self.directory, beside=before, **options)
        self.addCleanup(daemon.quit)
        self.assertEqual(daemon.ctl("version").returncode, 0)
        return daemon

    def gone(self, daemon: Daemon) -> None:
        """It has ended by itself as it should."""
        self.assertEqual(daemon.wait(30), 0)
        daemon.check_log()


class RoundTests(UpgradeCase):
    """Again and again, under load."""

    def processes(self, daemon: Daemon) -> list[int]:
        """All of a daemon."""
        return [daemon.pid, nursery(daemon), *workers(daemon)] if self.number else [daemon.pid]

    def test_five_rounds(self) -> None:
        """Nobody is refused, cut off or given less than all; tunnels live as long as they like, and then the old daemon ends. Daemons with
        workers and such that serve themselves succeed each other, in any order."""
        self.number = 2
        daemon = self.daemon(arguments=("-m",))
        daemon.ctl("version")
        idle = descriptors(self.processes(daemon))
        with Traffic(self.port, rate=300, kept=8) as traffic:
            for self.number in (2, 0, 0, 2, 2):
                before = daemon
                with Traffic(self.port, rate=0, kept=0, tunnels=50) as long:
                    traffic.more(100)
                    daemon = self.successor(before, arguments=("-m",))
                    traffic.more(100)
                    long.more(100, "tunnel")
                    self.assertIsNone(before.process.poll())
                self.assertEqual(long.failed, {})
                self.gone(before)
        self.assertEqual(traffic.failed, {})
        self.assertGreater(traffic.done["kept"], 100)
        wait_for(lambda: self.alive(daemon) == 0, "no task is left")
        wait_for(lambda: descriptors(self.processes(daemon)) == idle, f"as many descriptors as at first: {idle}")
        self.assertEqual(sorted(path.name for path in daemon.control_dir.iterdir()), ["test.sock", f"test_{daemon.pid}.sock"])

    def alive(self, daemon: Daemon) -> int:
        lines = dict(line.split(": ") for line in daemon.ctl("server", "web", "status").stdout.splitlines())
        return int(lines["alive tasks"])


class RefusalTests(UpgradeCase):
    """A new one that is not asked to take over, or cannot."""

    def fails(self, before: Daemon, config: str, *words: str, **options: Any) -> str:
        """What a second daemon says that does not start."""
        path = self.write("second.yaml", config)
        done = run_g3proxy("-c", str(path), "-C", str(before.control_dir), *words, **{"command": "twistd", **options})
        self.assertEqual(done.returncode, 1, done.stdout + done.stderr)
        self.assertNotIn("Traceback", done.stdout + done.stderr)
        return done.stderr

    def serves_on(self, daemon: Daemon) -> None:
        """As if nothing had happened; both control sockets answer."""
        self.assertEqual(self.get(), (200, b"hello"))
        self.assertEqual(sorted(path.name for path in daemon.control_dir.iterdir()), ["test.sock", f"test_{daemon.pid}.sock"])
        for name in ("-Gtest", f"-p{daemon.pid}"):
            words = [str(BIN / "g3proxy-ctl"), "-Gtest", name, "-C", str(daemon.control_dir), "version"]
            done = subprocess.run(words, env={**os.environ, **environment()}, capture_output=True, text=True, timeout=60, check=False)
            self.assertEqual(done.returncode, 0, done.stderr)
        self.assertNotIn("offline", daemon.output())

    def test_one_that_is_broken_changes_nothing(self) -> None:
        """By its text, by a port of somebody else, by a worker that says no: it ends with status 1."""
        moody = self.directory / "packages" / "moody"
        shutil.copytree(PACKAGES / "moody", moody)
        daemon = self.daemon(arguments=("-m",))
        self.waits_for(daemon, "is ready")
        with Traffic(self.port, rate=50, kept=2, tunnels=2) as traffic, socket.create_server(("127.0.0.1", 0)) as taken:
            self.assertIn("nonsense", self.fails(daemon, self.config() + "nonsense: 1\n", "-m", "-G", "test"))
            other = f"  - {{name: more, type: http_proxy, listen: '127.0.0.1:{taken.getsockname()[1]}', escaper: out}}\n"
            for self.number in (0, 2):
                self.assertIn("Address already in use", self.fails(daemon, self.config() + other, "-m", "-G", "test"))
            mood = self.config().replace("escaper:\n", "escaper:\n  - {name: mood, type: moody, not_in: '1'}\n", 1)
            self.assertIn("not in process 1", self.fails(daemon, mood, "-m", "-G", "test", packages=[moody]))
            traffic.more(20)
        self.assertEqual(traffic.failed, {})
        self.serves_on(daemon)

    def test_nobody_is_taken_over_from_unasked(self) -> None:
        """Without a group a daemon needs -d, -s or -m; so does the command g3proxy always; --alone never does."""
        daemon = self.daemon(arguments=("-m",))
        self.waits_for(daemon, "is ready")
        for command, words in (("twistd", ["-G", "test", "--alone"]), ("g3proxy", ["-G", "test"])):
            self.assertIn("Address already in use", self.fails(daemon, self.config(), *words, command=command))
        self.serves_on(daemon)
        second = self.successor(daemon)
        self.gone(daemon)
        self.assertEqual(self.get(), (200, b"hello"))
        nameless = self.start_daemon(self.config(port=free_port()), group="", arguments=("-m",))
        nameless.ctl("version")
        before = self.port
        self.assertIn("Address already in use", self.fails(nameless, self.config()))
        self.port = before
        self.assertIsNone(second.process.poll())

    def test_a_successor_that_never_confirms_is_forgotten(self) -> None:
        """It asked for the control socket and was not heard of again: the old daemon has it again, and serves on."""
        daemon = self.daemon(arguments=("-m",))
        self.waits_for(daemon, "is ready")
        shared = daemon.control_dir / "test.sock"
        estate = take(shared, {os.geteuid()})
        assert estate is not None
        self.assertEqual([sock.getsockname()[1] for sock in estate.listeners.values()], [self.port])
        estate.close()
        with ControlClient(shared) as client:
            client.call("release_controller", pid=1, listeners=list(estate.listeners))
            self.assertFalse(shared.exists())
        self.waits_for(daemon, "serving on")
        self.assertTrue(shared.exists())
        self.assertEqual(self.get(), (200, b"hello"))


class ChangeTests(UpgradeCase):
    """A new one that is different."""

    def test_ports_come_and_go(self) -> None:
        """What only the old one listened on is closed when it leaves; the others are the same sockets."""
        first, second = self.port, free_port()
        daemon = self.daemon(arguments=("-m",))
        server = f"  - {{name: more, type: http_proxy, listen: {{address: '127.0.0.1:{second}', backlog: 64}}, escaper: out}}\n"
        middle = self.successor(daemon, self.config() + server, ports=(second,))
        self.gone(daemon)
        self.number = 2
        last = self.successor(middle, self.config(port=second))
        self.gone(middle)
        self.assertTrue(self.refused())
        self.assertEqual(self.get(port=second), (200, b"hello"))
        self.port = first
        self.assertEqual(last.ctl("list", "server").stdout, "web\n")

    def test_one_that_waits_to_go_offline_is_taken_over_from(self) -> None:
        """What an init system does that restarts us: it asks the old one to leave, then starts a new one."""
        daemon = self.daemon(self.config(delay=60), arguments=("-m",))
        with Traffic(self.port, rate=100, kept=4) as traffic:
            self.assertEqual(daemon.ctl("offline").returncode, 0)
            self.waits_for(daemon, "going offline")
            self.successor(daemon, arguments=("-m",))
            self.gone(daemon)
            traffic.more(20)
        self.assertEqual(traffic.failed, {})
