# SPDX-License-Identifier: Apache-2.0
"""The commands of the control socket, each an operation of the tree."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar, Protocol

from g3.control.messages import ControlError
from g3.errors import ResolveError
from g3.interfaces import IPublishable, IUserDirectory
from g3.tree.query import query

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Collection, Mapping

    from g3.control.messages import Handing
    from g3.tree.offline import Shutdown
    from g3.tree.root import ISource, Root

#: What an operation without a result of its own answers.
SUCCESS = "success"


class IControlled(Protocol):
    """A daemon that can be controlled."""

    @property
    def version(self) -> str: ...

    @property
    def root(self) -> Root: ...

    @property
    def shutdown(self) -> Shutdown: ...

    @property
    def source(self) -> ISource: ...

    async def read_again(self, dry_run: bool) -> list[str]:
        """As C{Root.reload} with our source."""

    def hand_over(self) -> Handing:
        """The listening sockets, for a successor."""

    def succeeded_by(self, pid: int, listeners: Collection[str]) -> None:
        """That process asked for the shared control socket, and goes on with these of our listening sockets, by their keys."""


class Commands:
    """Runs commands by name. Arguments are checked against the handler's table before it is called."""

    #: Command -> (handler, its arguments and their types).
    table: ClassVar[Mapping[str, tuple[Callable[..., Awaitable[Any]], Mapping[str, Any]]]]
    # Where a daemon is several processes all workers are asked, but for these:
    #: What the supervisor knows itself.
    own: ClassVar[frozenset[str]] = frozenset(
        {"version", "offline", "hand_over", "release_controller", "cancel_shutdown", "list", "reload", "reload_node"}
    )
    #: What any worker answers alike.
    one: ClassVar[frozenset[str]] = frozenset({"resolver_query", "escaper_get", "list_static_users", "list_dynamic_users"})
    #: What changes a node until the same is said again, and a new worker must hear, too; the arguments that say whether it is the same.
    lasting: ClassVar[Mapping[str, tuple[str, ...]]] = {"escaper_publish": ("name",), "user_group_publish": ("name",)}

    def __init__(self, daemon: IControlled) -> None:
        self._daemon = daemon
        self._root = daemon.root

    async def __call__(self, command: str, arguments: dict[str, Any]) -> Any:
        """The result of a command: a string, a list of strings or a map.

        @raise ControlError: unknown command, wrong arguments; C{ConfigError}: the tree said no.
        """
        try:
            handler, expected = self.table[command]
        except KeyError:
            raise ControlError(f"unknown command {command[:64]!r}") from None
        for name, type_ in expected.items():
            if not isinstance(arguments.get(name), type_):
                raise ControlError(f"{command} needs the argument {name}")
        if unknown := arguments.keys() - expected.keys():
            raise ControlError(f"{command} has no argument {min(unknown)[:64]!r}")
        return await handler(self, **arguments)

    async def version(self) -> str:
        return self._daemon.version

    async def offline(self) -> str:
        self._daemon.shutdown.offline()
        return SUCCESS

    async def hand_over(self) -> Handing:
        return self._daemon.hand_over()

    async def release_controller(self, pid: int, listeners: list[Any]) -> str:
        if not self._daemon.shutdown.release():
            raise ControlError("it is leaving already")
        self._daemon.succeeded_by(pid, [str(key) for key in listeners])
        return SUCCESS

    async def cancel_shutdown(self) -> str:
        if not self._daemon.shutdown.cancel():
            raise ControlError("failed to resume controller")
        return SUCCESS

    async def force_quit(self, name: str) -> str:
        self._root.force_quit(name)
        return SUCCESS

    async def force_quit_all(self) -> str:
        self._root.force_quit_all()
        return SUCCESS

    async def list_nodes(self, kind: str) -> list[str]:
        return self._root.names(self._kind(kind))

    async def reload(self, dry_run: bool) -> list[str]:
        return await self._daemon.read_again(dry_run)

    async def reload_node(self, kind: str, name: str) -> str:
        await self._root.reload_node(self._daemon.source, self._kind(kind), name)
        return SUCCESS

    async def server_status(self, name: str) -> dict[str, Any]:
        server = self._root.node("server", name)
        return {
            "online": bool(server.online),
            "alive_tasks": server.stats.alive_tasks,
            "total_connections": server.stats.total_connections,
            "total_tasks": server.stats.total_tasks,
        }

    async def resolver_query(self, name: str, domain: str, strategy: str, delay: int) -> dict[str, Any]:
        resolver = self._root.node("resolver", name)
        if not 0 <= delay <= 65535:
            raise ControlError("the resolution delay is 0 to 65535 milliseconds")
        try:
            domain = domain.encode("idna").decode("ascii").lower() if not domain.isascii() else domain.lower()
            return {"ip": list(await query(self._root.context.reactor, resolver, domain, strategy, delay / 1000))}
        except (ResolveError, UnicodeError) as error:
            return {"error": str(error)}

    async def escaper_publish(self, name: str, data: Any) -> str:
        self._publishable("escaper", name).publish(data)
        return SUCCESS

    async def escaper_get(self, name: str) -> Any:
        return self._publishable("escaper", name).published()

    async def user_group_publish(self, name: str, data: Any) -> str:
        self._publishable("user_group", name).publish(data)
        return SUCCESS

    async def list_static_users(self, name: str) -> list[str]:
        return sorted(self._directory(name).static_users())

    async def list_dynamic_users(self, name: str) -> list[str]:
        return sorted(self._directory(name).dynamic_users())

    def _kind(self, kind: str) -> str:
        if kind not in self._root.kinds:
            raise ControlError(f"no such kind of node: {kind[:64]!r}")
        return kind

    def _publishable(self, kind: str, name: str) -> Any:
        node = self._root.node(kind, name)
        if not IPublishable.providedBy(node):
            raise ControlError(f"{kind.replace('_', ' ')} {name} (type {node.config.type_word}) takes no published data")
        return node

    def _directory(self, name: str) -> Any:
        group = self._root.node("user_group", name)
        if not IUserDirectory.providedBy(group):
            raise ControlError(f"user group {name} (type {group.config.type_word}) has no list of users")
        return group


Commands.table = {
    "version": (Commands.version, {}),
    "offline": (Commands.offline, {}),
    "hand_over": (Commands.hand_over, {}),
    "release_controller": (Commands.release_controller, {"pid": int, "listeners": list}),
    "cancel_shutdown": (Commands.cancel_shutdown, {}),
    "force_quit": (Commands.force_quit, {"name": str}),
    "force_quit_all": (Commands.force_quit_all, {}),
    "list": (Commands.list_nodes, {"kind": str}),
    "reload": (Commands.reload, {"dry_run": bool}),
    "reload_node": (Commands.reload_node, {"kind": str, "name": str}),
    "server_status": (Commands.server_status, {"name": str}),
    "resolver_query": (Commands.resolver_query, {"name": str, "domain": str, "strategy": str, "delay": int}),
    "escaper_publish": (Commands.escaper_publish, {"name": str, "data": object}),
    "escaper_get": (Commands.escaper_get, {"name": str}),
    "user_group_publish": (Commands.user_group_publish, {"name": str, "data": object}),
    "list_static_users": (Commands.list_static_users, {"name": str}),
    "list_dynamic_users": (Commands.list_dynamic_users, {"name": str}),
}
