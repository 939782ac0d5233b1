# SPDX-License-Identifier: Apache-2.0
"""A worker: the process that serves. It has the tree of a daemon and no will of its own: its supervisor tells it what to do over a link, and
when the link ends it finishes what it has and ends, too."""

from __future__ import annotations

import contextlib
import importlib
import os
import signal
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IPushProducer
from twisted.internet.task import LoopingCall
from twisted.logger import Logger, LogLevel, globalLogBeginner
from twisted.python.reflect import namedAny
from zope.interface import implementer

from g3.apps.daemon import Seat, Settings
from g3.component import PROXY
from g3.errors import ConfigError, G3Error
from g3.logs.process import event_text
from g3.tree.datagrams import DatagramPool
from g3.tree.listeners import ListenerPool
from g3.tree.node import Lasting
from g3.tree.offline import Shutdown
from g3.workers import link as words
from g3.workers.balance import Share, SharedListener
from g3.workers.nursery import call_itself

if TYPE_CHECKING:
    import socket

    from g3.apps.daemon import BaseDaemon
    from g3.tree.reload import Transition
    from g3.workers.memory import Memory

log = Logger()

#: Seconds between two beats.
BEAT = 0.25
#: Lines for the process log between two beats.
MAX_LINES = 200


@implementer(IPushProducer)
class Backlog:
    """Whether the link has so much to send that what nobody needs is left out: a supervisor that hangs reads nothing."""

    def __init__(self) -> None:
        self.full = False

    def pauseProducing(self) -> None:
        self.full = True

    def resumeProducing(self) -> None:
        self.full = False

    def stopProducing(self) -> None:
        """The link has ended."""


class Worker(words.Link):
    """The worker's end of the link, and all that is behind it."""

    def __init__(self, reactor: Any, memory: Memory, slot: int) -> None:
        super().__init__()
        self.reactor = reactor
        self.slot = slot
        self._memory = memory
        self._row = memory.rows[slot]
        self._lines = 0
        self._backlog = Backlog()
        self._share = Share(memory, slot)
        self._listeners = ListenerPool(
            reactor, bind=_not_ours, check=_supervisors, acceptor=partial(SharedListener, share=self._share), datagrams=DatagramPool(bind=_not_ours)
        )
        # The supervisor has them all.
        self._listeners.stays = lambda _: True
        self._daemon: BaseDaemon | None = None
        self._commands: Any = None
        self._staged: tuple[Any, Transition | None] | None = None
        #: What was published before we began.
        self._published: list[dict[str, Any]] = []
        self._beating = LoopingCall(self._beat)
        self._beating.clock = reactor
        self._beating.start(BEAT)
        self._leaving = False
        self._linked = True
        self._lowest = LogLevel.info
        self.lost = self._orphaned

    def makeConnection(self, transport: Any) -> None:
        super().makeConnection(transport)
        transport.registerProducer(self._backlog, True)

    def _beat(self) -> None:
        self._row.beat += 1
        self._lines = 0

    # What the supervisor says

    @words.Socket.responder
    def socket(self, key: str, descriptor: int) -> dict[str, Any]:
        """A listening socket."""
        import socket

        os.set_inheritable(descriptor, False)
        self._listeners.adopt_keyed(key, socket.socket(fileno=descriptor))
        return {}

    @words.Stage.responder
    def stage(self, generation: int, snapshot: int) -> Deferred[dict[str, Any]]:
        """Prepare."""
        return self._report(self._stage(snapshot))

    @words.Commit.responder
    def commit(self) -> Deferred[dict[str, Any]]:
        """Go over to what was staged."""
        return self._report(self._commit())

    @words.RollBack.responder
    def roll_back(self) -> dict[str, Any]:
        """Forget what was staged."""
        staged, self._staged = self._staged, None
        if staged is not None and staged[1] is not None:
            staged[1].discard()
        self._listeners.drop_unclaimed()
        return {}

    @words.Control.responder
    def control(self, slate: int) -> Deferred[dict[str, Any]]:
        """Run a control command."""
        return Deferred.fromCoroutine(self._control(words.Slate(slate)))

    @words.CloseServers.responder
    def close_servers(self) -> dict[str, Any]:
        """Take no new clients."""
        if self._daemon is not None:
            self._daemon.close_servers()
        return {}

    @words.Drained.responder
    def drained(self) -> Deferred[dict[str, Any]]:
        """Answer when nothing is left."""
        waiting: Deferred[Any] = Deferred() if self._daemon is None else self._daemon.drained()
        return waiting.addCallback(lambda _: {})

    @words.Leave.responder
    def leave(self) -> dict[str, Any]:
        """End."""
        self._leaving = True
        self.reactor.callLater(0, self._end)
        return {}

    # How it is done

    async def _reported(self, step: Any) -> dict[str, Any]:
        self._row.busy = 1
        try:
            await step
        except ConfigError as error:
            return {"report": words.cut(str(error)) or "refused"}
        except Exception as error:
            log.failure("a step of a reload failed")
            return {"report": words.cut(f"{type(error).__name__}: {error}")}
        finally:
            self._row.busy = 0
        return {"report": ""}

    def _report(self, step: Any) -> Deferred[dict[str, Any]]:
        return Deferred.fromCoroutine(self._reported(step))

    async def _stage(self, snapshot: int) -> None:
        brief = words.unpack(snapshot)
        main = brief["main"]
        if self._daemon is None:
            self._daemon = self._make_daemon(brief)
            self._published = brief["published"]
            await self._daemon.prepare_nodes()
            self._staged = (main, None)
            return
        transition = self._daemon.root.plan(main)
        await transition.prepare()
        self._staged = (main, transition)

    def _make_daemon(self, brief: dict[str, Any]) -> BaseDaemon:
        pin(self.slot, brief["affinity"])
        cls = namedAny(brief["daemon"])  # type: ignore[no-untyped-call]
        call_itself(f"{cls.program}:{self.slot}")
        settings = Settings(Path("/"), **brief["settings"])
        self._lowest = LogLevel.debug if settings.verbosity else LogLevel.info
        memory, slot = self._memory, self.slot
        self._share.above_by = cls.above_by
        seat = Seat(
            slot,
            self._listeners,
            memory.live_of(slot),
            Lasting(memory.desk_of(slot)),
            memory.ticket_secrets(),
            memory.slots,
            brief["brought"],
        )
        daemon: BaseDaemon = cls(self.reactor, settings, _Installed(cls.program), brief["main"], seat)
        daemon.build()
        self._commands = daemon.commands(daemon)
        return daemon

    async def _commit(self) -> None:
        staged, self._staged = self._staged, None
        if staged is None or self._daemon is None:
            raise ConfigError("nothing was prepared")
        main, transition = staged
        if transition is None:
            self.reactor.addSystemEventTrigger("before", "shutdown", self._daemon.stopService)
            self._daemon.serve_only()
            # Before the first client is accepted: the reactor has not turned since.
            for request in self._published:
                await self._answer(request)
        else:
            self._daemon.root.settle(transition, main)

    async def _control(self, slate: words.Slate) -> dict[str, Any]:
        with slate:
            slate.write(await self._answer(slate.read()))
        return {}

    async def _answer(self, request: dict[str, Any]) -> dict[str, Any]:
        try:
            if self._commands is None:
                raise ConfigError("not serving yet")
            return {"result": await self._commands(request["command"], request["arguments"])}
        except G3Error as error:
            return {"error": str(error)}
        except Exception as error:
            log.failure("a control command failed")
            return {"error": f"internal error: {type(error).__name__}: {error}"}

    def _orphaned(self) -> None:
        """The supervisor is gone."""
        self._linked = False
        if self._leaving:
            return
        self._leaving = True
        daemon = self._daemon
        if daemon is None or not daemon.running:
            self._end()
            return
        log.error("the supervisor is gone: no new clients, waiting for tasks to end")
        timeouts = replace(daemon.root.context.timeouts, server_offline_delay=0.0)
        Shutdown(self.reactor, timeouts, daemon).offline()

    def _end(self) -> None:
        with contextlib.suppress(Exception):
            self.reactor.stop()

    def observe(self, event: Any) -> None:
        """A log observer: the supervisor has the process log."""
        if not self._linked:
            return
        level = event.get("log_level", LogLevel.info)
        if level < self._lowest or self._lines >= MAX_LINES or self._backlog.full:
            return
        self._lines += 1
        with contextlib.suppress(Exception):
            namespace = str(event.get("log_namespace", ""))[:200]
            self.tell(words.Say, level=level.name, namespace=namespace, text=words.cut(event_text(event)))


