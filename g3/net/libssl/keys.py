# SPDX-License-Identifier: Apache-2.0
"""Private keys of the host's OpenSSL, and the operations on them: signatures over a finished digest, RSA decryption.

A key is shared by threads; what computes with it is an L{Engine}, of which every thread has its own.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from enum import Enum
from typing import TYPE_CHECKING, Any, Final

from g3.net.libssl.library import LibraryError, library

if TYPE_CHECKING:
    from g3.net.libssl.library import Library

#: Bytes of a file that may hold a key.
MAX_KEY_FILE: Final = 256_000
#: Prepared contexts an engine keeps, some 2 KiB each.
MOST_CONTEXTS: Final = 2048

_PKCS1, _NO_PADDING, _PSS = 1, 3, 6
_SALT_AS_DIGEST = -1


class KeyKind(Enum):
    """What sort of key it is, by OpenSSL's name; C{OTHER} can do none of our operations."""

    RSA = "RSA"
    RSA_PSS = "RSA-PSS"
    EC = "EC"
    ED25519 = "ED25519"
    OTHER = ""


class PrivateKey:
    """A private key, never changed. Nothing of it but its identifier shows in a repr.

    @ivar size: bytes of what its operations give at most, for RSA those of the modulus. @ivar bits: its strength as people name it.
    @ivar ski: its subject key identifier, 20 bytes: the SHA-1 of the public key (RFC 5280 section 4.2.1.2, method 1).
    """

    __slots__ = ("__weakref__", "bits", "handle", "kind", "size", "ski")

    def __init__(self, handle: Any, lib: Library) -> None:
        self.handle = lib.ffi.gc(handle, lib.crypto.EVP_PKEY_free)
        self.kind = _kind(handle, lib)
        self.size: int = lib.crypto.EVP_PKEY_get_size(handle)
        self.bits: int = lib.crypto.EVP_PKEY_get_bits(handle)
        self.ski = hashlib.sha1(_public_bytes(handle, lib), usedforsecurity=False).digest()

    def der(self) -> bytes:
        """The whole of it as PKCS #8, for another process of ours; L{load_private_key} reads it."""
        return private_der(library(), self.handle)

    def __repr__(self) -> str:
        return f"<PrivateKey {self.kind.value or 'of another kind'} {self.bits} {self.ski.hex()}>"


def load_private_key(data: bytes) -> PrivateKey:
    """The first private key of PEM text (PKCS #8, PKCS #1 or SEC 1), or one in DER. It must not be encrypted; nobody is asked for a password.

    @raise LibraryError: there is none.
    """
    if len(data) > MAX_KEY_FILE:
        raise LibraryError(f"private key: more than {MAX_KEY_FILE} bytes")
    lib = library()
    handle = _from_pem(data, lib) if b"-----BEGIN" in data else _from_der(data, lib)
    if handle == lib.ffi.NULL:
        raise lib.error("private key")
    return PrivateKey(handle, lib)


def _from_pem(data: bytes, lib: Library) -> Any:
    memory = lib.crypto.BIO_new_mem_buf(data, len(data))
    # An empty password in place of a callback keeps OpenSSL from asking on the terminal.
    password = lib.ffi.new("char[]", b"")
    try:
        return lib.crypto.PEM_read_bio_PrivateKey(memory, lib.ffi.NULL, lib.ffi.NULL, password)
    finally:
        lib.crypto.BIO_free(memory)


def _from_der(data: bytes, lib: Library) -> Any:
    buffer = lib.ffi.new("unsigned char[]", data)
    position = lib.ffi.new("const unsigned char **", buffer)
    return lib.crypto.d2i_AutoPrivateKey(lib.ffi.NULL, position, len(data))


def written(lib: Library, write: Any, item: Any) -> bytes:
    """What one of OpenSSL's C{i2d} functions writes. Raises LibraryError."""
    size = write(item, lib.ffi.NULL)
    if size <= 0:
        raise lib.error("key")
    buffer = lib.ffi.new("unsigned char[]", size)
    write(item, lib.ffi.new("unsigned char **", buffer))
    content = bytes(lib.ffi.buffer(buffer))
    lib.ffi.memmove(buffer, bytes(size), size)
    return content


