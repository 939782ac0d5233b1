# SPDX-License-Identifier: Apache-2.0
"""twistd's own options, as a daemon and in the foreground, and what an upgrade makes of them."""

from __future__ import annotations

import contextlib
import os
import pwd
import shutil
import signal
import socket
import subprocess
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from twisted.trial.unittest import SkipTest

from tests.functional.certificates import Authority
from tests.functional.harness import BIN, COMPLAINTS, environment
from tests.functional.needs import need_namespaces
from tests.functional.processes import Process, free_port
from tests.functional.socks_client import UDPEcho, UDPSession
from tests.functional.test_upgrade import UpgradeCase
from tests.functional.test_workers import children, low_port, status, wait_for

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

#: A /dev with its null and such, and with the socket of a syslog daemon.
OWN_DEV = """
set -e
mkdir "$1/dev"
mount -t tmpfs none "$1/dev"
for name in null zero random urandom; do touch "$1/dev/$name"; mount --bind "/dev/$name" "$1/dev/$name"; done
ln -s "$1/syslog" "$1/dev/log"
ln -s /proc/self/fd "$1/dev/fd"
mount --move "$1/dev" /dev
shift
exec "$@"
"""

MARKED_RELAY = """
  - name: socks
    type: socks_proxy
    listen: 127.0.0.1:{port}
    escaper: out
    enable_udp_associate: true
    udp_misc_opts: {{mark: 7}}
"""
MARKED_PORT = """
  - name: quic{port}
    type: plain_quic_port
    listen: {{address: "127.0.0.1:{port}", socket_misc_opts: {{mark: 7}}}}
    server: web
    quic_server:
      cert_pairs: {{certificate: server.pem, private_key: server-key.pem}}
"""
BIND_SERVICE, NET_ADMIN, NET_RAW = 1 << 10, 1 << 12, 1 << 13


class TwistdCase(UpgradeCase):
    """In a directory that everybody may read."""

    #: What starts it.
    prefix: tuple[str, ...] = ()

    def setUp(self) -> None:
        super().setUp()
        self.directory = Path(tempfile.mkdtemp(prefix="g3t"))
        self.addCleanup(shutil.rmtree, self.directory)
        self.directory.chmod(0o755)
        self.control = self.directory / "control"
        self.pid_file, self.log = self.directory / "g3.pid", self.directory / "g3.log"
        self.addCleanup(self.end)

    def end(self, number: signal.Signals = signal.SIGTERM) -> None:
        """End the daemon of the pid file."""
        with contextlib.suppress(FileNotFoundError, ProcessLookupError):
            pid = int(self.pid_file.read_text())
            os.kill(pid, number)
            wait_for(lambda: not status(pid), "the daemon is gone")

    def run_twistd(self, *words: str, config: str = "") -> subprocess.CompletedProcess[str]:
        """Run it until it has become a daemon that serves, or has said why not."""
        path = self.write("g3proxy.yaml", config or self.config())
        argv = [str(BIN / "twistd"), f"--pidfile={self.pid_file}", *words, "g3proxy", "-c", str(path), "-C", str(self.control), "-G", "test"]
        env = {**os.environ, **environment()}
        return subprocess.run(
            [*self.prefix, *argv], cwd=self.directory, env=env, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=60, check=False
        )

    @contextlib.contextmanager
    def syslog(self) -> Iterator[Callable[[str], bytes]]:
        """What is started meanwhile has a syslog of its own; gives what waits for a line of it."""
        need_namespaces()
        self.prefix = ("unshare", "--mount", "--propagation", "private", "sh", "-c", OWN_DEV, "sh", str(self.directory))
        with contextlib.closing(socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)) as sink:
            sink.bind(str(self.directory / "syslog"))
            sink.settimeout(20)

            def heard(text: str) -> bytes:
                while text.encode() not in (line := sink.recv(65536)):
                    pass
                return line

            yield heard

    def ctl(self, pid: int, *words: str) -> subprocess.CompletedProcess[str]:
        argv = [str(BIN / "g3proxy-ctl"), "-G", "test", "-p", str(pid), "-C", str(self.control), *words]
        return subprocess.run(argv, env={**os.environ, **environment()}, capture_output=True, text=True, timeout=60, check=False)

    def everybody(self, pid: int) -> list[int]:
        """All processes of a daemon."""
        found = [pid]
        for each in found:
            found += children(each)
        return found


