# SPDX-License-Identifier: Apache-2.0
"""A client connection of an http_rproxy."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

from g3.proto.http1.headers import HTTPError, field_values
from g3.servers.http.connection import ClientConnection
from g3.servers.http.forward import Forward

if TYPE_CHECKING:
    from g3.proto.http1.request import Request
    from g3.servers.http_rproxy.sites import Sites
    from g3.task import ClientInfo


class SiteConnection(ClientConnection):
    """Its requests are for one of the server's sites. What became of them in a reload is seen by the next connection."""

    __slots__ = ("_hop_lines", "_side", "_sites")
    auth_status: ClassVar[int] = 401
    challenge: ClassVar[bytes] = b"WWW-Authenticate"

    def __init__(self, server: Any, stream: Any, info: ClientInfo, sites: Sites) -> None:
        super().__init__(server, stream, info)
        self._sites = sites
        self._hop_lines = sites.hop_lines(info)
        self._side = getattr(stream, "side", None)

    def credentials_of(self, request: Request) -> bytes | None:
        found = field_values(request.forward_lines, b"authorization")
        if len(found) > 1:
            raise HTTPError("two Authorization fields")
        request.remove(b"authorization")
        return found[0] if found else None

    def exchange_of(self, request: Request, now: float) -> Forward:
        host, uri = self._sites.read(request)
        target = self._sites.target(host, uri, self._side)
        request.forward_lines += self._hop_lines
        return Forward(self, request, target, now)
