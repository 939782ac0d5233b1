# SPDX-License-Identifier: Apache-2.0
"""The keys of a tcp_stream, which are those of a tls_stream too."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

from g3.config.schema import config_class, key
from g3.config.values.basic import Bool, OneOrMany
from g3.config.values.net import HostValue, PickPolicyValue, WeightedUpstream
from g3.config.values.tls import ClientTLSValue
from g3.net.tls.options import ClientTLSOptions, SessionCache
from g3.pick import PickPolicy
from g3.servers.config import AuditKeys, TaskServerConfig

if TYPE_CHECKING:
    from g3.config.document import Node
    from g3.config.schema import Places
    from g3.config.value import ParseContext
    from g3.pick import Weighted
    from g3.task import Upstream


class MaybeClientTLSValue(ClientTLSValue):
    """TLS as a client: a map, or a bool for no TLS or TLS as it comes."""

    type_name = "TLS client or bool"
    doc = "A map, or a bool: true for TLS with nothing special about it, false for none."
    expected = "a bool or a map"
    _bool = Bool()

    def short(self, node: Node, context: ParseContext) -> ClientTLSOptions:
        if not isinstance(node.value, bool):
            return super().short(node, context)
        # None stands for false, as for a key that is not given.
        return ClientTLSOptions(session_cache=SessionCache.ONE) if node.value else None  # type: ignore[return-value]

    def short_schemas(self) -> list[dict[str, Any]]:
        return [{"type": "boolean"}]


@config_class
class StreamKeys(TaskServerConfig, AuditKeys):
    """What leads to an upstream."""

    upstream: tuple[Weighted[Upstream], ...] = key(
        OneOrMany(WeightedUpstream(), min_items=1), aliases=("proxy_pass",), doc="Where connections go; to one of them when there are several."
    )
    upstream_pick_policy: PickPolicy = key(
        PickPolicyValue(), default=PickPolicy.RANDOM, doc="Which of them; policies that hash do so on the client's address and the one it came to."
    )
    tls_client: ClientTLSOptions | None = key(MaybeClientTLSValue(), default=None, doc="Speak TLS with the upstream.")
    upstream_tls_name: str | None = key(
        HostValue(), default=None, doc="The name its certificate must be for. The host of the first upstream when it is not given."
    )
    auth_by_client_ip: bool = key(Bool(), default=False, doc="Clients belong to the user of user_group, one of facts, that has their address.")

    def check(self, at: Places) -> None:
        super().check(at)
        if self.auth_by_client_ip and self.user_group is None:
            at.error("auth_by_client_ip", "auth_by_client_ip needs a user_group")
        if self.upstream_tls_name is not None and self.tls_client is None:
            at.warn("upstream_tls_name", "does nothing without tls_client")


@config_class
class TCPStreamConfig(StreamKeys):
    """Takes TCP connections and joins each with one to an upstream, in plain TCP or in TLS."""

    type_word: ClassVar[str] = "tcp_stream"
