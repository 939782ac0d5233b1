# SPDX-License-Identifier: Apache-2.0
"""Who accepts the next client."""

from __future__ import annotations

import socket
from types import SimpleNamespace
from typing import Any

from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from g3.net.listen import EXHAUSTED_PAUSE, Room
from g3.workers.balance import ABOVE, MOMENT, PATIENCE, YIELDS, Share, SharedListener
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

    def above(self, *live: int, serving: tuple[int, ...] | None = None, above_by: int = ABOVE) -> bool:
        memory = Memory(len(live))
        for slot, number in enumerate(live):
            memory.live[slot] = number
            memory.serving[slot] = 1 if serving is None else serving[slot]
        share = Share(memory, 0)
        share.above_by = above_by
        return share.above

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

    def test_where_each_counts_one_more_is_clear(self) -> None:
        """Of few clients that stay."""
        self.assertTrue(self.above(1, 0, above_by=0))
        self.assertFalse(self.above(1, 1, above_by=0))
        self.assertFalse(self.above(1, 2, above_by=0))

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

    def look(self) -> int:
        """One wake-up with a client waiting, and the moment after it; how many were taken."""
        before = len(self.accepted)
        self.listener.doRead()
        self.clock.advance(MOMENT)
        return len(self.accepted) - before

    def test_clients_that_nobody_takes_do_not_wait_long(self) -> None:
        """The others hang: after some moments all are taken, and later ones at once."""
        self.memory.live[0] = 100
        self.clients(3)
        self.assertEqual([self.look() for _ in range(YIELDS + 1)], [0] * YIELDS + [3])
        for _ in range(3):
            self.clients(5)
            self.assertEqual(self.look(), 5)
        self.assertLess(MOMENT * YIELDS, 0.05)

    def test_it_looks_away_again_once_another_takes_a_client(self) -> None:
        """Whoever hung is back."""
        self.memory.live[0] = 100
        self.clients(1)
        for _ in range(YIELDS + 1):
            self.look()
        self.memory.taken[1] += 1
        self.clients(1)
        self.assertEqual(self.look(), 0)

    def test_where_the_others_cannot_keep_up_a_batch_is_taken(self) -> None:
        """They take one each moment, and still somebody waits."""
        self.memory.live[0] = 100
        self.clients(4)
        taken = []
        for _ in range(PATIENCE + 1):
            self.memory.taken[1] += 1
            taken.append(self.look())
        self.assertEqual(taken, [0] * PATIENCE + [4])
        self.assertLess(MOMENT * PATIENCE, 0.2)

    def test_without_room_it_rests_like_any_listener(self) -> None:
        """Whoever waits is for another worker, or for later."""
        load = SimpleNamespace(live=7)
        listener = SharedListener(self.clock, self.listener.socket, self.accept, Share(self.memory, 0), room=Room(load, 16))  # type: ignore[arg-type]
        listener.start()
        self.clients(2)
        listener.doRead()
        self.assertEqual((len(self.accepted), len(self.clock.getDelayedCalls())), (0, 1))
        load.live = 0
        self.clock.advance(EXHAUSTED_PAUSE)
        listener.doRead()
        self.assertEqual(len(self.accepted), 2)

    def test_what_is_taken_is_told(self) -> None:
        """For the others to see."""
        self.clients(3)
        self.memory.live[1] = 50
        self.look()
        self.assertEqual(list(self.memory.taken), [3, 0])
