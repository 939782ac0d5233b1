# SPDX-License-Identifier: Apache-2.0
"""Tests of g3.proto.socks: what is read, what is refused, and how soon."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from twisted.trial.unittest import SynchronousTestCase

from g3.proto.socks import MAX_MESSAGE, v4, v5
from g3.proto.socks.address import SocksError, name_of, write_address

if TYPE_CHECKING:
    from collections.abc import Callable


class MessageCase(SynchronousTestCase):
    def grows(self, parse: Callable[[bytes], Any], message: bytes) -> Any:
        """What a message says; every beginning of it wants more, and bytes behind it change nothing."""
        for size in range(len(message)):
            self.assertIsNone(parse(message[:size]), f"{size} bytes")
        self.assertEqual(parse(message + b"more"), parse(message))
        return parse(message)

    def refused(self, parse: Callable[[bytes], Any], data: bytes) -> SocksError:
        return self.assertRaises(SocksError, parse, data)  # type: ignore[no-any-return]


class V4Tests(MessageCase):
    """SOCKS 4 and 4a."""

    def test_an_address(self) -> None:
        request, end = self.grows(v4.parse_request, b"\4\1\0\x50\1\2\3\4me\0")
        self.assertEqual((request, end), (v4.Request(v4.CONNECT, "1.2.3.4", 80, "me"), 11))

    def test_a_name_follows_the_user_id(self) -> None:
        request, _ = self.grows(v4.parse_request, b"\4\1\1\xbb\0\0\0\7\0Example.COM\0")
        self.assertEqual(request, v4.Request(v4.CONNECT, "example.com", 443, ""))

    def test_0_0_0_0_is_an_address(self) -> None:
        self.assertEqual(self.grows(v4.parse_request, b"\4\2\0\x50\0\0\0\0\0")[0].host, "0.0.0.0")

    def test_texts_without_an_end_are_refused_at_their_bound(self) -> None:
        """A user id of 511 bytes is one; the 512th that is no NUL is too much, and a megabyte is never looked at."""
        head = b"\4\1\0\x50\1\2\3\4"
        self.assertEqual(v4.parse_request(head + b"u" * 511 + b"\0")[1], 8 + 512)  # type: ignore[index]
        self.assertIsNone(v4.parse_request(head + b"u" * 511))
        self.refused(v4.parse_request, head + b"u" * 512)
        self.refused(v4.parse_request, head + b"u" * (1 << 20))
        name = b"\4\1\0\x50\0\0\0\1\0"
        self.assertIsNone(v4.parse_request(name + b"a" * 255))
        self.refused(v4.parse_request, name + b"a" * 256)
        self.assertEqual(MAX_MESSAGE, 8 + 512 + 256)

    def test_what_is_wrong_is_refused_as_soon_as_it_is_there(self) -> None:
        self.refused(v4.parse_request, b"\4\3")
        self.refused(v4.parse_request, b"\4\1\0\x50\1\2\3\4\xff\xff\0")
        self.refused(v4.parse_request, b"\4\1\0\x50\0\0\0\1\0\0")
        self.refused(v4.parse_request, b"\4\1\0\x50\0\0\0\1\0a b\0")

    def test_requests_and_replies_of_ours_are_read(self) -> None:
        self.assertEqual(v4.parse_request(v4.request(v4.CONNECT, "a.test", 1, "x"))[0], v4.Request(1, "a.test", 1, "x"))  # type: ignore[index]
        self.assertEqual(self.grows(v4.parse_reply, v4.reply(v4.GRANTED, "1.2.3.4", 5)), (90, "1.2.3.4", 5, 8))
        self.refused(v4.parse_reply, b"\4")
        for wrong in (("::1", ""), ("a" * 256, ""), ("a.test", "u" * 512), ("a.test", "u\0")):
            self.assertRaises(ValueError, v4.request, v4.CONNECT, wrong[0], 1, wrong[1])


class V5Tests(MessageCase):
    """SOCKS 5."""

    def test_methods(self) -> None:
        self.assertEqual(self.grows(v5.parse_methods, b"\5\3\0\1\2"), (b"\0\1\2", 5))
        self.assertEqual(v5.parse_methods(b"\5\xfe" + bytes(254)), (bytes(254), 256))
        self.assertIsNone(v5.parse_methods(b"\5\xff" + bytes(254)))

    def test_no_method_and_method_255_are_greetings(self) -> None:
        """The answer is for who chooses."""
        self.assertEqual(v5.parse_methods(b"\5\0"), (b"", 2))
        self.assertEqual(v5.parse_methods(b"\5\1\xff"), (b"\xff", 3))
        self.refused(v5.parse_methods, b"\4")

    def test_credentials(self) -> None:
        self.assertEqual(self.grows(v5.parse_credentials, b"\1\2me\3\xc3\xa9x"), ("me", "\xe9x", 8))
        self.assertEqual(self.grows(v5.parse_credentials, b"\1\0\0"), ("", "", 3))
        self.refused(v5.parse_credentials, b"\5")
        self.refused(v5.parse_credentials, b"\1\1\xff\1x")

    def test_requests(self) -> None:
        self.assertEqual(self.grows(v5.parse_request, b"\5\1\0\1\1\2\3\4\0\x50"), (v5.Request(1, "1.2.3.4", 80), 10))
        self.assertEqual(self.grows(v5.parse_request, b"\5\3\0\4" + bytes(15) + b"\1\0\x50"), (v5.Request(3, "::1", 80), 22))
        self.assertEqual(self.grows(v5.parse_request, b"\5\2\0\3\6A.test\0\x50"), (v5.Request(2, "a.test", 80), 13))
        self.assertEqual(v5.parse_request(b"\5\1\0\4" + bytes(10) + b"\xff\xff\1\2\3\4\0\1")[0].host, "1.2.3.4")  # type: ignore[index]

    def test_a_name_in_udp_associate_is_answered_8_but_for_the_one_that_stands_for_none(self) -> None:
        self.assertEqual(self.grows(v5.parse_request, b"\5\3\0\3\0010\0\7"), (v5.Request(v5.UDP_ASSOCIATE, "", 7), 8))
        for wrong in (b"\5\3\0\3\6", b"\5\3\0\3\0", b"\5\3\0\3\1x"):
            self.assertEqual(self.refused(v5.parse_request, wrong).reply, v5.NO_ADDRESS_TYPE)

    def test_an_address_type_that_does_not_exist_is_answered_8(self) -> None:
        self.assertEqual(self.refused(v5.parse_request, b"\5\1\0\2").reply, v5.NO_ADDRESS_TYPE)

    def test_an_empty_name_is_refused_before_its_port(self) -> None:
        self.assertEqual(self.refused(v5.parse_request, b"\5\1\0\3\0").reply, 0)
        self.refused(v5.parse_request, b"\4")

    def test_replies(self) -> None:
        self.assertEqual(self.grows(v5.parse_reply, v5.reply(v5.SUCCEEDED, ("::1", 1))), (0, "::1", 1, 22))
        for code in range(256):
            self.assertEqual(v5.parse_reply(v5.reply(code)), (code, "0.0.0.0", 0, 10))
        self.assertEqual(self.grows(v5.parse_method_reply, v5.method_reply(v5.USER)), (2, 2))
        self.assertEqual(self.grows(v5.parse_auth_reply, v5.auth_reply(True)), (True, 2))
        self.assertEqual(v5.parse_auth_reply(v5.auth_reply(False)), (False, 2))

    def test_datagrams(self) -> None:
        """The payload may be empty; a fragment and half a header are none."""
        self.assertEqual(v5.parse_datagram(b"\0\0\0\1\1\2\3\4\0\x35"), ("1.2.3.4", 53, 10))
        self.assertEqual(v5.parse_datagram(v5.datagram_header("a.test", 53) + b"x"), ("a.test", 53, 13))
        for wrong in (b"", b"\0\0\0", b"\1\0\0\1\1\2\3\4\0\x35", b"\0\0\1\1\1\2\3\4\0\x35", b"\0\0\0\1\1\2\3\4\0", b"\0\0\0\2"):
            self.refused(v5.parse_datagram, wrong)

    def test_too_long_is_not_written(self) -> None:
        for call in (lambda: write_address("a" * 256, 1), lambda: v5.credentials("u" * 256, ""), lambda: write_address("", 1)):
            self.assertRaises(ValueError, call)


class NameTests(SynchronousTestCase):
    """Names come out in one spelling."""

    def test_addresses_in_text_are_addresses(self) -> None:
        for written, meant in ((b"127.0.0.1", "127.0.0.1"), (b"::FFFF:1.2.3.4", "1.2.3.4"), (b"2001:DB8::1", "2001:db8::1"), (b"A.Test.", "a.test")):
            self.assertEqual(name_of(written), meant)

    def test_what_is_no_host_is_refused(self) -> None:
        for wrong in (b"", b".", b"a b", b"[::1]", b"fe80::1%1", b"a\0b", b"127.1", b"0x7f.1", b"\xff", b"a..b", b"-" * 64):
            self.assertRaises(SocksError, name_of, wrong)
