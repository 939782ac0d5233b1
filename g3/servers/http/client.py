# SPDX-License-Identifier: Apache-2.0
"""What an exchange knows of the client connection it belongs to, and of that one's server."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar, Protocol

from g3.servers.proxying import ProxyServer

if TYPE_CHECKING:
    from collections.abc import Mapping

    from twisted.python.failure import Failure

    from g3.errors import ProtocolError
    from g3.net.options import UpstreamKeepalive
    from g3.proto.http1.request import Request
    from g3.servers.http.config import HTTPServerConfig
    from g3.servers.http.headers import CustomHeaders
    from g3.servers.http.proxy_status import ProxyStatus
    from g3.servers.http.upstream import Key, SharedPool, UpstreamConnection
    from g3.task import ClientInfo, PathUpstream


class Server(ProxyServer, Protocol):
    """The server: its configuration, its rules, and who counts."""

    config: HTTPServerConfig
    online: bool
    gated: bool
    keepalive: UpstreamKeepalive
    shared_pool: SharedPool | None
    custom_headers: CustomHeaders | None
    proxy_status: ProxyStatus | None

    def keeps(self, request: Request) -> bool: ...


class Client(Protocol):
    """The client connection: its stream, what it has read ahead, and the upstream connection it keeps."""

    auth_failures: int
    auth_status: ClassVar[int]
    challenge: ClassVar[bytes]
    exchange: Any
    stream: Any
    info: ClientInfo
    buffer: bytes
    deadline: float
    lost: bool

    @property
    def server(self) -> Server: ...

    def credentials_of(self, request: Request) -> bytes | None: ...

    def begin(self, request: Request, since: float | None, user: Any, upstreams: Mapping[str, PathUpstream]) -> None: ...

    def closes_after(self, request: Request) -> bool: ...

    def refuse(self, error: ProtocolError) -> None: ...

    def resume(self) -> None: ...

    def take(self) -> bytes: ...

    def give_back(self, data: bytes) -> None: ...

    def pause(self) -> None: ...

    def take_kept(self, key: Key, now: float) -> UpstreamConnection | None: ...

    def keep(self, upstream: UpstreamConnection, closes: bool) -> None: ...

    def exchange_ended(self, closes: bool) -> None: ...

    def task_ended(self) -> None: ...

    def abort(self) -> None: ...

    def readConnectionLost(self) -> None: ...

    def connectionLost(self, reason: Failure | None = None) -> None: ...
