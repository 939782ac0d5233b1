# SPDX-License-Identifier: Apache-2.0
"""Relays: half close goes through, breaks are passed on, and the one reason is right."""

from __future__ import annotations

import errno
import gc
import hashlib
import os
import random
import socket
import weakref
from typing import Any

from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from g3.errors import CanceledAsServerQuit, TaskError
from g3.net.timers import TimerWheel
from g3.relay.idle import IdleWatch
from g3.relay.join import Relay, join
from g3.testing.streams import memory_stream_pair, pump
from tests.unit.net.reactors import HalfCloseable, ReactorTestCase, Recorder, on_every_reactor, receive_all, reset, segments_in

BLOCK = os.urandom(1 << 20)


class _JoinTests(ReactorTestCase):
    """Run on each reactor by its subclasses."""

    def setUp(self) -> None:
        super().setUp()
        self.ends: list[TaskError] = []
        self.half: list[str] = []

    def join(self, *, tcp: bool = True, **options: Any) -> tuple[Relay, socket.socket, socket.socket]:
        """A relay, the client's socket and the upstream's."""
        left, client = self.pair(tcp=tcp)
        right, upstream = self.pair(tcp=tcp)
        relay = join(left, right, finished=self.ends.append, on_half_close=self.half.append, **options)
        return relay, client, upstream

    def reason(self) -> str:
        self.assertEqual(len(self.ends), 1)
        return self.ends[0].reason

    def gets(self, sock: socket.socket, expected: bytes) -> None:
        got = bytearray()
        self.spin(lambda: got.extend(receive_all(sock)) or len(got) >= len(expected))
        self.assertEqual(bytes(got), expected)

    def ended(self, sock: socket.socket) -> str:
        """How the socket finds out that it is over: "closed", "reset"; "open" when it does not."""
        try:
            return "open" if sock.recv(1) else "closed"
        except BlockingIOError:
            return "open"
        except ConnectionResetError:
            return "reset"

    def test_bytes_go_both_ways(self) -> None:
        """And are counted on the streams."""
        relay, client, upstream = self.join()
        client.send(b"question")
        self.gets(upstream, b"question")
        upstream.send(b"answer!")
        self.gets(client, b"answer!")
        self.assertEqual((relay.left.bytes_in, relay.left.bytes_out, relay.right.bytes_in, relay.right.bytes_out), (8, 7, 7, 8))
        self.assertIsNone(relay.error)

    def test_an_end_goes_on_with_the_bytes_before_it(self) -> None:
        """One packet in, one packet out, on our reactor; on each the end is told once and the other direction goes on."""
        _, client, upstream = self.join()
        self.settle()
        before = segments_in(client)
        upstream.setsockopt(socket.IPPROTO_TCP, socket.TCP_CORK, 1)
        upstream.send(b"answer")
        upstream.shutdown(socket.SHUT_WR)
        self.spin(lambda: self.half)
        if hasattr(self.reactor, "forget"):
            self.assertEqual(segments_in(client) - before, 1)
        client.settimeout(10)
        self.assertEqual([client.recv(99), client.recv(99)], [b"answer", b""])
        self.assertEqual((self.half, self.ends), (["right"], []))
        client.send(b"thanks")
        self.gets(upstream, b"thanks")
        client.close()
        self.spin(lambda: self.ends)
        self.assertEqual(self.reason(), "ClosedByUpstream")

    def test_the_client_may_end_first_and_still_get_its_answer(self) -> None:
        """Half close is full duplex; the reason names who ended first."""
        relay, client, upstream = self.join()
        client.send(b"all I have")
        client.shutdown(socket.SHUT_WR)
        self.gets(upstream, b"all I have")
        self.spin(lambda: self.ended(upstream) == "closed")
        self.assertEqual((self.half, self.ends), (["left"], []))
        upstream.send(BLOCK[:100_000])
        upstream.close()
        self.gets(client, BLOCK[:100_000])
        self.spin(lambda: self.ends)
        self.assertEqual((self.reason(), self.ended(client)), ("ClosedByClient", "closed"))
        self.assertFalse(relay.left.connected or relay.right.connected)

    def test_the_upstream_may_end_first(self) -> None:
        """And the client may still send."""
        _, client, upstream = self.join()
        upstream.shutdown(socket.SHUT_WR)
        self.spin(lambda: self.ended(client) == "closed")
        client.send(b"more")
        self.gets(upstream, b"more")
        client.close()
        self.spin(lambda: self.ends)
        self.assertEqual((self.reason(), self.half), ("ClosedByUpstream", ["right"]))

    def test_a_reset_of_the_client_is_passed_on(self) -> None:
        """ClientTcpReadFailed, with the system's words; the upstream is reset too."""
        _, client, upstream = self.join()
        client.send(b"x")
        self.gets(upstream, b"x")
        reset(client)
        self.spin(lambda: self.ends)
        self.assertEqual(self.reason(), "ClientTcpReadFailed")
        self.assertIn("reset", str(self.ends[0]))
        self.spin(lambda: self.ended(upstream) != "open")

    def test_a_reset_of_the_upstream_is_passed_on(self) -> None:
        """UpstreamReadFailed; what came before reaches the client."""
        _, client, upstream = self.join()
        upstream.send(b"partial")
        self.gets(client, b"partial")
        reset(upstream)
        self.spin(lambda: self.ends)
        self.assertEqual(self.reason(), "UpstreamReadFailed")
        self.spin(lambda: self.ended(client) != "open")

    def test_a_reset_loses_nothing_that_was_read(self) -> None:
        """A client that reads slowly gets every byte the relay took before the upstream broke."""
        for splice_after in (None, 0):
            self.ends.clear()
            relay, client, upstream = self.join(splice_after=splice_after)
            idle = 0
            while idle < 20:
                try:
                    upstream.send(BLOCK)
                except BlockingIOError:
                    idle += 1
                self.turn()
            relay.right.fail_read(ConnectionResetError(104, "reset"))
            self.spin(lambda: self.ends)
            moved, got = relay.down.moved, [0]
            self.spin(lambda client=client, got=got, moved=moved: got.__setitem__(0, got[0] + len(receive_all(client))) or got[0] >= moved)
            self.assertEqual((got[0], self.reason()), (moved, "UpstreamReadFailed"))

    def test_writing_to_a_client_that_is_gone(self) -> None:
        """ClientTcpWriteFailed when the write finds out."""
        relay, client, upstream = self.join(tcp=False)
        relay.left.pauseProducing()
        client.close()
        upstream.send(b"answer")
        self.spin(lambda: self.ends)
        self.assertEqual(self.reason(), "ClientTcpWriteFailed")

    def test_writing_to_an_upstream_that_answered_early(self) -> None:
        """UpstreamWriteFailed, and the client has the early answer."""
        relay, client, upstream = self.join(tcp=False)
        relay.right.stop_reading()
        upstream.send(b"413")
        upstream.close()
        relay.right.resumeProducing()
        relay.right.write(b"body")
        self.gets(client, b"413")
        self.spin(lambda: self.ends)
        self.assertEqual(self.reason(), "UpstreamWriteFailed")
        self.spin(lambda: self.ended(client) == "closed")

    def test_an_early_answer_reaches_a_client_that_is_still_sending(self) -> None:
        """All of it: to close a socket that has unread bytes would throw away what the client has not got yet."""
        relay, client, upstream = self.join()
        relay.left.socket.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 1 << 20)
        upstream.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 1 << 20)
        sent = upstream.send(BLOCK[:400_000])
        upstream.shutdown(socket.SHUT_WR)
        self.spin(lambda: self.half == ["right"])
        client.send(BLOCK)
        relay.right.fail_write(BrokenPipeError(errno.EPIPE, "broken pipe"))
        self.spin(lambda: self.ends)
        self.gets(client, BLOCK[:sent])

    def test_who_goes_before_it_has_taken_an_early_answer_is_not_waited_for(self) -> None:
        """Its socket is closed at once, not after a minute."""
        relay, client, upstream = self.join()
        client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        relay.left.socket.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 1 << 20)
        sent = upstream.send(BLOCK[:200_000])
        self.spin(lambda: relay.down.moved == sent)
        self.assertEqual(relay.left.queued, 0)
        relay.right.fail_write(BrokenPipeError(errno.EPIPE, "broken pipe"))
        upstream.close()
        relay.right.end_input()
        self.assertEqual(self.reason(), "UpstreamWriteFailed")
        self.settle()
        self.assertTrue(relay.left.connected)
        reset(client)
        self.spin(lambda: not relay.left.connected, 3)

    def test_a_reset_found_by_writing_is_passed_on_as_one(self) -> None:
        """What the other side has got until then may lack its end."""
        for mine, other in (("left", "right"), ("right", "left")):
            self.ends.clear()
            relay, client, upstream = self.join()
            sides = {"left": client, "right": upstream}
            getattr(relay, mine).stop_reading()
            reset(sides[mine])
            sides[other].send(b"x")
            self.spin(lambda: self.ends)
            self.assertIn("WriteFailed", self.reason())
            self.spin(lambda sides=sides, other=other: self.ended(sides[other]) == "reset")

    def test_an_untidy_end_after_an_orderly_one(self) -> None:
        """The upstream ended and the client had everything: a reset of the client then is still ClosedByUpstream."""
        _, client, upstream = self.join()
        upstream.send(b"all")
        upstream.shutdown(socket.SHUT_WR)
        self.gets(client, b"all")
        self.spin(lambda: self.half)
        reset(client)
        self.spin(lambda: self.ends)
        self.assertEqual(self.reason(), "ClosedByUpstream")

    def test_stopping_closes_both_with_the_given_reason(self) -> None:
        """Once; nothing is told afterwards."""
        relay, client, upstream = self.join()
        relay.stop(CanceledAsServerQuit())
        relay.stop(CanceledAsServerQuit())
        self.settle()
        self.assertEqual((self.reason(), self.ended(client), self.ended(upstream)), ("CanceledAsServerQuit", "closed", "closed"))

    def test_bytes_read_ahead_are_relayed_first(self) -> None:
        """What was put back on either stream goes before what arrives."""
        left, client = self.pair()
        right, upstream = self.pair()
        left.unread(b"hello ")
        right.unread(b"220 ")
        client.send(b"world")
        upstream.send(b"ready")
        join(left, right, finished=self.ends.append)
        self.gets(upstream, b"hello world")
        self.gets(client, b"220 ready")

    def test_former_protocols_hear_nothing(self) -> None:
        """The streams belong to the relay."""
        left, client = self.pair()
        right, _ = self.pair()
        former = Recorder()
        left.start(former)
        join(left, right, finished=self.ends.append)
        reset(client)
        self.spin(lambda: self.ends)
        self.settle()
        self.assertEqual(former.events, ["made"])

    def test_joining_what_is_gone_already(self) -> None:
        """Ends at once with the reason."""
        left, _ = self.pair()
        right, _ = self.pair()
        right.abortConnection()
        self.settle()
        join(left, right, finished=self.ends.append)
        self.spin(lambda: self.ends)
        self.assertTrue(self.reason().startswith("Upstream"))

    def test_a_finished_relay_is_freed_without_the_collector(self) -> None:
        """No circle of references keeps streams and pipes."""
        gc.collect()
        gc.disable()
        self.addCleanup(gc.enable)
        left, client = self.pair()
        right, upstream = self.pair()
        self._cleanups.clear()  # they would keep the streams
        self.addCleanup(gc.enable)
        self.addCleanup(self._end_reactor)
        ends: list[TaskError] = []
        relay = join(left, right, finished=ends.append)
        watched = [weakref.ref(left), weakref.ref(right)]
        del left, right, relay
        client.close()
        upstream.close()
        self.spin(lambda: ends)
        self.settle()
        self.assertEqual([ref() for ref in watched], [None, None])

    def test_random_traffic_both_ways_arrives_whole(self) -> None:
        """Random pieces, pauses and half closes, copied and spliced, limited and not: hashes agree and the reason names who ended first."""
        for seed in range(12):
            self.ends.clear()
            self.check_random_traffic(random.Random(seed))

    def check_random_traffic(self, random_: random.Random) -> None:
        relay, client, upstream = self.join(tcp=random_.random() < 0.7, splice_after=random_.choice((None, 0, 30000)))
        sides = [_Side(client, random_), _Side(upstream, random_)]
        for _ in range(200_000):
            if self.ends:
                break
            for side in sides:
                side.step()
            if random_.random() < 0.5:
                self.turn()
        self.settle()
        for side in sides:
            side.read_to_the_end()
        self.assertEqual([side.got.hexdigest() for side in sides], [side.sent.hexdigest() for side in reversed(sides)])
        self.assertIn(self.reason(), ("ClosedByClient", "ClosedByUpstream"))
        self.assertEqual((relay.left.bytes_in, relay.right.bytes_in), tuple(side.total for side in sides))


