# SPDX-License-Identifier: Apache-2.0
"""Back-pressure between two streams whose bytes pass through a protocol of ours (an HTTP body that must be looked at), and what waits for a peer."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from twisted.internet.interfaces import IPushProducer
from zope.interface import implementer

from g3.net.transport import HIGH_MARK

if TYPE_CHECKING:
    from g3.net.transport import Stream

#: Bytes queued at the sink above which its source is held: a slow reader costs this much memory, and one read more.
HIGH_WATER = HIGH_MARK


@implementer(IPushProducer)
class _Held:
    """Stands as the sink's producer while its source is paused; lets the source go when the sink has drained."""

    __slots__ = ("sink", "source")

    def __init__(self, source: Stream, sink: Stream) -> None:
        self.source, self.sink = source, sink

    def pauseProducing(self) -> None:
        """The source is paused already."""

    def resumeProducing(self) -> None:
        self.sink.unregisterProducer()
        self.source.resumeProducing()

    def stopProducing(self) -> None:
        """The sink is gone: its protocol hears of it and decides about the source."""


def hold(source: Stream, sink: Stream) -> None:
    """Stop reading C{source} until C{sink} has written what it queued. Call once C{sink.queued} passes L{HIGH_WATER}."""
    source.pauseProducing()
    sink.registerProducer(_Held(source, sink), True)


def release(sink: Stream) -> None:
    """Forget a hold on C{sink}, whose source is not to be resumed (it is gone)."""
    sink.unregisterProducer()


def unsent(stream: Any) -> int:
    """Bytes on their way that the peer has not taken, wherever they wait, as far as this kind of stream knows. A reset would lose them."""
    return int(stream.unsent() if hasattr(stream, "unsent") else stream.queued)
