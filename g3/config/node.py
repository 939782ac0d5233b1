# SPDX-License-Identifier: Apache-2.0
"""What every node of the service tree has in its configuration, and one base class per kind of node."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields, is_dataclass
from typing import TYPE_CHECKING, Any, ClassVar

from g3.config.schema import config_class, key, references
from g3.config.values.basic import NodeName

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from g3.config.problems import Place
    from g3.config.value import Reference

#: Words of types that are two words.
_LOGGED = {"rproxy": "RProxy", "tproxy": "TProxy"}
#: The kinds in the order they are made, and undone in reverse.
KINDS = ("resolver", "escaper", "user_group", "auditor", "server")
_MARK = frozenset({"netfilter_mark"})


def _says(value: Any, names: frozenset[str]) -> bool:
    """Whether one of the keys C{names} is set anywhere in a value."""
    if is_dataclass(value):
        content = {each.name: getattr(value, each.name) for each in fields(value)}
        return any(content.get(name) is not None for name in names) or _says(content, names)
    parts = value.values() if isinstance(value, Mapping) else value if isinstance(value, tuple) else ()
    return any(_says(part, names) for part in parts)


@config_class
class NodeConfig:
    """One named node. C{kind} and C{type_word} say which implementation reads it; the YAML key C{type} chose it."""

    kind: ClassVar[str] = ""
    type_word: ClassVar[str] = ""
    #: Keys that something else has read.
    extra_keys: ClassVar[frozenset[str]] = frozenset({"type"})

    name: str = key(NodeName(), doc="Unique among the nodes of its kind.")

    @property
    def log_type(self) -> str:
        """What the logs call the type: upstream has CamelCase there."""
        return "".join(_LOGGED.get(word, word.capitalize()) for word in self.type_word.split("_"))

    @property
    def listens_as_admin(self) -> bool:
        """Whether a listening socket that the node has, or gets by a reload, needs CAP_NET_ADMIN or CAP_NET_RAW: for a mark or an interface
        here; types that listen at foreign addresses add that."""
        return _says(getattr(self, "listen", None), _MARK | {"interface"})

    @property
    def serves_as_admin(self) -> bool:
        """Whether sockets that the node makes to serve need CAP_NET_ADMIN: for a mark here; types that bind to foreign addresses add that."""
        return any(_says(getattr(self, each.name), _MARK) for each in fields(self) if each.name != "listen")


@config_class
class ResolverConfig(NodeConfig):
    """Answers names."""

    kind: ClassVar[str] = "resolver"

    @property
    def log_type(self) -> str:
        """What the logs call the type: the word with hyphens, as upstream."""
        return self.type_word.replace("_", "-")


@config_class
class EscaperConfig(NodeConfig):
    """A way out."""

    kind: ClassVar[str] = "escaper"


@config_class
class UserGroupConfig(NodeConfig):
    """Knows users."""

    kind: ClassVar[str] = "user_group"


@config_class
class AuditorConfig(NodeConfig):
    """Looks into traffic."""

    kind: ClassVar[str] = "auditor"


@config_class
class ServerConfig(NodeConfig):
    """Accepts clients."""

    kind: ClassVar[str] = "server"


BASES: Mapping[str, type[NodeConfig]] = {base.kind: base for base in (ResolverConfig, EscaperConfig, UserGroupConfig, AuditorConfig, ServerConfig)}


@dataclass(frozen=True, slots=True)
class Position:
    """Where a node can be read again: the document number C{index} (from 0) of a file."""

    path: Path
    index: int

    def __str__(self) -> str:
        return f"{self.path}#{self.index}"


@dataclass(frozen=True, slots=True)
class Entry:
    """A node of a configuration that was read.

    C{position} is None for one written in the main file itself. C{places} says where each other node is named.
    """

    config: NodeConfig
    place: Place
    position: Position | None = None
    places: Mapping[Reference, Place] = field(default_factory=dict)

    def references(self) -> Iterator[tuple[Reference, Place]]:
        """Every other node it names, once, with the place."""
        for reference in dict.fromkeys(references(self.config)):
            yield reference, self.places.get(reference, self.place)
