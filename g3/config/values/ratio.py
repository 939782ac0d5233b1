# SPDX-License-Identifier: Apache-2.0
"""Ratios: how often something happens by chance, as 0.25, C{"1/4"}, C{"25%"} or a bool."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from g3.config.problems import quote
from g3.config.value import Value, ValueProblem, wrong_type

if TYPE_CHECKING:
    from g3.config.document import Node
    from g3.config.value import ParseContext

_FRACTION = re.compile(r"\s*\+?([0-9]{1,10})\s*/\s*\+?([0-9]{1,10})\s*\Z")
_PERCENT = re.compile(r"\s*\+?([0-9]{1,10})\s*%\Z")
_DECIMAL = re.compile(r"\+?(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][+-]?[0-9]{1,3})?\Z")


def parse_ratio(text: str) -> float | None:
    """The ratio of a text; it may be out of range. None when it is none."""
    if fraction := _FRACTION.match(text):
        below = int(fraction[2])
        return int(fraction[1]) / below if below else None
    if percent := _PERCENT.match(text):
        return int(percent[1]) / 100
    return float(text) if _DECIMAL.match(text) else None


class Ratio(Value[float]):
    """A probability from 0 to 1."""

    type_name = "ratio"
    doc = 'A number from 0 to 1, "n/d", "n%" or a bool.'

    def parse(self, node: Node, context: ParseContext) -> float:
        value = node.value
        if node.kind != "scalar" or value is None:
            raise wrong_type(node, 'a ratio such as 0.25, "1/4" or "25%"')
        ratio = parse_ratio(value) if isinstance(value, str) else float(value)
        if ratio is None:
            raise ValueProblem(node, f'{quote(value)} is not a ratio such as 0.25, "1/4" or "25%"')
        if not 0 <= ratio <= 1:
            raise ValueProblem(node, f"{node.text} is not from 0 to 1")
        return ratio

    def json_schema(self) -> dict[str, Any]:
        return {"anyOf": [{"type": "number", "minimum": 0, "maximum": 1}, {"type": "boolean"}, {"type": "string", "pattern": r"^[-+0-9./%\seE]+$"}]}
