# SPDX-License-Identifier: Apache-2.0
"""What a node under test needs around it: a context, a resolver that knows a few names, tasks."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from twisted.internet.defer import Deferred
from zope.interface import implementer

from g3.errors import ResolveError
from g3.interfaces import IResolver
from g3.metrics.registry import MetricRegistry
from g3.net.timers import TimerWheel
from g3.task import ClientInfo, Task, Upstream, parse_ip
from g3.tree.node import NodeContext
from g3.tree.slots import Slots

if TYPE_CHECKING:
    from collections.abc import Mapping

    from g3.task import SocketAddress


@implementer(IResolver)
class StaticResolver:
    """Knows the names it is given, with addresses of both families mixed; others do not exist. C{asked} has every question.

    With C{later} it answers when L{answer} is called.
    """

    name = "static"
    config = None

    def __init__(self, names: Mapping[str, tuple[str, ...]] | None = None, *, later: bool = False) -> None:
        self.names = dict(names or {})
        self.later = later
        self.asked: list[tuple[str, int]] = []
        self.waiting: list[tuple[str, int, Deferred[tuple[str, ...]]]] = []

    def query(self, name: str, family: int) -> tuple[str, ...] | Deferred[tuple[str, ...]]:
        self.asked.append((name, family))
        if not self.later:
            return self._known(name, family)
        answer: Deferred[tuple[str, ...]] = Deferred()
        self.waiting.append((name, family, answer))
        return answer

    def answer(self) -> None:
        """Answer every question that waits."""
        waiting, self.waiting = self.waiting, []
        for name, family, answer in waiting:
            try:
                answer.callback(self._known(name, family))
            except ResolveError as error:
                answer.errback(error)

    def _known(self, name: str, family: int) -> tuple[str, ...]:
        if name not in self.names:
            raise ResolveError("ServerError", "NOTFOUND")
        found = tuple(ip for ip in self.names[name] if (":" in ip) == (family == 6))
        if not found:
            raise ResolveError("EmptyResult")
        return found

    def prepare(self) -> None:
        """Nothing to take."""

    def discard(self) -> None:
        """Nothing to give back."""

    def start(self) -> None:
        """Nothing to start."""

    def stop(self) -> None:
        """Nothing to end."""


def make_context(reactor: Any, nodes: Mapping[tuple[str, str], Any] | None = None, *, granularity: float = 0.02) -> NodeContext:
    """A context as nodes get it, in which C{nodes} by (kind, name) can be found. No logs. Stop its C{timers} when done."""

    def missing(kind: str, name: str) -> Any:
        raise AssertionError(f"the test defines no {kind} {name!r}")

    slots = Slots(missing)
    for (kind, name), node in (nodes or {}).items():
        slots.put(kind, name, node)
    return NodeContext(reactor=reactor, timers=TimerWheel(reactor, granularity), metrics=MetricRegistry(), slots=slots)


def make_task(host: str, port: int, *, client: SocketAddress = ("127.0.0.1", 40000), server: SocketAddress = ("127.0.0.1", 3128)) -> Task:
    """A task of an anonymous client to C{host}, a name or an address."""
    if parse_ip(client[0]) is None:
        raise ValueError("a client has an address, not a name")
    return Task("TcpConnect", "http_proxy", "test", ClientInfo(client, server, client), Upstream(host, port), 0.0)
