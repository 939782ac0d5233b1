# SPDX-License-Identifier: Apache-2.0
"""Squid as the next proxy behind the escaper proxy_http, and a route that chooses between it and the direct way."""

from __future__ import annotations

from tests.functional.peers import start_dnsmasq, start_httpbin, start_squid
from tests.functional.stage import StageTestCase

NEXT_PORT = 3129
PROXY = "http://127.0.0.1:3128"
CONFIG = f"""
resolver:
  - name: default
    type: c_ares
    server: 127.0.0.1

escaper:
  - name: direct
    type: direct_fixed
    resolver: default
    egress_network_filter:
      default: allow
      allow: 127.0.0.1
  - name: next
    type: proxy_http
    resolver: default
    proxy_addr: 127.0.0.1:{NEXT_PORT}
    proxy_username: user
    proxy_password: pass
  - name: either
    type: route_select
    next_pick_policy: round_robin
    next_nodes:
      - direct
      - next

server:
  - name: through
    type: http_proxy
    listen: 127.0.0.1:3128
    escaper: next
  - name: routed
    type: http_proxy
    listen: 127.0.0.1:3130
    escaper: either
"""


class NextProxyTests(StageTestCase):
    """The httpbin checks of upstream's cases, through two proxies."""

    def setUp(self) -> None:
        super().setUp()
        self.keep(start_dnsmasq(self.namespace, self.directory))
        self.keep(start_httpbin(self.namespace, self.directory))
        self.squid = start_squid(self.directory, NEXT_PORT, namespace=self.namespace)
        self.keep(self.squid)
        self.daemon = self.start_daemon(CONFIG, ports=(3128, 3130), namespace=self.namespace)

    def httpbin(self, client: str, *more: str, proxy: str = PROXY) -> None:
        """All httpbin checks of a client pass."""
        ran = self.python("tests.functional.httpbin_checks", "--client", client, "--site", "http://httpbin.local", "--proxy", proxy, *more)
        if ran.returncode != 0:
            raise self.daemon.fail(f"served {client} badly:\n{ran.stdout}\n")

    def test_forward(self) -> None:
        """Requests go on in absolute form."""
        self.httpbin("curl")
        self.httpbin("requests")
        self.assertIn("GET http://httpbin.local/get", self.squid.access_log())

    def test_connect(self) -> None:
        """A tunnel through a tunnel."""
        self.httpbin("curl", "--tunnel")
        self.assertIn("CONNECT httpbin.local:80", self.squid.access_log())

    def test_route(self) -> None:
        """Round robin over both ways: each is taken."""
        self.httpbin("requests", proxy="http://127.0.0.1:3130")
        seen = self.squid.access_log().count("http://httpbin.local/")
        self.assertTrue(0 < seen < 7, self.squid.access_log())

    def test_a_next_proxy_that_is_gone_is_told_apart(self) -> None:
        """Refused by the next proxy's machine: 521."""
        self.squid.kill()
        self.assertEqual(self.status("-x", PROXY, "http://httpbin.local/get"), 521)
