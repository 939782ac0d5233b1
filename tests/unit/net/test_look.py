# SPDX-License-Identifier: Apache-2.0
"""Looking first: what is taken is gone, what is not is the next reader's, and it always comes to an end."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from g3.errors import ProtocolError
from g3.net.look import LookEnded, LookTimeout, look
from g3.net.timers import TimerWheel
from g3.testing.streams import Recorder, memory_stream_pair, pump
from tests.unit.net.reactors import HalfCloseable, ReactorTestCase, on_every_reactor, reset

if TYPE_CHECKING:
    from collections.abc import Callable


class Line:
    """A judge that wants one line; C{shown} is all it was shown."""

    def __init__(self) -> None:
        self.shown: list[bytes] = []
        self.line = b""

    def __call__(self, data: bytes) -> int | None:
        self.shown.append(data)
        end = data.find(b"\n") + 1
        self.line += data[:end] if end else data
        if b"bad" in self.line:
            raise ProtocolError("a bad line")
        return end or None


class _LookTests(ReactorTestCase):
    """Run on each reactor by its subclasses."""

    def setUp(self) -> None:
        super().setUp()
        self.timers = TimerWheel(self.reactor, 0.02)
        self.addCleanup(self.timers.stop)
        self.stream, self.peer = self.pair()
        self.line = Line()
        self.results: list[Any] = []

    def look(self, judge: Callable[[bytes], int | None] | None = None, seconds: float = 5.0) -> None:
        looking = Deferred.fromCoroutine(look(self.stream, self.timers, seconds, judge or self.line))
        looking.addBoth(self.results.append)

    def fails(self, kind: type[Exception]) -> None:
        self.spin(lambda: self.results)
        self.assertIsInstance(self.results[0].value, kind)
        self.spin(lambda: self.stream.disconnected)

    def test_what_is_not_taken_stays_in_the_socket(self) -> None:
        """So that TLS can be spoken on the socket itself."""
        self.peer.send(b"line\nand more")
        self.look()
        self.spin(lambda: self.results)
        self.assertEqual((self.results, self.line.line), ([None], b"line\n"))
        self.assertEqual(self.stream.detach().recv(100), b"and more")

    def test_a_protocol_started_next_gets_the_rest(self) -> None:
        """In order, and what was looked at counts for nothing."""
        self.peer.send(b"line\nand more")
        self.look()
        self.spin(lambda: self.results)
        protocol = HalfCloseable()
        self.stream.start(protocol)
        self.peer.send(b", then")
        self.spin(lambda: protocol.data == b"and more, then")
        self.assertEqual(self.stream.bytes_in, len(b"and more, then"))

    def test_nothing_taken_is_a_mere_look(self) -> None:
        """0 leaves every byte."""
        self.peer.send(b"abc")
        self.look(lambda _: 0)
        self.spin(lambda: self.results)
        self.assertEqual(self.stream.detach().recv(100), b"abc")

    def test_it_may_come_in_single_bytes_and_each_is_shown_once(self) -> None:
        """A part that is not enough does not spin the processor."""
        self.look()
        for byte in b"lin":
            self.peer.send(bytes([byte]))
            self.settle(20)
        self.peer.send(b"e\nx")
        self.spin(lambda: self.results)
        self.assertEqual(self.line.shown, [b"l", b"i", b"n", b"e\nx"])

    def test_what_the_judge_refuses_is_closed(self) -> None:
        """With the judge's own error."""
        self.peer.send(b"bad line\n")
        self.look()
        self.fails(ProtocolError)

    def test_silence_ends_by_time(self) -> None:
        """Even of a client that said something."""
        self.peer.send(b"li")
        self.look(seconds=0.05)
        self.fails(LookTimeout)

    def test_a_client_that_leaves_ends_it(self) -> None:
        """In order."""
        self.look()
        self.settle()
        self.peer.close()
        self.fails(LookEnded)

    def test_a_reset_ends_it(self) -> None:
        """By a break."""
        self.look()
        self.settle()
        reset(self.peer)
        self.fails(LookEnded)

    def test_a_line_and_the_end_at_once_is_a_line(self) -> None:
        """Half close is no break."""
        self.peer.send(b"line\n")
        self.peer.close()
        self.look()
        self.spin(lambda: self.results)
        self.assertEqual(self.results, [None])


globals().update(on_every_reactor(_LookTests))


class WithoutSocketTests(SynchronousTestCase):
    """A stream inside something else."""

    def test_what_is_not_taken_is_put_back(self) -> None:
        """The next reader gets it first."""
        clock = Clock()
        ours, theirs = memory_stream_pair(clock)
        line, results = Line(), []
        Deferred.fromCoroutine(look(ours, TimerWheel(clock), 5, line)).addBoth(results.append)
        theirs.write(b"li")
        pump(clock)
        theirs.write(b"ne\nrest")
        pump(clock)
        self.assertEqual((results, line.line), ([None], b"line\n"))
        protocol = Recorder()
        ours.start(protocol)
        pump(clock)
        self.assertEqual(protocol.data, b"rest")
