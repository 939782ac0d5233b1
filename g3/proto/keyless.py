# SPDX-License-Identifier: Apache-2.0
"""The wire format of keyless servers, version 1.0, as Cloudflare's gokeyless speaks it: requests and responses, both ways.

A message is a header of 8 bytes (version 1.0, length of what follows, an id the response repeats), then items of tag, length and value;
all numbers are big endian. No message is longer than L{MAX_MESSAGE} bytes.
"""

from __future__ import annotations

from enum import IntEnum
from struct import Struct
from typing import Final, NamedTuple

from g3.errors import ProtocolError

HEADER: Final = 8
ITEM_HEADER: Final = 3
MAX_MESSAGE: Final = HEADER + 0xFFFF
#: Requests are padded to this many bytes, so that their length tells little.
PADDED: Final = 1024
#: How long key identifier and payload of a request can be together.
MAX_CONTENT: Final = 0xFFFF - 3 * ITEM_HEADER - 1

_VERSION: Final = b"\x01\x00"
_PREFIX: Final = Struct(">2sHI5sH")
#: Tags of items. Others are passed over: certificate digest 0x01, server name 0x02, client address 0x03, server address 0x05.
_KEY_ID, _OPCODE, _PAYLOAD, _PADDING = 0x04, 0x11, 0x12, 0x20


class Opcode(IntEnum):
    """What is asked, or what an answer is. The sign opcodes but Ed25519 take a finished digest."""

    RSA_DECRYPT = 0x01
    RSA_SIGN_MD5_SHA1 = 0x02
    RSA_SIGN_SHA1 = 0x03
    RSA_SIGN_SHA224 = 0x04
    RSA_SIGN_SHA256 = 0x05
    RSA_SIGN_SHA384 = 0x06
    RSA_SIGN_SHA512 = 0x07
    RSA_RAW_DECRYPT = 0x08
    ECDSA_SIGN_MD5_SHA1 = 0x12
    ECDSA_SIGN_SHA1 = 0x13
    ECDSA_SIGN_SHA224 = 0x14
    ECDSA_SIGN_SHA256 = 0x15
    ECDSA_SIGN_SHA384 = 0x16
    ECDSA_SIGN_SHA512 = 0x17
    ED25519_SIGN = 0x18
    RSA_PSS_SIGN_SHA256 = 0x35
    RSA_PSS_SIGN_SHA384 = 0x36
    RSA_PSS_SIGN_SHA512 = 0x37
    RESPONSE = 0xF0
    PING = 0xF1
    PONG = 0xF2
    ERROR = 0xFF


class ErrorCode(IntEnum):
    """Why a request failed; L{ERROR_TEXTS} has the words for it."""

    NO_ERROR = 0
    CRYPTOGRAPHY_FAILED = 1
    KEY_NOT_FOUND = 2
    READ_FAILED = 3
    VERSION_MISMATCH = 4
    BAD_OPCODE = 5
    UNEXPECTED_OPCODE = 6
    MALFORMED = 7
    INTERNAL = 8
    CERTIFICATE_NOT_FOUND = 9
    EXPIRED = 10
    REMOTE_CONFIGURATION = 11


#: As upstream logs them.
ERROR_TEXTS: Final[dict[int, str]] = {
    ErrorCode.NO_ERROR: "no error",
    ErrorCode.CRYPTOGRAPHY_FAILED: "cryptography failure",
    ErrorCode.KEY_NOT_FOUND: "no matching certificate ID",
    ErrorCode.READ_FAILED: "I/O read failure",
    ErrorCode.VERSION_MISMATCH: "unsupported version incorrect",
    ErrorCode.BAD_OPCODE: "use of unknown opcode in request",
    ErrorCode.UNEXPECTED_OPCODE: "use of unexpected opcode in request",
    ErrorCode.MALFORMED: "malformed message",
    ErrorCode.INTERNAL: "memory or other internal error",
    ErrorCode.CERTIFICATE_NOT_FOUND: "certificate not found",
    ErrorCode.EXPIRED: "sealing key expired",
    ErrorCode.REMOTE_CONFIGURATION: "the remote keyserver was not configured correctly",
}

#: Bytes of the digest that each sign opcode takes.
DIGEST_LENGTHS: Final[dict[int, int]] = {
    Opcode.RSA_SIGN_MD5_SHA1: 36,
    Opcode.RSA_SIGN_SHA1: 20,
    Opcode.RSA_SIGN_SHA224: 28,
    Opcode.RSA_SIGN_SHA256: 32,
    Opcode.RSA_SIGN_SHA384: 48,
    Opcode.RSA_SIGN_SHA512: 64,
    Opcode.ECDSA_SIGN_MD5_SHA1: 36,
    Opcode.ECDSA_SIGN_SHA1: 20,
    Opcode.ECDSA_SIGN_SHA224: 28,
    Opcode.ECDSA_SIGN_SHA256: 32,
    Opcode.ECDSA_SIGN_SHA384: 48,
    Opcode.ECDSA_SIGN_SHA512: 64,
    Opcode.RSA_PSS_SIGN_SHA256: 32,
    Opcode.RSA_PSS_SIGN_SHA384: 48,
    Opcode.RSA_PSS_SIGN_SHA512: 64,
}


