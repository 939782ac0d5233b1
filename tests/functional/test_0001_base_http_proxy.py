# SPDX-License-Identifier: Apache-2.0
"""Upstream's coverage case 0001_base_http_proxy: what curl and requests do with an HTTP proxy, plain and over TLS, in every form.

The configuration is upstream's.
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from functools import partial

from tests.functional.world import CaseTestCase

SITES = ("http://httpbin.local", "http://127.0.0.1")
HOSTS = ("httpbin.local", "127.0.0.1")


class BaseHTTPProxyTests(CaseTestCase):
    """Each way to a proxy, with each client that upstream tries it with."""

    case = "0001_base_http_proxy"
    ports = (8080, 8443, 8444, 9443)

    def both(self, site: str, *more: str) -> None:
        """Both clients, one after the other."""
        self.httpbin("curl", site, *more)
        self.httpbin("requests", site, *more)

    def forward(self, proxy: str) -> None:
        for site in SITES:
            self.both(site, "--proxy", proxy)

    def easy_proxy(self, proxy: str) -> None:
        for host in HOSTS:
            self.both(f"{proxy}/.well-known/easy-proxy/http/{host}/80")

    def masque(self, proxy: str) -> None:
        for site in SITES:
            self.httpbin("curl", site, "--proxy", proxy, "--masque")

    def test_http_forward(self) -> None:
        """A proxy on IPv4, by name and by address."""
        self.forward("http://127.0.0.1:8080")

    def test_http_connect(self) -> None:
        """Tunnels."""
        for site in SITES:
            self.httpbin("curl", site, "--proxy", "http://127.0.0.1:8080", "--tunnel")

    def test_http_connect_to_tls(self) -> None:
        """A TLS origin through a tunnel."""
        self.both("https://httpbin.local:2443", "--proxy", "http://127.0.0.1:8080", "--ca", str(self.world.ca))

    def test_http_easy_proxy(self) -> None:
        """A client that knows of no proxy, only of a URL."""
        self.easy_proxy("http://127.0.0.1:8080")

    def test_http_masque(self) -> None:
        """The masque/http well-known URI."""
        self.masque("http://127.0.0.1:8080")

    def test_ftp_over_http(self) -> None:
        """An FTP server, with the client's login."""
        self.ftp("--proxy", "http://127.0.0.1:8080")

    def test_ipv6_ftp_over_http(self) -> None:
        """The same by a proxy on IPv6."""
        self.ftp("--proxy", "http://[::1]:8080")

    def test_ipv6_http_forward(self) -> None:
        """A proxy on IPv6."""
        self.forward("http://[::1]:8080")

    def test_ipv6_easy_proxy(self) -> None:
        """The same without a proxy setting."""
        self.easy_proxy("http://[::1]:8080")

    def test_ipv6_masque(self) -> None:
        """The masque/http well-known URI on IPv6."""
        self.masque("http://[::1]:8080")

    def tls_port(self, port: int) -> None:
        """Forward, easy-proxy, masque and FTP over a TLS connection to the proxy."""
        proxy, ca = f"https://g3proxy.local:{port}", ("--ca", str(self.world.ca))
        ways = (
            partial(self.both, SITES[0], "--proxy", proxy, *ca),
            partial(self.both, f"{proxy}/.well-known/easy-proxy/http/httpbin.local/80", *ca),
            partial(self.httpbin, "curl", SITES[0], "--proxy", proxy, "--masque", *ca),
        )
        # Side by side: a limit of speed holds for each connection.
        with ThreadPoolExecutor(len(ways)) as pool:
            for tried in [pool.submit(way) for way in ways]:
                tried.result()
        self.ftp("--proxy", proxy, *ca)

    def test_tls_port_8443(self) -> None:
        """A native_tls_port before the proxy."""
        self.tls_port(8443)

    def test_tls_port_8444(self) -> None:
        """A plain_tls_port before the proxy."""
        self.tls_port(8444)

    def test_tls_listener_with_a_speed_limit(self) -> None:
        """The proxy's own TLS listener, at 500 kB/s for each connection."""
        self.tls_port(9443)

    def test_nothing_is_changed(self) -> None:
        """Every type of the configuration is built."""
        self.assertEqual(self.world.derived.changes, [])

    def test_z_the_daemon_ends_well(self) -> None:
        """As a user ends it."""
        self.end_case()
