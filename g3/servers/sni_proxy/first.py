# SPDX-License-Identifier: Apache-2.0
"""Whom the first bytes of a connection name: the SNI of a TLS client hello, or the Host of an HTTP/1 request."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

from g3.errors import ProtocolError
from g3.proto.http1.headers import HTTPError
from g3.proto.http1.request import find_end, parse_request
from g3.proto.http1.uri import parse_authority
from g3.proto.tls.clienthello import HANDSHAKE, HelloReader, TLSError
from g3.task import Upstream

if TYPE_CHECKING:
    from g3.proto.http1.request import Request
    from g3.proto.tls.clienthello import ClientHello

#: Bytes of an HTTP head at most.
MAX_HEAD: Final = 65536
#: Clients whose hello says an older version (SSL 3, TLS 1.0 and 1.1) are not served, as upstream.
_OLDEST: Final = 0x0303
_ABSOLUTE: Final = re.compile(rb"[A-Za-z][A-Za-z0-9+.-]*://(?:[^/?#@]*@)?([^/?#]*)")


class FirstBytes:
    """Reads until the upstream is known. C{data} is all that was read, for the upstream to get it unchanged.

    Memory: what is read before the limits are met; a client hello in records of one byte takes six times its size.
    """

    __slots__ = ("_hello", "_max_uri", "_port", "_seen", "data")

    def __init__(self, port: int, max_hello: int, max_uri: int) -> None:
        """@param port: where the client came to, for those that name none. @param max_hello: C{max_uri}: bytes."""
        self._port = port
        self._max_uri = max_uri
        self._hello = HelloReader(max_hello)
        self._seen = 0
        self.data = bytearray()

    def feed(self, data: bytes) -> Upstream | None:
        """Take bytes; the upstream once they name it.

        @raise ProtocolError: they are of another protocol, name nobody or are too many.
        """
        self.data += data
        if self.data[0] == HANDSHAKE:
            hello = self._hello.feed(data)
            return None if hello is None else Upstream(_named_by(hello), self._port)
        return self._request()

    def _request(self) -> Upstream | None:
        seen, self._seen = self._seen, len(self.data)
        end = find_end(self.data, 0, seen, MAX_HEAD)
        if end < 0:
            if b"\n" not in self.data and len(self.data) > self._max_uri + 64:
                raise HTTPError("request target too long")
            return None
        request = parse_request(bytes(self.data[:end]))
        if len(request.target) > self._max_uri:
            raise HTTPError("request target too long")
        return Upstream(*parse_authority(_authority(request), self._port))


def _named_by(hello: ClientHello) -> str:
    if hello.version < _OLDEST:
        raise TLSError("an old version of TLS")
    name = hello.server_name
    if not name:
        raise TLSError("no server_name")
    return name


def _authority(request: Request) -> bytes:
    """Whom a request is for: an absolute target counts before Host (RFC 9112 section 3.2.2)."""
    if request.method == b"CONNECT":
        found: bytes | None = request.target
    else:
        absolute = _ABSOLUTE.match(request.target)
        found = request.host if absolute is None else absolute[1]
    if not found:
        raise ProtocolError("no Host")
    return found
