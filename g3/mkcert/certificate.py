# SPDX-License-Identifier: Apache-2.0
"""Making certificates (RFC 5280): whatever the algorithm, by one path that writes the DER and has it signed.

What is taken from another certificate is taken byte for byte: names keep their string types, extensions their encoding.
"""

from __future__ import annotations

import hashlib
import secrets
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from typing import TYPE_CHECKING, Final

from cryptography.x509.oid import ExtendedKeyUsageOID, ExtensionOID

from g3.mkcert.keys import CertificateError, pem_blocks, pem_of
from g3.proto import der

if TYPE_CHECKING:
    from collections.abc import Sequence

    from cryptography.x509 import ObjectIdentifier

    from g3.mkcert.keys import Key

#: How long certificates are valid, and how long before now they begin, days.
LEAF_DAYS: Final = 365
AUTHORITY_DAYS: Final = 3650
BACKDATED_DAYS: Final = 1
#: X.509 version 3 as it is encoded.
VERSION_3: Final = 2
#: Bytes of a file that may hold certificates.
MAX_FILE: Final = 1 << 20

_TRUE: Final = b"\x01\x01\xff"
#: Attribute types of a name in their order, and what each may have in it (RFC 5280 appendix A.1).
_ATTRIBUTES: Final = (("country", "2.5.4.6", 2), ("organization", "2.5.4.10", 64), ("unit", "2.5.4.11", 64), ("common_name", "2.5.4.3", 64))


@dataclass(frozen=True, slots=True, kw_only=True)
class Subject:
    """Whom a certificate is for. Only what is set is in the name, in this order."""

    country: str = ""
    organization: str = ""
    unit: str = ""
    common_name: str = ""

    def name(self) -> bytes:
        """The Name in DER. Raises CertificateError."""
        parts = [_attribute(field, dotted, most, getattr(self, field)) for field, dotted, most in _ATTRIBUTES if getattr(self, field)]
        return der.write(der.SEQUENCE, *parts)


def _attribute(field: str, dotted: str, most: int, value: str) -> bytes:
    what = field.replace("_", " ")
    if field == "country" and not (len(value) == 2 and value.isascii() and value.isalpha()):
        raise CertificateError(f"country: {value!a} is not a code of two letters")
    if len(value) > most:
        raise CertificateError(f"{what}: {value!a:.80} is longer than {most} characters")
    try:
        content = value.encode("utf-8")
    except UnicodeEncodeError:
        raise CertificateError(f"{what}: {value!a:.80} is not text") from None
    tag = der.PRINTABLE_STRING if field == "country" else der.UTF8_STRING
    return der.write(der.SET, der.write(der.SEQUENCE, der.oid(dotted), der.write(tag, content)))


@dataclass(frozen=True, slots=True)
class Extension:
    """One extension; C{value} is the DER inside its octet string."""

    oid: str
    critical: bool
    value: bytes

    def encode(self) -> bytes:
        """In DER."""
        critical = _TRUE if self.critical else b""
        return der.write(der.SEQUENCE, der.oid(self.oid), critical, der.write(der.OCTET_STRING, self.value))


@dataclass(frozen=True, slots=True)
class Parts:
    """A certificate cut apart, all but the extensions in DER as it was."""

    version: int
    serial: bytes
    not_before: bytes
    not_after: bytes
    subject: bytes
    spki: bytes
    extensions: dict[str, Extension]


