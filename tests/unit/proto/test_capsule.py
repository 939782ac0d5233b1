# SPDX-License-Identifier: Apache-2.0
"""Tests of g3.proto.capsule."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from g3.errors import ProtocolError
from g3.proto.capsule import LONGEST, CapsuleReader, read_varint, udp_capsule, varint


def capsule(kind: int, value: bytes) -> bytes:
    return varint(kind) + varint(len(value)) + value


class VarintTests(SynchronousTestCase):
    def test_the_examples_of_rfc_9000(self) -> None:
        """Appendix A.1."""
        for coded, number in (("c2197c5eff14e88c", 151288809941952652), ("9d7f3e7d", 494878333), ("7bbd", 15293), ("25", 37), ("4025", 37)):
            self.assertEqual(read_varint(bytes.fromhex(coded), 0), (number, len(coded) // 2))
        for coded, number in (("c2197c5eff14e88c", 151288809941952652), ("9d7f3e7d", 494878333), ("7bbd", 15293), ("25", 37)):
            self.assertEqual(varint(number).hex(), coded)
        self.assertRaises(ValueError, varint, 1 << 62)

    def test_one_that_is_not_all_there(self) -> None:
        self.assertEqual(read_varint(b"", 0), (-1, 0))
        self.assertEqual(read_varint(b"\x25\x7b", 1), (-1, 1))


class ReaderTests(SynchronousTestCase):
    def test_payloads_come_out_however_the_bytes_come(self) -> None:
        """Empty ones too."""
        data = udp_capsule(b"one") + udp_capsule(b"") + udp_capsule(b"x" * 1400)
        for step in (1, 2, 3, 7, len(data)):
            reader = CapsuleReader()
            got = [payload for at in range(0, len(data), step) for payload in reader.feed(data[at : at + step])]
            self.assertEqual(got, [b"one", b"", b"x" * 1400], step)

    def test_what_is_not_known_is_passed_over(self) -> None:
        """Other capsules, however long, and other contexts; nothing of them is kept."""
        reader = CapsuleReader()
        self.assertEqual(reader.feed(capsule(0x2A, b"y" * 9) + capsule(0, varint(2) + b"z") + udp_capsule(b"a")), [b"a"])
        self.assertEqual(reader.feed(varint(0x17) + varint(1 << 40)), [])
        for _ in range(64):
            self.assertEqual(reader.feed(b"n" * 65536), [])
        self.assertEqual(len(reader._buffer), 0)

    def test_the_longest_payload(self) -> None:
        """65527 bytes; one more is refused before it is read."""
        self.assertEqual(CapsuleReader().feed(udp_capsule(b"a" * LONGEST)), [b"a" * LONGEST])
        self.assertRaises(ProtocolError, CapsuleReader().feed, udp_capsule(b"a" * (LONGEST + 1)))
        self.assertRaises(ProtocolError, CapsuleReader().feed, varint(0) + varint(1 << 30))

    def test_a_datagram_has_a_context(self) -> None:
        for value in (b"", b"\x40", b"\xc0\0\0"):
            self.assertRaises(ProtocolError, CapsuleReader().feed, capsule(0, value))