class KeylessError(ProtocolError):
    """A peer sent what is no keyless message: the connection cannot go on."""


class Request(NamedTuple):
    """What is asked. C{opcode} is 0 where no item said it; items that came twice: the last one; other items are not kept."""

    id: int
    opcode: int
    ski: bytes
    payload: bytes


class Response(NamedTuple):
    """An answer: C{opcode} is RESPONSE, PONG or ERROR, whose payload is one byte."""

    id: int
    opcode: int
    payload: bytes

    @property
    def error(self) -> int:
        """The error code; 0 when it is no error."""
        return self.payload[0] if self.opcode == Opcode.ERROR else 0


class Splitter:
    """Cuts bytes as they arrive into messages. Holds at most what was fed and not taken yet."""

    __slots__ = ("_data", "_end", "_start")

    def __init__(self) -> None:
        self._data = b""
        self._start = self._end = 0

    def feed(self, data: bytes) -> None:
        """More bytes."""
        self._data = data if self._start == self._end else self._data[self._start :] + data
        self._start, self._end = 0, len(self._data)

    @property
    def held(self) -> int:
        """Bytes that wait."""
        return self._end - self._start

    def take(self) -> tuple[bytes, int, int] | None:
        """The next whole message as bytes, where its header begins in them and where it ends; None when there is none yet.

        @raise KeylessError: another version. It is told as soon as the header is there.
        """
        start = self._start
        if self._end - start < HEADER:
            return None
        data = self._data
        if data[start] != 1 or data[start + 1]:
            raise KeylessError(f"unexpected version {data[start]}.{data[start + 1]}")
        end = start + HEADER + (data[start + 2] << 8 | data[start + 3])
        if end > self._end:
            return None
        self._start = end
        return data, start, end


def parse_request(data: bytes, start: int, end: int) -> Request:
    """The request in a message, as L{Splitter.take} gives it.

    @raise KeylessError: an item is cut off, or the opcode is not one byte.
    """
    opcode = 0
    ski = payload = b""
    at = start + HEADER
    while at < end:
        value = at + ITEM_HEADER
        if value > end:
            raise KeylessError("corrupted message")
        tag = data[at]
        at = value + (data[at + 1] << 8 | data[at + 2])
        if at > end:
            raise KeylessError("corrupted message")
        if tag == _PAYLOAD:
            payload = data[value:at]
        elif tag == _KEY_ID:
            ski = data[value:at]
        elif tag == _OPCODE:
            if at - value != 1:
                raise KeylessError("invalid length for item 17")
            opcode = data[value]
    return Request(int.from_bytes(data[start + 4 : start + 8], "big"), opcode, ski, payload)


def parse_response(data: bytes, start: int, end: int) -> Response:
    """The response in a message.

    @raise KeylessError: an item is cut off, it is no response, or an error code is not one byte.
    """
    request = parse_request(data, start, end)
    if request.opcode not in (Opcode.RESPONSE, Opcode.PONG, Opcode.ERROR):
        raise KeylessError(f"opcode {request.opcode:#04x} is no response")
    if request.opcode == Opcode.ERROR and len(request.payload) != 1:
        raise KeylessError("invalid length for item 18")
    return Response(request.id, request.opcode, request.payload)


def encode_request(number: int, opcode: int, ski: bytes = b"", payload: bytes = b"", *, padded: int = PADDED) -> bytes:
    """A request, padded to C{padded} bytes where it is shorter. (One that lacks 1 to 3 bytes gets an empty padding item.)

    @raise ValueError: it would be longer than a message can be.
    """
    if len(ski) + len(payload) > MAX_CONTENT:
        raise ValueError("too long for a keyless message")
    items = bytes((_KEY_ID,)) + len(ski).to_bytes(2, "big") + ski if ski else b""
    items += bytes((_OPCODE, 0, 1, opcode, _PAYLOAD)) + len(payload).to_bytes(2, "big") + payload
    room = padded - HEADER - len(items)
    if room > 0:
        padding = max(room - ITEM_HEADER, 0)
        items += bytes((_PADDING,)) + padding.to_bytes(2, "big") + bytes(padding)
    return _VERSION + len(items).to_bytes(2, "big") + number.to_bytes(4, "big") + items


def encode_response(number: int, payload: bytes) -> bytes:
    """The answer to a request that succeeded; C{payload} is at most 65528 bytes."""
    size = len(payload)
    return _PREFIX.pack(_VERSION, size + 7, number, b"\x11\x00\x01\xf0\x12", size) + payload


def encode_pong(number: int, payload: bytes) -> bytes:
    """The answer to a ping: what came with it."""
    size = len(payload)
    return _PREFIX.pack(_VERSION, size + 7, number, b"\x11\x00\x01\xf2\x12", size) + payload


def encode_error(number: int, code: int) -> bytes:
    """The answer to a request that failed, 16 bytes."""
    return b"\x01\x00\x00\x08%b\x11\x00\x01\xff\x12\x00\x01%c" % (number.to_bytes(4, "big"), code)
