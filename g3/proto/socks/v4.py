# SPDX-License-Identifier: Apache-2.0
"""SOCKS 4 and 4a: one request, one reply of eight bytes (the SOCKS 4 and SOCKS 4A protocol notes of NEC)."""

from __future__ import annotations

import socket
from functools import lru_cache
from typing import Final, NamedTuple

from g3.proto.socks.address import SocksError, name_of

VERSION: Final = 4
CONNECT: Final = 1
BIND: Final = 2

GRANTED: Final = 90
REJECTED: Final = 91

#: Bytes of the longest user id and name, each with the NUL that ends it.
MAX_USER_ID: Final = 512
MAX_NAME: Final = 256

_HEAD: Final = 8


class Request(NamedTuple):
    """What a client asks for. C{user_id} is what it calls itself, unproven."""

    command: int
    host: str
    port: int
    user_id: str


def parse_request(data: bytes) -> tuple[Request, int] | None:
    """A request, version byte included, and where it ends.

    An address C{0.0.0.x} with x not 0 says that a name follows the user id (4a).

    @raise SocksError: it is none, or a part of it is too long.
    """
    size = len(data)
    if size > 1 and data[1] not in (CONNECT, BIND):
        raise SocksError(f"command {data[1]} is not of SOCKS 4")
    if size <= _HEAD:
        return None
    end = _terminated(data, _HEAD, MAX_USER_ID, "user id")
    if end < 0:
        return None
    try:
        user_id = data[_HEAD:end].decode()
    except UnicodeDecodeError:
        raise SocksError("the user id is not text") from None
    port = data[2] << 8 | data[3]
    if data[4:7] != b"\0\0\0" or not data[7]:
        return Request(data[1], socket.inet_ntoa(data[4:8]), port, user_id), end + 1
    start = end + 1
    end = _terminated(data, start, MAX_NAME, "host name")
    if end < 0:
        return None
    return Request(data[1], name_of(data[start:end]), port, user_id), end + 1


def _terminated(data: bytes, start: int, most: int, what: str) -> int:
    """Where the NUL is that ends a text, -1 while it has not come."""
    end = data.find(b"\0", start, start + most)
    if end < 0 and len(data) >= start + most:
        raise SocksError(f"the {what} is longer than {most - 1} bytes")
    return end


def request(command: int, host: str, port: int, user_id: str = "") -> bytes:
    """A request: 4 for an IPv4 address, 4a for a name.

    @raise ValueError: an IPv6 address has no form in SOCKS 4; or a part is too long or has a NUL.
    """
    user, tail = user_id.encode(), b""
    if ":" in host:
        raise ValueError("SOCKS 4 knows no IPv6 address")
    try:
        address = socket.inet_pton(socket.AF_INET, host)
    except OSError:
        address, tail = b"\0\0\0\1", host.encode("ascii") + b"\0"
    if len(user) >= MAX_USER_ID or len(tail) > MAX_NAME or b"\0" in user + tail[:-1]:
        raise ValueError("too long, or a NUL in it")
    return b"\4" + bytes((command,)) + port.to_bytes(2, "big") + address + user + b"\0" + tail


@lru_cache(maxsize=256)
def reply(code: int, host: str = "0.0.0.0", port: int = 0) -> bytes:
    """A reply; the address means something for BIND only."""
    return b"\0" + bytes((code,)) + port.to_bytes(2, "big") + socket.inet_pton(socket.AF_INET, host)


def parse_reply(data: bytes) -> tuple[int, str, int, int] | None:
    """Code, host, port and end of a reply.

    @raise SocksError: it is none.
    """
    if data[:1] not in (b"", b"\0"):
        raise SocksError("not a SOCKS 4 reply")
    if len(data) < _HEAD:
        return None
    return data[1], socket.inet_ntoa(data[4:8]), data[2] << 8 | data[3], _HEAD
