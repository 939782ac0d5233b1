# SPDX-License-Identifier: Apache-2.0
"""What an exchange knows of the client connection it belongs to, and of that one's server."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from g3.logs.logger import Logger
    from g3.metrics.server import ServerStats
    from g3.relay.idle import IdleWatch
    from g3.servers.destination import DestinationFilter
    from g3.servers.socks_proxy.config import SocksProxyConfig
    from g3.task import ClientInfo, PathSelection, Task


class Server(Protocol):
    """The server: its configuration, its rules, and who counts."""

    config: SocksProxyConfig
    stats: ServerStats
    destination: DestinationFilter
    task_log: Logger | None
    idle: IdleWatch
    clock: Any
    context: Any

    @property
    def escaper(self) -> Any: ...

    @property
    def users(self) -> Any: ...

    def adopt(self, task: Task) -> None: ...

    def task_ended(self) -> None: ...

    def gone(self, connection: Any) -> None: ...

    def failed(self, error: BaseException) -> None: ...

    def refused(self, info: ClientInfo, error: Any) -> None: ...


class Client(Protocol):
    """The client connection: its stream, who it is, and what it has sent ahead."""

    server: Server
    stream: Any
    info: ClientInfo
    user: Any
    path: PathSelection | None
    accepted: float
    deadline: float
    buffer: bytes
    lost: bool

    def read_ahead(self, data: bytes) -> None: ...

    def take(self) -> bytes: ...

    def exchange_ended(self, answer: bytes) -> None: ...
