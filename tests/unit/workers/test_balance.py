# SPDX-License-Identifier: Apache-2.0
"""Who accepts the next client."""

from __future__ import annotations

import socket
from typing import Any

from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from g3.workers.balance import MOMENT, YIELDS, Share, SharedListener
from g3.workers.memory import Memory


class ReaderClock(Clock):
    """A clock that knows readers."""

    def __init__(self) -> None:
        super().__init__()
        self.readers: set[Any] = set()

    def addReader(self, reader: Any) -> None:
        self.readers.add(reader)

    def removeReader(self, reader: Any) -> None:
        self.readers.discard(reader)


class ShareTests(SynchronousTestCase):
    """What is clearly above the mean."""

    def above(self, *live: int, serving: tuple[int, ...] | None = None) -> bool:
        memory = Memory(len(live))
        for slot, number in enumerate(live):
            memory.live[slot] = number
            memory.serving[slot] = 1 if serving is None else serving[slot]
        return Share(memory, 0).above

    def test_one_alone_is_never_above(self) -> None:
        """There is nobody else to take the client."""
        self.assertFalse(self.above(1000))
        self.assertFalse(self.above(1000, 0, serving=(1, 0)))

    def test_a_few_more_are_not_clear(self) -> None:
        """Two connections, and a sixteenth of the mean."""
        self.assertFalse(self.above(2, 0))
        self.assertFalse(self.above(105, 100))
        self.assertTrue(self.above(10, 0))
        self.assertTrue(self.above(120, 100, 100, 100))

    def test_who_has_less_is_not_above(self) -> None:
        """Whatever the others have."""
        self.assertFalse(self.above(0, 1000, 1000))


class SharedListenerTests(SynchronousTestCase):
    """A listener of one of two workers."""

    def setUp(self) -> None:
        self.memory = Memory(2)
        self.memory.serving[0] = self.memory.serving[1] = 1
        self.clock = ReaderClock()
        listening = socket.create_server(("127.0.0.1", 0), backlog=64)
        listening.setblocking(False)
        self.address = listening.getsockname()
        self.accepted: list[socket.socket] = []
        self.listener = SharedListener(self.clock, listening, self.accept, Share(self.memory, 0))
        self.listener.start()
        self.addCleanup(lambda: [sock.close() for sock in self.accepted])
        self.addCleanup(self.listener.stop, drain=False)

    def accept(self, sock: socket.socket, peer: object) -> None:
        self.accepted.append(sock)
        self.memory.live[0] += 1

    def clients(self, number: int) -> None:
        for _ in range(number):
            self.addCleanup(socket.create_connection(self.address).close)

    def test_within_its_share_it_takes_what_waits(self) -> None:
        """All of it."""
        self.memory.live[1] = 50
        self.clients(10)
        self.listener.doRead()
        self.assertEqual(len(self.accepted), 10)

    def test_it_stops_in_the_middle_of_a_burst(self) -> None:
        """As soon as it has clearly more."""
        self.clients(20)
        self.listener.doRead()
        self.assertLess(len(self.accepted), 10)

    def test_above_its_share_it_looks_away_for_a_moment(self) -> None:
        """And then looks again."""
        self.memory.live[0] = 100
        self.clients(1)
        self.listener.doRead()
        self.assertEqual((len(self.accepted), self.clock.readers), (0, set()))
        self.clock.advance(MOMENT)
        self.assertEqual(self.clock.readers, {self.listener})

    def test_a_client_that_nobody_takes_does_not_wait_long(self) -> None:
        """The others hang: after some moments it is taken, one at a time."""
        self.memory.live[0] = 100
        self.clients(3)
        for _ in range(YIELDS):
            self.listener.doRead()
            self.assertEqual(self.accepted, [])
            self.clock.advance(MOMENT)
        self.listener.doRead()
        self.assertEqual(len(self.accepted), 1)
        self.assertLess(MOMENT * YIELDS, 0.05)
