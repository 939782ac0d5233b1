# SPDX-License-Identifier: Apache-2.0
"""What is in each kind of certificate; C{cryptography} reads and verifies what we write."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, ExtensionOID, NameOID
from cryptography.x509.verification import PolicyBuilder, Store
from twisted.trial.unittest import SynchronousTestCase

from g3.mkcert.certificate import Authority, Certificate, Subject, extended_key_usage, key_usage, load_certificates
from g3.mkcert.issue import Use, Window, algorithm_of, intermediate, leaf, mimic, root, usage_of
from g3.mkcert.keys import Algorithm, CertificateError, Key, generate, load_key

NOW = datetime.now(UTC)
ROOT_KEY = generate(Algorithm.EC256)
ROOT = root(Subject(country="CN", organization="Org", unit="Unit", common_name="Root"), ROOT_KEY)
AUTHORITY = Authority(ROOT, ROOT_KEY)
LEAF_EXTENSIONS = ["keyUsage", "extendedKeyUsage", "subjectAltName", "subjectKeyIdentifier", "authorityKeyIdentifier"]


def parsed(certificate: Certificate) -> x509.Certificate:
    return x509.load_der_x509_certificate(certificate.der)


def make(
    use: Use = Use.TLS_SERVER, algorithm: Algorithm = Algorithm.EC256, hosts: tuple[str, ...] = ("example.com",), **more: Any
) -> x509.Certificate:
    key = more.pop("key", None) or generate(algorithm)
    authority = more.pop("authority", AUTHORITY)
    subject = more.pop("subject", Subject(common_name=hosts[0]))
    return parsed(leaf(subject, hosts, key, usage_of(algorithm, use), client=use.client, authority=authority, **more))


def usages(certificate: x509.Certificate) -> set[str]:
    usage = certificate.extensions.get_extension_for_class(x509.KeyUsage)
    assert usage.critical
    names = ("digital_signature", "content_commitment", "key_encipherment", "data_encipherment", "key_agreement", "key_cert_sign", "crl_sign")
    return {name for name in names if getattr(usage.value, name)}


def original(*, days: int = 30, without: tuple[str, ...] = (), key: Any = None, serial: int = 77) -> Certificate:
    """Somebody else's certificate, made by C{cryptography}."""
    key = key or ec.generate_private_key(ec.SECP384R1())
    name = x509.Name([x509.NameAttribute(NameOID.ORGANIZATION_NAME, "Their Org"), x509.NameAttribute(NameOID.COMMON_NAME, "their.example")])
    builder = x509.CertificateBuilder().subject_name(name).issuer_name(name).public_key(key.public_key()).serial_number(serial)
    builder = builder.not_valid_before(NOW - timedelta(days=400)).not_valid_after(NOW + timedelta(days=days))
    usage = x509.KeyUsage(True, False, True, False, False, False, False, False, False)
    extensions: dict[str, tuple[Any, bool]] = {
        "ku": (usage, True),
        "eku": (x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH]), False),
        "san": (x509.SubjectAlternativeName([x509.DNSName("their.example"), x509.IPAddress(ip_address("192.0.2.1"))]), True),
        "ski": (x509.SubjectKeyIdentifier.from_public_key(key.public_key()), False),
        "aki": (x509.AuthorityKeyIdentifier.from_issuer_public_key(key.public_key()), False),
        "policies": (x509.CertificatePolicies([x509.PolicyInformation(x509.ObjectIdentifier("2.23.140.1.2.1"), None)]), False),
    }
    for word, (extension, critical) in extensions.items():
        if word not in without:
            builder = builder.add_extension(extension, critical)
    made = builder.sign(key, hashes.SHA256())
    return Certificate(made.public_bytes(serialization.Encoding.DER))


