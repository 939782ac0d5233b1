# SPDX-License-Identifier: Apache-2.0
"""Streams: what they promise holds on every reactor."""

from __future__ import annotations

import errno
import select
import socket
from typing import Any
from unittest import mock

from twisted.internet.error import ConnectionAborted, ConnectionDone, ConnectionLost
from twisted.internet.interfaces import IConsumer, IPushProducer, ITCPTransport
from twisted.internet.task import Clock
from zope.interface.verify import verifyObject

from g3.interfaces import IStream
from g3.net import transport
from g3.net.transport import HIGH_MARK, LOW_MARK, READ_AHEAD, Stream, plain_address
from tests.unit.net.reactors import HalfCloseable, ReactorTestCase, Recorder, on_every_reactor, receive_all, reset, segments_in

MEBIBYTE = b"0123456789abcdef" * 65536


class _Producer:
    def __init__(self) -> None:
        self.calls: list[str] = []

    def pauseProducing(self) -> None:
        self.calls.append("pause")

    def resumeProducing(self) -> None:
        self.calls.append("resume")

    def stopProducing(self) -> None:
        self.calls.append("stop")


class _StreamTests(ReactorTestCase):
    """Run on each reactor by its subclasses."""

    def started(self, protocol: Any = None, **options: Any) -> tuple[Stream, socket.socket, Any]:
        stream, sock = self.pair(**options)
        protocol = protocol if protocol is not None else Recorder()
        stream.start(protocol)
        return stream, sock, protocol

    def fill(self, stream: Stream) -> int:
        """Write until something is queued; bytes written."""
        total = 0
        while not stream.queued:
            stream.write(MEBIBYTE)
            total += len(MEBIBYTE)
        return total

    # -- reading

    def test_nobody_reads_until_start(self) -> None:
        """Before start no descriptor is registered and no byte is taken."""
        stream, sock = self.pair()
        sock.send(b"early")
        self.settle()
        self.assertEqual(stream.bytes_in, 0)
        protocol = Recorder()
        stream.start(protocol)
        self.spin(lambda: protocol.data == b"early")
        self.assertEqual((stream.bytes_in, protocol.events), (5, ["made"]))

    def test_unread_bytes_come_first_and_are_counted_once(self) -> None:
        """What was put back reaches the next protocol before what arrives."""
        stream, sock, first = self.started()
        sock.send(b"hello")
        self.spin(lambda: first.data)
        stream.unread(b"lo")
        stream.unread(b"l")
        second = Recorder()
        sock.send(b" world")
        stream.start(second)
        self.assertEqual(second.data, b"llo")
        self.spin(lambda: second.data == b"llo world")
        self.assertEqual((stream.bytes_in, first.events), (11, ["made"]))

    def paused(self) -> Any:
        """A stream whose protocol has paused it and put b"bc" back; its other end; the protocol."""
        stream, sock, protocol = self.started()
        sock.send(b"abc")
        self.spin(lambda: protocol.data)
        stream.pauseProducing()
        stream.unread(b"bc")
        protocol.data = b""
        return stream, sock, protocol

    def test_unread_bytes_wait_for_resume(self) -> None:
        """A protocol that paused gets what it put back when it resumes, not inside resumeProducing."""
        stream, _, protocol = self.paused()
        stream.resumeProducing()
        self.assertEqual(protocol.data, b"")
        self.spin(lambda: protocol.data == b"bc")

    def test_unread_bytes_come_before_what_arrives_with_the_resumption(self) -> None:
        """Another event of the same turn resumes a stream that has something to read."""
        stream, sock, protocol = self.paused()
        sock.send(b"def")
        stream.resumeProducing()
        self.spin(lambda: len(protocol.data) == 5)
        self.assertEqual((protocol.data, stream.bytes_in), (b"bcdef", 6))

    def test_a_paused_stream_takes_nothing(self) -> None:
        """While paused not one byte is read, and the reactor sleeps."""
        stream, sock, protocol = self.started()
        stream.pauseProducing()
        sock.send(b"x" * 1000)
        self.settle(10)
        self.assertEqual((stream.bytes_in, protocol.data), (0, b""))
        stream.resumeProducing()
        self.spin(lambda: len(protocol.data) == 1000)

    def test_a_protocol_may_pause_and_resume_in_one_callback(self) -> None:
        """Pause and resume inside dataReceived leave the stream reading."""

        class Blinking(Recorder):
            def dataReceived(self, data: bytes) -> None:
                super().dataReceived(data)
                self.transport.pauseProducing()
                self.transport.resumeProducing()

        stream, sock, protocol = self.started(Blinking())
        for byte in (b"a", b"b", b"c"):
            sock.send(byte)
            self.spin(lambda byte=byte: protocol.data.endswith(byte))
        self.assertEqual(stream.bytes_in, 3)

    def test_the_end_of_input_without_half_close_closes(self) -> None:
        """A protocol that knows no half close hears ConnectionDone, after everything it wrote was flushed."""

        class Answering(Recorder):
            def dataReceived(self, data: bytes) -> None:
                super().dataReceived(data)
                self.transport.write(MEBIBYTE * 8)

        _, sock, protocol = self.started(Answering())
        sock.send(b"ask")
        self.spin(lambda: protocol.data)
        sock.shutdown(socket.SHUT_WR)
        self.settle()
        got = [0]

        def done() -> bool:
            got[0] += len(receive_all(sock))
            return bool(protocol.reason)

        self.spin(done)
        got[0] += len(receive_all(sock))
        self.assertEqual(got[0], len(MEBIBYTE) * 8)
        self.assertIsInstance(protocol.reason.value, ConnectionDone)

    def test_half_close_of_the_peer_leaves_our_direction_open(self) -> None:
        """IHalfCloseableProtocol hears the end of input and may go on writing."""
        stream, sock, protocol = self.started(HalfCloseable())
        sock.send(b"last")
        sock.shutdown(socket.SHUT_WR)
        self.spin(lambda: "read closed" in protocol.events)
        self.assertTrue(stream.eof)
        stream.write(b"answer")
        self.spin(lambda: select.select([sock], [], [], 0)[0])
        self.assertEqual(sock.recv(100), b"answer")
        self.assertEqual((protocol.data, protocol.events), (b"last", ["made", "read closed"]))

    def test_the_end_of_input_is_told_to_the_next_protocol_too(self) -> None:
        """A protocol started after the end hears of it."""
        stream, sock, _ = self.started(first := HalfCloseable())
        sock.shutdown(socket.SHUT_WR)
        self.spin(lambda: "read closed" in first.events)
        second = HalfCloseable()
        stream.start(second)
        self.spin(lambda: "read closed" in second.events)

    def test_a_reset_is_connection_lost_after_what_came_before(self) -> None:
        """Bytes before the reset are delivered; the reason is ConnectionLost and the error ECONNRESET."""
        stream, sock, protocol = self.started()
        sock.send(b"tail")
        reset(sock)
        self.spin(lambda: protocol.reason)
        self.assertIn(protocol.data, (b"tail", b""))  # a reset may overtake on the wire, not with us
        self.assertIsInstance(protocol.reason.value, ConnectionLost)
        self.assertEqual((stream.error, stream.write_failed, protocol.events), (errno.ECONNRESET, False, ["made", "lost"]))

    def test_a_failing_protocol_loses_its_connection_only(self) -> None:
        """An exception in dataReceived is logged and ends that stream."""

        class Failing(Recorder):
            def dataReceived(self, data: bytes) -> None:
                raise ZeroDivisionError

        _, sock, protocol = self.started(Failing())
        _, other_sock, other = self.started()
        sock.send(b"x")
        self.spin(lambda: protocol.reason)
        other_sock.send(b"y")
        self.spin(lambda: other.data)
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)

    # -- writing

    def test_write_sends_at_once(self) -> None:
        """No turn of the reactor lies between write and send."""
        stream, sock, _ = self.started()
        stream.write(b"now")
        self.assertEqual(sock.recv(10), b"now")
        stream.writeSequence([b"a", b"", b"b"])
        self.assertEqual(sock.recv(10), b"ab")
        self.assertEqual((stream.bytes_out, stream.queued), (5, 0))

    def test_what_the_kernel_does_not_take_is_queued_in_order(self) -> None:
        """Pieces of all sizes arrive whole and in order, queued counts down to 0."""
        stream, sock, _ = self.started()
        expected = bytearray(MEBIBYTE * (self.fill(stream) // len(MEBIBYTE)))
        for n in range(3000):
            piece = bytes([n % 251]) * (n % 97 if n % 100 else 30000)
            stream.write(piece)
            expected += piece
        self.assertGreater(stream.queued, 0)
        got = bytearray()

        def done() -> bool:
            got.extend(receive_all(sock))
            return len(got) >= len(expected)

        self.spin(done)
        self.assertEqual(bytes(got), bytes(expected))
        self.assertEqual((stream.queued, stream.bytes_out), (0, len(expected)))

    def test_a_queued_buffer_of_the_caller_is_copied(self) -> None:
        """A bytearray that its owner changes later is sent as it was."""
        stream, sock, _ = self.started()
        total = self.fill(stream)
        data = bytearray(b"A" * 50000)
        stream.write(data)  # type: ignore[arg-type]
        data[:] = b"B" * 50000
        got = bytearray()
        self.spin(lambda: got.extend(receive_all(sock)) or len(got) == total + 50000)
        self.assertEqual(bytes(got[-50000:]), b"A" * 50000)

    def test_text_cannot_be_written(self) -> None:
        """A str raises TypeError, queued or not."""
        stream, _, _ = self.started()
        self.assertRaises(TypeError, stream.write, "text")
        self.fill(stream)
        self.assertRaises(TypeError, stream.write, "text")

    def test_write_never_calls_the_protocol(self) -> None:
        """A broken connection is reported after the caller's turn."""
        stream, sock, protocol = self.started(tcp=False)
        sock.close()
        stream.write(b"x")
        self.assertEqual(protocol.events, ["made"])
        self.spin(lambda: protocol.reason)
        self.assertIsInstance(protocol.reason.value, ConnectionLost)
        self.assertTrue(stream.write_failed)

    def test_what_was_sent_before_a_failed_write_is_still_read(self) -> None:
        """A peer that answers early and closes: the answer arrives although our write failed."""
        stream, sock, protocol = self.started(tcp=False)
        sock.send(b"413 too large")
        sock.close()
        stream.write(b"body")
        self.assertTrue(stream.write_failed)
        self.spin(lambda: protocol.reason)
        self.assertEqual(protocol.data, b"413 too large")

    def test_a_stream_that_cannot_be_written_to_is_closed_when_asked(self) -> None:
        """Also by a protocol that is still reading what its peer sent before."""

        class Enough(Recorder):
            def dataReceived(self, data: bytes) -> None:
                super().dataReceived(data)
                if len(self.data) >= 50:
                    self.transport.loseConnection()

        stream, sock, protocol = self.started(Enough(), tcp=False, read_size=10)
        sock.send(b"x" * 1000)
        sock.close()
        stream.write(b"body")
        self.assertTrue(stream.write_failed)
        self.spin(lambda: protocol.reason)
        self.assertEqual((len(protocol.data), stream.connected, self.reactor.getDelayedCalls()), (50, False, []))

    def test_who_got_a_lost_stream_is_told_of_the_end_when_it_closes(self) -> None:
        """Also while it has paused before the bytes that were put back."""
        for close in ("abortConnection", "loseConnection"):
            stream, sock, first = self.started(tcp=False)
            sock.send(b"early")
            self.spin(lambda first=first: first.data)
            stream.unread(first.data)
            stream.pauseProducing()
            sock.close()
            stream.write(b"x")
            self.spin(lambda first=first: first.reason)
            second = Recorder()
            second.makeConnection = lambda transport: transport.pauseProducing()  # type: ignore[method-assign]
            stream.start(second)
            self.settle()
            self.assertEqual(second.events, [])
            getattr(stream, close)()
            self.spin(lambda second=second: second.reason)
            self.assertEqual((second.events, second.data), (["lost"], b""))

    def test_a_failed_write_ends_a_paused_stream(self) -> None:
        """Nobody reads, so the broken write alone is the end, and the producer is stopped."""
        stream, sock, protocol = self.started(tcp=False)
        producer = _Producer()
        stream.registerProducer(producer, True)
        stream.pauseProducing()
        sock.close()
        stream.write(b"x")
        self.spin(lambda: protocol.reason)
        self.assertEqual(producer.calls, ["stop"])

    def test_a_reset_while_only_writing_is_noticed(self) -> None:
        """A paused stream with bytes queued hears of a reset."""
        stream, sock, protocol = self.started()
        stream.pauseProducing()
        self.fill(stream)
        self.settle()
        reset(sock)
        self.spin(lambda: protocol.reason)
        self.assertTrue(stream.write_failed)
        self.assertNotEqual(stream.error, 0)

    # -- producers

    def test_a_streaming_producer_is_paused_and_resumed_at_the_marks(self) -> None:
        """Above the high mark it is paused, at the low mark resumed, once each."""
        stream, sock, _ = self.started()
        producer = _Producer()
        stream.registerProducer(producer, True)
        while stream.queued <= HIGH_MARK:
            stream.write(MEBIBYTE[:50000])
        stream.write(b"more")
        self.assertEqual(producer.calls, ["pause"])
        seen = []

        def done() -> bool:
            receive_all(sock)
            if producer.calls == ["pause"]:
                seen.append(stream.queued)
            return producer.calls != ["pause"]

        self.spin(done)
        self.assertEqual(producer.calls, ["pause", "resume"])
        self.assertLessEqual(stream.queued, LOW_MARK)

    def test_a_pull_producer_is_asked_whenever_nothing_is_queued(self) -> None:
        """resumeProducing on registration and after each flush."""
        stream, sock, _ = self.started()
        producer = _Producer()
        stream.registerProducer(producer, False)
        self.assertEqual(producer.calls, ["resume"])
        self.fill(stream)
        self.spin(lambda: receive_all(sock) is None or len(producer.calls) == 2)
        self.assertRaises(RuntimeError, stream.registerProducer, producer, False)

    def test_closing_waits_for_the_producer(self) -> None:
        """loseConnection with a producer registered closes when it unregisters."""
        stream, sock, protocol = self.started()
        producer = _Producer()
        stream.registerProducer(producer, True)
        stream.loseConnection()
        stream.write(b"still")
        self.settle()
        self.assertIsNone(protocol.reason)
        stream.unregisterProducer()
        self.spin(lambda: protocol.reason)
        self.assertEqual(receive_all(sock), b"still")

    def test_registering_on_a_dead_stream_stops_the_producer(self) -> None:
        """A producer that comes too late is told so."""
        stream, _, protocol = self.started()
        stream.abortConnection()
        self.spin(lambda: protocol.reason)
        producer = _Producer()
        stream.registerProducer(producer, True)
        self.assertEqual(producer.calls, ["stop"])

    # -- the end

    def test_closing_flushes_first_and_tells_later(self) -> None:
        """loseConnection calls nobody itself; everything queued arrives; then ConnectionDone."""
        stream, sock, protocol = self.started()
        total = self.fill(stream)
        stream.loseConnection()
        self.assertEqual(protocol.events, ["made"])
        got = [0]

        def done() -> bool:
            got[0] += len(receive_all(sock))
            return got[0] >= total and protocol.reason is not None

        self.spin(done)
        self.assertEqual(got[0], total)
        self.assertIsInstance(protocol.reason.value, ConnectionDone)
        self.assertEqual((stream.fileno(), stream.connected), (-1, False))

    def test_closing_with_nothing_queued_tells_once_and_later(self) -> None:
        """connectionLost comes after the caller's turn, once."""
        stream, sock, protocol = self.started()
        stream.loseConnection()
        stream.loseConnection()
        self.assertEqual(protocol.events, ["made"])
        self.spin(lambda: protocol.reason)
        self.settle()
        self.assertEqual(protocol.events, ["made", "lost"])
        self.assertEqual(sock.recv(1), b"")
        stream.write(b"too late")

    def test_half_close_comes_after_the_queue(self) -> None:
        """loseWriteConnection flushes, then the peer sees the end; we still read; the protocol hears of it."""
        stream, sock, protocol = self.started(HalfCloseable())
        total = self.fill(stream)
        stream.loseWriteConnection()
        stream.write(b"too late")
        got = [0]

        def done() -> bool:
            got[0] += len(receive_all(sock))
            return "write closed" in protocol.events

        self.spin(done)
        sock.settimeout(10)  # what the kernel still has to deliver, and the end after it, may take their time
        while part := sock.recv(1 << 20):
            got[0] += len(part)
        self.assertEqual(got[0], total)
        sock.send(b"reply")
        self.spin(lambda: protocol.data == b"reply")
        stream.loseConnection()
        self.spin(lambda: protocol.reason)

    def test_the_last_bytes_and_the_end_are_one_packet(self) -> None:
        """write_last: one segment brings both; after the write it is a half close as any other."""
        stream, sock, protocol = self.started(HalfCloseable())
        stream.write(b"first")
        before = segments_in(sock)
        stream.write_last(b"last")
        stream.write(b"too late")
        self.assertEqual(segments_in(sock) - before, 1)
        sock.settimeout(10)
        self.assertEqual([sock.recv(99), sock.recv(99)], [b"firstlast", b""])
        self.assertEqual((stream.bytes_out, stream.write_closed), (9, True))
        sock.send(b"reply")
        self.spin(lambda: protocol.data == b"reply" and "write closed" in protocol.events)

    def test_the_last_bytes_wait_behind_the_queue(self) -> None:
        """write_last to a slow reader, and one larger than the kernel takes: all of it, then the end; closing meanwhile cuts nothing."""
        for close in (False, True):
            for fill in (False, True):
                stream, sock, _ = self.started(HalfCloseable())
                total = self.fill(stream) if fill else 0
                stream.write_last(MEBIBYTE * 16)
                self.assertGreater(stream.queued, 0)
                if close:
                    stream.loseConnection()
                parts = [b"-"]

                def done(sock: socket.socket = sock, parts: list[bytes] = parts) -> bool:
                    try:
                        parts.append(sock.recv(1 << 20))
                    except BlockingIOError:
                        pass
                    return not parts[-1]

                self.spin(done)
                self.assertEqual(sum(map(len, parts)) - 1, total + 16 * len(MEBIBYTE))

    def test_the_last_bytes_come_before_the_reset_that_unread_input_makes(self) -> None:
        """A client that goes on sending has its answer in its socket before it hears that nobody reads."""
        stream, sock, _ = self.started()
        stream.pauseProducing()
        sock.send(b"nobody reads this")
        stream.write_last(b"answer")
        stream.loseConnection()
        sock.settimeout(10)
        self.assertEqual(sock.recv(99), b"answer")

    def test_the_last_bytes_on_a_broken_connection(self) -> None:
        """As a write that fails: not inside the call, and told once."""
        stream, sock, protocol = self.started()
        reset(sock)
        stream.write_last(b"last")
        self.assertEqual(protocol.events, ["made"])
        self.spin(lambda: protocol.reason)
        self.assertTrue(stream.write_failed)

    def test_who_asks_for_it_hears_of_the_end_with_the_last_bytes(self) -> None:
        """takes_end: one call on our reactor where the end is there with the bytes; two on others, and wherever more is to be read first."""

        class Taker(HalfCloseable):
            takes_end = True

            def lastReceived(self, data: bytes) -> None:
                self.data += data
                self.events.append("last")

        ours = hasattr(self.reactor, "forget")
        for size, sent in ((65536, b"all"), (2, b"more than one read")):
            stream, sock, protocol = self.started(Taker(), read_size=size)
            sock.send(sent)
            sock.shutdown(socket.SHUT_WR)
            self.spin(lambda protocol=protocol: len(protocol.events) > 1)  # type: ignore[misc]
            self.settle()
            self.assertEqual((protocol.data, protocol.events), (sent, ["made", "last" if ours else "read closed"]))
            self.assertTrue(stream.eof)
            stream.write(b"answer")
            self.assertEqual(receive_all(sock), b"answer")

    def test_a_reset_behind_the_end(self) -> None:
        """What was sent before is read, and the reset is not lost with the look behind it."""

        class Taker(Recorder):
            takes_end = True

        stream, sock, protocol = self.started(Taker())
        sock.send(b"data")
        sock.shutdown(socket.SHUT_WR)
        with mock.patch.object(stream, "socket", _ResetBehind(stream.socket)):
            self.spin(lambda: protocol.events[1:] or protocol.data)
            self.settle()
        if hasattr(self.reactor, "forget"):
            self.assertEqual((protocol.data, protocol.events, stream.error), (b"data", ["made", "lost"], errno.ECONNRESET))

    def test_abort_resets_and_drops_what_is_queued(self) -> None:
        """The peer gets ECONNRESET; the protocol ConnectionAborted, later."""
        stream, sock, protocol = self.started()
        self.fill(stream)
        stream.abortConnection()
        self.assertEqual((protocol.events, stream.queued), (["made"], 0))
        self.spin(lambda: protocol.reason)
        self.assertIsInstance(protocol.reason.value, ConnectionAborted)
        self.assertRaises(ConnectionResetError, receive_all, sock)

    def test_a_closing_stream_that_cannot_flush_is_reset(self) -> None:
        """After FLUSH_TIMEOUT without progress."""
        self.patch(transport, "FLUSH_TIMEOUT", 0.05)
        stream, _, protocol = self.started()
        self.fill(stream)
        stream.loseConnection()
        self.spin(lambda: protocol.reason)
        self.assertIsInstance(protocol.reason.value, ConnectionAborted)

    def test_starting_on_a_lost_stream_says_so(self) -> None:
        """The protocol hears connectionLost after makeConnection."""
        stream, _, first = self.started()
        stream.abortConnection()
        self.spin(lambda: first.reason)
        second = Recorder()
        stream.start(second)
        self.assertEqual(second.events, ["made"])
        self.spin(lambda: second.reason)

    # -- giving away

    def test_detach_gives_the_same_socket(self) -> None:
        """It is not shut down nor closed, the reactor knows it no more, and nobody is told."""
        stream, sock, protocol = self.started()
        ours = stream.socket
        self.assertIs(stream.detach(), ours)
        sock.send(b"x")
        self.settle()
        self.assertEqual((protocol.events, protocol.data), (["made"], b""))
        assert ours is not None
        self.assertEqual(ours.recv(10), b"x")
        self.assertNotIn(stream, self.reactor.getReaders())

    def test_detach_refuses_to_lose_bytes(self) -> None:
        """With bytes queued or unread it raises RuntimeError."""
        stream, _, _ = self.started()
        stream.unread(b"x")
        self.assertRaises(RuntimeError, stream.detach)
        stream, _, _ = self.started()
        self.fill(stream)
        self.assertRaises(RuntimeError, stream.detach)

    def test_start_moves_the_stream_silently(self) -> None:
        """The former protocol hears nothing more."""
        stream, sock, first = self.started()
        second = Recorder()
        stream.start(second)
        sock.send(b"for you")
        sock.close()
        self.spin(lambda: second.reason)
        self.assertEqual((first.events, first.data, second.data), (["made"], b"", b"for you"))

    # -- hang-up

    def test_a_watched_paused_stream_hears_the_end_of_its_peer(self) -> None:
        """FIN calls back with False, once; what was sent is kept for later, then the end is told."""
        stream, sock, protocol = self.started(HalfCloseable())
        sock.send(b"request")
        self.spin(lambda: protocol.data)
        stream.pauseProducing()
        heard: list[bool] = []
        stream.watch_hangup(heard.append)
        sock.send(b"more")
        self.settle(10)
        self.assertEqual(heard, [])
        sock.shutdown(socket.SHUT_WR)
        self.spin(lambda: heard)
        self.settle(20)
        self.assertEqual((heard, protocol.data), ([False], b"request"))
        stream.resumeProducing()
        self.spin(lambda: "read closed" in protocol.events)
        self.assertEqual(protocol.data, b"requestmore")

    def test_a_watched_paused_stream_hears_a_reset(self) -> None:
        """A reset calls back with True, then the protocol hears connectionLost."""
        stream, sock, protocol = self.started()
        stream.pauseProducing()
        heard: list[bool] = []
        stream.watch_hangup(heard.append)
        self.settle()
        reset(sock)
        self.spin(lambda: protocol.reason)
        self.assertEqual(heard, [True])
        self.assertEqual(stream.error, errno.ECONNRESET)

    def test_resuming_ends_the_watch(self) -> None:
        """After resume the end is told the ordinary way."""
        stream, sock, protocol = self.started(HalfCloseable())
        stream.pauseProducing()
        self.settle()
        heard: list[bool] = []
        stream.watch_hangup(heard.append)
        stream.resumeProducing()
        sock.send(b"x")
        sock.shutdown(socket.SHUT_WR)
        self.spin(lambda: "read closed" in protocol.events)
        self.assertEqual((heard, protocol.data), ([], b"x"))

    def test_what_is_read_ahead_is_bounded(self) -> None:
        """A client that sends much while its upstream is connected fills kernel buffers, not ours."""
        stream, sock, protocol = self.started()
        stream.pauseProducing()
        stream.watch_hangup(lambda _: None)
        sent = 0
        for _ in range(40):
            try:
                sent += sock.send(MEBIBYTE)
            except BlockingIOError:
                pass
            self.turn()
        self.assertLessEqual(stream.ahead, READ_AHEAD)
        stream.resumeProducing()
        self.spin(lambda: len(protocol.data) >= min(sent, 500000))

    # -- limits

    def test_reading_obeys_its_limits(self) -> None:
        """No more than allowed is taken, and reading goes on after the delay."""
        limiter = _Limiter(1000)
        stream, sock, protocol = self.started()
        stream.set_read_limit((limiter,))
        sock.send(b"x" * 5000)
        self.spin(lambda: len(protocol.data) == 1000)
        self.settle()
        self.assertEqual(len(protocol.data), 1000)
        limiter.left = 4000
        self.spin(lambda: len(protocol.data) == 5000)

    def test_writing_obeys_its_limits(self) -> None:
        """No more than allowed is sent, and the rest follows after the delay."""
        limiter = _Limiter(1000)
        stream, sock, _ = self.started()
        stream.set_write_limit((limiter,))
        stream.write(b"x" * 5000)
        self.settle()
        self.assertEqual((len(receive_all(sock)), stream.queued), (1000, 4000))
        limiter.left = 9000
        got = [0]

        def done() -> bool:
            got[0] += len(receive_all(sock))
            return got[0] == 4000

        self.spin(done)
        stream.set_write_limit(())
        stream.write(b"free")
        self.assertEqual(receive_all(sock), b"free")


class _ResetBehind:
    """A socket whose peer's reset comes after its data was read and before anything else is."""

    def __init__(self, sock: Any) -> None:
        self._sock = sock

    def recv(self, size: int, flags: int = 0) -> bytes:
        if flags:
            raise ConnectionResetError(errno.ECONNRESET, "reset")
        data: bytes = self._sock.recv(size)
        return data

    def __getattr__(self, name: str) -> Any:
        return getattr(self._sock, name)


class _Limiter:
    """Lets C{left} bytes pass."""

    def __init__(self, left: int) -> None:
        self.left = left

    def allowance(self, now: float) -> int:
        return self.left

    def spend(self, n: int) -> None:
        self.left -= n

    def delay(self, now: float) -> float:
        return 0.002


globals().update(on_every_reactor(_StreamTests))
del _StreamTests


class AddressTests(ReactorTestCase):
    """What a stream says about its ends."""

    def test_it_provides_what_it_says(self) -> None:
        """IStream, ITCPTransport, IPushProducer and IConsumer are complete."""
        stream, _ = self.pair()
        for interface in (IStream, ITCPTransport, IPushProducer, IConsumer):
            verifyObject(interface, stream)

    def test_addresses_are_asked_when_needed_and_kept(self) -> None:
        """They survive the end of the connection once known; else they are empty."""
        stream, sock = self.pair()
        self.assertEqual(stream.peer, sock.getsockname())
        self.assertEqual(stream.getHost().port, sock.getpeername()[1])
        stream.abortConnection()
        self.assertEqual(stream.peer, sock.getsockname())
        other, _ = self.pair()
        other.abortConnection()
        self.assertEqual(other.peer, ("", 0))

    def test_mapped_addresses_are_written_as_ipv4(self) -> None:
        """::ffff:1.2.3.4 is 1.2.3.4; a real IPv6 address stays; other families have none."""
        self.assertEqual(plain_address(("::ffff:1.2.3.4", 5, 0, 0)), ("1.2.3.4", 5))
        self.assertEqual(plain_address(("::ffff:0", 5, 0, 0)), ("::ffff:0", 5))
        self.assertEqual(plain_address("/run/x"), ("", 0))

    def test_socket_options_of_another_family_do_no_harm(self) -> None:
        """TCP_NODELAY on a Unix socket is ignored."""
        stream, _ = self.pair(tcp=False)
        stream.setTcpNoDelay(True)
        tcp, _ = self.pair()
        tcp.setTcpNoDelay(True)
        tcp.setTcpKeepAlive(True)
        self.assertTrue(tcp.getTcpNoDelay() and tcp.getTcpKeepAlive())

    def test_a_fake_clock_is_enough(self) -> None:
        """Only addReader, addWriter and callLater are asked of a reactor."""
        clock: Any = Clock()
        for name in ("addReader", "addWriter", "removeReader", "removeWriter"):
            setattr(clock, name, mock.Mock())
        ours, _ = socket.socketpair()
        self.addCleanup(ours.close)
        stream = Stream(clock, ours)
        protocol = Recorder()
        stream.start(protocol)
        stream.loseConnection()
        clock.advance(0)
        self.assertEqual(protocol.events, ["made", "lost"])
