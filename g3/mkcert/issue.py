# SPDX-License-Identifier: Apache-2.0
"""Which certificates there are, and what is in each kind (upstream: g3mkcert)."""

from __future__ import annotations

from enum import Enum
from typing import TYPE_CHECKING, Final, NamedTuple

from cryptography.x509.oid import ExtensionOID

from g3.mkcert.certificate import (
    AUTHORITY_DAYS,
    LEAF_DAYS,
    Authority,
    Certificate,
    Content,
    Extension,
    Subject,
    basic_constraints,
    build,
    extended_key_usage,
    key_usage,
    random_serial,
    subject_alternative_name,
    subject_key_identifier,
    validity,
)
from g3.mkcert.keys import EC_PUBLIC_KEY, SM2_CURVE, Algorithm, CertificateError, Key
from g3.proto import der

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime


class Use(Enum):
    """What a leaf is for."""

    TLS_SERVER = "tls-server"
    TLS_CLIENT = "tls-client"
    TLCP_SERVER_SIGN = "tlcp-server-sign"
    TLCP_SERVER_ENC = "tlcp-server-enc"
    TLCP_CLIENT_SIGN = "tlcp-client-sign"
    TLCP_CLIENT_ENC = "tlcp-client-enc"

    @property
    def client(self) -> bool:
        return "client" in self.value

    @property
    def tlcp(self) -> bool:
        return self.value.startswith("tlcp")


#: What TLCP keys may be of.
TLCP_ALGORITHMS: Final = (Algorithm.SM2, Algorithm.RSA)

_GENERAL: Final = key_usage("digital_signature", "key_encipherment", "key_agreement")
_SIGNATURE: Final = key_usage("digital_signature")
_AGREEMENT: Final = key_usage("key_agreement")
_TLCP_SIGN: Final = key_usage("digital_signature", "content_commitment")
_TLCP_ENC: Final = key_usage("key_encipherment", "data_encipherment", "key_agreement")
_AUTHORITY: Final = key_usage("key_cert_sign", "crl_sign")

#: A name with nothing in it.
_NOBODY: Final = der.write(der.SEQUENCE)
#: Kinds of keys by the dotted number of their algorithm, and for elliptic curves of their curve.
_ALGORITHMS: Final = {
    "1.2.840.113549.1.1.1": Algorithm.RSA,
    "1.3.101.110": Algorithm.X25519,
    "1.3.101.111": Algorithm.X448,
    "1.3.101.112": Algorithm.ED25519,
    "1.3.101.113": Algorithm.ED448,
}


def usage_of(algorithm: Algorithm, use: Use) -> Extension:
    """The key usage of a leaf."""
    if use.tlcp:
        return _TLCP_SIGN if use.value.endswith("sign") else _TLCP_ENC
    if algorithm in (Algorithm.ED25519, Algorithm.ED448):
        return _SIGNATURE
    return _GENERAL if algorithm.signs else _AGREEMENT


class Window(NamedTuple):
    """When a certificate is valid."""

    begin: datetime
    end: datetime


def root(subject: Subject, key: Key) -> Certificate:
    """A root that signs itself, for ten years. Raises CertificateError."""
    if not key.signature:
        raise CertificateError("a key of this kind cannot sign, so it cannot be that of a certificate authority")
    begin, end = validity(AUTHORITY_DAYS)
    name = subject.name()
    extensions = (_AUTHORITY, basic_constraints(None), subject_key_identifier(key.spki))
    return Certificate(build(_content(name, key.spki, Window(begin, end), extensions), name, key))


