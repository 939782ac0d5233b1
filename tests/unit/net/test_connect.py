# SPDX-License-Identifier: Apache-2.0
"""Connecting: at once where that is possible, bounded in time, and nothing left open."""

from __future__ import annotations

import errno
import os
import socket
from pathlib import Path
from typing import Any

from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.task import Clock
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase, TestCase

from g3.errors import ConnectFailed, SetupSocketFailed, TimeoutByRule
from g3.net import connect
from g3.net.connect import Binding, connect_tcp, open_socket
from g3.net.options import Keepalive, TCPMisc
from g3.net.timers import TimerWheel


def listen(host: str = "127.0.0.1", backlog: int = 16) -> socket.socket:
    sock = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET)
    sock.bind((host, 0))
    sock.listen(backlog)
    return sock


def descriptors() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


class AtOnceTests(SynchronousTestCase):
    """Against loopback, with a reactor that can do nothing: it must not be needed."""

    def setUp(self) -> None:
        self.server = listen()
        self.addCleanup(self.server.close)

    def connect(self, address: Any = None, **options: Any) -> socket.socket:
        coroutine = connect_tcp(None, None, address or self.server.getsockname(), timeout=5, **options)  # type: ignore[arg-type]
        sock = self.successResultOf(Deferred.fromCoroutine(coroutine))
        self.addCleanup(sock.close)
        return sock

    def test_a_loopback_connect_needs_no_reactor(self) -> None:
        sock = self.connect()
        self.assertEqual(sock.getpeername(), self.server.getsockname())
        self.assertEqual((sock.gettimeout(), os.get_inheritable(sock.fileno())), (0, False))

    def test_ipv6_works_the_same(self) -> None:
        server = listen("::1")
        self.addCleanup(server.close)
        self.assertEqual(self.connect(server.getsockname()[:2]).getpeername()[:2], server.getsockname()[:2])

    def test_no_delay_is_on_unless_the_options_say_no(self) -> None:
        for misc, expected in ((None, 1), (TCPMisc(), 1), (TCPMisc(no_delay=True), 1), (TCPMisc(no_delay=False), 0)):
            value = self.connect(misc=misc).getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)
            self.assertEqual(bool(value), bool(expected), misc)

    def test_the_options_are_on_the_socket(self) -> None:
        misc = TCPMisc(max_segment_size=900, time_to_live=33, type_of_service=0x10, congestion_control="reno", netfilter_mark=3, hop_limit=9)
        sock = self.connect(misc=misc, keepalive=Keepalive(enable=True, idle_time=30, probe_interval=5, probe_count=2))
        ip = [sock.getsockopt(socket.IPPROTO_IP, option) for option in (socket.IP_TTL, socket.IP_TOS)]
        self.assertEqual(ip, [33, 0x10])
        self.assertLessEqual(sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_MAXSEG), 900)
        self.assertTrue(sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_CONGESTION, 16).startswith(b"reno"))
        self.assertEqual(sock.getsockopt(socket.SOL_SOCKET, socket.SO_MARK), 3)
        keep = [sock.getsockopt(socket.IPPROTO_TCP, option) for option in (socket.TCP_KEEPIDLE, socket.TCP_KEEPINTVL, socket.TCP_KEEPCNT)]
        self.assertEqual(keep, [30, 5, 2])

    def test_ipv6_options_go_to_ipv6_sockets(self) -> None:
        server = listen("::1")
        self.addCleanup(server.close)
        sock = self.connect(server.getsockname()[:2], misc=TCPMisc(time_to_live=33, hop_limit=9, traffic_class=4))
        self.assertEqual(sock.getsockopt(socket.IPPROTO_IPV6, socket.IPV6_UNICAST_HOPS), 9)
        self.assertEqual(sock.getsockopt(socket.IPPROTO_IPV6, socket.IPV6_TCLASS), 4)

    def test_keepalive_that_is_not_enabled_is_off(self) -> None:
        self.assertEqual(self.connect(keepalive=Keepalive()).getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE), 0)

    def test_it_connects_from_the_address_to_bind(self) -> None:
        self.assertEqual(self.connect(binding=Binding("127.0.0.9")).getsockname()[0], "127.0.0.9")

    def test_one_local_port_may_serve_many_destinations(self) -> None:
        """The port is chosen at connect, so that a bound address does not use up its 28,000 ports for all destinations together."""
        sock = self.connect(binding=Binding("127.0.0.9"))
        self.assertEqual(sock.getsockopt(socket.IPPROTO_IP, 24), 1)

    def test_it_connects_from_the_port_to_bind(self) -> None:
        probe = listen("127.0.0.9")
        port = probe.getsockname()[1]
        probe.close()
        self.assertEqual(self.connect(binding=Binding("127.0.0.9", port)).getsockname(), ("127.0.0.9", port))

    def test_a_foreign_address_can_be_bound(self) -> None:
        """TPROXY: the address of the client, which is not one of ours."""
        bound = open_socket("127.0.0.1", Binding("192.0.2.55", foreign=True), None, None)
        self.addCleanup(bound.close)
        self.assertEqual(bound.getsockname()[0], "192.0.2.55")

    def test_a_device_can_be_bound(self) -> None:
        sock = self.connect(binding=Binding(interface="lo"))
        self.assertEqual(sock.getsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, 16).rstrip(b"\0"), b"lo")

    def failure(self, address: Any, kind: type[Exception], **options: Any) -> Any:
        before = descriptors()
        coroutine = connect_tcp(None, None, address, timeout=5, **options)  # type: ignore[arg-type]
        error = self.failureResultOf(Deferred.fromCoroutine(coroutine), kind).value
        self.assertEqual(descriptors(), before)
        return error

    def test_refused_says_so_and_leaves_nothing_open(self) -> None:
        address = self.server.getsockname()
        self.server.close()
        error = self.failure(address, ConnectFailed)
        self.assertEqual((error.errno, error.http_status, error.socks5_reply), (errno.ECONNREFUSED, 521, 5))

    def test_an_address_that_is_not_ours_is_a_set_up_error(self) -> None:
        self.failure(self.server.getsockname(), SetupSocketFailed, binding=Binding("192.0.2.55"))

    def test_an_address_of_the_other_family_is_a_set_up_error(self) -> None:
        self.failure(self.server.getsockname(), SetupSocketFailed, binding=Binding("::1"))

    def test_a_device_that_is_not_there_is_a_set_up_error(self) -> None:
        self.failure(self.server.getsockname(), SetupSocketFailed, binding=Binding(interface="nosuchdev0"))

    def test_an_unreachable_network_is_a_connect_error(self) -> None:
        self.assertIn(self.failure(("255.255.255.255", 9), ConnectFailed).errno, (errno.ENETUNREACH, errno.EACCES))


