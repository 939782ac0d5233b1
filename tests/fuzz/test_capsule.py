# SPDX-License-Identifier: Apache-2.0
"""Capsules: what was put in comes out whatever is between, and no bytes are worse than refused."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from g3.errors import ProtocolError
from g3.proto.capsule import CapsuleReader, read_varint, udp_capsule, varint

MANY = settings(max_examples=1000, deadline=None, database=None)
CAPSULES = st.lists(st.tuples(st.one_of(st.just(0), st.integers(1, (1 << 62) - 1)), st.binary(max_size=300)))


class CapsuleTests(SynchronousTestCase):
    @MANY
    @given(st.integers(0, (1 << 62) - 1), st.binary(max_size=9))
    def test_integers_are_those_of_quic(self, number: int, more: bytes) -> None:
        """As RFC 9000 section 16 spells them: the two highest bits are the size."""
        coded = varint(number)
        self.assertEqual(coded[0] >> 6, (1, 2, 4, 8).index(len(coded)))
        self.assertEqual(int(coded.hex(), 16) - (coded[0] >> 6 << 8 * len(coded) - 2), number)
        self.assertEqual(read_varint(coded + more, 0), (number, len(coded)))

    @MANY
    @given(CAPSULES, st.data())
    def test_any_mixture_in_any_pieces(self, capsules: list[tuple[int, bytes]], data: st.DataObject) -> None:
        """What was put in comes out, in order."""
        coded = b"".join(udp_capsule(value) if kind == 0 else varint(kind) + varint(len(value)) + value for kind, value in capsules)
        reader, got, at = CapsuleReader(), [], 0
        while at < len(coded):
            size = data.draw(st.integers(1, len(coded) - at))
            got += reader.feed(coded[at : at + size])
            at += size
        self.assertEqual(got, [value for kind, value in capsules if kind == 0])

    @MANY
    @given(st.lists(st.binary(max_size=100), max_size=20))
    def test_no_bytes_are_worse_than_refused(self, pieces: list[bytes]) -> None:
        """And memory is bounded."""
        reader = CapsuleReader()
        for piece in pieces:
            try:
                reader.feed(piece)
            except ProtocolError:
                return
            self.assertLess(len(reader._buffer), 65536 + 32)
