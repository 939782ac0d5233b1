# SPDX-License-Identifier: Apache-2.0
"""TLS options made into contexts: shared, bounded, and refused by name where they cannot be honoured."""

from __future__ import annotations

from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives.hashes import SHA1, SHA256
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509 import ocsp
from twisted.trial.unittest import SynchronousTestCase

from g3.errors import ConfigError
from g3.net.tls.check import client_warnings
from g3.net.tls.context import CACHED_CONTEXTS, SessionStore, _client, _not_revoked, client_context, server_context
from g3.net.tls.options import PEM, CertificatePair, ClientTLSOptions, ServerTLSOptions, TLCPCertificatePair, TLSProtocol, TLSVersion
from tests.unit.net.tls.certs import authority, pair

NOTHING = PEM(b"no certificate", "nothing.pem")


class ContextTests(SynchronousTestCase):
    def test_equal_options_share_a_context_and_its_sessions(self) -> None:
        one = client_context(ClientTLSOptions(no_default_ca_certificate=True))
        self.assertIs(one, client_context(ClientTLSOptions(no_default_ca_certificate=True)))
        self.assertIsNot(one, client_context(ClientTLSOptions(no_default_ca_certificate=True), ("h2",)))
        self.assertIsNot(one, client_context(ClientTLSOptions(no_default_ca_certificate=True, insecure=True)))

    def test_the_number_of_contexts_kept_is_bounded(self) -> None:
        for number in range(CACHED_CONTEXTS + 5):
            client_context(ClientTLSOptions(no_default_ca_certificate=True, session_cache_each_capacity=number + 1))
        self.assertEqual(_client.cache_info().currsize, CACHED_CONTEXTS)

    def test_the_systems_authorities_are_trusted_by_default(self) -> None:
        trusted = client_context(ClientTLSOptions()).context.get_cert_store()
        self.assertIsNotNone(trusted)

    def refused(self, **options: Any) -> str:
        return str(self.assertRaises(ConfigError, client_context, ClientTLSOptions(**{"no_default_ca_certificate": True, **options})))

    def test_what_cannot_be_honoured_is_named(self) -> None:
        both = PEM(b"x")
        self.assertRegex(self.refused(protocol=TLSProtocol.TLCP1_1), "^protocol: TLCP needs the Tongsuo")
        self.assertRegex(self.refused(protocol=TLSProtocol.SSL3), "^protocol: ")
        self.assertRegex(self.refused(tlcp_cert_pair=TLCPCertificatePair(
            sign_certificate=both, sign_private_key=both, enc_certificate=both, enc_private_key=both
        )), "^tlcp_cert_pair: ")  # fmt: skip
        self.assertRegex(self.refused(ciphers=("HIGH",)), "^ciphers: .*protocol")
        self.assertRegex(self.refused(ciphers=("NOSUCH",), protocol=TLSProtocol.TLS1_2), "^ciphers: .*NOSUCH")
        self.assertRegex(self.refused(ciphers=("NOSUCH",), protocol=TLSProtocol.TLS1_3), "^ciphers: .*NOSUCH")
        self.assertRegex(self.refused(supported_groups="P-1"), "^supported_groups: .*P-1")
        self.assertRegex(self.refused(min_tls_version=TLSVersion.TLS1_3, max_tls_version=TLSVersion.TLS1_2), "^min_tls_version: ")
        self.assertRegex(self.refused(ca_certificate=(NOTHING,)), "^ca_certificate: cannot read nothing.pem")
        self.assertRegex(self.refused(cert_pair=CertificatePair(NOTHING, NOTHING)), "^certificate: cannot use nothing.pem")

    def test_every_problem_is_told_at_once(self) -> None:
        error = self.assertRaises(
            ConfigError,
            client_context,
            ClientTLSOptions(ciphers=("HIGH",), min_tls_version=TLSVersion.TLS1_3, max_tls_version=TLSVersion.TLS1_2),
        )
        self.assertEqual(len(error.problems), 2)

    def test_a_key_of_another_certificate_is_refused(self) -> None:
        mixed = CertificatePair(pair("a.test").certificate, pair("b.test").private_key)
        for options in (ServerTLSOptions(cert_pairs=(mixed,)), ServerTLSOptions(cert_pairs=(mixed, pair("a.test")))):
            self.assertRegex(str(self.assertRaises(ConfigError, server_context, options)), "^certificate: cannot use leaf.pem: .*key")

    def test_a_server_needs_a_certificate(self) -> None:
        self.assertRegex(str(self.assertRaises(ConfigError, server_context, ServerTLSOptions())), "^cert_pairs: ")

    def test_what_has_no_effect_is_told(self) -> None:
        options = ClientTLSOptions(enable_sct=True, enable_grease=True, permute_extensions=True, max_fragment_size=1, use_builtin_ca_certificate=True)
        words = ["enable_sct", "enable_grease", "permute_extensions", "max_fragment_size", "use_builtin_ca_certificate"]
        self.assertEqual([line.split(":")[0] for line in client_warnings(options)], words)
        self.assertEqual(client_warnings(ClientTLSOptions()), [])

    def test_old_versions_are_spoken_when_asked_for_by_name(self) -> None:
        for protocol in (TLSProtocol.TLS1_0, TLSProtocol.TLS1_1):
            client_context(ClientTLSOptions(no_default_ca_certificate=True, protocol=protocol))


