# SPDX-License-Identifier: Apache-2.0
"""What every node of the service tree has in its configuration, and one base class per kind of node."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from g3.config.schema import config_class, key
from g3.config.values.basic import NodeName

if TYPE_CHECKING:
    from collections.abc import Mapping

#: The kinds in the order they are made, and undone in reverse.
KINDS = ("resolver", "escaper", "user_group", "auditor", "server")


@config_class
class NodeConfig:
    """One named node. C{kind} and C{type_word} say which implementation reads it; the YAML key C{type} chose it."""

    kind: ClassVar[str] = ""
    type_word: ClassVar[str] = ""
    #: Keys that something else has read.
    extra_keys: ClassVar[frozenset[str]] = frozenset({"type"})

    name: str = key(NodeName(), doc="Unique among the nodes of its kind.")


@config_class
class ResolverConfig(NodeConfig):
    """Answers names."""

    kind: ClassVar[str] = "resolver"


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
