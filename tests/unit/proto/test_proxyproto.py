# SPDX-License-Identifier: Apache-2.0
"""The PROXY protocol, both versions, both ways."""

from __future__ import annotations

import struct

from twisted.trial.unittest import SynchronousTestCase

from g3.errors import ProxyProtocolEncodeError
from g3.proto.proxyproto import SIGNATURE, Decoder, Header, ProxyProtocolError, crc32c, encode, encode_local

V4 = (("192.168.0.1", 56324), ("192.168.0.11", 443))
V6 = (("2001:db8::1", 56324), ("2001:db8::11", 443))


def decode(version: int, data: bytes) -> Header:
    decoder = Decoder(version)
    assert decoder.feed(data)
    assert decoder.header is not None
    return decoder.header


def v2(body: bytes, head: bytes = b"\x21\x11") -> bytes:
    return SIGNATURE + head + struct.pack(">H", len(body)) + body


class Encoding(SynchronousTestCase):
    def test_version_1(self) -> None:
        self.assertEqual(encode(1, *V4), b"PROXY TCP4 192.168.0.1 192.168.0.11 56324 443\r\n")
        self.assertEqual(encode(1, *V6), b"PROXY TCP6 2001:db8::1 2001:db8::11 56324 443\r\n")

    def test_version_2(self) -> None:
        self.assertEqual(encode(2, *V4), SIGNATURE + b"\x21\x11\x00\x0c\xc0\xa8\x00\x01\xc0\xa8\x00\x0b\xdc\x04\x01\xbb")
        self.assertEqual(encode(2, *V6)[12:16], b"\x21\x21\x00\x24")
        self.assertEqual(encode(2, *V4, tlvs=[(0xE0, b"ab")])[-5:], b"\xe0\x00\x02ab")

    def test_what_cannot_be_said(self) -> None:
        for version in (1, 2):
            self.assertRaises(ProxyProtocolEncodeError, encode, version, V4[0], V6[1])
        self.assertRaises(ProxyProtocolEncodeError, encode, 2, *V4, tlvs=[(1, b"x" * 65536)])
        self.assertRaises(ProxyProtocolEncodeError, encode, 2, *V4, tlvs=[(1, b"x" * 65535), (1, b"x")])


class Decoding(SynchronousTestCase):
    def test_every_split(self) -> None:
        for version in (1, 2):
            for pair in (V4, V6):
                data = encode(version, *pair)
                for at in range(len(data)):
                    decoder = Decoder(version)
                    self.assertFalse(decoder.feed(data[:at]))
                    self.assertTrue(decoder.feed(data[at:] + b"\r\nrest"))
                    self.assertEqual((decoder.header, decoder.rest), (Header(*pair), b"\r\nrest"))

    def test_nobody(self) -> None:
        self.assertEqual(decode(1, b"PROXY UNKNOWN\r\n"), Header(None, None))
        self.assertEqual(decode(1, b"PROXY UNKNOWN ffff:f... what ever\r\n"), Header(None, None))
        self.assertEqual(decode(2, encode_local()), Header(None, None, local=True))
        self.assertEqual(decode(2, v2(b"anything", b"\x20\x11")), Header(None, None, local=True))
        self.assertEqual(decode(2, v2(b"", b"\x21\x00")), Header(None, None))
        self.assertEqual(decode(2, v2(b"", b"\x21\x10")), Header(None, None))

    def test_mapped_addresses_are_ipv4(self) -> None:
        self.assertEqual(decode(1, b"PROXY TCP6 ::ffff:1.2.3.4 ::ffff:5.6.7.8 1 2\r\n"), Header(("1.2.3.4", 1), ("5.6.7.8", 2)))

    def test_tlvs(self) -> None:
        header = decode(2, encode(2, *V4, tlvs=[(1, b"h2"), (4, b"padding"), (0xE3, b"")]))
        self.assertEqual(header.tlvs, ((1, b"h2"), (0xE3, b"")))

    def test_a_checksum_is_checked(self) -> None:
        self.assertEqual(crc32c(b"123456789"), 0xE3069283)
        empty = encode(2, *V4, tlvs=[(1, b"h2"), (3, bytes(4)), (2, b"name")])
        at = empty.index(b"\x03\x00\x04") + 3
        good = empty[:at] + struct.pack(">I", crc32c(empty)) + empty[at + 4 :]
        self.assertEqual(decode(2, good).client, V4[0])
        self.assertRaises(ProxyProtocolError, decode, 2, empty)
        self.assertRaises(ProxyProtocolError, decode, 2, good.replace(b"name", b"nabe"))
        self.assertRaises(ProxyProtocolError, decode, 2, encode(2, *V4, tlvs=[(3, b"abc")]))
        self.assertRaises(ProxyProtocolError, decode, 2, encode(2, *V4, tlvs=[(3, bytes(4)), (3, bytes(4))]))


