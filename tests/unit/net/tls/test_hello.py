# SPDX-License-Identifier: Apache-2.0
"""Tests of g3.net.tls.hello."""

from __future__ import annotations

from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from g3.net.look import LookEnded, LookTimeout
from g3.net.timers import TimerWheel
from g3.net.tls.hello import look_at_hello
from g3.proto.tls.clienthello import TLSError
from g3.testing.streams import HalfCloseRecorder, memory_stream_pair, pump
from tests.hellos import openssl_hello


class HelloTests(SynchronousTestCase):
    """What is looked at stays there."""

    def setUp(self) -> None:
        self.clock = Clock()
        self.client, self.stream = memory_stream_pair(self.clock)
        self.client.start(HalfCloseRecorder())
        timers = TimerWheel(self.clock, 0.02)
        self.looking: Deferred[Any] = Deferred.fromCoroutine(look_at_hello(self.stream, timers, 1.0))

    def send(self, data: bytes) -> None:
        self.client.write(data)
        pump(self.clock)

    def test_a_hello_in_pieces_is_read_again_by_the_next(self) -> None:
        """With what came behind it."""
        hello = openssl_hello("a.test")
        for at in range(len(hello)):
            self.assertNoResult(self.looking)
            self.send(hello[at : at + 1])
        self.assertEqual(self.successResultOf(self.looking).server_name, "a.test")
        reader = HalfCloseRecorder()
        self.stream.start(reader)
        self.send(b"more")
        self.assertEqual(bytes(reader.data), hello + b"more")

    def test_what_is_none_closes(self) -> None:
        self.send(b"GET / HTTP/1.1\r\n")
        self.failureResultOf(self.looking, TLSError)
        pump(self.clock)
        self.assertFalse(self.stream.connected)

    def test_one_that_ends_or_takes_too_long(self) -> None:
        self.client.loseConnection()
        pump(self.clock)
        self.failureResultOf(self.looking, LookEnded)
        self.setUp()
        self.send(openssl_hello("a.test")[:20])
        self.clock.pump([0.1] * 12)
        self.failureResultOf(self.looking, LookTimeout)
