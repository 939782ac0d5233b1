# SPDX-License-Identifier: Apache-2.0
"""Asking a next proxy and reading its answer."""

from __future__ import annotations

from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from g3.errors import NegotiationProtocolErr, NegotiationReadFailed
from g3.escapers.negotiation import ask
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
