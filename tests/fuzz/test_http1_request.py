# SPDX-License-Identifier: Apache-2.0
"""Request heads: what we send on is framed by h11 and by llhttp as we framed it, so that no second message hides in it."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from g3.proto.http1 import request as module
from g3.proto.http1.headers import CHUNKED, LENGTH, NONE, Head, HTTPError, find_end
from g3.proto.http1.request import Request, parse_request
from g3.proto.http1.uri import parse_target
from tests.fuzz.http1_heads import heads
from tests.fuzz.oracles import Refused, h11_request, httptools_messages

STARTS = st.one_of(
    st.sampled_from([b"GET / HTTP/1.1", b"POST /x?y=z HTTP/1.1", b"PUT http://a/ HTTP/1.1", b"HEAD / HTTP/1.1", b"GET / HTTP/1.0"]),
    st.sampled_from(
        [
            b"CONNECT a:443 HTTP/1.1",
            b"PRI * HTTP/2.0",
            b"OPTIONS * HTTP/1.1",
            b"PROPFIND / HTTP/1.1",
            b"get / HTTP/1.1",
            b"GET  / HTTP/1.1",
            b"GET /\xff HTTP/1.1",
            b"GET / HTTP/1.1 ",
            b"GET / HTTP/0.9",
            b"GET /",
            b"\r\nGET / HTTP/1.1",
            b"GET /a\tb HTTP/1.1",
        ]
    ),
)
SECOND = b"GET /second HTTP/1.1\r\nHost: second\r\n\r\n"
MANY = settings(max_examples=1000, deadline=None, database=None)


def forwarded(request: Request) -> bytes:
    """The message as a proxy sends it on, with a body and another message behind it."""
    start = b"%b %b HTTP/1.%d" % (request.method, request.target, request.version - 10)
    head = b"\r\n".join([start, *request.forward_lines, b"Connection: keep-alive", b"\r\n"])
    return head + body_of(request)[0] + SECOND


def body_of(request: Request) -> tuple[bytes, bytes]:
    """A body as it goes over the wire, and its content."""
    if request.body == CHUNKED:
        return b"3\r\nabc\r\n0\r\n\r\n", b"abc"
    content = b"x" * (request.content_length or 0) if request.body == LENGTH else b""
    return content, content


class Requests(SynchronousTestCase):
    @MANY
    @given(st.one_of(st.binary(max_size=200), heads(STARTS, host=True)))
    def test_only_http_errors(self, data: bytes) -> None:
        """Any bytes give a request or an HTTPError with a status that can be sent."""
        try:
            request = parse_request(data)
        except HTTPError as error:
            self.assertIn(error.status, {400, 431, 501, 505})
        else:
            self.assertIn(request.body, {NONE, LENGTH, CHUNKED})
            self.assertFalse(any(b"\r" in line or b"\n" in line or b"\0" in line for line in request.forward_lines))

    @MANY
    @given(heads(STARTS, host=True))
    def test_a_head_of_remembered_lines_means_the_same(self, data: bytes) -> None:
        def outcome() -> object:
            try:
                request = parse_request(data)
            except HTTPError as error:
                return error.status, str(error)
            return [getattr(request, name) for name in (*Head.__slots__, *Request.__slots__)]

        module._LINES.clear()
        self.assertEqual(outcome(), outcome())

    @MANY
    @given(heads(STARTS, host=True))
    def test_h11_reads_what_we_send_on_as_we_did(self, data: bytes) -> None:
        try:
            request = parse_request(data)
        except HTTPError:
            return
        if (request.content_length or 0) > 1000:
            return
        try:
            message = h11_request(forwarded(request))
        except Refused as error:
            self.assertTrue(self.h11_is_stricter(request), f"{data!r}: {error}")
            return
        self.assertEqual(message.start, (request.method, request.target, b"1.1" if request.version == 11 else b"1.0"))
        self.assertEqual((message.complete, message.body, message.rest), (True, body_of(request)[1], SECOND))

    @staticmethod
    def h11_is_stricter(request: Request) -> bool:
        """h11 takes no obs-text in a target."""
        return not request.target.isascii()

    @MANY
    @given(heads(STARTS, host=True))
    def test_llhttp_reads_what_we_send_on_as_we_did(self, data: bytes) -> None:
        try:
            request = parse_request(data)
            parse_target(request.method, request.target)
        except HTTPError:
            return
        if (request.content_length or 0) > 1000 or request.method == b"CONNECT":
            return  # what follows CONNECT is no HTTP to llhttp
        try:
            messages = httptools_messages(forwarded(request))
        except Refused as error:
            self.assertTrue(self.llhttp_is_stricter(request), f"{data!r}: {error}")
            return
        self.assertEqual([message.start for message in messages], [(request.target,), (b"/second",)])
        self.assertTrue(all(message.complete for message in messages))
        self.assertEqual([message.body for message in messages], [body_of(request)[1], b""])

    @staticmethod
    def llhttp_is_stricter(request: Request) -> bool:
        """llhttp knows a list of methods and wants a target to begin as one."""
        known = {b"GET", b"POST", b"PUT", b"HEAD", b"OPTIONS", b"PROPFIND"}
        return request.method not in known or request.target[:1] not in {b"/", b"*", b"h"} or not request.target.isascii()

    @MANY
    @given(heads(STARTS, host=True), st.data())
    def test_pieces_find_the_same_end(self, data: bytes, draws: st.DataObject) -> None:
        """However the bytes arrive, the head ends at the same place or is refused."""
        try:
            whole = find_end(data)
        except HTTPError:
            whole = -2
        buffer = bytearray()
        seen, end = 0, -1
        try:
            while end < 0 and len(buffer) < len(data):
                buffer += data[len(buffer) : len(buffer) + draws.draw(st.integers(1, 8))]
                end = find_end(buffer, 0, seen)
                seen = len(buffer)
        except HTTPError:
            # Pieces may be refused before the end of a head that has a fault is seen: the parser refuses it too.
            if whole >= 0:
                self.assertRaises(HTTPError, parse_request, data[:whole])
            return
        self.assertEqual(end, whole)