class Certificate:
    """A certificate that was read: C{der}, its C{parts}, and when it is valid. Lenient: what servers have in use is read.

    @raise CertificateError: it cannot be read.
    """

    __slots__ = ("der", "not_after", "not_before", "parts")

    def __init__(self, data: bytes) -> None:
        self.der = data
        try:
            self.parts = _cut(data)
            self.not_before, self.not_after = der.read_time(self.parts.not_before), der.read_time(self.parts.not_after)
            self.algorithm()
        except der.DERError as error:
            raise CertificateError(f"the certificate cannot be read: {error}") from None

    def extension(self, oid: ObjectIdentifier) -> Extension | None:
        """One of its extensions, or None."""
        return self.parts.extensions.get(oid.dotted_string)

    def algorithm(self) -> tuple[str, str]:
        """The dotted numbers of the kind of its key, and of its curve where it has one. Raises DERError."""
        words = list(der.read(next(der.read(der.read_one(self.parts.spki, der.SEQUENCE).content)).content))
        if not words:
            raise der.DERError("no algorithm")
        curve = der.read_oid(words[1]) if len(words) > 1 and words[1].tag == der.OID else ""
        return der.read_oid(words[0]), curve

    def key_identifier(self) -> bytes:
        """Its subject key identifier; where it has none, that of its key."""
        found = self.extension(ExtensionOID.SUBJECT_KEY_IDENTIFIER)
        try:
            return der.read_one(found.value, der.OCTET_STRING).content if found is not None else key_identifier(self.parts.spki)
        except der.DERError:
            return key_identifier(self.parts.spki)

    def path_length(self) -> int | None:
        """How many authorities may follow it; None is any number.

        @raise CertificateError: it is no authority.
        """
        found = self.extension(ExtensionOID.BASIC_CONSTRAINTS)
        try:
            fields = list(der.read(der.read_one(found.value, der.SEQUENCE).content)) if found is not None else []
        except der.DERError:
            fields = []
        if not fields or fields[0].tag != der.BOOLEAN or fields[0].content == b"\0":
            raise CertificateError("the CA certificate is not that of a certificate authority")
        return int.from_bytes(fields[1].content, "big") if len(fields) > 1 else None

    def pem(self) -> bytes:
        """As one PEM block."""
        return pem_of("CERTIFICATE", self.der)


def load_certificates(data: bytes) -> list[Certificate]:
    """All certificates in PEM text. Raises CertificateError, also when there is none."""
    found = [Certificate(block) for block in pem_blocks(data[:MAX_FILE], b"CERTIFICATE")]
    if not found:
        raise CertificateError("there is no certificate in PEM form")
    return found


def _cut(data: bytes) -> Parts:
    whole = list(der.read(der.read_one(data, der.SEQUENCE).content))
    fields = list(der.read(whole[0].content)) if len(whole) == 3 else []
    version = 0
    if fields and fields[0].tag == der.EXPLICIT:
        version = int.from_bytes(der.read_one(fields.pop(0).content, der.INTEGER).content, "big")
    if len(fields) < 6:
        raise der.DERError("fields are missing")
    times = list(der.read(fields[3].content))
    if len(times) != 2:
        raise der.DERError("no validity")
    extensions = next((field.content for field in fields[6:] if field.tag == der.EXPLICIT | 3), b"")
    return Parts(version, fields[0].whole, times[0].whole, times[1].whole, fields[4].whole, fields[5].whole, _extensions(extensions))


def _extensions(data: bytes) -> dict[str, Extension]:
    found: dict[str, Extension] = {}
    if not data:
        return found
    for value in der.read(der.read_one(data, der.SEQUENCE).content):
        fields = list(der.read(value.content))
        if len(fields) not in (2, 3) or fields[-1].tag != der.OCTET_STRING:
            raise der.DERError("an extension that is none")
        made = Extension(der.read_oid(fields[0]), len(fields) == 3 and fields[1].content != b"\0", fields[-1].content)
        found.setdefault(made.oid, made)
    return found


def key_identifier(spki: bytes) -> bytes:
    """The SHA-1 of the bits of a public key (RFC 5280 section 4.2.1.2, method 1)."""
    bits = list(der.read(der.read_one(spki, der.SEQUENCE).content))[1].content[1:]
    return hashlib.sha1(bits, usedforsecurity=False).digest()


class Authority:
    """A certificate with its key: what issues others.

    @raise CertificateError: the key is another one's, or cannot sign.
    """

    __slots__ = ("_identifier", "certificate", "key")

    def __init__(self, certificate: Certificate, key: Key) -> None:
        if certificate.parts.spki != key.spki:
            raise CertificateError("the CA private key is not that of the CA certificate")
        if not key.signature:
            raise CertificateError("a CA key of this kind cannot sign")
        self.certificate, self.key = certificate, key
        self._identifier = authority_key_identifier(certificate.key_identifier())

    @property
    def subject(self) -> bytes:
        """Its name, which is the issuer of what it issues."""
        return self.certificate.parts.subject

    def identifier(self) -> Extension:
        """The authority key identifier of what it issues."""
        return self._identifier


