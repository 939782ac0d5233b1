# SPDX-License-Identifier: Apache-2.0
"""Tests of g3.relay.udp over real sockets and a reactor that is driven by hand."""

from __future__ import annotations

import errno
import socket
from typing import Any

from twisted.internet.task import Clock
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase

from g3.limit.datagram import DatagramLimiter
from g3.metrics.server import ServerStats
from g3.net.options import PortRange, SocketBuffer, UDPMisc
from g3.net.udp import bind_udp
from g3.relay.udp import DatagramSocket


class Reactor(Clock):
    """A clock that remembers who wants to read."""

    def __init__(self) -> None:
        super().__init__()
        self.readers: set[Any] = set()

    def addReader(self, reader: Any) -> None:
        self.readers.add(reader)

    def removeReader(self, reader: Any) -> None:
        self.readers.discard(reader)


class Receiver:
    def __init__(self) -> None:
        self.heard: list[tuple[bytes, Any]] = []
        self.errors: list[OSError] = []
        self.then: Any = None

    def datagram_received(self, data: memoryview, sender: Any) -> None:
        self.heard.append((bytes(data), sender))
        if self.then is not None:
            self.then()

    def socket_failed(self, error: OSError) -> None:
        self.errors.append(error)


class DatagramSocketTests(SynchronousTestCase):
    """Batches, bounds and ends."""

    def make(self, **options: Any) -> DatagramSocket:
        self.reactor, self.stats, self.receiver = Reactor(), ServerStats("s"), Receiver()
        raw = bind_udp("127.0.0.1", None, SocketBuffer(recv=65536), UDPMisc())
        self.address = raw.getsockname()
        made = DatagramSocket(self.reactor, raw, self.stats, **{"packet_size": 1000, "batch": 4, **options})
        self.addCleanup(made.close)
        self.peers = [socket.socket(socket.AF_INET, socket.SOCK_DGRAM) for _ in range(2)]
        for peer in self.peers:
            peer.bind(("127.0.0.1", 0))
            peer.settimeout(5)
            self.addCleanup(peer.close)
        made.start(self.receiver)
        return made

    def say(self, *payloads: bytes, peer: int = 0) -> None:
        for payload in payloads:
            self.peers[peer].sendto(payload, self.address)

    def heard(self) -> list[bytes]:
        return [data for data, _ in self.receiver.heard]

    def test_a_batch_and_no_more_in_one_go(self) -> None:
        made = self.make()
        self.say(*(b"%d" % number for number in range(6)))
        made.doRead()
        self.assertEqual(self.heard(), [b"0", b"1", b"2", b"3"])
        made.doRead()
        self.assertEqual(len(self.heard()), 6)
        self.assertEqual(self.receiver.heard[0][1], self.peers[0].getsockname())
        self.assertEqual((made.packets_in, made.bytes_in, self.stats.udp_in_packets, self.stats.udp_in_bytes), (6, 6, 6, 6))

    def test_too_long_is_dropped_and_empty_is_one(self) -> None:
        made = self.make()
        self.say(b"a" * 1000, b"b" * 1001, b"", b"c" * 5000)
        made.doRead()
        self.assertEqual([len(data) for data in self.heard()], [1000, 0])
        self.assertEqual(made.dropped, 2)

    def test_after_connect_nobody_else_is_heard_not_even_from_before(self) -> None:
        made = self.make()
        self.say(b"mine")
        self.say(b"others", peer=1)
        made.connect(self.peers[0].getsockname())
        self.say(b"late", peer=1)
        self.say(b"again")
        made.doRead()
        self.assertEqual(self.heard(), [b"mine", b"again"])
        made.doRead()
        self.assertTrue(made.connected)
        self.say(b"fast")
        self.say(b"never", peer=1)
        made.doRead()
        self.assertEqual(self.receiver.heard[2:], [(b"fast", None)])

    def test_pause_in_the_middle_of_a_batch(self) -> None:
        made = self.make()
        self.receiver.then = made.pause
        self.say(b"a", b"b")
        made.doRead()
        self.assertEqual((self.heard(), self.reactor.readers), ([b"a"], set()))
        made.resume()
        made.doRead()
        self.assertEqual(self.heard(), [b"a", b"b"])

    def test_close_in_the_middle_of_a_batch(self) -> None:
        made = self.make()
        self.receiver.then = made.close
        self.say(b"a", b"b")
        made.doRead()
        made.doRead()
        self.assertEqual((self.heard(), self.reactor.readers, made.fileno()), ([b"a"], set(), -1))
        made.close()
        self.assertEqual((made.send(b"x"), made.send_to(b"x", ("127.0.0.1", 9))), (0.0, 0.0))

    def test_a_read_limit_holds(self) -> None:
        made = self.make(read_limits=(DatagramLimiter(10, 2, 0),))
        self.say(b"a", b"b", b"c")
        made.doRead()
        self.assertEqual((self.heard(), self.reactor.readers), ([b"a", b"b"], set()))
        self.reactor.advance(1.03)
        self.assertEqual(self.reactor.readers, {made})
        made.doRead()
        self.assertEqual(len(self.heard()), 3)

    def test_the_longer_hold_stays_and_close_ends_it(self) -> None:
        made = self.make()
        made.hold(2)
        made.hold(1)
        self.reactor.advance(1.5)
        self.assertEqual(self.reactor.readers, set())
        made.hold(3)
        made.close()
        self.assertEqual(self.reactor.getDelayedCalls(), [])
        made.hold(1)
        self.assertEqual(self.reactor.getDelayedCalls(), [])

    def test_a_write_limit_is_told(self) -> None:
        made = self.make(write_limits=(DatagramLimiter(10, 0, 5),))
        made.connect(self.peers[0].getsockname())
        self.assertEqual(made.send(b"abc"), 0.0)
        self.assertGreater(made.send(b"abc"), 1.0)
        self.assertEqual((self.peers[0].recv(9), made.packets_out, self.stats.udp_out_bytes), (b"abc", 2, 6))

    def test_what_one_datagram_suffers_drops_it_and_the_rest_is_told(self) -> None:
        made = self.make()
        self.assertEqual(made.send_to(bytes(70000), self.peers[0].getsockname()), 0.0)
        self.assertEqual(made.dropped, 1)
        self.assertRaises(OSError, made.send_to, b"x", ("255.255.255.255", 9))

    def test_nobody_there_is_an_error(self) -> None:
        made = self.make()
        address = self.peers[1].getsockname()
        self.peers[1].close()
        made.connect(address)
        made.send(b"x")
        made.doRead()
        self.assertEqual([error.errno for error in self.receiver.errors], [errno.ECONNREFUSED])

    def test_the_reactor_sees_the_error_before_we_do(self) -> None:
        """The reason is the kernel's all the same."""
        made = self.make()
        address = self.peers[1].getsockname()
        self.peers[1].close()
        made.connect(address)
        made.send(b"x")
        made.connectionLost(Failure(ValueError()))
        self.assertEqual([error.errno for error in self.receiver.errors], [errno.ECONNREFUSED])

    def test_the_reactor_gives_up_on_it(self) -> None:
        made = self.make()
        made.connectionLost(Failure(ValueError()))
        self.assertEqual((len(self.receiver.errors), made.fileno()), (1, -1))

    def test_an_idle_socket_has_no_buffer_of_its_own(self) -> None:
        self.assertIs(self.make()._buffer, self.make()._buffer)


class BindTests(SynchronousTestCase):
    """Sockets for clients."""

    def test_a_range_is_used_up_and_then_an_error(self) -> None:
        probe = bind_udp("127.0.0.1", None, None, None)
        first = probe.getsockname()[1]
        made = []
        try:
            with self.assertRaises(OSError):
                for _ in range(6):
                    made.append(bind_udp("127.0.0.1", PortRange(first, first + 4), None, None))
        finally:
            for sock in (probe, *made):
                sock.close()
        self.assertLessEqual(len(made), 4)

    def test_an_address_that_is_not_ours(self) -> None:
        self.assertRaises(OSError, bind_udp, "192.0.2.77", PortRange(2000, 2002), None, None)

    def test_ipv6_is_ipv6_only(self) -> None:
        sock = bind_udp("::1", None, None, None)
        self.assertEqual(sock.getsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY), 1)
        sock.close()