class _Installed:
    """What stands in for a configuration's source in a worker, which has none: it is told what to serve."""

    def __init__(self, program: str) -> None:
        from g3.apps.answers import components

        self.components = components(program)


def _not_ours(options: Any, **_: Any) -> socket.socket:
    host, port = options.address
    raise ConfigError(f"cannot listen on {host} port {port}: the supervisor did not hand over a socket for it")


def _supervisors(_sock: socket.socket, _options: Any) -> None:
    """What is to be set on the sockets is set by the supervisor, which has seen that it can be."""


def pin(slot: int, affinity: Any) -> None:
    """Run on the CPUs that the configuration says: those of a map by worker, one for each where it says True; else on any."""
    if affinity is True:
        cpus = sorted(os.sched_getaffinity(0))
        wanted = {cpus[slot % len(cpus)]}
    else:
        wanted = set(dict(affinity.items()).get(slot, ()))
    if wanted:
        try:
            os.sched_setaffinity(0, wanted)
        except OSError as error:
            log.warn("cannot run on CPUs {cpus}: {error}", cpus=sorted(wanted), error=error)


def warm(program: str = PROXY) -> None:
    """Find all plugins: in the nursery, once for all workers, and while it may still read all files."""
    from g3.apps.answers import components

    components(program)


def main(sock: socket.socket, memory: Memory, slot: int, reactor_module: str) -> int:
    """A worker's life, in a process that was just forked; its exit status."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT):
        # They are for the supervisor, also when they are sent to all of a terminal or a control group.
        signal.signal(number, signal.SIG_IGN)
    importlib.import_module(reactor_module).install()
    from twisted.internet import reactor as installed

    reactor: Any = installed
    worker = Worker(reactor, memory, slot)
    globalLogBeginner.beginLoggingTo([cast("Any", worker.observe)], redirectStandardIO=False, discardBuffer=True)
    words.attach(reactor, sock, worker)
    reactor.run(installSignalHandlers=False)
    return 0
