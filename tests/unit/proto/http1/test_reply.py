# SPDX-License-Identifier: Apache-2.0
"""Replies of the proxy itself, read by the standard library's client."""

from __future__ import annotations

import io
from http.client import HTTPResponse
from typing import Any, cast

from twisted.trial.unittest import SynchronousTestCase

from g3.proto.http1.reply import CONTINUE, REASONS, connect_ok, connection_line, reply


def read(data: bytes, method: str = "GET") -> tuple[HTTPResponse, bytes, bytes]:
    """The response, its body, and what is left behind it."""
    file = io.BytesIO(data)

    class Socket:
        def makefile(self, mode: str) -> Any:
            return file

    response = HTTPResponse(cast("Any", Socket()), method=method)
    response.begin()
    where = file
    body = response.read()
    return response, body, where.read() if not where.closed else b""


class Replies(SynchronousTestCase):
    def test_every_status_is_a_whole_html_page(self) -> None:
        for status, reason in REASONS.items():
            if status < 200 or status in {204, 304}:
                continue
            response, body, rest = read(reply(status))
            self.assertEqual((response.status, response.reason, rest), (status, reason, b""))
            self.assertEqual(response.getheader("Content-Type"), "text/html")
            self.assertEqual(response.getheader("Content-Length"), str(len(body)))
            self.assertEqual(response.getheader("Connection"), "Close")
            self.assertIn(f"{status} {reason}".replace("'", "&#x27;").encode(), body.replace(b"'", b"&#x27;"))

    def test_statuses_no_rfc_has(self) -> None:
        reasons = ("Web Server Is Down", "Connection Timed Out", "Origin Is Unreachable", "SSL Handshake Failed", "Origin DNS Error")
        for status, reason in zip((521, 522, 523, 525, 530), reasons, strict=True):
            self.assertTrue(reply(status).startswith(f"HTTP/1.1 {status} {reason}\r\n".encode()))

    def test_version_and_keep_alive(self) -> None:
        data = reply(407, 10, close=False, extra=[b'Proxy-Authenticate: Basic realm="proxy"'])
        self.assertTrue(data.startswith(b'HTTP/1.0 407 Proxy Authentication Required\r\nProxy-Authenticate: Basic realm="proxy"\r\n'))
        self.assertIn(b"\r\nConnection: Keep-Alive\r\n", data)

    def test_a_message_is_escaped(self) -> None:
        self.assertIn(b"<h1>a &lt;b&gt;</h1>", reply(400, message="a <b>"))

    def test_head_gets_the_length_but_no_body(self) -> None:
        full = reply(404)
        self.assertEqual(reply(404, head=True), full[: full.index(b"\r\n\r\n") + 4])
        self.assertEqual(reply(404), full)

    def test_connect_ok_has_no_length(self) -> None:
        self.assertEqual(connect_ok(), b"HTTP/1.1 200 OK\r\n\r\n")
        self.assertEqual(connect_ok(10, [b"X-A: b"]), b"HTTP/1.0 200 OK\r\nX-A: b\r\n\r\n")

    def test_continue(self) -> None:
        self.assertEqual(CONTINUE, b"HTTP/1.1 100 Continue\r\n\r\n")

    def test_te_is_named_in_connection(self) -> None:
        self.assertEqual(connection_line(True), b"Connection: Keep-Alive")
        self.assertEqual(connection_line(False, te=True), b"Connection: Close, TE")
