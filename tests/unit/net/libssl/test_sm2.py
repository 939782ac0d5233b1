# SPDX-License-Identifier: Apache-2.0
"""SM2 keys of the host's OpenSSL; the C{openssl} command checks the signatures."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

from twisted.trial.unittest import SkipTest, SynchronousTestCase

from g3.mkcert.keys import pem_of
from g3.net.libssl.library import LibraryError
from g3.net.libssl.sm2 import SM2Key


class SM2Tests(SynchronousTestCase):
    def verify(self, key: SM2Key, signature: bytes, *options: str) -> bool:
        if shutil.which("openssl") is None:
            raise SkipTest("needs the Debian package openssl")
        folder = Path(self.mktemp())
        folder.mkdir()
        for name, content in (("key", pem_of("PUBLIC KEY", key.spki)), ("signature", signature), ("data", b"text")):
            (folder / name).write_bytes(content)
        argv = ["openssl", "pkeyutl", "-verify", "-rawin", "-digest", "sm3", "-pubin", "-inkey", "key", "-in", "data", "-sigfile", "signature"]
        ran = subprocess.run([*argv, *options], cwd=folder, capture_output=True, text=True, check=False)
        return ran.returncode == 0 and "Success" in ran.stdout

    def test_a_signature_is_verified_by_openssl(self) -> None:
        """With no identifier, and with the one that is customary in China."""
        key = SM2Key.generate()
        self.assertTrue(self.verify(key, key.sign(b"text")))
        self.assertFalse(self.verify(key, key.sign(b"other")))
        named = key.sign(b"text", b"1234567812345678")
        self.assertTrue(self.verify(key, named, "-pkeyopt", "distid:1234567812345678"))
        self.assertFalse(self.verify(key, named))

    def test_a_key_is_read_back(self) -> None:
        key = SM2Key.generate()
        self.assertEqual(SM2Key.load(key.pkcs8).spki, key.spki)

    def test_what_is_no_sm2_key_is_refused(self) -> None:
        from g3.mkcert.keys import Algorithm, generate

        for data in (b"", b"garbage", bytes(300_000), generate(Algorithm.EC256).der(), generate(Algorithm.ED25519).der()):
            self.assertRaises(LibraryError, SM2Key.load, data)
