# SPDX-License-Identifier: Apache-2.0
"""A client connection of an http_proxy."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from g3.proto.http1.uri import AUTHORITY, DATAGRAM
from g3.servers.http.connection import ClientConnection
from g3.servers.http.forward import Forward
from g3.servers.http_proxy.connect import Connect
from g3.servers.http_proxy.connect_udp import ConnectUDP
from g3.servers.http_proxy.ftp_exchange import FTPOverHTTP

if TYPE_CHECKING:
    from g3.proto.http1.request import Request
    from g3.servers.http.exchange import Exchange
    from g3.servers.http_proxy.ftp import FTPClient
    from g3.servers.http_proxy.target import Targets
    from g3.task import ClientInfo


class ProxyConnection(ClientConnection):
    """Its requests say where they go."""

    __slots__ = ("_ftp", "_targets")

    def __init__(self, server: Any, stream: Any, info: ClientInfo, targets: Targets) -> None:
        ClientConnection.__init__(self, server, stream, info)  # super() makes an object
        self._targets = targets
        self._ftp: FTPClient = server.config.ftp_client

    def credentials_of(self, request: Request) -> bytes | None:
        return request.proxy_authorization

    def exchange_of(self, request: Request, now: float) -> Exchange:
        target = self._targets.resolve(request)
        uri = target.uri
        if uri.form == AUTHORITY:
            return Connect(self, request, target, now)
        if uri.form == DATAGRAM:
            return ConnectUDP(self, request, target, now)
        if uri.scheme == "ftp":
            return FTPOverHTTP(self, request, target, now, self._ftp)
        return Forward(self, request, target, now)
