# SPDX-License-Identifier: Apache-2.0
"""What an ftp:// URI names, and who asks."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from g3.proto.ftp.path import Kind, Login, parse_login, parse_path
from g3.proto.ftp.reply import FTPError


class PathTests(SynchronousTestCase):
    def test_a_path_says_what_it_is(self) -> None:
        """By a slash at its end or by its type; %2F is the root; a query is nothing."""
        for path, kind, name in (
            (b"", Kind.DEFAULT, b"."),
            (b"/", Kind.DEFAULT, b"."),
            (b"//", Kind.DEFAULT, b"."),
            (b"/?x=1", Kind.DEFAULT, b"."),
            (b"/;type=d", Kind.DEFAULT, b"."),
            (b"/a", Kind.ANY, b"a"),
            (b"/a?b/", Kind.ANY, b"a"),
            (b"/a;type=x", Kind.ANY, b"a"),
            (b"/a/", Kind.DIRECTORY, b"a"),
            (b"/a/b", Kind.ANY, b"a/b"),
            (b"/a;type=d", Kind.DIRECTORY, b"a"),
            (b"/a/;type=i", Kind.FILE, b"a/"),
            (b"/a;type=a", Kind.FILE, b"a"),
            (b"/%E6%B5%8B/", Kind.DIRECTORY, "\u6d4b".encode()),
            (b"/%2f/a", Kind.ANY, b"/a"),
            (b"/%2Fetc/", Kind.DIRECTORY, b"/etc"),
            (b"/%2F", Kind.DIRECTORY, b"/"),
            (b"/%2F/", Kind.DIRECTORY, b"/"),
            (b"/a%3Btype=d", Kind.ANY, b"a;type=d"),
        ):
            self.assertEqual(parse_path(path), (kind, name), path)

    def test_no_path_is_a_second_command(self) -> None:
        """CR, LF and NUL are 400."""
        for path in (b"/a%0d%0aDELE%20b", b"/%0A", b"/a/%00;type=i"):
            self.assertEqual(self.assertRaises(FTPError, parse_path, path).status, 400)


class LoginTests(SynchronousTestCase):
    def test_basic_credentials_come_before_the_uri(self) -> None:
        """Those that cannot be read do not count, and a password alone is no login."""
        for userinfo, header, login in (
            (None, None, Login()),
            (b"", None, Login()),
            (b":secret", None, Login()),
            (b"me", None, Login(b"me")),
            (b"me:", None, Login(b"me", b"")),
            (b"m%40e:a:b", None, Login(b"m@e", b"a:b")),
            (b"me:a", b"basic eDp5Og==", Login(b"x", b"y:")),
            (b"me:a", b"Basic eA==", Login(b"me", b"a")),
            (b"me:a", b"Basic !", Login(b"me", b"a")),
            (b"me:a", b"Bearer eDp5", Login(b"me", b"a")),
            (None, b"Basic Onk=", Login()),
        ):
            self.assertEqual(parse_login(userinfo, header), login, (userinfo, header))

    def test_no_login_is_a_second_command(self) -> None:
        """In the URI or the header."""
        self.assertEqual(self.assertRaises(FTPError, parse_login, b"a%0d%0aDELE%20b", None).status, 400)
        self.assertEqual(self.assertRaises(FTPError, parse_login, b"a:b%0a", None).status, 400)
        self.assertEqual(self.assertRaises(FTPError, parse_login, None, b"Basic YQ06Yg==").status, 400)
