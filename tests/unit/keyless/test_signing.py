# SPDX-License-Identifier: Apache-2.0
"""Signing threads: every job comes back once, in the main thread, and none is left at the end."""

from __future__ import annotations

import hashlib
import threading
from typing import Any

from twisted.internet import defer
from twisted.trial.unittest import TestCase

from g3.keyless.actions import ACTIONS
from g3.keyless.signing import Job, SigningThreads
from g3.net.libssl.keys import Operation
from g3.proto.keyless import Opcode
from tests.unit.keyless.world import key

DIGEST = hashlib.sha256(b"what is signed").digest()


class Owner:
    """Who has jobs done."""

    def __init__(self, wanted: int) -> None:
        self.wanted = wanted
        self.numbers: list[int] = []
        self.failed: list[int] = []
        self.threads: set[int] = set()
        self.turns = 0
        self.done: defer.Deferred[None] = defer.Deferred()

    def finished(self, job: Job) -> None:
        self.numbers.append(job.number)
        self.threads.add(threading.get_ident())
        if job.result is None:
            self.failed.append(job.number)

    def go_on(self) -> None:
        self.turns += 1
        if len(self.numbers) == self.wanted and not self.done.called:
            self.done.callback(None)

    def job(self, number: int, kind: str = "rsa2048") -> Job:
        action = ACTIONS[Opcode.RSA_SIGN_SHA256]
        assert action is not None
        assert isinstance(action.operation, Operation)
        return Job(self, number, action, action.operation, key(kind), DIGEST, 0.0)


class SigningThreadsTests(TestCase):
    """With real threads on the real reactor."""

    def make(self, number: int = 2, room: int = 1024) -> SigningThreads:
        from twisted.internet import reactor

        threads = SigningThreads(reactor, number, room)
        threads.start()
        self.addCleanup(threads.stop)
        return threads

    async def test_all_jobs_come_back_in_the_main_thread(self) -> None:
        """Each once; those that fail, too."""
        threads, owner = self.make(), Owner(60)
        threads.submit([owner.job(number) for number in range(40)])
        threads.submit([owner.job(number, "p256") for number in range(40, 60)])
        await owner.done
        self.assertEqual(sorted(owner.numbers), list(range(60)))
        self.assertEqual(sorted(owner.failed), list(range(40, 60)))
        self.assertEqual(owner.threads, {threading.get_ident()})
        self.assertEqual(threads.waiting, 0)

    async def test_an_owner_goes_on_once_for_all_that_is_done(self) -> None:
        """Fewer turns than jobs."""
        threads, owner = self.make(), Owner(64)
        threads.submit([owner.job(number) for number in range(64)])
        await owner.done
        self.assertLess(owner.turns, 64)

    def test_there_is_room_for_so_many(self) -> None:
        """Counted until they are back."""
        threads, owner = self.make(room=3), Owner(3)
        self.assertTrue(threads.room(2))
        self.assertFalse(threads.room(3))
        threads.submit([owner.job(number) for number in range(3)])
        self.assertFalse(threads.room())

    def test_what_is_done_at_the_end_is_told(self) -> None:
        """And threads that were stopped take nothing."""
        threads, owner = self.make(1), Owner(5)
        threads.submit([owner.job(number) for number in range(5)])
        threads.stop()
        self.assertEqual(sorted(owner.numbers), list(range(5)))
        self.assertFalse(threads.room())
        self.assertEqual([thread for thread in threading.enumerate() if thread.name.startswith("signing")], [])

    async def test_a_defect_is_a_failed_job(self) -> None:
        """The thread goes on."""
        threads, owner = self.make(1), Owner(2)
        bad: Any = owner.job(1)
        bad.payload = None
        threads.submit([bad])
        threads.submit([owner.job(2)])
        await owner.done
        self.assertEqual(owner.failed, [1])
        self.flushLoggedErrors(TypeError)
