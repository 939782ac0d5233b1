# SPDX-License-Identifier: Apache-2.0
"""A package with a server whose clients ask for what is limited over all workers."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

from twisted.internet.protocol import Protocol

from g3.config.schema import config_class, key
from g3.config.values.basic import Int
from g3.config.values.limit import GlobalStreamSpeedValue, RateQuotaValue
from g3.limit.gauge import Gauge
from g3.limit.rate import RateLimiter
from g3.limit.stream import GlobalStreamLimiter
from g3.servers.base import ListeningServer
from g3.servers.config import StreamServerConfig

if TYPE_CHECKING:
    from g3.tree.node import NodeContext

__version__ = "1.0"


@config_class
class MeteredConfig(StreamServerConfig):
    """Answers an "a" with whether one more may be alive, an "r" with whether it may happen, and an "s" with bytes without end."""

    type_word: ClassVar[str] = "metered"
    alive: int = key(Int(0, 1 << 20), doc="So many at once.")
    rate: Any = key(RateQuotaValue(), doc="How often.")
    speed: Any = key(GlobalStreamSpeedValue(), doc="How fast, all together.")


class MeteredServer(ListeningServer):
    """Has the three limits."""

    schema: ClassVar[Any] = MeteredConfig

    def __init__(self, config: Any, context: NodeContext) -> None:
        super().__init__(config, context)
        self.alive = self.lasting("server", "alive", lambda: Gauge(config.alive))
        self.rate = self.lasting("server", "rate", lambda: RateLimiter(config.rate))
        self.speed = self.lasting("server", "speed", lambda: GlobalStreamLimiter(config.speed, self.clock()))
        self.alive.permits = config.alive
        self.rate.reload(config.rate)
        self.speed.update(config.speed)

    def serve(self, stream: Any, info: Any) -> Client:
        """One more."""
        return Client(self, stream)


class Client(Protocol):
    """A connection; what it has alive ends with it."""

    #: Nobody waits for it.
    fresh = False

    def __init__(self, server: MeteredServer, stream: Any) -> None:
        self.server, self.stream = server, stream
        self.counted_in = self.counted_out = self.alive = 0

    def dataReceived(self, data: bytes) -> None:
        for word in data:
            if word == ord("s"):
                self.stream.set_write_limit((self.server.speed,))
                self.stream.registerProducer(self, False)
            elif word == ord("r"):
                self.stream.write(b"%d" % self.server.rate.admit(self.server.clock()))
            else:
                admitted = self.server.alive.acquire()
                self.alive += admitted
                self.stream.write(b"%d" % admitted)

    def resumeProducing(self) -> None:
        """There is room for more."""
        self.stream.write(bytes(65536))

    def stopProducing(self) -> None:
        """Nothing: there is no end."""

    def connectionLost(self, reason: Any = None) -> None:
        for _ in range(self.alive):
            self.server.alive.release()
        self.server.gone(self)

    def tick(self, now: float) -> None:
        """Nothing ends by itself."""

    def quit(self) -> None:
        """End now."""
        self.stream.abortConnection()