def intermediate(subject: Subject, key: Key, authority: Authority, path_length: int = 0) -> Certificate:
    """An authority under another one, for ten years. C{path_length} authorities may follow it, no more than the other one allows.

    @raise CertificateError: none may follow the other one.
    """
    if not key.signature:
        raise CertificateError("a key of this kind cannot sign, so it cannot be that of a certificate authority")
    allowed = authority.certificate.path_length()
    if allowed == 0:
        raise CertificateError("the CA certificate allows no intermediate CA after it (its path length is 0)")
    length = path_length if allowed is None else min(path_length, allowed - 1)
    begin, end = validity(AUTHORITY_DAYS, issuer=authority.certificate)
    extensions = (_AUTHORITY, basic_constraints(length), subject_key_identifier(key.spki), authority.identifier())
    return _issued(_content(subject.name(), key.spki, Window(begin, end), extensions), authority)


def leaf(
    subject: Subject, hosts: Sequence[str], key: Key, usage: Extension, *, client: bool, authority: Authority, window: Window | None = None
) -> Certificate:
    """A certificate of a server or a client, for a year or C{window}. C{hosts} are as g3.config.values.net.to_host gives them."""
    name = subject.name()
    begin, end = window or validity(LEAF_DAYS)
    window = Window(begin, min(end, authority.certificate.not_after))
    extensions = (
        usage,
        extended_key_usage(client),
        # Where nobody is named, the other names have to be read (RFC 5280 section 4.2.1.6).
        subject_alternative_name(hosts, critical=name == _NOBODY),
        subject_key_identifier(key.spki),
        authority.identifier(),
    )
    return _issued(_content(name, key.spki, window, extensions), authority)


def _issued(content: Content, authority: Authority) -> Certificate:
    return Certificate(build(content, authority.subject, authority.key))


def _content(subject: bytes, spki: bytes, window: Window, extensions: Sequence[Extension]) -> Content:
    return Content(
        subject=subject,
        spki=spki,
        not_before=der.time(window.begin),
        not_after=der.time(window.end),
        extensions=extensions,
        serial=random_serial(),
    )


def algorithm_of(original: Certificate) -> Algorithm:
    """What the key of a certificate like C{original} is of: its kind, with 2048 bits for RSA and P-256 for any curve.

    @raise CertificateError: no such key can be made.
    """
    kind, curve = original.algorithm()
    if kind == EC_PUBLIC_KEY:
        return Algorithm.SM2 if curve == SM2_CURVE else Algorithm.EC256
    found = _ALGORITHMS.get(kind)
    if found is None:
        raise CertificateError(f"keys of the kind {kind} are not supported")
    return found


def mimic(original: Certificate, key: Key, authority: Authority, usage: Extension | None = None, *, keep_serial: bool = False) -> Certificate:
    """A certificate like C{original} with another key and another issuer.

    Subject, alternative names, extended key usage, validity and version are those of the original; so is the key usage unless C{usage} is
    given. It has a subject key identifier and an authority key identifier if the original has, its serial number if C{keep_serial}.

    @raise CertificateError: the original has no extended key usage, or no key usage where it is needed.
    """
    purpose = original.extension(ExtensionOID.EXTENDED_KEY_USAGE)
    usage = usage or original.extension(ExtensionOID.KEY_USAGE)
    if purpose is None or usage is None:
        raise CertificateError(f"the certificate to mimic has no {'extended ' if purpose is None else ''}key usage")
    extensions = [usage, purpose]
    names = original.extension(ExtensionOID.SUBJECT_ALTERNATIVE_NAME)
    if names is not None:
        extensions.append(Extension(names.oid, False, names.value))
    parts = original.parts
    if parts.version >= 2 and original.extension(ExtensionOID.SUBJECT_KEY_IDENTIFIER) is not None:
        extensions.append(subject_key_identifier(key.spki))
    if parts.version >= 2 and original.extension(ExtensionOID.AUTHORITY_KEY_IDENTIFIER) is not None:
        extensions.append(authority.identifier())
    content = Content(
        subject=parts.subject,
        spki=key.spki,
        not_before=parts.not_before,
        not_after=parts.not_after,
        extensions=extensions,
        serial=parts.serial if keep_serial else random_serial(),
        version=parts.version,
    )
    return _issued(content, authority)