class Refusing(SynchronousTestCase):
    def refuse(self, version: int, data: bytes) -> None:
        for pieces in ([data], [data[at : at + 1] for at in range(len(data))]):
            decoder = Decoder(version, 100)
            with self.assertRaises(ProxyProtocolError, msg=repr(data)):
                for piece in pieces:
                    decoder.feed(piece)

    def test_bad_version_1(self) -> None:
        for line in (
            b"GET / HTTP/1.1\r\n",
            b"PROXY TCP4\r\n",
            b"PROXY TCP4 1.2.3.4 5.6.7.8 1\r\n",
            b"PROXY TCP4 1.2.3.4 5.6.7.8 1 2 3\r\n",
            b"PROXY TCP4 1.2.3.4 5.6.7.8 1 65536\r\n",
            b"PROXY TCP4 1.2.3.4 5.6.7.8 1 02\r\n",
            b"PROXY TCP4 1.2.3.4 5.6.7.8 1 +2\r\n",
            b"PROXY TCP4 1.2.3.4 5.6.7.8 -1 2\r\n",
            b"PROXY TCP4 1.2.3.4  5.6.7.8 1 2\r\n",
            b"PROXY TCP4 1.2.3 5.6.7.8 1 2\r\n",
            b"PROXY TCP4 ::1 ::1 1 2\r\n",
            b"PROXY TCP6 1.2.3.4 5.6.7.8 1 2\r\n",
            b"PROXY TCP6 fe80::1%1 ::1 1 2\r\n",
            b"PROXY TCP4 1.2.3.4 5.6.7.8 1 2\n",
            b"PROXY UDP4 1.2.3.4 5.6.7.8 1 2\r\n",
            b"PROXY tcp4 1.2.3.4 5.6.7.8 1 2\r\n",
            b"PROXY  TCP4 1.2.3.4 5.6.7.8 1 2\r\n",
            b"PROXY TCP4 1.2.3.4 5.6.7.8 1 \xb2\r\n",
            b"PROXY UNKNOWN " + b"x" * 92 + b"\r\n",
            encode(2, *V4),
        ):
            self.refuse(1, line)

    def test_the_longest_version_1_header(self) -> None:
        self.assertEqual(decode(1, b"PROXY UNKNOWN " + b"x" * 91 + b"\r\n"), Header(None, None))

    def test_bad_version_2(self) -> None:
        good = encode(2, *V4)[16:]
        for data in (
            encode(1, *V4),
            v2(good, b"\x11\x11"),
            v2(good, b"\x22\x11"),
            v2(good, b"\x21\x12"),
            v2(good, b"\x21\x13"),
            v2(good, b"\x21\x31"),
            v2(good, b"\x21\x41"),
            v2(good[:-1]),
            v2(b""),
            v2(good, b"\x21\x21"),
            v2(good + b"\x01"),
            v2(good + b"\x01\x00"),
            v2(good + b"\x01\x00\x02a"),
            v2(good + bytes(100)),
        ):
            self.refuse(2, data)

    def test_the_first_wrong_byte_is_enough(self) -> None:
        self.refuse(1, b"PROXX")
        self.refuse(2, b"\r\n\r\n\x00\r\nX")
        self.refuse(2, SIGNATURE + b"\x31")