class Writers(Clock):
    def __init__(self) -> None:
        super().__init__()
        self.writers: list[Any] = []

    def addWriter(self, writer: Any) -> None:
        self.writers.append(writer)

    def removeWriter(self, writer: Any) -> None:
        if writer in self.writers:
            self.writers.remove(writer)


class Pending(socket.socket):
    """A socket whose connect stays under way, and ends as the test says."""

    outcome = 0

    def connect_ex(self, address: Any) -> int:
        return errno.EINPROGRESS

    def getsockopt(self, level: int, option: int, *size: int) -> Any:
        return self.outcome if (level, option) == (socket.SOL_SOCKET, socket.SO_ERROR) else super().getsockopt(level, option, *size)


class PendingTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.patch(connect, "PlainSocket", Pending)
        self.before = descriptors()
        self.reactor = Writers()
        self.timers = TimerWheel(self.reactor)
        self.result = Deferred.fromCoroutine(connect_tcp(self.reactor, self.timers, ("192.0.2.1", 9), timeout=3))
        self.assertNoResult(self.result)

    def end(self, outcome: int) -> None:
        (writer,) = self.reactor.writers
        self.patch(Pending, "outcome", outcome)
        writer.doWrite()

    def nothing_left(self) -> None:
        self.assertEqual((self.reactor.writers, len(self.timers), descriptors()), ([], 0, self.before))

    def test_it_is_done_when_the_socket_is_writable_without_error(self) -> None:
        self.end(0)
        self.successResultOf(self.result).close()
        self.nothing_left()

    def test_the_error_of_the_socket_is_the_error(self) -> None:
        self.end(errno.EHOSTUNREACH)
        self.assertEqual(self.failureResultOf(self.result, ConnectFailed).value.http_status, 523)
        self.nothing_left()

    def test_the_time_is_bounded(self) -> None:
        self.reactor.pump([0.5] * 5)
        self.assertNoResult(self.result)
        self.reactor.pump([0.5] * 3)
        self.assertEqual(self.failureResultOf(self.result, TimeoutByRule).value.http_status, 504)
        self.nothing_left()

    def test_cancelling_closes_the_socket(self) -> None:
        self.result.cancel()
        self.failureResultOf(self.result, CancelledError)
        self.nothing_left()

    def test_a_reactor_that_reports_a_hang_up_reports_an_error(self) -> None:
        """Stock reactors call connectionLost instead of doWrite for a refused connect."""
        (writer,) = self.reactor.writers
        self.patch(Pending, "outcome", errno.ECONNREFUSED)
        self.reactor.removeWriter(writer)
        writer.connectionLost(Failure(ZeroDivisionError()))
        self.assertEqual(self.failureResultOf(self.result, ConnectFailed).value.errno, errno.ECONNREFUSED)
        self.nothing_left()

    def test_events_after_the_end_mean_nothing(self) -> None:
        (writer,) = self.reactor.writers
        self.end(0)
        writer.doWrite()
        writer.connectionLost(Failure(ZeroDivisionError()))
        self.successResultOf(self.result).close()


class RealTests(TestCase):
    async def test_a_silent_host_times_out(self) -> None:
        """A listener whose queue is full drops what comes, as a host does that is not there."""
        from twisted.internet import reactor

        server = listen(backlog=0)
        filling = [socket.socket() for _ in range(4)]
        for sock in filling:
            sock.setblocking(False)
            sock.connect_ex(server.getsockname())
        timers = TimerWheel(reactor, 0.02)
        started = reactor.seconds()  # type: ignore[attr-defined]
        with self.assertRaises(TimeoutByRule):
            await connect_tcp(reactor, timers, server.getsockname(), timeout=0.1)
        self.assertGreaterEqual(reactor.seconds() - started, 0.1)  # type: ignore[attr-defined]
        for sock in (server, *filling):
            sock.close()
        timers.stop()
