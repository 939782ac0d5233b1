# SPDX-License-Identifier: Apache-2.0
"""Upstream's coverage case 0002_base_socks_proxy: curl, requests and DNS by UDP through a SOCKS proxy in both of its UDP modes.

The configuration is upstream's, unchanged.
"""

from __future__ import annotations

from tests.functional.world import CaseTestCase

SITE = "http://httpbin.local"


class BaseSocksProxyTests(CaseTestCase):
    """Port 1080 is limited to 500 kB/s and logs all that happens; 1081 has full UDP associate."""

    case = "0002_base_socks_proxy"
    ports = (1080, 1081)

    def dns(self, port: int) -> None:
        ran = self.world.python("tests.functional.socks_dns", str(port), "127.0.0.1", "g3proxy.local=127.0.0.1", "httpbin.local=127.0.0.1")
        if ran.returncode != 0:
            raise self.world.daemon.fail(f"carried DNS badly:\n{ran.stdout}\n")

    def test_socks5h_on_1080(self) -> None:
        self.httpbin("curl", SITE, "--proxy", "socks5h://127.0.0.1:1080")
        self.httpbin("requests", SITE, "--proxy", "socks5h://127.0.0.1:1080")

    def test_socks5h_on_1081(self) -> None:
        self.httpbin("curl", SITE, "--proxy", "socks5h://127.0.0.1:1081")
        self.httpbin("requests", SITE, "--proxy", "socks5h://127.0.0.1:1081")

    def test_socks4a_on_both(self) -> None:
        for port in self.ports:
            self.httpbin("curl", SITE, "--proxy", f"socks4a://127.0.0.1:{port}")

    def test_dns_by_udp_connect(self) -> None:
        self.dns(1080)

    def test_dns_by_udp_associate(self) -> None:
        self.dns(1081)

    def test_the_configuration_is_used_unchanged(self) -> None:
        self.assertEqual(self.world.derived.changes, [])

    def test_z_the_daemon_ends_well(self) -> None:
        """As a user ends it."""
        self.end_case()
