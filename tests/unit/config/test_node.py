# SPDX-License-Identifier: Apache-2.0
"""Tests of g3.config.node: what a node's sockets need of a daemon that becomes another user."""

from __future__ import annotations

from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from g3.escapers.direct_fixed import DirectFixedConfig
from g3.escapers.proxy_http import ProxyHTTPConfig
from g3.net.options import TCPListen, TCPMisc, UDPListen, UDPMisc
from g3.servers.http_proxy.config import HTTPProxyConfig
from g3.servers.plain_quic_port.config import PlainQUICPortConfig
from g3.servers.sni_proxy.config import SNIProxyConfig
from g3.servers.socks_proxy.config import SocksProxyConfig
from g3.servers.tcp_tproxy.config import TCPTproxyConfig

AT = ("127.0.0.1", 1)


class AdminTests(SynchronousTestCase):
    """CAP_NET_ADMIN, for listening sockets and for those that are made to serve."""

    def needs(self, cls: Any, **keys: Any) -> tuple[bool, bool]:
        config = cls(name="a", **keys)
        return config.listens_as_admin, config.serves_as_admin

    def test_who_asks_for_nothing_needs_none(self) -> None:
        more = {"escaper": "e", "listen": TCPListen(address=AT), "tcp_misc_opts": TCPMisc(time_to_live=1)}
        self.assertEqual(self.needs(HTTPProxyConfig, **more), (False, False))
        self.assertEqual(self.needs(DirectFixedConfig, udp_misc_opts=UDPMisc(time_to_live=1)), (False, False))

    def test_a_mark_or_an_interface_of_a_listener(self) -> None:
        """Of TCP and of datagrams."""
        for listen in (TCPListen(netfilter_mark=0), TCPListen(interface="lo")):
            self.assertEqual(self.needs(HTTPProxyConfig, escaper="e", listen=listen), (True, False))
        for datagrams in (UDPListen(socket_misc_opts=UDPMisc(netfilter_mark=1)), UDPListen(interface="lo")):
            self.assertEqual(self.needs(PlainQUICPortConfig, listen=datagrams, quic_server=None, server="s"), (True, False))

    def test_a_mark_of_other_sockets(self) -> None:
        """Of clients, upstreams and relays."""
        tcp, udp = TCPMisc(netfilter_mark=1), UDPMisc(netfilter_mark=1)
        for cls, keys in (
            (HTTPProxyConfig, {"escaper": "e", "tcp_misc_opts": tcp}),
            (SocksProxyConfig, {"escaper": "e", "udp_misc_opts": udp}),
            (DirectFixedConfig, {"tcp_misc_opts": tcp}),
            (DirectFixedConfig, {"udp_misc_opts": udp}),
            (ProxyHTTPConfig, {"proxy_addr": (), "tcp_misc_opts": tcp}),
        ):
            self.assertEqual(self.needs(cls, **keys), (False, True), keys)

    def test_foreign_addresses(self) -> None:
        """To listen at, and to connect from."""
        self.assertEqual(self.needs(TCPTproxyConfig, escaper="e", listen=TCPListen(address=AT)), (True, False))
        self.assertEqual(self.needs(SNIProxyConfig, escaper="e", listen_transparent=True), (True, False))
        self.assertEqual(self.needs(DirectFixedConfig, bind_foreign=True), (False, True))
