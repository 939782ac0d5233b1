# SPDX-License-Identifier: Apache-2.0
"""In-memory streams behave as those on sockets, at the clock's pace."""

from __future__ import annotations

from typing import Any

from twisted.internet.error import ConnectionAborted, ConnectionDone, ConnectionLost
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase
from zope.interface.verify import verifyObject

from g3.interfaces import IStream
from g3.testing.streams import HalfCloseRecorder, Recorder, memory_stream_pair, pump


class Producer:
    def __init__(self) -> None:
        self.heard: list[str] = []

    def pauseProducing(self) -> None:
        self.heard.append("pause")

    def resumeProducing(self) -> None:
        self.heard.append("resume")

    def stopProducing(self) -> None:
        self.heard.append("stop")


class MemoryStreamTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.clock = Clock()
        self.left, self.right = memory_stream_pair(self.clock, window=10)
        self.by_left, self.by_right = HalfCloseRecorder(), HalfCloseRecorder()

    def start(self) -> None:
        self.left.start(self.by_left)
        self.right.start(self.by_right)

    def test_it_is_a_stream_with_addresses(self) -> None:
        verifyObject(IStream, self.left)
        self.assertEqual((self.left.local, self.left.peer), (self.right.peer, self.right.local))
        self.assertEqual((self.left.getPeer().host, self.left.getHost().port), (self.left.peer[0], self.left.local[1]))

    def test_nothing_arrives_before_the_clock_moves(self) -> None:
        self.start()
        self.left.write(b"abc")
        self.assertEqual(self.by_right.data, b"")
        pump(self.clock)
        self.assertEqual((self.by_right.data, self.left.bytes_out, self.right.bytes_in), (b"abc", 3, 3))

    def test_what_came_before_the_start_waits_for_it(self) -> None:
        self.left.write(b"abc")
        pump(self.clock)
        self.start()
        pump(self.clock)
        self.assertEqual(self.by_right.data, b"abc")

    def test_beyond_the_window_bytes_stay_with_the_writer(self) -> None:
        self.start()
        self.right.pauseProducing()
        self.left.write(b"x" * 25)
        pump(self.clock)
        self.assertEqual((self.left.queued, self.by_right.data), (15, b""))
        self.right.resumeProducing()
        pump(self.clock)
        self.assertEqual((self.left.queued, len(self.by_right.data)), (0, 25))

    def test_a_producer_is_paused_and_resumed(self) -> None:
        self.start()
        self.right.pauseProducing()
        producer = Producer()
        self.left.registerProducer(producer, True)
        self.left.write(b"x" * 11)
        self.assertEqual(producer.heard, ["pause"])
        self.right.resumeProducing()
        pump(self.clock)
        self.assertEqual(producer.heard, ["pause", "resume"])

    def test_a_half_close_ends_one_direction(self) -> None:
        self.start()
        self.left.write(b"last")
        self.left.loseWriteConnection()
        self.left.write(b"too late")
        pump(self.clock)
        self.assertEqual((self.by_right.data, self.by_right.read_closed, self.by_left.write_closed), (b"last", True, True))
        self.right.write(b"answer")
        pump(self.clock)
        self.assertEqual((self.by_left.data, self.by_left.reason), (b"answer", None))

    def test_when_both_directions_ended_it_is_closed(self) -> None:
        self.start()
        for stream in (self.left, self.right):
            stream.loseWriteConnection()
        pump(self.clock)
        for heard in (self.by_left, self.by_right):
            assert heard.reason is not None
            heard.reason.trap(ConnectionDone)

    def test_closing_flushes_first(self) -> None:
        self.start()
        self.right.pauseProducing()
        self.left.write(b"x" * 30)
        self.left.loseConnection()
        pump(self.clock)
        self.assertIsNone(self.by_left.reason)
        self.right.resumeProducing()
        pump(self.clock)
        self.assertEqual((len(self.by_right.data), self.by_right.read_closed), (30, True))
        self.assertIsNotNone(self.by_left.reason)

    def test_a_protocol_without_half_close_closes(self) -> None:
        heard = Recorder()
        self.left.start(self.by_left)
        self.right.start(heard)
        self.left.loseWriteConnection()
        pump(self.clock)
        assert heard.reason is not None
        heard.reason.trap(ConnectionDone)

    def test_an_abort_drops_everything(self) -> None:
        self.start()
        self.left.write(b"x" * 30)
        self.left.abortConnection()
        pump(self.clock)
        assert self.by_left.reason is not None and self.by_right.reason is not None
        self.by_left.reason.trap(ConnectionAborted)
        self.by_right.reason.trap(ConnectionLost)
        self.assertTrue(self.left.aborted)

    def test_it_moves_to_another_protocol_with_what_was_put_back(self) -> None:
        self.start()
        self.right.unread(b"back ")
        other = HalfCloseRecorder()
        self.right.start(other)
        self.left.write(b"new")
        pump(self.clock)
        self.assertEqual((other.data, self.by_right.data), (b"back new", b""))

    def test_a_hang_up_is_told_while_nobody_reads(self) -> None:
        told: list[Any] = []
        self.right.watch_hangup(told.append)
        self.left.loseWriteConnection()
        pump(self.clock)
        self.assertEqual(told, [False])
        self.left.abortConnection()
        pump(self.clock)
        self.assertEqual(told, [False, True])

    def test_it_has_no_socket_to_give_away(self) -> None:
        self.assertRaises(RuntimeError, self.left.detach)

    def test_a_producer_of_a_lost_stream_is_stopped(self) -> None:
        self.start()
        producer, late = Producer(), Producer()
        self.left.registerProducer(producer, True)
        self.assertRaises(RuntimeError, self.left.registerProducer, late, True)
        self.left.abortConnection()
        pump(self.clock)
        self.left.registerProducer(late, True)
        self.assertEqual((producer.heard, late.heard), (["stop"], ["stop"]))

    def test_streams_that_never_rest_are_a_test_failure(self) -> None:
        def again() -> None:
            self.clock.callLater(0, again)

        again()
        self.assertRaises(AssertionError, pump, self.clock, 10)
