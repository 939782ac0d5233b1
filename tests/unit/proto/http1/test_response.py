# SPDX-License-Identifier: Apache-2.0
"""Response heads: what is refused, what is forwarded, how the body is framed."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from g3.proto.http1.response import CHUNKED, LENGTH, NONE, UNTIL_CLOSE, HTTPError, Response, find_end, parse_response


def parse(*lines: bytes, start: bytes = b"HTTP/1.1 200 OK", method: bytes = b"GET") -> Response:
    return parse_response(b"\r\n".join([start, *lines, b"\r\n"]), method)


class Refusing(SynchronousTestCase):
    """Every fault of an upstream is a 502."""

    def refuse(self, *lines: bytes, start: bytes = b"HTTP/1.1 200 OK", method: bytes = b"GET") -> None:
        self.assertEqual(self.assertRaises(HTTPError, parse, *lines, start=start, method=method).status, 502)

    def test_bad_status_lines(self) -> None:
        for line in (
            b"HTTP/1.1",
            b"HTTP/1.1 ",
            b"HTTP/1.1 20",
            b"HTTP/1.1 2000",
            b"HTTP/1.1 099 x",
            b"HTTP/1.1 20x OK",
            b"HTTP/1.1  200 OK",
            b"HTTP/2.0 200 OK",
            b"HTTP/1.2 200 OK",
            b"http/1.1 200 OK",
            b"ICY 200 OK",
            b"HTTP/1.1 200\tOK",
            b" HTTP/1.1 200 OK",
            b"HTTP/1.1 200 O\x00K",
        ):
            self.refuse(start=line)

    def test_bad_fields(self) -> None:
        for line in (b"Foo : x", b": x", b"Foo", b" folded", b"F\x00: x", b"Foo: a\rb", b"Foo: a\nb", b"Foo: \x7f"):
            self.refuse(line)

    def test_bad_lengths(self) -> None:
        for value in (b"+5", b"5, 5", b"", b"x", b"9" * 19):
            self.refuse(b"Content-Length: " + value)
        self.refuse(b"Content-Length: 5", b"Content-Length: 6")

    def test_bad_codings(self) -> None:
        for value in (b"chunked, gzip", b"chunked, chunked", b"identity", b"xchunked", b"", b"gzip,,chunked"):
            self.refuse(b"Transfer-Encoding: " + value)
        self.refuse(b"Transfer-Encoding: chunked", start=b"HTTP/1.0 200 OK")

    def test_an_interim_response_with_a_body(self) -> None:
        self.refuse(b"Content-Length: 5", start=b"HTTP/1.1 100 Continue")
        self.refuse(b"Transfer-Encoding: chunked", start=b"HTTP/1.1 103 Early Hints")

    def test_too_many_fields(self) -> None:
        self.refuse(*[b"A: b"] * 257)

    def test_a_head_that_is_too_large_or_none(self) -> None:
        self.assertEqual(self.assertRaises(HTTPError, find_end, b"H" * 100, limit=100).status, 502)
        self.assertEqual(self.assertRaises(HTTPError, find_end, b"\x15\x03\x01").status, 502)
        self.assertEqual(self.assertRaises(HTTPError, find_end, b"HTTP/1.1 200 OK\nA: b\n\n").status, 502)


class Framing(SynchronousTestCase):
    def check(self, body: int, length: int | None, keep_alive: bool, response: Response) -> None:
        self.assertEqual((response.body, response.content_length, response.keep_alive), (body, length, keep_alive))

    def test_length(self) -> None:
        self.check(LENGTH, 5, True, parse(b"Content-Length: 5"))
        self.check(NONE, 0, True, parse(b"Content-Length: 0"))

    def test_chunked(self) -> None:
        self.check(CHUNKED, None, True, parse(b"Transfer-Encoding: chunked"))
        self.check(CHUNKED, None, True, parse(b"Transfer-Encoding: gzip, chunked"))
        self.assertTrue(parse(b"Transfer-Encoding: chunked").chunked)

    def test_transfer_encoding_beats_length_and_ends_the_connection(self) -> None:
        response = parse(b"Content-Length: 5", b"Transfer-Encoding: chunked")
        self.check(CHUNKED, None, False, response)
        self.assertEqual(response.forward_lines, [b"Transfer-Encoding: chunked"])

    def test_until_close(self) -> None:
        self.check(UNTIL_CLOSE, None, False, parse())
        self.check(UNTIL_CLOSE, None, False, parse(b"Connection: keep-alive"))
        self.check(UNTIL_CLOSE, None, False, parse(b"Transfer-Encoding: gzip"))

    def test_no_body_whatever_the_length_says(self) -> None:
        self.check(NONE, 5, True, parse(b"Content-Length: 5", method=b"HEAD"))
        self.check(NONE, None, True, parse(b"Transfer-Encoding: chunked", method=b"HEAD"))
        self.check(NONE, 5, True, parse(b"Content-Length: 5", start=b"HTTP/1.1 304 Not Modified"))
        self.check(NONE, None, True, parse(start=b"HTTP/1.1 304 Not Modified"))
        self.check(NONE, None, True, parse(start=b"HTTP/1.1 100 Continue"))

    def test_a_204_with_a_length_is_sent_on_without(self) -> None:
        response = parse(b"Content-Length: 0", start=b"HTTP/1.1 204 No Content")
        self.check(NONE, None, True, response)
        self.assertEqual(response.forward_lines, [])
        self.check(NONE, None, False, parse(b"Content-Length: 5", start=b"HTTP/1.1 204 No Content"))
        self.check(NONE, None, False, parse(b"Transfer-Encoding: chunked", start=b"HTTP/1.1 204 No Content"))

    def test_a_tunnel_has_no_body(self) -> None:
        response = parse(b"Content-Length: 5", b"A: b", method=b"CONNECT")
        self.check(NONE, None, True, response)
        self.assertEqual(response.forward_lines, [b"A: b"])
        self.check(LENGTH, 5, True, parse(b"Content-Length: 5", method=b"CONNECT", start=b"HTTP/1.1 403 Forbidden"))


class Forwarding(SynchronousTestCase):
    def test_lines_keep_their_case_and_order_but_for_this_hop(self) -> None:
        response = parse(
            b"SERVER: x",
            b"Connection: keep-alive, X-Hop",
            b"Keep-Alive: timeout=5",
            b"x-hop: 1",
            b"Proxy-Connection: keep-alive",
            b"Upgrade: h2c",
            b"content-length: 3",
            b"Set-Cookie: a",
            b"set-cookie: b",
        )
        self.assertEqual(response.forward_lines, [b"SERVER: x", b"content-length: 3", b"Set-Cookie: a", b"set-cookie: b"])
        self.assertEqual(response.upgrade, b"h2c")
        self.assertEqual(
            response.serialize(b"Connection: Close"),
            b"HTTP/1.1 200 OK\r\nSERVER: x\r\ncontent-length: 3\r\nSet-Cookie: a\r\nset-cookie: b\r\nConnection: Close\r\n\r\n",
        )

    def test_status_version_and_reason(self) -> None:
        response = parse(start=b"HTTP/1.0 404 N\xf6t  there")
        self.assertEqual((response.status, response.version, response.reason), (404, 10, b"N\xf6t  there"))
        self.assertEqual(parse(start=b"HTTP/1.1 200").reason, b"")
        self.assertEqual(parse(start=b"HTTP/1.1 200 ").reason, b"")
        self.assertTrue(parse(start=b"HTTP/1.1 103 Early Hints").interim)
        self.assertFalse(parse(start=b"HTTP/1.1 101 Switching Protocols").interim)

    def test_keep_alive(self) -> None:
        length = b"Content-Length: 1"
        self.assertFalse(parse(length, b"Connection: close").keep_alive)
        self.assertFalse(parse(length, b"Connection: CLOSE, x").keep_alive)
        self.assertFalse(parse(length, start=b"HTTP/1.0 200 OK").keep_alive)
        self.assertTrue(parse(length, b"Connection: keep-alive", start=b"HTTP/1.0 200 OK").keep_alive)
