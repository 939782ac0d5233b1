# SPDX-License-Identifier: Apache-2.0
"""What a proxy writes into a request about the way that it came: Via (RFC 9110 section 7.6.3), Forwarded (RFC 7239), X-Forwarded-For."""

from __future__ import annotations

from typing import TYPE_CHECKING

from g3.proto.http1.headers import OWS, TOKEN, field_values
from g3.proto.http1.uri import authority

if TYPE_CHECKING:
    from collections.abc import Iterator

_NO_TOKEN = bytes.maketrans(bytes(set(range(256)) - set(TOKEN)), b"-" * (256 - len(TOKEN)))


def pseudonym(name: str) -> bytes:
    """C{name} as it may stand in Via: what no token may have is a C{-}."""
    return name.encode("latin-1", "replace").translate(_NO_TOKEN)


def via_line(version: int, received_by: bytes) -> bytes:
    """The line (no CRLF) of a hop that got a request of HTTP/1.C{version - 10}."""
    return b"Via: HTTP/1.%d %b" % (version - 10, received_by)


def came_by(lines: list[bytes], received_by: bytes) -> bool:
    """Whether an element of a Via field among C{lines} names C{received_by}; a host's name has no case."""
    wanted = received_by.lower()
    return any(found.lower() == wanted for value in field_values(lines, b"via") for found in _received_by(value))


def _received_by(value: bytes) -> Iterator[bytes]:
    """The second word of each element. A comma in a comment begins another element, of words that are nobody's name."""
    for element in value.split(b","):
        words = element.strip(OWS).split(None, 2)
        if len(words) > 1:
            yield words[1]


def x_forwarded_for(client: tuple[str, int]) -> bytes:
    """The line (no CRLF), the address alone."""
    return b"X-Forwarded-For: " + client[0].encode()


def forwarded(client: tuple[str, int], server: tuple[str, int]) -> bytes:
    """The line (no CRLF): C{for} whom, and C{by} whom. Quoted, as what has a colon must be (RFC 7239 section 4)."""
    return b'Forwarded: for="%b";by="%b"' % (authority(*client), authority(*server))
