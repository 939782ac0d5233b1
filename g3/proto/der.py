# SPDX-License-Identifier: Apache-2.0
"""As much DER (X.690) as certificates are made of: writing values, and cutting values apart without changing a byte of them."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Final, NamedTuple

from g3.errors import G3Error

if TYPE_CHECKING:
    from collections.abc import Iterator

BOOLEAN, INTEGER, BIT_STRING, OCTET_STRING, NULL, OID, UTF8_STRING, PRINTABLE_STRING, UTC_TIME, GENERALIZED_TIME = 1, 2, 3, 4, 5, 6, 12, 19, 23, 24
SEQUENCE, SET = 0x30, 0x31
#: Context tags that hold something.
EXPLICIT: Final = 0xA0

#: Bytes of an object identifier that is read.
MOST_OID: Final = 64
#: The first year that UTCTime cannot say (RFC 5280 section 4.1.2.5).
_GENERALIZED_FROM: Final = 2050


class DERError(G3Error):
    """The bytes are no DER."""


class Value(NamedTuple):
    """One value: C{whole} is all its bytes, C{content} what is in it."""

    tag: int
    content: bytes
    whole: bytes


def write(tag: int, *parts: bytes) -> bytes:
    """A value of C{tag} with all of C{parts} in it."""
    content = b"".join(parts)
    size = len(content)
    if size < 0x80:
        return bytes((tag, size)) + content
    length = size.to_bytes((size.bit_length() + 7) // 8, "big")
    return bytes((tag, 0x80 | len(length))) + length + content


def integer(value: int) -> bytes:
    """An INTEGER, 0 or more."""
    return write(INTEGER, value.to_bytes(value.bit_length() // 8 + 1, "big"))


def oid(dotted: str) -> bytes:
    """An OBJECT IDENTIFIER."""
    first, second, *rest = (int(word) for word in dotted.split("."))
    content = bytearray()
    for arc in (first * 40 + second, *rest):
        septets = [arc & 0x7F]
        while arc := arc >> 7:
            septets.append(0x80 | arc & 0x7F)
        content += bytes(reversed(septets))
    return write(OID, bytes(content))


def bit_string(content: bytes) -> bytes:
    """A BIT STRING of whole bytes."""
    return write(BIT_STRING, b"\0", content)


def time(moment: datetime) -> bytes:
    """A Time as certificates have it, to the second: UTCTime before 2050."""
    moment = moment.astimezone(UTC)
    if moment.year < _GENERALIZED_FROM:
        return write(UTC_TIME, moment.strftime("%y%m%d%H%M%SZ").encode())
    return write(GENERALIZED_TIME, f"{moment.year:04}{moment:%m%d%H%M%S}Z".encode())


def read(data: bytes) -> Iterator[Value]:
    """The values that follow each other in C{data}. Raises DERError."""
    position = 0
    while position < len(data):
        value = _read_one(data, position)
        position += len(value.whole)
        yield value


def read_one(data: bytes, tag: int) -> Value:
    """The one value that C{data} is. Raises DERError, also when it has another tag."""
    value = _read_one(data, 0)
    if len(value.whole) != len(data) or value.tag != tag:
        raise DERError("another value was expected")
    return value


def _read_one(data: bytes, start: int) -> Value:
    if len(data) - start < 2:
        raise DERError("cut off")
    tag, size = data[start], data[start + 1]
    if tag & 0x1F == 0x1F:
        raise DERError("a tag of several bytes")
    at = start + 2
    if size & 0x80:
        count = size & 0x7F
        if not 0 < count <= 4 or len(data) - at < count:
            raise DERError("a length that cannot be")
        size = int.from_bytes(data[at : at + count], "big")
        at += count
    if len(data) - at < size:
        raise DERError("cut off")
    return Value(tag, data[at : at + size], data[start : at + size])


def read_oid(value: Value) -> str:
    """The dotted numbers of an OBJECT IDENTIFIER. Raises DERError."""
    if value.tag != OID or not value.content or value.content[-1] & 0x80 or len(value.content) > MOST_OID:
        raise DERError("no object identifier")
    arcs, arc = [], 0
    for byte in value.content:
        arc = arc << 7 | byte & 0x7F
        if not byte & 0x80:
            arcs.append(arc)
            arc = 0
    first = min(arcs[0] // 40, 2)
    return ".".join(map(str, (first, arcs[0] - first * 40, *arcs[1:])))


def read_time(whole: bytes) -> datetime:
    """The moment of a Time. Raises DERError."""
    value = _read_one(whole, 0)
    text = value.content.decode("ascii", "replace")
    digits, zone = text[:-1], text[-1:]
    size = {UTC_TIME: 12, GENERALIZED_TIME: 14}.get(value.tag)
    if zone != "Z" or len(digits) != size or not (digits.isascii() and digits.isdecimal()):
        raise DERError("no time")
    if value.tag == UTC_TIME:
        digits = ("20" if digits < "50" else "19") + digits
    try:
        return datetime(int(digits[:4]), *(int(digits[at : at + 2]) for at in range(4, 14, 2)), tzinfo=UTC)  # type: ignore[misc, arg-type]
    except ValueError:
        raise DERError("no time") from None
