# SPDX-License-Identifier: Apache-2.0
"""Which host a request is for, however it is spelled, and the head that goes on."""

from __future__ import annotations

from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from g3.acl.match import HostMatch
from g3.errors import ProtocolError
from g3.net.options import ForwardedHeader
from g3.net.tls.options import ServerTLSOptions
from g3.proto.http1.request import parse_request
from g3.proto.tls.clienthello import TLSError
from g3.servers.http_rproxy.config import HTTPHost, HTTPRProxyConfig
from g3.servers.http_rproxy.sites import Sites, SiteTarget
from g3.task import ClientInfo, Upstream

INFO = ClientInfo(("203.0.113.7", 4711), ("2001:db8::1", 80), ("203.0.113.7", 4711))
OPEN, OTHER = ServerTLSOptions(), ServerTLSOptions(session_id_context="other")
CLOSED = ServerTLSOptions(enable_client_auth=True)


def host(name: str, tls: ServerTLSOptions | None = None) -> HTTPHost:
    return HTTPHost(upstream=Upstream(name, 81), tls_server=tls)


class SitesCase(SynchronousTestCase):
    """Hosts a.test, [2001:db8::9] and those below b.test."""

    def make(self, default: HTTPHost | None = None, **keys: Any) -> Sites:
        exact = (("a.test", host("a.inside")), ("2001:db8::9", host("six.inside")))
        hosts = HostMatch(exact, (("b.test", host("b.inside")),), default)
        self.made: list[ServerTLSOptions] = []
        return Sites(HTTPRProxyConfig(name="s", escaper="e", **{"hosts": hosts, **keys}), self.serve_tls)

    def serve_tls(self, options: ServerTLSOptions) -> Any:
        self.made.append(options)
        return object()

    def target(self, head: bytes, sites: Sites | None = None, side: Any = None) -> tuple[SiteTarget, Any]:
        sites = sites or self.make()
        request = parse_request(head)
        name, uri = sites.read(request)
        return sites.target(name, uri, side), request


class TargetTests(SitesCase):
    """Without TLS."""

    def test_a_host_has_many_spellings(self) -> None:
        """Case, port and a last dot make no other one; nor do the ways to write an address."""
        for value, upstream in (
            (b"A.test:8080", "a.inside"),
            (b"a.test.", "a.inside"),
            (b"x.y.B.test", "b.inside"),
            (b"b.test", "b.inside"),
            (b"[2001:DB8:0::9]:80", "six.inside"),
        ):
            target, _ = self.target(b"GET / HTTP/1.1\r\nHost: " + value + b"\r\n\r\n")
            self.assertEqual(str(target.upstream), f"{upstream}:81", value)
        for value in (b"test", b"xb.test", b"[2001:db8::1]", b"192.0.2.1", b""):
            error = self.assertRaises(ProtocolError, self.target, b"GET / HTTP/1.1\r\nHost: " + value + b"\r\n\r\n")
            self.assertEqual(error.status, 400, value)

    def test_the_default_takes_the_rest(self) -> None:
        """Addresses too, but not requests without a Host."""
        sites = self.make(host("rest.inside"))
        for value in (b"test", b"192.0.2.1:1"):
            target, _ = self.target(b"GET / HTTP/1.1\r\nHost: " + value + b"\r\n\r\n", sites)
            self.assertEqual(target.upstream.host, "rest.inside")
        self.assertRaises(ProtocolError, self.target, b"GET / HTTP/1.0\r\n\r\n", sites)

    def test_a_next_proxy_is_told_of_the_upstream(self) -> None:
        """In the target; Host is the client's all the same. The log has what the client wrote."""
        target, request = self.target(b"GET http://[2001:db8::9]:5/x?y HTTP/1.1\r\nHost: [2001:DB8::9]\r\n\r\n")
        expected = b"GET http://six.inside:81/x?y HTTP/1.1\r\nHost: [2001:db8::9]:5\r\nVia: HTTP/1.1 [2001:db8::9]\r\n\r\n"
        self.assertEqual(target.head(request, True, b"", True), expected)
        self.assertEqual(target.logged(request), b"http://[2001:db8::9]:5/x?y")

    def test_lines_about_the_client(self) -> None:
        for append, lines in (
            (ForwardedHeader.CLASSIC, (b"X-Forwarded-For: 203.0.113.7",)),
            (ForwardedHeader.STANDARD, (b'Forwarded: for="203.0.113.7:4711";by="[2001:db8::1]:80"',)),
            (ForwardedHeader.DISABLE, ()),
        ):
            self.assertEqual(self.make(append_forwarded_for=append).hop_lines(INFO), lines)


class TLSTests(SitesCase):
    """By whose rules."""

    def test_the_same_rules_are_the_same_tls(self) -> None:
        """And a certificate that one host asked for is good for another with the same rules, and for no other."""
        hosts = HostMatch((("a.test", host("a", CLOSED)), ("b.test", host("b", CLOSED)), ("c.test", host("c", OTHER)), ("d.test", host("d"))))
        sites = self.make(enable_tls_server=True, global_tls_server=OPEN, hosts=hosts)
        self.assertEqual(len(self.made), 3)
        asked = sites.tls_for("a.test")
        self.assertIs(sites.tls_for("b.test"), asked)
        self.assertIs(sites.tls_for("d.test"), sites.tls_for("unknown.test"))
        for name in (b"a", b"b", b"c", b"d"):
            self.target(b"GET / HTTP/1.1\r\nHost: " + name + b".test\r\n\r\n", sites, asked)
        for side in (None, sites.tls_for("c.test"), sites.tls_for("")):
            error = self.assertRaises(ProtocolError, self.target, b"GET / HTTP/1.1\r\nHost: b.test\r\n\r\n", sites, side)
            self.assertEqual(error.status, 421)

    def test_a_client_that_asks_for_nobody_gets_the_default_host(self) -> None:
        """Which may have none."""
        sites = self.make(host("rest", OTHER), enable_tls_server=True, global_tls_server=OPEN)
        self.assertIsNot(sites.tls_for(""), sites.tls_for("a.test"))
        hosts = HostMatch((("a.test", host("a", OPEN)),))
        sites = self.make(enable_tls_server=True, hosts=hosts)
        sites.tls_for("a.test")
        for name in ("", "b.test"):
            self.assertRaises(TLSError, sites.tls_for, name)

    def test_without_it_nothing_is_made(self) -> None:
        """A tls_server that is not used asks nobody for anything."""
        sites = self.make(hosts=HostMatch((("a.test", host("a", CLOSED)),)))
        self.target(b"GET / HTTP/1.1\r\nHost: a.test\r\n\r\n", sites)
        self.assertEqual(self.made, [])
