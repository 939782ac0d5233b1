# SPDX-License-Identifier: Apache-2.0
"""Chunked bodies: passed on unchanged when right, refused when not."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from g3.proto.http1.chunked import ChunkedReader, Unchunked
from g3.proto.http1.headers import HTTPError

GOOD = b'5\r\nhello\r\n0A;a;b=c;d="x;\\"y"\r\n0123456789\r\n000\r\nX-Sum: 1\r\nx-other:\r\n\r\n'


class Passing(SynchronousTestCase):
    def test_a_body_ends_where_it_ends(self) -> None:
        reader = ChunkedReader()
        self.assertEqual(reader.feed(GOOD + b"GET /"), len(GOOD))
        self.assertTrue(reader.done)
        self.assertEqual(reader.payload_bytes, 15)
        self.assertEqual(reader.feed(b"more"), 0)

    def test_the_end_begins_with_the_last_chunk(self) -> None:
        """C{ending}: from its line on, until the empty line after the trailers."""
        begin = GOOD.index(b"000\r\n") + 5
        for at in range(len(GOOD) + 1):
            reader = ChunkedReader()
            reader.feed(GOOD[:at])
            self.assertEqual(reader.ending, begin <= at < len(GOOD), at)

    def test_content_is_taken_out_however_it_is_cut(self) -> None:
        for at in range(len(GOOD) + 1):
            reader = Unchunked(8192)
            content = b""
            for piece in (GOOD[:at], GOOD[at:]):
                reader.feed(piece)
                content += reader.take()
            self.assertEqual((content, reader.done), (b"hello0123456789", True))
        with self.assertRaises(HTTPError) as caught:
            Unchunked(8192).feed(b"zz\r\n")
        self.assertEqual(caught.exception.status, 502)

    def test_every_split_gives_the_same(self) -> None:
        for at in range(len(GOOD) + 1):
            reader = ChunkedReader()
            self.assertEqual(reader.feed(GOOD[:at]), at)
            self.assertEqual(reader.done, at == len(GOOD))
            self.assertEqual(reader.feed(GOOD[at:] + b"x"), len(GOOD) - at)
            self.assertEqual((reader.done, reader.payload_bytes), (True, 15))

    def test_byte_by_byte(self) -> None:
        reader = ChunkedReader()
        for index in range(len(GOOD)):
            self.assertFalse(reader.done)
            self.assertEqual(reader.feed(GOOD[index : index + 1]), 1)
        self.assertTrue(reader.done)

    def test_it_may_begin_behind_a_head(self) -> None:
        reader = ChunkedReader()
        self.assertEqual(reader.feed(bytearray(b"head" + GOOD), 4), 4 + len(GOOD))
        self.assertTrue(reader.done)

    def test_a_held_line_is_told(self) -> None:
        reader = ChunkedReader()
        reader.feed(b"5")
        self.assertTrue(reader.in_line)
        reader.feed(b"\r\nhel")
        self.assertFalse(reader.in_line)
        reader.feed(b"lo")
        self.assertTrue(reader.in_line)


class Refusing(SynchronousTestCase):
    """RFC 9112 section 7.1, without the room that parsers fill differently."""

    def refuse(self, data: bytes, **bounds: int) -> None:
        for pieces in ([data], [data[index : index + 1] for index in range(len(data))]):
            reader = ChunkedReader(**bounds)
            with self.assertRaises(HTTPError, msg=repr(data)) as caught:
                for piece in pieces:
                    reader.feed(piece)
            self.assertEqual(caught.exception.status, bounds.get("status", 400))

    def test_sizes(self) -> None:
        for size in (b"", b" 5", b"5 ", b"5\t", b"+5", b"-5", b"0x5", b"5_0", b"g", b"5h", b"1" * 16, b"5,5"):
            self.refuse(size + b"\r\n")

    def test_line_ends(self) -> None:
        self.refuse(b"5\nhello\r\n")
        self.refuse(b"5\rhello\r\n")
        self.refuse(b"5\r\r\nhello\r\n")
        self.refuse(b"5\r\nhello\n")
        self.refuse(b"5\r\nhello\r0\r\n")
        self.refuse(b"5\r\nhello!\r\n")
        self.refuse(b"5\r\nhello0\r\n\r\n")
        self.refuse(b"0\r\n\n")
        self.refuse(b"51\nhello\r\n")
        self.refuse(b"5;a\nhello\r\n")
        self.refuse(b"0\r\nA: bc\n\r\n")
        self.refuse(b"0\r\n\r\r\n")

    def test_extensions(self) -> None:
        for extension in (b";", b"; a", b" ;a", b";a =b", b";a= b", b";a=", b';a="', b';a="b', b';a="\x01"', b";a=b c", b";a\x00", b";=b", b";a;"):
            self.refuse(b"5" + extension + b"\r\n")

    def test_extensions_are_bounded(self) -> None:
        self.refuse(b"1;" + b"a" * 100 + b"\r\n", max_extension=100)
        self.refuse((b"1;" + b"a" * 49 + b"\r\nx\r\n") * 3, max_extension=100)
        ChunkedReader(max_extension=100).feed(b"1;" + b"a" * 99 + b"\r\n")

    def test_lines_are_bounded(self) -> None:
        self.refuse(b"1;" + b"a" * 98 + b"\r\n", max_line=101)
        ChunkedReader(max_line=102).feed(b"1;" + b"a" * 98 + b"\r\n")
        self.refuse(b"0\r\nA: " + b"b" * 200, max_line=100)

    def test_trailers(self) -> None:
        for trailer in (b" A: b", b"A : b", b"A", b": b", b"A: b\r\n folded: x", b"A: \x00", b"A\x00: b", b"A: b\rc"):
            self.refuse(b"0\r\n" + trailer + b"\r\n\r\n")

    def test_trailers_that_belong_in_a_head(self) -> None:
        for name in (b"Content-Length", b"transfer-encoding", b"HOST", b"Authorization", b"Set-Cookie", b"Connection", b"Trailer"):
            self.refuse(b"0\r\n" + name + b": 5\r\n\r\n")

    def test_trailers_are_bounded(self) -> None:
        self.refuse(b"0\r\n" + b"A: b\r\n" * 20, max_trailer=100)

    def test_the_status_is_the_senders(self) -> None:
        self.refuse(b"x\r\n", status=502)
        self.refuse(b"0\r\nBad Name: x\r\n", status=502)
