# SPDX-License-Identifier: Apache-2.0
"""What the proxy answers itself (upstream: protocol/client/http): a small HTML page, the CONNECT 200, the 100."""

from __future__ import annotations

from functools import lru_cache
from html import escape
from http import HTTPStatus
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterable

REASONS: Final[dict[int, str]] = {status.value: status.phrase for status in HTTPStatus} | {
    413: "Payload Too Large",
    414: "URI Too Long",
    416: "Range Not Satisfiable",
    521: "Web Server Is Down",
    522: "Connection Timed Out",
    523: "Origin Is Unreachable",
    525: "SSL Handshake Failed",
    530: "Origin DNS Error",
}

#: Lines (no CRLF) for a head's sender; upstream's spelling.
CONNECTION_KEEP_ALIVE: Final = b"Connection: Keep-Alive"
CONNECTION_CLOSE: Final = b"Connection: Close"

_VERSIONS: Final = {10: "HTTP/1.0", 11: "HTTP/1.1"}


def connection_line(keep_alive: bool, te: bool = False) -> bytes:
    """The Connection line (no CRLF); C{te}: the head has a TE field, which has to be named (RFC 9110 section 10.1.4)."""
    line = CONNECTION_KEEP_ALIVE if keep_alive else CONNECTION_CLOSE
    return line + b", TE" if te else line


def reply(status: int, version: int = 11, *, close: bool = True, extra: Iterable[bytes] = (), message: str = "", head: bool = False) -> bytes:
    """A whole response with an HTML page that says the status, or C{message}.

    @param extra: more header lines, without CRLF. C{head}: leave the body out, as the answer to HEAD does.
    """
    extra = tuple(extra)
    if not extra and not message:
        return _plain(status, version, close, head)
    return _build(status, version, close, head, message, extra)


def head(status: int, version: int, lines: Iterable[bytes], *, close: bool) -> bytes:
    """The head of a response whose body follows; C{lines} are its header lines without CRLF, but for Connection."""
    title = f"{_VERSIONS[version]} {status} {REASONS.get(status, 'Unknown')}".encode("ascii")
    return b"\r\n".join([title, *lines, CONNECTION_CLOSE if close else CONNECTION_KEEP_ALIVE, b"\r\n"])


@lru_cache(maxsize=256)
def _plain(status: int, version: int, close: bool, head: bool) -> bytes:
    return _build(status, version, close, head, "", ())


def _build(status: int, version: int, close: bool, head: bool, message: str, extra: tuple[bytes, ...]) -> bytes:
    title = f"{status} {REASONS.get(status, 'Unknown')}"
    body = b""
    lines = [f"{_VERSIONS[version]} {title}".encode("ascii"), *extra]
    if status >= 200 and status != 204:
        body = f"<!DOCTYPE html>\n<title>{title}</title>\n<h1>{escape(message or title)}</h1>\n".encode()
        lines += [b"Content-Type: text/html", b"Content-Length: %d" % len(body)]
    lines += [CONNECTION_CLOSE if close else CONNECTION_KEEP_ALIVE, b"\r\n"]
    return b"\r\n".join(lines) + (b"" if head else body)


def connect_ok(version: int = 11, extra: Iterable[bytes] = ()) -> bytes:
    """The answer that turns the connection into a tunnel: no length, no Connection (RFC 9110 section 9.3.6)."""
    return b"\r\n".join([_OK[version], *extra, b"\r\n"])


_OK: Final = {10: b"HTTP/1.0 200 OK", 11: b"HTTP/1.1 200 OK"}

#: The interim answer to C{Expect: 100-continue}; only an HTTP/1.1 client gets one.
CONTINUE: Final = b"HTTP/1.1 100 Continue\r\n\r\n"
