# SPDX-License-Identifier: Apache-2.0
"""TLS options of a server as aioquic takes them, and what of them it cannot do."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from aioquic.quic.configuration import QuicConfiguration
from cryptography.hazmat.primitives.serialization import load_pem_private_key

from g3.errors import ConfigError
from g3.net.quic.tickets import TicketOffice
from g3.net.tls.options import TLSVersion
from g3.net.tls.policy import Choice, load_chain, session_id_context

if TYPE_CHECKING:
    from g3.net.tls.options import CertificatePair, ServerTLSOptions
    from g3.net.tls.tickets import TicketKeys

#: Seconds without a packet after which a connection ends (as upstream).
IDLE_TIMEOUT = 30.0
#: Bytes a client may send ahead of what was read: on one stream, and on all of a connection.
STREAM_WINDOW, WINDOW = 1 << 18, 1 << 20
#: Streams that a client may have open (as upstream).
MOST_STREAMS = 100


def quic_problems(options: ServerTLSOptions) -> list[str]:
    """What of C{options} cannot be had with QUIC; empty when all is well."""
    problems = []
    if options.enable_client_auth:
        problems.append("enable_client_auth: the QUIC library asks no client for a certificate")
    if options.max_tls_version is not None and options.max_tls_version is not TLSVersion.TLS1_3:
        problems.append("max_tls_version: QUIC is TLS 1.3")
    if options.tlcp_cert_pairs:
        problems.append("tlcp_cert_pairs: QUIC is TLS 1.3")
    if not options.cert_pairs:
        problems.append("cert_pairs: no certificate is set")
    return problems


def quic_warnings(options: ServerTLSOptions) -> list[str]:
    """What has no effect with QUIC."""
    said = {
        "ciphers": bool(options.ciphers),
        "supported_groups": bool(options.supported_groups),
        "ocsp_response": options.ocsp_response is not None,
    }
    return [f"{key}: the QUIC library cannot do it; ignored" for key, given in said.items() if given]


@dataclass(frozen=True, slots=True)
class QUICSettings:
    """What new connections are made with. C{handshake_timeout} in seconds."""

    configuration: QuicConfiguration
    handshake_timeout: float
    tickets: TicketOffice | None = None


def quic_settings(options: ServerTLSOptions, keys: TicketKeys | None = None) -> QUICSettings:
    """Settings of a server, that issues tickets if it has C{keys}.

    @raise ConfigError: something in C{options} cannot be honoured.
    """
    problems = quic_problems(options)
    if problems:
        raise ConfigError(problems)
    configuration = QuicConfiguration(is_client=False, idle_timeout=IDLE_TIMEOUT, max_data=WINDOW, max_stream_data=STREAM_WINDOW)
    _use(configuration, Choice(options.cert_pairs, lambda pairs: pairs).default[0])
    tickets = None if keys is None else TicketOffice(keys, session_id_context(options, ()))
    return QUICSettings(configuration, options.handshake_timeout, tickets)


def _use(configuration: QuicConfiguration, pair: CertificatePair) -> None:
    try:
        leaf, *chain = load_chain(pair)
        key: Any = load_pem_private_key(pair.private_key.data, None)
    except (ValueError, TypeError) as error:
        raise ConfigError(f"certificate: cannot use {pair.certificate.path or 'the certificate'}: {error}") from error
    configuration.certificate, configuration.certificate_chain, configuration.private_key = leaf, chain, key
