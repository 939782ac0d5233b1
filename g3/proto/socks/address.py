# SPDX-License-Identifier: Apache-2.0
"""Addresses as SOCKS writes them (RFC 1928 section 5), and the errors of its messages."""

from __future__ import annotations

import socket
from functools import lru_cache
from ipaddress import IPv6Address
from typing import Final

from g3.errors import ProtocolError
from g3.proto.http1.uri import parse_host

IPV4: Final = 1
DOMAIN: Final = 3
IPV6: Final = 4

_MAPPED: Final = b"\0" * 10 + b"\xff\xff"


class SocksError(ProtocolError):
    """The peer broke SOCKS. C{reply} is the SOCKS 5 reply code that tells it so, 0 where it is told nothing."""

    def __init__(self, message: str, reply: int = 0) -> None:
        super().__init__(message)
        self.reply = reply


def host_of(kind: int, raw: bytes) -> str:
    """The one spelling of a host: C{raw} are the bytes of an address of type C{kind}, or a name. A v4-mapped address comes out as IPv4.

    @raise SocksError: no such name can be.
    """
    if kind == IPV4:
        return socket.inet_ntoa(raw)
    if kind == IPV6:
        return socket.inet_ntoa(raw[12:]) if raw.startswith(_MAPPED) else socket.inet_ntop(socket.AF_INET6, raw)
    return name_of(raw)


@lru_cache(maxsize=4096)
def name_of(raw: bytes) -> str:
    """A name as clients write it: a host name in ASCII or UTF-8, or an address in text, an IPv6 one without brackets.

    Answers are cached (4096 of at most 255 bytes).

    @raise SocksError: it is empty or no host.
    """
    try:
        if b":" in raw:
            address = IPv6Address(raw.decode("ascii"))
            if address.scope_id:
                raise SocksError("an address with a zone")
            return str(address.ipv4_mapped or address)
        if raw[:1] == b"[":
            raise SocksError("bad host name")
        return parse_host(raw)
    except (ProtocolError, ValueError, IndexError) as error:
        raise error if isinstance(error, SocksError) else SocksError("bad host name") from None


def parse_address(data: bytes, start: int) -> tuple[str, int, int] | None:
    """Host, port and end of the address at C{start}: type, address, port. None while it is not all there.

    @raise SocksError: the type is unknown (reply 8), or the name is none.
    """
    size = len(data)
    if size <= start:
        return None
    kind = data[start]
    at = start + 1
    if kind == IPV4:
        end = at + 4
    elif kind == IPV6:
        end = at + 16
    elif kind == DOMAIN:
        if size <= at:
            return None
        if not data[at]:
            raise SocksError("an empty host name")
        end = at + 1 + data[at]
        at += 1
    else:
        raise SocksError(f"address type {kind} is unknown", 8)
    if size < end + 2:
        return None
    return host_of(kind, data[at:end]), data[end] << 8 | data[end + 1], end + 2


@lru_cache(maxsize=4096)
def write_address(host: str, port: int) -> bytes:
    """An address for a message: C{host} is an address or an A-label of at most 255 bytes. Answers are cached.

    @raise ValueError: the name is too long or empty.
    """
    tail = port.to_bytes(2, "big")
    if ":" in host:
        return b"\4" + socket.inet_pton(socket.AF_INET6, host) + tail
    if host[-1:].isdigit():
        try:
            return b"\1" + socket.inet_pton(socket.AF_INET, host) + tail
        except OSError:  # a name that ends in a digit
            pass
    name = host.encode("ascii")
    if not 0 < len(name) < 256:
        raise ValueError("a host name has 1 to 255 bytes")
    return b"\3" + bytes((len(name),)) + name + tail
