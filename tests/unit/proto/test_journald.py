# SPDX-License-Identifier: Apache-2.0
"""The journal's native protocol, byte by byte."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from g3.proto.journald import encode_field, encode_fields, field_name


class FieldTest(SynchronousTestCase):
    """One field."""

    def test_names_are_made_to_fit(self) -> None:
        """Upper case, underscores for the rest; what cannot start a name is none."""
        self.assertEqual([field_name(name) for name in ("A_KEY", "a-KeY", "c_rd_bytes", "x9")], ["A_KEY", "A_KEY", "C_RD_BYTES", "X9"])
        self.assertEqual([field_name(name) for name in ("", "_a", "1a", "-a", "é", "a" * 65)], [""] * 6)

    def test_one_line_values(self) -> None:
        """Name, equals sign, value, newline."""
        self.assertEqual(encode_fields([("s", "v"), ("i", 8), ("b", True), ("f", 1.5), ("n", None)]), b"S=v\nI=8\nB=true\nF=1.5\n")

    def test_a_value_with_newlines_goes_with_its_length(self) -> None:
        """Little-endian 64 bits; nothing in the value can look like a field."""
        self.assertEqual(encode_field("key", "v1\nPRIORITY=0"), b"KEY\n\x0d\0\0\0\0\0\0\0v1\nPRIORITY=0\n")

    def test_a_field_without_a_usable_name_is_left_out(self) -> None:
        """The rest goes on."""
        self.assertEqual(encode_fields([("_trusted", "x"), ("a", "b")]), b"A=b\n")

    def test_values_are_bounded_and_never_fail(self) -> None:
        """Cut at the limit; a lone surrogate becomes a question mark."""
        self.assertEqual(encode_field("a", "x" * 100, 10), b"A=" + b"x" * 7 + b"...\n")
        self.assertEqual(encode_field("a", "\udc80"), b"A=?\n")
