# SPDX-License-Identifier: Apache-2.0
"""Chunked bodies: what passes has the content, and the end, that h11 and llhttp see."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from g3.proto.http1.chunked import ChunkedReader
from g3.proto.http1.headers import HTTPError
from tests.fuzz.oracles import Refused, h11_request, httptools_messages

HEAD = b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n"
SECOND = b"GET /second HTTP/1.1\r\nHost: second\r\n\r\n"
MANY = settings(max_examples=1000, deadline=None, database=None)

GOOD_EXTENSIONS = st.sampled_from([b""] * 6 + [b";a", b";a=b", b';a="b c"', b';a="\\"";b'])
EXTENSIONS = st.one_of(GOOD_EXTENSIONS, st.sampled_from([b";", b" ", b" ;a", b";a ", b"\t", b'; "', b";\x00", b';a="\xe9"']))
GOOD_ENDS = st.just(b"\r\n")
ENDS = st.one_of(GOOD_ENDS, GOOD_ENDS, st.sampled_from([b"\n", b"\r", b"\r\r\n", b""]))
GOOD_TRAILERS = st.lists(st.sampled_from([b"X-Sum: 1", b"x-empty:", b"X-Latin: \xe9"]), max_size=2)
TRAILERS = st.lists(st.sampled_from([b"X-Sum: 1", b"Content-Length: 5", b" folded", b"bad name: 1", b"none", b"A: \x00", b"A : b"]), max_size=2)


@st.composite
def bodies(draw: st.DrawFn) -> bytes:
    """A chunked body, right half of the time."""
    good = draw(st.booleans())
    extensions, ends = (GOOD_EXTENSIONS, GOOD_ENDS) if good else (EXTENSIONS, ENDS)
    data = b""
    for content in draw(st.lists(st.binary(min_size=1, max_size=20), max_size=3)):
        size = draw(st.sampled_from([b"%x", b"%X", b"00%x"])) % len(content)
        data += size + draw(extensions) + draw(ends) + content + draw(ends)
    data += draw(st.sampled_from([b"0", b"000"])) + draw(extensions) + draw(ends)
    for trailer in draw(GOOD_TRAILERS if good else TRAILERS):
        data += trailer + draw(ends)
    data += draw(ends)
    if not good and draw(st.booleans()) and data:
        at = draw(st.integers(0, len(data) - 1))
        data = data[:at] + draw(st.binary(max_size=2)) + data[at + draw(st.integers(0, 1)) :]
    return data


def outcome(pieces: list[bytes]) -> tuple[str, int, int]:
    """What a reader makes of the pieces: how it ended, how many bytes it passed, how many of them are content."""
    reader = ChunkedReader()
    passed = 0
    try:
        for piece in pieces:
            passed += reader.feed(piece)
            if reader.done:
                return "done", passed, reader.payload_bytes
    except HTTPError as error:
        assert error.status == 400
        return "refused", 0, 0
    return "more", passed, reader.payload_bytes


class Chunked(SynchronousTestCase):
    @MANY
    @given(st.one_of(st.binary(max_size=100), bodies()), st.data())
    def test_pieces_are_judged_as_the_whole(self, data: bytes, draws: st.DataObject) -> None:
        data += SECOND
        pieces = []
        at = 0
        while at < len(data):
            size = draws.draw(st.integers(1, 9))
            pieces.append(data[at : at + size])
            at += size
        self.assertEqual(outcome(pieces), outcome([data]))

    @MANY
    @given(st.binary(max_size=60))
    def test_byte_by_byte_is_judged_as_the_whole(self, tail: bytes) -> None:
        data = b"3\r\nabc\r\n1;a" + tail
        self.assertEqual(outcome([data[at : at + 1] for at in range(len(data))]), outcome([data]))

    @MANY
    @given(bodies())
    def test_h11_reads_the_same(self, data: bytes) -> None:
        how, passed, payload = outcome([data + SECOND])
        if how != "done":
            return
        try:
            message = h11_request(HEAD + data + SECOND)
        except Refused as error:
            # h11 takes no control bytes, and no obs-text, in an extension.
            self.assertFalse(data.isascii(), f"{data!r}: {error}")
            return
        self.assertEqual((message.complete, len(message.body), message.rest), (True, payload, (data + SECOND)[passed:]))

    @MANY
    @given(bodies())
    def test_llhttp_reads_the_same(self, data: bytes) -> None:
        how, passed, payload = outcome([data + SECOND])
        if how != "done" or (data + SECOND)[passed:] != SECOND:
            return
        try:
            messages = httptools_messages(HEAD + data + SECOND)
        except Refused as error:
            self.assertFalse(data.isascii(), f"{data!r}: {error}")
            return
        self.assertEqual([len(message.body) for message in messages], [payload, 0])
        self.assertEqual(messages[1].start, (b"/second",))
