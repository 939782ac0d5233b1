# SPDX-License-Identifier: Apache-2.0
"""The server, escaper, resolver, auditor and user group types that g3 brings."""

from g3.component import ComponentMaker

server_http_proxy = ComponentMaker("server", "http_proxy", "g3.servers.http_proxy.HTTPProxyServer")
server_dummy_close = ComponentMaker("server", "dummy_close", "g3.servers.dummy_close.DummyCloseServer")

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
