# SPDX-License-Identifier: Apache-2.0
"""One stream of many: what it promises its protocol, and what it asks of whoever carries it."""

from __future__ import annotations

from typing import Any

from twisted.internet.error import ConnectionAborted, ConnectionDone, ConnectionLost
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase
from zope.interface.verify import verifyObject

from g3.interfaces import IStream
from g3.limit.stream import StreamLimiter
from g3.net.channel import ChannelStream
from g3.net.transport import HIGH_MARK
from g3.testing.streams import HalfCloseRecorder, Recorder, pump


class Carrier:
    """Keeps what it is told; takes C{left} bytes."""

    def __init__(self) -> None:
        self.left = 1 << 20
        self.sent = b""
        self.read = 0
        self.told: list[str] = []

    def room(self) -> int:
        return self.left

    def send(self, data: bytes) -> None:
        assert len(data) <= self.left
        self.left -= len(data)
        self.sent += data

    def finish(self) -> None:
        self.told.append("finish")

    def abort(self) -> None:
        self.told.append("abort")

    def ignore(self) -> None:
        self.told.append("ignore")

    def consumed(self, count: int) -> None:
        self.read += count

    def unacknowledged(self) -> int:
        return 7


class Producer:
    def __init__(self) -> None:
        self.told: list[str] = []

    def pauseProducing(self) -> None:
        self.told.append("pause")

    def resumeProducing(self) -> None:
        self.told.append("resume")

    def stopProducing(self) -> None:
        self.told.append("stop")


class ChannelTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.clock = Clock()
        self.carrier = Carrier()
        self.stream = ChannelStream(self.clock, self.carrier, local=("192.0.2.1", 443), peer=("198.51.100.1", 4000))

    def turn(self) -> None:
        pump(self.clock)

    def begin(self, protocol: Any = None) -> Any:
        heard = protocol or HalfCloseRecorder()
        self.stream.start(heard)
        self.turn()
        return heard

    def test_it_is_a_stream(self) -> None:
        verifyObject(IStream, self.stream)
        self.assertEqual((self.stream.getPeer().host, self.stream.getHost().port), ("198.51.100.1", 443))
        self.assertRaises(RuntimeError, self.stream.detach)

    # -- reading

    def test_what_is_read_is_told_and_what_waits_is_not(self) -> None:
        self.stream.feed(b"one")
        self.turn()
        self.assertEqual((self.carrier.read, self.stream.ahead), (0, 3))
        heard = self.begin()
        self.assertEqual((heard.data, self.carrier.read, self.stream.bytes_in), (b"one", 3, 3))
        self.stream.pauseProducing()
        self.stream.feed(b"two")
        self.turn()
        self.assertEqual((heard.data, self.carrier.read), (b"one", 3))
        self.stream.resumeProducing()
        self.turn()
        self.assertEqual((heard.data, self.carrier.read), (b"onetwo", 6))

    def test_bytes_put_back_are_the_next_readers_and_count_once(self) -> None:
        self.stream.feed(b"one")
        self.begin()
        self.stream.pauseProducing()
        self.stream.unread(b"ne")
        heard = self.begin()
        self.assertEqual((heard.data, self.carrier.read, self.stream.bytes_in), (b"ne", 3, 3))

    def test_a_read_is_no_longer_than_it_may_be(self) -> None:
        self.stream.read_size = 2
        sizes: list[int] = []
        heard = HalfCloseRecorder()
        heard.dataReceived = lambda data: sizes.append(len(data))  # type: ignore[method-assign]
        self.stream.feed(b"12345")
        self.begin(heard)
        self.assertEqual(sizes, [2, 2, 1])

    def test_the_end_comes_behind_the_bytes(self) -> None:
        heard = self.begin()
        self.stream.pauseProducing()
        self.stream.feed(b"last")
        self.stream.feed_end()
        self.turn()
        self.assertFalse(heard.read_closed)
        self.stream.resumeProducing()
        self.turn()
        self.assertEqual((heard.data, heard.read_closed, self.stream.eof), (b"last", True, True))
        self.stream.write(b"answer")
        self.assertEqual(self.carrier.sent, b"answer")

    def test_who_knows_no_half_close_closes(self) -> None:
        heard = self.begin(Recorder())
        self.stream.feed_end()
        self.turn()
        self.assertEqual(self.carrier.told, ["finish"])
        self.assertIsInstance(heard.reason.value, ConnectionDone)

    def test_reading_is_limited_in_speed(self) -> None:
        self.stream.set_read_limit((StreamLimiter(10, 1000),))
        self.stream.feed(bytes(5000))
        heard = self.begin()
        for _ in range(4):
            before = len(heard.data)
            self.clock.advance(1.1)
            self.turn()
            self.assertLessEqual(len(heard.data) - before, 2100)
        self.clock.advance(10)
        self.turn()
        self.assertEqual(len(heard.data), 5000)

    # -- writing

    def test_what_finds_no_room_waits(self) -> None:
        self.begin()
        self.carrier.left = 3
        self.stream.write(b"12345")
        self.assertEqual((self.carrier.sent, self.stream.queued, self.stream.unsent()), (b"123", 2, 9))
        self.carrier.left = 10
        self.stream.make_room()
        self.assertEqual((self.carrier.sent, self.stream.queued, self.stream.bytes_out), (b"12345", 0, 5))

    def test_a_producer_is_paused_and_goes_on(self) -> None:
        self.begin()
        producer = Producer()
        self.stream.registerProducer(producer, True)
        self.carrier.left = 0
        self.stream.write(bytes(HIGH_MARK + 1))
        self.assertEqual(producer.told, ["pause"])
        self.carrier.left = 1 << 20
        self.stream.make_room()
        self.assertEqual(producer.told, ["pause", "resume"])

    def test_a_producer_that_is_pulled_is_asked_whenever_nothing_waits(self) -> None:
        self.begin()
        producer = Producer()
        self.stream.registerProducer(producer, False)
        self.turn()
        self.assertEqual(producer.told, ["resume"])

    def test_writing_is_limited_in_speed(self) -> None:
        self.begin()
        self.stream.set_write_limit((StreamLimiter(10, 1000),))
        self.stream.write(bytes(3000))
        self.assertLessEqual(len(self.carrier.sent), 1000)
        for _ in range(6):
            self.clock.advance(1.1)
            self.turn()
        self.assertEqual(len(self.carrier.sent), 3000)

    # -- the end

    def test_a_half_close_waits_for_what_is_queued(self) -> None:
        heard = self.begin()
        self.carrier.left = 1
        self.stream.write(b"12")
        self.stream.loseWriteConnection()
        self.turn()
        self.assertEqual(self.carrier.told, [])
        self.carrier.left = 1
        self.stream.make_room()
        self.assertEqual((self.carrier.told, heard.write_closed, heard.reason), (["finish"], True, None))
        self.stream.write(b"ignored")
        self.stream.feed(b"more")
        self.stream.feed_end()
        self.turn()
        self.assertEqual((self.carrier.sent, heard.data), (b"12", b"more"))
        self.assertIsInstance(heard.reason.value, ConnectionDone)

    def test_closing_flushes_and_drops_what_still_comes(self) -> None:
        heard = self.begin()
        self.carrier.left = 0
        self.stream.write(b"last")
        self.stream.loseConnection()
        self.stream.feed(b"too late")
        self.turn()
        self.assertEqual((self.carrier.told, self.carrier.read, heard.data, heard.reason), (["ignore"], 8, b"", None))
        self.carrier.left = 4
        self.stream.make_room()
        self.turn()
        self.assertEqual((self.carrier.told, self.carrier.sent), (["ignore", "finish"], b"last"))
        self.assertIsInstance(heard.reason.value, ConnectionDone)

    def test_a_producer_holds_the_end_back(self) -> None:
        self.begin()
        self.stream.registerProducer(Producer(), True)
        self.stream.loseConnection()
        self.turn()
        self.assertEqual(self.carrier.told, ["ignore"])
        self.stream.unregisterProducer()
        self.turn()
        self.assertEqual(self.carrier.told, ["ignore", "finish"])

    def test_an_abort_breaks_off_at_once(self) -> None:
        heard = self.begin()
        producer = Producer()
        self.stream.registerProducer(producer, True)
        self.carrier.left = 0
        self.stream.write(b"lost")
        self.stream.abortConnection()
        self.assertIsNone(heard.reason, "nobody is called from inside abortConnection")
        self.turn()
        self.assertEqual((self.carrier.told, producer.told, self.stream.queued), (["abort"], ["stop"], 0))
        self.assertIsInstance(heard.reason.value, ConnectionAborted)
        self.assertTrue(self.stream.disconnected)

    def test_who_gets_it_once_it_is_lost_is_told_too(self) -> None:
        """Also when it was somebody else's when it broke."""
        first, second = HalfCloseRecorder(), HalfCloseRecorder()
        self.stream.start(first)
        self.stream.feed_lost("it broke")
        self.turn()
        self.stream.start(second)
        self.assertIsNone(second.reason)
        self.turn()
        self.assertTrue(first.reason and second.reason)

    def test_what_breaks_is_told_once_and_last(self) -> None:
        heard = self.begin()
        self.stream.feed(b"never read")
        self.stream.feed_lost("it broke", 104)
        self.stream.feed_lost("again")
        self.stream.feed(b"more")
        self.turn()
        self.assertEqual((heard.data, self.carrier.read, self.stream.error, str(heard.reason.value)), (b"", 10, 104, str(ConnectionLost("it broke"))))

    def test_who_starts_late_hears_of_the_end_too(self) -> None:
        self.stream.feed_lost("it broke")
        heard = self.begin()
        self.assertIsInstance(heard.reason.value, ConnectionLost)

    def test_while_nobody_reads_the_end_is_told_to_who_watches(self) -> None:
        heard = self.begin()
        told: list[bool] = []
        self.stream.pauseProducing()
        self.stream.watch_hangup(told.append)
        self.stream.feed(b"x")
        self.stream.feed_end()
        self.turn()
        self.assertEqual(told, [False])
        self.stream.feed_lost("it broke")
        self.turn()
        self.assertEqual((told, heard.data), ([False, True], b""))

    def test_a_watch_ends_with_reading(self) -> None:
        self.begin()
        told: list[bool] = []
        self.stream.pauseProducing()
        self.stream.watch_hangup(told.append)
        self.stream.resumeProducing()
        self.stream.feed_lost("it broke")
        self.turn()
        self.assertEqual(told, [])

    def test_who_keeps_it_hears_of_the_end_once(self) -> None:
        closed: list[Any] = []
        self.stream.on_close = closed.append
        self.begin()
        self.stream.abortConnection()
        self.stream.feed_lost("it broke")
        self.turn()
        self.assertEqual(closed, [self.stream])
