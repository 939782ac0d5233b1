# SPDX-License-Identifier: Apache-2.0
"""The certificate agent and the location agent, against helpers on real sockets."""

from __future__ import annotations

import socket
from ipaddress import ip_address, ip_network
from typing import TYPE_CHECKING, Any

from cryptography.hazmat.primitives.asymmetric import ec
from twisted.internet.defer import Deferred
from twisted.internet.task import Clock, deferLater
from twisted.trial.unittest import SynchronousTestCase, TestCase
from zope.interface.verify import verifyObject

from g3.errors import G3Error
from g3.interfaces import ICertificateAgent, ILocator
from g3.lookup.certificates import CertificateAgent, CertificatePair, certificate_agent
from g3.lookup.locations import LocationAgent
from g3.lookup.networks import NetworkMap
from g3.lookup.options import CertAgentOptions, IPLocateOptions
from g3.mkcert.certificate import Subject
from g3.mkcert.issue import root
from g3.mkcert.keys import Algorithm, generate
from g3.net.options import UDPListen
from g3.net.timers import TimerWheel
from g3.net.udp_listen import DatagramListener, bind_udp
from g3.proto import certgen, iplocate
from g3.proto.certgen import CertificateKey, CertificateReply, CertificateRequest, Service, Usage
from g3.proto.iplocate import Location

if TYPE_CHECKING:
    from collections.abc import Callable

KEY = CertificateKey(Service.HTTP, Usage.TLS_SERVER, "example.com")
_key = generate(Algorithm.EC256)
CHAIN = root(Subject(common_name="example.com"), _key).pem().decode()
IP = ip_address("192.0.2.7")


class FakeGenerator:
    def __init__(self) -> None:
        self.requests: list[CertificateRequest] = []
        self.stopped = False

    def start(self, answered: Callable[[CertificateReply], None]) -> None:
        self.answered = answered

    def request(self, request: CertificateRequest) -> bool:
        self.requests.append(request)
        return True

    def stop(self) -> None:
        self.stopped = True


class CertificateAgentTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.clock = Clock()
        self.generator = FakeGenerator()
        self.agent = CertificateAgent(self.clock, TimerWheel(self.clock), CertAgentOptions(), self.generator)

    def ask(self) -> Deferred[CertificatePair | None]:
        found = self.agent.fetch(*KEY, b"upstream")
        assert isinstance(found, Deferred)
        return found

    def test_it_is_what_auditors_know(self) -> None:
        verifyObject(ICertificateAgent, self.agent)

    def test_it_asks_with_the_upstreams_certificate(self) -> None:
        waiting = self.ask()
        self.assertEqual(self.generator.requests, [CertificateRequest(KEY, b"upstream")])
        self.generator.answered(CertificateReply(KEY, CHAIN, _key.der(), 60))
        pair = self.successResultOf(waiting)
        assert pair is not None
        self.assertEqual(pair.certificates[0].subject.rfc4514_string(), "CN=example.com")
        self.assertIsInstance(pair.load_key(), ec.EllipticCurvePrivateKey)
        self.assertIs(self.agent.fetch(*KEY), pair)

    def test_a_look_ahead_reads_the_cache_only(self) -> None:
        self.assertIs(self.agent.cached(*KEY), None)
        self.assertEqual(self.generator.requests, [])

    def test_service_usage_and_host_tell_certificates_apart(self) -> None:
        self.ask()
        for key in (KEY._replace(service=Service.SMTP), KEY._replace(usage=Usage.TLS_SERVER_TONGSUO), KEY._replace(host="www.example.com")):
            self.assertIsInstance(self.agent.fetch(*key), Deferred)
            self.generator.answered(CertificateReply(key._replace(host="else"), CHAIN, b"", 60))
        self.assertEqual(len(self.generator.requests), 4)

    def test_an_answer_is_kept_as_long_as_it_says_within_bounds(self) -> None:
        """0 is as long as a failure, more than the maximum is the maximum."""
        for said, kept in ((60, 60), (0, 10), (None, 10), (86400, 300)):
            self.setUp()
            self.ask()
            self.generator.answered(CertificateReply(KEY, CHAIN, _key.der(), said))
            self.clock.advance(kept)
            self.agent.fetch(*KEY)
            self.assertEqual(len(self.generator.requests), 1, said)
            self.clock.advance(1)
            self.agent.fetch(*KEY)
            self.assertEqual(len(self.generator.requests), 2, said)

    def test_a_chain_that_is_none_is_no_answer(self) -> None:
        waiting = self.ask()
        self.generator.answered(CertificateReply(KEY, "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----", b"", 60))
        self.assertNoResult(waiting)
        self.clock.pump([0.5] * 10)
        self.assertIs(self.successResultOf(waiting), None)

    def test_a_key_that_cannot_be_read_says_so_when_it_is_wanted(self) -> None:
        for key in (b"", "", b"\x30\x00"):
            self.assertRaises(G3Error, CertificatePair(CHAIN, key).load_key)
        self.assertRaises(G3Error, CertificatePair, "", b"")

    def test_nothing_is_left_at_the_end(self) -> None:
        waiting = self.ask()
        self.agent.stop()
        self.assertIs(self.successResultOf(waiting), None)
        self.assertTrue(self.generator.stopped)