class RootTests(SynchronousTestCase):
    certificate = parsed(ROOT)

    def test_it_signs_itself_for_ten_years(self) -> None:
        self.certificate.verify_directly_issued_by(self.certificate)
        self.assertEqual(self.certificate.version, x509.Version.v3)
        self.assertApproximates((self.certificate.not_valid_after_utc - NOW).total_seconds(), 3650 * 86400, 60)
        self.assertApproximates((NOW - self.certificate.not_valid_before_utc).total_seconds(), 86400, 60)

    def test_it_is_an_authority_without_a_path_length(self) -> None:
        constraints = self.certificate.extensions.get_extension_for_class(x509.BasicConstraints)
        self.assertEqual((constraints.critical, constraints.value), (True, x509.BasicConstraints(True, None)))
        self.assertEqual(usages(self.certificate), {"key_cert_sign", "crl_sign"})
        self.assertEqual([each.oid._name for each in self.certificate.extensions], ["keyUsage", "basicConstraints", "subjectKeyIdentifier"])

    def test_its_name_is_in_upstreams_order(self) -> None:
        self.assertEqual([each.rfc4514_attribute_name for each in self.certificate.subject], ["C", "O", "OU", "CN"])
        self.assertEqual(self.certificate.subject, self.certificate.issuer)

    def test_its_serial_number_is_long_and_positive(self) -> None:
        """128 bits, the first and the last set."""
        for _ in range(20):
            serial = make().serial_number
            self.assertEqual((serial.bit_length(), serial & 1), (128, 1))

    def test_its_key_identifier_is_the_usual_one(self) -> None:
        found = self.certificate.extensions.get_extension_for_class(x509.SubjectKeyIdentifier).value
        self.assertEqual(found, x509.SubjectKeyIdentifier.from_public_key(self.certificate.public_key()))

    def test_a_key_that_cannot_sign_is_none_of_an_authority(self) -> None:
        for algorithm in (Algorithm.X25519, Algorithm.X448):
            self.assertRaises(CertificateError, root, Subject(common_name="x"), generate(algorithm))
            self.assertRaises(CertificateError, intermediate, Subject(common_name="x"), generate(algorithm), AUTHORITY)

    def test_names_that_cannot_be_are_refused(self) -> None:
        for subject in (Subject(country="C"), Subject(country="12"), Subject(common_name="x" * 65), Subject(unit="\udc80")):
            self.assertRaises(CertificateError, subject.name)


class IntermediateTests(SynchronousTestCase):
    def path_length(self, certificate: Certificate) -> int | None:
        return parsed(certificate).extensions.get_extension_for_class(x509.BasicConstraints).value.path_length

    def test_its_path_length_is_what_was_asked_for_and_what_its_issuer_allows(self) -> None:
        key = generate(Algorithm.EC256)
        first = intermediate(Subject(common_name="1"), key, AUTHORITY, 2)
        self.assertEqual(self.path_length(first), 2)
        for asked, given in ((0, 0), (1, 1), (5, 1)):
            self.assertEqual(self.path_length(intermediate(Subject(common_name="2"), key, Authority(first, key), asked)), given)

    def test_after_path_length_zero_there_is_none(self) -> None:
        key = generate(Algorithm.EC256)
        last = intermediate(Subject(common_name="1"), key, AUTHORITY)
        self.assertEqual(self.path_length(last), 0)
        self.assertRaises(CertificateError, intermediate, Subject(common_name="2"), key, Authority(last, key))

    def test_it_names_its_issuer(self) -> None:
        made = parsed(intermediate(Subject(common_name="1"), generate(Algorithm.EC384), AUTHORITY))
        made.verify_directly_issued_by(parsed(ROOT))
        identifier = made.extensions.get_extension_for_class(x509.AuthorityKeyIdentifier).value
        self.assertEqual((identifier.key_identifier, identifier.authority_cert_issuer), (ROOT.key_identifier(), None))

    def test_only_an_authority_with_its_own_key_issues(self) -> None:
        self.assertRaises(CertificateError, Authority, ROOT, generate(Algorithm.EC256))
        key = generate(Algorithm.EC256)
        server = leaf(Subject(common_name="x"), ["x"], key, usage_of(Algorithm.EC256, Use.TLS_SERVER), client=False, authority=AUTHORITY)
        self.assertRaises(CertificateError, intermediate, Subject(common_name="y"), key, Authority(server, key))


