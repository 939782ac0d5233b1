# SPDX-License-Identifier: Apache-2.0
"""direct_fixed and datagrams: to one upstream and to many, resolved, judged and bounded."""

from __future__ import annotations

import socket
from ipaddress import ip_address, ip_network
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.task import deferLater
from twisted.trial.unittest import TestCase
from zope.interface.verify import verifyObject

from g3.acl import Action, egress_filter
from g3.errors import (
    AddressNotSupported,
    DomainNotResolved,
    ForbiddenAddressFamily,
    ForbiddenRemoteAddress,
    ForbiddenTargetIpAddress,
    RecvFailed,
    ResolveFailed,
    SetupSocketFailed,
)
from g3.escapers.direct_fixed import DirectFixedConfig, DirectFixedEscaper
from g3.escapers.direct_udp import NAMES, TARGETS, WAITING
from g3.interfaces import IDatagramPath, IUDPConnect, IUDPRelay
from g3.limit.options import DatagramSpeed
from g3.net.options import DatagramRelay, SocketBuffer, UDPMisc
from g3.task import Upstream
from g3.testing.escapers import descriptors
from g3.testing.nodes import StaticResolver, make_context, make_task

OPEN = egress_filter([(ip_network("127.0.0.0/8"), Action.PERMIT), (ip_network("::1/128"), Action.PERMIT)], Action.PERMIT)


class Receiver:
    def __init__(self) -> None:
        self.heard: list[tuple[bytes, Any]] = []
        self.closed: list[Any] = []

    def datagram_received(self, data: Any, sender: Any) -> None:
        self.heard.append((bytes(data), sender))

    def path_closed(self, error: Any) -> None:
        self.closed.append(error)


class UDPCase(TestCase):
    """An escaper on the real reactor, and sockets that stand for upstreams."""

    def make(self, **keys: Any) -> DirectFixedEscaper:
        from twisted.internet import reactor

        self.reactor = reactor
        self.resolver = StaticResolver({"one.test": ("127.0.0.1",), "six.test": ("::1",), "bad.test": ("169.254.0.1",)})
        context = make_context(reactor, {("resolver", "resolver"): self.resolver})
        self.addCleanup(context.timers.stop)
        config = DirectFixedConfig(**{"name": "direct", "resolver": "resolver", "egress_network_filter": OPEN, **keys})
        escaper = DirectFixedEscaper(config, context)
        self.records: list[dict[str, Any]] = []
        escaper.logger = self  # type: ignore[assignment]
        self.receiver = Receiver()
        self.before = descriptors()
        return escaper

    def log(self, message: str, fields: Any) -> None:
        self.records.append(dict(fields))

    def upstream(self, host: str = "127.0.0.1") -> socket.socket:
        sock = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET, socket.SOCK_DGRAM)
        sock.bind((host, 0))
        sock.settimeout(5)
        self.addCleanup(sock.close)
        self.before += 1
        return sock

    async def until(self, true: Any) -> None:
        for _ in range(500):
            if true():
                return
            await deferLater(self.reactor, 0.005)
        self.fail("it did not happen")

    def path(self, path: Any) -> Any:
        self.addCleanup(path.close)
        path.start(self.receiver)
        return path


