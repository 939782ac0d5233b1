# SPDX-License-Identifier: Apache-2.0
"""Tests of g3.proto.http2."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from g3.errors import ProtocolError
from g3.proto.http2 import Malformed, ResponseReader, last_chunk, request_head

GOOD = [(b":method", b"GET"), (b":scheme", b"http"), (b":authority", b"a.test:8080"), (b":path", b"/p?q")]
TUNNEL = [(b":method", b"CONNECT"), (b":authority", b"a.test:443")]


class RequestTests(SynchronousTestCase):
    def test_a_request_is_one_as_a_proxy_is_asked(self) -> None:
        """Absolute form; authority form for a tunnel; the asterisk is no path."""
        self.assertEqual(request_head(GOOD, ends=True), (b"GET", b"GET http://a.test:8080/p?q HTTP/1.1\r\nHost: a.test:8080\r\n\r\n", False))
        self.assertEqual(request_head(TUNNEL, ends=False), (b"CONNECT", b"CONNECT a.test:443 HTTP/1.1\r\nHost: a.test:443\r\n\r\n", False))
        options = [(b":method", b"OPTIONS"), *GOOD[1:3], (b":path", b"*")]
        self.assertTrue(request_head(options, ends=True)[1].startswith(b"OPTIONS http://a.test:8080 HTTP/1.1\r\n"))

    def test_a_body_without_a_length_is_chunked(self) -> None:
        _, head, chunked = request_head(GOOD, ends=False)
        self.assertEqual((head.count(b"transfer-encoding: chunked\r\n"), chunked), (1, True))
        _, head, chunked = request_head([*GOOD, (b"content-length", b"7")], ends=False)
        self.assertEqual((head.count(b"transfer-encoding"), chunked), (0, False))

    def test_one_host_and_one_cookie(self) -> None:
        """Host may say the authority again, or say it alone."""
        fields = [*GOOD, (b"cookie", b"a=1"), (b"host", b"A.test:8080"), (b"cookie", b"b=2")]
        self.assertEqual(request_head(fields, ends=True)[1].count(b"\r\n"), 4)
        self.assertIn(b"\r\ncookie: a=1; b=2\r\n", request_head(fields, ends=True)[1])
        self.assertIn(b"\r\nHost: b.test\r\n", request_head([*GOOD[:2], GOOD[3], (b"host", b"b.test")], ends=True)[1])

    def test_trailers(self) -> None:
        self.assertEqual(last_chunk([(b"x-sum", b"1")]), b"0\r\nx-sum: 1\r\n\r\n")
        self.assertEqual(last_chunk(), b"0\r\n\r\n")
        for name, value in ((b"x", b"a\r\n\r\nGET"), (b"connection", b"close"), (b":status", b"1"), (b"", b"a")):
            self.assertRaises(Malformed, last_chunk, [(name, value)])


class ResponseTests(SynchronousTestCase):
    def read(self, data: bytes, method: bytes = b"GET", step: int = 0) -> tuple[list[tuple[int, bool]], bytes, ResponseReader]:
        reader = ResponseReader(method)
        heads, content = [], b""
        for at in range(0, len(data), step or len(data)):
            heads += reader.feed(data[at : at + (step or len(data))])
            content += reader.take()
        return [(int(dict(fields)[b":status"]), ends) for fields, ends in heads], content, reader

    def test_every_framing_ends_where_it_ends(self) -> None:
        """However the bytes come."""
        for data, status, content in (
            (b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nabc", [(200, False)], b"abc"),
            (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2;x=y\r\nab\r\n1\r\nc\r\n0\r\n\r\n", [(200, False)], b"abc"),
            (b"HTTP/1.1 204 No Content\r\n\r\n", [(204, True)], b""),
            (b"HTTP/1.1 103 Early\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n", [(103, False), (200, True)], b""),
        ):
            for step in (0, 1, 2, 7):
                heads, got, reader = self.read(data, step=step)
                self.assertEqual((heads, got, reader.done), (status, content, True), (data, step))

    def test_nothing_about_the_connection_is_among_the_fields(self) -> None:
        reader = ResponseReader(b"GET")
        lines = b"Connection: Keep-Alive, X-Hop\r\nX-Hop: 1\r\nKeep-Alive: 5\r\nX-Y:  z \r\nTransfer-Encoding: chunked\r\n"
        heads = reader.feed(b"HTTP/1.1 200 OK\r\n" + lines + b"\r\n")
        self.assertEqual(heads, [([(b":status", b"200"), (b"x-y", b"z")], False)])

    def test_trailers_come_last(self) -> None:
        _, content, reader = self.read(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\na\r\n0\r\nX-Sum: 9\r\n\r\n")
        self.assertEqual((content, reader.trailers, reader.done), (b"a", [(b"x-sum", b"9")], True))

    def test_a_tunnel_is_all_content(self) -> None:
        heads, content, reader = self.read(b"HTTP/1.1 200 OK\r\n\r\nHTTP/1.1 999", method=b"CONNECT")
        self.assertEqual((heads, content, reader.tunnel, reader.done), ([(200, False)], b"HTTP/1.1 999", True, False))

    def test_one_that_only_the_end_completes(self) -> None:
        _, content, reader = self.read(b"HTTP/1.0 200 OK\r\n\r\nabc")
        self.assertEqual((content, reader.until_close, reader.done), (b"abc", True, False))

    def test_what_is_no_response(self) -> None:
        for data in (b"nonsense\r\n\r\n", b"HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, chunked\r\n\r\n"):
            self.assertRaises(ProtocolError, ResponseReader(b"GET").feed, data)
