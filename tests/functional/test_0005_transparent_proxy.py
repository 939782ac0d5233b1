# SPDX-License-Identifier: Apache-2.0
"""Upstream's coverage case 0005_transparent_proxy: curl with a web site that it reaches through sni_proxy, which knows it by name alone.

The configuration is upstream's.
"""

from __future__ import annotations

from tests.functional.world import CaseTestCase


class TransparentProxyTests(CaseTestCase):
    """curl takes the proxy's address for the site's."""

    case = "0005_transparent_proxy"
    ports = (8080, 8443, 9443)

    def test_http(self) -> None:
        """By Host, to a reverse proxy."""
        self.httpbin("curl", "http://httpbin.local:8080", "--resolve", "httpbin.local:8080:[::1]")

    def test_tls(self) -> None:
        """By the name in the client hello, to a tls_stream."""
        self.httpbin("curl", "https://httpbin.local:8443", "--resolve", "httpbin.local:8443:[::1]", "--ca", str(self.world.ca))

    def test_nothing_is_changed(self) -> None:
        """Every type of the configuration is built."""
        self.assertEqual(self.world.derived.changes, [])

    def test_z_the_daemon_ends_well(self) -> None:
        """As a user ends it."""
        self.end_case()
