# SPDX-License-Identifier: Apache-2.0
"""Tiny nodes that note what is done to them, and fail where they are told to."""

from __future__ import annotations

import contextlib
import socket
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any, ClassVar

from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from zope.interface import implementer

from g3.component import ComponentMaker, Components
from g3.errors import ConfigError
from g3.interfaces import IEscaper, IReloadable, IResolver, IServer
from g3.tree.listeners import ListenerPool
from g3.tree.node import Node, NodeContext
from g3.tree.root import Root

#: What happened, in order: "make escaper out 1".
events: list[str] = []


@dataclass(frozen=True)
class TinyConfig:
    """C{fail} is the step that raises, C{bug} the one that raises what it must not; C{to} a slot to hold."""

    name: str
    value: int = 0
    fail: str = ""
    bug: str = ""
    to: tuple[str, str] | None = None
    listen: Any = None
    type_word: str = "tiny"


class Tiny(Node):
    """A node of any kind."""

    kind = ""
    schema: ClassVar[Any] = TinyConfig

    def __init__(self, config: Any, context: NodeContext) -> None:
        super().__init__(config, context)
        self.target = None if config.to is None else context.slot(*config.to)
        self.step("make")
        self.online = True
        self.stats = self.lasting(self.kind, "stats", lambda: SimpleNamespace(alive_tasks=0, total_connections=0, total_tasks=0))
        self.tasks: Deferred[None] | None = None
        self.prepared: Deferred[None] | None = None
        self.claim: Any = None

    def step(self, what: str) -> None:
        events.append(f"{what} {self.kind} {self.name} {self.config.value}")
        if self.config.fail == what:
            raise ConfigError(f"{self.name} cannot {what}")
        if self.config.bug == what:
            raise ZeroDivisionError(what)

    def prepare(self) -> Deferred[None] | None:
        self.step("prepare")
        if self.config.listen is not None:
            self.claim = self.context.listeners.claim(self.config.listen, self)
        if self.config.fail == "late":
            self.prepared = Deferred()
        return self.prepared

    def discard(self) -> None:
        self.step("discard")
        if self.claim is not None:
            self.claim.release()

    def start(self) -> None:
        self.step("start")
        if self.claim is not None:
            self.claim.start(lambda sock, _peer: sock.close())

    def stop(self) -> Deferred[None] | None:
        self.step("stop")
        self.online = False
        if self.claim is not None:
            self.claim.release()
        return self.tasks


@implementer(IResolver)
class TinyResolver(Tiny):
    kind = "resolver"

    def query(self, name: str, family: int) -> Any:
        return ("192.0.2.1",)


@implementer(IEscaper)
class TinyEscaper(Tiny):
    kind = "escaper"


@implementer(IEscaper, IReloadable)
class SuppleEscaper(Tiny):
    """Takes a new configuration in place."""

    kind = "escaper"

    def accepts(self, config: Any) -> bool:
        return True

    def reconfigure(self, config: Any) -> None:
        events.append(f"reconfigure escaper {self.name} {self.config.value} -> {config.value}")
        if config.bug == "reconfigure":
            raise ZeroDivisionError


@implementer(IServer)
class TinyServer(Tiny):
    kind = "server"

    def accept(self, stream: Any, client: Any) -> None:
        stream.loseConnection()

    def force_quit(self) -> None:
        events.append(f"force_quit server {self.name}")
        if self.tasks is not None:
            tasks, self.tasks = self.tasks, None
            tasks.callback(None)


class HeadlessServer(TinyServer):
    """Lacks an attribute that IServer asks for."""

    def __init__(self, config: Any, context: NodeContext) -> None:
        super().__init__(config, context)
        del self.online


def maker(kind: str, word: str, cls: str) -> ComponentMaker:
    return ComponentMaker(kind, word, f"tests.unit.tree.nodes.{cls}")


