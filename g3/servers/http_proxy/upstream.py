# SPDX-License-Identifier: Apache-2.0
"""A connection to an origin or a next proxy that serves one exchange at a time, and where it waits between two."""

from __future__ import annotations

import socket
from collections import OrderedDict
from typing import TYPE_CHECKING, Any

from twisted.internet.interfaces import IHalfCloseableProtocol
from zope.interface import implementer

if TYPE_CHECKING:
    from twisted.python.failure import Failure

    from g3.servers.http_proxy.forward import Forward
    from g3.task import ConnectNotes, Upstream

#: Shared idle connections, in all and for one upstream.
SHARED_MAX = 1024
SHARED_MAX_PER_UPSTREAM = 64

Key = tuple[int, "Upstream", bool]


@implementer(IHalfCloseableProtocol)
class UpstreamConnection:
    """Hands what arrives to the exchange it serves. While idle, anything that arrives, and its end, removes it from its C{keeper}."""

    __slots__ = ("absolute_form", "exchange", "extra", "header_lines", "idle_since", "keeper", "key", "lost", "notes", "private", "stream")

    def __init__(self, connection: Any, key: Key) -> None:
        self.stream = connection.stream
        self.absolute_form: bool = connection.absolute_form
        self.header_lines: bytes = connection.header_lines
        self.notes: ConnectNotes = connection.notes
        self.key = key
        self.exchange: Forward | None = None
        self.keeper: Any = None
        self.lost = False
        #: Carried somebody's credentials: never to serve another client.
        self.private = bool(connection.header_lines)
        #: Header lines about this connection for every response, made at the first.
        self.extra: bytes | None = None
        self.idle_since = 0.0
        self.stream.start(self)

    def makeConnection(self, transport: object) -> None:
        """The stream is known already."""

    def dataReceived(self, data: bytes) -> None:
        if self.exchange is not None:
            self.exchange.upstream_data(data)
        else:
            self.discard()

    def readConnectionLost(self) -> None:
        if self.exchange is not None:
            self.exchange.upstream_ended()
        else:
            self.discard()

    def writeConnectionLost(self) -> None:
        """We never half close towards an upstream."""

    def connectionLost(self, reason: Failure | None = None) -> None:
        self.lost = True
        if self.exchange is not None:
            self.exchange.upstream_lost()
        else:
            self.discard()

    def discard(self) -> None:
        """Close it, wherever it waits."""
        keeper, self.keeper = self.keeper, None
        if keeper is not None:
            keeper.forget(self)
        self.exchange = None
        if not self.lost:
            self.lost = True
            self.stream.abortConnection()

    def alive(self) -> bool:
        """Ask the kernel whether the peer has closed, for a request that could not be sent twice. Costs a system call."""
        raw = getattr(self.stream, "socket", None)
        if raw is None:
            return not self.lost
        try:
            return bool(raw.recv(1, socket.MSG_PEEK | socket.MSG_DONTWAIT))
        except BlockingIOError:
            return True
        except OSError:
            return False


class SharedPool:
    """Idle connections that any client of one server may use. The most recently used is taken first; at the cap the oldest closes."""

    __slots__ = ("_by_key", "_order")

    def __init__(self) -> None:
        self._by_key: dict[Key, list[UpstreamConnection]] = {}
        self._order: OrderedDict[UpstreamConnection, None] = OrderedDict()

    def __len__(self) -> int:
        return len(self._order)

    def put(self, upstream: UpstreamConnection) -> None:
        waiting = self._by_key.setdefault(upstream.key, [])
        if len(waiting) >= SHARED_MAX_PER_UPSTREAM:
            waiting[0].discard()
        elif len(self._order) >= SHARED_MAX:
            next(iter(self._order)).discard()
        self._by_key.setdefault(upstream.key, []).append(upstream)
        self._order[upstream] = None
        upstream.keeper = self

    def take(self, key: Key) -> UpstreamConnection | None:
        waiting = self._by_key.get(key)
        if not waiting:
            return None
        upstream = waiting[-1]
        self.forget(upstream)
        upstream.keeper = None
        return upstream

    def forget(self, upstream: UpstreamConnection) -> None:
        if self._order.pop(upstream, self) is self:
            return
        waiting = self._by_key[upstream.key]
        waiting.remove(upstream)
        if not waiting:
            del self._by_key[upstream.key]

    def expire(self, before: float) -> None:
        """Close what has been idle since before that time (monotonic seconds)."""
        while self._order and (oldest := next(iter(self._order))).idle_since < before:
            oldest.discard()

    def close(self) -> None:
        self.expire(float("inf"))
