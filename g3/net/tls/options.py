# SPDX-License-Identifier: Apache-2.0
"""What an operator may say about TLS: frozen values that carry the loaded certificates themselves.

Equality is the reload diff, so it must see a file whose content changed under an unchanged name: values hold the PEM bytes, and paths
only for messages. Private keys never show in a repr. Options of libraries other than the one in use are kept too; what cannot be
honoured is the TLS provider's to say.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import Enum

#: Shorter handshake timeouts are raised to this many seconds.
LEAST_HANDSHAKE_TIMEOUT = 0.1


class TLSVersion(Enum):
    """A TLS version; ordered by C{rank}. The value is upstream's word for it."""

    TLS1_0 = "TLS1.0"
    TLS1_1 = "TLS1.1"
    TLS1_2 = "TLS1.2"
    TLS1_3 = "TLS1.3"

    @property
    def rank(self) -> int:
        return _VERSIONS.index(self)


_VERSIONS = tuple(TLSVersion)


class TLSProtocol(Enum):
    """A protocol to speak and no other; TLCP is the Chinese national standard GB/T 38636."""

    SSL3 = "SSL3.0"
    TLS1_0 = "TLS1.0"
    TLS1_1 = "TLS1.1"
    TLS1_2 = "TLS1.2"
    TLS1_3 = "TLS1.3"
    TLCP1_1 = "TLCP1.1"


class SessionCache(Enum):
    """What a client keeps to resume sessions: nothing, a cache for its one peer, one for many sites, or the TLS library's own."""

    OFF = "off"
    ONE = "one"
    MANY = "many"
    BUILTIN = "builtin"


@dataclass(frozen=True, slots=True)
class PEM:
    """The text of a PEM file, or of a value that was PEM itself. C{path} is for messages and no part of equality."""

    data: bytes = field(repr=False)
    path: str = field(default="", compare=False)


@dataclass(frozen=True, slots=True)
class OCSPResponse:
    """The content of a file with an OCSP response in DER (RFC 6960). C{path} is for messages and no part of equality."""

    data: bytes = field(repr=False)
    path: str = field(default="", compare=False)


@dataclass(frozen=True, slots=True)
class CertificatePair:
    """A certificate chain, leaf first, and the private key of the leaf. They were checked to fit each other."""

    certificate: PEM
    private_key: PEM


@dataclass(frozen=True, slots=True, kw_only=True)
class TLCPCertificatePair:
    """The two certificates with keys that TLCP needs: one signs, one encrypts."""

    sign_certificate: PEM
    sign_private_key: PEM
    enc_certificate: PEM
    enc_private_key: PEM


@dataclass(frozen=True, slots=True, kw_only=True)
class ClientTLSOptions:
    """TLS as a client. C{ca_certificate} is trusted beside the system's list, which C{no_default_ca_certificate} leaves out.

    C{insecure}: a certificate that does not verify is only logged.
    """

    protocol: TLSProtocol | None = None
    min_tls_version: TLSVersion | None = None
    max_tls_version: TLSVersion | None = None
    ciphers: tuple[str, ...] = ()
    disable_sni: bool = False
    cert_pair: CertificatePair | None = None
    tlcp_cert_pair: TLCPCertificatePair | None = None
    ca_certificate: tuple[PEM, ...] = ()
    no_default_ca_certificate: bool = False
    use_builtin_ca_certificate: bool = False
    handshake_timeout: float = 10.0
    session_cache: SessionCache = SessionCache.BUILTIN
    session_cache_lru_max_sites: int = 128
    session_cache_each_capacity: int = 16
    supported_groups: str = ""
    use_ocsp_stapling: bool = False
    enable_sct: bool = False
    enable_grease: bool = False
    permute_extensions: bool = False
    insecure: bool = False
    max_fragment_size: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ServerTLSOptions:
    """TLS as a server. Without C{ca_certificate} client certificates are verified by the system's list.

    C{ocsp_response} goes with the certificate to clients that ask for one. Versions are TLS 1.2 and up by default.
    """

    cert_pairs: tuple[CertificatePair, ...] = ()
    tlcp_cert_pairs: tuple[TLCPCertificatePair, ...] = ()
    enable_client_auth: bool = False
    ca_certificate: tuple[PEM, ...] = ()
    session_id_context: str = ""
    no_session_ticket: bool = False
    no_session_cache: bool = False
    handshake_timeout: float = 10.0
    min_tls_version: TLSVersion | None = None
    max_tls_version: TLSVersion | None = None
    ciphers: tuple[str, ...] = ()
    supported_groups: str = ""
    ocsp_response: OCSPResponse | None = None
