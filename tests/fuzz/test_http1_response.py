# SPDX-License-Identifier: Apache-2.0
"""Response heads: a body ends where h11 and llhttp say it ends."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from g3.proto.http1 import response as module
from g3.proto.http1.headers import Head
from g3.proto.http1.response import CHUNKED, LENGTH, NONE, UNTIL_CLOSE, HTTPError, Response, find_end, parse_response
from tests.fuzz.http1_heads import heads
from tests.fuzz.oracles import Refused, h11_response, httptools_messages

STARTS = st.one_of(
    st.builds(
        lambda version, status, reason: b"HTTP/%b %d%b" % (version, status, reason),
        st.sampled_from([b"1.1", b"1.1", b"1.1", b"1.0"]),
        st.sampled_from([100, 103, 200, 200, 200, 204, 206, 301, 304, 404, 502, 599]),
        st.sampled_from([b" OK", b" OK", b"", b" ", b" N\xf6t", b" a  b"]),
    ),
    st.sampled_from([b"HTTP/1.1 OK", b"HTTP/2.0 200 OK", b"HTTP/1.1 2000 OK", b"HTTP/1.1  200 OK", b"ICY 200 OK", b"HTTP/1.1 099 x"]),
)
METHODS = st.sampled_from([b"GET", b"GET", b"POST", b"HEAD", b"CONNECT"])
MANY = settings(max_examples=1000, deadline=None, database=None)


def body_of(response: Response) -> tuple[bytes, bytes]:
    """A body as it goes over the wire, and its content."""
    if response.body == CHUNKED:
        return b"3\r\nabc\r\n0\r\n\r\n", b"abc"
    content = b"x" * (response.content_length or 0) if response.body == LENGTH else b""
    return content or (b"until" if response.body == UNTIL_CLOSE else b""), content or (b"until" if response.body == UNTIL_CLOSE else b"")


class Responses(SynchronousTestCase):
    @MANY
    @given(st.one_of(st.binary(max_size=200), heads(STARTS, host=False)), METHODS)
    def test_only_http_errors(self, data: bytes, method: bytes) -> None:
        """Any bytes give a response or a 502."""
        try:
            response = parse_response(data, method)
        except HTTPError as error:
            self.assertEqual(error.status, 502)
        else:
            self.assertIn(response.body, {NONE, LENGTH, CHUNKED, UNTIL_CLOSE})
            self.assertFalse(response.keep_alive and response.body == UNTIL_CLOSE)
            self.assertFalse(any(b"\r" in line or b"\n" in line or b"\0" in line for line in response.forward_lines))

    @MANY
    @given(heads(STARTS, host=False), METHODS)
    def test_a_head_of_remembered_lines_means_the_same(self, data: bytes, method: bytes) -> None:
        def outcome() -> object:
            try:
                response = parse_response(data, method)
            except HTTPError as error:
                return error.status, str(error)
            return [getattr(response, name) for name in (*Head.__slots__, *Response.__slots__)]

        module._LINES.clear()
        self.assertEqual(outcome(), outcome())

    @MANY
    @given(heads(STARTS, host=False), METHODS)
    def test_h11_reads_what_we_send_on_as_we_did(self, data: bytes, method: bytes) -> None:
        try:
            response = parse_response(data, method)
        except HTTPError:
            return
        if (response.content_length or 0) > 1000:
            return
        wire, content = body_of(response)
        until_close = response.body == UNTIL_CLOSE
        next_one = b"" if until_close else b"HTTP/1.1 200 second\r\n\r\n"
        try:
            message = h11_response(response.serialize(b"Connection: keep-alive") + wire + next_one, method, until_close)
        except Refused as error:
            self.assertTrue(self.h11_is_stricter(response), f"{data!r}: {error}")
            return
        self.assertEqual(message.start, (response.status, b"1.1" if response.version == 11 else b"1.0"))
        self.assertEqual((message.complete, message.body, message.rest), (True, content, next_one))

    @staticmethod
    def h11_is_stricter(response: Response) -> bool:
        """h11 knows no coding but chunked, statuses below 600, and takes an answer of 2xx to CONNECT only without Upgrade."""
        coding = (response.get(b"transfer-encoding") or b"chunked").lower() != b"chunked"
        return coding or response.status >= 600

    @MANY
    @given(heads(STARTS, host=False))
    def test_llhttp_reads_what_we_send_on_as_we_did(self, data: bytes) -> None:
        try:
            response = parse_response(data, b"GET")
        except HTTPError:
            return
        if (response.content_length or 0) > 1000 or response.body == UNTIL_CLOSE or response.status == 304:
            return  # llhttp goes by Content-Length on a 304
        wire, content = body_of(response)
        second = b"HTTP/1.1 200 second\r\nContent-Length: 0\r\n\r\n"
        messages = httptools_messages(response.serialize(b"Connection: keep-alive") + wire + second, response=True)
        self.assertEqual([message.body for message in messages], [content, b""])
        self.assertTrue(all(message.complete for message in messages))

    @MANY
    @given(heads(STARTS, host=False), st.integers(0, 200))
    def test_two_pieces_find_the_same_end(self, data: bytes, at: int) -> None:
        try:
            whole = find_end(data)
        except HTTPError:
            whole = -2
        try:
            end = find_end(data[:at])
            if end < 0:
                end = find_end(data, 0, min(at, len(data)))
        except HTTPError:
            if whole >= 0:
                self.assertRaises(HTTPError, parse_response, data[:whole], b"GET")
            return
        self.assertEqual(end, whole)
