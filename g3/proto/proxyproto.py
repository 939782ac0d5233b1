# SPDX-License-Identifier: Apache-2.0
"""The PROXY protocol, versions 1 and 2 (haproxy: doc/proxy-protocol.txt): who the client behind a connection is."""

from __future__ import annotations

import socket
import struct
from dataclasses import dataclass
from functools import lru_cache
from ipaddress import IPv4Address, IPv6Address, ip_address
from typing import TYPE_CHECKING, Final

from g3.errors import ProtocolError, ProxyProtocolEncodeError

if TYPE_CHECKING:
    from collections.abc import Iterable

#: (ip, port); a v4-mapped address is written as IPv4.
Address = tuple[str, int]

SIGNATURE: Final = b"\r\n\r\n\0\r\nQUIT\n"
#: Bytes of the longest version 1 header, CRLF included.
MAX_V1: Final = 107
#: Bytes behind the 16 of a version 2 header, unless the caller says otherwise. The specification promises no more than 536.
MAX_V2: Final = 4096

#: Types of TLVs that are looked at here.
TLV_CRC32C: Final = 0x03
TLV_NOOP: Final = 0x04

_LOCAL: Final = 0
_FAMILIES: Final = {1: (socket.AF_INET, 4), 2: (socket.AF_INET6, 16)}


class ProxyProtocolError(ProtocolError):
    """The peer did not send a PROXY protocol header of the version that was asked for."""


@dataclass(slots=True, frozen=True)
class Header:
    """What a header said. Both addresses are None when it names nobody (LOCAL, UNKNOWN, unspecified): the socket's hold then."""

    client: Address | None
    server: Address | None
    tlvs: tuple[tuple[int, bytes], ...] = ()
    #: The sender speaks for itself (a health check).
    local: bool = False


def encode(version: int, client: Address, server: Address, tlvs: Iterable[tuple[int, bytes]] = ()) -> bytes:
    """A header for a TCP connection from C{client} to C{server}. Version 1 has no room for C{tlvs}.

    @raise ProxyProtocolEncodeError: the addresses are of two families, or the TLVs are too long.
    """
    source, destination = ip_address(client[0]), ip_address(server[0])
    if source.version != destination.version:
        raise ProxyProtocolEncodeError("proxy protocol: client and server addresses are of two families")
    if version == 1:
        return b"PROXY TCP%d %b %b %d %d\r\n" % (source.version, str(source).encode(), str(destination).encode(), client[1], server[1])
    data = source.packed + destination.packed + struct.pack(">HH", client[1], server[1])
    for kind, value in tlvs:
        data += _encode_tlv(kind, value)
    if len(data) > 0xFFFF:
        raise ProxyProtocolEncodeError("proxy protocol: TLVs are too long")
    return SIGNATURE + struct.pack(">BBH", 0x21, 0x11 if source.version == 4 else 0x21, len(data)) + data


def _encode_tlv(kind: int, value: bytes) -> bytes:
    if len(value) > 0xFFFF:
        raise ProxyProtocolEncodeError("proxy protocol: TLVs are too long")
    return struct.pack(">BH", kind, len(value)) + value


def encode_local() -> bytes:
    """A version 2 header that says LOCAL."""
    return SIGNATURE + b"\x20\x00\x00\x00"


class Decoder:
    """Reads one header of C{version} 1 or 2, whatever pieces it comes in. Keeps at most C{limit} (version 1: 107) bytes.

    What is no such header is refused at its first wrong byte.
    """

    __slots__ = ("_buffer", "_limit", "_version", "header", "rest")

    def __init__(self, version: int, limit: int = MAX_V2) -> None:
        self._version = version
        self._limit = limit
        self._buffer = b""
        self.header: Header | None = None
        #: What came behind the header.
        self.rest = b""

    def feed(self, data: bytes) -> bool:
        """Take bytes; true once C{header} is there (do not feed any more then).

        @raise ProxyProtocolError: it is none, or too long.
        """
        buffer = self._buffer = self._buffer + data
        end = self._find_v1(buffer) if self._version == 1 else self._find_v2(buffer)
        if not end:
            return False
        self.header = _parse_v1(buffer[: end - 2]) if self._version == 1 else _parse_v2(buffer[:end])
        self.rest = buffer[end:]
        self._buffer = b""
        return True

    def _find_v1(self, buffer: bytes) -> int:
        if not buffer.startswith(b"PROXY "[: len(buffer)]):
            raise ProxyProtocolError("not a PROXY protocol version 1 header")
        end = buffer.find(b"\n", 0, MAX_V1) + 1
        if (not end and len(buffer) >= MAX_V1) or (end and buffer[end - 2] != 13):
            raise ProxyProtocolError("PROXY protocol version 1 header has no end")
        return end

    def _find_v2(self, buffer: bytes) -> int:
        if not buffer.startswith(SIGNATURE[: len(buffer)]):
            raise ProxyProtocolError("not a PROXY protocol version 2 header")
        if len(buffer) > 12 and buffer[12] not in {0x20, 0x21}:
            raise ProxyProtocolError("PROXY protocol: bad version or command")
        if len(buffer) < 16:
            return 0
        size = int.from_bytes(buffer[14:16], "big")
        if size > self._limit:
            raise ProxyProtocolError("PROXY protocol header is too long")
        return 16 + size if len(buffer) >= 16 + size else 0


