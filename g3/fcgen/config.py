# SPDX-License-Identifier: Apache-2.0
"""What can be said in the configuration of g3fcgen (upstream: g3fcgen)."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from g3.config.main import Section
from g3.config.schema import config_class, key
from g3.config.stat import stat_section
from g3.config.value import ValueProblem
from g3.config.values.basic import Bool, Int
from g3.config.values.metrics import HistogramValue
from g3.config.values.options import Options
from g3.config.values.tls import Certificates, PrivateKey
from g3.metrics.quantile import HistogramOptions
from g3.mkcert.certificate import Authority, load_certificates
from g3.mkcert.keys import CertificateError, load_key

if TYPE_CHECKING:
    from g3.config.document import Node
    from g3.config.schema import Key
    from g3.config.value import ParseContext
    from g3.net.tls.options import PEM

PROGRAM = "g3fcgen"
#: What C{max_ttl} is at least, seconds.
LEAST_TTL = 300


@dataclass(frozen=True, slots=True)
class Backend:
    """What certificates are made with. C{authority} and C{chain} (PEM to append to each) follow from the PEM texts."""

    ca_certificate: PEM
    ca_private_key: PEM
    no_append_ca_cert: bool = False
    keep_serial: bool = False
    max_ttl: int = 86400
    duration_stats: HistogramOptions = field(default_factory=HistogramOptions)
    authority: Authority = field(compare=False, kw_only=True)
    chain: str = field(default="", compare=False, kw_only=True)


@config_class
class BackendKeys:
    """The certificate authority, and how certificates are made with it."""

    ca_certificate: PEM = key(
        Certificates(any_algorithm=True), doc="The certificate that issues, then what leads to its root; all of them are appended to replies."
    )
    ca_private_key: PEM = key(PrivateKey(any_algorithm=True), doc="The private key of the first of them.")
    no_append_ca_cert: bool = key(Bool(), default=False, doc="Append no CA certificate to replies.")
    keep_serial: bool = key(Bool(), default=False, doc="Give a certificate that is like another one that one's serial number.")
    max_ttl: int = key(Int(0, (1 << 31) - 1), default=86400, unit="seconds", doc="How long a reply may be kept at most; not below 300.")
    duration_stats: HistogramOptions = key(
        HistogramValue(), default=HistogramOptions(), aliases=("duration_metrics",), doc="How the metric backend.request_duration is made."
    )


class BackendValue(Options[Backend]):
    """A map."""

    type_name = "backend"
    keys = BackendKeys

    def build(self, given: Any, node: Node, context: ParseContext) -> Backend:
        try:
            certificates = load_certificates(given.ca_certificate.data)
            authority = Authority(certificates[0], load_key(given.ca_private_key.data))
        except CertificateError as error:
            raise ValueProblem(node, str(error)) from None
        chain = "" if given.no_append_ca_cert else b"".join(certificate.pem() for certificate in certificates).decode()
        return Backend(
            given.ca_certificate,
            given.ca_private_key,
            given.no_append_ca_cert,
            given.keep_serial,
            max(given.max_ttl, LEAST_TTL),
            given.duration_stats,
            authority=authority,
            chain=chain,
        )

    def key_value(self, value: Backend, key: Key) -> Any:
        return getattr(value, key.name)


def sections() -> dict[str, Section]:
    """The sections of g3fcgen beside those that every helper has."""
    return {
        "stat": stat_section(PROGRAM),
        "backend": Section(BackendValue(), None, "The certificate authority.", required=True),
    }
