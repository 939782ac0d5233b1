# SPDX-License-Identifier: Apache-2.0
"""Capsules (RFC 9297): how datagrams travel in an HTTP stream, and UDP payloads in them (RFC 9298)."""

from __future__ import annotations

from typing import Final

from g3.errors import ProtocolError

#: The capsule type of datagrams, and the context of UDP payloads.
DATAGRAM: Final = 0
UDP: Final = 0
#: The longest UDP payload that may be sent (RFC 9298 section 5).
LONGEST: Final = 65527
#: Of a datagram: its context, at most eight bytes, and the payload.
_LONGEST_VALUE: Final = LONGEST + 8


def varint(number: int) -> bytes:
    """C{number} as a QUIC integer (RFC 9000 section 16), below 2**62."""
    for size, tag in ((1, 0), (2, 1), (4, 2), (8, 3)):
        if number < 1 << (8 * size - 2):
            return (number | tag << (8 * size - 2)).to_bytes(size, "big")
    raise ValueError("a QUIC integer is below 2**62")


def read_varint(data: bytes | bytearray, at: int) -> tuple[int, int]:
    """The QUIC integer at C{at} and where it ends; C{(-1, at)} when it is not all there."""
    if at >= len(data):
        return -1, at
    end = at + (1 << (data[at] >> 6))
    if end > len(data):
        return -1, at
    return int.from_bytes(data[at:end], "big") & ((1 << (8 * (end - at) - 2)) - 1), end


def udp_capsule(payload: bytes | memoryview) -> bytes:
    """A UDP payload as it is sent."""
    return b"".join((varint(DATAGRAM), varint(len(payload) + 1), varint(UDP), payload))


class CapsuleReader:
    """Finds the UDP payloads in a stream of capsules. Capsules and contexts that are not known are passed over, as the RFCs ask.

    Memory: one datagram; what is passed over is not kept.
    """

    __slots__ = ("_buffer", "_skip")

    def __init__(self) -> None:
        self._buffer = bytearray()
        #: Bytes of an unknown capsule still to come.
        self._skip = 0

    def feed(self, data: bytes) -> list[bytes]:
        """Take bytes; the payloads that are whole now.

        @raise ProtocolError: a datagram that is too long, or too short to have a context.
        """
        payloads: list[bytes] = []
        if self._skip:
            skipped = min(self._skip, len(data))
            self._skip -= skipped
            data = data[skipped:]
        buffer = self._buffer
        buffer += data
        at = 0
        while True:
            end = self._read_one(buffer, at, payloads)
            if end < 0:
                break
            at = end
        del buffer[:at]
        return payloads

    def _read_one(self, buffer: bytearray, start: int, payloads: list[bytes]) -> int:
        """Read the capsule at C{start}; where it ends, or -1 when there is none to be read now."""
        kind, at = read_varint(buffer, start)
        if kind < 0:
            return -1
        size, at = read_varint(buffer, at)
        if size < 0:
            return -1
        end = at + size
        if kind != DATAGRAM:
            self._skip = max(0, end - len(buffer))
            return min(end, len(buffer))
        if size > _LONGEST_VALUE:
            raise ProtocolError("a datagram that is too long")
        if end > len(buffer):
            return -1
        context, at = read_varint(buffer[at : at + 8] if size >= 8 else buffer[at:end], 0)
        if context < 0:
            raise ProtocolError("a datagram without a context")
        if context == UDP:
            payload = bytes(buffer[end - size + at : end])
            if len(payload) > LONGEST:
                raise ProtocolError("a datagram that is too long")
            payloads.append(payload)
        return end
