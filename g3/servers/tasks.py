# SPDX-License-Identifier: Apache-2.0
"""What servers that run tasks share: the way out, the rules on where to, the task log, and what happens from time to time."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from g3.errors import DestDenied
from g3.relay.idle import IdleWatch
from g3.servers.base import ListeningServer
from g3.servers.destination import DestinationFilter

if TYPE_CHECKING:
    from g3.errors import ProtocolError
    from g3.servers.config import TaskServerConfig
    from g3.task import ClientInfo, Task, Upstream
    from g3.tree.node import NodeContext


def permit(server: Any, upstream: Upstream) -> None:
    """@raise DestDenied: the rules of C{server} keep its clients from C{upstream}; counted."""
    if server.destination.forbids(upstream):
        server.stats.forbidden_dest_denied += 1
        raise DestDenied


class TaskServer(ListeningServer):
    """A server whose connections have at most one task at a time: their C{exchange}, None between two tasks.

    Each task is told to L{adopt} when it begins and to L{task_ended} when it is over.
    Every C{task_idle_check_interval} an exchange hears C{idle_tick}, every C{task_log_flush_interval} C{periodic}.

    @ivar gated: whether it has a user group.
    """

    config: TaskServerConfig
    #: Whether clients or a log are told where the connections to upstreams come from.
    tells_local = False

    def __init__(self, config: TaskServerConfig, context: NodeContext) -> None:
        super().__init__(config, context)
        self._escaper = context.slot("escaper", config.escaper)
        self._users = None if config.user_group is None else context.slot("user_group", config.user_group)
        self.gated = self._users is not None
        auditor: str | None = getattr(config, "auditor", None)
        self._auditor = None if auditor is None else context.slot("auditor", auditor)
        self.destination = DestinationFilter(getattr(config, "dst_host_filter_set", None), getattr(config, "dst_port_filter", None))
        self.task_log = context.logs.logger("task", config.name, config.log_type, shared=config.shared_logger)
        if self.task_log is not None:
            self.tells_local = True
        self.idle = IdleWatch(context.timers, config.idle_interval)
        self._next_idle = self.clock() + config.idle_interval
        self._next_log = self.clock() + (config.task_log_flush_interval or 0)

    @property
    def escaper(self) -> Any:
        """The escaper of now: a reload swaps it."""
        return self._escaper.node

    @property
    def users(self) -> Any:
        """The user group of now, None where anybody may use the server."""
        return None if self._users is None else self._users.node

    def adopt(self, task: Task) -> None:
        """Count a task of ours, until L{task_ended}. It takes along who looks into the traffic, and what nobody wants to know."""
        self.task_started()
        if self._auditor is not None:
            task.auditor = self._auditor.node
        task.tells_local = self.tells_local

    def refused(self, info: ClientInfo, error: ProtocolError) -> None:
        """One line for what was no request of ours, at debug level: hostile clients must not fill a log."""
        self.log.debug("{server}: {client}: {error}", server=self.name, client=info.client, error=error)

    def _tick(self) -> None:
        super()._tick()
        now, config = self.clock(), self.config
        if now >= self._next_idle:
            self._next_idle = now + config.idle_interval
            self._each_exchange("idle_tick")
        if config.task_log_flush_interval and self.task_log is not None and now >= self._next_log:
            self._next_log = now + config.task_log_flush_interval
            self._each_exchange("periodic")

    def _each_exchange(self, method: str) -> None:
        for connection in list(self.connections):
            exchange = getattr(connection, "exchange", None)
            if exchange is not None:
                getattr(exchange, method)()
