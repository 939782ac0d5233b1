# SPDX-License-Identifier: Apache-2.0
"""Tests of g3.workers.crew: the nursery as its supervisor sees it. The rest is met in tests.functional.test_workers."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from g3.workers import crew
from g3.workers.memory import Memory
from tests.unit.net.reactors import Readers


class NurseryTests(SynchronousTestCase):
    """One that ends."""

    def test_it_is_started_again_until_that_works(self) -> None:
        """The user we are now may not be able to run it for a while; then all who wait for a worker ask again."""
        reactor, lost = Readers(), []
        outcomes: list[Exception | None] = [None, PermissionError(13, "Permission denied"), OSError(12, "Cannot allocate memory"), None]

        def start(*_arguments: object, **_options: object) -> Any:
            outcome = outcomes.pop(0)
            if outcome is not None:
                raise outcome
            return SimpleNamespace(kill=lambda: None, wait=lambda *_: None)

        self.patch(crew.subprocess, "Popen", start)  # type: ignore[attr-defined]
        nursery = crew.NurseryLink(reactor, Memory(1), ["entry"], lambda *_: None)
        nursery.lost = lambda: lost.append(reactor.seconds())
        nursery.start()
        nursery.doRead()  # its end of the socket is closed
        self.assertEqual(reactor.readers, [])
        reactor.advance(crew.RESTART_DELAY)
        self.assertEqual((reactor.readers, lost), ([], []))
        reactor.pump([crew.START_DELAY] * 2)
        self.assertEqual((reactor.readers, len(lost)), ([nursery], 1))
        nursery.stop()
        self.assertEqual((outcomes, reactor.readers, reactor.getDelayedCalls()), ([], [], []))