class _Side:
    """One end that sends what it has in random pieces, ends its direction, and reads now and then."""

    def __init__(self, sock: socket.socket, random_: random.Random) -> None:
        self.sock, self.random = sock, random_
        self.total = random_.choice((0, 1, 70_000, 1_500_000))
        self.left = self.total
        self.sent, self.got = hashlib.sha256(), hashlib.sha256()
        self.open = True

    def step(self) -> None:
        if self.left and self.random.random() < 0.7:
            start = self.random.randrange(len(BLOCK) // 2)
            piece = BLOCK[start : start + min(self.left, self.random.choice((1, 1448, 20000, 200_000)))]
            try:
                n = self.sock.send(piece)
            except BlockingIOError:
                n = 0
            self.sent.update(piece[:n])
            self.left -= n
        elif not self.left and self.open and self.random.random() < 0.1:
            self.open = False
            self.sock.shutdown(socket.SHUT_WR)
        if self.random.random() < 0.4:
            self.read()

    def read(self) -> None:
        try:
            self.got.update(self.sock.recv(self.random.choice((100, 50_000, 1 << 20))))
        except BlockingIOError:
            pass

    def read_to_the_end(self) -> None:
        """What is on its way may take a moment."""
        self.sock.settimeout(10)
        while piece := self.sock.recv(1 << 20):
            self.got.update(piece)


globals().update(on_every_reactor(_JoinTests, ("G3", "EPoll", "Poll")))
del _JoinTests


class IdleTests(SynchronousTestCase):
    """Idle relays end, on a fake clock."""

    def setUp(self) -> None:
        self.clock = Clock()
        self.watch = IdleWatch(TimerWheel(self.clock, 0.5), 60)
        self.ends: list[str] = []

    def join(self, idle_max: int) -> tuple[Relay, Any, Any]:
        client, left = memory_stream_pair(self.clock)
        right, upstream = memory_stream_pair(self.clock)
        for end in (client, upstream):
            end.start(HalfCloseable())  # type: ignore[arg-type]
        relay = join(left, right, finished=lambda error: self.ends.append(error.reason), idle=self.watch, idle_max=idle_max)
        pump(self.clock)
        return relay, client, upstream

    def test_no_checks_at_all_means_the_first(self) -> None:
        """Not never."""
        self.join(0)
        self.minutes(3)
        self.assertEqual(self.ends, ["Idle"])

    def minutes(self, n: int) -> None:
        for _ in range(n * 60):
            self.clock.advance(1)

    def test_after_so_many_checks_without_a_byte_it_ends_with_idle(self) -> None:
        """Not one check earlier."""
        self.join(3)
        self.minutes(3)
        self.assertEqual(self.ends, [])
        self.minutes(1)
        self.clock.advance(1)
        self.assertEqual((self.ends, len(self.watch)), (["Idle"], 0))

    def test_a_byte_in_either_direction_starts_the_count_again(self) -> None:
        """From the left and from the right."""
        relay, client, upstream = self.join(2)
        for _ in range(5):
            self.minutes(1)
            client.write(b"x")
            self.minutes(1)
            upstream.write(b"y")
        self.assertEqual((self.ends, relay.idle_ticks), ([], 0))
        self.minutes(4)
        self.assertEqual(self.ends, ["Idle"])

    def test_a_finished_relay_is_watched_no_more(self) -> None:
        """And no timer stays when nothing is watched."""
        relay, _, _ = self.join(2)
        relay.stop(CanceledAsServerQuit())
        self.assertEqual(len(self.watch), 0)
        self.minutes(5)
        self.assertEqual((self.ends, self.clock.getDelayedCalls()), (["CanceledAsServerQuit"], []))

    def test_one_that_fails_to_end_stops_no_other(self) -> None:
        """It is logged."""

        class Broken:
            idle_seen, idle_ticks, idle_max, activity = -1, 0, 1, 0

            def went_idle(self) -> None:
                raise ZeroDivisionError

        self.watch.add(Broken())
        self.join(1)
        self.minutes(4)
        self.assertEqual(self.ends, ["Idle"])
        self.assertGreaterEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)

    def test_streams_that_are_no_sockets_are_joined_too(self) -> None:
        """In memory: bytes, half close and the reason."""
        _, client, upstream = self.join(9)
        client.write(b"ping" * 50_000)
        client.loseWriteConnection()
        pump(self.clock)
        upstream.write(b"pong")
        upstream.loseConnection()
        pump(self.clock)
        self.assertEqual((client.protocol.data, upstream.protocol.data), (b"pong", b"ping" * 50_000))
        self.assertEqual(self.ends, ["ClosedByClient"])
