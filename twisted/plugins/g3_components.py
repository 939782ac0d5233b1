# SPDX-License-Identifier: Apache-2.0
"""The server, escaper, resolver, auditor and user group types that g3 brings."""

from g3.component import ComponentMaker

server_http_proxy = ComponentMaker("server", "http_proxy", "g3.servers.http_proxy.HTTPProxyServer")
server_http_rproxy = ComponentMaker(
    "server", "http_rproxy", "g3.servers.http_rproxy.HTTPRProxyServer", aliases=("http_reverse_proxy", "http_gateway")
)
server_socks_proxy = ComponentMaker("server", "socks_proxy", "g3.servers.socks_proxy.SocksProxyServer")
server_dummy_close = ComponentMaker("server", "dummy_close", "g3.servers.dummy_close.DummyCloseServer")
server_plain_tcp_port = ComponentMaker(
    "server", "plain_tcp_port", "g3.servers.plain_tcp_port.PlainTCPPortServer", aliases=("plain_tcp",)
)
server_plain_tls_port = ComponentMaker(
    "server", "plain_tls_port", "g3.servers.plain_tls_port.PlainTLSPortServer", aliases=("plain_tls",)
)
server_native_tls_port = ComponentMaker(
    "server", "native_tls_port", "g3.servers.native_tls_port.NativeTLSPortServer", aliases=("native_tls",)
)
server_plain_quic_port = ComponentMaker(
    "server", "plain_quic_port", "g3.servers.plain_quic_port.PlainQUICPortServer", aliases=("plain_quic",), extra="quic"
)
server_intelli_proxy = ComponentMaker(
    "server", "intelli_proxy", "g3.servers.intelli_proxy.IntelliProxyServer", aliases=("ppdp_tcp_port", "ppdp_tcp")
)
server_sni_proxy = ComponentMaker("server", "sni_proxy", "g3.servers.sni_proxy.SNIProxyServer")
server_tcp_stream = ComponentMaker("server", "tcp_stream", "g3.servers.tcp_stream.TCPStreamServer")
server_tcp_tproxy = ComponentMaker("server", "tcp_tproxy", "g3.servers.tcp_tproxy.TCPTproxyServer")
server_tls_stream = ComponentMaker("server", "tls_stream", "g3.servers.tls_stream.TLSStreamServer")

escaper_direct_fixed = ComponentMaker("escaper", "direct_fixed", "g3.escapers.direct_fixed.DirectFixedEscaper")
escaper_dummy_deny = ComponentMaker("escaper", "dummy_deny", "g3.escapers.dummy_deny.DummyDenyEscaper")
escaper_proxy_http = ComponentMaker("escaper", "proxy_http", "g3.escapers.proxy_http.ProxyHTTPEscaper")
escaper_route_select = ComponentMaker("escaper", "route_select", "g3.escapers.route_select.RouteSelectEscaper")

resolver_c_ares = ComponentMaker("resolver", "c_ares", "g3.resolvers.c_ares.CAresResolver")
resolver_deny_all = ComponentMaker("resolver", "deny_all", "g3.resolvers.deny_all.DenyAllResolver")
resolver_fail_over = ComponentMaker("resolver", "fail_over", "g3.resolvers.fail_over.FailOverResolver")

keymess_server = ComponentMaker("server", "key_server", "g3.keyless.server.KeyServer", daemon="g3keymess")
keymess_local = ComponentMaker("store", "local", "g3.keyless.local.LocalStore", daemon="g3keymess")
keymess_redis = ComponentMaker("store", "redis", "g3.keyless.redis.RedisStore", extra="redis", daemon="g3keymess")
