# SPDX-License-Identifier: Apache-2.0
"""Request targets: the host and the port are those that urllib and hyperlink find, and what is written again reads the same."""

from __future__ import annotations

from ipaddress import IPv6Address
from urllib.parse import urlsplit

from hyperlink import URL
from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from g3.proto.http1.headers import HTTPError
from g3.proto.http1.uri import ABSOLUTE, AUTHORITY, parse_target, parse_well_known
from g3.proto.http1.uri import PORTS as DEFAULT_PORTS

MANY = settings(max_examples=1000, deadline=None, database=None)

VISIBLE = st.binary(max_size=60).map(lambda data: bytes(byte for byte in data if byte > 0x20 and byte != 0x7F))
GOOD_HOSTS = [b"a", b"A.B", b"a.b.", b"1.2.3.4", b"[::1]", b"[2001:DB8::1]", b"[::ffff:1.2.3.4]", b"b\xc3\xbccher.de", b"xn--bcher-kva.de", b"a_b"]
BAD_HOSTS = [b"", b"a..b", b"1.2.3", b"[::1", b"[::1%25a]", b"a%41", b"a b", b"-", b"\xff", b"0x1", b"1.2.3.04", b"a,b", b"[v1.a]"]
HOSTS = st.sampled_from([*GOOD_HOSTS, *BAD_HOSTS])
PORTS = st.sampled_from([b"", b"", b":", b":80", b":8080", b":0", b":65536", b":080", b":+1", b":1:2", b":a", b": 1"])
USERS = st.sampled_from([b"", b"", b"", b"u@", b"u:p@", b"u%40:p@", b"u@v@", b"@", b"u\\@", b"%@"])
ODD_PATHS = st.sampled_from([b"", b"/", b"/x?y=z", b"?q", b"?q@h/", b"#f", b"/a#f", b"/a@b:c", b"\\x", b"//x"])
PATHS = st.one_of(ODD_PATHS, VISIBLE.map(lambda data: b"/" + data))
SCHEMES = st.sampled_from([b"http://", b"http://", b"HTTP://", b"https://", b"ftp://", b"ws://", b"http:/", b"http:", b"//", b""])
TARGETS = st.one_of(st.builds(lambda *parts: b"".join(parts), SCHEMES, USERS, HOSTS, PORTS, PATHS), VISIBLE)
METHODS = st.sampled_from([b"GET", b"GET", b"OPTIONS", b"CONNECT"])


class Targets(SynchronousTestCase):
    @MANY
    @given(METHODS, TARGETS)
    def test_only_http_errors(self, method: bytes, data: bytes) -> None:
        """Any target is parsed, or refused as 400 or 501; a parsed host is printable and lower case."""
        for parse in (parse_target, parse_well_known):
            try:
                target = parse(method, data)
            except HTTPError as error:
                self.assertIn(error.status, {400, 501})
                continue
            self.assertTrue(target.host.isascii() and target.host == target.host.lower() and "@" not in target.host and "/" not in target.host)
            if target.form in {ABSOLUTE, AUTHORITY}:
                self.assertTrue(target.host and 0 < target.port < 65536)
            if target.form == ABSOLUTE:
                self.assertIn(target.path_query[:1], {b"/", b"*"})
                self.assertFalse(any(byte <= 0x20 or byte == 0x7F for byte in target.path_query))

    @MANY
    @given(METHODS, TARGETS)
    def test_what_is_written_reads_the_same(self, method: bytes, data: bytes) -> None:
        """A next proxy that reads our absolute-form finds the same host, port and path; a login only where it is that of the ftp server."""
        try:
            target = parse_target(method, data)
        except HTTPError:
            return
        if target.form == ABSOLUTE:
            again = parse_target(method, target.absolute())
            self.assertEqual(
                (again.scheme, again.host, again.port, again.path_query), (target.scheme, target.host, target.port, target.path_query), target
            )
            self.assertEqual(again.userinfo, (target.userinfo or None) if target.scheme == "ftp" else None, target)

    @MANY
    @given(TARGETS)
    def test_others_find_the_same_host_and_port(self, data: bytes) -> None:
        try:
            target = parse_target(b"GET", data)
        except HTTPError:
            return
        if target.form != ABSOLUTE:
            return
        written = target.absolute().decode("latin-1")
        split = urlsplit(written)
        self.assertEqual((split.scheme, split.hostname, split.port), (target.scheme, target.host, target.port))
        if "%" not in written:  # hyperlink checks percent-encoding, we pass it on
            url = URL.from_text(written)
            self.assertEqual((url.scheme, url.host, url.port), (target.scheme, target.host, target.port))
        if data.isascii() and b"\\" not in data:
            raw = urlsplit(data.decode())
            host = (raw.hostname or "").removesuffix(".")
            if ":" in host:
                ip = IPv6Address(host)
                host = str(ip.ipv4_mapped or ip)
            self.assertEqual((host, raw.port or DEFAULT_PORTS[target.scheme]), (target.host, target.port))
