# SPDX-License-Identifier: Apache-2.0
"""HTTP/2 requests as HTTP/1.1 ones: what comes out is one request that says the same, or nothing at all."""

from __future__ import annotations

import h11
from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from g3.errors import ProtocolError
from g3.proto.http1.request import parse_request
from g3.proto.http2 import Malformed, ResponseReader, chunk, last_chunk, request_head

MANY = settings(max_examples=1000, deadline=None, database=None)
ODD = st.sampled_from([b"\r\n", b"\n", b"\r", b"\0", b" ", b":", b"\t", b"\r\nx: y", b" HTTP/1.1", b"\x7f", b"\x80", b"#", b"@", b"/", b""])
TEXT = st.one_of(st.binary(max_size=12), ODD, st.from_regex(rb"[a-z0-9./-]{1,12}", fullmatch=True))
NAMES = st.one_of(
    st.sampled_from(
        [b":method", b":scheme", b":authority", b":path", b":x", b"host", b"cookie", b"te", b"content-length", b"transfer-encoding", b"connection"]
    ),
    TEXT,
)
FIELDS = st.lists(st.tuples(NAMES, TEXT), max_size=6)
BASE = [(b":method", b"POST"), (b":scheme", b"http"), (b":authority", b"a.test"), (b":path", b"/")]


class RequestTests(SynchronousTestCase):
    @MANY
    @given(st.permutations(BASE), st.one_of(st.just(BASE), st.lists(st.sampled_from(BASE), max_size=4)), FIELDS, st.booleans())
    def test_what_passes_is_one_head_and_nothing_more(
        self, order: list[tuple[bytes, bytes]], some: list[tuple[bytes, bytes]], more: list[tuple[bytes, bytes]], ends: bool
    ) -> None:
        """By h11, which reads it as a server does: one request, no byte left over, the field lines that went in."""
        try:
            method, head, chunked = request_head([*(order if len(some) == 4 else some), *more], ends=ends)
        except Malformed:
            return
        self.assertEqual(head.count(b"\r\n\r\n"), 1)
        try:
            parse_request(head)
        except ProtocolError:
            return  # refused as from any client
        reader = h11.Connection(h11.SERVER)
        reader.receive_data(head)
        request = reader.next_event()
        assert isinstance(request, h11.Request)
        self.assertEqual((request.method, reader.trailing_data[0]), (method, b""))
        self.assertEqual([name for name, _ in request.headers].count(b"host"), 1)
        self.assertEqual((b"transfer-encoding", b"chunked") in list(request.headers), chunked)

    @MANY
    @given(st.lists(st.binary(min_size=1, max_size=200)), st.lists(st.tuples(st.from_regex(rb"x-[a-z]{1,5}", fullmatch=True), TEXT), max_size=3))
    def test_bodies_come_out_as_they_went_in(self, pieces: list[bytes], trailers: list[tuple[bytes, bytes]]) -> None:
        """In chunks, by h11."""
        _, head, _ = request_head(BASE, ends=False)
        try:
            coded = head + b"".join(map(chunk, pieces)) + last_chunk(trailers)
        except Malformed:
            return
        reader = h11.Connection(h11.SERVER)
        reader.receive_data(coded)
        body = b""
        while not isinstance(event := reader.next_event(), h11.EndOfMessage):
            if isinstance(event, h11.Data):
                body += bytes(event.data)
        self.assertEqual((body, reader.trailing_data[0]), (b"".join(pieces), b""))


class ResponseTests(SynchronousTestCase):
    @MANY
    @given(st.binary(max_size=300), st.booleans(), st.data())
    def test_content_is_what_was_answered(self, body: bytes, chunked: bool, data: st.DataObject) -> None:
        """However it was framed and cut."""
        if chunked:
            coded = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" + (chunk(body) if body else b"") + last_chunk()
        else:
            coded = b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%b" % (len(body), body)
        reader, got, at = ResponseReader(b"GET"), b"", 0
        while at < len(coded):
            size = data.draw(st.integers(1, len(coded) - at))
            reader.feed(coded[at : at + size])
            got += reader.take()
            at += size
        self.assertEqual((got, reader.done), (body, True))
