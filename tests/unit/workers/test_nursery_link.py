# SPDX-License-Identifier: Apache-2.0
"""Tests of g3.workers.nursery_link."""

from __future__ import annotations

import json
import os
import socket
import threading
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from g3.workers import nursery_link
from g3.workers.memory import Memory
from g3.workers.nursery_link import LAST_DELAY, RESTART_DELAY, START_DELAY, NurseryLink
from tests.unit.net.reactors import ReactorTestCase, Readers


def _open() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


class RestartTests(SynchronousTestCase):
    """One that ends."""

    def make(self, outcomes: list[Exception | None]) -> tuple[Readers, NurseryLink, list[float]]:
        """A nursery each of whose processes ends at once, or cannot be started; when it had to be asked anew."""
        reactor, lost = Readers(), []

        def start(*_arguments: object, **_options: object) -> Any:
            outcome = outcomes.pop(0)
            if outcome is not None:
                raise outcome
            return SimpleNamespace(kill=lambda: None, wait=lambda *_: None)

        self.patch(nursery_link.subprocess, "Popen", start)  # type: ignore[attr-defined]
        nursery = NurseryLink(reactor, Memory(1), ["entry"], lambda *_: None, lambda *_: None)
        nursery.lost = lambda: lost.append(reactor.seconds())
        nursery.start()
        return reactor, nursery, lost

    def test_it_is_started_again_until_that_works(self) -> None:
        """The user we are now may not be able to run it for a while; then all who wait for a worker ask again."""
        outcomes: list[Exception | None] = [None, PermissionError(13, "Permission denied"), OSError(12, "Cannot allocate memory"), None]
        reactor, nursery, lost = self.make(outcomes)
        nursery.doRead()  # its end of the socket is closed
        self.assertEqual(reactor.readers, [])
        reactor.advance(RESTART_DELAY)
        self.assertEqual((reactor.readers, lost), ([], []))
        reactor.pump([START_DELAY] * 2)
        self.assertEqual((reactor.readers, len(lost)), ([nursery], 1))
        nursery.stop()
        self.assertEqual((outcomes, reactor.readers, reactor.getDelayedCalls()), ([], [], []))

    def test_one_that_ends_before_it_forked_anybody_is_started_ever_more_slowly(self) -> None:
        """As one whose user may not read our modules: it would keep a CPU busy for nothing."""
        reactor, nursery, lost = self.make([None] * 20)
        for _ in range(10):
            nursery.doRead()
            reactor.advance(LAST_DELAY)
        waits = [later - before for before, later in zip([0.0, *lost], lost, strict=False)]
        self.assertEqual((waits, nursery.vain), ([LAST_DELAY] * 10, 10))
        nursery.doRead()
        reactor.advance(LAST_DELAY - 1)
        self.assertEqual(len(lost), 10)


class AskingTests(ReactorTestCase):
    """With its end of the socket in our hands."""

    def setUp(self) -> None:
        super().setUp()
        self.born: list[tuple[int, int]] = []
        self.unborn: list[tuple[int, str]] = []

        def start(_arguments: object, pass_fds: tuple[int, int], **_options: object) -> Any:
            self.theirs = socket.socket(fileno=os.dup(pass_fds[0]))
            self.addCleanup(self.theirs.close)
            return SimpleNamespace(kill=lambda: None, wait=lambda *_: None)

        self.patch(nursery_link.subprocess, "Popen", start)  # type: ignore[attr-defined]
        memory = Memory(1)
        self.nursery = NurseryLink(self.reactor, memory, ["entry"], self._born, lambda slot, why: self.unborn.append((slot, why)))
        self.nursery.start()
        self.addCleanup(self.nursery.stop)

    def _born(self, slot: int, pid: int, pidfd: int) -> None:
        os.close(pidfd)
        self.born.append((slot, pid))

    def ask(self, slots: int) -> None:
        for slot in range(slots):
            ours, theirs = socket.socketpair()
            with ours, theirs:
                self.nursery.fork(slot, theirs)

    def test_it_is_waited_for_until_it_is_ready_or_gone(self) -> None:
        """What it says then is no news of a worker."""
        heard = threading.Timer(0.05, self.theirs.send, [b'{"ready": true}'])
        began = time.monotonic()
        heard.start()
        self.nursery.wait_ready(60)
        self.assertTrue(0.04 < time.monotonic() - began < 30)
        heard.join()
        self.nursery.doRead()
        self.assertEqual((self.born, self.unborn), ([], []))
        self.nursery.wait_ready(0.01)
        self.theirs.close()
        self.nursery.wait_ready(60)
        self.assertLess(time.monotonic() - began, 30)

    def test_many_are_asked_for_while_it_is_busy(self) -> None:
        """More than a socket holds: none is forgotten."""
        self.ask(700)
        self.assertEqual(self.reactor.getWriters(), [self.nursery])
        asked: list[int] = []
        self.theirs.setblocking(False)

        def all_there() -> bool:
            try:
                data, descriptors, _, _ = socket.recv_fds(self.theirs, 4096, 1)
            except BlockingIOError:
                return False
            os.close(descriptors[0])
            asked.append(json.loads(data)["slot"])
            return len(asked) == 700

        self.spin(all_there, 60)
        self.assertEqual((asked, self.reactor.getWriters()), (list(range(700)), []))

    def test_who_waits_is_forgotten_with_it(self) -> None:
        """And no descriptor stays open."""
        before = _open()
        self.ask(400)
        self.theirs.close()
        self.spin(lambda: not self.reactor.getWriters())
        self.assertLess(_open(), before)

    def test_what_cannot_be_born_is_told(self) -> None:
        """By the nursery, which has no process for it; or found here, where no descriptor is left to watch it with."""
        socket.send_fds(self.theirs, [b'{"slot": 0, "pid": 17}'], [self.theirs.fileno()])
        self.theirs.send(b'{"slot": 1, "error": "Resource temporarily unavailable"}')
        self.theirs.send(b'{"slot": 2, "pid": 18}')
        self.spin(lambda: len(self.unborn) == 2)
        self.assertEqual((self.born, self.unborn[0]), ([(0, 17)], (1, "Resource temporarily unavailable")))
        self.assertEqual((self.unborn[1][0], self.reactor.getReaders().count(self.nursery)), (2, 1))
