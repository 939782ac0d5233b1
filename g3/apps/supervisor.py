# SPDX-License-Identifier: Apache-2.0
"""A daemon of several processes: this one binds the sockets, answers the operator and keeps the workers; the workers serve.

What a worker is told is made here; L{g3.apps.worker} is how it uses it.
"""

from __future__ import annotations

import os
from dataclasses import replace
from typing import TYPE_CHECKING, Any, ClassVar

from twisted.internet.defer import Deferred
from twisted.logger import Logger

from g3.apps.daemon import BaseDaemon, ProxyDaemon
from g3.logs.hub import LogHub
from g3.logs.options import LogOptions
from g3.tree.datagrams import DatagramPool
from g3.tree.listeners import ListenerPool
from g3.tree.root import LAST_WAIT
from g3.workers.answers import CrewCommands
from g3.workers.crew import Crew
from g3.workers.keeper import Keeper
from g3.workers.memory import MAX_SLOTS, Memory

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from g3.component import Components
    from g3.config.main import MainConfig
    from g3.metrics.registry import MetricRegistry
    from g3.tree.node import NodeContext
    from g3.tree.root import Root
    from g3.workers.member import Member

log = Logger()

#: Seconds that workers have to end beyond what their tasks have.
END_WAIT = LAST_WAIT + 2.0


def worker_count(main: MainConfig) -> int:
    """How many workers a configuration asks for; 0: serve in the process itself. Without a word about it, the CPUs we may run on."""
    cpus = len(os.sched_getaffinity(0))
    if main.worker is not None:
        total = main.worker.thread_number_total or cpus
        count = max(1, total // main.worker.thread_number_per_runtime)
    else:
        count = cpus if main.runtime.thread_number is None else main.runtime.thread_number
    return min(count, MAX_SLOTS)


class Supervising(BaseDaemon):
    """Mix in before the class of a daemon that serves itself, and say which C{worker} class serves in the workers."""

    tree: ClassVar[type[Root]] = Keeper
    #: Dotted names of what a worker runs (a C{main} as of L{g3.apps.worker}), and of the class of the daemon in it.
    entry: ClassVar[str] = "g3.apps.worker.main"
    worker: ClassVar[str]
    #: The kinds whose nodes run here and in no worker.
    kept: ClassVar[frozenset[str]] = frozenset()
    hands_on: ClassVar[bool] = True
    root: Keeper

    def build(self) -> None:
        self._memory = Memory(self.number())
        super().build()
        self.root.crew, self.root.kept = self._crew, self.kept
        self._crew.prepare()

    def _prepare(self) -> None:
        """No port is open before workers can be had: who connects is served at once."""
        self._crew.wait_ready()
        super()._prepare()

    def make_listeners(self) -> ListenerPool:
        """With datagram sockets for each worker."""
        passed = self.settings.passed
        return ListenerPool(self.reactor, bind=passed.bind_tcp, datagrams=DatagramPool(self._memory.slots, passed.bind_udp), kept=passed.has)

    def number(self) -> int:
        """Of workers."""
        return worker_count(self._main)

    def brought(self) -> Any:
        """What a worker gets beside the configuration; pickled when a worker is told."""

    def make_logs(self, metrics: MetricRegistry) -> LogHub:
        """None: workers open the event logs, each its own."""
        return LogHub(self.reactor, LogOptions(), daemon_name=self.settings.group, program=self.program, metrics=metrics)

    def make_exporter(self, context: NodeContext) -> None:
        """None: each worker sends its own, and makes the crew's acquaintance here since that needs the listeners."""
        self._crew = Crew(
            self.reactor,
            self._memory,
            context.listeners,
            entry=self.entry,
            reactor_module=type(self.reactor).__module__,
            user=self._user(),
            admin=self.serves_as_admin(),
            modules=modules_of(self._main, self.source.components, self.kept),
            snapshot=self._brief,
            setup=self._set_up,
        )

    def _user(self) -> tuple[int, int] | None:
        """Whom twistd is about to make of us: user and group."""
        uid, gid = self.settings.uid, self.settings.gid
        if uid is None and gid is None:
            return None
        return os.getuid() if uid is None else uid, os.getgid() if gid is None else gid

    def make_commands(self) -> Callable[[str, dict[str, Any]], Awaitable[Any]]:
        """Answers for all."""
        return self._run

    async def _run(self, command: str, arguments: dict[str, Any]) -> Any:
        return await self._answers(command, arguments)

    async def _set_up(self, member: Member) -> None:
        await self._answers.set_up(member)

    def _brief(self, configuration: Any) -> dict[str, Any]:
        """All that a worker has to know. Sections are those of the start, as they take a restart."""
        main = replace(configuration, sections=self._main.sections, layout=None)
        worker = self._main.worker
        return {
            "main": main,
            "daemon": self.worker,
            "brought": self.brought(),
            "settings": {"group": self.settings.group, "verbosity": self.settings.verbosity},
            "affinity": {} if worker is None else worker.sched_affinity,
            "published": self._answers.published(),
        }

    def _begin(self) -> None:
        self._answers = CrewCommands(self.commands(self), self._crew, self.root)
        super()._begin()

    def serve(self) -> None:
        """As soon as all workers serve."""
        self._crew.start(self._main).addCallbacks(lambda _: self._all_serve(), lambda failure: self._start_failed(failure.value))

    def _all_serve(self) -> None:
        if not self._leaving:
            super().serve()

    def healthy(self) -> bool:
        return self._crew.healthy()

    # The end

    async def _close(self) -> None:
        await self._crew.settle()
        async with self.root.closing_ports():
            # Ours first: who closes a socket last has to accept who is queued, which workers do.
            self._close_ports()
            await self._crew.close_servers()

    def drained(self) -> Deferred[Any]:
        return self._crew.drained()

    def force_quit_all(self) -> int:
        Deferred.fromCoroutine(self._run("force_quit_all", {})).addErrback(lambda _: None)
        return 0

    async def _stop(self) -> None:
        await self._crew.stop(END_WAIT)
        await super()._stop()


def modules_of(main: MainConfig, components: Components, kept: frozenset[str] = frozenset()) -> list[str]:
    """The modules of the node types that a configuration has: workers need not import them one by one. Of kinds that are C{kept} they have none."""
    found = {type(config).__module__ for kind in main.nodes for config in main.configs(kind)}
    found |= {components.load(kind, config.type_word).__module__ for kind in main.nodes if kind not in kept for config in main.configs(kind)}
    return sorted(found)


class ProxySupervisor(Supervising, ProxyDaemon):
    """g3proxy with workers."""

    worker = "g3.apps.daemon.ProxyDaemon"