class LeafTests(SynchronousTestCase):
    def test_key_usage_goes_by_use_and_algorithm(self) -> None:
        general = {"digital_signature", "key_encipherment", "key_agreement"}
        for use, algorithm, wanted in (
            (Use.TLS_SERVER, Algorithm.RSA, general),
            (Use.TLS_CLIENT, Algorithm.EC256, general),
            (Use.TLS_SERVER, Algorithm.SM2, general),
            (Use.TLS_SERVER, Algorithm.ED25519, {"digital_signature"}),
            (Use.TLS_SERVER, Algorithm.ED448, {"digital_signature"}),
            (Use.TLS_SERVER, Algorithm.X25519, {"key_agreement"}),
            (Use.TLS_CLIENT, Algorithm.X448, {"key_agreement"}),
            (Use.TLCP_SERVER_SIGN, Algorithm.SM2, {"digital_signature", "content_commitment"}),
            (Use.TLCP_CLIENT_ENC, Algorithm.RSA, {"key_encipherment", "data_encipherment", "key_agreement"}),
        ):
            self.assertEqual(usages(make(use, algorithm)), wanted, (use, algorithm))

    def test_extensions_are_in_upstreams_order(self) -> None:
        self.assertEqual([each.oid._name for each in make().extensions], LEAF_EXTENSIONS)
        self.assertEqual([each.critical for each in make().extensions], [True, False, False, False, False])

    def test_servers_and_clients_are_told_apart(self) -> None:
        for use in Use:
            purposes = list(make(use).extensions.get_extension_for_class(x509.ExtendedKeyUsage).value)
            self.assertEqual(purposes, [ExtendedKeyUsageOID.CLIENT_AUTH if use.client else ExtendedKeyUsageOID.SERVER_AUTH])

    def test_names_and_addresses_are_alternative_names(self) -> None:
        names = make(hosts=("*.example.net", "192.0.2.1", "2001:db8::1")).extensions.get_extension_for_class(x509.SubjectAlternativeName).value
        addresses = [x509.IPAddress(ip_address("192.0.2.1")), x509.IPAddress(ip_address("2001:db8::1"))]
        self.assertEqual(list(names), [x509.DNSName("*.example.net"), *addresses])

    def test_it_ends_with_its_issuer(self) -> None:
        window = Window(NOW - timedelta(days=1), NOW + timedelta(days=5000))
        self.assertEqual(make(window=window).not_valid_after_utc, ROOT.not_after)
        self.assertApproximates((make().not_valid_after_utc - datetime.now(UTC)).total_seconds(), 365 * 86400, 60)

    def test_a_subject_of_nobody_makes_the_other_names_critical(self) -> None:
        made = make(subject=Subject(), hosts=("a" * 63 + "." + "b" * 63,))
        self.assertTrue(made.extensions.get_extension_for_class(x509.SubjectAlternativeName).critical)

    def test_a_strict_verifier_accepts_it(self) -> None:
        """Of every algorithm that browsers know, under an intermediate CA."""
        for algorithm in (Algorithm.RSA, Algorithm.EC256, Algorithm.EC384, Algorithm.EC521):
            key = generate(algorithm)
            between = intermediate(Subject(common_name="Between"), key, AUTHORITY)
            made = make(authority=Authority(between, key))
            verifier = PolicyBuilder().store(Store([parsed(ROOT)])).time(NOW).build_server_verifier(x509.DNSName("example.com"))
            self.assertEqual(len(verifier.verify(made, [parsed(between)])), 3)