def _parse_v1(line: bytes) -> Header:
    words = line.split(b" ")
    if words[1] == b"UNKNOWN":
        return Header(None, None)
    if len(words) != 6 or words[1] not in {b"TCP4", b"TCP6"}:
        raise ProxyProtocolError("bad PROXY protocol version 1 header")
    make = IPv4Address if words[1] == b"TCP4" else IPv6Address
    try:
        client = _spell(make(words[2].decode("ascii"))), _port(words[4])
        return Header(client, (_spell(make(words[3].decode("ascii"))), _port(words[5])))
    except ValueError:
        raise ProxyProtocolError("bad address in a PROXY protocol version 1 header") from None


def _spell(address: IPv4Address | IPv6Address) -> str:
    if isinstance(address, IPv6Address):
        if address.scope_id is not None:
            raise ValueError("scoped address")
        return str(address.ipv4_mapped or address)
    return str(address)


def _port(word: bytes) -> int:
    if not word.isdigit() or len(word) > 5 or (word[:1] == b"0" and len(word) > 1) or int(word) > 65535:
        raise ValueError("bad port")
    return int(word)


def _parse_v2(data: bytes) -> Header:
    if data[12] & 15 == _LOCAL:
        return Header(None, None, local=True)
    family, transport = data[13] >> 4, data[13] & 15
    if transport > 1 or family > 2:
        raise ProxyProtocolError("PROXY protocol: not a TCP connection")
    if not family or not transport:
        return Header(None, None)
    kind, size = _FAMILIES[family]
    body = data[16:]
    end = 2 * size + 4
    if len(body) < end:
        raise ProxyProtocolError("PROXY protocol: addresses are cut off")
    ports = struct.unpack_from(">HH", body, 2 * size)
    tlvs = _parse_tlvs(body[end:])
    sums = [value for tlv, value in tlvs if tlv == TLV_CRC32C]
    if sums:
        if len(sums) > 1:
            raise ProxyProtocolError("PROXY protocol: two checksums")
        _check_crc(data, sums[0])
    hosts = [_spell(ip_address(socket.inet_ntop(kind, body[at : at + size]))) for at in (0, size)]
    return Header((hosts[0], ports[0]), (hosts[1], ports[1]), tlvs)


def _parse_tlvs(data: bytes) -> tuple[tuple[int, bytes], ...]:
    """Every TLV but padding."""
    tlvs = []
    at = 0
    while at < len(data):
        end = at + 3 + int.from_bytes(data[at + 1 : at + 3], "big")
        if at + 3 > len(data) or end > len(data):
            raise ProxyProtocolError("PROXY protocol: TLVs are cut off")
        if data[at] != TLV_NOOP:
            tlvs.append((data[at], data[at + 3 : end]))
        at = end
    return tuple(tlvs)


def _check_crc(data: bytes, value: bytes) -> None:
    """The checksum is over the whole header with its own four bytes zero."""
    if len(value) != 4:
        raise ProxyProtocolError("PROXY protocol: bad checksum TLV")
    at = _crc_offset(data)
    if crc32c(data[:at] + b"\0\0\0\0" + data[at + 4 :]) != int.from_bytes(value, "big"):
        raise ProxyProtocolError("PROXY protocol: wrong checksum")


def _crc_offset(data: bytes) -> int:
    """Where the value of the first checksum TLV stands."""
    at = 16 + (12 if data[13] >> 4 == 1 else 36)
    while data[at] != TLV_CRC32C:
        at += 3 + int.from_bytes(data[at + 1 : at + 3], "big")
    return at + 3


@lru_cache(maxsize=1)
def _crc_table() -> tuple[int, ...]:
    table = []
    for byte in range(256):
        value = byte
        for _ in range(8):
            value = value >> 1 ^ (0x82F63B78 if value & 1 else 0)
        table.append(value)
    return tuple(table)


def crc32c(data: bytes) -> int:
    """The Castagnoli CRC (RFC 3720 appendix B.4)."""
    table = _crc_table()
    value = 0xFFFFFFFF
    for byte in data:
        value = value >> 8 ^ table[(value ^ byte) & 0xFF]
    return value ^ 0xFFFFFFFF
