# SPDX-License-Identifier: Apache-2.0
"""The proxy_http escaper, and what it shares with others whose next proxy speaks HTTP."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

from zope.interface import implementer

from g3.errors import NegotiationPeerTimeout, NegotiationRejected
from g3.escapers.capability import HTTPForwardConnection
from g3.escapers.negotiation import ask
from g3.escapers.next_proxy import NextProxyEscaper
from g3.escapers.proxy_http.config import ProxyHTTPConfig
from g3.interfaces import IHTTPForward, ITCPConnect, ITLSConnect
from g3.logs.escape import HTTP_FORWARD, TCP_STREAM
from g3.net.timers import within
from g3.proto.http1.connect import TIMEOUTS, ConnectReader, basic_credentials, connect_request

if TYPE_CHECKING:
    from g3.escapers.proxy_http.config import HTTPProxyPeerKeys
    from g3.net.options import HTTPForwardCapability
    from g3.net.tls.provider import ClientTLS
    from g3.task import Task
    from g3.tree.node import NodeContext

#: The password that goes with a user name that is passed on.
PASSED_PASSWORD = "g3proxy"


@implementer(ITCPConnect, ITLSConnect, IHTTPForward)
class HTTPProxyPeerEscaper(NextProxyEscaper):
    """Asks a next proxy that speaks HTTP. C{peer} in a subclass may put TLS between."""

    config: HTTPProxyPeerKeys

    def __init__(self, config: Any, context: NodeContext) -> None:
        super().__init__(config, context)
        self._login: tuple[bytes, ...] = ()
        if config.proxy_username is not None:
            self._login = (basic_credentials(config.proxy_username, config.proxy_password or ""),)

    @property
    def http_capability(self) -> HTTPForwardCapability:
        """IHTTPForward."""
        return self.config.http_forward_capability

    async def peer(self, task: Task) -> Any:
        """A stream on which the next proxy speaks HTTP.

        @raise ConnectError: and nothing is left open.
        """
        return (await self.reach(task))[0]

    def login(self, task: Task) -> tuple[bytes, ...]:
        """The header lines (no CRLF) that say who we, or the client's user, are."""
        if self.config.pass_proxy_userid and task.user_name is not None:
            return (basic_credentials(task.user_name, PASSED_PASSWORD),)
        return self._login

    # -- the ways out

    async def tcp_connect(self, task: Task) -> Any:
        """ITCPConnect."""
        self.stats.task_total += 1
        return await self._tunnel(task)

    async def tls_connect(self, task: Task, tls: ClientTLS, name: str) -> Any:
        """ITLSConnect."""
        self.stats.task_total += 1
        return await self.secure_tunnel(await self._tunnel(task), task, tls, name, TCP_STREAM)

    async def http_forward(self, task: Task) -> HTTPForwardConnection:
        """IHTTPForward."""
        self.stats.task_total += 1
        lines = b"".join(line + b"\r\n" for line in self.login(task))
        return HTTPForwardConnection(await self.peer(task), task.connect, absolute_form=True, header_lines=lines, private=self.tells_client)

    async def https_forward(self, task: Task, tls: ClientTLS, name: str) -> HTTPForwardConnection:
        """IHTTPForward."""
        self.stats.task_total += 1
        secure = await self.secure_tunnel(await self._tunnel(task), task, tls, name, HTTP_FORWARD)
        return HTTPForwardConnection(secure, task.connect, private=self.tells_client)

    async def _tunnel(self, task: Task) -> Any:
        """A stream through the next proxy to the task's upstream, made in C{peer_negotiation_timeout}."""
        return await within(self.context.timers, self.config.peer_negotiation_timeout, self._ask_for_tunnel(task), NegotiationPeerTimeout)

    async def _ask_for_tunnel(self, task: Task) -> Any:
        stream = await self.peer(task)
        reader = ConnectReader(self.config.http_connect_rsp_header_max_size)
        await ask(stream, connect_request(task.upstream.host, task.upstream.port, self.login(task)), reader)
        if not reader.accepted:
            stream.loseConnection()
            status = reader.response.status if reader.response is not None else 0
            if status in TIMEOUTS:
                raise NegotiationPeerTimeout(f"the next proxy timed out: {status}")
            raise NegotiationRejected(f"rejected by the next proxy: {status}")
        return stream


class ProxyHTTPEscaper(HTTPProxyPeerEscaper):
    """Goes through another HTTP proxy. See L{ProxyHTTPConfig}."""

    schema: ClassVar[Any] = ProxyHTTPConfig
