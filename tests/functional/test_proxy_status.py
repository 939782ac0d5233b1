# SPDX-License-Identifier: Apache-2.0
"""C{proxy_status} of http_proxy: what error answers say, and what is not said."""

from __future__ import annotations

from tests.functional.processes import free_port
from tests.functional.test_http_proxy import ProxyCase, get


class ProxyStatusTests(ProxyCase):
    """One daemon with it, one without."""

    def test_error_answers_say_why_and_others_say_nothing(self) -> None:
        """Forward, CONNECT, FTP and what is no request; not an origin's own error, nor anything without the key."""
        origin = self.origin(lambda _request: b"HTTP/1.1 500 Mine\r\nContent-Length: 0\r\n\r\n")
        port = self.proxy("    proxy_status: true\n    server_id: edge1")
        closed = free_port()
        tunnel = b"CONNECT 127.0.0.1:%d HTTP/1.1\r\nHost: x\r\n\r\n" % closed
        ftp = b"GET ftp://127.0.0.1:%d/f HTTP/1.1\r\nHost: x\r\n\r\n" % closed
        for request, status, word in (
            (get(closed), 521, "connection_refused"),
            (tunnel, 521, "connection_refused"),
            (ftp, 521, "connection_refused"),
            (get(80, host="name.invalid"), 530, "dns_error"),
            (get(80, host="127.0.0.2"), 403, "destination_ip_prohibited"),
            (b"GET / HTTP/1.1\r\nHost: x\r\n\r\n", 501, "http_request_error"),
            (b"GET\r\n\r\n", 400, "http_request_error"),
            (get(origin.port), 500, None),
        ):
            answer = self.client(port).ask(request)
            self.assertEqual(answer.status, status, request)
            said = answer.headers["Proxy-Status"]
            self.assertEqual(said and said.split("; ")[:2], None if word is None else ['"edge1"', f"error={word}"])
        self.assertIsNone(self.client(self.proxy()).ask(get(closed)).headers["Proxy-Status"])
