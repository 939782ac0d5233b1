# SPDX-License-Identifier: Apache-2.0
"""Asking a next proxy for a tunnel: the CONNECT request and its answer (RFC 9110 section 9.3.6)."""

from __future__ import annotations

from base64 import b64encode
from typing import TYPE_CHECKING

from g3.proto.http1.headers import HTTPError
from g3.proto.http1.response import find_end, parse_response
from g3.proto.http1.uri import authority

if TYPE_CHECKING:
    from collections.abc import Iterable

    from g3.proto.http1.response import Response

#: Answers of next proxies that mean that their upstream was too slow.
TIMEOUTS = frozenset({504, 522, 524})

_MAX_INTERIM = 8


def basic_credentials(name: str, password: str) -> bytes:
    """A Proxy-Authorization line (no CRLF) for Basic (RFC 7617), in UTF-8."""
    return b"Proxy-Authorization: Basic " + b64encode(f"{name}:{password}".encode())


def connect_request(host: str, port: int, extra: Iterable[bytes] = ()) -> bytes:
    """The request for a tunnel; C{extra}: more header lines, without CRLF."""
    target = authority(host, port)
    return b"\r\n".join([b"CONNECT %b HTTP/1.1" % target, b"Host: %b" % target, b"Connection: keep-alive", *extra, b"\r\n"])


class ConnectReader:
    """Reads the answer. Interim answers are passed over, 8 of them at most; all heads together have C{limit} bytes at most."""

    __slots__ = ("_buffer", "_interim", "_limit", "_seen", "response", "rest")

    def __init__(self, limit: int = 4096) -> None:
        self._buffer = bytearray()
        self._limit = limit
        self._seen = 0
        self._interim = 0
        #: The final answer.
        self.response: Response | None = None
        #: What came behind its head: the first bytes of the tunnel, when the answer is a 2xx.
        self.rest = b""

    @property
    def accepted(self) -> bool:
        return self.response is not None and 200 <= self.response.status < 300

    def feed(self, data: bytes) -> bool:
        """Take bytes; true once the final head is there (do not feed any more then).

        @raise HTTPError: 502: no HTTP answer, too large, or 101.
        """
        buffer = self._buffer
        buffer += data
        while (end := find_end(buffer, 0, self._seen, self._limit)) >= 0:
            response = parse_response(bytes(buffer[:end]), b"CONNECT")
            del buffer[:end]
            self._seen = 0
            if response.status >= 200:
                self.response = response
                self.rest = bytes(buffer)
                buffer.clear()
                return True
            self._pass_over(response, end)
        self._seen = len(buffer)
        return False

    def _pass_over(self, response: Response, size: int) -> None:
        self._interim += 1
        self._limit -= size
        if response.status == 101 or self._interim > _MAX_INTERIM:
            raise HTTPError("bad answer to CONNECT", 502)
