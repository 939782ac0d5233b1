# SPDX-License-Identifier: Apache-2.0
"""What an exchange knows of the client connection it belongs to, and of that one's server."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol

from g3.servers.proxying import ProxyServer

if TYPE_CHECKING:
    from g3.servers.socks_proxy.config import SocksProxyConfig
    from g3.task import ClientInfo, PathSelection


class Server(ProxyServer, Protocol):
    """The server: its configuration, its rules, and who counts."""

    config: SocksProxyConfig

    @property
    def users(self) -> Any: ...


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
