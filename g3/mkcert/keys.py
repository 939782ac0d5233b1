# SPDX-License-Identifier: Apache-2.0
"""Private keys of every algorithm that certificates are made for: C{cryptography}'s, and SM2 by the host's OpenSSL."""

from __future__ import annotations

import re
from base64 import b64encode
from binascii import Error as Base64Error
from binascii import a2b_base64
from enum import Enum
from typing import TYPE_CHECKING, Any, Final

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed448, ed25519, padding, rsa, x448, x25519
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
    load_der_private_key,
    load_pem_private_key,
)

from g3.errors import ConfigError, G3Error
from g3.net.libssl.library import LibraryError
from g3.net.libssl.sm2 import SM2Key
from g3.proto import der

if TYPE_CHECKING:
    from collections.abc import Callable

DEFAULT_RSA_BITS: Final = 2048
#: What an RSA key may have; more takes minutes to make.
LEAST_RSA_BITS, MOST_RSA_BITS = 1024, 16384

EC_PUBLIC_KEY: Final = "1.2.840.10045.2.1"
SM2_CURVE: Final = "1.2.156.10197.1.301"


class CertificateError(G3Error):
    """A certificate or key cannot be made or read; the message is for whoever asked."""


class Algorithm(Enum):
    """What a key is of, by the word upstream has for it."""

    RSA = "rsa"
    EC224 = "ec224"
    EC256 = "ec256"
    EC384 = "ec384"
    EC521 = "ec521"
    SM2 = "sm2"
    ED25519 = "ed25519"
    ED448 = "ed448"
    X25519 = "x25519"
    X448 = "x448"

    @property
    def signs(self) -> bool:
        """Whether its keys can sign at all; X25519 and X448 only agree on secrets."""
        return self not in (Algorithm.X25519, Algorithm.X448)


_MAKERS: Final[dict[Algorithm, Callable[[], Any]]] = {
    Algorithm.EC224: lambda: ec.generate_private_key(ec.SECP224R1()),
    Algorithm.EC256: lambda: ec.generate_private_key(ec.SECP256R1()),
    Algorithm.EC384: lambda: ec.generate_private_key(ec.SECP384R1()),
    Algorithm.EC521: lambda: ec.generate_private_key(ec.SECP521R1()),
    Algorithm.SM2: SM2Key.generate,
    Algorithm.ED25519: ed25519.Ed25519PrivateKey.generate,
    Algorithm.ED448: ed448.Ed448PrivateKey.generate,
    Algorithm.X25519: x25519.X25519PrivateKey.generate,
    Algorithm.X448: x448.X448PrivateKey.generate,
}

_NULL: Final = der.write(der.NULL)


def _identifier(dotted: str, *parameters: bytes) -> bytes:
    return der.write(der.SEQUENCE, der.oid(dotted), *parameters)


_RSA_SHA256: Final = _identifier("1.2.840.113549.1.1.11", _NULL)
_ECDSA_SHA256: Final = _identifier("1.2.840.10045.4.3.2")
_ED25519: Final = _identifier("1.3.101.112")
_ED448: Final = _identifier("1.3.101.113")
_SM2_SM3: Final = _identifier("1.2.156.10197.1.501")


