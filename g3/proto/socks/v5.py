# SPDX-License-Identifier: Apache-2.0
"""SOCKS 5: the choice of a method, user name and password, requests and replies (RFC 1928, RFC 1929)."""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING, Final, NamedTuple

from g3.proto.socks.address import DOMAIN, SocksError, parse_address, write_address

if TYPE_CHECKING:
    from collections.abc import Iterable

VERSION: Final = 5

NO_AUTH: Final = 0
USER: Final = 2
NO_METHOD: Final = 0xFF

CONNECT: Final = 1
BIND: Final = 2
UDP_ASSOCIATE: Final = 3

#: Replies (RFC 1928 section 6); TIMED_OUT is upstream's own.
SUCCEEDED, FAILED, NOT_ALLOWED, NETWORK_UNREACHABLE, HOST_UNREACHABLE, REFUSED, TTL_EXPIRED, NO_COMMAND, NO_ADDRESS_TYPE, TIMED_OUT = range(10)

#: What a reply says of an address when there is none.
NOWHERE: Final = ("0.0.0.0", 0)

_AUTH_VERSION: Final = 1


class Request(NamedTuple):
    """What a client asks for; for UDP ASSOCIATE the address it means to send from, unspecified where it does not know."""

    command: int
    host: str
    port: int


def _version(data: bytes, wanted: int, what: str) -> None:
    if data and data[0] != wanted:
        raise SocksError(f"{what} of version {data[0]}, not {wanted}")


# -- method


def parse_methods(data: bytes) -> tuple[bytes, int] | None:
    """The methods a client offers, one a byte, and where its greeting ends. There may be none, and 255 is none: the answer to both is
    L{NO_METHOD} (RFC 1928 section 3).

    @raise SocksError: it is not of SOCKS 5.
    """
    _version(data, VERSION, "a greeting")
    if len(data) < 2:
        return None
    end = 2 + data[1]
    return (data[2:end], end) if len(data) >= end else None


def greeting(methods: Iterable[int]) -> bytes:
    """What a client says first."""
    offered = bytes(methods)
    return bytes((VERSION, len(offered))) + offered


def method_reply(method: int) -> bytes:
    """The server's choice."""
    return bytes((VERSION, method))


def parse_method_reply(data: bytes) -> tuple[int, int] | None:
    """The method chosen, and where the answer ends.

    @raise SocksError: it is not of SOCKS 5.
    """
    _version(data, VERSION, "a choice of method")
    return (data[1], 2) if len(data) >= 2 else None


# -- user name and password


def parse_credentials(data: bytes) -> tuple[str, str, int] | None:
    """User name, password and where the message ends. Both are UTF-8; either may be empty.

    @raise SocksError: it is none.
    """
    _version(data, _AUTH_VERSION, "credentials")
    size = len(data)
    if size < 2:
        return None
    middle = 2 + data[1]
    if size <= middle:
        return None
    end = middle + 1 + data[middle]
    if size < end:
        return None
    try:
        return data[2:middle].decode(), data[middle + 1 : end].decode(), end
    except UnicodeDecodeError:
        raise SocksError("the credentials are not text") from None


def credentials(name: str, password: str) -> bytes:
    """What a client says of itself.

    @raise ValueError: one is longer than 255 bytes.
    """
    user, secret = name.encode(), password.encode()
    if len(user) > 255 or len(secret) > 255:
        raise ValueError("a user name and a password have at most 255 bytes each")
    return bytes((_AUTH_VERSION, len(user))) + user + bytes((len(secret),)) + secret


def auth_reply(accepted: bool) -> bytes:
    """Whether the credentials are right."""
    return bytes((_AUTH_VERSION, 0 if accepted else 1))


def parse_auth_reply(data: bytes) -> tuple[bool, int] | None:
    """The same, read, and where it ends.

    @raise SocksError: it is none.
    """
    _version(data, _AUTH_VERSION, "an answer to credentials")
    return (data[1] == 0, 2) if len(data) >= 2 else None


# -- request and reply


def parse_request(data: bytes) -> tuple[Request, int] | None:
    """A request, and where it ends. Any command is read.

    A name in UDP ASSOCIATE is no address to send from, so that it is refused with reply 8; but the name C{0}, which stands for no address
    with some clients, comes out as the host "".

    @raise SocksError: it is none; C{reply} says what to answer.
    """
    _version(data, VERSION, "a request")
    if len(data) > 4 and data[1] == UDP_ASSOCIATE and data[3] == DOMAIN:
        return _no_address(data)
    found = parse_address(data, 3)
    if found is None:
        return None
    host, port, end = found
    return Request(data[1], host, port), end


def _no_address(data: bytes) -> tuple[Request, int] | None:
    name = data[4:6]
    if name[0] != 1 or name[1:] not in (b"", b"0"):
        raise SocksError("a name is no address to send datagrams from", NO_ADDRESS_TYPE)
    return (Request(UDP_ASSOCIATE, "", data[6] << 8 | data[7]), 8) if len(data) >= 8 else None


def request(command: int, host: str, port: int) -> bytes:
    """What a client asks for.

    @raise ValueError: the name is too long.
    """
    return bytes((VERSION, command, 0)) + write_address(host, port)


def reply(code: int, address: tuple[str, int] = NOWHERE) -> bytes:
    """The server's answer, with the address it uses where it succeeded."""
    return _NOTHING[code] if code < len(_NOTHING) and address is NOWHERE else bytes((VERSION, code, 0)) + write_address(*address)


_NOTHING: Final = tuple(bytes((VERSION, code, 0)) + write_address(*NOWHERE) for code in range(10))


def parse_reply(data: bytes) -> tuple[int, str, int, int] | None:
    """Code, host, port and end of a reply.

    @raise SocksError: it is none.
    """
    _version(data, VERSION, "a reply")
    found = parse_address(data, 3)
    return None if found is None else (data[1], *found)


# -- datagrams


def parse_datagram(data: bytes) -> tuple[str, int, int]:
    """Host and port a datagram is for or from, and where its payload begins (RFC 1928 section 7).

    @raise SocksError: it has no such header, or is a fragment.
    """
    if len(data) < 4:
        raise SocksError("a datagram without a header")
    if data[0] or data[1]:
        raise SocksError("reserved bytes of a datagram are not 0")
    if data[2]:
        raise SocksError("a fragment of a datagram")
    found = parse_address(data, 3)
    if found is None:
        raise SocksError("a datagram with half a header")
    return found


@lru_cache(maxsize=4096)
def datagram_header(host: str, port: int) -> bytes:
    """What stands before the payload of a datagram. Answers are cached."""
    return b"\0\0\0" + write_address(host, port)
