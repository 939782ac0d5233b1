# SPDX-License-Identifier: Apache-2.0
"""A node: one named thing of the configuration as a Twisted service, and the context it is made in.

Life: made, no I/O -> C{prepare} -> C{start} -> ... -> C{stop}; or C{discard} in place of C{start} when a reload is rolled back.
Other nodes are met through L{Slot}s only: keep the slot, read C{slot.node} each time, since a reload swaps it.
"""

from __future__ import annotations

import os
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar, Protocol, TypeVar, cast

from twisted.application.service import Service

from g3.metrics.registry import MetricRegistry
from g3.net.tls.ticketer import Ticketing
from g3.net.tls.tickets import LocalSecrets

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from twisted.internet.defer import Deferred

    from g3.tree.listeners import ListenerPool
    from g3.tree.slots import Slot, Slots

T = TypeVar("T")

#: The kind of what is no node's.
_PROCESS = "process"

#: The kinds in the order in which they are built and swapped: what comes first is used by what comes later.
KIND_ORDER = ("resolver", "escaper", "user_group", "auditor", "server")


@dataclass(frozen=True, slots=True)
class Daemon:
    """Who we are. C{stat_id} is the statsd tag that tells processes of one group apart."""

    name: str = "g3proxy"
    group: str = ""
    pid: int = field(default_factory=os.getpid)
    stat_id: str = "0"


@dataclass(frozen=True, slots=True)
class Timeouts:
    """How long a daemon waits when it ends, in seconds (upstream: configuration/runtime)."""

    server_offline_delay: float = 4.0
    task_wait_delay: float = 2.0
    task_wait_timeout: float = 36000.0
    task_quit_timeout: float = 1800.0


class Load:
    """How many clients a process has now, on all its servers."""

    __slots__ = ("live",)

    def __init__(self) -> None:
        self.live = 0


class ILedger(Protocol):
    """Where statistics outlive their process."""

    def share(self, key: tuple[str, str, str, str], plain: object) -> object:
        """What is to be used in place of C{plain}."""

    def forget(self, key: tuple[str, str, str, str], shared: object) -> None:
        """It is used no more."""


class Lasting:
    """Objects that outlive the node that made them: statistics go on counting over a reload.

    An object lasts while the running configuration has a node of the same kind, name and type, or one of an earlier generation drains.
    """

    def __init__(self, ledger: ILedger | None = None) -> None:
        self._objects: dict[tuple[str, str, str, str], object] = {}
        self._ledger = ledger

    def get(self, kind: str, name: str, type_word: str, what: str, make: Callable[[], T]) -> T:
        """The object called C{what} of a node; made if there is none."""
        key = (kind, name, type_word, what)
        if key not in self._objects:
            made: object = make()
            self._objects[key] = made if self._ledger is None else self._ledger.share(key, made)
        return cast("T", self._objects[key])

    def of_process(self, what: str, name: str, make: Callable[[], T]) -> T:
        """An object that is no node's, and lasts as long as the process; C{name} tells those of one kind apart."""
        return self.get(_PROCESS, name, "", what, make)

    def prune(self, alive: Iterable[tuple[str, str, str]]) -> None:
        """Forget the objects of all nodes but these (kind, name, type)."""
        keep = set(alive)
        for key in [key for key in self._objects if key[:3] not in keep and key[0] != _PROCESS]:
            forgotten = self._objects.pop(key)
            if self._ledger is not None:
                self._ledger.forget(key, forgotten)


@dataclass(slots=True, kw_only=True)
class NodeContext:
    """What every node is made with. One per daemon; tests pass what they need.

    C{reactor} is the reactor and clock, C{timers} a g3.net.timers.TimerWheel, C{logs} the g3.logs hub.
    """

    reactor: Any
    timers: Any = None
    metrics: MetricRegistry = field(default_factory=MetricRegistry)
    logs: Any = None
    listeners: ListenerPool = field(default=None)  # type: ignore[assignment]
    slots: Slots = field(default=None)  # type: ignore[assignment]
    daemon: Daemon = field(default_factory=Daemon)
    timeouts: Timeouts = field(default_factory=Timeouts)
    #: What the nodes of one daemon have in common beside all this; each daemon says what it is.
    common: Any = None
    lasting: Lasting = field(default_factory=Lasting)
    #: C{load.live} is counted by servers; where several processes share listeners it decides who accepts.
    load: Any = field(default_factory=Load)
    #: TLS servers and the keys of their tickets.
    ticketing: Ticketing = field(default_factory=lambda: Ticketing(None, LocalSecrets(time.monotonic), time.time))

    def slot(self, kind: str, name: str) -> Slot:
        """The place where the node of that name is, or will be. Its C{node} is always usable.

        @raise ConfigError: nothing has that name and its kind knows no stand-in.
        """
        return self.slots.get(kind, name)


class Node(Service):
    """Base of every server, escaper, resolver, user group and auditor.

    An implementation states C{schema}, its configuration class, and provides the interface of its kind.
    """

    schema: ClassVar[Any]
    #: Of a server that was stopped: whether somebody it let in is still to be served.
    busy: bool = False

    def __init__(self, config: Any, context: NodeContext) -> None:
        self.name = config.name
        self.config = config
        self.context = context

    @property
    def type_word(self) -> str:
        """The word of the YAML C{type}."""
        return str(getattr(self.config, "type_word", ""))

    def prepare(self) -> Deferred[Any] | None:
        """Take what may fail. Raises ConfigError."""
        return None

    def discard(self) -> None:
        """Give back what C{prepare} took."""

    def start(self) -> None:
        """Serve. Must not fail."""

    def stop(self) -> Deferred[Any] | None:
        """Take no new work; the Deferred fires when the last task has ended."""
        return None

    def startService(self) -> None:
        """Twisted's name for C{start}."""
        Service.startService(self)  # type: ignore[no-untyped-call]
        self.start()

    def stopService(self) -> Deferred[Any] | None:
        """Twisted's name for C{stop}."""
        if not self.running:
            return None
        Service.stopService(self)  # type: ignore[no-untyped-call]
        return self.stop()

    def lasting(self, kind: str, what: str, make: Callable[[], T]) -> T:
        """An object of this node that is kept over reloads while name and type stay, such as its statistics."""
        return self.context.lasting.get(kind, self.config.name, self.type_word, what, make)

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.name}>"