class UDPConnectTests(UDPCase):
    """One upstream."""

    async def test_an_address_and_a_name(self) -> None:
        escaper = self.make()
        verifyObject(IUDPConnect, escaper)
        for host in ("127.0.0.1", "one.test"):
            far = self.upstream()
            task = make_task(host, far.getsockname()[1])
            path = self.path(await escaper.udp_connect(task))
            verifyObject(IDatagramPath, path)
            self.assertEqual(path.send(b"hello", None), 0)
            data, sender = far.recvfrom(100)
            self.assertEqual((data, task.connect.local, task.connect.peer), (b"hello", sender, far.getsockname()))
            far.sendto(b"back", sender)
            await self.until(lambda: self.receiver.heard)
            self.assertEqual(self.receiver.heard.pop(), (b"back", None))
            path.close()
        self.assertEqual(escaper.stats.task_total, 2)
        self.assertEqual((escaper.stats.udp_out_packets, escaper.stats.udp_in_bytes), (2, 8))

    async def test_what_may_not_be_reached(self) -> None:
        escaper = self.make(no_ipv6=True)
        for host, error in (
            ("169.254.0.1", ForbiddenRemoteAddress),
            ("bad.test", ForbiddenRemoteAddress),
            ("::1", ForbiddenAddressFamily),
            ("six.test", ResolveFailed),
            ("nosuch.test", ResolveFailed),
        ):
            await self.assertFailure(Deferred.fromCoroutine(escaper.udp_connect(make_task(host, 9))), error)
        self.assertEqual(descriptors(), self.before)
        self.assertEqual(escaper.stats.forbidden_ip_blocked, 2)

    async def test_the_second_family_where_the_first_has_none(self) -> None:
        escaper, far = self.make(), self.upstream("::1")
        path = self.path(await escaper.udp_connect(make_task("six.test", far.getsockname()[1])))
        path.send(b"x", None)
        self.assertEqual(far.recv(10), b"x")

    async def test_where_it_sends_from_and_the_options_of_the_socket(self) -> None:
        escaper = self.make(bind_ip=(ip_address("127.0.0.3"),), udp_misc_opts=UDPMisc(time_to_live=7))
        far = self.upstream()
        task = make_task("127.0.0.1", far.getsockname()[1])
        task.udp = DatagramRelay(socket_buffer=SocketBuffer(recv=9000))
        path = self.path(await escaper.udp_connect(task))
        path.send(b"x", None)
        self.assertEqual(far.recvfrom(9)[1][0], "127.0.0.3")
        self.assertEqual(str(task.connect.bind_ip), "127.0.0.3")
        raw = path._socket.socket
        self.assertEqual(raw.getsockopt(socket.IPPROTO_IP, socket.IP_TTL), 7)
        self.assertEqual(raw.getsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF), 18000)

    async def test_a_local_address_that_is_not_ours(self) -> None:
        escaper = self.make(bind_ip=(ip_address("192.0.2.77"),))
        await self.assertFailure(Deferred.fromCoroutine(escaper.udp_connect(make_task("127.0.0.1", 9))), SetupSocketFailed)
        self.assertEqual(descriptors(), self.before)

    async def test_nobody_there_ends_it_with_one_record(self) -> None:
        escaper, far = self.make(), self.upstream()
        port = far.getsockname()[1]
        far.close()
        path = self.path(await escaper.udp_connect(make_task("127.0.0.1", port)))
        path.send(b"x", None)
        await self.until(lambda: self.receiver.closed)
        self.assertIsInstance(self.receiver.closed[0], RecvFailed)
        self.assertEqual([(record["escape_type"], record["reason"]) for record in self.records], [("UdpSendto", "RecvFailed")])
        self.assertEqual(path.send(b"x", None), 0)

    async def test_a_speed_limit_is_told(self) -> None:
        escaper, far = self.make(udp_sock_speed_limit=DatagramSpeed(shift=10, upload_packets=1)), self.upstream()
        path = self.path(await escaper.udp_connect(make_task("127.0.0.1", far.getsockname()[1])))
        self.assertGreater(path.send(b"x", None), 0.5)

    async def test_a_speed_limit_holds_answers_back(self) -> None:
        escaper, far = self.make(udp_sock_speed_limit=DatagramSpeed(shift=12, download_packets=2)), self.upstream()
        path = self.path(await escaper.udp_connect(make_task("127.0.0.1", far.getsockname()[1])))
        path.send(b"x", None)
        _, sender = far.recvfrom(9)
        for _ in range(4):
            far.sendto(b"y", sender)
        await self.until(lambda: len(self.receiver.heard) >= 2)
        self.assertNotIn(path._socket, self.reactor.getReaders())
        self.assertEqual(len(self.receiver.heard), 2)

    async def test_leaving_while_a_name_is_asked_for(self) -> None:
        escaper = self.make()
        self.resolver.later = True
        connecting = Deferred.fromCoroutine(escaper.udp_connect(make_task("one.test", 9)))
        connecting.addErrback(lambda _: None)
        connecting.cancel()
        self.resolver.answer()
        self.assertEqual(descriptors(), self.before)


