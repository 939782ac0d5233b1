# SPDX-License-Identifier: Apache-2.0
"""Tests of g3.proto.http1.hops."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from g3.proto.http1.hops import came_by, forwarded, pseudonym, via_line, x_forwarded_for


class ViaTests(SynchronousTestCase):
    """Via, written and looked into (RFC 9110 section 7.6.3)."""

    def test_a_name_is_found_in_every_element(self) -> None:
        """Of every field, whatever its case; a protocol, a port or a part of a word is not it."""
        for value in (b"1.1 me", b"HTTP/1.1\tMe (and a comment)", b"1.0 a, ,1.1  me", b"1.0 a (x, y), 1.1 me"):
            self.assertTrue(came_by([b"X: y", b"vIA: " + value], b"me"), value)
        self.assertTrue(came_by([b"Via: 1.1 a", b"Via: 1.1 ME"], b"me"))
        for value in (b"", b",", b"me", b"me 1.1", b"1.1 me:80", b"1.1 some", b"1.1 a me"):
            self.assertFalse(came_by([b"Via: " + value], b"me"), value)

    def test_what_cannot_stand_in_a_token_is_a_hyphen(self) -> None:
        self.assertEqual(pseudonym('edge 1/"x"'), b"edge-1--x-")
        self.assertEqual(via_line(10, b"me"), b"Via: HTTP/1.0 me")


class ForwardedTests(SynchronousTestCase):
    """Whom a request is from."""

    def test_addresses_with_a_port_are_quoted(self) -> None:
        """And IPv6 ones have brackets (RFC 7239 section 6)."""
        self.assertEqual(forwarded(("192.0.2.1", 5), ("2001:db8::1", 80)), b'Forwarded: for="192.0.2.1:5";by="[2001:db8::1]:80"')
        self.assertEqual(x_forwarded_for(("2001:db8::1", 80)), b"X-Forwarded-For: 2001:db8::1")
