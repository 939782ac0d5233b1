# SPDX-License-Identifier: Apache-2.0
"""What a TLS server is whichever library speaks for it."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives.hashes import SHA1, SHA256
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509 import ocsp
from twisted.trial.unittest import SynchronousTestCase

from g3.net.tls import policy
from g3.net.tls.options import OCSPResponse, ServerTLSOptions, TLSVersion
from g3.net.tls.policy import SERVER_CIPHERS, Choice, server_ciphers, session_id_context, staple_for
from tests.unit.net.tls.certs import authority, pair

A, B, WILD = pair("a.test"), pair("b.test", "www.b.test"), pair("*.b.test")
RSA = authority().pair("b.test", kind="rsa")


def options(**more: Any) -> ServerTLSOptions:
    return ServerTLSOptions(**{"cert_pairs": (A,), **more})


class ChoiceTests(SynchronousTestCase):
    """Which certificate a name gets."""

    def test_an_exact_name_before_a_wildcard_before_the_first(self) -> None:
        choice = Choice((A, WILD, B), lambda pairs: pairs)
        self.assertTrue(choice.needed)
        self.assertEqual(choice.default, (A,))
        for name, expected in (("b.test", (B,)), ("WWW.b.test.", (B,)), ("x.b.test", (WILD,)), ("a.test", None), ("x.y.b.test", None)):
            self.assertEqual(choice.of(name), expected, name)
        for name in ("", "192.0.2.1", "no such"):
            self.assertIsNone(choice.of(name))

    def test_each_kind_of_key_has_its_own(self) -> None:
        choice = Choice((A, B, RSA), lambda pairs: pairs)
        self.assertEqual(choice.default, (A, RSA))
        self.assertEqual(choice.of("b.test"), (B, RSA))
        self.assertFalse(Choice((A, RSA), lambda pairs: pairs).needed)

    def test_what_is_made_is_made_once_and_not_without_end(self) -> None:
        made: list[Any] = []
        choice = Choice((A, B, WILD), lambda pairs: made.append(pairs) or pairs)
        for _ in range(3):
            choice.of("b.test")
        self.assertEqual(len(made), 1)
        self.patch(policy, "MOST_CHOICES", 1)
        self.assertIsNone(choice.of("x.b.test"))


class OptionTests(SynchronousTestCase):
    def test_ciphers_are_sorted_by_version(self) -> None:
        self.assertEqual(server_ciphers(options()), (SERVER_CIPHERS, ""))
        self.assertEqual(server_ciphers(options(ciphers=("TLS_A", "B", "TLS_C", "D"))), ("B:D", "TLS_A:TLS_C"))
        self.assertEqual(server_ciphers(options(ciphers=("TLS_A",))), (SERVER_CIPHERS, "TLS_A"))
        self.assertEqual(server_ciphers(options(min_tls_version=TLSVersion.TLS1_1)), ("DEFAULT:@SECLEVEL=0", ""))

    def test_sessions_are_apart_where_anything_is_that_matters(self) -> None:
        """And together where only the text around a certificate differs."""
        der = authority().certificate.public_bytes(Encoding.DER)
        several = [
            session_id_context(options(), ()),
            session_id_context(options(cert_pairs=(B,)), ()),
            session_id_context(options(session_id_context="x"), ()),
            session_id_context(options(enable_client_auth=True), ()),
            session_id_context(options(enable_client_auth=True), (der,)),
        ]
        self.assertEqual(len(set(several)), len(several))
        commented = type(A)(type(A.certificate)(b"a comment\n" + A.certificate.data), A.private_key)
        self.assertEqual(session_id_context(options(cert_pairs=(commented,)), ()), several[0])

    def test_a_staple_goes_with_its_certificate_only(self) -> None:
        issuer, now = authority(), datetime.now(UTC)
        leaf = x509.load_pem_x509_certificate(A.certificate.data)
        builder = ocsp.OCSPResponseBuilder().add_response(leaf, issuer.certificate, SHA1(), ocsp.OCSPCertStatus.GOOD, now, None, None, None)
        response = builder.responder_id(ocsp.OCSPResponderEncoding.HASH, issuer.certificate).sign(issuer.key, SHA256())
        data = response.public_bytes(Encoding.DER)
        stapled = options(ocsp_response=OCSPResponse(data))
        self.assertEqual((staple_for(stapled, (A,)), staple_for(stapled, (B,)), staple_for(options(), (A,))), (data, b"", b""))
