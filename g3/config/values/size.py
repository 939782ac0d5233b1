# SPDX-License-Identifier: Apache-2.0
"""Sizes in bytes: C{65536}, C{"64KiB"}, C{"10 MB"}."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from g3.config.problems import quote
from g3.config.value import Value, ValueProblem, wrong_type
from g3.config.values.basic import U32, U64

if TYPE_CHECKING:
    from g3.config.document import Node
    from g3.config.value import ParseContext

_SIZE = re.compile(r"\+?([0-9]{1,20})\s*([a-zA-Z]*)\Z")
_LETTERS = "kmgtpe"
UNITS = {
    "": 1,
    "b": 1,
    **{f"{letter}{tail}": 1000 ** (power + 1) for power, letter in enumerate(_LETTERS) for tail in ("", "b")},
    **{f"{letter}{tail}": 1024 ** (power + 1) for power, letter in enumerate(_LETTERS) for tail in ("i", "ib")},
}


def parse_size(text: str) -> int | None:
    """Bytes of a text such as C{64KiB} (1024) or C{64KB} (1000); the unit in any case, "B" may be left out. None when it is no size."""
    match = _SIZE.match(text.strip())
    unit = UNITS.get(match[2].lower()) if match else None
    return int(match[1]) * unit if match and unit else None


def format_size(size: int) -> int | str:
    """The size with the largest 1024-based unit that leaves an integer."""
    for power in range(len(_LETTERS), 0, -1):
        if size and size % 1024**power == 0:
            return f"{size // 1024**power}{_LETTERS[power - 1].upper()}iB"
    return size


#: Most bytes that one read may be told to take: as many are set aside for it, however few there are.
MOST_READ = 1 << 30


class Size(Value[int]):
    """A number of bytes from C{low} to C{high}, both included."""

    type_name = "size"
    doc = "An integer of bytes, or a string with a unit: KiB, MiB, GiB (1024) or KB, MB, GB, K, M, G (1000)."

    def __init__(self, low: int = 0, high: int = U64) -> None:
        self.low, self.high = low, high

    def parse(self, node: Node, context: ParseContext) -> int:
        size = node.value if isinstance(node.value, int) and not isinstance(node.value, bool) else None
        if size is None and node.is_string:
            size = parse_size(node.value)
            if size is None:
                raise ValueProblem(node, f'{quote(node.value)} is not a size such as 65536, "64KiB" or "64KB"')
        if size is None:
            raise wrong_type(node, 'a size such as 65536 or "64KiB"')
        if not self.low <= size <= self.high:
            raise ValueProblem(node, f"{node.text} is not from {self.low} to {self.high} bytes")
        return size

    def json_schema(self) -> dict[str, Any]:
        return {
            "anyOf": [{"type": "integer", "minimum": self.low}, {"type": "string", "pattern": "^\\s*\\+?[0-9]+\\s*([KkMmGgTtPpEe][Ii]?)?[Bb]?\\s*$"}]
        }

    def dump(self, value: int) -> Any:
        return format_size(value)


class RaisedSize(Size):
    """A number of bytes up to C{high}; less than C{least} is taken as that, with a warning."""

    def __init__(self, least: int, high: int = U64) -> None:
        super().__init__(0, high)
        self.least = least

    def parse(self, node: Node, context: ParseContext) -> int:
        size = super().parse(node, context)
        if size < self.least:
            context.problems.warn(node, f"{node.text} is taken as {self.least} bytes: it cannot be less")
        return max(size, self.least)


class SizeU32(Size):
    """A number of bytes that fits 32 bits."""

    def __init__(self, low: int = 0, high: int = U32) -> None:
        super().__init__(low, high)
