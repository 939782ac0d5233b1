# SPDX-License-Identifier: Apache-2.0
"""What every HTTP server must refuse, since two parsers could see the end of it in two places."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tests.functional.harness import FunctionalTestCase
from tests.functional.peers import RecordingOrigin, answer_ok
from tests.functional.processes import free_port
from tests.functional.rawhttp import RawClient

if TYPE_CHECKING:
    from collections.abc import Callable

CONFIG = """
runtime: {{thread_number: 0}}
log: discard
resolver:
  - {{name: r, type: deny_all}}
escaper:
  - name: e
    type: direct_fixed
    resolver: r
    egress_network_filter: {{default: allow, allow: 127.0.0.1}}
server:
  - name: http
    listen: 127.0.0.1:{port}
    escaper: e
    req_header_max_size: 16K
    rsp_header_max_size: 16K
    {server}
"""

SMUGGLED = b"GET /smuggled HTTP/1.1\r\nHost: x\r\n\r\n"


class FramingCase(FunctionalTestCase):
    """One daemon and one recording origin for each test. C{server}: the type of the server, and what else it needs."""

    answer = None
    server = "type: http_proxy"

    def setUp(self) -> None:
        super().setUp()
        self.origin = self.recording(self.answer or answer_ok)
        self.port = free_port()
        self.daemon = self.start_daemon(CONFIG.format(port=self.port, server=self.server.format(origin=self.origin.port)), ports=[self.port])

    def recording(self, answer: Callable[[bytes], bytes] | None) -> RecordingOrigin:
        origin = RecordingOrigin(answer)
        self.addCleanup(origin.close)
        return origin

    def head(
        self, *lines: bytes, method: bytes = b"POST", version: bytes = b"HTTP/1.1", host: bool = True, origin: RecordingOrigin | None = None
    ) -> bytes:
        port = (origin or self.origin).port
        first = [b"%b http://127.0.0.1:%d/ %b" % (method, port, version)] + ([b"Host: 127.0.0.1:%d" % port] if host else [])
        return b"\r\n".join([*first, *lines, b"", b""])


class BadRequests(FramingCase):
    """A bad request is answered, the connection closes, and the origin stays clean."""

    def refused(self, data: bytes, status: int) -> None:
        with RawClient(self.port) as client:
            client.send(data)
            got = client.everything()
        self.assertTrue(got.startswith((b"HTTP/1.1 %d " % status, b"HTTP/1.0 %d " % status)), (data[:200], status, got[:80]))
        self.assertEqual(got.count(b"HTTP/1."), 1, "one answer and no more")
        self.assertEqual(self.origin.everything, b"", data[:200])

    def test_bad_heads_are_refused_and_reach_no_origin(self) -> None:
        """Every rule of RFC 9112 that keeps the ends of messages unambiguous."""
        head = self.head
        cases = [
            (head(b"Content-Length : 5") + b"hello", 400),
            (head(b"Content-Length: +5") + b"hello", 400),
            (head(b"Content-Length: 5, 6") + b"hello", 400),
            (head(b"Content-Length: 5", b"Content-Length: 6") + b"hello" + SMUGGLED, 400),
            (head(b"Content-Length: 0x5") + b"hello", 400),
            (head(b"Content-Length: -1"), 400),
            (head(b"Content-Length: 99999999999999999999999"), 400),
            (head(b"Transfer-Encoding: chunked, chunked") + b"0\r\n\r\n", 400),
            (head(b"Transfer-Encoding: chunked", b"Transfer-Encoding: chunked") + b"0\r\n\r\n", 400),
            (head(b"Transfer-Encoding: chunked, identity") + b"0\r\n\r\n" + SMUGGLED, 501),
            (head(b"Transfer-Encoding: chunked, gzip") + b"0\r\n\r\n" + SMUGGLED, 400),
            (head(b"Transfer-Encoding: gzip") + SMUGGLED, 400),
            (head(b"Transfer-Encoding: gzip, chunked") + b"0\r\n\r\n", 501),
            (head(b"Transfer-Encoding: xchunked") + b"0\r\n\r\n", 501),
            (head(b"Transfer-Encoding: chunked", version=b"HTTP/1.0") + b"0\r\n\r\n", 400),
            (head(b"Transfer-Encoding:\x0bchunked") + b"0\r\n\r\n", 400),
            (head(b"X: a\rb"), 400),
            (head(b"X: a\nb: c"), 400),
            (head(b"X: a\0b"), 400),
            (head(b"X: a", b" folded"), 400),
            (head(b"Host: other"), 400),
            (head(host=False, method=b"GET"), 400),
            (head(b"no colon here"), 400),
            (head(b": empty"), 400),
            (b"GET  http://127.0.0.1/ HTTP/1.1\r\nHost: x\r\n\r\n", 400),
            (b"GET http://127.0.0.1/ HTTP/1.1 x\r\nHost: x\r\n\r\n", 400),
            (b"G\x00T http://127.0.0.1/ HTTP/1.1\r\nHost: x\r\n\r\n", 400),
            (b"GET http://127.0.0.1/\r\n\r\n", 400),
            (head(version=b"HTTP/2.0", method=b"GET"), 505),
            (head(version=b"HTTP/1.2", method=b"GET"), 505),
            (head(b"Upgrade: websocket", b"Connection: upgrade", method=b"GET"), 501),
            (head(b"X: " + b"a" * 20000, method=b"GET"), 431),
            (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 505),
        ]
        for data, status in cases:
            self.refused(data, status)

    def test_a_fault_in_the_body_that_came_with_the_head_reaches_nobody(self) -> None:
        """Body bytes that are there already are checked before the first byte goes upstream."""
        chunked = self.head(b"Transfer-Encoding: chunked")
        for body in (
            b"5\r\nhello\r\nzz\r\n",
            b"5\nhello\r\n0\r\n\r\n",
            b"5\r\nhelloX\r\n0\r\n\r\n",
            b"-1\r\n\r\n",
            b"5;a=\x00b\r\nhello\r\n0\r\n\r\n",
            b"fffffffffffffffff\r\n",
            b"0\r\nContent-Length: 5\r\n\r\n",
            b"0\r\n folded\r\n\r\n",
            b"5 \r\nhello\r\n0\r\n\r\n",
        ):
            self.refused(chunked + body, 400)