def private_der(lib: Library, handle: Any) -> bytes:
    """A private key as PrivateKeyInfo in DER (RFC 5958). Raises LibraryError."""
    info = lib.crypto.EVP_PKEY2PKCS8(handle)
    if info == lib.ffi.NULL:
        raise lib.error("key")
    try:
        return written(lib, lib.crypto.i2d_PKCS8_PRIV_KEY_INFO, info)
    finally:
        lib.crypto.PKCS8_PRIV_KEY_INFO_free(info)


def _kind(handle: Any, lib: Library) -> KeyKind:
    for kind in KeyKind:
        if kind.value and lib.crypto.EVP_PKEY_is_a(handle, kind.value.encode()) == 1:
            return kind
    return KeyKind.OTHER


def _public_bytes(handle: Any, lib: Library) -> bytes:
    """The content of the subjectPublicKey bit string."""
    ffi, crypto = lib.ffi, lib.crypto
    holder = ffi.new("X509_PUBKEY **")
    data, length = ffi.new("const unsigned char **"), ffi.new("int *")
    if crypto.X509_PUBKEY_set(holder, handle) != 1:
        raise lib.error("public key")
    try:
        if crypto.X509_PUBKEY_get0_param(ffi.NULL, data, length, ffi.NULL, holder[0]) != 1:
            raise lib.error("public key")
        return bytes(ffi.buffer(data[0], length[0]))
    finally:
        crypto.X509_PUBKEY_free(holder[0])


@dataclass(frozen=True, slots=True, eq=False)
class Operation:
    """Something to do with a private key of one of C{kinds}. Compared and hashed by identity; make each once.

    @ivar digest: OpenSSL's name of the digest that was made already; "" where the input is taken as it is.
    """

    name: str
    kinds: tuple[KeyKind, ...]
    digest: str = ""
    padding: int = 0
    decrypts: bool = False


def rsa_sign(digest: str) -> Operation:
    """PKCS #1 v1.5 over a finished digest (RFC 8017 section 8.2); C{MD5-SHA1} has no DigestInfo (RFC 4346 section 7.4.3)."""
    return Operation("rsa_sign", (KeyKind.RSA,), digest, _PKCS1)


def rsa_pss_sign(digest: str) -> Operation:
    """RSASSA-PSS over a finished digest, the salt as long as the digest (RFC 8017 section 8.1; RFC 8446 section 4.2.3)."""
    return Operation("rsa_pss_sign", (KeyKind.RSA, KeyKind.RSA_PSS), digest, _PSS)


def ecdsa_sign(digest: str) -> Operation:
    """ECDSA over a finished digest, as DER (RFC 3279 section 2.2.3)."""
    return Operation("ecdsa_sign", (KeyKind.EC,), digest)


def ed25519_sign() -> Operation:
    """Ed25519 over a message of any length (RFC 8032)."""
    return Operation("ed25519_sign", (KeyKind.ED25519,))


def rsa_decrypt() -> Operation:
    """PKCS #1 v1.5 decryption (RFC 8017 section 7.2.2). Bad padding is an error; never random bytes (implicit rejection) instead."""
    return Operation("rsa_decrypt", (KeyKind.RSA,), padding=_PKCS1, decrypts=True)


def rsa_raw_decrypt() -> Operation:
    """The bare RSA private operation (RFC 8017 section 5.1.2): as many bytes as the modulus has."""
    return Operation("rsa_raw_decrypt", (KeyKind.RSA,), padding=_NO_PADDING, decrypts=True)


