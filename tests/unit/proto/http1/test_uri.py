# SPDX-License-Identifier: Apache-2.0
"""Request targets and the well-known URIs."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from g3.proto.http1 import uri
from g3.proto.http1.headers import HTTPError
from g3.proto.http1.uri import Target, parse_authority, parse_host, parse_target, parse_well_known, valid_host


def seen(target: Target) -> tuple[str, str, int, bytes]:
    return target.scheme, target.host, target.port, target.path_query


class Absolute(SynchronousTestCase):
    def check(self, target: bytes, *expected: object, method: bytes = b"GET") -> Target:
        parsed = parse_target(method, target)
        self.assertEqual(parsed.form, uri.ABSOLUTE)
        self.assertEqual(seen(parsed), expected)
        return parsed

    def refuse(self, target: bytes, status: int = 400, method: bytes = b"GET") -> None:
        self.assertEqual(self.assertRaises(HTTPError, parse_target, method, target).status, status, target)

    def test_default_ports(self) -> None:
        self.check(b"http://a/", "http", "a", 80, b"/")
        self.check(b"https://a/b", "https", "a", 443, b"/b")
        self.check(b"ftp://a/b;type=d", "ftp", "a", 21, b"/b;type=d")
        self.check(b"http://a:/", "http", "a", 80, b"/")

    def test_hosts_have_one_spelling(self) -> None:
        self.check(b"HTTP://WWW.Example.COM.:8080/X", "http", "www.example.com", 8080, b"/X")
        self.check(b"http://b\xc3\xbccher.example/", "http", "xn--bcher-kva.example", 80, b"/")
        self.check(b"http://[2001:DB8:0::1]:81/", "http", "2001:db8::1", 81, b"/")
        self.check(b"http://[::ffff:1.2.3.4]/", "http", "1.2.3.4", 80, b"/")
        self.check(b"http://a_b-c.example/", "http", "a_b-c.example", 80, b"/")

    def test_no_path_is_the_root(self) -> None:
        self.check(b"http://a", "http", "a", 80, b"/")
        self.check(b"http://a?q=/x", "http", "a", 80, b"/?q=/x")
        self.check(b"http://a", "http", "a", 80, b"/", method=b"POST")

    def test_no_path_is_the_asterisk_for_options(self) -> None:
        """RFC 9112 section 3.2.4."""
        target = self.check(b"http://a:81", "http", "a", 81, b"*", method=b"OPTIONS")
        self.assertEqual(target.absolute(), b"http://a:81")

    def test_paths_are_not_looked_into(self) -> None:
        path = b"/a%zz/../%2F/?x=100%&y=\xff|{}\\"
        self.assertEqual(self.check(b"http://a" + path, "http", "a", 80, path).absolute(), b"http://a:80" + path)

    def test_a_fragment_is_dropped(self) -> None:
        self.check(b"http://a/b?c#d/e@f", "http", "a", 80, b"/b?c")
        self.check(b"http://a#/d", "http", "a", 80, b"/")
        self.assertEqual(parse_target(b"GET", b"/b#c").path_query, b"/b")

    def test_userinfo_is_kept_apart(self) -> None:
        self.assertEqual(self.check(b"ftp://us%40er:p:w@a:2121/", "ftp", "a", 2121, b"/").userinfo, b"us%40er:p:w")
        self.assertEqual(self.check(b"http://@a/", "http", "a", 80, b"/").userinfo, b"")
        self.assertIsNone(self.check(b"http://a/@b", "http", "a", 80, b"/@b").userinfo)
        self.assertEqual(parse_target(b"GET", b"http://u:p@a/x").absolute(), b"http://a:80/x")
        self.assertEqual(parse_target(b"GET", b"ftp://u:p@a/x").absolute(), b"ftp://u:p@a:21/x")

    def test_an_address_is_written_in_brackets(self) -> None:
        self.assertEqual(parse_target(b"GET", b"https://[::1]/x").absolute(), b"https://[::1]:443/x")

    def test_bad_authorities(self) -> None:
        for name in (
            b"",
            b":80",
            b"a:0",
            b"a:65536",
            b"a:+1",
            b"a: 1",
            b"a:1:2",
            b"a..b",
            b".a",
            b".",
            b"a%2eb",
            b"[::1",
            b"::1",
            b"[::1%25eth0]",
            b"[1.2.3.4]",
            b"[::1]x",
            b"[::1]80",
            b"a\\@b",
            b"a@b@c",
            b"%zz@a",
            b"a<b",
            b"1.2.3",
            b"1.2.3.256",
            b"0x7f000001",
            b"0x7f.1",
            b"017700000001",
            b"127.0.0.01",
            b"a" * 64,
            b".".join([b"a" * 60] * 5),
            b"a" * 600,
            b"\xff\xfe",
            b"xn--\xc3\xbc",
        ):
            self.refuse(b"http://" + name + b"/")

    def test_other_schemes(self) -> None:
        self.refuse(b"gopher://a/", 501)
        self.refuse(b"ws://a/", 501)
        self.refuse(b"http:/a")
        self.refuse(b"http:a")
        self.refuse(b"1http://a/")
        self.refuse(b"://a/")
        self.refuse(b"a:80")
        self.refuse(b"")


class Others(SynchronousTestCase):
    def test_connect(self) -> None:
        target = parse_target(b"CONNECT", b"Origin.Example:8443")
        self.assertEqual((target.form, target.host, target.port), (uri.AUTHORITY, "origin.example", 8443))
        self.assertEqual(parse_target(b"CONNECT", b"a").port, 443)
        self.assertEqual(seen(parse_target(b"CONNECT", b"[::1]:22")), ("", "::1", 22, b""))
        for bad in (b"/", b"http://a/", b"u@a:1", b"a/b", b"::1:22", b"*", b"a:443?x", b"a:443#x"):
            self.assertRaises(HTTPError, parse_target, b"CONNECT", bad)

    def test_origin_form(self) -> None:
        target = parse_target(b"GET", b"//a/b?c")
        self.assertEqual((target.form, target.path_query, target.host), (uri.ORIGIN, b"//a/b?c", ""))

    def test_asterisk_is_for_options(self) -> None:
        self.assertEqual(parse_target(b"OPTIONS", b"*").form, uri.ASTERISK)
        self.assertRaises(HTTPError, parse_target, b"GET", b"*")

    def test_valid_values_of_host(self) -> None:
        for good in (b"", b"a", b"a:80", b"a:", b"[::1]:1", b"1.2.3.4"):
            self.assertTrue(valid_host(good), good)
        for bad in (b" ", b"a,b", b"u@a", b"a/b", b"1.2.3", b"a" * 600):
            self.assertFalse(valid_host(bad), bad)

    def test_authorities_without_a_port(self) -> None:
        self.assertEqual(parse_authority(b"A", 7), ("a", 7))
        self.assertEqual(parse_host(b"A."), "a")

    def test_what_is_remembered_is_bounded(self) -> None:
        for number in range(5000):
            parse_authority(b"h%d.example" % number, 80)
            parse_target(b"GET", b"http://h%d.example/" % number)
        self.assertLessEqual(uri.parse_authority.cache_info().currsize, 4096)
        self.assertLessEqual(uri._parse_site.cache_info().currsize, 4096)


class WellKnown(SynchronousTestCase):
    """Upstream: the easy-proxy and masque/http URIs; everything else is 501."""

    def check(self, path: bytes, *expected: object, method: bytes = b"GET") -> None:
        self.assertEqual(seen(parse_well_known(method, path)), expected)

    def test_easy_proxy(self) -> None:
        prefix = b"/.well-known/easy-proxy"
        self.check(prefix + b"/http/www.Example.com/80/get?name=/foo", "http", "www.example.com", 80, b"/get?name=/foo")
        self.check(prefix + b"/https/a/8443/", "https", "a", 8443, b"/")
        self.check(prefix + b"/ftp/a/21", "ftp", "a", 21, b"/")
        self.check(prefix + b"/http/a/80?x", "http", "a", 80, b"/?x")
        self.check(prefix + b"/http/a/80//b//c", "http", "a", 80, b"//b//c")
        self.check(prefix + b"/http/::1/80/x", "http", "::1", 80, b"/x")
        self.check(prefix + b"/http/[::1]/80/x", "http", "::1", 80, b"/x")
        self.check(prefix + b"/http/%E4%BE%8B%E5%AD%90.com/80/", "http", "xn--fsqu00a.com", 80, b"/")
        self.check(b"//.well-known//easy-proxy/http/a/80/x", "http", "a", 80, b"/x")

    def test_masque_http(self) -> None:
        prefix = b"/.well-known/masque/http/"
        self.check(prefix + b"http%3A%2F%2Fhttpbin.org%2Fget%3Fa%3Db%2525", "http", "httpbin.org", 80, b"/get?a=b%25")
        self.check(prefix + b"https%3a%2f%2fa%3A8443/ignored", "https", "a", 8443, b"/")

    def test_everything_else_is_not_implemented(self) -> None:
        for path in (
            b"/",
            b"/x",
            b"/.well-known",
            b"/.well-known/acme-challenge/x",
            b"/.well-known/easy-proxy",
            b"/.well-known/easy-proxy/http/a",
            b"/.well-known/easy-proxy/gopher/a/80/",
            b"/.well-known/easy-proxy/http/a/x/",
            b"/.well-known/easy-proxy/http/a b/80/",
            b"/.well-known/easy-proxy/http/a%0d%0a/80/",
            b"/.well-known/easy-proxy/http/u@a/80/",
            b"/.well-known/easy-proxy/http/a/0/",
            b"/.well-known/masque/udp/192.0.2.6/443/",
            b"/.well-known/masque/ip/*/*/",
            b"/.well-known/masque/http/",
            b"/.well-known/masque/http/%",
            b"/.well-known/masque/http/http%3A%2F%2Fa%2F%0d%0aX:y",
            b"/.well-known/masque/http/http%3A%2F%2Fa%2F%20HTTP",
            b"/x?/.well-known/easy-proxy/http/a/80/",
        ):
            self.assertEqual(self.assertRaises(HTTPError, parse_well_known, b"GET", path).status, 501, path)

    def test_a_masque_uri_that_is_not_absolute(self) -> None:
        for inner in (b"%3A%3Ainvalid", b"a%2Fb", b"http%3A%2F%2F"):
            self.assertEqual(self.assertRaises(HTTPError, parse_well_known, b"GET", b"/.well-known/masque/http/" + inner).status, 400)
