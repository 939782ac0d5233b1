# SPDX-License-Identifier: Apache-2.0
"""The value forms of log fields. A form of nothing is None, and None is left out of the record (upstream: log)."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from g3.task import format_address

if TYPE_CHECKING:
    from datetime import datetime

    from g3.task import IPAddress, SocketAddress

# Every third of a number, since formatting one costs more than all the rest.
_WHOLE = tuple(str(number) for number in range(1001))
_THREE = tuple(f"{number:03}" for number in range(1000))
_MICROS = tuple(f".{third}\u00b5s" for third in _THREE)
_MILLIS = tuple(f".{third}ms" for third in _THREE)
#: A scheme longer than this is none.
_MAX_SCHEME = 32


def duration(seconds: float) -> str | None:
    """C{1.234s}, C{1.234ms}, C{1.234\u00b5s} or C{123.000ns}: rounded half to even to three digits; None for zero."""
    if not seconds:
        return None
    nanos = round(seconds * 1e9)
    if nanos < 1_000_000:
        if nanos >= 1_000:
            return _WHOLE[nanos // 1000] + _MICROS[nanos % 1000]
        return f"{nanos}.000ns" if nanos > 0 else None
    if nanos < 1_000_000_000:
        micros, rest = nanos // 1000, nanos % 1000
        if rest >= 500 and (rest > 500 or micros & 1):
            micros += 1
        return _WHOLE[micros // 1000] + _MILLIS[micros % 1000]
    millis = round(nanos / 1_000_000)  # which rounds as it is to, and a float has digits enough for
    return f"{millis // 1000}.{_THREE[millis % 1000]}s"


class _Clock:
    """The second last asked for, in microseconds, and its text: records come many to a second."""

    begin = -1_000_000
    text = ""


def timestamp(epoch: float) -> str:
    """RFC 3339 with microseconds, UTC: C{2021-12-01T10:20:30.123456Z}."""
    whole = int(epoch * 1_000_000)
    micros = whole - _Clock.begin
    if not 0 <= micros < 1_000_000:
        second, micros = divmod(whole, 1_000_000)
        _Clock.text = time.strftime("%Y-%m-%dT%H:%M:%S.", time.gmtime(second))
        _Clock.begin = whole - micros
    return f"{_Clock.text}{_THREE[micros // 1000]}{_THREE[micros % 1000]}Z"


def moment(when: datetime | None) -> str | None:
    """The same of a datetime; one without a zone is UTC."""
    if when is None:
        return None
    if when.tzinfo is None:
        return when.isoformat(timespec="microseconds") + "Z"
    return timestamp(when.timestamp())


def address(value: SocketAddress | None) -> str | None:
    """C{ip:port}, an IPv6 one in brackets."""
    return None if value is None else format_address(value)


def ip(value: IPAddress | None) -> str | None:
    """An address as text."""
    return None if value is None else str(value)


def optional(value: str | None) -> str | None:
    """A text, None when empty."""
    return value or None


def uri(value: str, max_chars: int) -> str:
    """A request target: a password in it as C{xyz}, at most C{max_chars} characters."""
    at = value.find("@")
    if at > 0:
        value = _masked(value)
    return value[:max_chars]


def _masked(value: str) -> str:
    scheme = value.find("://", 0, _MAX_SCHEME)
    start = scheme + 3 if scheme > 0 else 0
    if value.startswith("/"):
        return value
    ends = [position for position in (value.find(mark, start) for mark in "/?#") if position >= 0]
    end = min(ends, default=len(value))
    at = value.rfind("@", start, end)
    colon = value.find(":", start, at) if at >= 0 else -1
    return value if colon < 0 else f"{value[: colon + 1]}xyz{value[at:]}"
