# SPDX-License-Identifier: Apache-2.0
"""Where a request goes, and the request head that goes there."""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING

from g3.task import Upstream

if TYPE_CHECKING:
    from g3.net.tls.provider import ClientTLS
    from g3.proto.http1.request import Request
    from g3.proto.http1.uri import Target as URITarget
    from g3.task import PathSelection


@lru_cache(maxsize=4096)
def _upstream(host: str, port: int) -> Upstream:
    return Upstream(host, port)


class Target:
    """The upstream of a request and how to spell it.

    @ivar tls: the TLS to speak with the upstream, for C{tls_name}; None for plain TCP.
    @ivar path: selects among the escaper's ways out.
    """

    __slots__ = ("path", "tls", "tls_name", "upstream", "uri")

    def __init__(self, uri: URITarget, tls: ClientTLS | None, tls_name: str, path: PathSelection | None) -> None:
        self.uri = uri
        self.upstream = _upstream(uri.host, uri.port)
        self.tls = tls
        self.tls_name = tls_name
        self.path = path

    def logged(self, request: Request) -> bytes:
        """The URI as the task log has it: absolute, whatever the client sent."""
        return request.target if request.target[:1] != b"/" else self.uri.absolute()

    def head(self, request: Request, absolute: bool, header_lines: bytes, keep: bool) -> bytes:
        """The whole head of the request to send: C{absolute} for a next proxy, C{keep} to ask for a persistent connection."""
        if not keep:
            connection = b"Connection: close\r\n" if request.te is None else b"Connection: close, TE\r\n"
        elif request.version == 10:
            connection = b"Connection: keep-alive\r\n"
        else:
            connection = b"" if request.te is None else b"Connection: TE\r\n"
        path = self.uri.absolute() if absolute else self.uri.path_query
        line = request.method + b" " + path + (b" HTTP/1.1" if request.version == 11 else b" HTTP/1.0")
        return b"\r\n".join([line, *request.forward_lines, header_lines + connection + b"\r\n"])
