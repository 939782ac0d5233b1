# SPDX-License-Identifier: Apache-2.0
"""Private keys of the host's OpenSSL, and what is done with them, checked by another library and by the openssl command."""

from __future__ import annotations

import hashlib
import subprocess
import threading
from pathlib import Path
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import dsa, ec, ed448, padding, rsa
from cryptography.hazmat.primitives.serialization import BestAvailableEncryption, Encoding, NoEncryption, PrivateFormat, PublicFormat
from twisted.trial.unittest import SynchronousTestCase

from g3.errors import ConfigError
from g3.net.libssl import keys as module
from g3.net.libssl.keys import (
    MAX_KEY_FILE,
    Engine,
    KeyKind,
    ecdsa_sign,
    ed25519_sign,
    load_private_key,
    rsa_decrypt,
    rsa_pss_sign,
    rsa_raw_decrypt,
    rsa_sign,
)
from g3.net.libssl.library import Library, LibraryError, library
from tests.unit.keyless.world import key, pem, private

DIGEST = hashlib.sha256(b"what is signed").digest()


class LibraryTests(SynchronousTestCase):
    """Finding the library."""

    def test_it_is_openssl_3_or_later(self) -> None:
        """As this host has it."""
        self.assertTrue(library().version.startswith("OpenSSL "))

    def test_a_library_that_is_missing_is_named(self) -> None:
        """In words for the operator."""
        with self.assertRaises(ConfigError) as caught:
            Library("libcrypto-of-nobody.so.3")
        self.assertIn("libcrypto-of-nobody.so.3", str(caught.exception))

    def test_a_library_that_is_none_is_named(self) -> None:
        """The C library can be loaded, and is no OpenSSL."""
        with self.assertRaises(ConfigError) as caught:
            Library("libc.so.6")
        self.assertIn("libc.so.6", str(caught.exception))


