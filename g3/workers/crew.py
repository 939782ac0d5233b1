# SPDX-License-Identifier: Apache-2.0
"""The workers of a supervisor: started, watched, replaced, and brought from one configuration to the next together.

A worker that ends is replaced at once; one that keeps ending, after a delay that doubles. One that hangs (its beat in the shared memory
stands still for L{HANG_TICKS} looks) is killed, which makes it one that ended. A replacement gets the committed configuration from a
snapshot; when a reload was committed while it started, it is brought up before it counts as serving.
"""

from __future__ import annotations

import os
import socket
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from twisted.internet.defer import Deferred, DeferredList
from twisted.internet.task import LoopingCall
from twisted.logger import Logger

from g3.errors import ConfigError
from g3.tree.offline import sleep
from g3.workers import link as words
from g3.workers.member import Member, ProcessEnd, WorkerLink
from g3.workers.nursery_link import LAST_DELAY, NurseryLink

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence

    from g3.tree.listeners import ListenerPool
    from g3.tree.root import IConfiguration
    from g3.workers.memory import Memory

log = Logger()

#: Seconds between two looks at the workers' beats.
TICK: Final = 1.0
#: Looks without a beat after which a worker hangs: more than its longest step; and while it does what is known to take long.
HANG_TICKS: Final = 5
BUSY_TICKS: Final = 120
#: Seconds to wait before a replacement: none at first, then from this to LAST_DELAY; a worker that served so long was no bad start.
FIRST_DELAY: Final = 0.25
GOOD_RUN: Final = 10.0
#: The delay at which a daemon that never served gives up.
HOPELESS: Final = 2.0
#: Seconds that ports are kept closed at the start for a nursery that is not ready.
READY_WAIT = 10.0
#: Seconds that who is rising has for it when the end has come.
SETTLE_WAIT: Final = 10.0
#: How often the nursery may end at the start before it has forked anybody.
MOST_RESTARTS: Final = 2


@dataclass(slots=True)
class Place:
    """A slot, and who is in it."""

    slot: int
    member: Member | None = None
    delay: float = 0.0
    served_at: float | None = None
    timer: Any = None


