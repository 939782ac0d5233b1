# SPDX-License-Identifier: Apache-2.0
"""DER as certificates have it; C{cryptography} and Python's own numbers are the oracles."""

from __future__ import annotations

from datetime import UTC, datetime

from cryptography.hazmat.primitives.asymmetric.utils import encode_dss_signature
from cryptography.x509 import ObjectIdentifier, UnrecognizedExtension
from twisted.trial.unittest import SynchronousTestCase

from g3.proto import der


class WriteTests(SynchronousTestCase):
    def test_integers_are_positive(self) -> None:
        """A first bit of one gets a byte before it. The oracle writes a pair of integers."""
        for value in (1, 127, 128, 255, 256, 1 << 127, (1 << 128) - 1, 1 << 2047):
            self.assertEqual(der.write(der.SEQUENCE, der.integer(value), der.integer(1)), encode_dss_signature(value, 1))
        self.assertEqual(der.integer(0), b"\x02\x01\x00")

    def test_long_contents_have_long_lengths(self) -> None:
        for size, head in ((127, b"\x04\x7f"), (128, b"\x04\x81\x80"), (256, b"\x04\x82\x01\x00"), (65536, b"\x04\x83\x01\x00\x00")):
            self.assertEqual(der.write(der.OCTET_STRING, bytes(size)), head + bytes(size))

    def test_object_identifiers_are_read_back(self) -> None:
        for dotted in ("2.5.4.3", "1.2.840.113549.1.1.11", "1.2.156.10197.1.501", "1.3.101.112", "2.999.1", "0.0"):
            written = der.oid(dotted)
            self.assertEqual(der.read_oid(der.read_one(written, der.OID)), dotted)
            UnrecognizedExtension(ObjectIdentifier(dotted), b"")

    def test_times_before_2050_are_short(self) -> None:
        for moment, written in (
            (datetime(2049, 12, 31, 23, 59, 59, tzinfo=UTC), b"\x17\x0d491231235959Z"),
            (datetime(2050, 1, 1, tzinfo=UTC), b"\x18\x0f20500101000000Z"),
            (datetime(1970, 1, 1, tzinfo=UTC), b"\x17\x0d700101000000Z"),
        ):
            self.assertEqual(der.time(moment), written)
            self.assertEqual(der.read_time(written), moment)


class ReadTests(SynchronousTestCase):
    def test_values_are_cut_apart_unchanged(self) -> None:
        inner = der.integer(5) + der.write(der.OCTET_STRING, bytes(300)) + der.write(der.NULL)
        whole = der.write(der.SEQUENCE, inner)
        value = der.read_one(whole, der.SEQUENCE)
        self.assertEqual((value.content, value.whole), (inner, whole))
        self.assertEqual(b"".join(part.whole for part in der.read(inner)), inner)

    def test_what_is_no_der_is_refused(self) -> None:
        for data in (b"", b"\x30", b"\x30\x05abc", b"\x30\x80", b"\x30\x85\x00\x00\x00\x00\x01a", b"\x3f\x81\x01a", b"\x30\x81"):
            self.assertRaises(der.DERError, der.read_one, data, der.SEQUENCE)
        self.assertRaises(der.DERError, der.read_one, der.integer(1) + b"x", der.INTEGER)
        self.assertRaises(der.DERError, der.read_one, der.integer(1), der.SEQUENCE)

    def test_what_is_no_time_is_refused(self) -> None:
        for text in (b"260101000000", b"2601010000Z", b"261301000000Z", b"260101000000+0000Z", b"26010100000xZ"):
            self.assertRaises(der.DERError, der.read_time, der.write(der.UTC_TIME, text))

    def test_what_is_no_object_identifier_is_refused(self) -> None:
        for content in (b"", b"\x2a\x86", b"\x2a" + b"\x81" * 100 + b"\x01"):
            self.assertRaises(der.DERError, der.read_oid, der.Value(der.OID, content, b""))