class UDPRelayTests(UDPCase):
    """Any number."""

    async def relay(self, **keys: Any) -> Any:
        self.escaper = self.make(**keys)
        verifyObject(IUDPRelay, self.escaper)
        self.task = make_task("127.0.0.1", 9)
        return self.path(await self.escaper.udp_relay(self.task))

    def at(self, sock: socket.socket, host: str = "") -> Upstream:
        return Upstream(host or sock.getsockname()[0], sock.getsockname()[1])

    async def test_many_of_both_families_from_one_socket_each(self) -> None:
        path = await self.relay()
        verifyObject(IDatagramPath, path)
        here = [self.upstream() for _ in range(3)] + [self.upstream("::1")]
        senders = []
        for far in here * 2:
            path.send(memoryview(b"hello"), self.at(far))
            data, sender = far.recvfrom(100)
            far.sendto(data, sender)
            senders.append(sender[:2])
        self.assertEqual(len(set(senders)), 2)
        await self.until(lambda: len(self.receiver.heard) == 8)
        self.assertEqual({sender for _, sender in self.receiver.heard}, {far.getsockname()[:2] for far in here})

    async def test_datagrams_wait_for_their_name_and_only_so_many(self) -> None:
        path = await self.relay()
        far = self.upstream()
        self.resolver.later = True
        for number in range(WAITING + 5):
            path.send(b"%d" % number, self.at(far, "one.test"))
        self.assertEqual(self.resolver.asked, [("one.test", 4), ("one.test", 6)])
        self.resolver.answer()
        self.assertEqual([far.recv(9) for _ in range(WAITING)], [b"%d" % number for number in range(WAITING)])
        path.send(b"known", self.at(far, "one.test"))
        self.assertEqual(far.recv(9), b"known")
        self.assertEqual(len(self.resolver.asked), 2)

    async def test_what_ends_it_and_how_it_is_logged(self) -> None:
        for host, error in (
            ("169.254.0.1", ForbiddenTargetIpAddress),
            ("bad.test", ForbiddenTargetIpAddress),
            ("nosuch.test", DomainNotResolved),
            ("::1", AddressNotSupported),
        ):
            path = await self.relay(no_ipv6=True)
            path.send(b"x", Upstream(host, 53))
            self.assertIsInstance(self.receiver.closed[0], error, host)
            self.assertEqual([(record["reason"], record["upstream"]) for record in self.records], [(error.__name__, str(Upstream(host, 53)))])
            path.send(b"x", Upstream("127.0.0.1", 53))
            self.assertEqual(len(self.receiver.closed), 1)
            self.assertEqual(descriptors(), self.before)

    async def test_what_is_remembered_is_bounded(self) -> None:
        path = await self.relay()
        for number in range(NAMES + 10):
            self.resolver.names[f"n{number}.test"] = ("127.0.0.1",)
            path.send(b"x", Upstream(f"n{number}.test", 9))
        for port in range(1, TARGETS + 10):
            path.send(b"x", Upstream("127.0.0.1", port))
        self.assertLessEqual(len(path._names), NAMES)
        self.assertLessEqual(len(path._targets), TARGETS)

    async def test_closing_while_a_name_is_asked_for(self) -> None:
        path = await self.relay()
        self.resolver.later = True
        path.send(b"x", Upstream("one.test", 9))
        path.close()
        self.resolver.answer()
        self.assertEqual((self.receiver.closed, descriptors()), ([], self.before))