class DatagramCase(TestCase):
    """A helper on a real socket, answering with C{self.answer(data)}."""

    def setUp(self) -> None:
        from twisted.internet import reactor

        self.reactor = reactor
        self.received: list[bytes] = []
        self.listener = DatagramListener(self.reactor, bind_udp(UDPListen(address=("127.0.0.1", 0))), self.on_datagram, 65535)
        self.listener.start()
        self.addCleanup(self.listener.stop)
        self.timers = TimerWheel(self.reactor, 0.05)
        self.addCleanup(self.timers.stop)

    def on_datagram(self, data: bytes, peer: Any) -> None:
        self.received.append(data)
        self.peer = peer
        for reply in self.answer(data):
            self.listener.send(reply, peer)

    def answer(self, data: bytes) -> list[bytes]:
        return []


class DatagramCertificateTests(DatagramCase):
    def agent(self, **options: Any) -> CertificateAgent:
        agent = certificate_agent(self.reactor, self.timers, CertAgentOptions(**{"query_peer_addr": self.listener.address, **options}))
        self.addCleanup(agent.stop)
        return agent

    def answer(self, data: bytes) -> list[bytes]:
        request = certgen.decode_request(data)
        other = CertificateReply(request.key._replace(host="other"), CHAIN, _key.der(), 60)
        return [b"garbage", certgen.encode_reply(other), certgen.encode_reply(CertificateReply(request.key, CHAIN, _key.der(), 60))]

    async def test_answers_are_matched_by_what_was_asked(self) -> None:
        """What is no answer, or another one's, is left aside."""
        agent = self.agent()
        pair = await agent.fetch(*KEY)  # type: ignore[misc]
        self.assertEqual(pair.chain, CHAIN)
        self.assertIs(agent.cached(*KEY._replace(host="other")), None)
        self.assertEqual(self.received, [certgen.encode_request(CertificateRequest(KEY))])

    async def test_a_generator_that_is_not_there_blocks_nobody(self) -> None:
        """And is asked again when it is back."""
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
            probe.bind(("127.0.0.1", 0))
            nowhere = probe.getsockname()
        agent = self.agent(query_peer_addr=nowhere, query_wait_timeout=0.2, protective_cache_ttl=0)
        self.assertIs(await agent.fetch(*KEY), None)  # type: ignore[misc]
        listener = DatagramListener(self.reactor, bind_udp(UDPListen(address=nowhere)), self.back, 65535)
        listener.start()
        self.addCleanup(listener.stop)
        self.back_on = listener
        agent.fetch(*KEY)
        await deferLater(self.reactor, 0.3, lambda: None)
        self.assertIsNot(agent.cached(*KEY), None)

    def back(self, data: bytes, peer: Any) -> None:
        for reply in self.answer(data):
            self.back_on.send(reply, peer)


