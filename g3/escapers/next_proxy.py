# SPDX-License-Identifier: Apache-2.0
"""What the escapers that go through another proxy share: which proxy, and the TCP connection to it. What is asked of it is the subclass's."""

from __future__ import annotations

from ipaddress import ip_address
from typing import TYPE_CHECKING, Any

from twisted.internet.defer import Deferred
from twisted.python.failure import Failure

from g3.config.schema import config_class, key
from g3.config.values.limit import StreamSpeedValue
from g3.config.values.net import IPValue, PickPolicyValue
from g3.config.values.tcp import KeepaliveValue
from g3.errors import ForbiddenAddressFamily, ResolveError, ResolveFailed
from g3.escapers.base import Dial, Escaper, introduce, limit_speed
from g3.escapers.config import ObservedKeys, ResolveKeys, TCPKeys
from g3.escapers.route import consistent_key
from g3.net.connect import ANY, Binding
from g3.net.options import Keepalive
from g3.pick import PickPolicy, Selector, Weighted

if TYPE_CHECKING:
    from g3.config.schema import Places
    from g3.limit.options import StreamSpeed
    from g3.net.tls.provider import ClientTLS
    from g3.net.transport import Stream
    from g3.task import IPAddress, Task, Upstream
    from g3.tree.node import NodeContext


@config_class
class NextProxyKeys(ObservedKeys, TCPKeys, ResolveKeys):
    """Which proxies follow, and the connections to them. A type declares C{proxy_addr} with its default port."""

    proxy_addr: tuple[Weighted[Upstream], ...]

    proxy_addr_pick_policy: PickPolicy = key(
        PickPolicyValue(), default=PickPolicy.RANDOM, doc="How to choose among the next proxies; a hash is of client address, user and upstream host."
    )
    bind_ipv4: IPAddress | None = key(IPValue(4), default=None, doc="Local address to connect to IPv4 proxies from.")
    bind_ipv6: IPAddress | None = key(IPValue(6), default=None, doc="Local address to connect to IPv6 proxies from.")
    tcp_keepalive: Keepalive = key(KeepaliveValue(), default=Keepalive(), doc="TCP keepalive towards the next proxy.")
    tcp_conn_speed_limit: StreamSpeed | None = key(
        StreamSpeedValue(), default=None, aliases=("tcp_conn_limit", "conn_limit"), deprecated_for="tcp_sock_speed_limit", doc="Its older name."
    )

    @property
    def families(self) -> frozenset[int]:
        """Address families that may be connected to: those of the literal addresses, or what the strategy leaves when there are names."""
        literal = {node.value.ip.version for node in self.proxy_addr if node.value.ip is not None}
        named = any(node.value.ip is None for node in self.proxy_addr)
        return frozenset(self.strategy.query.families) if named else frozenset(literal)

    def check(self, at: Places) -> None:
        super().check(at)
        for node in self.proxy_addr:
            ip = node.value.ip
            if ip is not None and (self.no_ipv4 if ip.version == 4 else self.no_ipv6):
                at.error("proxy_addr", f"{node.value} is an address of a family that is disabled")
        if self.resolver is None and any(node.value.ip is None for node in self.proxy_addr):
            at.error("proxy_addr", 'there are names in it, so "resolver" is needed')


