# SPDX-License-Identifier: Apache-2.0
"""Tests of g3.servers.http.upstream."""

from __future__ import annotations

import socket
from types import SimpleNamespace

from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from g3.net.timers import TimerWheel
from g3.servers.http import upstream
from g3.servers.http.upstream import Key, SharedPool, UpstreamConnection
from g3.task import ConnectNotes, Upstream


class Stream:
    """A stream that only notes its end."""

    def __init__(self) -> None:
        self.aborted = False

    def start(self, protocol: object) -> None:
        """Nothing arrives."""

    def abortConnection(self) -> None:
        self.aborted = True


def connection(port: int = 80) -> UpstreamConnection:
    given = SimpleNamespace(stream=Stream(), absolute_form=False, header_lines=b"", private=False, notes=ConnectNotes())
    key: Key = (1, Upstream("a.test", port), "", None, None)
    return UpstreamConnection(given, key)


class AliveTests(SynchronousTestCase):
    """What the kernel knows of an idle connection before the reactor has told."""

    def test_only_one_that_is_open_and_silent_is(self) -> None:
        for words, closes, alive in ((b"", False, True), (b"H", False, False), (b"", True, False), (b"H", True, False)):
            ours, theirs = socket.socketpair()
            self.addCleanup(ours.close)
            self.addCleanup(theirs.close)
            idle = connection()
            idle.stream.socket = ours
            theirs.sendall(words)
            if closes:
                theirs.close()
            self.assertEqual(idle.alive(), alive, (words, closes))


class SharedPoolTests(SynchronousTestCase):
    """Idle connections for everybody: bounded, and none used that has said something."""

    def setUp(self) -> None:
        self.clock = Clock()
        self.wheel = TimerWheel(self.clock, 0.1)
        self.pool = SharedPool(self.wheel, self.clock.seconds, 2.0)

    def test_the_most_recently_used_is_taken_first(self) -> None:
        pool, first, second = self.pool, connection(), connection()
        pool.put(first)
        pool.put(second)
        self.assertIs(pool.take(first.key), second)
        self.assertIs(pool.take(first.key), first)
        self.assertIsNone(pool.take(first.key))

    def test_what_speaks_while_idle_is_closed_and_gone(self) -> None:
        pool, idle = self.pool, connection()
        pool.put(idle)
        idle.dataReceived(b"HTTP/1.1 408 Request Timeout\r\n\r\n")
        self.assertTrue(idle.stream.aborted)
        self.assertIsNone(pool.take(idle.key))
        self.assertEqual(len(pool), 0)

    def test_it_is_bounded_in_all_and_for_one_upstream(self) -> None:
        pool = self.pool
        made = [connection() for _ in range(upstream.SHARED_MAX_PER_UPSTREAM + 5)]
        for one in made:
            pool.put(one)
        self.assertEqual(len(pool), upstream.SHARED_MAX_PER_UPSTREAM)
        self.assertTrue(made[0].stream.aborted)
        for port in range(1, upstream.SHARED_MAX + 5):
            pool.put(connection(port))
        self.assertEqual(len(pool), upstream.SHARED_MAX)

    def test_the_idle_end(self) -> None:
        """Each after its time, with no client there; at close all."""
        pool, old, new = self.pool, connection(), connection()
        pool.put(old)
        self.clock.advance(1.5)
        new.idle_since = self.clock.seconds()
        pool.put(new)
        self.clock.advance(0.4)
        self.assertFalse(old.stream.aborted)
        self.clock.advance(0.3)
        self.assertEqual((old.stream.aborted, new.stream.aborted, len(pool)), (True, False, 1))
        self.clock.advance(2)
        self.assertTrue(new.stream.aborted)
        pool.put(connection())
        pool.close()
        self.assertEqual((len(pool), len(self.wheel)), (0, 0))
