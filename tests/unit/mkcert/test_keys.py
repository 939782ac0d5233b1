# SPDX-License-Identifier: Apache-2.0
"""Keys of every algorithm: made, read back, and signing."""

from __future__ import annotations

from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import BestAvailableEncryption, Encoding, PrivateFormat, load_der_private_key
from twisted.trial.unittest import SynchronousTestCase

from g3.mkcert.keys import Algorithm, CertificateError, generate, load_key, pem_blocks, pem_of


class KeyTests(SynchronousTestCase):
    def test_every_algorithm_gives_keys_that_are_read_back(self) -> None:
        """From PEM and from DER."""
        for algorithm in Algorithm:
            key = generate(algorithm)
            for data in (key.pem(), key.der()):
                again = load_key(data)
                self.assertEqual((again.spki, again.signature), (key.spki, key.signature), algorithm)
            self.assertNotIn(key.der().hex(), repr(key))

    def test_two_of_them_only_agree_on_secrets(self) -> None:
        for algorithm in Algorithm:
            key = generate(algorithm)
            self.assertEqual(bool(key.signature), algorithm.signs)
            if algorithm.signs:
                self.assertTrue(key.sign(b"text"))
            else:
                self.assertRaises(CertificateError, key.sign, b"text")

    def test_rsa_has_the_bits_that_were_asked_for(self) -> None:
        for bits in (2048, 3072):
            key = load_der_private_key(generate(Algorithm.RSA, bits).der(), None)
            assert isinstance(key, rsa.RSAPrivateKey)
            self.assertEqual(key.key_size, bits)
        for bits in (0, 512, 1 << 20):
            self.assertRaises(CertificateError, generate, Algorithm.RSA, bits)

    def test_what_is_no_key_is_refused(self) -> None:
        encrypted = rsa.generate_private_key(65537, 2048).private_bytes(Encoding.PEM, PrivateFormat.PKCS8, BestAvailableEncryption(b"x"))
        for data in (b"", b"garbage", b"-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n", encrypted, bytes(300_000)):
            self.assertRaises(CertificateError, load_key, data)
        self.assertIn("password", str(self.assertRaises(CertificateError, load_key, encrypted)))


class PEMTests(SynchronousTestCase):
    def test_blocks_are_found_among_other_text(self) -> None:
        text = b"Bag Attributes\n" + pem_of("CERTIFICATE", b"one") + b"noise\r\n" + pem_of("CERTIFICATE", bytes(200)).replace(b"\n", b"\r\n")
        self.assertEqual(pem_blocks(text + pem_of("PRIVATE KEY", b"k"), b"CERTIFICATE"), [b"one", bytes(200)])

    def test_lines_have_64_characters(self) -> None:
        lines = pem_of("X", bytes(100)).splitlines()
        self.assertEqual([len(line) for line in lines[1:-1]], [64, 64, 8])
