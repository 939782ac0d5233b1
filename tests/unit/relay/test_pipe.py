# SPDX-License-Identifier: Apache-2.0
"""Pipes: every byte arrives, in order, once, whichever way it is moved; a slow reader stops a fast writer."""

from __future__ import annotations

import hashlib
import os
import random
import socket
from typing import TYPE_CHECKING, Any

from g3.relay.pipe import End, Pipe
from g3.relay.splice import LARGE, PipePool
from tests.unit.net.reactors import HalfCloseable, ReactorTestCase, Recorder, on_every_reactor, receive_all, reset

if TYPE_CHECKING:
    from g3.net.transport import Stream

BLOCK = os.urandom(1 << 20)


class _PipeTests(ReactorTestCase):
    """Run on each reactor by its subclasses."""

    def setUp(self) -> None:
        super().setUp()
        self.pool = PipePool(4)
        self.addCleanup(self.pool.close)
        self.ends: list[tuple[Pipe, End]] = []

    def make(self, *, tcp: bool = True, start: bool = True, **options: Any) -> tuple[Pipe, socket.socket, socket.socket]:
        """A pipe, the socket to feed and the socket that gets."""
        source, feeder = self.pair(tcp=tcp)
        sink, getter = self.pair(tcp=tcp)
        sink.start(HalfCloseable())
        pipe = Pipe(source, sink, finished=lambda pipe, end: self.ends.append((pipe, end)), pool=self.pool, **options)
        if start:
            pipe.start()
        return pipe, feeder, getter

    def shovel(self, feeder: socket.socket, getter: socket.socket, total: int, *, seed: int = 1, slow: bool = False) -> tuple[str, str]:
        """Feed C{total} bytes in random pieces and get them in random pieces; both hashes."""
        random_ = random.Random(seed)
        sent, got = hashlib.sha256(), hashlib.sha256()
        fed = taken = 0
        deadline = self.reactor.seconds() + 30
        while taken < total:
            self.assertLess(self.reactor.seconds(), deadline)
            if fed < total:
                start = random_.randrange(len(BLOCK) // 2)
                piece = BLOCK[start : start + min(random_.choice((1, 100, 1448, 65536, 300000)), total - fed)]
                try:
                    n = feeder.send(piece)
                except BlockingIOError:
                    n = 0
                fed += n
                sent.update(piece[:n])
            self.turn()
            if not slow or random_.random() < 0.3:
                try:
                    data = getter.recv(random_.choice((1, 5000, 1 << 20)))
                except BlockingIOError:
                    data = b""
                taken += len(data)
                got.update(data)
        return sent.hexdigest(), got.hexdigest()

    def test_bytes_arrive_whole_by_copying_and_by_splicing(self) -> None:
        """Random pieces, fast and slow readers, TCP and Unix sockets: the hashes agree and the counters say so."""
        for tcp in (True, False):
            for splice_after in (None, 0, 50000):
                for slow in (False, True):
                    pipe, feeder, getter = self.make(tcp=tcp, splice_after=splice_after)
                    sent, got = self.shovel(feeder, getter, 3_000_000, slow=slow)
                    self.assertEqual(sent, got)
                    counters = (pipe.moved, pipe.source.bytes_in, pipe.sink.bytes_out, pipe.sink.queued)
                    self.assertEqual(counters, (3_000_000, 3_000_000, 3_000_000, 0))
                    self.assertEqual(self.ends, [])

    def test_a_turn_ends_after_so_many_bytes(self) -> None:
        """C{turn} bounds what one event moves, however much more there is (tcp_copy_yield_size)."""
        moved = []
        for options in ({"turn": 100_000}, {}):
            pipe, feeder, _ = self.make(splice_after=0, **options)
            for stream in (pipe.source, pipe.sink):
                stream.socket.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 1 << 20)
            feeder.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 1 << 20)
            while True:
                try:
                    feeder.send(BLOCK)
                except BlockingIOError:
                    break
            pipe.readable()
            moved.append(pipe.moved)
        self.assertTrue(0 < moved[0] <= 100_000 < moved[1], moved)

    def test_no_kernel_pipe_is_kept_when_nothing_is_in_flight(self) -> None:
        """After bulk went through, all pipes are free again."""
        _, feeder, getter = self.make(splice_after=0)
        self.shovel(feeder, getter, 2_000_000)
        self.settle()
        self.assertGreaterEqual(self.pool.used, 1)
        self.assertEqual(self.pool.used, len(self.pool._free))

    def test_the_end_of_the_source_comes_after_its_last_byte_is_with_the_kernel(self) -> None:
        """End.EOF with a slow reader: nothing queued, nothing in a pipe, the sink still open."""
        for splice_after in (None, 0):
            self.ends.clear()
            self.check_end(*self.make(splice_after=splice_after))

    def check_end(self, pipe: Pipe, feeder: socket.socket, getter: socket.socket) -> None:
        feed, got = Feed(feeder, BLOCK * 8), bytearray()
        self.spin(lambda: (got.extend(receive_all(getter)), feed())[1])
        feeder.shutdown(socket.SHUT_WR)
        self.spin(lambda: self.ends or got.extend(receive_all(getter)))
        self.assertEqual((self.ends, pipe.sink.queued), ([(pipe, End.EOF)], 0))
        got.extend(receive_all(getter))
        pipe.sink.write(b"trailer")
        got.extend(receive_all(getter))
        self.assertEqual(hashlib.sha256(got).digest(), hashlib.sha256(BLOCK * 8 + b"trailer").digest())

    def test_a_limit_reads_nothing_past_it(self) -> None:
        """Both streams come back: the source with its former protocol, paused, the surplus unread or put back; the sink free to write to."""
        for splice_after in (None, 0, 1000):
            for limit in (1, 999, 5000, 400_000):
                self.ends.clear()
                self.check_limit(*self.make(splice_after=splice_after, limit=limit, start=False), limit)

    def check_limit(self, pipe: Pipe, feeder: socket.socket, getter: socket.socket, limit: int) -> None:
        former = Recorder()
        pipe.source.start(former)
        pipe.start()
        feed, got = Feed(feeder, BLOCK[:limit] + b"next message"), bytearray()
        self.spin(lambda: (got.extend(receive_all(getter)), feed() and self.ends)[1])
        self.settle()
        self.assertEqual((self.ends, pipe.moved, former.data), ([(pipe, End.LIMIT)], limit, b""))
        self.assertIs(pipe.source.protocol, former)
        pipe.sink.write(b"trailer")
        pipe.source.resumeProducing()
        self.spin(lambda: former.data == b"next message")
        self.spin(lambda: got.extend(receive_all(getter)) or len(got) == limit + 7)
        self.assertEqual(bytes(got), BLOCK[:limit] + b"trailer")
        self.assertEqual(former.events, ["made"])

    def test_a_limit_of_0_ends_at_once(self) -> None:
        """Nothing is read."""
        pipe, feeder, _ = self.make(limit=0, start=False)
        feeder.send(b"x")
        pipe.start()
        self.settle()
        self.assertEqual((self.ends, pipe.source.bytes_in), ([(pipe, End.LIMIT)], 0))

    def test_a_limit_met_by_what_was_put_back(self) -> None:
        """The head's reader had read the body too: start moves it at once and leaves the surplus."""
        pipe, _, getter = self.make(limit=4, start=False)
        pipe.source.unread(b"bodyGET")
        pipe.start()
        self.assertEqual((self.ends, pipe.source.ahead, receive_all(getter)), ([(pipe, End.LIMIT)], 3, b"body"))

    def test_a_source_that_ends_short_says_so(self) -> None:
        """End.EOF with moved below the limit."""
        pipe, feeder, _ = self.make(limit=10)
        feeder.send(b"short")
        feeder.close()
        self.spin(lambda: self.ends)
        self.assertEqual((self.ends, pipe.moved), ([(pipe, End.EOF)], 5))

    def test_a_broken_source_delivers_what_it_gave(self) -> None:
        """End.SOURCE_LOST; bytes read before reach the sink, from a kernel pipe too."""
        for splice_after in (None, 0):
            self.ends.clear()
            pipe, feeder, getter = self.make(splice_after=splice_after)
            total = self.block(pipe, feeder)
            pipe.source.abortConnection()
            self.spin(lambda: self.ends)
            self.assertEqual(self.ends, [(pipe, End.SOURCE_LOST)])
            self.assertIsNotNone(pipe.reason)
            moved = pipe.moved
            self.assertGreater(total, 0)
            got = bytearray()
            self.spin(lambda got=got, getter=getter, moved=moved: got.extend(receive_all(getter)) or len(got) >= moved)
            self.assertEqual(len(got), moved)

    def block(self, pipe: Pipe, feeder: socket.socket) -> int:
        """Feed until the sink is full and the source stands still; bytes fed."""
        total = idle = 0
        while idle < 20:  # in a row: kernel buffers grow while they are used
            try:
                total += feeder.send(BLOCK)
                idle = 0
            except BlockingIOError:
                idle += 1
            self.turn()
        return total

    def test_an_end_that_comes_while_bytes_are_queued_waits_for_them(self) -> None:
        """A source that tells its end although it is paused: EOF when all is flushed, even if the source breaks meanwhile."""
        pipe, feeder, getter = self.make(splice_after=None)
        self.block(pipe, feeder)
        self.assertGreater(pipe.sink.queued, 0)
        pipe.readConnectionLost()
        pipe.source.abortConnection()
        self.settle()
        self.assertEqual(self.ends, [])
        moved, got = pipe.moved, bytearray()
        self.spin(lambda: self.ends or got.extend(receive_all(getter)))
        self.assertEqual((self.ends, pipe.sink.bytes_out), ([(pipe, End.EOF)], moved))

    def test_a_broken_sink_is_told(self) -> None:
        """End.SINK_LOST, in both modes, blocked or not; the source is paused and whole."""
        for splice_after in (None, 0):
            for blocked in (False, True):
                self.ends.clear()
                pipe, feeder, getter = self.make(splice_after=splice_after)
                if blocked:
                    self.block(pipe, feeder)
                reset(getter)

                def poke(feeder: socket.socket = feeder) -> bool:
                    try:
                        feeder.send(b"x" * 100)
                    except BlockingIOError:
                        pass
                    return bool(self.ends)

                self.spin(poke)
                self.assertEqual(self.ends, [(pipe, End.SINK_LOST)])
                self.assertTrue(pipe.source.connected)

    def test_a_sink_that_is_gone_already(self) -> None:
        """start says so."""
        pipe, _, _ = self.make(start=False)
        pipe.sink.abortConnection()
        self.settle()
        pipe.start()
        self.assertEqual(self.ends, [(pipe, End.SINK_LOST)])

    def test_a_sink_closed_in_the_same_batch_as_the_source_is_readable(self) -> None:
        """Aborting the sink while bytes wait at the source raises nothing and ends with SINK_LOST."""
        for splice_after in (None, 0):
            self.ends.clear()
            pipe, feeder, _ = self.make(splice_after=splice_after)
            feeder.send(BLOCK[:200000])
            self.settle()
            feeder.send(BLOCK[:100000])
            pipe.sink.abortConnection()
            pipe.source.doRead()
            self.spin(lambda: self.ends)
            self.assertEqual(self.ends, [(pipe, End.SINK_LOST)])

    def test_stop_hands_back_every_byte_moved(self) -> None:
        """In the middle of a blocked transfer: what was taken from the source is with the sink, finished is not called."""
        for splice_after in (None, 0):
            pipe, feeder, getter = self.make(splice_after=splice_after)
            self.block(pipe, feeder)
            pipe.stop()
            moved, got = pipe.moved, bytearray()
            self.spin(lambda got=got, getter=getter, moved=moved: got.extend(receive_all(getter)) or len(got) >= moved)
            self.settle()
            got.extend(receive_all(getter))
            self.assertEqual((len(got), self.ends), (moved, []))
            self.assertEqual(pipe.source.bytes_in, moved)
        self.assertEqual(self.pool.used, len(self.pool._free))

    def test_a_slow_reader_bounds_what_is_held(self) -> None:
        """256 MiB offered, nobody reads: what we hold is one read, or one kernel pipe, and the loop sleeps."""
        for splice_after, most in ((None, 65536), (0, LARGE)):
            pipe, feeder, _ = self.make(splice_after=splice_after)
            offered = peak = 0
            deadline = self.reactor.seconds() + 20
            # The kernel's buffers take the first of it, in their own time.
            while offered < 256 << 20 or not peak:
                self.assertLess(self.reactor.seconds(), deadline)
                try:
                    feeder.send(BLOCK)
                except BlockingIOError:
                    pass
                offered += len(BLOCK)
                self.turn()
                peak = max(peak, pipe.sink.queued, pipe.moved - pipe.sink.bytes_out)
            self.assertLessEqual(peak, most)

    def test_a_trickle_is_copied_however_long_it_lasts(self) -> None:
        """Small pieces past the threshold take no kernel pipe; a bulky piece does."""
        _, feeder, getter = self.make(splice_after=1000)
        for _ in range(50):
            feeder.send(b"x" * 500)
            self.turn(0.01)
            receive_all(getter)
        self.assertEqual(self.pool.used, 0)
        self.shovel(feeder, getter, 1_000_000)
        self.assertGreater(self.pool.used, 0)

    def test_a_trickle_after_bulk_is_copied_again(self) -> None:
        """A spliced direction that turns to small pieces goes back to copying, and arrives whole."""
        pipe, feeder, getter = self.make(splice_after=0)
        self.shovel(feeder, getter, 1_000_000)
        for n in range(30):
            feeder.send(b"%d" % n)
            self.spin(lambda n=n: receive_all(getter) == b"%d" % n)
        self.assertIsNone(pipe.source._borrowed_read)

    def test_many_tiny_segments_fill_slots_before_bytes(self) -> None:
        """Thousands of one-byte segments through splice with a blocked sink neither stop nor spin."""
        _, feeder, getter = self.make(tcp=False, splice_after=0)
        sent = 0
        for n in range(3000):
            try:
                sent += feeder.send(bytes([n % 256]))
            except BlockingIOError:
                pass
            if n % 7 == 0:
                self.turn()
        got = bytearray()
        self.spin(lambda: got.extend(receive_all(getter)) or len(got) == sent)

    def test_without_kernel_pipes_it_copies(self) -> None:
        """A pool that has none left is no error."""
        self.pool.limit = 0
        _, feeder, getter = self.make(splice_after=0)
        sent, got = self.shovel(feeder, getter, 1_000_000, slow=True)
        self.assertEqual((sent == got, self.pool.used), (True, 0))

    def test_limits_hold_in_both_modes(self) -> None:
        """A read limit and a write limit pass no more than they allow, and everything in the end."""
        for splice_after in (None, 0):
            for side in ("read", "write"):
                pipe, feeder, getter = self.make(splice_after=splice_after)
                limiter = _Budget(10_000)
                stream: Stream = pipe.source if side == "read" else pipe.sink
                (stream.set_read_limit if side == "read" else stream.set_write_limit)((limiter,))
                feeder.send(BLOCK[:100_000])
                self.settle(20)
                got = bytearray(receive_all(getter))
                self.assertEqual(len(got), 10_000)
                limiter.left = 90_000
                self.spin(lambda got=got, getter=getter: got.extend(receive_all(getter)) or len(got) == 100_000)
                self.assertEqual(bytes(got), BLOCK[:100_000])


