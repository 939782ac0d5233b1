# SPDX-License-Identifier: Apache-2.0
"""Asking a next proxy and reading its answer."""

from __future__ import annotations

from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from g3.errors import NegotiationPeerTimeout, NegotiationProtocolErr, NegotiationReadFailed
from g3.escapers.negotiation import ask, within
from g3.net.timers import TimerWheel
from g3.proto.http1.connect import ConnectReader
from g3.testing.streams import Recorder, memory_stream_pair, pump


class Asking(SynchronousTestCase):
    def setUp(self) -> None:
        self.clock = Clock()
        self.ours, self.theirs = memory_stream_pair(self.clock)
        self.peer = Recorder()
        self.theirs.start(self.peer)
        self.reader = ConnectReader()
        self.asking = Deferred.fromCoroutine(ask(self.ours, b"question", self.reader))
        pump(self.clock)

    def say(self, data: bytes) -> None:
        self.theirs.write(data)
        pump(self.clock)

    def test_the_question_is_sent_and_the_answer_read(self) -> None:
        self.assertEqual(self.peer.data, b"question")
        self.say(b"HTTP/1.1 200 OK\r\n")
        self.assertNoResult(self.asking)
        self.say(b"\r\n")
        self.successResultOf(self.asking)
        self.assertTrue(self.reader.accepted)

    def test_what_comes_behind_the_answer_is_for_the_next_reader(self) -> None:
        self.say(b"HTTP/1.1 200 OK\r\n\r\nearly ")
        self.successResultOf(self.asking)
        self.say(b"late")
        next_one = Recorder()
        self.ours.start(next_one)
        pump(self.clock)
        self.assertEqual(next_one.data, b"early late")

    def test_an_end_before_the_answer(self) -> None:
        self.say(b"HTTP/1.1 2")
        self.theirs.loseConnection()
        pump(self.clock)
        self.failureResultOf(self.asking, NegotiationReadFailed)

    def test_an_end_after_the_answer_is_told_to_the_next_reader(self) -> None:
        self.say(b"HTTP/1.1 200 OK\r\n\r\n")
        self.successResultOf(self.asking)
        self.theirs.abortConnection()
        pump(self.clock)
        next_one = Recorder()
        self.ours.start(next_one)
        pump(self.clock)
        self.assertIsNotNone(next_one.reason)

    def test_an_answer_that_is_none_closes(self) -> None:
        self.say(b"SSH-2.0\r\n\r\n")
        self.failureResultOf(self.asking, NegotiationProtocolErr)
        self.assertIsNotNone(self.peer.reason)

    def test_cancelling_closes(self) -> None:
        self.asking.cancel()
        self.failureResultOf(self.asking, CancelledError)
        pump(self.clock)
        self.assertIsNotNone(self.peer.reason)


class Within(SynchronousTestCase):
    def setUp(self) -> None:
        self.clock = Clock()
        self.timers = TimerWheel(self.clock)
        self.work: Deferred[str] = Deferred()

    async def wait(self) -> str:
        return await self.work

    def begin(self) -> Deferred[str]:
        return Deferred.fromCoroutine(within(self.timers, 10.0, self.wait(), NegotiationPeerTimeout))

    def test_what_is_done_in_time_is_returned(self) -> None:
        doing = self.begin()
        self.work.callback("done")
        self.assertEqual(self.successResultOf(doing), "done")
        self.clock.advance(11)
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_what_is_late_is_cancelled(self) -> None:
        doing = self.begin()
        self.clock.advance(9)
        self.assertNoResult(doing)
        self.clock.advance(2)
        self.failureResultOf(doing, NegotiationPeerTimeout)
        self.assertTrue(self.work.called)

    def test_an_error_passes(self) -> None:
        doing = self.begin()
        self.work.errback(NegotiationReadFailed())
        self.failureResultOf(doing, NegotiationReadFailed)

    def test_a_cancelled_task_is_not_late(self) -> None:
        doing = self.begin()
        doing.cancel()
        self.failureResultOf(doing, CancelledError)
        self.assertTrue(self.work.called)

    def test_what_is_done_at_once_sets_no_timer(self) -> None:
        self.work.callback("now")
        self.assertEqual(self.successResultOf(self.begin()), "now")
        self.assertEqual(self.clock.getDelayedCalls(), [])
