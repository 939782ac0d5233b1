# SPDX-License-Identifier: Apache-2.0
"""Sinks into real sockets, pipes and files, and the lines of the stdout driver."""

from __future__ import annotations

import array
import errno
import os
import socket
import time
from pathlib import Path

from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from g3.logs import drivers
from g3.logs.drivers import PIPE_LIMIT, RECONNECT_DELAY, DatagramSink, JournalEncoder, JournalSink, LineEncoder, StdoutSink, line_time


def server_at(path: str) -> socket.socket:
    server = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    server.bind(path)
    server.setblocking(False)
    return server


class DatagramTest(SynchronousTestCase):
    """Unix and UDP sockets."""

    def setUp(self) -> None:
        self.clock = Clock()
        self.clock.advance(1000)
        self.path = self.mktemp()

    def sink(self, target: object, **options: str) -> DatagramSink:
        made = DatagramSink(self.clock, target, **options)  # type: ignore[arg-type]
        self.addCleanup(made.close)
        return made

    def test_unix(self) -> None:
        """One datagram a record."""
        server = server_at(self.path)
        self.addCleanup(server.close)
        sink = self.sink(self.path)
        sink.send(b"one")
        sink.send(b"two")
        self.assertEqual([server.recv(100), server.recv(100)], [b"one", b"two"])

    def test_udp_from_a_chosen_address(self) -> None:
        """bind_ip is the source."""
        server = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.addCleanup(server.close)
        server.bind(("127.0.0.1", 0))
        server.settimeout(5)
        self.sink(server.getsockname(), bind_ip="127.0.0.9").send(b"one")
        data, peer = server.recvfrom(100)
        self.assertEqual((data, peer[0]), (b"one", "127.0.0.9"))

    def test_a_full_peer_is_blocking_and_no_failure(self) -> None:
        """The caller waits and tries again."""
        server = server_at(self.path)
        self.addCleanup(server.close)
        sink = self.sink(self.path)
        with self.assertRaises(BlockingIOError):
            for _ in range(100000):
                sink.send(b"x" * 1000)
        while True:
            try:
                server.recv(2000)
            except BlockingIOError:
                break
        sink.send(b"again")
        self.assertEqual(server.recv(100), b"again")

    def test_a_peer_that_is_not_there_is_tried_again_after_a_while(self) -> None:
        """Not at each record: making sockets costs."""
        sink = self.sink(self.path)
        self.assertRaises(OSError, sink.send, b"lost")
        server = server_at(self.path)
        self.addCleanup(server.close)
        self.assertRaises(OSError, sink.send, b"lost too")
        self.clock.advance(RECONNECT_DELAY + 0.1)
        sink.send(b"found")
        self.assertEqual(server.recv(100), b"found")

    def test_a_daemon_that_restarts_is_found_again(self) -> None:
        """Its old socket is gone, its new one has the same path."""
        server = server_at(self.path)
        sink = self.sink(self.path)
        sink.send(b"before")
        server.close()
        Path(self.path).unlink()
        self.assertRaises(OSError, sink.send, b"lost")
        server = server_at(self.path)
        self.addCleanup(server.close)
        self.clock.advance(RECONNECT_DELAY + 0.1)
        sink.send(b"after")
        self.assertEqual(server.recv(100), b"after")

    def test_a_record_too_big_is_told_and_the_socket_stays(self) -> None:
        """EMSGSIZE, then the next record goes."""
        server = server_at(self.path)
        self.addCleanup(server.close)
        sink = self.sink(self.path)
        error = self.assertRaises(OSError, sink.send, b"x" * 10_000_000)
        self.assertEqual(error.errno, errno.EMSGSIZE)
        sink.send(b"small")
        self.assertEqual(server.recv(100), b"small")


class JournalTest(SynchronousTestCase):
    """journald's socket, as its own protocol text has it."""

    def setUp(self) -> None:
        self.path = self.mktemp()
        self.server = server_at(self.path)
        self.addCleanup(self.server.close)
        self.sink = JournalSink(Clock(), self.path)
        self.addCleanup(self.sink.close)

    def test_a_small_record_is_a_datagram(self) -> None:
        """Priority 5, identifier, constants, fields, message last."""
        encoder = JournalEncoder("g3proxy")
        self.sink.send(encoder.encode(encoder.constants([("log_type", "Task")]), "done\nbad", [("a", 1), ("no", None)], 0.0))
        self.assertEqual(
            self.server.recv(1000),
            b"PRIORITY=5\nSYSLOG_IDENTIFIER=g3proxy\nLOG_TYPE=Task\nA=1\nMESSAGE\n\x08\0\0\0\0\0\0\0done\nbad\n",
        )

    def test_a_big_record_is_a_sealed_memfd(self) -> None:
        """An empty datagram with one descriptor; the file cannot be changed any more."""
        record = b"MESSAGE=" + b"x" * 900_000 + b"\n"
        self.sink.send(record)
        data, control, _, _ = self.server.recvmsg(1000, socket.CMSG_SPACE(64))
        descriptors = array.array("i")
        descriptors.frombytes(control[0][2][: descriptors.itemsize])
        self.addCleanup(os.close, descriptors[0])
        self.assertEqual(data, b"")
        self.assertEqual(os.pread(descriptors[0], 1_000_000, 0), record)
        self.assertRaises(OSError, os.pwrite, descriptors[0], b"y", 0)
        self.assertRaises(OSError, os.ftruncate, descriptors[0], 0)


