# SPDX-License-Identifier: Apache-2.0
"""Fields with a grammar of their own: Basic credentials are those that requests writes, and Via is found wherever it is."""

from __future__ import annotations

from base64 import b64encode

from hypothesis import given, settings
from hypothesis import strategies as st
from requests.auth import _basic_auth_str
from twisted.trial.unittest import SynchronousTestCase

from g3.proto.http1.basic import challenge, parse_basic, split_basic
from g3.proto.http1.headers import TOKEN, HTTPError
from g3.proto.http1.hops import came_by, pseudonym, via_line

MANY = settings(max_examples=1000, deadline=None, database=None)

TEXT = st.text(st.characters(exclude_categories=("Cc", "Cs")), max_size=20)
NAMES = st.text(st.sampled_from(TOKEN.decode()), min_size=1, max_size=10).map(str.encode)
SPACES = st.sampled_from([b" ", b"  ", b"\t", b" \t"])
PADDING = st.sampled_from([b"", b" ", b"\t "])
COMMENTS = st.sampled_from([b"", b" (x)", b"\t(a, b)"])
OTHERS = st.builds(lambda name, space, comment: b"1.1" + space + b"not-" + name + comment, NAMES, SPACES, COMMENTS)


class BasicTests(SynchronousTestCase):
    @MANY
    @given(TEXT.filter(lambda name: ":" not in name), TEXT)
    def test_what_another_client_writes_is_read(self, user: str, password: str) -> None:
        """In UTF-8; the password may have colons."""
        value = _basic_auth_str(user.encode(), password.encode())
        self.assertEqual(parse_basic(value.encode()), (user, password))

    @MANY
    @given(st.one_of(st.binary(max_size=40), st.binary(max_size=40).map(lambda data: b"bAsIC  " + b64encode(data))))
    def test_anything_is_read_or_a_400(self, value: bytes) -> None:
        """And no control character gets through."""
        split_basic(value)
        try:
            found = parse_basic(value)
        except HTTPError as error:
            self.assertEqual(error.status, 400)
        else:
            self.assertTrue(all(character >= " " for part in found for character in part))

    @MANY
    @given(st.text(st.characters(max_codepoint=127), max_size=20))
    def test_a_realm_is_one_quoted_string(self, realm: str) -> None:
        """Read back by the rules of RFC 9110 section 5.6.4."""
        line = challenge(b"WWW-Authenticate", realm).decode()
        quoted = line.removeprefix('WWW-Authenticate: Basic realm="').removesuffix('"')
        read, escaped = "", False
        for character in quoted:
            self.assertFalse(character == '"' and not escaped)
            if character == "\\" and not escaped:
                escaped = True
                continue
            read, escaped = read + character, False
        self.assertFalse(escaped)
        self.assertEqual(read, "".join(filter(str.isprintable, realm)))


class ViaTests(SynchronousTestCase):
    @MANY
    @given(st.text(st.characters(max_codepoint=255), min_size=1, max_size=10), st.lists(OTHERS, max_size=4), st.integers(0, 4), PADDING, COMMENTS)
    def test_what_we_wrote_is_found_among_others(self, name: str, others: list[bytes], at: int, padding: bytes, comment: bytes) -> None:
        """Alone, or put into one field with others by somebody on the way."""
        ours = pseudonym(name)
        self.assertFalse(ours.translate(None, TOKEN))
        line = via_line(11, ours)
        joined = b"Via:" + (padding + b"," + padding).join([*others[:at], line[4:] + comment, *others[at:]])
        self.assertTrue(came_by([b"Via: " + other for other in others] + [line], ours))
        self.assertTrue(came_by([joined], ours.swapcase()))
        if not ours.lower().startswith(b"not-"):
            self.assertFalse(came_by([b"Via: " + other for other in others], ours))

    @MANY
    @given(st.lists(st.binary(max_size=40), max_size=3), NAMES)
    def test_anything_may_stand_there(self, values: list[bytes], name: bytes) -> None:
        """It is found, or not."""
        self.assertIn(came_by([b"Via: " + value for value in values], name), (True, False))
