# SPDX-License-Identifier: Apache-2.0
"""Under systemd, or what speaks as it does: readiness, reloads, the watchdog, the end and the upgrade are told, and sockets are taken."""

from __future__ import annotations

import os
import re
import shlex
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from pathlib import Path

from g3.control.endpoint import MAX_PATH
from tests.functional.harness import BIN, Daemon, environment, passing
from tests.functional.needs import ROOT, need
from tests.functional.processes import Process, free_port
from tests.functional.test_upgrade import UpgradeCase
from tests.functional.test_workers import status, wait_for, workers
from tests.upstream import upstream_dir


class NotifyCase(UpgradeCase):
    """With a socket in place of systemd's."""

    def setUp(self) -> None:
        super().setUp()
        self.name = f"g3-test-{os.getpid()}-{id(self)}"
        self.assertLess(len(self.name), MAX_PATH)
        self.manager = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.addCleanup(self.manager.close)
        self.manager.bind(f"\0{self.name}")
        self.environment = {"NOTIFY_SOCKET": f"@{self.name}"}

    def hear(self, seconds: float = 30.0) -> dict[str, str]:
        """The next thing that is told, which is no sign of life."""
        deadline = time.monotonic() + seconds
        while True:
            self.manager.settimeout(max(0.01, deadline - time.monotonic()))
            state = dict(line.split("=", 1) for line in self.manager.recv(4096).decode().splitlines())
            if "WATCHDOG" not in state:
                return state

    def silence(self, seconds: float) -> bool:
        """Whether nothing comes for so long."""
        self.manager.settimeout(seconds)
        try:
            self.manager.recv(4096)
        except TimeoutError:
            return True
        return False


