# SPDX-License-Identifier: Apache-2.0
"""The reactor: events reach their descriptors, stale ones reach nobody."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import tempfile
import threading
import time
from typing import TYPE_CHECKING, Any

from twisted.internet.protocol import Factory

from g3.net.reactor import G3Reactor
from g3.net.transport import Stream
from tests.unit.net.reactors import ReactorTestCase, Recorder, reset

if TYPE_CHECKING:
    from collections.abc import Callable


class _Descriptor:
    """Does what the test says when it is ready."""

    def __init__(self, case: ReactorTestCase, sock: socket.socket, on_read: Any = None, on_write: Any = None) -> None:
        self.sock, self.on_read, self.on_write = sock, on_read, on_write
        self.lost: list[Any] = []
        self.hangups: list[bool] = []
        case.addCleanup(sock.close)

    def fileno(self) -> int:
        return self.sock.fileno()

    def doRead(self) -> Any:
        return self.on_read()

    def doWrite(self) -> Any:
        return self.on_write()

    def hangup(self, gone: bool) -> None:
        self.hangups.append(gone)

    def connectionLost(self, reason: Any) -> None:
        self.lost.append(reason)

    def logPrefix(self) -> str:
        return "test"


class G3ReactorTests(ReactorTestCase):
    def descriptor(self, on_read: Any = None, on_write: Any = None) -> tuple[_Descriptor, socket.socket]:
        ours, theirs = socket.socketpair()
        ours.setblocking(False)
        self.addCleanup(theirs.close)
        made = _Descriptor(self, ours, on_read, on_write)
        self.addCleanup(lambda: (self.reactor.removeReader(made), self.reactor.removeWriter(made), self.reactor.removeHangup(made)))
        return made, theirs

    def test_an_event_of_a_descriptor_closed_in_the_same_batch_is_dropped(self) -> None:
        """A number that was closed and reused while a batch is worked off gets no event of its former owner."""
        fresh_reads: list[int] = []
        pairs: list[tuple[_Descriptor, socket.socket]] = []

        def replace(me: int) -> None:
            pairs[me][0].sock.recv(10)
            victim = pairs[1 - me][0]
            number = victim.fileno()
            self.reactor.removeReader(victim)
            victim.sock.close()
            new, far = socket.socketpair()
            self.addCleanup(far.close)
            self.assertIn(number, (new.fileno(), far.fileno()))
            if far.fileno() == number:
                new, far = far, new
            fresh = _Descriptor(self, new, lambda: fresh_reads.append(1))
            self.addCleanup(self.reactor.removeReader, fresh)
            self.reactor.addReader(fresh)

        for me in (0, 1):
            pairs.append(self.descriptor(lambda me=me: replace(me)))
        for ours, theirs in pairs:
            self.reactor.addReader(ours)
            theirs.send(b"x")
        self.turn()
        self.assertEqual(fresh_reads, [])

    def test_a_read_that_ends_the_descriptor_is_not_followed_by_a_write(self) -> None:
        """doWrite is not called for an event whose doRead took the descriptor off."""
        wrote: list[int] = []

        def read() -> None:
            self.reactor.removeReader(one)
            self.reactor.removeWriter(one)

        one, theirs = self.descriptor(read, lambda: wrote.append(1))
        self.reactor.addReader(one)
        self.reactor.addWriter(one)
        theirs.send(b"x")
        self.turn()
        self.assertEqual(wrote, [])

    def test_what_an_event_returns_or_raises_ends_its_descriptor_only(self) -> None:
        """As on the stock reactor: a returned reason or an exception reaches connectionLost."""

        def fail() -> None:
            raise ZeroDivisionError

        one, one_far = self.descriptor(lambda: ValueError("returned"))
        two, two_far = self.descriptor(fail)
        for descriptor, far in ((one, one_far), (two, two_far)):
            self.reactor.addReader(descriptor)
            far.send(b"x")
        self.turn()
        self.assertIsInstance(one.lost[0].value, ValueError)
        self.assertIsInstance(two.lost[0].value, ZeroDivisionError)
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)

    def test_a_descriptor_that_went_away_is_taken_off(self) -> None:
        """One whose fileno has become -1 hears connectionLost in place of an event, as on the stock reactor; the loop does not spin."""
        one, theirs = self.descriptor(lambda: self.fail("read"))
        self.reactor.addReader(one)
        one.fileno = lambda: -1  # type: ignore[method-assign]
        theirs.send(b"x")
        self.turn()
        self.assertEqual((len(one.lost), one in self.reactor.getReaders()), (1, False))

    def test_soon_runs_after_the_batch_and_does_not_wait(self) -> None:
        """Calls made during events run at the end of the batch; calls made outside run in the next turn at once; a failure stops no other."""
        calls: list[str] = []
        one, theirs = self.descriptor(lambda: (one.sock.recv(9), self.reactor.soon(calls.append, "later"), calls.append("event")))
        self.reactor.addReader(one)
        theirs.send(b"x")
        with_none = one.on_read
        one.on_read = lambda: with_none() and None
        self.turn()
        self.assertEqual(calls, ["event", "later"])
        self.reactor.soon(lambda: 1 / 0)
        self.reactor.soon(calls.append, "next")
        start = time.monotonic()
        self.reactor.doIteration(5)
        self.assertLess(time.monotonic() - start, 2)
        self.assertEqual((calls[2:], len(self.flushLoggedErrors(ZeroDivisionError))), (["next"], 1))

    def test_a_hangup_watch_sees_fin_once_and_the_end_once(self) -> None:
        """Then the reactor sleeps: level-triggered readiness of what nobody reads does not spin."""
        ours, theirs = self.pair()
        watched = _Descriptor(self, ours.detach())
        self.addCleanup(self.reactor.removeHangup, watched)
        self.reactor.addHangup(watched)
        theirs.send(b"data")
        self.settle()
        self.assertEqual(watched.hangups, [])
        theirs.shutdown(socket.SHUT_WR)
        self.spin(lambda: watched.hangups)
        self.settle(20)
        watched.on_write = lambda: self.reactor.removeWriter(watched)
        self.reactor.addWriter(watched)
        self.settle()
        self.assertEqual(watched.hangups, [False])
        start = time.monotonic()
        self.reactor.doIteration(0.05)
        self.assertGreater(time.monotonic() - start, 0.04)
        watched.sock.send(b"unread by the peer")
        theirs.close()  # with bytes unread: a reset
        self.spin(lambda: len(watched.hangups) == 2)
        self.settle()
        self.assertEqual(watched.hangups, [False, True])

    def test_a_watched_descriptor_may_write(self) -> None:
        """Watching for a hang-up and waiting for room go together, in any order of taking them off."""
        wrote: list[int] = []
        one, theirs = self.descriptor(None, lambda: wrote.append(1))
        self.reactor.addHangup(one)
        self.reactor.addWriter(one)
        self.turn()
        self.reactor.removeWriter(one)
        seen = len(wrote)
        self.turn()
        self.assertEqual((seen, len(wrote)), (1, 1))
        self.reactor.addWriter(one)
        theirs.close()
        self.settle()
        self.assertEqual(one.hangups[-1:], [True])

    def test_reading_takes_over_from_the_watch(self) -> None:
        """addReader on a watched descriptor ends the watch, also of one that is written to."""
        self.check_reading_takes_over()
        self.check_reading_takes_over(self.reactor.addWriter)

    def check_reading_takes_over(self, and_so: Callable[[Any], object] = lambda _: None) -> None:
        one, theirs = self.descriptor(lambda: got.append(one.sock.recv(10)) if not got else None, lambda: None)
        got: list[bytes] = []
        self.reactor.addHangup(one)
        and_so(one)
        self.reactor.addReader(one)
        theirs.send(b"x")
        self.turn()
        self.assertEqual((got, one.hangups), ([b"x"], []))
        self.reactor.removeReader(one)
        theirs.close()
        self.settle()
        self.assertEqual(one.hangups, [])
        self.reactor.removeWriter(one)

    def test_files_are_polled_all_the_same(self) -> None:
        """What epoll refuses goes to continuous polling as on the stock reactor."""
        reads: list[int] = []
        with tempfile.TemporaryFile() as file:
            one = _Descriptor(self, socket.socket(), lambda: reads.append(1), lambda: None)
            one.fileno = file.fileno  # type: ignore[method-assign]
            self.reactor.addReader(one)
            self.reactor.addWriter(one)
            self.spin(lambda: reads)
            self.reactor.removeReader(one)
            self.reactor.removeWriter(one)
        self.assertNotIn(one, self.reactor.getReaders())

    def test_the_main_loop_runs_timers_and_calls_from_threads(self) -> None:
        """Also beside a timer that is far from due, and after something failed outside of every event."""
        reactor, told = self.reactor, []
        poll = reactor.doPoll

        def fails_once(_timeout: float | None) -> None:
            reactor.doIteration = poll
            raise ValueError("this turn fails")

        def from_thread() -> None:
            told.append("thread")
            reactor.callLater(0.02, told.append, "timer")
            reactor.callLater(0.03, reactor.stop)

        thread = threading.Thread(target=reactor.callFromThread, args=(from_thread,))
        reactor.callLater(3600, told.append, "far")
        reactor.callLater(0.01, thread.start)
        reactor.addSystemEventTrigger("before", "shutdown", told.append, "shutdown")
        reactor.doIteration = fails_once
        reactor.run(installSignalHandlers=False)
        thread.join()
        self.assertEqual(told, ["thread", "timer", "shutdown"])
        self.assertEqual(len(self.flushLoggedErrors(ValueError)), 1)

    def test_a_turn_sleeps_until_the_next_timer(self) -> None:
        """No longer than the system call can, without a limit when there is none; the same with timers looked at and without."""
        self.reactor.running = True
        self.assertIs(self.reactor._run_due(), None)
        far = self.reactor.callLater(1e9, lambda: None)
        self.assertEqual([self.reactor._run_due() for _ in range(2)], [2147483, 2147483])
        near = self.reactor.callLater(30, lambda: None)
        self.reactor._run_due()
        self.assertTrue(29 < self.reactor._run_due() <= 30)
        for call in (far, near):
            call.cancel()

    def test_time_is_monotonic(self) -> None:
        """A step of the wall clock moves no timer."""
        self.assertLess(abs(self.reactor.seconds() - time.monotonic()), 0.5)

    def test_twisted_transports_run_on_it(self) -> None:
        """An adopted Twisted connection echoes and closes."""

        class Echo(Recorder):
            def dataReceived(self, data: bytes) -> None:
                self.transport.write(data)
                self.transport.loseConnection()

        with socket.create_server(("127.0.0.1", 0)) as listener:
            client = socket.create_connection(listener.getsockname())
            self.addCleanup(client.close)
            server, _ = listener.accept()
        self.reactor.adoptStreamConnection(server.fileno(), socket.AF_INET, Factory.forProtocol(Echo))
        server.close()
        client.send(b"hello")
        client.setblocking(False)
        self.settle(20)
        self.assertEqual((client.recv(10), client.recv(10)), (b"hello", b""))

    def test_shutting_down_takes_watched_streams_off(self) -> None:
        """removeAll returns them too, so that they are told."""
        stream, _ = self.pair()
        stream.watch_hangup(lambda _: None)
        self.assertIn(stream, self.reactor.removeAll())
        self.assertNotIn(stream.fileno(), self.reactor._selectables)

    def test_no_descriptor_is_left_behind(self) -> None:
        """After many connections that ended in every way the reactor knows none of them."""
        before = set(self.reactor._selectables)
        for n in range(60):
            stream, sock = self.pair()
            protocol = Recorder()
            stream.start(protocol)
            (sock.close, lambda sock=sock: reset(sock), stream.abortConnection, stream.loseConnection)[n % 4]()
            self.spin(lambda protocol=protocol: protocol.reason)
        self.assertEqual(set(self.reactor._selectables), before)
        self.assertEqual((self.reactor._reads - before, self.reactor._writes, self.reactor._hangups), (set(), set(), {}))


class InstallTests(ReactorTestCase):
    """As the reactor of a process."""

    def run_python(self, program: str) -> str:
        environment = {**os.environ, "PYTHONPATH": "."}
        done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=False, env=environment)
        self.assertEqual(done.returncode, 0, done.stderr)
        return done.stdout

    def test_install_makes_it_the_reactor(self) -> None:
        """And timers, threads and signals of Twisted work on it."""
        out = self.run_python(
            "from g3.net.reactor import install; install()\n"
            "from twisted.internet import reactor, threads\n"
            "print(type(reactor).__name__)\n"
            "reactor.callLater(0.01, lambda: threads.deferToThread(lambda: 'thread').addCallback(print).addBoth(lambda _: reactor.stop()))\n"
            "reactor.run()"
        )
        self.assertEqual(out.split(), ["G3Reactor", "thread"])

    def test_twistd_and_trial_find_it(self) -> None:
        """C{--reactor g3} names it."""
        out = self.run_python(
            "from twisted.application.reactors import installReactor; installReactor('g3')\n"
            "from twisted.internet import reactor; print(type(reactor).__module__)"
        )
        self.assertEqual(out.strip(), G3Reactor.__module__)

    def test_a_stream_answers_without_another_turn(self) -> None:
        """One turn reads the question and sends the answer."""

        class Echo(Recorder):
            def dataReceived(self, data: bytes) -> None:
                self.transport.write(data)

        stream, sock = self.pair()
        self.assertIsInstance(stream, Stream)
        stream.start(Echo())
        sock.send(b"ping")
        self.reactor.doIteration(1)
        self.assertEqual(sock.recv(10), b"ping")
