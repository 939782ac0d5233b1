# SPDX-License-Identifier: Apache-2.0
"""Tests of g3.workers.crew: what happens when several things do at once. The rest is met in tests.functional.test_workers."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

from twisted.internet.defer import Deferred
from twisted.trial.unittest import SynchronousTestCase

from g3.errors import ConfigError
from g3.workers import crew
from g3.workers.crew import Crew
from g3.workers.member import Member, WorkerLink
from g3.workers.memory import Memory
from tests.unit.net.reactors import Readers


class SlowMember(Member):
    """A worker whose steps end when the test says. C{told} is what it was told."""

    def __init__(self, slot: int) -> None:
        super().__init__(slot, WorkerLink())
        self.pid = 100 + slot
        self.told: list[str] = []
        self.steps: list[Deferred[None]] = []
        self.prepared = 0

    async def _step(self, what: str) -> None:
        self.told.append(what)
        step: Deferred[None] = Deferred()
        self.steps.append(step)
        await step

    def go_on(self) -> None:
        """Do what was asked first."""
        self.steps.pop(0).callback(None)

    async def stage(self, generation: int, *_: Any) -> None:
        await self._step(f"stage {generation}")
        self.staged = self.prepared = generation

    async def commit(self) -> None:
        await self._step("commit")
        prepared, self.prepared = self.prepared, 0
        if not prepared:
            raise ConfigError("nothing was prepared")
        self.generation, self.staged = prepared, 0

    async def roll_back(self) -> None:
        self.told.append("roll back")
        self.staged = self.prepared = 0

    def kill(self) -> None:
        self.told.append("kill")


class CrewCase(SynchronousTestCase):
    """A crew of two without processes."""

    def setUp(self) -> None:
        self.reactor = Readers()
        self.setup: list[Deferred[None]] = []
        listeners: Any = SimpleNamespace(keyed=lambda *_: {})
        self.crew = Crew(
            self.reactor, Memory(2), listeners, entry="x", reactor_module="y", user=None, admin=False, modules=[],
            snapshot=lambda configuration: configuration, setup=self._set_up,
        )  # fmt: skip
        self.asked: list[int] = []
        self.patch(self.crew._nursery, "fork", lambda slot, _: self.asked.append(slot))
        self.patch(crew.words, "attach", lambda _reactor, sock, _link: sock.close())  # type: ignore[attr-defined]

    async def _set_up(self, _: Member) -> None:
        step: Deferred[None] = Deferred()
        self.setup.append(step)
        await step

    def run_it(self, coroutine: Any) -> Deferred[Any]:
        return Deferred.fromCoroutine(coroutine)


class RisingTests(CrewCase):
    """A worker that is being brought up while the others go from one configuration to the next."""

    def setUp(self) -> None:
        super().setUp()
        self.old, self.new = SlowMember(0), SlowMember(1)
        for place, member in zip(self.crew.places, (self.old, self.new), strict=True):
            place.member = member
        self.old.generation = self.crew.generation = 1
        self.crew._configuration = object()  # type: ignore[assignment]
        self.crew._ready = None
        self.rising = self.run_it(self.crew._bring_up(self.crew.places[1], self.new))

    def reload(self) -> None:
        """The old one goes to the next configuration."""
        for step in (self.crew.stage, self.crew.commit):
            done = self.run_it(step(object()))  # type: ignore[arg-type, operator]
            self.old.go_on()
            self.successResultOf(done)

    def rise(self, generation: int) -> None:
        """It gets on as far as what it must be told beside that."""
        self.assertEqual(self.new.told, [f"stage {generation}"])
        self.new.go_on()
        self.new.go_on()
        self.assertEqual((self.new.told, self.new.generation), ([f"stage {generation}", "commit"], generation))
        self.new.told.clear()

    def test_the_end_waits_for_it_and_not_for_ever(self) -> None:
        """One that hangs has the listening sockets: it is killed."""
        settled = self.run_it(self.crew.settle())
        self.reactor.advance(crew.SETTLE_WAIT - 1)
        self.assertNoResult(settled)
        self.reactor.advance(1.1)
        self.successResultOf(settled)
        self.assertEqual((self.old.told, self.new.told), ([], ["stage 1", "kill"]))

    def test_the_end_goes_on_when_it_serves(self) -> None:
        settled = self.run_it(self.crew.settle())
        self.rise(1)
        self.reactor.advance(0.1)
        self.successResultOf(settled)
        self.assertEqual(self.new.told, [])

    def test_a_reload_while_it_is_told_the_rest_brings_it_up_once(self) -> None:
        """Not twice at the same time, of which the second would find nothing prepared, and its clients would be lost with it."""
        staged = self.run_it(self.crew.stage(object()))  # type: ignore[arg-type]
        self.rise(1)
        self.old.go_on()
        self.successResultOf(staged)
        committed = self.run_it(self.crew.commit(object()))  # type: ignore[arg-type]
        self.old.go_on()
        self.successResultOf(committed)
        self.setup.pop().callback(None)
        self.rise(2)
        self.setup.pop().callback(None)
        self.successResultOf(self.rising)
        self.assertEqual((self.new.told, self.new.steps, self.new.rising), ([], [], False))

    def test_a_reload_is_done_when_it_is_up_or_gone(self) -> None:
        """Until then it may have sockets that the others have closed."""
        for ends in (True, False):
            done = self.run_it(self.crew.all_up())
            self.reactor.pump([0.02] * 3)
            self.assertNoResult(done)
            if ends:
                self.new.linked = False
            else:
                self.rise(1)
                self.setup.pop().callback(None)
            self.reactor.advance(0.02)
            self.successResultOf(done)
            self.new.linked = True

    def test_a_second_reload_leaves_it_alone_until_it_is_up(self) -> None:
        """What it is preparing is not committed, nor rolled back, by the others' steps."""
        self.rise(1)
        self.reload()
        self.setup.pop().callback(None)
        self.assertEqual(self.new.told, ["stage 2"])
        self.new.go_on()
        self.new.told.remove("commit")
        done = self.run_it(self.crew.stage(object()))  # type: ignore[arg-type]
        self.old.go_on()
        self.successResultOf(done)
        self.successResultOf(self.run_it(self.crew.roll_back()))
        self.reload()
        self.assertEqual(self.new.told, ["stage 2"])
        self.new.told.clear()
        self.new.go_on()
        self.setup.pop().callback(None)
        self.rise(3)
        self.setup.pop().callback(None)
        self.successResultOf(self.rising)


class UnbornTests(CrewCase):
    """A worker that cannot be forked."""

    def test_it_is_asked_for_again_later_and_later(self) -> None:
        """As for one that ends at once."""
        self.crew._ready = None
        self.crew._spawn(self.crew.places[0])
        for delay in (0.0, 0.25, 0.5):
            self.crew._unborn(0, "Resource temporarily unavailable")
            asked = len(self.asked)
            self.reactor.advance(delay)
            self.assertEqual(len(self.asked) - asked, 1 if delay else 0)
        self.assertEqual(self.asked, [0] * 4)
        self.assertEqual(len(self.flushLoggedErrors()), 0)

    def test_a_daemon_none_of_whose_workers_can_be_forked_does_not_start(self) -> None:
        """Instead of waiting for them without end."""
        ready = self.crew.start(object())  # type: ignore[arg-type]
        self.addCleanup(self.crew._watch.stop)
        self.crew._nursery.vain = crew.MOST_RESTARTS
        self.crew._nursery.lost()
        self.failureResultOf(ready, ConfigError)
