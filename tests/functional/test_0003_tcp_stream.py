# SPDX-License-Identifier: Apache-2.0
"""Upstream's coverage cases 0003_base_tcp_stream and 0003_chain_tcp_stream: curl with a web site behind stream servers, plain and over TLS; in
the second behind two in a row, of which the first tells the second by PROXY protocol who the client is.

The configurations are upstream's.
"""

from __future__ import annotations

from tests.functional.world import CaseTestCase


class BaseTCPStreamTests(CaseTestCase):
    """One server between the client and the site."""

    case = "0003_base_tcp_stream"
    ports: tuple[int, ...] = (8080, 8443)

    def test_tcp(self) -> None:
        self.httpbin("curl", "http://httpbin.local:8080")

    def test_tls(self) -> None:
        self.httpbin("curl", "https://httpbin.local:8443", "--ca", str(self.world.ca))

    def test_nothing_is_changed(self) -> None:
        """Every type of the configuration is built."""
        self.assertEqual(self.world.derived.changes, [])

    def test_z_the_daemon_ends_well(self) -> None:
        """As a user ends it."""
        self.end_case()


class ChainTCPStreamTests(BaseTCPStreamTests):
    """Two servers between them."""

    case = "0003_chain_tcp_stream"
    ports = (8080, 8081, 8443)
