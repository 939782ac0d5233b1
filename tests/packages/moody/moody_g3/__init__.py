# SPDX-License-Identifier: Apache-2.0
"""A package with an escaper that will not serve everywhere."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

from zope.interface import implementer

from g3.config.node import EscaperConfig
from g3.config.schema import config_class, key
from g3.config.values.basic import Ascii
from g3.errors import ConfigError
from g3.interfaces import IEscaper, IPublishable
from g3.tree.node import Node

if TYPE_CHECKING:
    from g3.tree.node import NodeContext

__version__ = "1.0"


@config_class
class MoodyConfig(EscaperConfig):
    """Refuses everything."""

    type_word: ClassVar[str] = "moody"
    not_in: str = key(Ascii(), default="", doc="The stat_id of the process that it will not be prepared in.")
    dies_in: str = key(Ascii(), default="", doc="The stat_id of the process that it will not be started in.")


@implementer(IEscaper, IPublishable)
class MoodyEscaper(Node):
    """Keeps what is published."""

    schema: ClassVar[Any] = MoodyConfig

    def __init__(self, config: Any, context: NodeContext) -> None:
        super().__init__(config, context)
        self._data: Any = None

    def prepare(self) -> None:
        """Refuses where it is told to."""
        if self.context.daemon.stat_id == self.config.not_in:
            raise ConfigError(f'escaper "{self.name}": not in process {self.config.not_in}')

    def start(self) -> None:
        """Fails where it is told to, as a start must not."""
        if self.context.daemon.stat_id == self.config.dies_in:
            raise ZeroDivisionError("no start here")

    def publish(self, data: Any) -> None:
        """IPublishable."""
        self._data = data

    def published(self) -> Any:
        """IPublishable."""
        return self._data
