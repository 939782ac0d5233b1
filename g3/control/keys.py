# SPDX-License-Identifier: Apache-2.0
"""The commands of g3keymess: those of every daemon, and those about keys."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar, cast

from g3.config.value import ValueProblem
from g3.config.values.metrics import check_tag
from g3.control.commands import SUCCESS, Commands
from g3.control.messages import ControlError
from g3.net.libssl.keys import load_private_key
from g3.net.libssl.library import LibraryError
from g3.task import format_address

if TYPE_CHECKING:
    from collections.abc import Mapping

    from g3.keyless.keys import KeyRing

#: Who brought a key that was published.
PUBLISHED = "control"


class KeyCommands(Commands):
    """Each acts on the ring of keys that all servers share, or on one server."""

    own = Commands.own | {"list_keys", "publish_key", "check_key", "listen_address"}
    lasting: ClassVar[Mapping[str, tuple[str, ...]]] = {"add_tag": ("tag",), "add_server_tag": ("name", "tag")}

    @property
    def _ring(self) -> KeyRing:
        ring: KeyRing = self._root.context.common.ring
        return ring

    async def reload(self, dry_run: bool) -> list[str]:
        changes = await super().reload(dry_run)
        if not dry_run:
            rescan(self._root)
        return changes

    async def server_status(self, name: str) -> dict[str, Any]:
        stats = self._root.node("server", name).stats
        return {"online": bool(stats.online), "alive_tasks": stats.alive_tasks, "total_tasks": stats.total_tasks}

    async def listen_address(self, name: str) -> str:
        return format_address(self._root.node("server", name).listen_address)

    async def add_server_tag(self, name: str, tag: str, value: str) -> str:
        server = self._root.node("server", name)
        server.add_tag(*_tag(tag, value))
        return SUCCESS

    async def add_tag(self, tag: str, value: str) -> str:
        pair = _tag(tag, value)
        for server in self._root.nodes("server").values():
            server.add_tag(*pair)
        return SUCCESS

    async def list_keys(self) -> list[str]:
        return self._ring.identifiers()

    async def publish_key(self, pem: str) -> str:
        try:
            self._ring.add(load_private_key(pem.encode("utf-8", "replace")), PUBLISHED)
        except (LibraryError, OverflowError) as error:
            raise ControlError(str(error)) from error
        await self._root.context.common.spread()
        return SUCCESS

    async def check_key(self, ski: str) -> str:
        try:
            known = bytes.fromhex(ski) in self._ring.by_ski
        except ValueError:
            raise ControlError("the key identifier is not hexadecimal") from None
        if not known:
            raise ControlError(f"no key {ski[:64]} is loaded")
        return SUCCESS


class WorkerKeyCommands(KeyCommands):
    """Those of a worker: its supervisor tells it which keys there are."""

    async def take_keys(self, keys: list[Any], gone: list[Any]) -> str:
        self._ring.unpack([bytes.fromhex(key) for key in keys], PUBLISHED)
        for ski in gone:
            self._ring.forget(bytes.fromhex(ski), PUBLISHED)
        return SUCCESS


def _tag(name: str, value: str) -> tuple[str, str]:
    for what, text in (("name", name), ("value", value)):
        try:
            check_tag(text, cast("Any", None))
        except ValueProblem as problem:
            raise ControlError(f"invalid metrics tag {what}: {problem.message}") from problem
    if not name:
        raise ControlError("invalid metrics tag name: it is empty")
    return name, value


def rescan(root: Any) -> None:
    """Have all stores look for keys that are new: a reload keeps stores whose configuration has not changed."""
    for store in root.nodes("store").values():
        store.rescan()


_SHARED = ("version", "offline", "hand_over", "release_controller", "cancel_shutdown", "force_quit", "force_quit_all", "list", "reload_node")

KeyCommands.table = {
    **{name: Commands.table[name] for name in _SHARED},
    "reload": (KeyCommands.reload, {"dry_run": bool}),
    "server_status": (KeyCommands.server_status, {"name": str}),
    "listen_address": (KeyCommands.listen_address, {"name": str}),
    "add_server_tag": (KeyCommands.add_server_tag, {"name": str, "tag": str, "value": str}),
    "add_tag": (KeyCommands.add_tag, {"tag": str, "value": str}),
    "list_keys": (KeyCommands.list_keys, {}),
    "publish_key": (KeyCommands.publish_key, {"pem": str}),
    "check_key": (KeyCommands.check_key, {"ski": str}),
}
WorkerKeyCommands.table = {**KeyCommands.table, "take_keys": (WorkerKeyCommands.take_keys, {"keys": list, "gone": list})}
