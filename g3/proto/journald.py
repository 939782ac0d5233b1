# SPDX-License-Identifier: Apache-2.0
"""The native protocol of systemd-journald: one datagram of named values (systemd: JOURNAL_NATIVE_PROTOCOL)."""

from __future__ import annotations

import re
from functools import lru_cache
from typing import TYPE_CHECKING

from g3.proto.escape import MAX_VALUE, cut
from g3.proto.record import Templates

if TYPE_CHECKING:
    from g3.proto.record import Fields, Value

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
    pairs = _TEMPLATES.fill(fields, "", limit)
    return b"".join([encode_field(name, value, limit) for name, value in fields]) if pairs is None else pairs


def _pair(name: str, _: type) -> str:
    name = field_name(name)
    return f"{name}=%s\n" if name else ""


_TEMPLATES = Templates(_pair)
