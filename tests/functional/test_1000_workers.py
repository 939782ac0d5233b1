# SPDX-License-Identifier: Apache-2.0
"""Upstream's coverage cases 1000 to 1003: HTTP, FTP over HTTP, SOCKS 4a and 5 and DNS by UDP through workers, however they are asked for.

The configurations are upstream's, unchanged.
"""

from __future__ import annotations

import os
from typing import ClassVar

from tests.functional.test_workers import wait_for, workers
from tests.functional.world import CaseTestCase

SITE = "http://httpbin.local"


class WorkerBaseTests(CaseTestCase):
    """C{worker} without a word about how many: one for each CPU."""

    case = "1000_worker_base"
    ports = (8080, 1080)
    #: How many workers there have to be; None: as many as CPUs.
    count: ClassVar[int | None] = None

    def test_http_forward_and_socks(self) -> None:
        """Both servers, with upstream's clients."""
        for proxy in ("http://127.0.0.1:8080", "socks5h://127.0.0.1:1080"):
            self.httpbin("curl", SITE, "--proxy", proxy)
            self.httpbin("requests", SITE, "--proxy", proxy)
        self.httpbin("curl", SITE, "--proxy", "socks4a://127.0.0.1:1080")

    def test_ftp_over_http(self) -> None:
        """An FTP server, with the client's login."""
        self.ftp("--proxy", "http://127.0.0.1:8080")

    def test_dns_by_udp_associate(self) -> None:
        """Datagrams meet the worker that has the association."""
        ran = self.world.python("tests.functional.socks_dns", "1080", "127.0.0.1", "g3proxy.local=127.0.0.1", "httpbin.local=127.0.0.1")
        if ran.returncode != 0:
            raise self.world.daemon.fail(f"carried DNS badly:\n{ran.stdout}\n")

    def test_there_are_as_many_workers_as_the_configuration_says(self) -> None:
        """It is used unchanged."""
        self.assertEqual(self.world.derived.changes, [])
        wanted = len(os.sched_getaffinity(0)) if self.count is None else self.count
        wait_for(lambda: len(workers(self.world.daemon)) == wanted, f"{wanted} workers")

    def test_z_the_daemon_ends_well(self) -> None:
        """As a user ends it."""
        self.end_case()


class WorkerSchedTests(WorkerBaseTests):
    """Each on a CPU of its own."""

    case = "1001_worker_sched"

    def test_each_worker_has_its_cpu(self) -> None:
        """C{sched_affinity: true}."""
        wanted = [[cpu] for cpu in sorted(os.sched_getaffinity(0))]
        wait_for(lambda: sorted(sorted(os.sched_getaffinity(pid)) for pid in workers(self.world.daemon)) == wanted, f"workers on {wanted}")


class WorkerListenTests(WorkerBaseTests):
    """C{listen_in_worker}."""

    case = "1002_worker_listen"


class WorkerMultiTests(WorkerBaseTests):
    """Eight, two to a process."""

    case = "1003_worker_multi_rt"
    count = 4
