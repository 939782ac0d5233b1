# SPDX-License-Identifier: Apache-2.0
"""A connection to an origin or a next proxy that serves one exchange at a time, and where it waits between two."""

from __future__ import annotations

import socket
from collections import OrderedDict
from typing import TYPE_CHECKING, Any, Protocol

from twisted.internet.interfaces import IHalfCloseableProtocol
from zope.interface import implementer

if TYPE_CHECKING:
    from collections.abc import Callable

    from twisted.python.failure import Failure

    from g3.net.timers import Timer, TimerWheel
    from g3.task import ConnectNotes, PathSelection, Upstream

#: Shared idle connections, in all and for one upstream.
SHARED_MAX = 1024
SHARED_MAX_PER_UPSTREAM = 64

#: Who may be carried over one connection: escaper, upstream, the TLS made with it and the name it was made for (None without), way out, user.
Key = tuple[Any, "Upstream", "tuple[Any, str] | None", "PathSelection | None", Any]


class Served(Protocol):
    """An exchange as its upstream connection sees it."""

    def upstream_data(self, data: bytes) -> None: ...

    def upstream_ended(self) -> None: ...

    def upstream_lost(self) -> None: ...


@implementer(IHalfCloseableProtocol)
class UpstreamConnection:
    """Hands what arrives to the exchange it serves. While idle, anything that arrives, and its end, removes it from its C{keeper}."""

    __slots__ = ("absolute_form", "exchange", "header_lines", "idle_since", "keeper", "key", "lost", "notes", "private", "stream")

    def __init__(self, connection: Any, key: Key) -> None:
        self.stream = connection.stream
        self.absolute_form: bool = connection.absolute_form
        self.header_lines: bytes = connection.header_lines
        self.notes: ConnectNotes = connection.notes
        self.key = key
        self.exchange: Served | None = None
        self.keeper: Any = None
        self.lost = False
        #: Carried somebody's credentials, or was told who the client is: never to serve another one.
        self.private = connection.private or bool(connection.header_lines) or key[3] is not None or key[4] is not None
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
            self.stream.protocol = None  # nobody waits for the news
            self.stream.abortConnection()

    def alive(self) -> bool:
        """Ask the kernel whether the peer has closed, or spoken without being asked, which the next request would take for its answer. Within
        TLS that cannot be told from what TLS says of itself, its close above all. Costs a system call."""
        raw = getattr(self.stream, "socket", None)
        if raw is None:
            return not self.lost
        try:
            raw.recv(1, socket.MSG_PEEK | socket.MSG_DONTWAIT)
        except BlockingIOError:
            return True
        except OSError:
            pass
        return False


class SharedPool:
    """Idle connections that any client of one server may use. The most recently used is taken first; at the cap the oldest closes, and each
    after C{idle_expire} seconds, whether there are clients then or not."""

    __slots__ = ("_by_key", "_clock", "_idle_expire", "_most", "_order", "_timer", "_timers")

    def __init__(self, timers: TimerWheel, clock: Callable[[], float], idle_expire: float, most: int = SHARED_MAX) -> None:
        """@param clock: monotonic seconds, as C{idle_since} of the connections."""
        self._most = most
        self._timers, self._clock, self._idle_expire = timers, clock, idle_expire
        self._timer: Timer | None = None
        self._by_key: dict[Key, list[UpstreamConnection]] = {}
        self._order: OrderedDict[UpstreamConnection, None] = OrderedDict()

    def __len__(self) -> int:
        return len(self._order)

    def put(self, upstream: UpstreamConnection) -> None:
        waiting = self._by_key.setdefault(upstream.key, [])
        if len(waiting) >= SHARED_MAX_PER_UPSTREAM:
            waiting[0].discard()
        elif len(self._order) >= self._most:
            next(iter(self._order)).discard()
        self._by_key.setdefault(upstream.key, []).append(upstream)
        self._order[upstream] = None
        upstream.keeper = self
        if self._timer is None:
            self._watch()

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

    def _watch(self) -> None:
        """Look again when the oldest has been idle for long enough."""
        oldest = next(iter(self._order))
        self._timer = self._timers.add(oldest.idle_since + self._idle_expire - self._clock(), self._expire)

    def _expire(self) -> None:
        self._timer = None
        before = self._clock() - self._idle_expire
        while self._order and (oldest := next(iter(self._order))).idle_since <= before:
            oldest.discard()
        if self._order:
            self._watch()

    def close(self) -> None:
        """Close all of them."""
        while self._order:
            next(iter(self._order)).discard()
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
