# SPDX-License-Identifier: Apache-2.0
"""Configuration of proxy_http (upstream: configuration/escapers/proxy_http)."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from g3.config.node import EscaperConfig
from g3.config.schema import config_class, key
from g3.config.values.basic import Bool, OneOrMany, Str
from g3.config.values.duration import Duration
from g3.config.values.http import HTTPForwardCapabilityValue
from g3.config.values.net import ProxyProtocolVersion, WeightedUpstream
from g3.config.values.size import Size
from g3.escapers.next_proxy import NextProxyKeys
from g3.net.options import HTTPForwardCapability

if TYPE_CHECKING:
    from g3.config.schema import Places
    from g3.pick import Weighted
    from g3.task import Upstream

#: A user's name or password in a Basic credential, bytes.
_MAX_CREDENTIAL = 255


@config_class
class HTTPProxyPeerKeys(NextProxyKeys):
    """What proxies that speak HTTP are told and can do."""

    proxy_addr: tuple[Weighted[Upstream], ...] = key(
        OneOrMany(WeightedUpstream(3128), min_items=1), doc="The next proxies, with weights; the port is 3128 unless given."
    )
    proxy_username: str | None = key(
        Str(min_length=1, max_length=_MAX_CREDENTIAL), default=None, aliases=("proxy_user",), doc="Log in to the next proxy by this name (Basic)."
    )
    proxy_password: str | None = key(
        Str(max_length=_MAX_CREDENTIAL, secret=True), default=None, aliases=("proxy_passwd",), doc="The password of proxy_username."
    )
    pass_proxy_userid: bool = key(
        Bool(), default=False, doc="Pass the client's user name on to the next proxy, as a Basic login with the password g3proxy."
    )
    http_forward_capability: HTTPForwardCapability = key(
        HTTPForwardCapabilityValue(), default=HTTPForwardCapability(), doc="What the next proxies take in absolute form besides http:// URIs."
    )
    http_connect_rsp_header_max_size: int = key(Size(1), default=4096, unit="bytes", doc="The longest header of an answer to CONNECT.")
    use_proxy_protocol: int | None = key(
        ProxyProtocolVersion(), default=None, doc="Send a PROXY protocol header of this version first on each connection."
    )
    peer_negotiation_timeout: float = key(
        Duration(), default=10.0, unit="seconds", doc="How long it may take to have a tunnel: to connect to the next proxy and to get its answer."
    )

    def check(self, at: Places) -> None:
        super().check(at)
        if self.proxy_username is None:
            if self.proxy_password is not None:
                at.warn("proxy_password", "has no effect without proxy_username")
            return
        if ":" in self.proxy_username:
            at.error("proxy_username", "a name for Basic authentication has no colon")
        if self.pass_proxy_userid:
            at.error("pass_proxy_userid", "cannot go with proxy_username: the next proxy gets one login")


@config_class
class ProxyHTTPConfig(HTTPProxyPeerKeys, EscaperConfig):
    """Goes through another HTTP proxy: tunnels by CONNECT, http:// requests in absolute form.

    An egress path selection can name another next proxy for a task, and a key that always leads to the same one of its addresses.
    """

    type_word: ClassVar[str] = "proxy_http"
