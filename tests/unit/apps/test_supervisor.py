# SPDX-License-Identifier: Apache-2.0
"""How many workers a configuration asks for, and how they and their supervisor end."""

from __future__ import annotations

import os
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

from twisted.internet.defer import Deferred, succeed
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from g3.apps.daemon import Settings
from g3.apps.supervisor import ProxySupervisor, worker_count
from g3.config.runtime import RuntimeConfig, WorkerConfig
from g3.net.listen import HANDSHAKE
from g3.net.options import TCPListen
from g3.tree.listeners import ListenerPool
from g3.tree.node import NodeContext
from g3.workers.keeper import Keeper
from tests.unit.tree.nodes import FakeAcceptor, TinyConfig, components, configuration, enters


def succeeded() -> Deferred[None]:
    return succeed(None)


class ClosingTests(SynchronousTestCase):
    """The end of a daemon with workers."""

    def daemon(self) -> tuple[Clock, ProxySupervisor, ListenerPool]:
        """One with two servers."""
        clock = Clock()
        daemon = ProxySupervisor(clock, Settings(Path("/")), cast("Any", None), cast("Any", None))
        pool = ListenerPool(clock, acceptor=FakeAcceptor)
        keeper = daemon.root = Keeper(NodeContext(reactor=clock, listeners=pool), components())
        servers = [TinyConfig(name, listen=TCPListen(address=("127.0.0.1", 0))) for name in ("stays", "goes")]
        keeper.prepare(configuration(server=servers))
        keeper.begin()
        return clock, daemon, pool

    def test_an_end_at_once_waits_for_nobody(self) -> None:
        """The ports are closed before the workers are, and whoever else has a socket can go on with it."""
        _, daemon, pool = self.daemon()
        addresses = [sock.getsockname() for sock in pool.sockets()]
        crew = SimpleNamespace(settle=succeeded, close_servers=Deferred, stop=lambda _: Deferred())
        daemon._crew = cast("Any", crew)
        with next(iter(pool.sockets())).dup() as shared:
            daemon.close_servers()
            daemon.stopService()
            self.assertTrue(enters(shared.getsockname()))
        for address in addresses:
            self.assertRaises(ConnectionRefusedError, enters, address)
        self.assertEqual(self.flushLoggedErrors(), [])

    def test_who_asks_for_the_ports_gets_them_until_they_are_closed(self) -> None:
        """A daemon that starts meanwhile could not bind them: the shared control socket goes when they go, no sooner."""
        clock, daemon, _ = self.daemon()
        daemon._crew = cast("Any", SimpleNamespace(settle=succeeded, close_servers=succeeded))
        handed: list[int] = []
        self.patch(daemon, "release_controller", lambda: handed.append(len(daemon.hand_over().descriptors)))
        daemon.close_servers()
        clock.advance(HANDSHAKE - 0.01)
        self.assertEqual(handed, [])
        clock.advance(0.01)
        self.assertEqual(handed, [2])

    def test_ports_that_cannot_be_closed_in_order_are_closed_all_the_same(self) -> None:
        """The end goes on, and the log says why."""
        clock, daemon, pool = self.daemon()
        addresses = [sock.getsockname() for sock in pool.sockets()]

        def broken() -> Any:
            raise ZeroDivisionError

        daemon._crew = cast("Any", SimpleNamespace(settle=succeeded, close_servers=broken))
        daemon.close_servers()
        clock.advance(HANDSHAKE)
        self.successResultOf(daemon.closed())
        for address in addresses:
            self.assertRaises(ConnectionRefusedError, enters, address)
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)

    def test_nobody_is_let_in_between_the_workers_last_look_and_the_end(self) -> None:
        """Of any port, but for those that a daemon after us goes on with."""
        clock, daemon, pool = self.daemon()
        addresses = [sock.getsockname() for sock in pool.sockets()]
        shared = [sock.dup() for sock in pool.sockets()]
        daemon.succeeded_by(17, list(pool.handed())[:1])
        seen: list[bool] = []

        class Crew:
            """Its workers take a while."""

            async def settle(self) -> None:
                """Nobody is starting."""

            async def close_servers(self) -> None:
                for sock in shared:
                    seen.append(enters(sock.getsockname()))
                    sock.close()

        daemon._crew = cast("Any", Crew())
        daemon.close_servers()
        clock.advance(HANDSHAKE)
        self.assertEqual(seen, [True, False])
        for address in addresses:
            self.assertRaises(ConnectionRefusedError, enters, address)


class CountTests(SynchronousTestCase):
    """upstream: configuration/runtime, configuration/worker."""

    def count(self, runtime: Any = None, worker: Any = None) -> int:
        main: Any = SimpleNamespace(runtime=RuntimeConfig(thread_number=runtime), worker=worker)
        return worker_count(main)

    def test_without_a_word_the_cpus_we_may_run_on(self) -> None:
        """With a worker section that does not say, too."""
        cpus = len(os.sched_getaffinity(0))
        self.assertEqual(self.count(), cpus)
        self.assertEqual(self.count(0, WorkerConfig()), cpus)

    def test_zero_is_none(self) -> None:
        """All in one process."""
        self.assertEqual(self.count(0), 0)
        self.assertEqual(self.count(3), 3)

    def test_a_worker_section_has_the_last_word(self) -> None:
        """Its total over what each runtime has."""
        self.assertEqual(self.count(1, WorkerConfig(thread_number_total=6, thread_number_per_runtime=2)), 3)
