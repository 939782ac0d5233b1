# SPDX-License-Identifier: Apache-2.0
"""Where datagrams of logs and metrics go: the C{target} keys that syslog and statsd have in common."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, cast

from g3.config.schema import config_class, key, key_index, normalize
from g3.config.value import ValueProblem
from g3.config.values.basic import FilePath
from g3.config.values.net import IPValue, SocketAddr
from g3.config.values.options import Options

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from g3.config.document import Node
    from g3.config.schema import Places
    from g3.config.value import ParseContext
    from g3.task import IPAddress, SocketAddress


@dataclass(frozen=True, slots=True)
class Target:
    """A unix datagram socket when C{path} is set, else a UDP address and the local address to send from."""

    path: Path | None = None
    address: SocketAddress | None = None
    bind_ip: IPAddress | None = None


@config_class
class UDPTargetKeys:
    """A UDP server."""

    address: SocketAddress = key(SocketAddr(indirect=True), aliases=("addr",), doc="Its address.")
    bind_ip: IPAddress | None = key(IPValue(), default=None, aliases=("bind",), doc="The local address to send from.")

    def check(self, at: Places) -> None:
        if self.bind_ip is not None and (self.bind_ip.version == 6) != (":" in self.address[0]):
            at.error("bind_ip", "is not of the address family of the server")


class UDPTarget(Options[Target]):
    """An address with a port, or a map."""

    type_name = "UDP target"
    doc = "An address with a port, or a map of address and bind_ip."
    keys, made = UDPTargetKeys, Target
    _address = SocketAddr(indirect=True)

    def short(self, node: Node, context: ParseContext) -> Target:
        return Target(address=self._address.parse(node, context))

    def short_schemas(self) -> list[dict[str, Any]]:
        return [self._address.json_schema()]


@config_class
class UnixTargetKeys:
    """A unix datagram socket."""

    path: Path = key(FilePath(absolute=True), doc="The absolute path of the socket.")


class UnixTarget(Options[Target]):
    """An absolute path, or a map."""

    type_name = "unix socket target"
    doc = "The absolute path of a socket, or a map with path."
    keys, made = UnixTargetKeys, Target
    _path = FilePath(absolute=True)

    def short(self, node: Node, context: ParseContext) -> Target:
        return Target(path=self._path.parse(node, context))

    def short_schemas(self) -> list[dict[str, Any]]:
        return [self._path.json_schema()]


@config_class
class TargetKeys:
    """A server by either way."""

    udp: Target | None = key(UDPTarget(), default=None, doc="A UDP server.")
    unix: Target | None = key(UnixTarget(), default=None, doc="A unix datagram socket.")


class AnyTarget(Options[Target]):
    """A map that has a UDP or a unix target."""

    type_name = "target"
    doc = "A map with udp or unix."
    keys = TargetKeys
    expected = "a map with udp or unix"

    def build(self, given: TargetKeys, node: Node, context: ParseContext) -> Target:
        found: Target | None = last_of(given, node, context, ("udp", "unix"), "targets")
        if found is None:
            raise ValueProblem(node, "has neither udp nor unix")
        return found

    def dump(self, value: Target) -> Any:
        if value.path is not None:
            return {"unix": UnixTarget().dump(value)}
        return {"udp": UDPTarget().dump(value)}


def last_of(given: Any, node: Node, context: ParseContext, names: Iterable[str], what: str) -> Any:
    """Of some keys of one map, the value of the one written last, None when there is none: where upstream reads several keys that mean the
    same, the last one wins. Several are worth a warning."""
    index = key_index(cast("type", type(given)))
    words = [normalize(name.value) for name, _ in node.items if isinstance(name.value, str)]
    order = [index[word].name for word in words if word in index and index[word].name in names]
    if len(set(order)) > 1:
        context.problems.warn(node, f"several {what} are given: the last one, {order[-1]}, is used")
    return getattr(given, order[-1]) if order else None
