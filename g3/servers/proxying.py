# SPDX-License-Identifier: Apache-2.0
"""What an exchange with a client knows of the server it belongs to, whatever protocol they speak."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from g3.logs.logger import Logger
    from g3.metrics.server import ServerStats
    from g3.relay.idle import IdleWatch
    from g3.servers.destination import DestinationFilter
    from g3.task import ClientInfo, Task


class ProxyServer(Protocol):
    """The server: its rules, and who counts."""

    stats: ServerStats
    destination: DestinationFilter
    task_log: Logger | None
    idle: IdleWatch
    clock: Any
    context: Any

    @property
    def escaper(self) -> Any: ...

    def adopt(self, task: Task) -> None: ...

    def task_ended(self) -> None: ...

    def gone(self, connection: Any) -> None: ...

    def failed(self, error: BaseException) -> None: ...

    def refused(self, info: ClientInfo, error: Any) -> None: ...
