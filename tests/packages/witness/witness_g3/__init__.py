# SPDX-License-Identifier: Apache-2.0
"""A package with an escaper that tells what its process holds."""

from __future__ import annotations

from typing import Any, ClassVar

from zope.interface import implementer

from g3.config.node import EscaperConfig
from g3.config.schema import config_class
from g3.interfaces import IEscaper, IPublishable
from g3.relay.idle import IdleWatch
from g3.servers.base import ListeningServer
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
        """What waits: on the reactor, on the wheel, and who reads and writes; apart from it, the looks that will find nobody."""
        reactor, wheel = self.context.reactor, self.context.timers
        watched = {id(each) for each in (*reactor.getReaders(), *reactor.getWriters())}
        calls = reactor.getDelayedCalls()
        timers = [timer.callback for slot in wheel._slots.values() for timer in slot]
        looks = sum(map(_finds_nobody, (*(getattr(call.func, "f", None) for call in calls), *timers)))
        # A wheel on which everything was cancelled still wakes up once, and finds nothing.
        return {"timers": len(calls) - wheel.armed + len(timers) - looks, "watched": len(watched), "looks": looks}


def _finds_nobody(callback: Any) -> bool:
    """Whether this looks from time to time at connections that have gone: it finds out the next time, and is over then."""
    owner = getattr(callback, "__self__", None)
    return (isinstance(owner, ListeningServer) and not owner.connections) or (isinstance(owner, IdleWatch) and not len(owner))
