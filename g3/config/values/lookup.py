# SPDX-License-Identifier: Apache-2.0
"""How helpers are asked. Upstream: configuration/auditors (tls_cert_agent), configuration/escapers/route_geoip (ip_locate_service)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from g3.config.schema import config_class, key
from g3.config.values.basic import Int
from g3.config.values.duration import Duration
from g3.config.values.net import SocketAddr, SocketBufferValue
from g3.config.values.options import Options
from g3.lookup.options import CertAgentOptions, IPLocateOptions
from g3.net.options import SocketBuffer

if TYPE_CHECKING:
    from g3.config.document import Node
    from g3.config.value import ParseContext
    from g3.task import SocketAddress

_U32 = (1 << 32) - 1
_CERT, _LOCATE = CertAgentOptions(), IPLocateOptions()


@config_class
class QueryKeys:
    """What all helpers have in common."""

    query_socket_buffer: SocketBuffer = key(SocketBufferValue(), default=SocketBuffer(), doc="Kernel buffers of the socket.")
    cache_request_batch_count: int = key(Int(0, 1 << 20), default=10, doc="Answers read in one go, before other connections get their turn.")


@config_class
class CertAgentKeys(QueryKeys):
    """The generator that certificates for interception are asked from."""

    query_peer_addr: SocketAddress = key(SocketAddr(indirect=True), default=_CERT.query_peer_addr, doc="Where the generator is.")
    query_wait_timeout: float = key(Duration(), default=_CERT.query_wait_timeout, unit="seconds", doc="How long it has for an answer.")
    cache_request_timeout: float = key(Duration(), default=_CERT.cache_request_timeout, unit="seconds", doc="How long a connection waits.")
    cache_vanish_wait: float = key(
        Duration(),
        default=_CERT.cache_vanish_wait,
        aliases=("vanish_after_expire",),
        unit="seconds",
        doc="How long after its expiry a certificate is still used, while it is asked for again.",
    )
    protective_cache_ttl: int = key(
        Int(0, _U32), default=_CERT.protective_cache_ttl, unit="seconds", doc="How long a failure, and an answer of 0, is kept."
    )
    maximum_cache_ttl: int = key(Int(0, _U32), default=_CERT.maximum_cache_ttl, unit="seconds", doc="How long an answer is kept at most.")


@config_class
class IPLocateKeys(QueryKeys):
    """The service that locations of addresses are asked from."""

    query_peer_addr: SocketAddress = key(SocketAddr(indirect=True), default=_LOCATE.query_peer_addr, doc="Where the service is.")
    query_wait_timeout: float = key(Duration(), default=_LOCATE.query_wait_timeout, unit="seconds", doc="How long it has for an answer.")
    cache_request_timeout: float = key(Duration(), default=_LOCATE.cache_request_timeout, unit="seconds", doc="How long a connection waits.")
    default_expire_ttl: int = key(Int(0, _U32), default=_LOCATE.default_expire_ttl, unit="seconds", doc="How long, if the answer does not say.")
    maximum_expire_ttl: int = key(Int(0, _U32), default=_LOCATE.maximum_expire_ttl, unit="seconds", doc="How long an answer is kept at most.")


class _HelperValue(Options[Any]):
    """A map, or the address alone."""

    doc = "A map, or the address of the helper alone."
    expected = "a map or a socket address"
    _address = SocketAddr(indirect=True)

    def short(self, node: Node, context: ParseContext) -> Any:
        if not node.is_string:
            return super().short(node, context)
        return self.made(query_peer_addr=self._address.parse(node, context))

    def short_schemas(self) -> list[dict[str, Any]]:
        return [self._address.json_schema()]


class CertAgentValue(_HelperValue):
    """C{tls_cert_agent}."""

    type_name = "certificate agent"
    keys, made = CertAgentKeys, CertAgentOptions


class IPLocateValue(_HelperValue):
    """C{ip_locate_service}."""

    type_name = "IP location service"
    keys, made = IPLocateKeys, IPLocateOptions