class DaemonTests(TwistdCase):
    """In the background."""

    def test_it_becomes_somebody_else_and_is_upgraded(self) -> None:
        """C{--uid}, C{--gid}, C{--logfile} and C{--pidfile}: all processes are of that user, ports below 1024 are bound before and after the
        change, the log has what workers say, and the pid file changes hands though its directory is root's."""
        if os.geteuid():
            raise SkipTest("only root can become somebody else")
        nobody = pwd.getpwnam("nobody").pw_uid
        words = ("--uid=nobody", "--gid=nogroup", f"--logfile={self.log}")
        pids = []
        for self.number in (0, 2):
            self.port = low_port()
            done = self.run_twistd(*words)
            self.assertEqual(done.returncode, 0, done.stderr)
            pid = int(self.pid_file.read_text())
            if pids:
                # twistd's own rule, that there is only one of a pid file, would have refused it.
                wait_for(lambda: not status(pids[-1]), "the old one is gone")
            pids.append(pid)
            self.assertEqual(self.get(), (200, b"hello"))
            self.port = low_port()
            self.write("g3proxy.yaml", self.config())
            done = self.ctl(pid, "reload")
            self.assertEqual(done.returncode, 0, done.stderr)
            self.assertEqual(self.get(), (200, b"hello"))
            for each in self.everybody(pid):
                self.assertEqual(set(status(each)["Uid"].split()), {str(nobody)})
        os.kill(self.everybody(pids[-1])[-1], signal.SIGKILL)
        wait_for(lambda: ") serves" in self.log.read_text(), "a worker is replaced")
        self.assertNotEqual(pids[0], pids[1])
        self.end()
        text = self.log.read_text()
        self.assertEqual(text.count("is ready"), 2)
        self.assertFalse(any(complaint in text for complaint in COMPLAINTS), text)

    def test_a_user_that_is_not_there_is_told_in_a_line(self) -> None:
        """Before anything is bound."""
        done = self.run_twistd("--uid=123456789")
        self.assertEqual((done.returncode, done.stdout, done.stderr), (1, "", "twistd --uid: there is no user 123456789\n"))

    def test_it_keeps_what_its_sockets_need(self) -> None:
        """CAP_NET_ADMIN for marks: of upstreams and of relayed datagrams in workers, of a QUIC port that a reload adds in the supervisor. No process
        has more."""
        if os.geteuid():
            raise SkipTest("only root can become somebody else")
        self.number = 1
        certificate, key = Authority().issue("g3proxy.local")
        for name, text in (("server.pem", certificate), ("server-key.pem", key)):
            (self.directory / name).write_bytes(text)
        socks, echo = free_port(), UDPEcho()
        self.addCleanup(echo.close)
        text = self.config() + MARKED_RELAY.format(port=socks)
        text = text.replace("type: direct_fixed", "type: direct_fixed\n    tcp_misc_opts: {mark: 7}\n    udp_misc_opts: {mark: 7}")
        text += MARKED_PORT.format(port=free_port())
        done = self.run_twistd("--uid=nobody", "--gid=nogroup", f"--logfile={self.log}", config=text)
        self.assertEqual(done.returncode, 0, done.stderr)
        pid = int(self.pid_file.read_text())
        kept = [int(status(each)["CapPrm"], 16) for each in self.everybody(pid)]
        self.assertEqual(kept, [BIND_SERVICE | NET_ADMIN | NET_RAW, NET_ADMIN, NET_ADMIN])
        self.write("g3proxy.yaml", text + MARKED_PORT.format(port=free_port()))
        done = self.ctl(pid, "reload")
        self.assertEqual(done.returncode, 0, done.stderr)
        self.assertEqual(self.get(), (200, b"hello"))
        with contextlib.closing(UDPSession(socks)) as session:
            session.send(b"x", "127.0.0.1", echo.port)
            self.assertEqual(session.receive()[1], b"x")

    def test_a_reload_marks_listeners(self) -> None:
        """The supervisor does it, whose workers may not, and without workers the process itself. Who was never to mark anything may not begin to."""
        if os.geteuid():
            raise SkipTest("only root can become somebody else")

        def marked(mark: str) -> str:
            return self.config().replace(f"listen: 127.0.0.1:{self.port}", f"listen: {{address: '127.0.0.1:{self.port}'{mark}}}")

        def mark() -> str:
            listing = subprocess.run(["ss", "-Htlne", f"sport = :{self.port}"], capture_output=True, text=True, timeout=20, check=True).stdout
            return listing.partition("fwmark:")[2].partition(" ")[0]

        for self.number in (1, 0):
            self.port = free_port()
            done = self.run_twistd("--uid=nobody", "--gid=nogroup", f"--logfile={self.log}", config=marked(", netfilter_mark: 7"))
            self.assertEqual((done.returncode, mark()), (0, "0x7"), done.stderr)
            pid = int(self.pid_file.read_text())
            for what, now in ((", netfilter_mark: 8", "0x8"), (", backlog: 9", ""), (", mark: 10", "0xa")):
                self.write("g3proxy.yaml", marked(what))
                done = self.ctl(pid, "reload")
                self.assertEqual((done.returncode, mark()), (0, now), done.stderr)
                self.assertEqual(self.get(), (200, b"hello"))
            self.end()
            self.pid_file.unlink(missing_ok=True)  # its directory is not theirs
        done = self.run_twistd("--uid=nobody", "--gid=nogroup", f"--logfile={self.log}", config=marked(""))
        self.assertEqual((done.returncode, mark()), (0, ""), done.stderr)
        self.write("g3proxy.yaml", marked(", mark: 7"))
        done = self.ctl(int(self.pid_file.read_text()), "reload")
        self.assertEqual((done.returncode, mark()), (1, ""))
        self.assertIn(f"cannot listen on 127.0.0.1:{self.port}: Operation not permitted", done.stderr)
        self.end()
        self.assertFalse(any(complaint in self.log.read_text() for complaint in COMPLAINTS), self.log.read_text())

    def test_the_log_goes_to_syslog(self) -> None:
        """C{--syslog} with its C{--prefix}."""
        self.number = 1
        with self.syslog() as heard:
            done = self.run_twistd("--syslog", "--prefix=edge")
            self.assertEqual(done.returncode, 0, done.stderr)
            self.assertIn(b"edge", heard("is ready"))
            self.assertEqual(self.get(), (200, b"hello"))
            self.end()
            self.assertIn(b"edge", heard("Server Shut Down"))

    def test_a_daemon_that_is_there_already_is_told(self) -> None:
        """One of another group, or a pid file of something else, is left alone; the reason is shown to who started it."""
        self.assertEqual(self.run_twistd(f"--logfile={self.log}").returncode, 0)
        first = int(self.pid_file.read_text())
        path = str(self.directory / "g3proxy.yaml")
        argv = [str(BIN / "g3proxy"), "-d", "-p", str(self.pid_file), "-c", path, "-C", str(self.control), "-G", "other"]
        done = subprocess.run(argv, env={**os.environ, **environment()}, capture_output=True, text=True, timeout=60, check=False)
        self.assertEqual(done.returncode, 1)
        self.assertIn(f"pid file {self.pid_file}: process {first} is running", done.stderr)
        self.assertEqual(int(self.pid_file.read_text()), first)
        self.end()
        self.assertFalse(self.pid_file.exists())

    def test_our_own_command_is_upgraded_in_the_background(self) -> None:
        """-d and -d again: the second returns when it serves, and the first has been told to leave."""
        pids = []
        path = self.write("g3proxy.yaml", self.config())
        for _ in range(2):
            argv = [str(BIN / "g3proxy"), "-d", "-p", str(self.pid_file), "-c", str(path), "-C", str(self.control)]
            done = subprocess.run(argv, env={**os.environ, **environment()}, capture_output=True, text=True, timeout=60, check=False)
            self.assertEqual(done.returncode, 0, done.stderr)
            pids.append(int(self.pid_file.read_text()))
        wait_for(lambda: not status(pids[0]), "the first is gone")
        self.assertEqual(self.get(), (200, b"hello"))
        self.assertEqual(int(self.pid_file.read_text()), pids[1])


