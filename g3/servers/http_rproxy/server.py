# SPDX-License-Identifier: Apache-2.0
"""The http_rproxy server."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

from g3.errors import G3Error
from g3.net.look import LookTimeout
from g3.net.tls.hello import look_at_hello
from g3.servers.http.server import HTTPServer
from g3.servers.http_rproxy.config import HTTPRProxyConfig
from g3.servers.http_rproxy.connection import SiteConnection
from g3.servers.http_rproxy.sites import Sites

if TYPE_CHECKING:
    from g3.task import ClientInfo


class HTTPRProxyServer(HTTPServer):
    """A reverse proxy (upstream: configuration/servers/http_rproxy)."""

    schema: ClassVar[type[HTTPRProxyConfig]] = HTTPRProxyConfig
    config: HTTPRProxyConfig
    sites: Sites

    def _prepare_tls(self) -> None:
        self.sites = Sites(self.config, self.serve_tls)

    def serve(self, stream: Any, info: ClientInfo) -> SiteConnection:
        return SiteConnection(self, stream, info, self.sites)

    def _secure(self, stream: Any, info: ClientInfo) -> None:
        if self.config.enable_tls_server:
            self._run(self._accept_by_name(stream, info))
        else:
            self._begin(stream, info)

    async def _accept_by_name(self, stream: Any, info: ClientInfo) -> None:
        """Speak TLS by the rules of the host that the client asks for."""
        try:
            hello = await look_at_hello(stream, self.context.timers, self.config.client_hello_recv_timeout)
            tls = self.sites.tls_for(hello.server_name)
        except LookTimeout:
            self.listen_stats.timeout += 1
        except G3Error as error:
            self._not_secured(info, error)
        else:
            await self._accept_tls(stream, info, tls)
            return
        stream.loseConnection()
