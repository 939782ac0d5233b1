# SPDX-License-Identifier: Apache-2.0
"""Channels: what is sent, what waits, what is dropped."""

from __future__ import annotations

import errno
from typing import Any

from twisted.internet.task import Clock
from twisted.logger import LogLevel, globalLogPublisher
from twisted.trial.unittest import SynchronousTestCase

from g3.logs.logger import RETRY_DELAY, SHORT_VALUES, Channel, Logger
from g3.metrics.logger import LoggerStats
from g3.proto.syslog import Header3164, Text3164


class FakeSink:
    """Takes records while C{error} is None."""

    def __init__(self) -> None:
        self.limit = 65000
        self.records: list[bytes] = []
        self.error: OSError | None = None

    def send(self, record: bytes) -> None:
        if self.error is not None:
            raise self.error
        self.records.append(record)

    def close(self) -> None:
        pass


class ChannelTest(SynchronousTestCase):
    """One channel with one logger."""

    def setUp(self) -> None:
        self.clock, self.sink = Clock(), FakeSink()
        self.stats = LoggerStats("lt-test")
        self.make()
        self.events: list[Any] = []
        globalLogPublisher.addObserver(self.events.append)
        self.addCleanup(globalLogPublisher.removeObserver, self.events.append)

    def make(self, **options: Any) -> None:
        encoder = Text3164(Header3164("g3", 1))
        self.channel = Channel(self.clock, "lt-test", encoder, self.sink, self.stats, wall=lambda: 1638354030.0, **options)
        self.logger = Logger(self.channel, [("pid", 7)])

    def warnings(self) -> list[Any]:
        return [event for event in self.events if event["log_level"] is LogLevel.warn and event["log_namespace"] == "g3.logs.logger"]

    def test_a_record_is_sent_at_once_and_counted(self) -> None:
        """Constants, then fields."""
        self.logger.log("hello", [("a", "b"), ("no", None)])
        self.assertTrue(self.sink.records[0].endswith(b': hello, pid=7, a="b"'))
        self.assertEqual((self.stats.total, self.stats.passed, self.stats.size, self.stats.dropped), (1, 1, len(self.sink.records[0]), 0))

    def test_on_our_reactor_records_go_at_the_end_of_the_batch(self) -> None:
        """In the order in which they were made, also those of several channels; what is closed before is sent at once."""
        calls: list[Any] = []
        self.clock.soon = calls.append  # type: ignore[attr-defined]
        self.make()
        other = Logger(Channel(self.clock, "other", self.channel.encoder, self.sink, LoggerStats("o")), [])
        for logger, text in ((self.logger, "1"), (other, "2"), (self.logger, "3")):
            logger.log(text, [])
        self.assertEqual((self.sink.records, self.stats.total, self.stats.passed), ([], 2, 0))
        self.sink.error = BlockingIOError(errno.EAGAIN, "full")
        calls.pop(0)()
        self.sink.error = None
        for call in calls:
            call()
        self.clock.advance(RETRY_DELAY)
        self.assertEqual([record.split(b"]: ")[1][:1] for record in self.sink.records], [b"2", b"1", b"3"])
        self.logger.log("4", [])
        self.channel.close()
        calls.pop()()
        self.assertEqual((len(self.sink.records), self.stats.passed, self.clock.getDelayedCalls()), (4, 3, []))

    def test_while_the_sink_is_full_records_wait_in_order(self) -> None:
        """And go out when it is not."""
        self.sink.error = BlockingIOError(errno.EAGAIN, "full")
        for number in range(5):
            self.logger.log(str(number), [])
        self.clock.advance(RETRY_DELAY)
        self.assertEqual(self.sink.records, [])
        self.sink.error = None
        self.logger.log("5", [])
        self.assertEqual(self.sink.records, [], "a later record must not overtake")
        self.clock.advance(RETRY_DELAY)
        self.assertEqual([record.split(b"]: ")[1][:1] for record in self.sink.records], [b"0", b"1", b"2", b"3", b"4", b"5"])
        self.assertEqual((self.stats.total, self.stats.passed, self.stats.dropped), (6, 6, 0))
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_a_full_queue_drops_and_counts(self) -> None:
        """Never more than its size, and the task goes on."""
        self.make(size=3)
        self.sink.error = BlockingIOError(errno.EAGAIN, "full")
        for number in range(10):
            self.logger.log(str(number), [])
        self.assertEqual((self.stats.total, self.stats.channel_overflow), (10, 7))
        self.sink.error = None
        self.clock.advance(RETRY_DELAY)
        self.assertEqual(len(self.sink.records), 3)

    def test_an_unreachable_peer_drops_and_counts(self) -> None:
        """Nothing is queued for it."""
        self.sink.error = OSError(errno.ECONNREFUSED, "refused")
        for _ in range(10):
            self.logger.log("x", [])
        self.assertEqual((self.stats.peer_unreachable, self.stats.passed), (10, 0))
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_errors_are_reported_by_sample(self) -> None:
        """The first and then each 2**offset-th; then that it works again."""
        self.make(offset=3)
        self.sink.error = OSError(errno.ECONNREFUSED, "refused")
        for _ in range(20):
            self.logger.log("x", [])
        self.assertEqual([event["count"] for event in self.warnings()], [1, 9, 17])
        self.sink.error = None
        self.logger.log("x", [])
        back = [event for event in self.events if event["log_level"] is LogLevel.info and "back to work" in event["log_format"]]
        self.assertEqual([event["count"] for event in back], [20])

    def test_a_field_nobody_can_format_is_counted_and_not_raised(self) -> None:
        """A log record must not end its task."""

        class Hostile:
            def __str__(self) -> str:
                raise RuntimeError("no")

        self.logger.log("x", [("a", Hostile())])  # type: ignore[list-item]
        self.assertEqual((self.stats.format_failed, self.stats.passed), (1, 0))

    def test_a_record_too_big_for_the_sink_is_made_again_with_short_values(self) -> None:
        """It is not lost: a client must not hide by sending much."""
        self.sink.limit = 4000
        self.logger.log("x", [("user", "u"), ("uri", "h" * 16000), ("agent", "\U0010ffff" * 16000)])
        record = self.sink.records[0].decode()
        self.assertIn('user="u"', record)
        self.assertIn("h" * (SHORT_VALUES[0] - 3) + "...", record)
        self.assertLessEqual(len(record), 4000)
        self.sink.limit = 1000
        self.logger.log("x", [("user", "u"), ("uri", "h" * 16000), ("agent", "\U0010ffff" * 16000)])
        self.assertIn("h" * (SHORT_VALUES[1] - 3) + "...", self.sink.records[1].decode())
        self.assertLessEqual(len(self.sink.records[1]), 1000)

    def test_a_record_the_peer_refuses_for_its_size_is_counted_as_format_failed(self) -> None:
        """EMSGSIZE is not the peer being away."""
        self.sink.error = OSError(errno.EMSGSIZE, "too long")
        self.logger.log("x", [])
        self.assertEqual((self.stats.format_failed, self.stats.peer_unreachable), (1, 0))

    def test_closing_sends_what_it_can_and_counts_the_rest(self) -> None:
        """Later records are counted as drops of a closed channel."""
        self.sink.error = BlockingIOError(errno.EAGAIN, "full")
        self.logger.log("x", [])
        self.logger.log("y", [])
        self.channel.close()
        self.channel.close()
        self.logger.log("z", [])
        self.assertEqual((self.stats.channel_closed, self.stats.total), (3, 3))
        self.assertEqual(self.clock.getDelayedCalls(), [])