class Crew:
    """All workers of a daemon.

    @param entry: dotted name of what a worker runs, on the reactor of C{reactor_module}, as C{user} (uid and gid; None: as we), which
        has CAP_NET_ADMIN if C{admin} and we had it at the start;
        C{modules}: what to import for it. C{listeners}: the sockets to serve. C{snapshot}: what a worker must know to serve a configuration.
        C{setup(member)} brings a new one what was published since.
    """

    def __init__(
        self,
        reactor: Any,
        memory: Memory,
        listeners: ListenerPool,
        *,
        entry: str,
        reactor_module: str,
        user: tuple[int, int] | None,
        admin: bool,
        modules: Sequence[str],
        snapshot: Callable[[IConfiguration], object],
        setup: Callable[[Member], Awaitable[None]],
    ) -> None:
        self._reactor = reactor
        self.memory = memory
        self._listeners = listeners
        self._snapshot = snapshot
        self._setup = setup
        become = "" if user is None else "{}:{}:{:d}".format(*user, admin)
        self._nursery = NurseryLink(reactor, memory, [entry, reactor_module, become, *modules], self._born, self._unborn)
        self._nursery.lost = self._orphaned
        self.places = [Place(slot) for slot in range(memory.slots)]
        self.generation = 0
        self._configuration: IConfiguration | None = None
        #: The sockets that workers have, or had: one that was closed and is bound again is another one under the same key.
        self._known: dict[str, socket.socket] = {}
        self._ready: Deferred[None] | None = None
        self._prepared: list[Deferred[None]] = []
        self.leaving = False
        self.closed = False
        self._watch = LoopingCall(self._look)
        self._watch.clock = reactor

    # Start and end

    def prepare(self) -> None:
        """Start the nursery: it has what it needs of the file system before privileges are dropped, and is ready when workers are wanted.

        @raise ConfigError: that cannot be.
        """
        try:
            self._nursery.start()
        except OSError as error:
            raise ConfigError(f"the process that forks workers cannot be started: {error.strerror or error}") from error

    def wait_ready(self) -> None:
        """Block until workers can be had at once; no longer than L{READY_WAIT} seconds."""
        self._nursery.wait_ready(READY_WAIT)

    def start(self, configuration: IConfiguration) -> Deferred[None]:
        """Start all workers; the Deferred fires when all serve, and fails with ConfigError when one cannot prepare."""
        self._configuration, self.generation = configuration, 1
        self._known = self._listeners.keyed()
        self._ready = Deferred()
        ready = self._ready
        for place in self.places:
            self._spawn(place)
        self._watch.start(TICK, now=False)
        return ready

    def healthy(self) -> bool:
        """Whether a worker serves whose reactor turns. One of several that hangs is replaced, and no reason to end all."""
        return any(member.missed < HANG_TICKS // 2 for member in self.serving())

    def serving(self) -> list[Member]:
        """The workers that serve."""
        return [member for member in self._members() if member.generation and member.linked]

    def _settled(self) -> list[Member]:
        """Those who go with the others from one configuration to the next. Who is rising does so by itself."""
        return [member for member in self.serving() if not member.rising]

    def _members(self) -> list[Member]:
        return [place.member for place in self.places if place.member is not None]

    async def tell(self, request: dict[str, Any]) -> None:
        """Have every worker run a control command, also one that does not serve yet. Who is lost meanwhile needs it no more."""
        answers = await _all(member.ask(request) for member in self._members() if member.linked)
        for answer in answers:
            if isinstance(answer, dict) and "error" in answer:
                log.debug("a worker could not {command}: {error}", command=request["command"], error=answer["error"])

    async def settle(self) -> None:
        """Nobody is replaced from now on. Who is about to serve does first: clients may wait for it in the queue. One that is not done in
        L{SETTLE_WAIT} is killed, since it has the listening sockets."""
        self.closed = True
        deadline = self._reactor.seconds() + SETTLE_WAIT
        while (rising := [member for member in self._members() if member.linked and not member.generation]) and not self.leaving:
            if self._reactor.seconds() >= deadline:
                for member in rising:
                    log.error("{member} does not begin to serve, and is not waited for any more: it is killed", member=member)
                    member.kill()
                return
            await sleep(self._reactor, 0.02)

    async def close_servers(self) -> None:
        """Have no new clients taken."""
        await _all(member.close_servers() for member in self.serving())

    def drained(self) -> Deferred[Any]:
        """Fires when no worker has a task."""
        return DeferredList([member.drained() for member in self.serving()])

    async def stop(self, seconds: float) -> None:
        """End all: they have C{seconds} for it."""
        self.leaving = self.closed = True
        if self._watch.running:
            self._watch.stop()
        for place in self.places:
            if place.timer is not None and place.timer.active():
                place.timer.cancel()
        for member in self._members():
            member.leave()
        deadline = self._reactor.seconds() + seconds
        while self._members() and self._reactor.seconds() < deadline:
            await sleep(self._reactor, 0.02)
        for member in self._members():
            log.warn("{member} did not end in {seconds} s and is killed", member=member, seconds=seconds)
            member.kill()
        self._nursery.stop()
        self._nursery.wait(seconds)

    # From one configuration to the next (ICrew)

    async def stage(self, configuration: IConfiguration) -> None:
        """Have all prepare. Raises ConfigError when one cannot; then all have rolled back."""
        snapshot = self._snapshot(configuration)
        members = self._settled()
        results = await _all(self._stage_one(member, self.generation + 1, snapshot, self._listeners.keyed(member.slot)) for member in members)
        problems = [problem for result in results if isinstance(result, ConfigError) for problem in result.problems]
        if problems:
            await self.roll_back()
            raise ConfigError(list(dict.fromkeys(map(str, problems))))

    async def _stage_one(self, member: Member, generation: int, snapshot: object, sockets: dict[str, socket.socket]) -> None:
        try:
            await member.stage(generation, snapshot, sockets, self._known)
        except ConfigError:
            raise
        except Exception as error:
            # It is replaced, and its successor gets what is committed then.
            log.error("{member} was lost while it prepared: {error}", member=member, error=error)
            member.kill()

    async def roll_back(self) -> None:
        """Have all forget what was staged."""
        await _all(self._or_kill(member, member.roll_back()) for member in self._settled())

    async def commit(self, configuration: IConfiguration) -> None:
        """Have all go over: one first, and when it cannot, nobody does.

        @raise ConfigError: it could not.
        """
        staged = [member for member in self._settled() if member.staged]
        for first in staged[:1]:
            try:
                await first.commit()
            except ConfigError:
                await self.roll_back()
                raise
            except Exception:
                first.kill()
        self._configuration = configuration
        self.generation += 1
        self._known = self._listeners.keyed()
        await _all(self._or_kill(member, member.commit()) for member in staged[1:])
        for place in self.places:
            # Who began to serve between stage and commit.
            if place.member in self._settled() and place.member.generation != self.generation and place.member not in staged:
                Deferred.fromCoroutine(self._bring_up(place, place.member))

    async def all_up(self) -> None:
        """Wait until nobody is rising: a reload is done by all, and no socket that it gave up is open in any process."""
        while any(member.rising and member.linked for member in self._members()):
            await sleep(self._reactor, 0.02)

    async def _or_kill(self, member: Member, step: Awaitable[None]) -> None:
        """What does not do as all others is replaced."""
        try:
            await step
        except Exception as error:
            if member.linked:
                log.error("{member} is replaced: {error}", member=member, error=error)
            member.kill()

    # Life of a worker

    def _spawn(self, place: Place) -> None:
        place.timer = None
        if self.closed:
            return
        ours, theirs = socket.socketpair()
        link = WorkerLink()
        link.slot = place.slot
        member = place.member = Member(place.slot, link)
        link.lost = lambda: self._unlinked(member)
        self.memory.clear(place.slot)
        with theirs:
            self._nursery.fork(place.slot, theirs)
        words.attach(self._reactor, ours, link)

    def _born(self, slot: int, pid: int, pidfd: int) -> None:
        place = self.places[slot]
        member = place.member
        if member is None or member.pid:
            os.close(pidfd)
            return
        member.pid, member.missed = pid, 0
        member.process = ProcessEnd(self._reactor, pidfd, lambda: self._ended(place, member))
        if not member.linked:
            member.kill()
        else:
            Deferred.fromCoroutine(self._bring_up(place, member))

    def _unborn(self, slot: int, why: str) -> None:
        """It cannot be forked now: as one that ended at once."""
        place = self.places[slot]
        if place.member is not None and not place.member.pid:
            log.error("worker {slot} cannot be started: {why}", slot=slot, why=why)
            self._ended(place, place.member)

    async def _bring_up(self, place: Place, member: Member) -> None:
        """Have a new worker serve what is committed."""
        member.rising = True
        try:
            known: dict[str, socket.socket] = {}
            while member.generation != self.generation and self._configuration is not None:
                sockets = self._listeners.keyed(place.slot)
                await member.stage(self.generation, self._snapshot(self._configuration), sockets, known)
                known = sockets
                if self._ready is not None:
                    await self._all_could()
                await member.commit()
                await self._setup(member)
        except ConfigError as error:
            self._refused(member, error)
            return
        except Exception as error:
            if member.linked:
                log.error("{member} could not be started: {error}", member=member, error=error)
            member.kill()
            return
        member.rising = False
        place.served_at = self._reactor.seconds()
        self.memory.serving[place.slot] = 1
        if self._ready is not None and all(each.member is not None and each.member.generation for each in self.places):
            ready, self._ready = self._ready, None
            ready.callback(None)
        elif self._ready is None:
            log.info("{member} serves", member=member)

    def _all_could(self) -> Deferred[None]:
        """At the start nobody takes a client before everybody could prepare: a start that fails has served nobody."""
        waiting: Deferred[None] = Deferred()
        self._prepared.append(waiting)
        if all(place.member is not None and (place.member.staged or place.member.generation) for place in self.places):
            prepared, self._prepared = self._prepared, []
            for each in prepared:
                each.callback(None)
        return waiting

    def _refused(self, member: Member, error: ConfigError) -> None:
        if self._ready is not None:
            self._give_up(error)
            return
        log.error("{member} could not be started: {error}", member=member, error=error)
        member.kill()

    def _give_up(self, error: ConfigError) -> None:
        """The daemon cannot start."""
        ready, self._ready = self._ready, None
        self.closed = True
        if ready is not None:
            ready.errback(error)

    def _unlinked(self, member: Member) -> None:
        """Its end of the link is closed: it is as good as gone."""
        member.linked = False
        self.memory.serving[member.slot] = 0
        if not self.leaving:
            member.kill()

    def _ended(self, place: Place, member: Member) -> None:
        """Its process is gone."""
        member.linked = False
        if place.member is not member:
            return
        place.member = None
        self.memory.clear(place.slot)
        if member.link.transport is not None:
            member.link.transport.loseConnection()
        if self.closed:
            return
        now = self._reactor.seconds()
        if place.served_at is not None and now - place.served_at >= GOOD_RUN:
            place.delay = 0.0
        place.served_at = None
        delay = place.delay
        place.delay = min(LAST_DELAY, max(FIRST_DELAY, delay * 2))
        if self._ready is not None and delay >= HOPELESS:
            self._give_up(ConfigError("workers end before they serve"))
            return
        log.error("{member} is gone, it is replaced in {delay} s", member=member, delay=delay)
        if delay:
            place.timer = self._reactor.callLater(delay, self._spawn, place)
        else:
            self._spawn(place)

    def _orphaned(self) -> None:
        """The nursery is a new one: it does not know whom the old one was to fork."""
        if self._ready is not None and self._nursery.vain >= MOST_RESTARTS:
            self._give_up(ConfigError("the process that forks workers ends before it has forked one"))
            return
        for place in self.places:
            if place.member is not None and not place.member.pid:
                member, place.member = place.member, None
                member.link.lost = None
                if member.link.transport is not None:
                    member.link.transport.loseConnection()
                self._spawn(place)

    def _look(self) -> None:
        """Count the looks without a beat: our own pauses are none of theirs."""
        for member in self._members():
            if not member.pid:
                self._look_for(member)
                continue
            row = self.memory.rows[member.slot]
            if row.beat != member.beat:
                member.beat, member.missed = row.beat, 0
                continue
            member.missed += 1
            if member.missed >= (HANG_TICKS if member.generation and not row.busy else BUSY_TICKS):
                log.error("{member} does not answer any more, it is killed", member=member)
                member.missed = 0
                member.kill()

    def _look_for(self, member: Member) -> None:
        """It was asked for and is not there. A nursery that is just being started has to import everything first."""
        member.missed += 1
        if member.missed >= (HANG_TICKS if self._nursery.proven else BUSY_TICKS):
            log.error("the process that forks workers does not answer any more, it is killed")
            member.missed = 0
            self._nursery.kill()


async def _all(steps: Any) -> list[Any]:
    """What each coroutine returned, or the exception it raised."""
    waiting = [Deferred.fromCoroutine(step) for step in steps]
    return [result if good else result.value for good, result in await DeferredList(waiting, consumeErrors=True)]