def components() -> Components:
    return Components(
        [
            maker("resolver", "tiny", "TinyResolver"),
            maker("resolver", "deny_all", "TinyResolver"),
            maker("escaper", "tiny", "TinyEscaper"),
            maker("escaper", "supple", "SuppleEscaper"),
            maker("escaper", "dummy_deny", "TinyEscaper"),
            maker("server", "tiny", "TinyServer"),
            maker("server", "dummy_close", "TinyServer"),
            maker("server", "headless", "HeadlessServer"),
        ]
    )


@dataclass
class Configuration:
    """An IConfiguration written down."""

    by_kind: dict[str, list[Any]] = field(default_factory=dict)

    @property
    def nodes(self) -> dict[str, dict[str, Any]]:
        return {kind: {config.name: SimpleNamespace(place=f"file:{config.name}") for config in configs} for kind, configs in self.by_kind.items()}

    def configs(self, kind: str) -> list[Any]:
        return self.by_kind.get(kind, [])

    def references(self) -> list[tuple[str, str]]:
        return [config.to for configs in self.by_kind.values() for config in configs if config.to is not None]


def configuration(**by_kind: list[Any]) -> Configuration:
    return Configuration(by_kind)


@dataclass
class Source:
    """An ISource that has read this."""

    configuration: Any
    one: Any = None

    def load(self) -> Any:
        return self.configuration

    def load_one(self, configuration: Any, kind: str, name: str) -> Any:
        configs = [self.one if config.name == name else config for config in configuration.by_kind[kind]]
        return Configuration({**configuration.by_kind, kind: configs})


class FakeSocket:
    """Stands for a listening socket."""

    def __init__(self, options: Any) -> None:
        self.options = options
        self.open = True
        self.backlog = options.backlog

    def getsockname(self) -> Any:
        return self.options.address

    def close(self) -> None:
        self.open = False

    def listen(self, backlog: int) -> None:
        self.backlog = backlog

    def setsockopt(self, *args: Any) -> None:
        """Any option."""

    def dup(self) -> FakeSocket:
        return FakeSocket(self.options)

    def __enter__(self) -> FakeSocket:
        return self

    def __exit__(self, *args: object) -> None:
        self.close()


class FakeAcceptor:
    """Stands for a TCPListener."""

    def __init__(self, reactor: Any, sock: FakeSocket, on_accept: Any) -> None:
        self.socket, self.on_accept = sock, on_accept
        self.accepting = False

    def start(self) -> None:
        self.accepting = True

    def stop(self, *, drain: bool) -> None:
        self.accepting = False
        self.socket.close()


def enters(address: tuple[str, int]) -> bool:
    """Whether somebody can connect there now, or is at least refused at once; else nothing is said to him."""
    with socket.socket() as client:
        client.settimeout(0.2)
        with contextlib.suppress(TimeoutError):
            client.connect(address)
            return True
        return False


@dataclass(frozen=True)
class Listen:
    """Stands for TCPListen."""

    address: tuple[str, int] = ("192.0.2.1", 8080)
    interface: str | None = None
    ipv6_only: bool | None = None
    backlog: int = 128
    keepalive: Any = None
    max_segment_size: int | None = None
    netfilter_mark: int | None = None
    transparent: bool = False


class Binder:
    """C{bind_tcp} with a list of what was bound and addresses that somebody else has."""

    def __init__(self) -> None:
        self.bound: list[FakeSocket] = []
        self.taken: set[tuple[str, int]] = set()

    def __call__(self, options: Any, **_: Any) -> FakeSocket:
        if options.address in self.taken:
            raise ConfigError("cannot listen: taken")
        self.bound.append(FakeSocket(options))
        return self.bound[-1]


def make_root(binder: Any = None) -> Root:
    clock = Clock()
    return Root(NodeContext(reactor=clock, listeners=ListenerPool(clock, bind=binder or Binder(), acceptor=FakeAcceptor)), components())


def started(config: Configuration, binder: Any = None) -> Root:
    """A root that serves C{config}; events are those after."""
    root = make_root(binder)
    root.prepare(config)
    root.begin()
    root.startService()
    events.clear()
    return root