class Feed:
    """Sends C{data} as the socket takes it; true once all of it went."""

    def __init__(self, sock: socket.socket, data: bytes) -> None:
        self.sock, self.left = sock, memoryview(data)

    def __call__(self) -> bool:
        try:
            if self.left:
                self.left = self.left[self.sock.send(self.left) :]
        except BlockingIOError:
            pass
        return not self.left


class _Budget:
    def __init__(self, left: int) -> None:
        self.left = left

    def allowance(self, now: float) -> int:
        return self.left

    def spend(self, n: int) -> None:
        self.left -= n

    def delay(self, now: float) -> float:
        return 0.002


globals().update(on_every_reactor(_PipeTests, ("G3", "EPoll", "Select")))
del _PipeTests


class PipePoolTests(ReactorTestCase):
    def test_it_is_bounded_and_reuses(self) -> None:
        """No more than its limit; what comes back is handed out again; closing closes."""
        pool = PipePool(3, keep=2, large=1)
        pipes = [pool.borrow() for _ in range(4)]
        self.assertEqual((pipes[3], pool.used), (None, 3))
        for pipe in pipes[:3]:
            assert pipe is not None
            pool.give_back(pipe)
        self.assertEqual(pool.used, 2)  # one was too many to keep
        self.assertEqual(pool.borrow(), pipes[0])
        assert pipes[0] is not None
        pool.discard(pipes[0])
        pool.close()
        self.assertEqual(pool.used, 0)

    def test_out_of_descriptors_is_no_error(self) -> None:
        """borrow gives None."""

        def fail(_: int) -> tuple[int, int]:
            raise OSError(24, "too many open files")

        self.patch(os, "pipe2", fail)
        self.assertIsNone(PipePool().borrow())
