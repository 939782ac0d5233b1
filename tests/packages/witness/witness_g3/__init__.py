# SPDX-License-Identifier: Apache-2.0
"""A package with an escaper that tells what its process holds."""

from __future__ import annotations

from typing import Any, ClassVar

from zope.interface import implementer

from g3.config.node import EscaperConfig
from g3.config.schema import config_class
from g3.interfaces import IEscaper, IPublishable
from g3.tree.node import Node

__version__ = "1.0"


@config_class
class WitnessConfig(EscaperConfig):
    """Carries nothing."""

    type_word: ClassVar[str] = "witness"


@implementer(IEscaper, IPublishable)
class WitnessEscaper(Node):
    """C{g3proxy-ctl escaper NAME get} has the numbers."""

    schema: ClassVar[Any] = WitnessConfig

    def publish(self, data: Any) -> None:
        """Nothing to keep."""

    def published(self) -> Any:
        """What waits: on the reactor, on the wheel, and who reads and writes."""
        reactor = self.context.reactor
        watched = {id(each) for each in (*reactor.getReaders(), *reactor.getWriters())}
        # A wheel on which everything was cancelled still wakes up once, and finds nothing.
        calls = len(reactor.getDelayedCalls()) - self.context.timers.armed
        return {"timers": calls + len(self.context.timers), "watched": len(watched)}
