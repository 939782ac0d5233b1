# SPDX-License-Identifier: Apache-2.0
"""The key server: listens, and gives each client what its connections share: keys, threads, the limit on operations, logs."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar, cast

from zope.interface import implementer

from g3.errors import ConfigError
from g3.interfaces import IReloadable
from g3.keyless.actions import GROUPS
from g3.keyless.config import KeyServerConfig
from g3.keyless.connection import KeylessConnection
from g3.keyless.stats import KeyServerStats, RequestStats
from g3.net.transport import plain_address
from g3.servers.base import ListeningServer

if TYPE_CHECKING:
    from collections.abc import Callable

    from twisted.internet.defer import Deferred

    from g3.keyless.common import Common
    from g3.metrics.quantile import HistogramOptions
    from g3.task import ClientInfo, SocketAddress
    from g3.tree.node import NodeContext

#: Tags that can be added while we run.
MOST_TAGS = 64
#: Keys of the configuration that take a new socket or TLS context.
_FIXED = ("name", "listen", "tls_server", "tls_ticketer", "shared_logger")


@implementer(IReloadable)
class KeyServer(ListeningServer):
    """Keyless over TCP or TLS.

    @ivar threads: the signing threads of the process, None where the main thread signs, with C{engine}.
    """

    schema: ClassVar[type[KeyServerConfig]] = KeyServerConfig
    make_stats: ClassVar[Callable[[str], Any]] = KeyServerStats
    config: KeyServerConfig
    stats: KeyServerStats  # type: ignore[assignment]

    def __init__(self, config: KeyServerConfig, context: NodeContext) -> None:
        super().__init__(config, context)
        common: Common = context.common
        self.reactor = context.reactor
        self.ring = common.ring
        self.threads = common.threads
        self.engine = common.engine
        self._part = common.part
        logs = context.logs
        self.task_logger = None if logs is None else logs.logger("task", config.name, shared=config.shared_logger)
        self.request_logger = None if logs is None else logs.logger("request", config.name, shared=config.shared_logger)
        self.requests = tuple(map(self._requests, GROUPS))
        #: Tags added while we run; they win over configured ones, and reloads keep them.
        self._added: dict[str, str] = self.lasting("server", "tags", dict)
        self._busy = 0
        self._waking = False
        self._queue: dict[KeylessConnection, None] = {}

    def _requests(self, group: str) -> RequestStats:
        return self.lasting("server", f"requests {group}", lambda: RequestStats(group, self.config.name, self.stats))

    def start(self) -> None:
        """Serve."""
        self._measure(self.config.duration_stats)
        if self.threads is not None:
            self.threads.start()
        super().start()
        for each in self.requests:
            self.context.metrics.add(each)
        self._tag(self.config)

    def _ended(self, _: object) -> None:
        for each in self.requests:
            self.context.metrics.remove(each)
        super()._ended(_)

    def accepts(self, config: KeyServerConfig) -> bool:
        """IReloadable: connections stay unless the socket, TLS or the logs change."""
        return all(getattr(config, name) == getattr(self.config, name) for name in _FIXED)

    def reconfigure(self, config: KeyServerConfig) -> None:
        """IReloadable."""
        if config.duration_stats != self.config.duration_stats:
            self._measure(config.duration_stats)
        self._tag(config)

    # -- metrics

    def _measure(self, options: HistogramOptions) -> None:
        for each in self.requests:
            each.measure(options, self.clock)

    def _tag(self, config: KeyServerConfig) -> None:
        tags = {**dict(config.extra_metrics_tags), **self._added}
        for each in (self.stats, *self.requests):
            each.set_extra_tags(tags)

    def add_tag(self, name: str, value: str) -> None:
        """A tag for every metric from now on.

        @raise ConfigError: L{MOST_TAGS} were added already.
        """
        if name not in self._added and len(self._added) >= MOST_TAGS:
            raise ConfigError(f'server "{self.name}" has {MOST_TAGS} added tags, there is no room for more')
        self._added[name] = value
        self._tag(self.config)

    @property
    def listen_address(self) -> SocketAddress:
        """Where we really listen."""
        return self.config.listen.address if self._claim is None else plain_address(self._claim.address)

    # -- clients

    def serve(self, stream: Any, info: ClientInfo) -> KeylessConnection:
        """The connection that serves a client; it is the task, too."""
        self.task_started()
        return KeylessConnection(self, stream, info)

    def gone(self, connection: Any) -> None:
        """A connection has ended."""
        known = connection in self.connections
        super().gone(connection)
        if known:
            self.task_ended()

    def stop(self) -> Deferred[None] | None:
        """What was asked is answered, then clients have to go elsewhere: they would stay for ever."""
        drained = super().stop()
        for connection in list(self.connections):
            cast("KeylessConnection", connection).retire()
        return drained

    # -- the limit on operations

    def must_wait(self, connection: KeylessConnection) -> bool:
        """Whether no operation may begin now; C{connection.go_on} is called when one may."""
        if not self._full:
            return False
        self._queue[connection] = None
        return True

    def job_begins(self) -> None:
        """An operation was handed to a thread."""
        self._busy += 1

    def job_done(self) -> None:
        """One of them is done: whoever waits first goes on."""
        self._busy -= 1
        if self._queue and not self._waking:
            self._waking = True
            self.reactor.callLater(0, self._wake)

    @property
    def _full(self) -> bool:
        limit = self.config.concurrency_limit
        return limit > 0 and self._busy >= self._part(limit)

    def _wake(self) -> None:
        self._waking = False
        while self._queue and not self._full:
            connection = next(iter(self._queue))
            del self._queue[connection]
            connection.go_on()
