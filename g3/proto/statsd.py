# SPDX-License-Identifier: Apache-2.0
"""statsd lines with DogStatsD tags: C{prefix.name:value|c|#key:value,key:value}, and whole lines into datagrams."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

#: What separates fields, tags and lines must not come from inside a value.
_UNSAFE = re.compile(r"[,|#\x00-\x20\x7f]")

#: A tag value is cut here: one hostile user name must not fill datagrams.
MAX_TAG_VALUE = 256


def safe_value(value: str) -> str:
    """A tag value that cannot end its tag, its line or its datagram; at most L{MAX_TAG_VALUE} characters."""
    return _UNSAFE.sub("_", value[:MAX_TAG_VALUE])


def encode_tags(tags: Iterable[tuple[str, str]]) -> str:
    """C{key:value,key:value}."""
    return ",".join([f"{key}:{safe_value(value)}" for key, value in tags])


def encode_value(value: float) -> str:
    """A number as statsd reads it: no exponent, no more digits than needed."""
    if isinstance(value, int):
        return str(value)
    text = f"{value:.6f}".rstrip("0").rstrip(".")
    return "0" if text == "-0" else text


def encode_line(name: str, kind: str, value: float, tags: str = "") -> bytes:
    """One line with its newline. C{name} has the prefix already, C{kind} is C{c} or C{g}, C{tags} comes from L{encode_tags}."""
    ending = f"|#{tags}\n" if tags else "\n"
    return f"{name}:{encode_value(value)}|{kind}{ending}".encode("utf-8", "replace")


def pack(lines: Iterable[bytes], max_size: int) -> Iterator[tuple[bytes, int]]:
    """Datagrams of whole lines, none above C{max_size} bytes but a single line that is longer by itself.

    Each comes with the number of lines it holds, in the order given.
    """
    parts: list[bytes] = []
    size = 0
    for line in lines:
        if parts and size + len(line) > max_size:
            yield b"".join(parts), len(parts)
            parts, size = [], 0
        parts.append(line)
        size += len(line)
    if parts:
        yield b"".join(parts), len(parts)
