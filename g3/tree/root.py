# SPDX-License-Identifier: Apache-2.0
"""The tree of one daemon: its nodes by kind as child services, and every operation on them."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Any, Protocol, cast

from twisted.application.service import MultiService
from twisted.internet.defer import Deferred, DeferredLock, maybeDeferred
from twisted.logger import Logger

from g3.component import verify_node
from g3.errors import ConfigError
from g3.net.listen import HANDSHAKE, turned_away
from g3.tree.node import KIND_ORDER, NodeContext
from g3.tree.offline import sleep, within
from g3.tree.plan import Change, difference, summary
from g3.tree.reload import Transition
from g3.tree.slots import STAND_INS, Slots

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterable, Mapping, Sequence

    from g3.component import Components

log = Logger()

#: Seconds that tasks which were told to end have for it when the process stops.
LAST_WAIT = 2.0
#: Seconds between two looks at servers that take no new clients.
LOOK = 0.05


class IEntry(Protocol):
    """Where a node was defined."""

    @property
    def place(self) -> object:
        """Prints as C{file:line:col}."""


class IConfiguration(Protocol):
    """One reading of the configuration, without errors: g3.config.main.MainConfig."""

    @property
    def nodes(self) -> Mapping[str, Mapping[str, IEntry]]:
        """By kind and name."""

    def configs(self, kind: str) -> Sequence[Any]:
        """The node configurations of a kind, a node after those of its kind it refers to."""

    def references(self) -> Iterable[tuple[str, str]]:
        """Every (kind, name) that some node refers to."""


class ISource(Protocol):
    """Where configurations come from."""

    def load(self) -> IConfiguration:
        """Read all of it. Raises ConfigError."""

    def load_one(self, configuration: IConfiguration, kind: str, name: str) -> IConfiguration:
        """C{configuration} with one node read again from its document. Raises ConfigError."""


class NodesOfKind(MultiService):
    """The nodes of one kind. A node is exchanged for its successor here while both run, which MultiService would refuse."""

    def enter(self, node: Any) -> None:
        """C{node}, started already, is the child of its name."""
        name = str(node.name)
        old = self.namedServices.get(name)
        if old is not None:
            self.leave(old)
        node.parent = self
        self.namedServices[name] = node
        self.services.append(node)

    def leave(self, node: Any) -> None:
        """C{node} is no child any more; it is not stopped."""
        name = str(node.name)
        if node in self.services:
            self.services.remove(node)
        if self.namedServices.get(name) is node:
            del self.namedServices[name]
        node.parent = None

    @property
    def named(self) -> Mapping[str, Any]:
        """The nodes by name."""
        return self.namedServices


class Root(MultiService):
    """All nodes of a daemon.

    The context is completed here: it gets its slots. Operations that change the tree run one after the other. They raise ConfigError, with
    all there is to say, and then have changed nothing.
    """

    def __init__(self, context: NodeContext, components: Components, kinds: Sequence[str] = KIND_ORDER) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.context = context
        self.components = components
        self.kinds = tuple(kinds)
        self.slots = context.slots = Slots(self._stand_in)
        self.listeners = context.listeners
        self.configuration: IConfiguration | None = None
        self.ready = False
        self._lock = DeferredLock()
        self._kinds: dict[str, NodesOfKind] = {}
        for kind in self.kinds:
            nodes = self._kinds[kind] = NodesOfKind()  # type: ignore[no-untyped-call]
            nodes.setName(kind)  # type: ignore[no-untyped-call]
            nodes.setServiceParent(self)  # type: ignore[no-untyped-call]
        self._draining: list[tuple[str, Any]] = []
        #: The servers that took clients until the end.
        self._closed: list[Any] = []
        self._waiting: list[Deferred[None]] = []
        #: What is to be done when no server drains any more.
        self._vacated: list[Callable[[], None]] = []
        self._start: Transition | None = None

    # What runs

    def nodes(self, kind: str) -> Mapping[str, Any]:
        """The configured nodes of a kind by name; none of a kind that this daemon does not have."""
        found = self._kinds.get(kind)
        return {} if found is None else found.named

    def node(self, kind: str, name: str) -> Any:
        """A configured node. Raises ConfigError when there is none of that name."""
        try:
            return self.nodes(kind)[name]
        except KeyError:
            raise ConfigError(f"no such {kind.replace('_', ' ')}: {name}") from None

    def names(self, kind: str) -> list[str]:
        """The names of a kind that are known, stand-ins in use included, sorted."""
        return [slot.name for slot in self.slots.of(kind)]

    def offline_servers(self) -> list[Any]:
        """Servers that take no clients any more and still have tasks."""
        return [node for kind, node in self._draining if kind == "server"]

    # The first start, in two steps: sockets are bound while we may, all else once the reactor runs

    def prepare(self, configuration: IConfiguration) -> Deferred[None]:
        """Make all nodes and take what they need. The Deferred fails with ConfigError, and nothing is left behind."""
        self._start = self._transition(configuration, difference({}, self._wanted(configuration), self.kinds))
        self.configuration = configuration
        return Deferred.fromCoroutine(self._start.prepare())

    def begin(self) -> None:
        """Serve. Raises ConfigError."""
        if self._start is None:
            raise ConfigError("begin comes after prepare")
        start, self._start = self._start, None
        start.commit()
        self.listeners.drop_unclaimed()
        self.ready = True

    # Reload

    async def reload(self, source: ISource, dry_run: bool = False) -> list[str]:
        """Read the configuration again and go over to it; C{dry_run} only tells what would change.

        @return: a line for each change.
        """
        async with _Held(self._lock):
            configuration = source.load()
            changes = self._difference(configuration)
            if not dry_run:
                await self._go(configuration, changes)
            return summary(changes)

    async def reload_node(self, source: ISource, kind: str, name: str) -> list[str]:
        """Read one node's document again and go over to it.

        @raise ConfigError: there is no such node, or its document now has another name.
        """
        async with _Held(self._lock):
            self.node(kind, name)
            if self.configuration is None:
                raise ConfigError("not serving yet")
            configuration = source.load_one(self.configuration, kind, name)
            changes = self._difference(configuration)
            await self._go(configuration, changes)
            return summary(changes)

    def _difference(self, configuration: IConfiguration) -> list[Change]:
        if not self.ready:
            raise ConfigError("not serving, nothing to reload")
        try:
            return difference({kind: self.nodes(kind) for kind in self.kinds}, self._wanted(configuration), self.kinds)
        except Exception as error:
            log.failure("comparing configurations failed")
            raise ConfigError(f"{type(error).__name__}: {error}") from error

    def plan(self, configuration: IConfiguration) -> Transition:
        """The way to another configuration, for those who prepare and commit in steps of their own; then L{settle} ends it.

        @raise ConfigError: not serving.
        """
        return self._transition(configuration, self._difference(configuration))

    def settle(self, transition: Transition, configuration: IConfiguration) -> None:
        """Commit a prepared L{plan}. Raises ConfigError, and has changed nothing then."""
        transition.commit()
        self.configuration = configuration
        self.listeners.drop_unclaimed()

    async def _go(self, configuration: IConfiguration, changes: list[Change]) -> None:
        transition = self._transition(configuration, changes)
        await transition.prepare()
        with contextlib.ExitStack() as undo:
            undo.callback(transition.discard)
            async with self.closing_ports(changes):
                if not self.ready:
                    raise ConfigError("shutting down, nothing was changed")
                undo.callback(self.listeners.adjust())
                transition.commit()
                undo.pop_all()
        self.configuration = configuration

    @contextlib.asynccontextmanager
    async def closing_ports(self, changes: Iterable[Change] | None = None) -> AsyncIterator[None]:
        """Entered when nobody is connecting any more to the listening sockets that these changes close, or that the end closes."""
        leaving = {id(change.old) for change in changes or () if change.retires}
        closing = self.listeners.closing(lambda owner: changes is None or id(owner) in leaving)
        with turned_away(closing):
            if closing:
                await sleep(self.context.reactor, HANDSHAKE)
            yield

    def _wanted(self, configuration: IConfiguration) -> dict[str, Sequence[Any]]:
        return {kind: configuration.configs(kind) for kind in self.kinds}

    def _transition(self, configuration: IConfiguration, changes: list[Change]) -> Transition:
        places = {(kind, name): entry.place for kind, entries in configuration.nodes.items() for name, entry in entries.items()}
        return Transition(self, changes, configuration.references(), places)

    # What transitions ask for

    def make(self, kind: str, config: Any) -> Any:
        """A verified node."""
        node = self.components.load(kind, config.type_word)(config, self.context)
        verify_node(kind, node)
        return node

    def put(self, kind: str, node: Any) -> None:
        """C{node} runs."""
        self._kinds[kind].enter(node)
        set_online(node, online=True)

    def take(self, kind: str, node: Any) -> None:
        """C{node} runs no more."""
        self._kinds[kind].leave(node)

    def retire(self, kind: str, node: Any) -> None:
        """Stop C{node}; it is kept until its last task ended."""
        successor = self.nodes(kind).get(node.name)
        if getattr(successor, "stats", None) is not getattr(node, "stats", None):
            set_online(node, online=False)
        self._draining.append((kind, node))
        maybeDeferred(node.stopService).addErrback(lambda failure: log.failure("stopping {node} failed", failure, node=node)).addBoth(
            lambda _: self._retired(kind, node)
        )

    def vacate(self, kind: str, name: str, stand_in: Any, *, at_once: bool) -> None:
        """C{stand_in} takes the place of a node that was removed: C{at_once}, or when no server drains any more. A port that was removed, too, may
        have a client for it until then."""
        old = self.slots.get(kind, name).node

        def clear() -> None:
            slot = self.slots.peek(kind, name)
            # It may have been defined again meanwhile.
            if slot is not None and slot.node is old:
                self.slots.clear(kind, name, stand_in)

        if at_once or kind != "server" or not self.offline_servers():
            clear()
        else:
            self._vacated.append(clear)

    def _retired(self, kind: str, node: Any) -> None:
        self._draining.remove((kind, node))
        if not self.offline_servers():
            vacated, self._vacated = self._vacated, []
            for clear in vacated:
                clear()
        self.context.lasting.prune((of, each.name, each.config.type_word) for of, each in self._everyone())
        if not self._draining:
            waiting, self._waiting = self._waiting, []
            for each in waiting:
                each.callback(None)

    def _everyone(self) -> Iterable[tuple[str, Any]]:
        yield from ((kind, node) for kind in self.kinds for node in self.nodes(kind).values())
        yield from self._draining

    def _stand_in(self, kind: str, name: str) -> Any:
        if kind not in STAND_INS:
            raise ConfigError(f"there is none for a {kind}")
        cls = self.components.load(kind, STAND_INS[kind])
        node = cls(cls.schema(name=name), self.context)
        verify_node(kind, node)
        return node

    # The end

    def close_servers(self) -> None:
        """Take no new clients; servers go on with the tasks they have."""
        self.ready = False
        for node in list(self.nodes("server").values()):
            self._closed.append(node)
            self.take("server", node)
            self.retire("server", node)

    def drained(self) -> Deferred[None]:
        """Fires when nothing is left of what was stopped."""
        return Deferred.fromCoroutine(self._drained())

    async def _drained(self) -> None:
        await self._none_draining()
        # One that had nothing left may have been handed a client since.
        while any(getattr(node, "busy", False) for node in self._closed):
            await sleep(self.context.reactor, LOOK)

    def _none_draining(self) -> Deferred[None]:
        event: Deferred[None] = Deferred()
        if self._draining:
            self._waiting.append(event)
        else:
            event.callback(None)
        return event

    def force_quit(self, name: str) -> int:
        """End the tasks of offline servers of that name; how many servers there were."""
        return _force_quit([node for node in self.offline_servers() if node.name == name])

    def force_quit_all(self) -> int:
        """End the tasks of all offline servers; how many servers there were."""
        return _force_quit(self.offline_servers())

    def stopService(self) -> Deferred[Any]:
        """The reactor stops: nobody is waited for longer than it takes to tell them."""
        self.close_servers()
        self.force_quit_all()
        _force_quit(self._closed)
        return within(self.context.reactor, self.drained(), LAST_WAIT).addBoth(self._stop_children)

    def _stop_children(self, _: object) -> Deferred[Any]:
        return cast("Deferred[Any]", super().stopService())  # type: ignore[no-untyped-call]


def set_online(node: Any, *, online: bool) -> None:
    """The statistics of a server say whether one of its name takes clients; they are its successor's too."""
    for stats in (getattr(node, "stats", None), getattr(node, "listen_stats", None)):
        if stats is not None and hasattr(stats, "online"):
            stats.online = online


def _force_quit(nodes: list[Any]) -> int:
    for node in nodes:
        try:
            node.force_quit()
        except Exception:
            log.failure("force quit of {node} failed", node=node)
    return len(nodes)


class _Held:
    """C{async with} for a DeferredLock."""

    def __init__(self, lock: DeferredLock) -> None:
        self._lock = lock

    async def __aenter__(self) -> None:
        await self._lock.acquire()

    async def __aexit__(self, *_: object) -> None:
        self._lock.release()
