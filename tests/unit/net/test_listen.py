# SPDX-License-Identifier: Apache-2.0
"""Listening sockets: bound as asked, shared without harm, and no client lost."""

from __future__ import annotations

import errno
import gc
import os
import resource
import socket
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.task import deferLater
from twisted.trial.unittest import SynchronousTestCase, TestCase

from g3.errors import ConfigError
from g3.net.listen import BATCH, EXHAUSTED_PAUSE, Room, TCPListener, adjust, bind_tcp, turned_away
from g3.net.options import Keepalive, TCPListen
from g3.net.sockopts import mark_of
from tests.unit.net.reactors import Readers


def local(port: int = 0, **options: Any) -> TCPListen:
    return TCPListen(address=("127.0.0.1", port), **options)


class BindTests(SynchronousTestCase):
    def bind(self, options: TCPListen, **more: Any) -> socket.socket:
        sock = bind_tcp(options, **more)
        self.addCleanup(sock.close)
        return sock

    def client(self, host: str, port: int) -> socket.socket:
        sock = socket.create_connection((host, port), timeout=2)
        self.addCleanup(sock.close)
        return sock

    def test_a_bound_socket_is_non_blocking_and_listens(self) -> None:
        sock = self.bind(local())
        self.assertEqual(sock.gettimeout(), 0)
        self.assertTrue(sock.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN))
        self.assertFalse(os.get_inheritable(sock.fileno()))

    def test_who_is_turned_away_comes_again(self) -> None:
        """It is not let in, not refused, not reset; who was there before is, and everybody is as soon as it is over."""
        for host in ("127.0.0.1", "::1"):
            sock = self.bind(TCPListen(address=(host, 0)))
            port = sock.getsockname()[1]
            early = self.client(host, port)
            with turned_away([sock]):
                late = socket.socket(sock.family)
                self.addCleanup(late.close)
                late.settimeout(0.2)
                self.assertRaises(TimeoutError, late.connect, (host, port))
                served = sock.accept()[0]
                self.addCleanup(served.close)
                early.sendall(b"x")
                self.assertEqual(served.recv(10), b"x")
                self.assertRaises(BlockingIOError, sock.accept)
            self.client(host, port)
            self.addCleanup(sock.accept()[0].close)

    def test_an_address_taken_is_an_error_that_names_it(self) -> None:
        """No traceback, no share of somebody else's clients."""
        port = self.bind(local()).getsockname()[1]
        error = self.assertRaises(ConfigError, bind_tcp, local(port))
        self.assertEqual(str(error), f"cannot listen on 127.0.0.1:{port}: Address already in use (another program listens there)")

    def test_an_address_we_do_not_have_is_an_error_that_names_it(self) -> None:
        error = self.assertRaises(ConfigError, bind_tcp, TCPListen(address=("192.0.2.77", 0)))
        self.assertIn("this host has no such address", str(error))

    def test_an_interface_that_is_not_there_is_an_error_that_names_it(self) -> None:
        error = self.assertRaises(ConfigError, bind_tcp, local(interface="nosuchdev0"))
        self.assertIn("127.0.0.1", str(error))

    def test_an_error_leaves_nothing_open(self) -> None:
        port = self.bind(local()).getsockname()[1]
        gc.collect()  # what other tests left is not closed meanwhile
        before = len(list(Path("/proc/self/fd").iterdir()))
        self.assertRaises(ConfigError, bind_tcp, local(port))
        self.assertEqual(len(list(Path("/proc/self/fd").iterdir())), before)

    def test_two_of_us_may_overlap_when_both_say_so(self) -> None:
        one = self.bind(local(), reuse_port=True)
        self.bind(local(one.getsockname()[1]), reuse_port=True)

    def test_the_unspecified_ipv6_address_takes_ipv4_clients_too(self) -> None:
        sock = self.bind(TCPListen())
        self.client("127.0.0.1", sock.getsockname()[1])
        self.client("::1", sock.getsockname()[1])

    def test_ipv6_only_takes_no_ipv4_clients(self) -> None:
        sock = self.bind(TCPListen(ipv6_only=True))
        self.client("::1", sock.getsockname()[1])
        self.assertRaises(OSError, self.client, "127.0.0.1", sock.getsockname()[1])

    def test_a_host_without_ipv6_serves_ipv4(self) -> None:
        real = socket.socket

        def without(family: int, *args: Any) -> socket.socket:
            if family == socket.AF_INET6:
                raise OSError(errno.EAFNOSUPPORT, "no")
            return real(family, *args)

        self.patch(socket, "socket", without)
        sock = self.bind(TCPListen())
        self.assertEqual(sock.getsockname()[0], "0.0.0.0")
        self.assertRaises(ConfigError, bind_tcp, TCPListen(ipv6_only=True))

    def test_accepted_sockets_have_keepalive_and_segment_size(self) -> None:
        options = Keepalive(enable=True, idle_time=33.2, probe_interval=7, probe_count=4)
        sock = self.bind(local(keepalive=options, max_segment_size=1000))
        self.client(*sock.getsockname())
        accepted, _ = sock.accept()
        self.addCleanup(accepted.close)
        self.assertEqual(accepted.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE), 1)
        values = [accepted.getsockopt(socket.IPPROTO_TCP, o) for o in (socket.TCP_KEEPIDLE, socket.TCP_KEEPINTVL, socket.TCP_KEEPCNT)]
        self.assertEqual(values, [34, 7, 4])
        self.assertLessEqual(accepted.getsockopt(socket.IPPROTO_TCP, socket.TCP_MAXSEG), 1000)

    def test_interface_mark_and_transparent_are_set(self) -> None:
        sock = self.bind(local(interface="lo", netfilter_mark=7, transparent=True))
        self.assertEqual(sock.getsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, 16).rstrip(b"\0"), b"lo")
        self.assertEqual(sock.getsockopt(socket.SOL_SOCKET, socket.SO_MARK), 7)
        self.assertEqual(sock.getsockopt(socket.IPPROTO_IP, 19), 1)

    def test_any_mark_and_any_backlog_can_be_set_and_set_again(self) -> None:
        """Of 32 bits both."""
        options = local(netfilter_mark=0xFFFFFFFF, backlog=0xFFFFFFFF)
        sock = self.bind(options)
        for mark in (0xFFFFFFFF, 0x80000001):
            adjust(sock, replace(options, netfilter_mark=mark))
            self.assertEqual(mark_of(sock), mark)


class ListenerTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.reactor = Readers()
        self.accepted: list[tuple[socket.socket, Any]] = []
        self.sock = bind_tcp(local())
        self.listener = TCPListener(self.reactor, self.sock, self.on_accept)
        self.addCleanup(self.close)

    def on_accept(self, sock: socket.socket, peer: Any) -> None:
        self.accepted.append((sock, peer))

    def close(self) -> None:
        self.listener.stop(drain=False)
        for sock, _ in self.accepted:
            sock.close()

    def clients(self, count: int) -> None:
        for _ in range(count):
            self.addCleanup(socket.create_connection(self.listener.address, timeout=2).close)

    def test_a_client_is_handed_on_non_blocking_with_its_address(self) -> None:
        self.listener.start()
        client = socket.create_connection(self.listener.address, timeout=2)
        self.addCleanup(client.close)
        self.listener.doRead()
        ((sock, peer),) = self.accepted
        self.assertEqual((peer, sock.gettimeout(), self.listener.accepted), (client.getsockname(), 0, 1))

    def test_a_v4_mapped_peer_is_written_as_ipv4(self) -> None:
        listener = TCPListener(self.reactor, bind_tcp(TCPListen()), self.on_accept)
        self.addCleanup(listener.stop)
        listener.start()
        self.addCleanup(socket.create_connection(("127.0.0.1", listener.address[1]), timeout=2).close)
        listener.doRead()
        self.assertEqual(self.accepted[0][1][0], "127.0.0.1")

    def test_a_wake_up_accepts_a_bounded_number(self) -> None:
        """Established connections get their turn between batches."""
        self.listener.start()
        self.clients(BATCH + 3)
        self.listener.doRead()
        self.assertEqual(len(self.accepted), BATCH)
        self.listener.doRead()
        self.assertEqual(len(self.accepted), BATCH + 3)

    def test_paused_it_leaves_clients_in_the_queue(self) -> None:
        self.listener.start()
        self.listener.pause()
        self.clients(1)
        self.assertEqual(self.reactor.readers, [])
        self.listener.doRead()
        self.assertEqual(self.accepted, [])
        self.listener.resume()
        self.assertEqual(self.reactor.readers, [self.listener])
        self.listener.doRead()
        self.assertEqual(len(self.accepted), 1)

    def test_starting_and_pausing_twice_is_once(self) -> None:
        for _ in range(2):
            self.listener.start()
        self.assertEqual(self.reactor.readers, [self.listener])
        for _ in range(2):
            self.listener.pause()
        self.assertEqual(self.reactor.readers, [])

    def test_stopping_serves_who_is_queued(self) -> None:
        """A client whose connect succeeded is not reset by a reload."""
        self.listener.start()
        self.clients(BATCH * 2)
        self.listener.stop()
        self.assertEqual(len(self.accepted), BATCH * 2)
        self.assertEqual((self.listener.fileno(), self.reactor.readers), (-1, []))

    def test_stopping_without_drain_leaves_the_queue_to_those_who_share(self) -> None:
        other = TCPListener(self.reactor, self.sock.dup(), self.on_accept)
        self.addCleanup(other.stop)
        self.clients(2)
        self.listener.stop(drain=False)
        self.assertEqual(self.accepted, [])
        self.clients(1)
        other.start()
        other.doRead()
        self.assertEqual(len(self.accepted), 3)

    def test_on_accept_may_stop_the_listener(self) -> None:
        self.listener = TCPListener(self.reactor, bind_tcp(local()), lambda sock, peer: (self.on_accept(sock, peer), self.listener.stop(drain=False)))
        self.listener.start()
        self.clients(2)
        self.listener.doRead()
        self.assertEqual(len(self.accepted), 1)

    def test_an_error_of_the_server_ends_one_client_only(self) -> None:
        failing = [True]

        def on_accept(sock: socket.socket, peer: Any) -> None:
            self.on_accept(sock, peer)
            if failing:
                failing.clear()
                raise ZeroDivisionError

        self.listener = TCPListener(self.reactor, bind_tcp(local()), on_accept)
        self.listener.start()
        self.clients(2)
        self.listener.doRead()
        self.assertEqual([sock.fileno() == -1 for sock, _ in self.accepted], [True, False])
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)

    def fail_with(self, *errors: int) -> None:
        """The next accepts fail so."""
        listening, pending = self.sock, list(errors)

        class Failing:
            def __getattr__(self, name: str) -> Any:
                return getattr(listening, name)

            def _accept(self) -> Any:
                if pending:
                    raise OSError(pending.pop(0), "no")
                return listening._accept()  # type: ignore[attr-defined]

        self.listener = TCPListener(self.reactor, Failing(), self.on_accept)  # type: ignore[arg-type]
        self.listener.start()

    def test_without_descriptors_accepting_rests_and_goes_on(self) -> None:
        """No busy loop: nobody polls until the pause is over; the client waits in the queue."""
        for number in (errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM):
            self.accepted.clear()
            self.fail_with(number, number)
            self.clients(1)
            self.listener.doRead()
            self.assertEqual((self.reactor.readers, len(self.reactor.getDelayedCalls())), ([], 1))
            self.reactor.advance(EXHAUSTED_PAUSE)
            self.assertEqual(self.reactor.readers, [self.listener])
            self.listener.doRead()
            self.reactor.advance(EXHAUSTED_PAUSE)
            self.listener.doRead()
            self.assertEqual((len(self.accepted), self.listener.exhausted, self.listener.failed), (1, 2, 0))
            self.accepted[0][0].close()
            self.listener.pause()

    def test_without_room_it_rests_until_there_is_some(self) -> None:
        """Two descriptors a client, an eighth kept: of 16, seven clients. Who is queued when it closes is taken all the same."""
        load = SimpleNamespace(live=0)
        listener = TCPListener(self.reactor, self.listener.socket, lambda sock, _peer: self.take(load, sock), room=Room(load, 16))  # type: ignore[arg-type]
        listener.start()
        self.clients(9)
        listener.doRead()
        self.assertEqual((load.live, listener in self.reactor.readers), (7, False))
        self.reactor.advance(EXHAUSTED_PAUSE)
        listener.doRead()
        self.assertEqual(load.live, 7)
        load.live = 6
        self.reactor.advance(EXHAUSTED_PAUSE)
        listener.doRead()
        self.assertEqual(load.live, 7)
        listener.stop()
        self.assertEqual(load.live, 8)
        self.assertEqual(self.reactor.getDelayedCalls(), [])

    def take(self, load: Any, sock: socket.socket) -> None:
        self.addCleanup(sock.close)
        load.live += 1

    def test_of_a_large_limit_a_part_is_kept(self) -> None:
        """64 at most; without a limit there is always room."""
        load = SimpleNamespace(live=10**6)
        self.assertEqual([Room(load, limit).most for limit in (256, 1024, 1 << 20)], [112, 480, (1 << 19) - 32])
        self.assertTrue(Room(load, resource.RLIM_INFINITY).left)

    def test_paused_while_resting_it_stays_paused(self) -> None:
        self.fail_with(errno.EMFILE)
        self.listener.doRead()
        self.listener.pause()
        self.reactor.advance(EXHAUSTED_PAUSE)
        self.assertEqual(self.reactor.readers, [])

    def test_stopped_while_resting_it_leaves_no_timer(self) -> None:
        self.fail_with(errno.EMFILE)
        self.listener.doRead()
        self.listener.stop()
        self.assertEqual(self.reactor.getDelayedCalls(), [])

    def test_one_clients_trouble_is_not_the_next_ones(self) -> None:
        """A client that went away while it was queued is counted and skipped."""
        self.fail_with(errno.ECONNABORTED, errno.EPROTO, errno.EPERM)
        self.clients(1)
        self.listener.doRead()
        self.assertEqual((len(self.accepted), self.listener.failed), (1, 3))


