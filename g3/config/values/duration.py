# SPDX-License-Identifier: Apache-2.0
"""Durations: C{30}, C{1.5}, C{"500ms"}, C{"1h 30m 71s"}; always seconds as a float once parsed."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from g3.config.problems import quote
from g3.config.value import Value, ValueProblem, wrong_type

if TYPE_CHECKING:
    from g3.config.document import Node
    from g3.config.value import ParseContext

_PART = re.compile(r"\s*([0-9]{1,20}(?:\.[0-9]{1,20})?)\s*(ns|us|ms|min|s|m|h|d)\s*")
_PLAIN = re.compile(r"[0-9]{1,20}(?:\.[0-9]*)?\Z|\.[0-9]+\Z")
UNITS = {"ns": 1e-9, "us": 1e-6, "ms": 1e-3, "s": 1, "m": 60, "min": 60, "h": 3600, "d": 86400}

#: What 64 bits of nanoseconds hold, seconds.
LONGEST = float((1 << 64) // 10**9)


def parse_duration(text: str) -> float | None:
    """Seconds of a text such as C{1h 30m}, or of a plain number. None when it is no duration."""
    text = text.strip()
    if _PLAIN.match(text):
        return float(text)
    position, total = 0, 0.0
    while position < len(text):
        part = _PART.match(text, position)
        if part is None:
            return None
        total += _seconds(part[1], part[2])
        position = part.end()
    return total if text else None


def _seconds(number: str, unit: str) -> float:
    scale = UNITS[unit]
    return float(number) * scale if scale >= 1 else float(number) / round(1 / scale)


def format_duration(seconds: float) -> int | float | str:
    """The duration as a person writes it, such that it parses to the same number: C{"1h 30m"}, C{"50ms"}, 1.25."""
    if seconds and seconds == int(seconds):
        rest, parts = int(seconds), []
        for unit in ("d", "h", "m", "s"):
            count, rest = divmod(rest, int(UNITS[unit]))
            if count:
                parts.append(f"{count}{unit}")
        return " ".join(parts)
    for unit in ("ms", "us"):
        count = round(seconds / UNITS[unit])
        if count and _seconds(str(count), unit) == seconds:
            return f"{count}{unit}"
    return int(seconds) if seconds == int(seconds) else seconds


class Duration(Value[float]):
    """A time span in seconds, from C{low} to C{high}, both included."""

    type_name = "duration"
    doc = 'A number of seconds, or a string of parts with units (ns, us, ms, s, m or min, h, d): 30, 1.5, "500ms", "1h 30m".'

    def __init__(self, low: float = 0, high: float = LONGEST) -> None:
        self.low, self.high = low, high

    def parse(self, node: Node, context: ParseContext) -> float:
        value = self.seconds(node)
        if not self.low <= value <= self.high:
            raise ValueProblem(node, f"{node.text} is not from {format_duration(self.low)} to {format_duration(self.high)}")
        return value

    def seconds(self, node: Node) -> float:
        """The node as seconds, the range not looked at."""
        value = node.value
        if isinstance(value, (int, float)) and not isinstance(value, bool):
            return float(value)
        if not node.is_string:
            raise wrong_type(node, 'a duration such as 30 or "1h 30m"')
        seconds = parse_duration(value)
        if seconds is None:
            raise ValueProblem(node, f'{quote(value)} is not a duration such as 30, "500ms" or "1h 30m" (units ns us ms s m h d)')
        return seconds

    def json_schema(self) -> dict[str, Any]:
        return {"anyOf": [{"type": "number", "minimum": 0}, {"type": "string", "pattern": r"^[0-9.\snusmihd]+$"}]}

    def dump(self, value: float) -> Any:
        return format_duration(value)