class ForegroundTests(TwistdCase):
    """C{--nodaemon}."""

    @contextlib.contextmanager
    def running(self, *words: str) -> Iterator[Process]:
        path = self.write("g3proxy.yaml", self.config())
        argv = ["--nodaemon", f"--pidfile={self.pid_file}", *words, "g3proxy", "-c", str(path), "-C", str(self.control)]
        process = Process("twistd", [*self.prefix, str(BIN / "twistd"), *argv], self.directory / "output", env=environment())
        try:
            process.wait_listening(self.port)
            yield process
            self.assertEqual(process.stop(signal.SIGINT), 0)
        finally:
            process.kill()
        self.assertFalse(self.pid_file.exists())

    def test_the_log_goes_to_a_file(self) -> None:
        """C{--logfile}; nothing is on the terminal."""
        self.number = 2
        with self.running(f"--logfile={self.log}") as process:
            wait_for(lambda: "is ready" in self.log.read_text(), "it is ready")
            self.assertEqual(int(self.pid_file.read_text()), process.pid)
            self.assertEqual(process.output(), "")

    def test_the_log_goes_to_syslog(self) -> None:
        """C{--syslog} with its C{--prefix}."""
        with self.syslog() as heard, self.running("--syslog", "--prefix=edge"):
            self.assertIn(b"edge", heard("is ready"))