class Engine:
    """Runs operations. Not to be shared by threads: it keeps prepared contexts and its output buffer."""

    def __init__(self) -> None:
        lib = self._lib = library()
        self._sign = lib.crypto.EVP_PKEY_sign
        self._decrypt = lib.crypto.EVP_PKEY_decrypt
        self._room = 4096
        self._out = lib.ffi.new("unsigned char[]", self._room)
        self._bytes = lib.ffi.buffer(self._out)
        self._length = lib.ffi.new("size_t *")
        #: By key and operation, compared by identity; a key that is here cannot lose its identity to another.
        self._contexts: dict[tuple[PrivateKey, Operation], Any] = {}

    def run(self, key: PrivateKey, operation: Operation, data: bytes) -> bytes:
        """The signature, or what was decrypted.

        @raise LibraryError: the key is of another kind, or OpenSSL refuses.
        """
        both = (key, operation)
        context = self._contexts.get(both)
        if context is None:
            context = self._prepare(key, operation)
        length = self._length
        length[0] = self._room
        if operation.decrypts:
            return self._run_decrypt(context, data, both)
        if not operation.digest:
            return self._run_message(context, key, data)
        if self._sign(context, self._out, length, data, len(data)) != 1:
            raise self._failed(both)
        return self._bytes[: length[0]]  # type: ignore[no-any-return]

    def _run_decrypt(self, context: Any, data: bytes, both: tuple[PrivateKey, Operation]) -> bytes:
        if self._decrypt(context, self._out, self._length, data, len(data)) != 1:
            raise self._failed(both)
        size = self._length[0]
        clear: bytes = self._bytes[:size]
        # What was decrypted is not to be found here later.
        self._bytes[:size] = bytes(size)
        return clear

    def _run_message(self, context: Any, key: PrivateKey, data: bytes) -> bytes:
        lib = self._lib
        null = lib.ffi.NULL
        if (
            lib.crypto.EVP_DigestSignInit(context, null, null, null, key.handle) != 1
            or lib.crypto.EVP_DigestSign(context, self._out, self._length, data, len(data)) != 1
        ):
            raise lib.error("ed25519_sign")
        return self._bytes[: self._length[0]]  # type: ignore[no-any-return]

    def _failed(self, both: tuple[PrivateKey, Operation]) -> LibraryError:
        """A context that failed is not used again."""
        self._contexts.pop(both, None)
        return self._lib.error(both[1].name)

    def _prepare(self, key: PrivateKey, operation: Operation) -> Any:
        if key.kind not in operation.kinds:
            raise LibraryError(f"{operation.name}: a key of the kind {key.kind.value or 'unknown'} cannot do it")
        lib = self._lib
        if key.size > self._room:
            self._room = key.size
            self._out = lib.ffi.new("unsigned char[]", self._room)
            self._bytes = lib.ffi.buffer(self._out)
        if len(self._contexts) >= MOST_CONTEXTS:
            self._contexts.clear()
        context = _message_context(lib) if not operation.digest and not operation.decrypts else _context(lib, key, operation)
        self._contexts[key, operation] = context
        return context


def _message_context(lib: Library) -> Any:
    return lib.ffi.gc(lib.crypto.EVP_MD_CTX_new(), lib.crypto.EVP_MD_CTX_free)


def _context(lib: Library, key: PrivateKey, operation: Operation) -> Any:
    crypto = lib.crypto
    raw = crypto.EVP_PKEY_CTX_new(key.handle, lib.ffi.NULL)
    if raw == lib.ffi.NULL:
        raise lib.error(operation.name)
    context = lib.ffi.gc(raw, crypto.EVP_PKEY_CTX_free)
    good = (crypto.EVP_PKEY_decrypt_init if operation.decrypts else crypto.EVP_PKEY_sign_init)(context) == 1
    if good and operation.digest:
        good = crypto.EVP_PKEY_CTX_set_signature_md(context, crypto.EVP_get_digestbyname(operation.digest.encode())) == 1
    if good and operation.padding:
        good = crypto.EVP_PKEY_CTX_set_rsa_padding(context, operation.padding) == 1
    if good and operation.padding == _PSS:
        good = crypto.EVP_PKEY_CTX_set_rsa_pss_saltlen(context, _SALT_AS_DIGEST) == 1
    if not good:
        raise lib.error(operation.name)
    if operation.decrypts and operation.padding == _PKCS1:
        _reject_openly(lib, context, key)
    return context


def _reject_openly(lib: Library, context: Any, key: PrivateKey) -> None:
    """Turn implicit rejection off, which OpenSSL 3.2 and some older ones of distributions have on, and see that it is off.

    @raise LibraryError: this library gives random bytes for bad padding whatever it is told.
    """
    lib.crypto.EVP_PKEY_CTX_ctrl_str(context, b"rsa_pkcs1_implicit_rejection", b"0")
    # 1 decrypts to 1 with every key, which has no padding at all. (A library without the switch fails here for the right reason, too.)
    bad = (1).to_bytes(key.size, "big")
    out, length = lib.ffi.new("unsigned char[]", key.size), lib.ffi.new("size_t *", key.size)
    if lib.crypto.EVP_PKEY_decrypt(context, out, length, bad, len(bad)) == 1:
        raise LibraryError(f"rsa_decrypt: {lib.version} hides bad padding behind random bytes and cannot be told not to")
    lib.crypto.ERR_clear_error()