class LocationAgentTests(DatagramCase):
    location = Location(network=ip_network("192.0.2.0/24"), country="DE", continent="EU")
    ttl: int | None = 60

    def setUp(self) -> None:
        super().setUp()
        self.clock = Clock()

    def agent(self, **options: Any) -> LocationAgent:
        agent = LocationAgent(
            self.reactor, self.timers, IPLocateOptions(**{"query_peer_addr": self.listener.address, "query_wait_timeout": 0.2, **options})
        )
        self.addCleanup(agent.stop)
        agent._clock = self.clock
        return agent

    def answer(self, data: bytes) -> list[bytes]:
        ip = iplocate.decode_request(data)
        return [b"\xc1", iplocate.encode_reply(ip, self.location, self.ttl)] if ip in self.location.network else []

    async def test_an_answer_is_good_for_its_whole_network(self) -> None:
        agent = self.agent()
        verifyObject(ILocator, agent)
        self.assertEqual(await agent.locate(IP), self.location)  # type: ignore[misc]
        self.assertEqual(agent.locate(ip_address("192.0.2.200")), self.location)
        self.assertEqual(len(self.received), 1)

    async def test_an_expired_answer_is_asked_for_again_and_good_enough_if_none_comes(self) -> None:
        agent = self.agent()
        await agent.locate(IP)  # type: ignore[misc]
        self.clock.advance(61)
        self.answer = lambda _data: []  # type: ignore[method-assign]
        self.assertEqual(await agent.locate(IP), self.location)  # type: ignore[misc]
        self.assertEqual(agent.locate(IP), self.location)
        self.assertEqual(len(self.received), 2)

    async def test_what_nobody_knows_is_none_and_not_asked_again_at_once(self) -> None:
        agent = self.agent()
        unknown = ip_address("198.51.100.1")
        self.assertIs(await agent.locate(unknown), None)  # type: ignore[misc]
        self.assertIs(agent.locate(unknown), None)
        self.assertEqual(len(self.received), 1)
        self.clock.advance(11)
        self.assertIsInstance(agent.locate(unknown), Deferred)

    async def test_how_long_an_answer_is_kept_is_bounded(self) -> None:
        """One that does not say, the default; one that says much, the maximum."""
        for ttl, kept in ((None, 10), (86400, 300), (60, 60)):
            self.ttl = ttl
            agent = self.agent()
            await agent.locate(IP)  # type: ignore[misc]
            self.clock.advance(kept)
            self.assertEqual(agent.locate(IP), self.location)
            self.clock.advance(1)
            self.assertIsInstance(agent.locate(IP), Deferred)

    async def test_what_is_pushed_is_kept(self) -> None:
        agent = self.agent()
        await agent.locate(IP)  # type: ignore[misc]
        pushed = Location(network=ip_network("198.51.100.0/24"), as_number=64496)
        self.listener.send(iplocate.encode_reply(None, pushed, 60), self.peer)
        await deferLater(self.reactor, 0.1, lambda: None)
        self.assertEqual(agent.locate(ip_address("198.51.100.1")), pushed)


class NetworkMapTests(SynchronousTestCase):
    def test_the_smallest_network_wins(self) -> None:
        networks: NetworkMap[str] = NetworkMap()
        for text in ("0.0.0.0/0", "192.0.2.0/24", "192.0.2.7/32", "2001:db8::/32", "::/0"):
            networks.put(ip_network(text), text)
        for ip, wanted in (
            ("192.0.2.7", ("192.0.2.7/32", 32)),
            ("192.0.2.8", ("192.0.2.0/24", 24)),
            ("198.51.100.1", ("0.0.0.0/0", 0)),
            ("2001:db8::1", ("2001:db8::/32", 32)),
            ("::ffff:192.0.2.7", ("::/0", 0)),
        ):
            self.assertEqual(networks.get(ip_address(ip)), wanted)
        self.assertEqual(len(networks), 5)

    def test_it_is_bounded(self) -> None:
        """What was set longest ago goes; setting it again makes it young."""
        networks: NetworkMap[int] = NetworkMap(2)
        a, b, c = (ip_network(f"192.0.2.{n}/32") for n in range(3))
        for number, network in enumerate((a, b, a, c)):
            networks.put(network, number)
        self.assertEqual(len(networks), 2)
        self.assertEqual([networks.get(each.network_address) for each in (a, b, c)], [(2, 32), None, (3, 32)])
