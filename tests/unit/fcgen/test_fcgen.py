# SPDX-License-Identifier: Apache-2.0
"""The certificate generator: what it makes, for how long, and what it does with what cannot be made."""

from __future__ import annotations

import socket
from datetime import UTC, datetime
from typing import Any
from unittest.mock import patch

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.x509.oid import NameOID
from twisted.internet.defer import Deferred
from twisted.internet.task import Clock, deferLater
from twisted.trial.unittest import SynchronousTestCase, TestCase

from g3.config.value import ValueProblem
from g3.fcgen import workshop as workshops
from g3.fcgen.config import Backend, BackendValue
from g3.fcgen.forge import REFRESH_INTERVAL, Forge
from g3.fcgen.frontend import Frontend
from g3.fcgen.workshop import LocalGenerator, Workshop
from g3.lookup.certificates import CertificateAgent, CertificatePair
from g3.lookup.options import CertAgentOptions
from g3.mkcert.certificate import Authority, Subject
from g3.mkcert.issue import Use, leaf, root, usage_of
from g3.mkcert.keys import Algorithm, CertificateError, generate
from g3.net.options import UDPListen
from g3.net.timers import TimerWheel
from g3.net.tls.options import PEM
from g3.net.udp_listen import bind_udp
from g3.proto.certgen import CertificateKey, CertificateReply, CertificateRequest, Service, Usage, decode_reply, encode_request
from tests.unit.config.samples import parse
from tests.unit.mkcert.test_issue import original, usages

KEY = generate(Algorithm.EC256)
ROOT = root(Subject(common_name="Root"), KEY)
CA = x509.load_der_x509_certificate(ROOT.der)


def backend(**options: Any) -> Backend:
    given = {"chain": ROOT.pem().decode(), **options}
    return Backend(PEM(ROOT.pem()), PEM(KEY.pem()), authority=Authority(ROOT, KEY), **given)


def request(host: str = "example.com", mimic: str | bytes | None = None, usage: Usage = Usage.TLS_SERVER) -> CertificateRequest:
    return CertificateRequest(CertificateKey(Service.HTTP, usage, host), mimic)


def first(reply: CertificateReply) -> x509.Certificate:
    certificate = x509.load_pem_x509_certificate(reply.chain.encode())
    certificate.verify_directly_issued_by(CA)
    return certificate


class ForgeTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.now = 0.0
        self.forge = Forge(backend(), lambda: self.now)

    def test_a_name_gets_a_certificate_of_its_own(self) -> None:
        """With a P-256 key, for a server, for a day at most."""
        reply = self.forge.make(request())
        made = first(reply)
        self.assertEqual(made.subject.rfc4514_string(), "CN=example.com")
        names = made.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
        self.assertEqual(list(names), [x509.DNSName("example.com")])
        self.assertEqual(usages(made), {"digital_signature", "key_encipherment", "key_agreement"})
        key = CertificatePair(reply.chain, reply.private_key).load_key()
        self.assertIsInstance(key, ec.EllipticCurvePrivateKey)
        self.assertEqual(key.public_key(), made.public_key())
        self.assertEqual((reply.key, reply.ttl), (request().key, 86400))

    def test_the_issuers_follow_unless_told_otherwise(self) -> None:
        self.assertEqual(len(x509.load_pem_x509_certificates(self.forge.make(request()).chain.encode())), 2)
        self.forge = Forge(backend(chain=""), lambda: 0.0)
        self.assertEqual(len(x509.load_pem_x509_certificates(self.forge.make(request()).chain.encode())), 1)

    def test_addresses_and_long_names_can_be_had_too(self) -> None:
        """A name over 64 characters does not fit the common name."""
        for host in ("192.0.2.1", "2001:db8::1", "a" * 60 + ".example.com", "münchen.example"):
            made = first(self.forge.make(request(host)))
            self.assertEqual(len(made.subject.get_attributes_for_oid(NameOID.COMMON_NAME)), 0 if len(host) > 64 else 1)

    def test_a_host_that_can_be_none_gets_no_certificate(self) -> None:
        for host in ("exa mple", "a/b", "x" * 300, "-\x00-"):
            self.assertRaises(CertificateError, self.forge.make, request(host))
        self.assertEqual((self.forge.request_total, self.forge.request_ok), (4, 0))

    def test_the_key_serves_for_five_minutes(self) -> None:
        """The serial number is another one each time."""
        one, two = first(self.forge.make(request())), first(self.forge.make(request()))
        self.assertEqual(one.public_key(), two.public_key())
        self.assertNotEqual(one.serial_number, two.serial_number)
        self.now = REFRESH_INTERVAL
        self.assertNotEqual(first(self.forge.make(request())).public_key(), one.public_key())
        self.assertEqual((self.forge.refresh_total, self.forge.refresh_ok), (2, 2))

    def test_a_certificate_like_another_one(self) -> None:
        """From DER or from PEM; an RSA key for RSA."""
        source = original(key=rsa.generate_private_key(65537, 3072))
        for mimic in (source.der, source.pem().decode()):
            made = first(self.forge.make(request(mimic=mimic)))
            key = made.public_key()
            assert isinstance(key, rsa.RSAPublicKey)
            self.assertEqual(key.key_size, 2048)
            self.assertEqual(made.subject, x509.load_der_x509_certificate(source.der).subject)

    def test_usages_of_other_protocols_are_made_anew(self) -> None:
        for usage, wanted in (
            (Usage.TLS_SERVER, {"digital_signature", "key_encipherment"}),
            (Usage.TLS_SERVER_TONGSUO, {"digital_signature", "key_encipherment", "key_agreement"}),
            (Usage.TLCP_SERVER_SIGNATURE, {"digital_signature", "content_commitment"}),
            (Usage.TLCP_SERVER_ENCRYPTION, {"key_encipherment", "data_encipherment", "key_agreement"}),
        ):
            self.assertEqual(usages(first(self.forge.make(request(mimic=original().der, usage=usage)))), wanted)

    def test_the_serial_number_is_kept_when_configured(self) -> None:
        self.forge = Forge(backend(keep_serial=True), lambda: 0.0)
        self.assertEqual(first(self.forge.make(request(mimic=original(serial=4711).der))).serial_number, 4711)

    def test_a_reply_is_good_for_as_long_as_its_certificate(self) -> None:
        """Within the configured bound; one that ended today for no time, one that ended before not at all."""
        self.assertEqual(self.forge.make(request(mimic=original(days=30).der)).ttl, 86400)
        self.forge = Forge(backend(max_ttl=86400 * 60), lambda: 0.0)
        certificate = original(days=30)
        ttl = self.forge.make(request(mimic=certificate.der)).ttl
        assert ttl is not None
        self.assertApproximates(ttl, (certificate.not_after - datetime.now(UTC)).total_seconds(), 60)
        self.assertEqual(self.forge.make(request(mimic=original(days=0).der)).ttl, 0)
        self.assertRaises(CertificateError, self.forge.make, request(mimic=original(days=-2).der))

    def test_what_cannot_be_mimicked_gets_no_certificate(self) -> None:
        for mimic in (b"", "", b"garbage", "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----", original(without=("eku",)).der):
            self.assertRaises(CertificateError, self.forge.make, request(mimic=mimic))

    def test_sm2_is_mimicked_by_sm2(self) -> None:
        key = generate(Algorithm.SM2)
        source = leaf(Subject(common_name="x"), ["x"], key, usage_of(Algorithm.SM2, Use.TLS_SERVER), client=False, authority=Authority(ROOT, KEY))
        made = first(self.forge.make(request(mimic=source.der)))
        self.assertEqual(made.public_key_algorithm_oid.dotted_string, "1.2.840.10045.2.1")
        self.assertRaises(UnsupportedAlgorithm, made.public_key)


class ThreadedCase(TestCase):
    def setUp(self) -> None:
        from twisted.internet import reactor

        self.reactor = reactor
        self.workshop = Workshop(reactor, backend(), 2)
        self.addCleanup(self.workshop.stop)


class LocalTests(ThreadedCase):
    """The generator in the same process, behind the interface that auditors know."""

    def setUp(self) -> None:
        super().setUp()
        self.timers = TimerWheel(self.reactor, 0.05)
        self.addCleanup(self.timers.stop)
        options = CertAgentOptions(query_wait_timeout=1.0)
        self.agent = CertificateAgent(self.reactor, self.timers, options, LocalGenerator(self.workshop))
        self.addCleanup(self.agent.stop)

    async def test_an_auditor_needs_no_daemon(self) -> None:
        pair = await self.agent.fetch(Service.HTTP, Usage.TLS_SERVER, "example.com", original().der)  # type: ignore[misc]
        self.assertEqual(pair.certificates[0].subject.rfc4514_string(), "CN=their.example,O=Their Org")
        self.assertIs(self.agent.cached(Service.HTTP, Usage.TLS_SERVER, "example.com"), pair)

    async def test_what_cannot_be_made_ends_as_none(self) -> None:
        self.assertIs(await self.agent.fetch(Service.HTTP, Usage.TLS_SERVER, "no host", None), None)  # type: ignore[misc]

    async def test_many_names_at_once(self) -> None:
        waiting = [self.agent.fetch(Service.HTTP, Usage.TLS_SERVER, f"h{number}.example") for number in range(200)]
        pairs = [await each for each in waiting]  # type: ignore[misc]
        self.assertEqual(len({pair.certificates[0].serial_number for pair in pairs}), 200)
        totals = {sample.name: sample.value for sample in self.workshop.samples()}
        self.assertEqual((totals["backend.request_total"], totals["backend.request_ok"]), (200, 200))

    async def test_more_than_fits_is_refused_and_blocks_nobody(self) -> None:
        with patch.object(workshops, "ROOM", 1):
            first = self.agent.fetch(Service.HTTP, Usage.TLS_SERVER, "a.example")
            self.assertIs(self.agent.fetch(Service.HTTP, Usage.TLS_SERVER, "b.example"), None)
            assert isinstance(first, Deferred)
            self.assertIsNot(await first, None)


