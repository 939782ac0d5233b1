# SPDX-License-Identifier: Apache-2.0
"""An escaper that picks another one by the port a client asks for."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

from zope.interface import implementer

from g3.config.node import EscaperConfig
from g3.config.schema import config_class, key
from g3.config.values.basic import Reference
from g3.config.values.net import Ports
from g3.interfaces import IRoute
from g3.tree.node import Node

if TYPE_CHECKING:
    from g3.task import Task
    from g3.tree.node import NodeContext


@config_class
class ByPortConfig(EscaperConfig):
    """Sends tasks for some ports one way and all others another."""

    type_word: ClassVar[str] = "acme_by_port"

    ports: frozenset[int] = key(Ports(), doc="The ports that go through C{through}.")
    through: str = key(Reference("escaper"), doc="The escaper for them.")
    otherwise: str = key(Reference("escaper"), doc="The escaper for all other ports.")


@implementer(IRoute)
class ByPortEscaper(Node):
    """See L{ByPortConfig}."""

    schema = ByPortConfig

    def __init__(self, config: ByPortConfig, context: NodeContext) -> None:
        super().__init__(config, context)
        self._ports = config.ports
        self._through = context.slot("escaper", config.through)
        self._otherwise = context.slot("escaper", config.otherwise)

    def pick(self, task: Task) -> Any:
        """The escaper for this task; a reload may have changed which node the name stands for."""
        return (self._through if task.upstream.port in self._ports else self._otherwise).node
