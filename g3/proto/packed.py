# SPDX-License-Identifier: Apache-2.0
"""One MessagePack object in a datagram, and the lenient readings of its values that upstream's helper protocols share.

Keys of a map are numbers or names; names are read lower-case with underscores. A text may come as a string, as bytes or as a number.
"""

from __future__ import annotations

from ipaddress import ip_address, ip_network
from typing import TYPE_CHECKING, Any, Final

import msgpack  # type: ignore[import-untyped]

from g3.errors import G3Error

if TYPE_CHECKING:
    from collections.abc import Mapping
    from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network

#: Pairs of one map, items of one list: no message has nearly as many.
MOST_ITEMS: Final = 64
U32: Final = (1 << 32) - 1


class PackedError(G3Error):
    """A datagram is no message of the protocol."""


class Pairs(list[tuple[Any, Any]]):
    """A map as its pairs in order, also with keys that Python could not hash."""


def decode(data: bytes) -> Any:
    """The first object in C{data}; maps are L{Pairs}, lists are tuples. What follows it is ignored, as upstream.

    @raise PackedError: it is no whole object, or larger than any message.
    """
    unpacker = msgpack.Unpacker(
        object_pairs_hook=Pairs,
        use_list=False,
        strict_map_key=False,
        unicode_errors="surrogateescape",
        max_buffer_size=max(len(data), 1),
        max_str_len=len(data),
        max_bin_len=len(data),
        max_array_len=MOST_ITEMS,
        max_map_len=MOST_ITEMS,
        max_ext_len=len(data),
    )
    try:
        unpacker.feed(data)
        return unpacker.unpack()
    except (msgpack.UnpackException, ValueError, TypeError, OverflowError, RecursionError) as error:
        raise PackedError(f"no MessagePack object: {type(error).__name__} {error}") from None


def encode(value: Any) -> bytes:
    """One object: text as string, bytes as binary."""
    packed: bytes = msgpack.packb(value, use_bin_type=True)
    return packed


def fields(pairs: Pairs, names: Mapping[str, int], *, strict: bool) -> dict[int, Any]:
    """The values by the number of their key; of two the last counts.

    @param names: the number of each name. @param strict: a key that is none of them is an error; else it is left out.
    @raise PackedError: a key is neither a name nor a number, or unknown.
    """
    known = set(names.values())
    found: dict[int, Any] = {}
    for key, value in pairs:
        if isinstance(key, str):
            number = names.get(key.lower().replace("-", "_"))
        elif isinstance(key, int) and not isinstance(key, bool) and key >= 0:
            number = key if key in known else None
        else:
            raise PackedError("a key is neither a name nor a number")
        if number is not None:
            found[number] = value
        elif strict:
            raise PackedError(f"unknown key {key!a:.60}")
    return found


def text(value: Any, what: str) -> str:
    """A string; bytes are read as UTF-8, a number is written out. Raises PackedError."""
    if isinstance(value, bytes):
        value = value.decode("utf-8", "surrogateescape")
    elif isinstance(value, int) and not isinstance(value, bool):
        value = str(value)
    if not isinstance(value, str):
        raise PackedError(f"{what} is no text")
    try:
        value.encode("utf-8")
    except UnicodeEncodeError:
        raise PackedError(f"{what} is no UTF-8") from None
    return value


def number(value: Any, what: str, most: int = U32) -> int:
    """A number from 0 to C{most}; also in decimal digits. Raises PackedError."""
    if isinstance(value, (str, bytes)):
        digits = text(value, what)
        if not (digits.isascii() and digits.isdecimal() and len(digits) <= 20):
            raise PackedError(f"{what} is no number")
        value = int(digits)
    if not isinstance(value, int) or isinstance(value, bool) or not 0 <= value <= most:
        raise PackedError(f"{what} is no number from 0 to {most}")
    return value


def address(value: Any, what: str) -> IPv4Address | IPv6Address:
    """An IP address in a string; no scope. Raises PackedError."""
    if not isinstance(value, str) or "%" in value:
        raise PackedError(f"{what} is no IP address")
    try:
        return ip_address(value)
    except ValueError:
        raise PackedError(f"{what} is no IP address") from None


def network(value: Any, what: str) -> IPv4Network | IPv6Network:
    """A network in a string, or one address; no bit may be set beyond the prefix. Raises PackedError."""
    if not isinstance(value, str) or "%" in value:
        raise PackedError(f"{what} is no network")
    _, slash, length = value.partition("/")
    try:
        if slash and not (length.isascii() and length.isdecimal()):
            raise ValueError
        return ip_network(value)
    except ValueError:
        raise PackedError(f"{what} is no network") from None
