# SPDX-License-Identifier: Apache-2.0
"""What a TLS server is whichever library speaks for it: its ciphers, what tells its sessions from others', and which certificate a name gets."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Final, Generic, TypeVar

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509 import ocsp

from g3.errors import ConfigError
from g3.net.tls.options import TLSVersion
from g3.task import parse_ip

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from g3.net.tls.options import PEM, CertificatePair, ServerTLSOptions

T = TypeVar("T")

#: TLS 1.2 ciphers of a server: forward secrecy and authenticated encryption (Mozilla's "intermediate", as upstream).
SERVER_CIPHERS: Final = (
    "ECDHE-ECDSA-AES128-GCM-SHA256:ECDHE-RSA-AES128-GCM-SHA256:ECDHE-ECDSA-AES256-GCM-SHA384:ECDHE-RSA-AES256-GCM-SHA384:"
    "ECDHE-ECDSA-CHACHA20-POLY1305:ECDHE-RSA-CHACHA20-POLY1305:DHE-RSA-AES128-GCM-SHA256:DHE-RSA-AES256-GCM-SHA384"
)
#: Combinations of certificates that names may ask for; names beyond get the first.
MOST_CHOICES: Final = 256


def server_ciphers(options: ServerTLSOptions) -> tuple[str, str]:
    """Cipher suites for TLS 1.2 and below, and those for TLS 1.3, each as OpenSSL takes them; "" for OpenSSL's own choice of the latter."""
    old = [word for word in options.ciphers if not word.startswith("TLS_")]
    new = [word for word in options.ciphers if word.startswith("TLS_")]
    if options.min_tls_version in (TLSVersion.TLS1_0, TLSVersion.TLS1_1):
        # OpenSSL 3 speaks these only at its lowest security level, and the operator asked for one by name.
        old = [*(old or ["DEFAULT"]), "@SECLEVEL=0"]
    return ":".join(old) or SERVER_CIPHERS, ":".join(new)


def session_id_context(options: ServerTLSOptions, authorities: Iterable[bytes]) -> bytes:
    """32 bytes that differ when certificates, what is asked of clients, C{authorities} (the certificates that theirs must come from, in DER) or the
    configured text differ, and are the same on all hosts where they are the same."""
    digest = hashlib.sha256(options.session_id_context.encode())
    for pair in options.cert_pairs:
        digest.update(hashlib.sha256(load_chain(pair)[0].public_bytes(Encoding.DER)).digest())
    if options.enable_client_auth:
        digest.update(b"client certificate")
    for der in authorities:
        digest.update(hashlib.sha256(der).digest())
    return digest.digest()


def staple_for(options: ServerTLSOptions, pairs: Iterable[CertificatePair]) -> bytes:
    """The OCSP response to go with one of these certificates, b"" where it is about none of them."""
    if options.ocsp_response is None:
        return b""
    about = {single.serial_number for single in ocsp.load_der_ocsp_response(options.ocsp_response.data).responses}
    return options.ocsp_response.data if any(load_chain(pair)[0].serial_number in about for pair in pairs) else b""


def load_chain(pair: CertificatePair) -> list[x509.Certificate]:
    """The certificates of a pair, its own first. Raises ValueError."""
    return x509.load_pem_x509_certificates(pair.certificate.data)


def authorities_in(pems: Iterable[PEM]) -> list[x509.Certificate]:
    """The certificates of authorities to trust, each once. Raises ConfigError."""
    trusted: dict[bytes, x509.Certificate] = {}
    for pem in pems:
        try:
            trusted.update((found.fingerprint(hashes.SHA256()), found) for found in x509.load_pem_x509_certificates(pem.data))
        except ValueError as error:
            raise ConfigError(f"ca_certificate: cannot read {pem.path or 'it'}: {error}") from error
    return list(trusted.values())


def names_of(certificate: x509.Certificate) -> frozenset[str]:
    """The DNS names that a certificate is for, in lower case."""
    try:
        names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except (x509.ExtensionNotFound, ValueError):
        return frozenset()
    return frozenset(name.lower().rstrip(".") for name in names.get_values_for_type(x509.DNSName))


class Choice(Generic[T]):
    """Which of several certificates a server name gets: those that are for it, of each kind of key the first; without any, or without a name,
    of each kind of key the first of all.

    @param make: something for a subset of the certificates; called at most L{MOST_CHOICES} times.
    """

    def __init__(self, pairs: tuple[CertificatePair, ...], make: Callable[[tuple[CertificatePair, ...]], T]) -> None:
        leaves = [load_chain(pair)[0] for pair in pairs]
        self._pairs = pairs
        self._kinds = [_kind(leaf) for leaf in leaves]
        self._names = [names_of(leaf) for leaf in leaves]
        self._make = make
        self._made: dict[tuple[int, ...], T] = {}
        self._default = self._firsts(range(len(pairs)))

    @property
    def default(self) -> tuple[CertificatePair, ...]:
        """Whom nobody asks for by name."""
        return tuple(self._pairs[index] for index in self._default)

    @property
    def needed(self) -> bool:
        """Whether the name matters at all."""
        return len(self._default) < len(self._pairs)

    def of(self, name: str) -> T | None:
        """What was made for C{name}; None: the default serves."""
        if not name or parse_ip(name) is not None:
            return None
        name = name.lower().rstrip(".")
        wild = "*." + name.partition(".")[2]
        chosen = self._firsts(index for index, names in enumerate(self._names) if name in names)
        chosen = chosen or self._firsts(index for index, names in enumerate(self._names) if wild in names)
        if not chosen or chosen == self._default:
            return None
        found = self._made.get(chosen)
        if found is None and len(self._made) < MOST_CHOICES:
            found = self._made[chosen] = self._make(tuple(self._pairs[index] for index in chosen))
        return found

    def _firsts(self, indexes: Iterable[int]) -> tuple[int, ...]:
        firsts: dict[str, int] = {}
        for index in indexes:
            firsts.setdefault(self._kinds[index], index)
        return tuple(firsts.values())


def _kind(certificate: x509.Certificate) -> str:
    return type(certificate.public_key()).__name__
