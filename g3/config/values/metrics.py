# SPDX-License-Identifier: Apache-2.0
"""Tags of metrics and quantiles of durations. Upstream: configuration/values/metrics."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from g3.config.problems import quote
from g3.config.schema import config_class, key
from g3.config.value import Reported, Value, ValueProblem, wrong_type
from g3.config.values.basic import NodeName, float_of, only_string, string_of
from g3.config.values.duration import Duration
from g3.config.values.net import WeightedValue
from g3.config.values.options import Options
from g3.metrics.quantile import DEFAULT_QUANTILES, HistogramOptions, Quantile

if TYPE_CHECKING:
    from g3.config.document import Node
    from g3.config.value import ParseContext

#: Tags of one node; statsd datagrams carry all of them with every sample.
MOST_TAGS = 64

Tags = tuple[tuple[str, str], ...]


def check_tag(text: str, node: Node) -> str:
    """A name or value of a tag: letters of any script, digits and C{- _ . /}.

    @raise ValueProblem: it has other characters.
    """
    if len(text) > 255:
        raise ValueProblem(node, "must have at most 255 characters")
    if bad := next((char for char in text if not (char.isalnum() or char in "-_./")), ""):
        raise ValueProblem(node, f"character {quote(bad)} is not allowed in a tag (letters, digits, - _ . /)")
    return text


class TagValue(Value[str]):
    """The value of a tag; a number counts as it was written."""

    type_name = "metric tag value"

    def parse(self, node: Node, context: ParseContext) -> str:
        return check_tag(string_of(node, self.type_name), node)

    def json_schema(self) -> dict[str, Any]:
        return {"type": ["string", "number"]}


class TagName(Value[str]):
    """The name of a tag."""

    type_name = "metric tag name"

    def parse(self, node: Node, context: ParseContext) -> str:
        name = only_string(node, self.type_name)
        if not name:
            raise ValueProblem(node, "the name of a tag must not be empty")
        return check_tag(name, node)

    def json_schema(self) -> dict[str, Any]:
        return {"type": "string", "minLength": 1}


class MetricTags(Value[Tags]):
    """Names and values of tags, in order of their names."""

    type_name = "metric tags"
    doc = "A map of names to values, of letters, digits and - _ . /."
    _name, _value = TagName(), TagValue()

    def parse(self, node: Node, context: ParseContext) -> Tags:
        if node.kind != "map":
            raise wrong_type(node, "a map")
        if len(node.items) > MOST_TAGS:
            raise ValueProblem(node, f"must have at most {MOST_TAGS} tags")
        tags: list[tuple[str | None, str | None]] = []
        good = True
        for name_node, value_node in node.items:
            name_ok, name = self._name.attempt(name_node, context)
            value_ok, value = self._value.attempt(value_node, context)
            good = good and name_ok and value_ok
            tags.append((name, value))
        if not good:
            raise Reported
        return tuple(sorted((name, value) for name, value in tags if name is not None and value is not None))

    def json_schema(self) -> dict[str, Any]:
        return {"type": "object", "additionalProperties": self._value.json_schema()}

    def dump(self, value: Tags) -> Any:
        return dict(value)


class WeightedNodeName(WeightedValue[str]):
    """The name of a node, with a weight."""

    def __init__(self, name: Value[str] | None = None) -> None:
        super().__init__(name or NodeName(), "name", ())


class QuantileValue(Value[Quantile]):
    """A number from 0 to 1. As it is written it becomes the tag of the metric."""

    type_name = "quantile"

    def parse(self, node: Node, context: ParseContext) -> Quantile:
        value = float_of(node, "a number from 0 to 1")
        return _quantile(node, node.text, value)

    def json_schema(self) -> dict[str, Any]:
        return {"type": ["number", "string"]}

    def dump(self, value: Quantile) -> Any:
        return value.text


def _quantile(node: Node, text: str, value: float) -> Quantile:
    if not 0 <= value <= 1:
        raise ValueProblem(node, f"{quote(text)} is not from 0 to 1")
    return Quantile(value, text)


class Quantiles(Value[tuple[Quantile, ...]]):
    """Quantiles in a list, or in one string with commas between; each once, in order."""

    type_name = "quantiles"
    doc = 'A list of numbers from 0 to 1, or a string of them: "0.50, 0.99".'
    _one = QuantileValue()

    def parse(self, node: Node, context: ParseContext) -> tuple[Quantile, ...]:
        if node.kind == "seq":
            attempts = [self._one.attempt(element, context) for element in node.elements]
            if not all(ok for ok, _ in attempts):
                raise Reported
            found = [quantile for _, quantile in attempts if quantile is not None]
        elif node.kind == "scalar" and isinstance(node.value, (str, int, float)) and not isinstance(node.value, bool):
            found = [self._part(node, part.strip()) for part in node.text.split(",")]
        else:
            raise wrong_type(node, "a list of numbers, or a string of them")
        return tuple(sorted({quantile.value: quantile for quantile in reversed(found)}.values()))

    def _part(self, node: Node, text: str) -> Quantile:
        try:
            value = float(text)
        except ValueError:
            raise ValueProblem(node, f"{quote(text)} is not a number from 0 to 1") from None
        return _quantile(node, text, value)

    def json_schema(self) -> dict[str, Any]:
        return {"anyOf": [{"type": ["string", "number"]}, {"type": "array", "items": self._one.json_schema()}]}

    def dump(self, value: tuple[Quantile, ...]) -> Any:
        return [quantile.text for quantile in value]


@config_class
class HistogramKeys:
    """How durations are reported."""

    quantile: tuple[Quantile, ...] = key(Quantiles(), default=DEFAULT_QUANTILES, doc="Which quantiles.")
    rotate: float = key(Duration(0.001), default=4.0, doc="How often the window they are taken from moves.", unit="seconds")


class HistogramValue(Options[HistogramOptions]):
    """The rotation as a duration, or a map."""

    type_name = "histogram"
    doc = "The rotation as a duration, or a map of quantile and rotate."
    keys, made = HistogramKeys, HistogramOptions
    _rotate = Duration(0.001)

    def short(self, node: Node, context: ParseContext) -> HistogramOptions:
        return HistogramOptions(rotate=self._rotate.parse(node, context))

    def short_schemas(self) -> list[dict[str, Any]]:
        return [self._rotate.json_schema()]
