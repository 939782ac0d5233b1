# SPDX-License-Identifier: Apache-2.0
"""A daemon that is listened to: its task records and metrics arrive in the test."""

from __future__ import annotations

import shutil
import socket
import tempfile
from pathlib import Path

from tests.functional.certificates import Authority, pem
from tests.functional.harness import Daemon, FunctionalTestCase
from tests.functional.test_observability import Sink, fields

HEAD = """
runtime: {{thread_number: 0}}
log:
  default: {{syslog: {{target_unix: {syslog}}}}}
stat:
  target: {{udp: "127.0.0.1:{statsd}"}}
  emit_interval: 100ms
resolver:
  - {{name: r, type: deny_all}}
escaper:
  - name: e
    type: direct_fixed
    resolver: r
    egress_network_filter: {{default: allow, allow: [127.0.0.1, 127.0.0.2, 127.0.0.3, "::1"]}}
    resolve_redirection: {{a.test: 127.0.0.2, b.test: 127.0.0.3}}
server:
"""


class ObservedCase(FunctionalTestCase):
    """One daemon with the servers a test gives it; its escaper C{e} reaches addresses only, loopback too; a.test is 127.0.0.2, b.test 127.0.0.3."""

    def setUp(self) -> None:
        super().setUp()
        place = Path(tempfile.mkdtemp(prefix="g3o"))
        self.addCleanup(shutil.rmtree, place)
        self.syslog = Sink(socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM))
        self.syslog.sock.bind(str(place / "log"))
        self.statsd = Sink(socket.socket(socket.AF_INET, socket.SOCK_DGRAM))
        self.statsd.sock.bind(("127.0.0.1", 0))
        self.addCleanup(self.syslog.sock.close)
        self.addCleanup(self.statsd.sock.close)
        self._head = HEAD.format(syslog=place / "log", statsd=self.statsd.sock.getsockname()[1])

    def serve(self, servers: str, *ports: int) -> Daemon:
        """Start the daemon with the text of the C{server} section."""
        return self.start_daemon(self._head + servers, ports=ports)

    def rewrite(self, servers: str) -> None:
        """Put another C{server} section into the daemon's file, for a reload."""
        self.write("g3proxy.yaml", self._head + servers)

    def certificate(self, name: str, *hosts: str, client: bool = False) -> None:
        """NAME.pem and NAME-key.pem for C{hosts}, from the authority in ca.pem."""
        if not hasattr(self, "authority"):
            self.authority = Authority()
            (self.directory / "ca.pem").write_bytes(pem(self.authority.certificate))
        certificate, key = self.authority.issue(*hosts, client=client)
        (self.directory / f"{name}.pem").write_bytes(certificate)
        (self.directory / f"{name}-key.pem").write_bytes(key)

    def tasks(self, count: int, seconds: float = 10.0) -> list[dict[str, str]]:
        """Task records, once there are so many."""
        lines = self.syslog.wait(lambda lines: sum('log_type="Task"' in line for line in lines) >= count, seconds)
        return [fields(line) for line in lines if 'log_type="Task"' in line]

    def finished(self, seconds: float = 10.0) -> dict[str, str]:
        """The record of the first task that ended."""
        self.syslog.wait(lambda lines: any('task_event="Finished"' in line for line in lines), seconds)
        return next(fields(line) for line in self.syslog.lines if 'task_event="Finished"' in line)

    def total(self, name: str, *tags: str) -> int:
        """The sum of the deltas sent so far of one counter."""
        found = 0
        for line in self.statsd.lines:
            head, _, rest = line.partition(":")
            if head == f"g3proxy.{name}" and all(tag in rest for tag in tags):
                found += int(rest.split("|")[0])
        return found

    def counted(self, name: str, *tags: str, least: int = 1, seconds: float = 5.0) -> int:
        """The same, once it is C{least} or time is up."""
        self.statsd.wait(lambda _: self.total(name, *tags) >= least, seconds)
        return self.total(name, *tags)
