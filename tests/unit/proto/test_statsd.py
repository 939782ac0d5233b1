# SPDX-License-Identifier: Apache-2.0
"""statsd lines and datagrams."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from g3.proto.statsd import MAX_TAG_VALUE, encode_line, encode_tags, encode_value, pack


class LineTest(SynchronousTestCase):
    """One line."""

    def test_counter_and_gauge(self) -> None:
        """With and without tags."""
        self.assertEqual(encode_line("a.b", "c", 20), b"a.b:20|c\n")
        self.assertEqual(encode_line("a.b", "g", 20, "t:v,u:w"), b"a.b:20|g|#t:v,u:w\n")

    def test_numbers_have_no_exponent(self) -> None:
        """statsd servers read digits."""
        self.assertEqual([encode_value(value) for value in (0, -3, 10**21, 0.5, 1.0, 1e-9, -1e-9, 1e15)],
                         ["0", "-3", "1" + "0" * 21, "0.5", "1", "0", "0", "1000000000000000"])  # fmt: skip

    def test_tag_values_are_made_safe_and_bounded(self) -> None:
        """Separators become underscores; a long value is cut."""
        self.assertEqual(encode_tags([("k", "a,b|c#d\ne\r\0f g:h")]), "k:a_b_c_d_e__f_g:h")
        self.assertEqual(len(encode_tags([("k", "x" * 1000)])), 2 + MAX_TAG_VALUE)

    def test_a_value_that_is_no_unicode_still_makes_a_line(self) -> None:
        """A lone surrogate becomes a question mark."""
        self.assertEqual(encode_line("a", "c", 1, encode_tags([("k", "\udc80")])), b"a:1|c|#k:?\n")


class PackTest(SynchronousTestCase):
    """Lines into datagrams."""

    def test_lines_are_packed_whole_and_in_order(self) -> None:
        """As many as fit."""
        self.assertEqual(list(pack([b"aaa\n", b"bbb\n", b"ccc\n"], 8)), [(b"aaa\nbbb\n", 2), (b"ccc\n", 1)])

    def test_a_line_longer_than_a_datagram_goes_alone(self) -> None:
        """It is not cut."""
        self.assertEqual(list(pack([b"a\n", b"b" * 20 + b"\n", b"c\n"], 8)), [(b"a\n", 1), (b"b" * 20 + b"\n", 1), (b"c\n", 1)])

    def test_nothing_makes_no_datagram(self) -> None:
        """Not an empty one."""
        self.assertEqual(list(pack([], 8)), [])