class MimicTests(SynchronousTestCase):
    def mimic(self, source: Certificate, **options: Any) -> tuple[x509.Certificate, x509.Certificate]:
        key = generate(algorithm_of(source))
        made = mimic(source, key, AUTHORITY, options.pop("usage", None), **options)
        parsed(made).verify_directly_issued_by(parsed(ROOT))
        return parsed(source), parsed(made)

    def value(self, certificate: x509.Certificate, oid: x509.ObjectIdentifier) -> Any:
        return certificate.extensions.get_extension_for_oid(oid).value

    def test_it_is_like_the_original(self) -> None:
        """But for key, issuer, serial number and what depends on them."""
        theirs, ours = self.mimic(original())
        self.assertEqual(ours.subject.public_bytes(), theirs.subject.public_bytes())
        self.assertEqual((ours.not_valid_before_utc, ours.not_valid_after_utc), (theirs.not_valid_before_utc, theirs.not_valid_after_utc))
        for oid in (ExtensionOID.KEY_USAGE, ExtensionOID.EXTENDED_KEY_USAGE, ExtensionOID.SUBJECT_ALTERNATIVE_NAME):
            self.assertEqual(self.value(ours, oid), self.value(theirs, oid))
        self.assertEqual([each.oid._name for each in ours.extensions], LEAF_EXTENSIONS)
        self.assertFalse(ours.extensions.get_extension_for_oid(ExtensionOID.SUBJECT_ALTERNATIVE_NAME).critical)
        self.assertNotEqual(ours.serial_number, theirs.serial_number)
        self.assertEqual(self.value(ours, ExtensionOID.SUBJECT_KEY_IDENTIFIER), x509.SubjectKeyIdentifier.from_public_key(ours.public_key()))

    def test_the_serial_number_is_kept_when_asked(self) -> None:
        theirs, ours = self.mimic(original(), keep_serial=True)
        self.assertEqual(ours.serial_number, theirs.serial_number)

    def test_identifiers_are_there_if_the_original_has_them(self) -> None:
        for word, oid in (("ski", ExtensionOID.SUBJECT_KEY_IDENTIFIER), ("aki", ExtensionOID.AUTHORITY_KEY_IDENTIFIER)):
            _, ours = self.mimic(original(without=(word,)))
            self.assertRaises(x509.ExtensionNotFound, ours.extensions.get_extension_for_oid, oid)

    def test_without_usages_there_is_nothing_to_mimic(self) -> None:
        """The key usage may be given instead."""
        key = generate(Algorithm.EC256)
        self.assertRaises(CertificateError, mimic, original(without=("eku",)), key, AUTHORITY)
        self.assertRaises(CertificateError, mimic, original(without=("ku",)), key, AUTHORITY)
        usage = usage_of(Algorithm.EC256, Use.TLCP_SERVER_SIGN)
        _, ours = self.mimic(original(without=("ku",)), usage=usage)
        self.assertEqual(usages(ours), {"digital_signature", "content_commitment"})

    def test_its_key_is_of_the_originals_kind(self) -> None:
        for algorithm, wanted in {
            **{each: each for each in Algorithm},
            **dict.fromkeys((Algorithm.EC224, Algorithm.EC384, Algorithm.EC521), Algorithm.EC256),
        }.items():
            key = generate(algorithm)
            source = leaf(Subject(common_name="x"), ["x"], key, usage_of(algorithm, Use.TLS_SERVER), client=False, authority=AUTHORITY)
            self.assertEqual(algorithm_of(source), wanted)


class ReadTests(SynchronousTestCase):
    def test_what_is_no_certificate_is_refused(self) -> None:
        for data in (b"", b"\x30\x00", b"\x30\x03\x30\x01\x00", ROOT.der[:-1], ROOT.der + b"x"):
            self.assertRaises(CertificateError, Certificate, data)
        self.assertRaises(CertificateError, load_certificates, b"nothing")
        self.assertEqual(len(load_certificates(ROOT.pem() * 3)), 3)

    def test_usage_bits_are_written_without_trailing_zeros(self) -> None:
        """As DER wants it."""
        self.assertEqual(key_usage("digital_signature").value, b"\x03\x02\x07\x80")
        self.assertEqual(key_usage("key_cert_sign", "crl_sign").value, b"\x03\x02\x01\x06")
        self.assertNotEqual(extended_key_usage(True), extended_key_usage(False))

    def test_keys_of_authorities_are_read_in_every_form(self) -> None:
        key: Key = load_key(ROOT_KEY.pem())
        self.assertEqual(Authority(ROOT, key).subject, AUTHORITY.subject)
