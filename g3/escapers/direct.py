# SPDX-License-Identifier: Apache-2.0
"""What the escapers that reach the upstream from this host share; they differ in the addresses they connect from."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

from zope.interface import implementer

from g3.errors import ForbiddenAddressFamily, ForbiddenRemoteAddress
from g3.escapers.base import Dial, Escaper, introduce, limit_speed
from g3.escapers.capability import DIRECT, HTTPForwardConnection
from g3.escapers.direct_udp import RelayPath, udp_connect
from g3.interfaces import IFTPConnect, IHTTPForward, ITCPConnect, ITLSConnect, IUDPConnect, IUDPRelay
from g3.logs.escape import HTTP_FORWARD, TCP_STREAM

if TYPE_CHECKING:
    from g3.net.connect import Binding
    from g3.net.egress import UserEgress
    from g3.net.tls.provider import ClientTLS
    from g3.net.transport import Stream
    from g3.task import IPAddress, Task
    from g3.tree.node import NodeContext


@implementer(ITCPConnect, ITLSConnect, IHTTPForward, IFTPConnect, IUDPConnect, IUDPRelay)
class DirectEscaper(Escaper):
    """Connects to the upstream itself. A subclass says from where, with C{binding}.

    A user's limits and options hold beside the escaper's own: the lower limit, the user's resolve strategy within the escaper's families, the
    user's redirection before the escaper's.
    """

    http_capability = DIRECT

    def __init__(self, config: Any, context: NodeContext) -> None:
        super().__init__(config, context)
        self.strategy = config.strategy
        #: Address families a connection may have, also to a literal address.
        self._families = frozenset(self.strategy.query.families)
        self._resolver = context.slot("resolver", config.resolver)

    @property
    def resolver(self) -> Any:
        """The resolver of now: a reload swaps it."""
        return self._resolver.node

    def binding(self, task: Task, ip: IPAddress) -> Binding:
        """Where to connect to C{ip} from.

        @raise EscaperNotUsable: there is no usable address.
        """
        raise NotImplementedError

    def permit(self, task: Task, ip: IPAddress) -> None:
        """Refuse what may not be connected to, resolved or literal."""
        if ip.version not in self._families:
            raise ForbiddenAddressFamily
        if self.config.egress_network_filter.check(ip)[1].forbids:
            self.stats.forbidden_ip_blocked += 1
            if task.user is not None:
                task.user.ip_blocked(self)
            raise ForbiddenRemoteAddress

    # -- the ways out

    async def tcp_connect(self, task: Task) -> Any:
        """ITCPConnect."""
        self.stats.task_total += 1
        return self._ready(await self._open(task))

    async def tls_connect(self, task: Task, tls: ClientTLS, name: str) -> Any:
        """ITLSConnect."""
        self.stats.task_total += 1
        return self._ready(await self.secure(await self._open(task), task, tls, name, TCP_STREAM))

    async def http_forward(self, task: Task) -> HTTPForwardConnection:
        """IHTTPForward."""
        self.stats.task_total += 1
        return HTTPForwardConnection(self._ready(await self._open(task)), task.connect, private=self.tells_client)

    async def https_forward(self, task: Task, tls: ClientTLS, name: str) -> HTTPForwardConnection:
        """IHTTPForward."""
        self.stats.task_total += 1
        secure = await self.secure(await self._open(task), task, tls, name, HTTP_FORWARD)
        return HTTPForwardConnection(self._ready(secure), task.connect, private=self.tells_client)

    async def ftp_control(self, task: Task) -> Any:
        """IFTPConnect."""
        self.stats.task_total += 1
        return self._ready(await self._open(task))

    async def ftp_data(self, task: Task, control: Any, port: int) -> Any:
        """IFTPConnect. From the address the control stream comes from, with no PROXY protocol header."""
        task.connect.escaper = self.config.name
        dial = self._dial(task, port, None if task.user is None else task.user.egress(task))
        dial.local = control.local[0]
        return self._ready(await dial.to_address(control.peer[0]))

    async def udp_connect(self, task: Task) -> Any:
        """IUDPConnect."""
        self.stats.task_total += 1
        return await udp_connect(self, task)

    async def udp_relay(self, task: Task) -> Any:
        """IUDPRelay."""
        self.stats.task_total += 1
        task.connect.escaper = self.config.name
        return RelayPath(self, task)

    def _ready(self, stream: Any) -> Any:
        self.traffic.follow(stream)
        limit_speed(stream, self.config.tcp_sock_speed_limit)
        return stream

    def _dial(self, task: Task, port: int, egress: UserEgress | None) -> _DirectDial:
        config = self.config
        dial = _DirectDial(self, task, port, config.tcp_connect, config.tcp_misc_opts, config.tcp_keepalive)
        if egress is not None:
            dial.limit(egress)
        return dial

    async def _open(self, task: Task) -> Stream:
        """A TCP connection to the task's upstream, its PROXY protocol header sent."""
        config, upstream = self.config, task.upstream
        task.connect.escaper = self.config.name
        egress: UserEgress | None = None if task.user is None else task.user.egress(task)
        dial = self._dial(task, upstream.port, egress)
        strategy = self.strategy
        if egress is not None and egress.resolve_strategy is not None:
            strategy = strategy.adjusted(egress.resolve_strategy)
        if upstream.ip is not None:
            stream = await dial.to_address(upstream.host)
        else:
            user_redirection = None if egress is None else egress.resolve_redirection
            first, second = self.resolve(self.resolver, upstream.host, strategy, user_redirection, config.resolve_redirection)
            stream = await dial.to_name(first, second, strategy, config.happy_eyeballs)
        task.connect.last = True
        if config.use_proxy_protocol is not None:
            introduce(stream, task, config.use_proxy_protocol)
        return stream


class _DirectDial(Dial):
    """A connect by a direct escaper's rules."""

    __slots__ = ()
    escaper: DirectEscaper

    def permit(self, ip: IPAddress) -> None:
        self.escaper.permit(self.task, ip)

    def binding(self, ip: IPAddress) -> Binding:
        binding = self.escaper.binding(self.task, ip)
        return replace(binding, ip=self.local, port=0) if self.local and binding.ip else binding

    def limit(self, egress: UserEgress) -> None:
        """Let a user's options hold too."""
        if egress.tcp_connect is not None:
            self.connect = self.connect.limited(egress.tcp_connect)
        if egress.tcp_remote_keepalive is not None and self.keepalive is not None:
            self.keepalive = self.keepalive.adjusted(egress.tcp_remote_keepalive)
        if egress.tcp_remote_misc_opts is not None and self.misc is not None:
            self.misc = self.misc.adjusted(egress.tcp_remote_misc_opts)
