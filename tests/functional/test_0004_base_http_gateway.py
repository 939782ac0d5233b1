# SPDX-License-Identifier: Apache-2.0
"""Upstream's coverage case 0004_base_http_gateway: what curl and requests do with a web site behind a reverse proxy, plain and over TLS.

The configuration is upstream's.
"""

from __future__ import annotations

from tests.functional.world import CaseTestCase


class BaseHTTPGatewayTests(CaseTestCase):
    """Each way to the site, with each client that upstream tries it with."""

    case = "0004_base_http_gateway"
    ports = (8080, 8443, 9443)

    def site(self, site: str) -> None:
        ca = ("--ca", str(self.world.ca)) if site.startswith("https") else ()
        self.httpbin("curl", site, *ca)
        self.httpbin("requests", site, *ca)

    def test_http(self) -> None:
        """At 900 kB/s for each connection."""
        self.site("http://httpbin.local:8080")

    def test_tls_port(self) -> None:
        """A plain_tls_port before it."""
        self.site("https://httpbin.local:8443")

    def test_tls_of_the_host(self) -> None:
        """Its own listener, and the host's own certificate."""
        self.site("https://httpbin.local:9443")

    def test_nothing_is_changed(self) -> None:
        """Every type of the configuration is built."""
        self.assertEqual(self.world.derived.changes, [])

    def test_z_the_daemon_ends_well(self) -> None:
        """As a user ends it."""
        self.end_case()
