# SPDX-License-Identifier: Apache-2.0
"""What of the TLS options the TLS library in use cannot honour."""

from __future__ import annotations

from importlib.util import find_spec
from typing import TYPE_CHECKING

from g3.net.tls.options import TLSProtocol, TLSVersion

if TYPE_CHECKING:
    from g3.net.tls.options import ClientTLSOptions, ServerTLSOptions


def client_problems(options: ClientTLSOptions) -> list[str]:
    """What of C{options} this provider cannot do, each naming its key and what could; empty when all is well."""
    problems = []
    if options.protocol is TLSProtocol.TLCP1_1:
        problems.append("protocol: TLCP needs the Tongsuo TLS library")
    if options.protocol is TLSProtocol.SSL3:
        problems.append("protocol: no TLS library here speaks SSL 3.0")
    if options.tlcp_cert_pair is not None:
        problems.append("tlcp_cert_pair: TLCP needs the Tongsuo TLS library")
    if options.ciphers and options.protocol is None:
        problems.append("ciphers: say for which protocol they are, with the key protocol")
    if rank(options.min_tls_version) > rank(options.max_tls_version, 9):
        problems.append("min_tls_version: it is above max_tls_version")
    if options.use_builtin_ca_certificate and find_spec("certifi") is None:
        problems.append('use_builtin_ca_certificate: needs the "certifi" extra: pip install g3[certifi]')
    return problems


def client_warnings(options: ClientTLSOptions) -> list[str]:
    """What of C{options} has no effect with this provider, though the connection is as good without it."""
    without = {
        "enable_sct": options.enable_sct,
        "enable_grease": options.enable_grease,
        "permute_extensions": options.permute_extensions,
    }
    return [f"{key}: this TLS library cannot do it; ignored" for key, said in without.items() if said]


def server_problems(options: ServerTLSOptions) -> list[str]:
    """The same for a server."""
    if options.tlcp_cert_pairs:
        return ["tlcp_cert_pairs: TLCP needs the Tongsuo TLS library"]
    problems = [] if options.cert_pairs else ["cert_pairs: no certificate is set"]
    if rank(options.min_tls_version, TLSVersion.TLS1_2.rank) > rank(options.max_tls_version, 9):
        problems.append("max_tls_version: it is below min_tls_version, which is TLS 1.2 where it is not set")
    return problems


def rank(version: TLSVersion | None, otherwise: int = -1) -> int:
    """The order of a version; C{otherwise} of none."""
    return otherwise if version is None else version.rank
