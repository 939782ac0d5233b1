# SPDX-License-Identifier: Apache-2.0
"""Request heads: what is refused, what is forwarded, how the body is framed."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from g3.proto.http1 import request as heads
from g3.proto.http1.headers import CHUNKED, LENGTH, NONE, HTTPError, find_end
from g3.proto.http1.request import Request, parse_request

START = b"GET http://origin.example/ HTTP/1.1"
HOST = b"Host: origin.example"


def parse(*lines: bytes, start: bytes = START, host: bytes | None = HOST) -> Request:
    fixed = [start] if host is None else [start, host]
    return parse_request(b"\r\n".join([*fixed, *lines, b"\r\n"]))


class Refusing(SynchronousTestCase):
    """Every rule of RFC 9112 that a smuggled message would break."""

    def refuse(self, status: int, *lines: bytes, start: bytes = START, host: bytes | None = HOST) -> None:
        error = self.assertRaises(HTTPError, parse, *lines, start=start, host=host)
        self.assertEqual(error.status, status, str(error))
        self.assertTrue(error.close)

    def test_space_before_the_colon(self) -> None:
        for name in (b"Content-Length ", b"Content-Length\t", b"Foo "):
            self.refuse(400, name + b": 5")

    def test_space_or_nothing_as_a_field_name(self) -> None:
        for line in (b": value", b" : value", b"Foo Bar: x", b"F\xc3\xb6: x", b"Foo(1): x", b"no colon here", b"nocolon"):
            self.refuse(400, line)

    def test_a_folded_line(self) -> None:
        self.refuse(400, b"Foo: a", b" b")
        self.refuse(400, b"Foo: a", b"\tb: c")
        self.refuse(400, b" Foo: first", host=HOST)

    def test_control_bytes_anywhere(self) -> None:
        for byte in [*range(9), 0x0A, 0x0B, 0x0C, 0x0D, *range(0x0E, 0x20), 0x7F]:
            self.refuse(400, b"Foo: a" + bytes([byte]) + b"b")
            self.refuse(400, start=b"GET http://origin.example/" + bytes([byte]) + b" HTTP/1.1")

    def test_a_bare_line_feed_ends_no_line(self) -> None:
        self.assertRaises(HTTPError, parse_request, b"GET / HTTP/1.1\nHost: a\r\n\r\n")
        self.assertRaises(HTTPError, parse_request, b"GET / HTTP/1.1\r\nHost: a\nContent-Length: 5\r\n\r\n")

    def test_bad_content_length(self) -> None:
        for value in (b"+5", b"-5", b"5, 5", b"5,6", b"0x5", b"5 5", b"", b"5.0", b"\xb2", b"1" * 19, b'"5"'):
            self.refuse(400, b"Content-Length: " + value)

    def test_two_different_content_lengths(self) -> None:
        self.refuse(400, b"Content-Length: 5", b"content-length: 6")

    def test_a_bad_content_length_is_refused_even_when_transfer_encoding_rules(self) -> None:
        self.refuse(400, b"Content-Length: +5", b"Transfer-Encoding: chunked")

    def test_chunked_twice_or_not_last(self) -> None:
        self.refuse(400, b"Transfer-Encoding: chunked, chunked")
        self.refuse(400, b"Transfer-Encoding: chunked", b"Transfer-Encoding: chunked")
        self.refuse(400, b"Transfer-Encoding: chunked, gzip")
        self.refuse(400, b"Transfer-Encoding: gzip")
        self.refuse(400, b"Transfer-Encoding: ")
        self.refuse(400, b"Transfer-Encoding: ,chunked")
        self.refuse(400, b"Transfer-Encoding: chunked,")

    def test_a_transfer_coding_that_is_not_ours(self) -> None:
        for value in (b"identity", b"xchunked", b"chunked;q=1", b'"chunked"', b"gzip, chunked", b"\xe3hunked", b"identity, chunked"):
            self.refuse(501, b"Transfer-Encoding: " + value)

    def test_transfer_encoding_on_http_1_0(self) -> None:
        self.refuse(400, b"Transfer-Encoding: chunked", start=b"POST http://origin.example/ HTTP/1.0")

    def test_two_hosts(self) -> None:
        self.refuse(400, HOST)
        self.refuse(400, b"host: other.example")

    def test_no_host_on_http_1_1(self) -> None:
        self.refuse(400, host=None)
        self.assertIsNone(parse(start=b"GET / HTTP/1.0", host=None).host)

    def test_a_host_that_is_no_host(self) -> None:
        for value in (b"a b", b"a,b", b"u@a", b"a:b", b"a:99999", b"a/b", b"[::1", b"1.2.3.4.5", b"a..b", b"a%20b", b"a:0"):
            self.refuse(400, host=b"Host: " + value)

    def test_a_bad_request_line(self) -> None:
        for line in (
            b"GET",
            b"GET /",
            b"GET  / HTTP/1.1",
            b"GET /  HTTP/1.1",
            b"GET / HTTP/1.1 ",
            b" GET / HTTP/1.1",
            b"GET / x HTTP/1.1",
            b"GET\t/ HTTP/1.1",
            b"GET /\tx HTTP/1.1",
            b"G(T / HTTP/1.1",
            b"M" * 65 + b" / HTTP/1.1",
            b"GET / http/1.1",
            b"GET / HTTP/1.1x",
            b"GET / HTTP/1",
            b"GET / HTTP/11",
            b"GET / HTTP/1,1",
            b"GET / ICY/1.1",
            b" / HTTP/1.1",
        ):
            self.refuse(400, start=line)

    def test_a_version_that_is_not_ours(self) -> None:
        for version in (b"0.9", b"1.2", b"2.0", b"3.0", b"9.9"):
            self.refuse(505, start=b"GET / HTTP/" + version)

    def test_the_http2_preface(self) -> None:
        self.assertEqual(self.assertRaises(HTTPError, parse_request, b"PRI * HTTP/2.0\r\n\r\n").status, 505)

    def test_too_many_fields(self) -> None:
        parse(*[b"A: b"] * 255)
        self.refuse(431, *[b"A: b"] * 256)

    def test_a_bad_connection_option(self) -> None:
        self.refuse(400, b"Connection: close; x")

    def test_connect_with_a_body(self) -> None:
        start = b"CONNECT origin.example:443 HTTP/1.1"
        self.refuse(400, b"Content-Length: 5", start=start)
        self.refuse(400, b"Transfer-Encoding: chunked", start=start)
        self.assertEqual(parse(b"Content-Length: 0", start=start).body, NONE)

    def test_two_credentials(self) -> None:
        self.refuse(400, b"Proxy-Authorization: Basic YQ==", b"Proxy-Authorization: Basic Yg==")

    def test_only_one_empty_line_before_the_request(self) -> None:
        head = START + b"\r\n" + HOST + b"\r\n\r\n"
        self.assertEqual(parse_request(b"\r\n" + head).method, b"GET")
        self.assertRaises(HTTPError, parse_request, b"\r\n\r\n" + head)
        self.assertRaises(HTTPError, parse_request, b"\r\n\r\n")

    def test_a_head_that_is_cut_off(self) -> None:
        head = START + b"\r\n" + HOST + b"\r\n\r\n"
        for end in range(len(head)):
            self.assertRaises(HTTPError, parse_request, head[:end])

    def test_bytes_behind_the_head(self) -> None:
        self.assertRaises(HTTPError, parse_request, START + b"\r\n" + HOST + b"\r\n\r\nbody")
        self.assertRaises(HTTPError, parse_request, START + b"\r\n\r\n" + HOST + b"\r\n\r\n")


class Framing(SynchronousTestCase):
    def test_no_length_is_no_body(self) -> None:
        request = parse(start=b"POST http://origin.example/ HTTP/1.1")
        self.assertEqual((request.body, request.content_length), (NONE, None))

    def test_a_length(self) -> None:
        request = parse(b"Content-Length:\t 005 ")
        self.assertEqual((request.body, request.content_length), (LENGTH, 5))
        self.assertEqual(request.forward_lines, [HOST, b"Content-Length: 5"])
        self.assertEqual(parse(b"Content-Length: 0").body, NONE)

    def test_the_same_length_twice_is_sent_once(self) -> None:
        self.assertEqual(parse(b"Content-Length: 5", b"Content-Length: 5").forward_lines, [HOST, b"Content-Length: 5"])

    def test_chunked(self) -> None:
        """The name keeps its case, the value is sent on in one spelling: not every origin takes a tab or a capital for what they are."""
        for spelled in (b"  Chunked ", b"\tchunked", b"chunked\t", b" CHUNKED"):
            request = parse(b"TRANSFER-Encoding:" + spelled)
            self.assertEqual((request.body, request.chunked, request.keep_alive), (CHUNKED, True, True))
            self.assertEqual(request.forward_lines, [HOST, b"TRANSFER-Encoding: chunked"])

    def test_transfer_encoding_beats_length_and_ends_the_connection(self) -> None:
        """RFC 9112 section 6.1: the length is dropped, whichever comes first."""
        for lines in ((b"Content-Length: 5", b"Transfer-Encoding: chunked"), (b"Transfer-Encoding: chunked", b"Content-Length: 5")):
            request = parse(*lines)
            self.assertEqual((request.body, request.content_length, request.keep_alive), (CHUNKED, None, False))
            self.assertEqual(request.forward_lines, [HOST, b"Transfer-Encoding: chunked"])


class Forwarding(SynchronousTestCase):
    def test_lines_keep_their_case_order_and_spacing(self) -> None:
        lines = [b"aCCept:*/*", b"X-Empty:", b"X-Latin: \xe9\t x ", b"ACCEPT: again"]
        self.assertEqual(parse(*lines).forward_lines, [HOST, *lines])

    def test_fields_of_this_hop_are_taken_off(self) -> None:
        request = parse(
            b"Connection: X-Mine, keep-alive",
            b"Proxy-Connection: X-Also",
            b"Keep-Alive: 300",
            b"Proxy-Authorization: Basic YTpi",
            b"Proxy-Authenticate: x",
            b"X-MINE: 1",
            b"x-also: 2",
            b"Upgrade: websocket",
            b"HTTP2-Settings: x",
            b"Kept: 3",
        )
        self.assertEqual(request.forward_lines, [HOST, b"Kept: 3"])
        self.assertEqual(request.proxy_authorization, b"Basic YTpi")
        self.assertEqual(request.upgrade, b"websocket")

    def test_connection_cannot_take_off_what_frames_or_routes(self) -> None:
        request = parse(b"Connection: host, content-length, te, x", b"X: 1", b"Content-Length: 4", b"TE: trailers")
        self.assertEqual(request.forward_lines, [HOST, b"Content-Length: 4", b"TE: trailers"])
        self.assertEqual(request.te, b"trailers")

    def test_the_host_line_is_found_after_lines_went(self) -> None:
        request = parse(b"X: 1", b"A: b", HOST, b"Connection: x", host=None)
        request.set_host(b"new.example:81")
        self.assertEqual(request.forward_lines, [b"A: b", b"Host: new.example:81"])
        self.assertEqual(request.host, b"new.example:81")

    def test_a_host_is_added_where_there_was_none(self) -> None:
        request = parse(b"A: b", start=b"GET / HTTP/1.0", host=None)
        request.set_host(b"a")
        self.assertEqual(request.forward_lines, [b"Host: a", b"A: b"])

    def test_a_field_is_looked_up_and_removed_by_name(self) -> None:
        request = parse(b"X-Forwarded-For: 1", b"User-Agent: a ", b"x-forwarded-for: 2", b"user-agent: b", b"X-Forwarded-For-Not: 3")
        self.assertEqual(request.get(b"x-forwarded-for"), b"1")
        self.assertIsNone(request.get(b"absent"))
        self.assertEqual(request.get(b"user-agent"), b"a")
        request.remove(b"x-forwarded-for")
        self.assertEqual(request.forward_lines, [HOST, b"User-Agent: a ", b"user-agent: b", b"X-Forwarded-For-Not: 3"])

    def test_what_must_not_be_shared_is_marked(self) -> None:
        self.assertFalse(parse().personal)
        self.assertTrue(parse(b"authorization: Basic x").personal)
        self.assertTrue(parse(b"Cookie: a=b").personal)

    def test_expect_is_seen_and_forwarded(self) -> None:
        request = parse(b"Expect: 100-Continue")
        self.assertTrue(request.expect_continue)
        self.assertEqual(request.forward_lines[-1], b"Expect: 100-Continue")
        self.assertFalse(parse(b"Expect: something").expect_continue)

    def test_extension_methods_pass(self) -> None:
        self.assertEqual(parse(start=b"PROPFIND /x HTTP/1.1").method, b"PROPFIND")

    def test_a_flood_of_field_names_is_forgotten(self) -> None:
        """Names that were proven tokens are remembered, 4096 at most, and so are lines."""
        for number in range(9000):
            parse(b"X-%d: 1" % number)
        self.assertTrue(0 < len(heads._KINDS) <= 4096)
        self.assertTrue(0 < len(heads._LINES) <= 4096)
        self.assertEqual(parse(b"Content-Length: 5").content_length, 5)

    def test_long_lines_and_secrets_are_not_remembered(self) -> None:
        lines = [b"X-Long: " + b"x" * 128, b"Cookie: a=b", b"AUTHORIZATION: Basic YTpi", b"Proxy-Authorization: Basic YTpi", b"Set-Cookie: c"]
        for _ in range(2):
            self.assertTrue(parse(*lines).personal)
        self.assertFalse(set(lines) & set(heads._LINES))

    def test_a_remembered_line_means_the_same_again(self) -> None:
        head = [b"Connection: close, x-hop", b"X-Hop: 1", b"Content-Length: 07", b"content-length:7", b"Keep-Alive: 5", b"X: y", b"X: y", b"TE: a"]
        for _ in range(3):
            request = parse(*head)
            self.assertEqual(request.forward_lines, [HOST, b"Content-Length: 7", b"X: y", b"X: y", b"TE: a"])
            self.assertEqual((request.content_length, request.te, request.keep_alive), (7, b"a", False))
        for _ in range(2):
            self.assertRaises(HTTPError, parse, b"Content-Length: 7", b"content-length: 8")
            self.assertRaises(HTTPError, parse, b"X\x00: y")
            self.assertRaises(HTTPError, parse, HOST)


class KeepingAlive(SynchronousTestCase):
    def test_http_1_1_keeps_alive_unless_told(self) -> None:
        self.assertTrue(parse().keep_alive)
        for value in (b"close", b"Close", b"CLOSE", b"keep-alive, close", b"close, keep-alive", b",close,"):
            for name in (b"Connection: ", b"Proxy-Connection: "):
                self.assertFalse(parse(name + value).keep_alive, value)

    def test_http_1_0_closes_unless_told(self) -> None:
        start = b"GET http://origin.example/ HTTP/1.0"
        self.assertFalse(parse(start=start).keep_alive)
        for value in (b"keep-alive", b"Keep-Alive", b" KEEP-ALIVE", b"x, keep-alive"):
            self.assertTrue(parse(b"Proxy-Connection: " + value, start=start).keep_alive, value)

    def test_close_on_either_line_wins(self) -> None:
        self.assertFalse(parse(b"Connection: close", b"Proxy-Connection: keep-alive").keep_alive)
        self.assertFalse(parse(b"Connection: keep-alive", b"Proxy-Connection: close").keep_alive)


class FindingTheEnd(SynchronousTestCase):
    HEAD = START + b"\r\n" + HOST + b"\r\n\r\n"

    def test_each_byte_asks_for_more_until_the_end(self) -> None:
        buffer = bytearray(b"skip")
        seen = 4
        for index in range(len(self.HEAD)):
            buffer.append(self.HEAD[index])
            end = find_end(buffer, 4, seen)
            self.assertEqual(end, -1 if index < len(self.HEAD) - 1 else len(buffer))
            seen = len(buffer)

    def test_what_follows_is_left(self) -> None:
        self.assertEqual(find_end(self.HEAD + self.HEAD), len(self.HEAD))
        self.assertEqual(find_end(self.HEAD + self.HEAD, len(self.HEAD)), 2 * len(self.HEAD))

    def test_a_head_may_be_as_long_as_the_limit(self) -> None:
        size = len(self.HEAD)
        self.assertEqual(find_end(self.HEAD, limit=size), size)
        self.assertEqual(self.assertRaises(HTTPError, find_end, self.HEAD, limit=size - 1).status, 431)
        self.assertEqual(self.assertRaises(HTTPError, find_end, self.HEAD[:-2], limit=size - 2).status, 431)
        self.assertEqual(find_end(self.HEAD[:-2], limit=size - 1), -1)

    def test_what_cannot_become_a_head_is_refused_at_once(self) -> None:
        for data in (b"\x16\x03\x01\x02\x00", b"GET / HTTP/1.1\n", b"GET / HTTP/1.1\n\n", b"GET / HTTP/1.1\r\nA: b\n", b"\0", b"\n", b" GET"):
            self.assertEqual(self.assertRaises(HTTPError, find_end, data).status, 400, data)

    def test_a_bare_line_feed_is_found_in_pieces(self) -> None:
        buffer = bytearray(b"GET / HTTP/1.1\r")
        self.assertEqual(find_end(buffer), -1)
        buffer += b"\nA: b"
        self.assertEqual(find_end(buffer, 0, 15), -1)
        buffer += b"\n"
        self.assertRaises(HTTPError, find_end, buffer, 0, 20)

    def test_nothing_yet(self) -> None:
        self.assertEqual(find_end(b""), -1)
        self.assertEqual(find_end(b"\r\n"), -1)
