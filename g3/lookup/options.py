# SPDX-License-Identifier: Apache-2.0
"""How helpers are asked, and for how long answers are kept, seconds (upstream: configuration/values/tls, configuration/values/route)."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from g3.net.options import SocketBuffer

if TYPE_CHECKING:
    from g3.task import SocketAddress


@dataclass(frozen=True, slots=True, kw_only=True)
class QueryOptions:
    """What all helpers have in common.

    @ivar cache_request_batch_count: answers that are read in one go, before other connections get their turn.
    @ivar cache_request_timeout: how long who asks waits at most.
    @ivar query_wait_timeout: how long the helper has for an answer.
    """

    query_peer_addr: SocketAddress
    query_socket_buffer: SocketBuffer = field(default_factory=SocketBuffer)
    query_wait_timeout: float
    cache_request_batch_count: int = 10
    cache_request_timeout: float


@dataclass(frozen=True, slots=True, kw_only=True)
class CertAgentOptions(QueryOptions):
    """C{tls_cert_agent}.

    @ivar protective_cache_ttl: how long a failure is kept, and an answer that says 0. @ivar maximum_cache_ttl: how long an answer at most.
    @ivar cache_vanish_wait: how long after that it is still given, while it is asked for again.
    """

    query_peer_addr: SocketAddress = ("127.0.0.1", 2999)
    query_wait_timeout: float = 4.0
    cache_request_timeout: float = 4.0
    cache_vanish_wait: float = 300.0
    protective_cache_ttl: int = 10
    maximum_cache_ttl: int = 300


@dataclass(frozen=True, slots=True, kw_only=True)
class IPLocateOptions(QueryOptions):
    """C{ip_locate_service}.

    @ivar default_expire_ttl: how long an answer that does not say is kept. @ivar maximum_expire_ttl: how long any at most.
    """

    query_peer_addr: SocketAddress = ("127.0.0.1", 2888)
    query_wait_timeout: float = 1.0
    cache_request_timeout: float = 2.0
    default_expire_ttl: int = 10
    maximum_expire_ttl: int = 300