class FrontendTests(ThreadedCase):
    def setUp(self) -> None:
        super().setUp()
        self.workshop.start()
        self.frontend = Frontend(self.reactor, bind_udp(UDPListen(address=("127.0.0.1", 0))), self.workshop)
        self.addCleanup(self.frontend.stop)
        self.frontend.start()
        self.client = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.addCleanup(self.client.close)
        self.client.connect(self.frontend.address)
        self.client.setblocking(False)

    async def answers(self, seconds: float = 0.5) -> list[bytes]:
        await deferLater(self.reactor, seconds, lambda: None)
        found = []
        while True:
            try:
                found.append(self.client.recv(65536))
            except BlockingIOError:
                return found

    async def test_requests_are_answered_and_counted(self) -> None:
        """What is no request, or cannot be met, is not answered at all."""
        for data in (encode_request(request()), b"\xc1", encode_request(request("no host")), encode_request(request(mimic=original().der))):
            self.client.send(data)
        replies = [decode_reply(data) for data in await self.answers()]
        self.assertEqual([reply.key.host for reply in replies], ["example.com"] * 2)
        totals = {sample.name: sample.value for sample in self.frontend.stats.samples()}
        self.assertEqual(totals, {"frontend.request_total": 4, "frontend.request_invalid": 1, "frontend.response_total": 2})

    async def test_it_drains(self) -> None:
        """What is pending is answered, what comes later is not."""
        for number in range(20):
            self.client.send(encode_request(request(f"h{number}.example")))
        await deferLater(self.reactor, 0.0, lambda: None)
        idle: Deferred[None] = Deferred()
        self.frontend.drain(lambda: idle.callback(None))
        await idle
        pending = self.frontend.stats.requests
        self.client.send(encode_request(request("late.example")))
        hosts = [decode_reply(data).key.host for data in await self.answers(0.2)]
        self.assertEqual(len(hosts), pending)
        self.assertNotIn("late.example", hosts)

    async def test_while_full_the_kernel_keeps_requests(self) -> None:
        with patch.object(workshops, "ROOM", 2):
            for number in range(30):
                self.client.send(encode_request(request(f"h{number}.example")))
            self.assertEqual(len(await self.answers(1.0)), 30)


class ConfigTests(SynchronousTestCase):
    def text(self, key: bytes, more: str = "") -> str:
        def block(pem: bytes) -> str:
            return "".join(f"\n  {line}" for line in pem.decode().splitlines())

        return f"ca_certificate: |{block(ROOT.pem())}\nca_private_key: |{block(key)}\n{more}"

    def test_the_authority_comes_with_the_configuration(self) -> None:
        made = parse(BackendValue(), self.text(KEY.pem(), "max_ttl: 1\nkeep-serial: on"))
        self.assertEqual((made.authority.certificate.der, made.max_ttl, made.keep_serial), (ROOT.der, 300, True))
        self.assertEqual(made.chain, ROOT.pem().decode())
        self.assertEqual(parse(BackendValue(), self.text(KEY.pem(), "no_append_ca_cert: true")).chain, "")

    def test_another_ones_key_is_refused(self) -> None:
        error = self.assertRaises(ValueProblem, parse, BackendValue(), self.text(generate(Algorithm.EC256).pem()))
        self.assertIn("not that of the CA certificate", str(error))

    def test_an_sm2_authority_can_be_used(self) -> None:
        key = generate(Algorithm.SM2)
        certificate = root(Subject(common_name="SM2"), key)
        made = Forge(Backend(PEM(b""), PEM(b""), authority=Authority(certificate, key)), Clock().seconds)
        self.assertEqual(made.make(request()).ttl, 86400)