class LoadTests(SynchronousTestCase):
    """Keys from text and bytes."""

    def test_every_form_of_a_key_is_the_same_key(self) -> None:
        """PKCS #8, PKCS #1, SEC 1 with its parameters before it, DER; something else may stand around it."""
        forms = {
            "rsa2048": [pem("rsa2048"), pem("rsa2048", PrivateFormat.TraditionalOpenSSL), b"a word\n" + pem("rsa2048") + b"more"],
            "p256": [
                pem("p256"),
                b"-----BEGIN EC PARAMETERS-----\nBggqhkjOPQMBBw==\n-----END EC PARAMETERS-----\n" + pem("p256", PrivateFormat.TraditionalOpenSSL),
            ],
            "ed25519": [pem("ed25519")],
        }
        for kind, texts in forms.items():
            texts.append(private(kind).private_bytes(Encoding.DER, PrivateFormat.PKCS8, NoEncryption()))
            self.assertEqual({load_private_key(text).ski for text in texts}, {key(kind).ski}, kind)

    def test_the_identifier_is_that_of_certificates(self) -> None:
        """RFC 5280, method 1, as another library computes it."""
        for kind in ("rsa2048", "p256", "p384", "p521", "ed25519"):
            self.assertEqual(key(kind).ski, x509.SubjectKeyIdentifier.from_public_key(private(kind).public_key()).digest)

    def test_kinds_and_sizes(self) -> None:
        """The size of RSA is that of its modulus."""
        self.assertEqual(
            [(key(kind).kind, key(kind).bits) for kind in ("rsa2048", "p384", "ed25519")],
            [(KeyKind.RSA, 2048), (KeyKind.EC, 384), (KeyKind.ED25519, 256)],
        )
        self.assertEqual(key("rsa2048").size, 256)

    def test_keys_of_kinds_we_do_nothing_with_are_loaded(self) -> None:
        """And refuse every operation."""
        for other in (dsa.generate_private_key(1024), ed448.Ed448PrivateKey.generate()):
            loaded = load_private_key(other.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
            self.assertEqual(loaded.kind, KeyKind.OTHER)
            for operation in (rsa_sign("SHA256"), ecdsa_sign("SHA256"), ed25519_sign(), rsa_decrypt()):
                self.assertRaises(LibraryError, Engine().run, loaded, operation, DIGEST)

    def test_what_is_no_key_is_refused_without_its_content(self) -> None:
        """Nothing, junk, a public key, half a key, an encrypted one (nobody is asked for the password), too much."""
        encrypted = private("p256").private_bytes(Encoding.PEM, PrivateFormat.PKCS8, BestAvailableEncryption(b"secret"))
        public = private("p256").public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
        for data in (
            b"",
            b"junk",
            public,
            pem("rsa2048")[:800],
            encrypted,
            bytes(MAX_KEY_FILE + 1),
            b"-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n",
        ):
            with self.assertRaises(LibraryError) as caught:
                load_private_key(data)
            self.assertTrue(str(caught.exception).startswith("private key: "), data[:30])
            self.assertLess(len(str(caught.exception)), 100)

    def test_a_key_shows_its_identifier_only(self) -> None:
        """In a repr."""
        self.assertEqual(repr(key("rsa2048")), f"<PrivateKey RSA 2048 {key('rsa2048').ski.hex()}>")


class EngineTests(SynchronousTestCase):
    """Operations. What they compute is checked in tests.unit.keyless.test_connection, too."""

    def openssl(self, *arguments: str, **files: bytes) -> subprocess.CompletedProcess[bytes]:
        """Run openssl pkeyutl with files in a directory of their own."""
        directory = Path(self.mktemp())
        directory.mkdir()
        for name, content in files.items():
            (directory / name).write_bytes(content)
        return subprocess.run(["openssl", "pkeyutl", *arguments], cwd=directory, capture_output=True, check=False)

    def verify(self, kind: str, signature: bytes, signed: bytes, *options: str) -> None:
        words = ("-verify", "-inkey", "key", "-sigfile", "signature", "-in", "signed", *options)
        ran = self.openssl(*words, key=pem(kind), signature=signature, signed=signed)
        self.assertEqual(ran.returncode, 0, ran.stdout + ran.stderr)

    def test_openssl_verifies_what_we_sign(self) -> None:
        """Each kind of signature, by the openssl command."""
        engine = Engine()
        self.verify("rsa2048", engine.run(key("rsa2048"), rsa_sign("SHA256"), DIGEST), DIGEST, "-pkeyopt", "digest:sha256")
        pss = ("-pkeyopt", "digest:sha256", "-pkeyopt", "rsa_padding_mode:pss", "-pkeyopt", "rsa_pss_saltlen:digest")
        self.verify("rsa2048", engine.run(key("rsa2048"), rsa_pss_sign("SHA256"), DIGEST), DIGEST, *pss)
        self.verify("p256", engine.run(key("p256"), ecdsa_sign("SHA256"), DIGEST), DIGEST, "-pkeyopt", "digest:sha256")
        self.verify("ed25519", engine.run(key("ed25519"), ed25519_sign(), b"message"), b"message", "-rawin")

    def test_we_decrypt_what_openssl_encrypts(self) -> None:
        """By the openssl command."""
        ran = self.openssl("-encrypt", "-inkey", "key", "-in", "clear", key=pem("rsa2048"), clear=b"abcdef")
        self.assertEqual(Engine().run(key("rsa2048"), rsa_decrypt(), ran.stdout), b"abcdef")

    def test_an_engine_goes_on_after_a_failure(self) -> None:
        """The same operation with the same key succeeds later, and no reason is left over for the next one."""
        engine, operation = Engine(), rsa_decrypt()
        good = private("rsa2048").public_key().encrypt(b"clear", padding.PKCS1v15())
        for _ in range(3):
            self.assertRaises(LibraryError, engine.run, key("rsa2048"), operation, bytes(256))
            self.assertEqual(engine.run(key("rsa2048"), operation, good), b"clear")

    def test_what_was_decrypted_does_not_stay_in_the_engine(self) -> None:
        """Its buffer is cleared."""
        engine = Engine()
        clear = b"\x7f" + bytes(range(1, 255)) + b"\x01"
        numbers = private("rsa2048").public_key().public_numbers()
        secret = pow(int.from_bytes(clear, "big") % numbers.n, numbers.e, numbers.n).to_bytes(256, "big")
        self.assertEqual(len(engine.run(key("rsa2048"), rsa_raw_decrypt(), secret)), 256)
        self.assertEqual(bytes(engine._bytes[:256]), bytes(256))

    def test_input_longer_than_the_operation_takes_is_refused(self) -> None:
        """By OpenSSL, with an error and nothing else."""
        engine = Engine()
        for operation, data in (
            (rsa_sign("SHA256"), bytes(33)),
            (rsa_raw_decrypt(), bytes(257)),
            (rsa_decrypt(), bytes(0)),
            (rsa_sign("SHA512"), bytes(63)),
        ):
            self.assertRaises(LibraryError, engine.run, key("rsa2048"), operation, data)

    def test_big_keys_have_room(self) -> None:
        """A key whose results are larger than any before."""
        engine = Engine()
        engine._room = 64
        engine._out = engine._lib.ffi.new("unsigned char[]", 64)
        engine._bytes = engine._lib.ffi.buffer(engine._out)
        self.assertEqual(len(engine.run(key("rsa2048"), rsa_sign("SHA256"), DIGEST)), 256)

    def test_no_operation_is_taken_for_another(self) -> None:
        """However many there are, on one engine: each key and operation has a context of its own."""
        engine = Engine()
        lengths = {"SHA1": 20, "SHA256": 32, "SHA384": 48, "SHA512": 64}
        for _ in range(100):
            for digest, length in lengths.items():
                self.assertEqual(len(engine.run(key("rsa2048"), rsa_sign(digest), bytes(length))), 256)
                self.assertEqual(engine.run(key("p256"), ecdsa_sign(digest), bytes(length))[0], 0x30)

    def test_prepared_contexts_are_bounded(self) -> None:
        """However many keys are used."""
        self.patch(module, "MOST_CONTEXTS", 3)
        engine, operation = Engine(), ecdsa_sign("SHA256")
        for _ in range(10):
            fresh = load_private_key(ec.generate_private_key(ec.SECP256R1()).private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
            engine.run(fresh, operation, DIGEST)
            self.assertLessEqual(len(engine._contexts), 3)

    def test_threads_share_keys(self) -> None:
        """Each with an engine of its own; all signatures are good."""
        results: list[bytes] = []
        operation = rsa_sign("SHA256")

        def work() -> None:
            engine = Engine()
            results.extend(engine.run(key("rsa2048"), operation, DIGEST) for _ in range(20))

        threads = [threading.Thread(target=work) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        self.assertEqual((len(results), len(set(results))), (80, 1))

    def test_a_library_that_hides_bad_padding_is_not_used(self) -> None:
        """One that answers random bytes, whatever it is told."""
        lib = library()

        class Hiding:
            """The functions of the library, but for one."""

            def __getattr__(self, name: str) -> Any:
                return getattr(lib.crypto, name)

            def EVP_PKEY_decrypt(self, *_: object) -> int:
                return 1

        class Hidden:
            ffi, crypto, version, error = lib.ffi, Hiding(), "OpenSSL 9", lib.error

        with self.assertRaises(LibraryError) as caught:
            module._context(Hidden, key("rsa2048"), rsa_decrypt())  # type: ignore[arg-type]
        self.assertIn("random bytes", str(caught.exception))

    def test_a_small_rsa_key_cannot_sign_a_large_digest(self) -> None:
        """An error, not a crash."""
        small = load_private_key(rsa.generate_private_key(65537, 1024).private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
        self.assertRaises(LibraryError, Engine().run, small, rsa_pss_sign("SHA512"), bytes(64))