@dataclass(frozen=True, slots=True, kw_only=True)
class Content:
    """What is in a certificate; all but the extensions in DER."""

    subject: bytes
    spki: bytes
    not_before: bytes
    not_after: bytes
    extensions: Sequence[Extension]
    serial: bytes
    version: int = VERSION_3


def build(content: Content, issuer: bytes, key: Key) -> bytes:
    """The certificate in DER, signed with C{key}. Raises CertificateError."""
    extensions = [extension.encode() for extension in content.extensions]
    body = der.write(
        der.SEQUENCE,
        der.write(der.EXPLICIT, der.integer(content.version)) if content.version else b"",
        content.serial,
        key.signature,
        issuer,
        der.write(der.SEQUENCE, content.not_before, content.not_after),
        content.subject,
        content.spki,
        der.write(der.EXPLICIT | 3, der.write(der.SEQUENCE, *extensions)) if extensions else b"",
    )
    return der.write(der.SEQUENCE, body, key.signature, der.bit_string(key.sign(body)))


def random_serial() -> bytes:
    """A serial number of 128 random bits, the highest and the lowest set."""
    return der.integer(secrets.randbits(128) | 1 << 127 | 1)


def validity(days: int, now: datetime | None = None, issuer: Certificate | None = None) -> tuple[datetime, datetime]:
    """From a day ago for C{days} days from now; not after the issuer's end."""
    now = (now or datetime.now(UTC)).replace(microsecond=0)
    end = now + timedelta(days=days)
    if issuer is not None:
        end = min(end, issuer.not_after)
    return now - timedelta(days=BACKDATED_DAYS), end


# Extensions

_USAGES: Final = (
    "digital_signature",
    "content_commitment",
    "key_encipherment",
    "data_encipherment",
    "key_agreement",
    "key_cert_sign",
    "crl_sign",
)


def key_usage(*usages: str) -> Extension:
    """Critical, with what is named as in RFC 5280 section 4.2.1.3."""
    bits = sum(0x80 >> _USAGES.index(usage) for usage in usages)
    unused = (bits & -bits).bit_length() - 1
    return Extension(ExtensionOID.KEY_USAGE.dotted_string, True, der.write(der.BIT_STRING, bytes((unused, bits))))


def extended_key_usage(client: bool) -> Extension:
    """For TLS clients, or for TLS servers."""
    purpose = ExtendedKeyUsageOID.CLIENT_AUTH if client else ExtendedKeyUsageOID.SERVER_AUTH
    return Extension(ExtensionOID.EXTENDED_KEY_USAGE.dotted_string, False, der.write(der.SEQUENCE, der.oid(purpose.dotted_string)))


def basic_constraints(path_length: int | None) -> Extension:
    """Of an authority, critical."""
    length = b"" if path_length is None else der.integer(path_length)
    return Extension(ExtensionOID.BASIC_CONSTRAINTS.dotted_string, True, der.write(der.SEQUENCE, _TRUE, length))


def subject_key_identifier(spki: bytes) -> Extension:
    """Of a public key."""
    return Extension(ExtensionOID.SUBJECT_KEY_IDENTIFIER.dotted_string, False, der.write(der.OCTET_STRING, key_identifier(spki)))


def authority_key_identifier(identifier: bytes) -> Extension:
    """The key identifier alone."""
    return Extension(ExtensionOID.AUTHORITY_KEY_IDENTIFIER.dotted_string, False, der.write(der.SEQUENCE, der.write(0x80, identifier)))


def subject_alternative_name(hosts: Sequence[str], *, critical: bool = False) -> Extension:
    """Domains (A-labels, also with a wildcard) and addresses, each in its one spelling."""
    names = []
    for host in hosts:
        try:
            names.append(der.write(0x87, ip_address(host).packed))
        except ValueError:
            names.append(der.write(0x82, host.encode("ascii")))
    return Extension(ExtensionOID.SUBJECT_ALTERNATIVE_NAME.dotted_string, critical, der.write(der.SEQUENCE, *names))