class StdoutTest(SynchronousTestCase):
    """Pipes, files and sockets as standard output."""

    def sink(self, descriptor: int) -> StdoutSink:
        made = StdoutSink(descriptor)
        self.addCleanup(made.close)
        return made

    def test_a_full_pipe_is_blocking_and_the_shared_flags_stay(self) -> None:
        """The shell's pipe is not made non-blocking under it."""
        reader, writer = os.pipe()
        self.addCleanup(os.close, reader)
        self.addCleanup(os.close, writer)
        sink = self.sink(writer)
        with self.assertRaises(BlockingIOError):
            for _ in range(100000):
                sink.send(b"x" * 999 + b"\n")
        self.assertTrue(os.get_blocking(writer))
        lines = os.read(reader, 1_000_000).split(b"\n")
        self.assertEqual(set(lines), {b"x" * 999, b""})

    def test_where_a_pipe_cannot_be_opened_anew_it_is_asked_first(self) -> None:
        """Still nothing blocks."""
        reader, writer = os.pipe()
        self.addCleanup(os.close, reader)
        self.addCleanup(os.close, writer)
        self.patch(drivers, "reopened", lambda _: -1)
        sink = self.sink(writer)
        with self.assertRaises(BlockingIOError):
            for _ in range(100000):
                sink.send(b"x" * 999 + b"\n")

    def test_lines_to_a_pipe_are_what_a_pipe_takes_whole(self) -> None:
        """Lines of several processes do not mix; a file takes more."""
        reader, writer = os.pipe()
        self.addCleanup(os.close, reader)
        self.addCleanup(os.close, writer)
        sink = self.sink(writer)
        self.assertEqual(sink.limit, PIPE_LIMIT)
        sink.send(b"x" * 100000 + b"\n")
        sink.send(b"next\n")
        self.assertEqual(os.read(reader, 200000), b"x" * (PIPE_LIMIT - 1) + b"\nnext\n")
        with Path(self.mktemp()).open("wb") as file:
            self.assertGreater(self.sink(file.fileno()).limit, 65000)

    def test_a_file_gets_lines_where_others_write_too(self) -> None:
        """Through the same open file, so that nobody overwrites the other."""
        path = Path(self.mktemp())
        with path.open("wb", buffering=0) as file:
            sink = self.sink(file.fileno())
            sink.send(b"one\n")
            file.write(b"two\n")
            sink.send(b"three\n")
        self.assertEqual(path.read_bytes(), b"one\ntwo\nthree\n")

    def test_a_socket_as_stdout(self) -> None:
        """As systemd gives it; a full one is blocking."""
        left, right = socket.socketpair()
        self.addCleanup(left.close)
        self.addCleanup(right.close)
        sink = self.sink(left.fileno())
        sink.send(b"one\n")
        self.assertEqual(right.recv(100), b"one\n")
        with self.assertRaises(BlockingIOError):
            for _ in range(100000):
                sink.send(b"x" * 999 + b"\n")

    def test_no_stdout_at_all_is_an_error_of_each_record(self) -> None:
        """A daemon without a standard output starts."""
        reader, writer = os.pipe()
        os.close(reader)
        os.close(writer)
        self.assertEqual(self.assertRaises(OSError, self.sink(writer).send, b"x\n").errno, errno.EBADF)

    def test_a_closed_pipe_is_an_error_and_no_signal(self) -> None:
        """EPIPE."""
        reader, writer = os.pipe()
        self.addCleanup(os.close, writer)
        sink = self.sink(writer)
        os.close(reader)
        self.assertEqual(self.assertRaises(OSError, sink.send, b"x\n").errno, errno.EPIPE)


class LineTest(SynchronousTestCase):
    """The stdout form."""

    def test_keys_are_sorted_and_values_escaped(self) -> None:
        """Time, level, fields, message."""
        encoder = LineEncoder()
        now = time.mktime((2021, 12, 1, 10, 20, 30, 0, 0, -1)) + 0.123
        line = encoder.encode(encoder.constants([("pid", 7), ("no", None)]), "it\nis", [("b", True), ("a", "x\ny"), ("none", None)], now)
        self.assertEqual(line, b"Dec 01 10:20:30.123 INFO a: x\\ny, b: true, pid: 7, it\\nis\n")

    def test_no_message_is_a_pair_of_brackets(self) -> None:
        """As upstream prints it."""
        encoder = LineEncoder()
        self.assertTrue(encoder.encode(encoder.constants([]), "", [], 0.0).endswith(b"INFO ()\n"))

    def test_fields_of_one_name_and_two_types_do_not_fail(self) -> None:
        """Sorting looks at names only."""
        encoder = LineEncoder()
        self.assertIn(b"a: 1, a: x,", encoder.encode(encoder.constants([("a", 1)]), "", [("a", "x")], 0.0))

    def test_milliseconds_have_three_digits(self) -> None:
        """Also small ones."""
        self.assertTrue(line_time(1638354030.004).endswith(":30.004"))