class NotifyTests(NotifyCase):
    def test_it_is_told_how_we_are(self) -> None:
        """Ready when all workers serve; each reload, also one that is refused, with its time; and the end."""
        self.number = 2
        daemon = self.daemon(env=self.environment, ports=(), arguments=("-s",))
        self.assertEqual(self.hear()["READY"], "1")
        self.assertEqual(len(workers(daemon)), 2)
        self.assertEqual(self.get(), (200, b"hello"))
        before = time.monotonic_ns() // 1000
        for text in (self.config(), "nonsense: 1"):
            self.rewrite(text)
            daemon.send_signal(signal.SIGHUP)
            told = self.hear()
            self.assertEqual(told["RELOADING"], "1")
            self.assertTrue(before <= int(told["MONOTONIC_USEC"]) <= time.monotonic_ns() // 1000)
            self.assertEqual(self.hear()["READY"], "1")
        self.assertEqual(daemon.ctl("reload", "--dry-run").returncode, 1)
        daemon.send_signal(signal.SIGTERM)
        self.assertEqual(self.hear()["STOPPING"], "1")
        self.assertEqual(daemon.wait(), 0)

    def test_the_watchdog_hears_of_us_while_somebody_serves(self) -> None:
        """When all workers hang there is silence until they are replaced."""
        self.number = 2
        daemon = self.daemon(env={**self.environment, "WATCHDOG_USEC": "900000"})
        self.assertEqual(self.hear()["READY"], "1")
        for _ in range(3):
            self.assertFalse(self.silence(20))
        for pid in workers(daemon):
            os.kill(pid, signal.SIGSTOP)
        deadline = time.monotonic() + 20
        while not self.silence(0.9):
            self.assertLess(time.monotonic(), deadline, "no silence")
        self.assertFalse(self.silence(20))

    def test_an_upgrade_names_the_new_process(self) -> None:
        """The old one says who is the service now, then the new one says that it serves; it was not told of systemd itself."""
        daemon = self.daemon(env=self.environment, arguments=("-s",))
        self.assertEqual(self.hear()["READY"], "1")
        second = self.successor(daemon, arguments=("-s",))
        self.assertEqual(self.hear(), {"MAINPID": str(second.pid)})
        self.assertEqual(self.hear()["READY"], "1")
        self.gone(daemon)
        second.send_signal(signal.SIGTERM)
        self.assertEqual(self.hear()["STOPPING"], "1")


class ActivationTests(NotifyCase):
    def listening(self, kind: socket.SocketKind = socket.SOCK_STREAM) -> socket.socket:
        """A socket such as systemd has for us."""
        sock = socket.socket(socket.AF_INET, kind)
        self.addCleanup(sock.close)
        sock.bind(("127.0.0.1", 0))
        if kind == socket.SOCK_STREAM:
            sock.listen(64)
        return sock

    def reload(self, daemon: Daemon) -> None:
        done = daemon.ctl("reload")
        self.assertEqual(done.returncode, 0, done.stderr)

    def test_servers_get_the_sockets_of_their_address(self) -> None:
        """Whatever their order; one that nobody listens on is told; a server that comes again, or in an upgraded daemon, finds its socket again.
        Clients that came before the daemon are served."""
        sockets = [self.listening() for _ in range(2)]
        unwanted, wanted = (sock.getsockname()[1] for sock in sockets)
        self.port = wanted
        other = free_port()
        early = socket.create_connection(("127.0.0.1", wanted), timeout=30)
        early.sendall(f"GET http://127.0.0.1:{self.origin.server_port}/ HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n".encode())
        for self.number in (0, 2):
            daemon = self.daemon(passed=sockets, arguments=("-m",), group=f"test{self.number}")
            self.waits_for(daemon, f"a socket was passed that nothing is configured to listen on: unnamed (descriptor 3): TCP 127.0.0.1:{unwanted}")
            if not self.number:
                with early, early.makefile("rb") as answer:
                    self.assertTrue(answer.read().endswith(b"hello"))
            for port in (other, wanted):
                self.rewrite(self.config(port=port))
                self.reload(daemon)
                self.assertEqual(self.get(port=port), (200, b"hello"))
            second = self.successor(daemon, self.config(port=other), arguments=("-m",), group=daemon.group)
            self.gone(daemon)
            (self.directory / f"g3proxy-{daemon.pid}.yaml").write_text(self.config())
            self.reload(second)
            self.assertEqual(self.get(), (200, b"hello"))
            second.quit()

    def test_an_end_leaves_them_open(self) -> None:
        """Whoever comes after it waits for the next daemon, also where one ended at once, or was killed in the middle of its end."""
        sock = self.listening()
        self.port = sock.getsockname()[1]
        for number in (signal.SIGKILL, signal.SIGINT, signal.SIGTERM):
            daemon = Daemon(self.write("g3proxy.yaml", self.config()), self.directory, passed=[sock])
            if number == signal.SIGKILL:
                daemon.send_signal(signal.SIGTERM)
                self.waits_for(daemon, "no new clients")
            daemon.stop(number)
            daemon.forget()
            with socket.create_connection(("127.0.0.1", self.port), timeout=5):
                pass

    def test_datagrams_too(self) -> None:
        """A helper receives on what was passed to it: the address could not be bound again."""
        sock = self.listening(socket.SOCK_DGRAM)
        argv = [str(BIN / "twistd"), "-n", "--pidfile=", "g3iploc", "--config", str(upstream_dir() / "examples/g3iploc/basic")]
        port = sock.getsockname()[1]
        log = self.directory / "g3iploc.log"
        env = {**environment(), **self.environment, "UDP_LISTEN_ADDR": f"127.0.0.1:{port}"}
        helper = Process("g3iploc", passing(argv, [sock]), log, env=env, pass_fds=[sock.fileno()])
        self.addCleanup(helper.kill)
        self.assertEqual(self.hear()["READY"], "1")
        self.assertEqual(helper.stop(signal.SIGTERM), 0)


class UnitTests(NotifyCase):
    """The units in examples/systemd, which the how-to tells operators to install."""

    def unit(self) -> str:
        """The service unit of a group called test, with places of this test in place of the system's."""
        text = (ROOT / "examples" / "systemd" / "g3proxy@.service").read_text().replace("%i", "test").replace("/opt/g3/bin", str(BIN))
        return text.replace("/etc/g3proxy", str(self.directory)).replace("/run/g3proxy", str(self.control))

    def words(self, name: str) -> list[str]:
        """A command of the unit."""
        (line,) = re.findall(rf"^{name}=(.*)$", self.unit(), re.MULTILINE)
        return shlex.split(line)

    def setUp(self) -> None:
        super().setUp()
        self.control = Path(tempfile.mkdtemp(prefix="g3t"))
        self.addCleanup(shutil.rmtree, self.control)
        (self.directory / "test").mkdir()

    def rewrite(self, text: str) -> None:
        (self.directory / "test" / "main.yaml").write_text(text)

    def test_systemd_understands_them(self) -> None:
        """Both, without a complaint; what the service needs of a machine is there in the test."""
        need("systemd-analyze")
        for name in ("g3proxy@.service", "g3proxy@.socket"):
            text = (ROOT / "examples" / "systemd" / name).read_text().replace("/opt/g3/bin/g3proxy", "/bin/true")
            (self.directory / name).write_text(text)
        done = subprocess.run(
            ["systemd-analyze", "verify", "--man=no", *(str(self.directory / f"g3proxy@edge.{kind}") for kind in ("service", "socket"))],
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        self.assertEqual((done.returncode, done.stderr), (0, ""))

    def test_their_commands_start_upgrade_and_refuse(self) -> None:
        """As systemd runs them: the start is ready, a reload is another process that has taken over when its command ends, and one with a broken
        configuration fails and changes nothing."""
        env = {**os.environ, **environment(), **self.environment}
        self.number = 2
        self.rewrite(self.config())
        first = Process("g3proxy", self.words("ExecStart"), self.directory / "log", env=env)
        self.addCleanup(first.kill)
        self.assertEqual(self.hear()["READY"], "1")
        self.assertEqual(self.get(), (200, b"hello"))
        pid_file = self.control / "test.pid"
        self.assertEqual(int(pid_file.read_text()), first.pid)
        done = subprocess.run(self.words("ExecReload"), env=env, capture_output=True, text=True, timeout=60, check=False)
        self.assertEqual(done.returncode, 0, done.stderr)
        second = int(pid_file.read_text())
        self.assertEqual(self.hear(), {"MAINPID": str(second)})
        self.assertEqual(self.hear()["READY"], "1")
        try:
            self.assertEqual(first.wait(), 0)
            self.rewrite("nonsense: 1")
            done = subprocess.run(self.words("ExecReload"), env=env, capture_output=True, text=True, timeout=60, check=False)
            self.assertEqual(done.returncode, 1)
            self.assertIn("nonsense", done.stderr)
            self.assertEqual(self.get(), (200, b"hello"))
            self.assertEqual(int(pid_file.read_text()), second)
        finally:
            os.kill(second, signal.SIGTERM)
        self.assertEqual(self.hear()["STOPPING"], "1")
        wait_for(lambda: not status(second), "it is gone")