class NextProxyEscaper(Escaper):
    """Connects to one of several next proxies. Users' limits on connections to upstreams do not hold for these."""

    config: Any

    def __init__(self, config: Any, context: NodeContext) -> None:
        super().__init__(config, context)
        self._proxies: Selector[Upstream] = Selector(config.proxy_addr, config.proxy_addr_pick_policy)
        self._families = config.families
        self._strategy = config.strategy
        self._resolver = context.slot("resolver", config.resolver) if config.resolver else None
        other = Binding(interface=config.bind_interface) if config.bind_interface else ANY
        self._bindings = {version: Binding(str(ip)) if ip is not None else other for version, ip in ((4, config.bind_ipv4), (6, config.bind_ipv6))}

    def permit(self, ip: IPAddress) -> None:
        """@raise ForbiddenAddressFamily: no connection to C{ip}."""
        if ip.version not in self._families:
            raise ForbiddenAddressFamily

    def binding(self, ip: IPAddress) -> Binding:
        """Where to connect to C{ip} from."""
        return self._bindings[ip.version]

    async def reach(self, task: Task) -> tuple[Stream, Upstream]:
        """A TCP connection to the next proxy for C{task}, and which proxy that is. Its bytes are counted, its speed is limited, and its PROXY
        protocol header is sent.

        @raise ConnectError: and nothing is left open.
        """
        config = self.config
        task.connect.escaper = config.name
        sticky = ""
        path = None if task.path is None else task.path.upstreams.get(config.name)
        if path is None:
            proxy = self._proxies.pick(consistent_key(task))
        else:
            proxy, sticky = path.addr, path.resolve_sticky_key
            task.connect.override_peer = str(proxy)
        dial = _ProxyDial(self, task, proxy.port, config.tcp_connect, config.tcp_misc_opts, config.tcp_keepalive)
        if proxy.ip is not None:
            stream = await dial.to_address(proxy.host)
        elif sticky:
            stream = await dial.to_address(await self._sticky_address(proxy.host, sticky))
        else:
            stream = await dial.to_name(*self._addresses(proxy.host), self._strategy, config.happy_eyeballs)
        self.traffic.follow(stream)
        limit_speed(stream, config.tcp_sock_speed_limit)
        if config.use_proxy_protocol is not None:
            introduce(stream, task, config.use_proxy_protocol)
        return stream, proxy

    def _addresses(self, name: str) -> tuple[Any, Any]:
        if self._resolver is None:
            raise ResolveFailed(ResolveError("LocalError", "NoResolverSet"))
        return self.resolve(self._resolver.node, name, self._strategy)

    async def _sticky_address(self, name: str, sticky: str) -> str:
        """The address of C{name} that C{sticky} always leads to while the addresses stay the same."""
        error = ResolveError("EmptyResult")
        for answer in [_settled(answer) for answer in self._addresses(name)]:
            found = await answer if isinstance(answer, Deferred) else answer
            if isinstance(found, ResolveError):
                error = found
            elif found:
                nodes: list[Weighted[str]] = [Weighted(ip) for ip in sorted(found, key=lambda ip: ip_address(ip).packed)]
                return Selector(nodes, PickPolicy.JUMP_HASH).pick(sticky.encode())
        raise ResolveFailed(error)

    async def secure_tunnel(self, stream: Stream, task: Task, tls: ClientTLS, name: str, application: str) -> Any:
        """TLS with the task's upstream over a tunnel that L{reach} began, its bytes counted on.

        @raise UpstreamTlsHandshakeFailed: or UpstreamTlsHandshakeTimeout; and nothing is left open.
        """
        self.traffic.release(stream)
        counted = stream.wire_bytes()
        secure = await self.secure(stream, task, tls, name, application)
        if stream.connected:
            # TLS over the stream, since bytes had been read ahead: the socket is still its own.
            self.traffic.follow(stream, counted)
        else:
            self.traffic.follow(secure)
            limit_speed(secure, self.config.tcp_sock_speed_limit)
        return secure


def _settled(answer: Any) -> Any:
    """A resolver's answer as it is, or a Deferred of our own of its addresses or its ResolveError: cancelling it takes nothing from others who
    wait for the same answer, and nobody has to hear of its error."""
    if not isinstance(answer, Deferred):
        return answer
    own: Deferred[Any] = Deferred()

    def settle(result: Any) -> None:
        if not own.called:
            own.callback(result.value if isinstance(result, Failure) and isinstance(result.value, ResolveError) else result)

    answer.addBoth(settle)
    return own


class _ProxyDial(Dial):
    """A connect by the rules of an escaper that goes through a next proxy."""

    __slots__ = ()
    escaper: NextProxyEscaper

    def permit(self, ip: IPAddress) -> None:
        self.escaper.permit(ip)

    def binding(self, ip: IPAddress) -> Binding:
        return self.escaper.binding(ip)
