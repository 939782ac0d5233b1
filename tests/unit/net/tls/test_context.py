# SPDX-License-Identifier: Apache-2.0
"""TLS options made into contexts: shared, bounded, and refused by name where they cannot be honoured."""

from __future__ import annotations

import contextlib
from pathlib import Path
from typing import Any
from unittest.mock import Mock

import certifi
from cryptography import x509
from cryptography.hazmat.primitives.hashes import SHA1, SHA256
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509 import ocsp
from OpenSSL import SSL
from OpenSSL._util import lib
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
        options = ClientTLSOptions(enable_sct=True, enable_grease=True, permute_extensions=True)
        words = ["enable_sct", "enable_grease", "permute_extensions"]
        self.assertEqual([line.split(":")[0] for line in client_warnings(options)], words)
        self.assertEqual(client_warnings(ClientTLSOptions()), [])

    def test_old_versions_are_spoken_when_asked_for_by_name(self) -> None:
        for protocol in (TLSProtocol.TLS1_0, TLSProtocol.TLS1_1):
            client_context(ClientTLSOptions(no_default_ca_certificate=True, protocol=protocol))


class ClientTests(SynchronousTestCase):
    """Keys of a client that are not seen on the wire of a handshake."""

    def shaken(self, client: ClientTLSOptions, name: str = "a.test") -> tuple[Any, Any]:
        """A client and a server connection over memory after their handshake."""
        one = client_context(client).open(None, name)
        two = server_context(ServerTLSOptions(cert_pairs=(pair("a.test"),))).open(None)
        ends = [one, two]
        for _ in range(6):
            for end, other in (ends, reversed(ends)):
                with contextlib.suppress(SSL.WantReadError):
                    end.do_handshake()
                with contextlib.suppress(SSL.WantReadError):
                    other.bio_write(end.bio_read(65536))
        return one, two

    def test_records_are_no_longer_than_they_may_be(self) -> None:
        """max_fragment_size counts the header; encryption adds to it."""
        options = ClientTLSOptions(ca_certificate=(authority().pem,), no_default_ca_certificate=True, max_fragment_size=1000)
        client, server = self.shaken(options)
        data = bytes(range(256)) * 20
        self.assertEqual(client.send(data), len(data))
        wire = client.bio_read(65536)
        sizes = []
        at = 0
        while at < len(wire):
            sizes.append(int.from_bytes(wire[at + 3 : at + 5], "big"))
            at += 5 + sizes[-1]
        self.assertEqual(len(sizes), 6)
        # A byte for the type and 16 for the tag (RFC 8446 section 5.2).
        self.assertEqual(max(sizes), 995 + 17)
        server.bio_write(wire)
        self.assertEqual(b"".join(server.recv(65536) for _ in sizes), data)

    def test_mozillas_authorities_take_the_place_of_the_systems(self) -> None:
        """use_builtin_ca_certificate; with no_default_ca_certificate neither is trusted."""
        for more, expected in ((False, True), (True, False)):
            options = ClientTLSOptions(use_builtin_ca_certificate=True, no_default_ca_certificate=more)
            store: Any = client_context(options).context.get_cert_store()
            count = Path(certifi.where()).read_text().count("BEGIN CERTIFICATE") if expected else 0
            self.assertEqual(_lib_objects(store), count)

    def test_what_insecure_lets_pass_is_logged_once(self) -> None:
        from g3.net.tls import context

        lines: list[Any] = []
        self.patch(context, "log", Mock(warn=lambda _text, **words: lines.append((words["name"], words["fault"]))))
        options = ClientTLSOptions(no_default_ca_certificate=True, insecure=True, handshake_timeout=7.0)
        for name in ("a.test", "a.test", "b.test"):
            client, _ = self.shaken(options, name)
            client_context(options).notice(client)
        self.assertEqual([name for name, _ in lines], ["a.test", "b.test"])
        self.assertIn("unable to get local issuer certificate", lines[0][1])


def _lib_objects(store: Any) -> int:
    """How many certificates are trusted."""
    return int(lib.sk_X509_OBJECT_num(lib.X509_STORE_get0_objects(store._store)))


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