class RealListenerTests(TestCase):
    async def test_out_of_descriptors_no_client_is_lost(self) -> None:
        """With the real limit: clients connect, wait, and are served once there are descriptors again."""
        from twisted.internet import reactor

        await deferLater(reactor, 0)  # the reactor's own descriptors are there
        served: list[socket.socket] = []
        listener = TCPListener(reactor, bind_tcp(local()), lambda sock, _: served.append(sock))
        clients = [socket.create_connection(listener.address, timeout=2) for _ in range(4)]
        used = max(int(path.name) for path in Path("/proc/self/fd").iterdir())
        holes = []
        while (hole := os.dup(0)) < used:
            holes.append(hole)
        holes.append(hole)
        limits = resource.getrlimit(resource.RLIMIT_NOFILE)
        resource.setrlimit(resource.RLIMIT_NOFILE, (hole + 1, limits[1]))
        try:
            listener.start()
            await deferLater(reactor, 0.25)
            self.assertEqual((served, listener.exhausted in (2, 3, 4)), ([], True), listener.exhausted)
        finally:
            resource.setrlimit(resource.RLIMIT_NOFILE, limits)
            for hole in holes:
                os.close(hole)
        await deferLater(reactor, 2 * EXHAUSTED_PAUSE)
        self.assertEqual(len(served), 4)
        listener.stop()
        for sock in clients + served:
            sock.close()

    async def test_it_accepts_on_this_reactor(self) -> None:
        from twisted.internet import reactor

        served: Deferred[Any] = Deferred()
        listener = TCPListener(reactor, bind_tcp(local()), lambda sock, peer: served.callback((sock, peer)))
        listener.start()
        client = socket.create_connection(listener.address, timeout=2)
        sock, peer = await served
        self.assertEqual(peer, client.getsockname())
        for each in (sock, client):
            each.close()
        listener.stop()
