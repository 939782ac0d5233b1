# SPDX-License-Identifier: Apache-2.0
"""SM2 keys of the host's OpenSSL (GB/T 32918, RFC 8998): made, read, and signing with SM3. C{cryptography} knows none of it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from g3.net.libssl.keys import MAX_KEY_FILE, private_der, written
from g3.net.libssl.library import LibraryError, library

if TYPE_CHECKING:
    from g3.net.libssl.library import Library

#: What OpenSSL calls the key and its digest.
_NAME, _DIGEST = b"SM2", b"SM3"
_ROOM = 256


class SM2Key:
    """A private key. @ivar spki: its public key as SubjectPublicKeyInfo. @ivar pkcs8: the private one as PrivateKeyInfo, both in DER."""

    __slots__ = ("_handle", "_lib", "pkcs8", "spki")

    def __init__(self, handle: Any, lib: Library) -> None:
        self._lib = lib
        self._handle = lib.ffi.gc(handle, lib.crypto.EVP_PKEY_free)
        self.spki = written(lib, lib.crypto.i2d_PUBKEY, handle)
        self.pkcs8 = private_der(lib, handle)

    @classmethod
    def generate(cls) -> SM2Key:
        """A new one. @raise LibraryError: this OpenSSL has no SM2. @raise ConfigError: there is no OpenSSL 3."""
        lib = library()
        handle = lib.crypto.EVP_PKEY_Q_keygen(lib.ffi.NULL, lib.ffi.NULL, lib.ffi.new("char[]", _NAME))
        if handle == lib.ffi.NULL:
            raise _unavailable(lib)
        return cls(handle, lib)

    @classmethod
    def load(cls, der: bytes) -> SM2Key:
        """A key in DER (PKCS #8 or SEC 1) without a password.

        @raise LibraryError: it is no SM2 key.
        """
        lib = library()
        if len(der) > MAX_KEY_FILE:
            raise LibraryError(f"private key: more than {MAX_KEY_FILE} bytes")
        buffer = lib.ffi.new("unsigned char[]", der)
        position = lib.ffi.new("const unsigned char **", buffer)
        handle = lib.crypto.d2i_AutoPrivateKey(lib.ffi.NULL, position, len(der))
        if handle == lib.ffi.NULL:
            raise lib.error("private key")
        if lib.crypto.EVP_PKEY_is_a(handle, _NAME) != 1:
            lib.crypto.EVP_PKEY_free(handle)
            raise LibraryError("private key: not of the curve SM2")
        return cls(handle, lib)

    def sign(self, data: bytes, identity: bytes = b"") -> bytes:
        """SM2 over SM3 of C{data}, as DER.

        @param identity: the signer's distinguishing identifier; where it is empty OpenSSL's own, none, which its verification expects.
        @raise LibraryError: it was refused.
        """
        lib, ffi, crypto = self._lib, self._lib.ffi, self._lib.crypto
        digest = crypto.EVP_get_digestbyname(_DIGEST)
        if digest == ffi.NULL:
            raise _unavailable(lib)
        context = ffi.gc(crypto.EVP_MD_CTX_new(), crypto.EVP_MD_CTX_free)
        inner = ffi.new("EVP_PKEY_CTX **")
        out, length = ffi.new("unsigned char[]", _ROOM), ffi.new("size_t *", _ROOM)
        good = crypto.EVP_DigestSignInit(context, inner, digest, ffi.NULL, self._handle) == 1
        if good and identity:
            good = crypto.EVP_PKEY_CTX_set1_id(inner[0], identity, len(identity)) == 1
        if not good or crypto.EVP_DigestSign(context, out, length, data, len(data)) != 1:
            raise lib.error("sm2 signature")
        return bytes(ffi.buffer(out, length[0]))


def _unavailable(lib: Library) -> LibraryError:
    lib.crypto.ERR_clear_error()
    return LibraryError(f"{lib.version} was built without SM2 and SM3")
