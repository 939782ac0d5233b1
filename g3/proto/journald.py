# SPDX-License-Identifier: Apache-2.0
"""The native protocol of systemd-journald: one datagram of named values (systemd: JOURNAL_NATIVE_PROTOCOL)."""

from __future__ import annotations

import re
from functools import lru_cache
from typing import TYPE_CHECKING

from g3.proto.escape import MAX_VALUE, cut

if TYPE_CHECKING:
    from collections.abc import Sequence

    Value = str | int | float | bool | None
    Fields = Sequence[tuple[str, Value]]

SOCKET_PATH = "/run/systemd/journal/socket"
MAX_NAME = 64

_NOT_NAME = re.compile(r"[^A-Z0-9_]")


@lru_cache(maxsize=1024)
def field_name(name: str) -> str:
    """A name as journald takes it: upper case, others than A-Z 0-9 as C{_}; empty when it cannot be one."""
    if not name or len(name) > MAX_NAME or not (name[0].isascii() and name[0].isalpha()):
        return ""
    return _NOT_NAME.sub("_", name.upper())


def encode_field(name: str, value: Value, limit: int = MAX_VALUE) -> bytes:
    """One field; nothing for None and for a name journald would refuse. A value with a newline goes with its length before it."""
    name = field_name(name)
    if value is None or not name:
        return b""
    if isinstance(value, str):
        data = cut(value, limit).encode("utf-8", "replace")
        if b"\n" in data:
            return b"%b\n%b%b\n" % (name.encode("ascii"), len(data).to_bytes(8, "little"), data)
        return b"%b=%b\n" % (name.encode("ascii"), data)
    text = str(value).lower() if isinstance(value, bool) else str(value)
    return f"{name}={text}\n".encode("ascii")


def encode_fields(fields: Fields, limit: int = MAX_VALUE) -> bytes:
    """Fields in their order."""
    parts = []
    for name, value in fields:
        if value is None or not (known := field_name(name)):
            continue
        if type(value) is str:
            if len(value) > limit or "\n" in value:
                return b"".join([encode_field(name, value, limit) for name, value in fields])
            parts.append(f"{known}={value}\n")
        else:
            parts.append(f"{known}={value if type(value) is int else str(value).lower()}\n")
    return "".join(parts).encode("utf-8", "replace")