class SessionStoreTests(SynchronousTestCase):
    def test_a_session_is_given_out_once_newest_first(self) -> None:
        store = SessionStore(2, 2)
        for session in ("one", "two", "three"):
            store.put(("a", 1), session)  # type: ignore[arg-type]
        self.assertEqual([store.take(("a", 1)) for _ in range(3)], ["three", "two", None])

    def test_the_site_unused_for_longest_goes_first(self) -> None:
        store = SessionStore(2, 1)
        store.put(("a", 1), "a")  # type: ignore[arg-type]
        store.put(("b", 1), "b")  # type: ignore[arg-type]
        store.put(("a", 1), "a again")  # type: ignore[arg-type]
        store.put(("c", 1), "c")  # type: ignore[arg-type]
        self.assertEqual([store.take((name, 1)) for name in "abc"], ["a again", None, "c"])

    def test_ports_of_one_name_are_two_sites(self) -> None:
        store = SessionStore(2, 1)
        store.put(("a", 1), "a")  # type: ignore[arg-type]
        self.assertIsNone(store.take(("a", 2)))

    def test_its_size_is_bounded(self) -> None:
        store = SessionStore(3, 4)
        for number in range(100):
            store.put((str(number % 10), 1), "session")  # type: ignore[arg-type]
        self.assertLessEqual(len(store), 12)


class StaplingTests(SynchronousTestCase):
    def staple(self, status: ocsp.OCSPCertStatus) -> bytes:
        from datetime import UTC, datetime

        issuer = authority()
        leaf = x509.load_pem_x509_certificate(pair("a.test").certificate.data)
        now = datetime.now(UTC)
        revoked = now if status is ocsp.OCSPCertStatus.REVOKED else None
        builder = ocsp.OCSPResponseBuilder().add_response(leaf, issuer.certificate, SHA1(), status, now, None, revoked, None)
        return builder.responder_id(ocsp.OCSPResponderEncoding.HASH, issuer.certificate).sign(issuer.key, SHA256()).public_bytes(Encoding.DER)

    def test_a_stapled_revocation_is_heeded(self) -> None:
        self.assertFalse(_not_revoked(None, self.staple(ocsp.OCSPCertStatus.REVOKED), None))  # type: ignore[arg-type]

    def test_anything_else_goes_on(self) -> None:
        busy = ocsp.OCSPResponseBuilder.build_unsuccessful(ocsp.OCSPResponseStatus.TRY_LATER).public_bytes(Encoding.DER)
        for staple in (b"", b"garbage", busy, self.staple(ocsp.OCSPCertStatus.GOOD)):
            self.assertTrue(_not_revoked(None, staple, None))  # type: ignore[arg-type]
