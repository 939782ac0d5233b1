# SPDX-License-Identifier: Apache-2.0
"""One upstream coverage case at work: its namespace, the peers in it and the daemon, kept up over the tests of the case."""

from __future__ import annotations

import atexit
import contextlib
import shutil
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

from twisted.trial.unittest import SynchronousTestCase

from tests.functional.harness import Daemon
from tests.functional.namespaces import Namespace
from tests.functional.needs import ROOT, need, need_namespaces
from tests.functional.peers import HTTPBIN_SERVERS, start_dnsmasq, start_httpbin, start_nginx, start_vsftpd_of
from tests.functional.processes import listening
from tests.functional.upstream import Derived, copied, derive

if TYPE_CHECKING:
    import subprocess

    from tests.functional.processes import Process

#: Starting one takes seconds, so it stays until another case needs its own or the run ends.
_current: list[World] = []


class World:
    """A case of upstream's coverage tests: C{name} is its folder there."""

    def __init__(self, name: str, ports: tuple[int, ...]) -> None:
        self.name = name
        self._ftp = False
        self.cleanups = contextlib.ExitStack()
        self.directory = Path(tempfile.mkdtemp(prefix="g3world")).resolve()
        self.cleanups.callback(shutil.rmtree, self.directory, ignore_errors=True)
        try:
            self._start(ports)
        except BaseException:
            self.cleanups.close()
            raise

    def _start(self, ports: tuple[int, ...]) -> None:
        certificates = copied(self.directory / "upstream") / "coverage" / "g3proxy"
        self.ca = certificates / "rootCA.pem"
        self.main = certificates / self.name / "g3proxy.yaml"
        self.namespace = Namespace(self.directory)
        self.cleanups.callback(self.namespace.close)
        self._keep(start_dnsmasq(self.namespace, self.directory))
        self._keep(start_httpbin(self.namespace, self.directory))
        servers = HTTPBIN_SERVERS.format(certificates=certificates)
        self._keep(start_nginx(self.directory, servers, 2080, 2443, namespace=self.namespace))
        self.derived: Derived = derive(self.main)
        config = self.derived.write(self.main.with_name("derived.yaml")) if self.derived.changes else self.main
        self.daemon = Daemon(config, self.directory, ports=ports, namespace=self.namespace)
        self._keep(self.daemon)

    def start_ftp(self) -> None:
        """An FTP server on port 21 for the user of upstream's case; the first call starts it."""
        if not self._ftp:
            root = Path(tempfile.mkdtemp(prefix="g3ftp"))
            root.chmod(0o777)
            self.cleanups.callback(shutil.rmtree, root, ignore_errors=True)
            self._keep(start_vsftpd_of(self.namespace, self.directory, root, "ftpuser", "ftppass"))
            self._ftp = True

    def _keep(self, process: Process) -> None:
        self.cleanups.callback(process.kill)

    @classmethod
    def of(cls, name: str, ports: tuple[int, ...]) -> World:
        """The running one, or a new one in its place."""
        need_namespaces()
        need("nginx", "dnsmasq")
        if not _current or _current[0].name != name:
            close_current()
            _current.append(cls(name, ports))
        return _current[0]

    def python(self, module: str, *arguments: str, seconds: float = 180.0) -> subprocess.CompletedProcess[str]:
        """Run a module of this tree inside."""
        return self.namespace.run("env", f"PYTHONPATH={ROOT}", sys.executable, "-m", module, *arguments, seconds=seconds)

    def close(self) -> None:
        """End the daemon as a user does, and everything else for certain.

        @raise AssertionError: the daemon did not end with status 0, or wrote a traceback.
        """
        with self.cleanups:
            self.daemon.quit()


def close_current() -> None:
    while _current:
        _current.pop().close()


atexit.register(close_current)


class CaseTestCase(SynchronousTestCase):
    """Tests of one case: C{case} is its folder upstream, C{ports} what its servers listen on.

    The last test of a class, by name, ends the daemon and sees that it ends well.
    """

    case: ClassVar[str] = ""
    ports: ClassVar[tuple[int, ...]] = ()

    def setUp(self) -> None:
        self.world = World.of(self.case, self.ports)
        self.addCleanup(self.check_log)

    def check_log(self) -> None:
        """The daemon complained of nothing during the test; one that ended was checked then."""
        if self.world in _current:
            self.world.daemon.check_log()

    def httpbin(self, client: str, site: str, *more: str) -> None:
        """All httpbin checks of a client pass."""
        ran = self.world.python("tests.functional.httpbin_checks", "--client", client, "--site", site, *more)
        if ran.returncode != 0:
            raise self.world.daemon.fail(f"served {client} badly ({site} {' '.join(more)}):\n{ran.stdout}\n")

    def ftp(self, *more: str) -> None:
        """All FTP checks pass."""
        need("vsftpd")
        self.world.start_ftp()
        ran = self.world.python("tests.functional.ftp_checks", "--site", "ftp://ftpuser:ftppass@127.0.0.1", *more)
        if ran.returncode != 0:
            raise self.world.daemon.fail(f"served ftp badly ({' '.join(more)}):\n{ran.stdout}\n")

    def end_case(self) -> None:
        """The daemon ends with status 0 on SIGINT, and nothing of it listens any more."""
        world = self.world
        self.assertTrue({("tcp", port) for port in self.ports} <= listening(world.namespace.pid))
        world.daemon.quit()
        self.assertEqual({port for kind, port in listening(world.namespace.pid) if kind == "tcp"} & set(self.ports), set())
        close_current()