class Key:
    """A private key. Nothing of it shows in a repr.

    @ivar spki: the public key as SubjectPublicKeyInfo in DER.
    @ivar signature: the AlgorithmIdentifier of what it signs in DER, b"" where it cannot sign.
    @ivar identity: the distinguishing identifier of SM2 signatures; see L{SM2Key.sign}.
    """

    __slots__ = ("_key", "identity", "signature", "spki")

    def __init__(self, key: Any) -> None:
        self._key = key
        self.identity = b""
        if isinstance(key, SM2Key):
            self.spki = key.spki
        else:
            self.spki = key.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
        self.signature = _signature_of(key)

    def sign(self, data: bytes) -> bytes:
        """The signature of a certificate. Raises CertificateError."""
        key = self._key
        try:
            if isinstance(key, rsa.RSAPrivateKey):
                return key.sign(data, padding.PKCS1v15(), hashes.SHA256())
            if isinstance(key, ec.EllipticCurvePrivateKey):
                return key.sign(data, ec.ECDSA(hashes.SHA256()))
            if isinstance(key, SM2Key):
                return key.sign(data, self.identity)
            if isinstance(key, (ed25519.Ed25519PrivateKey, ed448.Ed448PrivateKey)):
                return key.sign(data)
        except (ValueError, LibraryError) as error:
            raise CertificateError(f"the key cannot sign: {error}") from error
        raise CertificateError("a key of this kind cannot sign")

    def der(self) -> bytes:
        """The private key as PKCS #8, not encrypted."""
        if isinstance(self._key, SM2Key):
            return self._key.pkcs8
        made: bytes = self._key.private_bytes(Encoding.DER, PrivateFormat.PKCS8, NoEncryption())
        return made

    def pem(self) -> bytes:
        """The same as PEM."""
        return pem_of("PRIVATE KEY", self.der())

    def __repr__(self) -> str:
        return f"<Key {type(self._key).__name__}>"


def _signature_of(key: Any) -> bytes:
    kinds: tuple[tuple[type, bytes], ...] = (
        (rsa.RSAPrivateKey, _RSA_SHA256),
        (ec.EllipticCurvePrivateKey, _ECDSA_SHA256),
        (SM2Key, _SM2_SM3),
        (ed25519.Ed25519PrivateKey, _ED25519),
        (ed448.Ed448PrivateKey, _ED448),
    )
    return next((identifier for kind, identifier in kinds if isinstance(key, kind)), b"")


def generate(algorithm: Algorithm, bits: int = DEFAULT_RSA_BITS) -> Key:
    """A new key; C{bits} are for RSA. Raises CertificateError, also where the library at hand has no such algorithm."""
    try:
        if algorithm is not Algorithm.RSA:
            return Key(_MAKERS[algorithm]())
        if not LEAST_RSA_BITS <= bits <= MOST_RSA_BITS:
            raise CertificateError(f"rsa: {bits} bits are not from {LEAST_RSA_BITS} to {MOST_RSA_BITS}")
        return Key(rsa.generate_private_key(65537, bits))
    except (UnsupportedAlgorithm, ValueError, LibraryError, ConfigError) as error:
        raise CertificateError(f"{algorithm.value}: {error}") from error


def load_key(data: bytes) -> Key:
    """The private key in PEM text, or in DER; without a password. Raises CertificateError."""
    pem = b"-----BEGIN" in data
    try:
        return Key((load_pem_private_key if pem else load_der_private_key)(data, None))
    except TypeError:
        raise CertificateError("the private key is encrypted with a password, which cannot be given") from None
    except (ValueError, UnsupportedAlgorithm, AttributeError) as error:
        sm2 = _load_sm2(data, pem)
        if sm2 is None:
            raise CertificateError(f"the private key cannot be read: {error}") from None
        return Key(sm2)


def _load_sm2(data: bytes, pem: bool) -> SM2Key | None:
    """An SM2 key, or None."""
    for block in pem_blocks(data, b"PRIVATE KEY") if pem else [data]:
        try:
            return SM2Key.load(block)
        except (LibraryError, ConfigError):
            continue
    return None


def pem_of(label: str, content: bytes) -> bytes:
    """One PEM block (RFC 7468)."""
    text = b64encode(content)
    lines = [text[at : at + 64] for at in range(0, len(text), 64)]
    return b"-----BEGIN %b-----\n%b\n-----END %b-----\n" % (label.encode(), b"\n".join(lines), label.encode())


_BLOCK: Final = re.compile(rb"-----BEGIN ([A-Z0-9 ]{1,40})-----\s([A-Za-z0-9+/=\s]+)-----END \1-----")


def pem_blocks(data: bytes, label: bytes) -> list[bytes]:
    """The contents of all PEM blocks whose label ends with C{label}."""
    found = []
    for match in _BLOCK.finditer(data):
        if match[1].endswith(label):
            try:
                found.append(a2b_base64(match[2]))
            except Base64Error:
                continue
    return found
