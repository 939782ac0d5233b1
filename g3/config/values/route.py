# SPDX-License-Identifier: Apache-2.0
"""Values chosen by host, ALPN protocol or path. Upstream: configuration/values/route.

Each is a map, or a list of maps, in which some keys say what is matched and the rest is the value.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar, Generic, TypeVar

from g3.acl.match import AlpnMatch, HostMatch, Match, PathMatch
from g3.config.document import Node
from g3.config.problems import quote
from g3.config.schema import normalize, spellings
from g3.config.value import Reported, Value, ValueProblem
from g3.config.values.basic import Bool, Str, article
from g3.config.values.net import Domain, HostValue

if TYPE_CHECKING:
    from collections.abc import Iterator

    from g3.config.value import ParseContext, Reference

V = TypeVar("V")
M = TypeVar("M", bound=Match[Any])

_BOOL = Bool()


class _Collected(Generic[V]):
    """What the maps read so far have given: for each way to match a table, and a default."""

    def __init__(self, words: tuple[str, ...]) -> None:
        self.tables: dict[str, dict[str, V]] = {word: {} for word in words}
        self.default: V | None = None


class Matched(Value[M], Generic[V, M]):
    """A map or list of maps: keys that match, C{set_default}, and a value made of all other keys.

    A map with no key that matches is the default, of which there may be one.
    """

    #: The keys that match, and what each of their values (one or a list) is.
    ways: ClassVar[dict[str, Value[str]]]
    by: ClassVar[str]

    def __init__(self, value: Value[V], inner_key: str | None = None) -> None:
        """C{inner_key}: the value stands under this key of the map instead of being all its other keys; alone it is the default."""
        self.value, self.inner_key = value, inner_key
        self.type_name = f"{value.type_name} by {self.by}"

    def make(self, tables: dict[str, dict[str, V]], default: V | None) -> M:
        """The match of what was collected."""
        raise NotImplementedError

    def parse(self, node: Node, context: ParseContext) -> M:
        collected: _Collected[V] = _Collected(tuple(self.ways))
        good = True
        for element in node.elements if node.kind == "seq" else [node]:
            good = self._element(element, context, collected) and good
        if not good:
            raise Reported
        return self.make(collected.tables, collected.default)

    def _element(self, node: Node, context: ParseContext, collected: _Collected[V]) -> bool:
        """Read one map; whether it was good."""
        before = context.problems.error_count
        if node.kind != "map" and self.inner_key is None:
            context.problems.error(node, f"expected a map, not {node.describe()}")
            return False
        matched, as_default, rest = self._sort(node, context)
        ok, value = self.value.attempt(rest, context)
        if ok and context.problems.error_count == before:
            self._add(node, context, collected, matched, as_default, value)  # type: ignore[arg-type]
        return context.problems.error_count == before

    def _sort(self, node: Node, context: ParseContext) -> tuple[list[tuple[str, str, Node]], bool, Node]:
        """The (way, word, place) a map matches, whether it is to be the default, and the node of its value."""
        if node.kind != "map":
            return [], True, node
        matched: list[tuple[str, str, Node]] = []
        as_default = False
        rest: list[tuple[Node, Node]] = []
        for key_node, value_node in node.items:
            word = normalize(key_node.value) if key_node.is_string else ""
            if word in self.ways:
                matched += [(word, text, place) for text, place in self._words(self.ways[word], value_node, context)]
            elif word == "set_default":
                as_default = bool(_BOOL.attempt(value_node, context)[1])
            else:
                rest.append((key_node, value_node))
        return matched, as_default or not matched, self._rest(node, rest, context)

    def _words(self, kind: Value[str], node: Node, context: ParseContext) -> Iterator[tuple[str, Node]]:
        for element in node.elements if node.kind == "seq" else [node]:
            ok, word = kind.attempt(element, context)
            if ok and word is not None:
                yield word, element

    def _rest(self, node: Node, rest: list[tuple[Node, Node]], context: ParseContext) -> Node:
        if self.inner_key is None:
            return Node("map", rest, node.file, node.line, node.column)
        inner = node
        for key_node, value_node in rest:
            if key_node.is_string and normalize(key_node.value) == self.inner_key:
                inner = value_node
            else:
                context.problems.error(key_node, f"unknown key {quote(key_node.text)}")
        if inner is node:
            context.problems.error(node, f"required key {quote(self.inner_key)} is missing")
        return inner

    def _add(
        self, node: Node, context: ParseContext, collected: _Collected[V], matched: list[tuple[str, str, Node]], as_default: bool, value: V
    ) -> None:
        for way, word, place in matched:
            if word in collected.tables[way]:
                context.problems.error(place, f"{quote(word)} is matched twice as {way}")
            collected.tables[way][word] = value
        if as_default:
            if collected.default is not None:
                context.problems.error(node, f"there is a default {self.value.type_name} already")
            collected.default = value

    def json_schema(self) -> dict[str, Any]:
        inner = self.value.json_schema()
        known = {word: {"anyOf": [kind.json_schema(), {"type": "array", "items": kind.json_schema()}]} for word, kind in self.ways.items()}
        known["set_default"] = _BOOL.json_schema()
        if self.inner_key is not None:
            known[self.inner_key] = inner
        properties = {spelling: described for word, described in known.items() for spelling in spellings([word])}
        if self.inner_key is not None:
            one: dict[str, Any] = {"anyOf": [inner, {"type": "object", "properties": properties}]}
        else:
            one = {**inner, "properties": {**inner.get("properties", {}), **properties}}
        return {"anyOf": [one, {"type": "array", "items": one}]}

    def dump(self, value: M) -> Any:
        dumped = []
        for one in value.values:
            matching: dict[str, Any] = {
                way: [word for word, found in pairs if found is one]
                for way, pairs in zip(self.ways, value.pairs, strict=True)
                if any(found is one for _, found in pairs)
            }
            if value.default is one and matching:
                matching["set_default"] = True
            content = self.value.dump(one)
            dumped.append({**matching, **(content if self.inner_key is None else {self.inner_key: content})})
        return dumped

    def references(self, value: M) -> Iterator[Reference]:
        for one in value.values:
            yield from self.value.references(one)

    def schema_class(self) -> type | None:
        return self.value.schema_class()


class HostMatched(Matched[V, HostMatch[V]]):
    """By the very host (C{exact_match}), else by parent domain (C{child_match}), else the default."""

    by = "host"
    ways: ClassVar[dict[str, Value[str]]] = {"exact_match": HostValue(), "child_match": Domain()}
    doc = "A map or a list of maps, each with exact_match, child_match, set_default, and the keys of the value."

    def make(self, tables: dict[str, dict[str, V]], default: V | None) -> HostMatch[V]:
        return HostMatch(tuple(tables["exact_match"].items()), tuple(tables["child_match"].items()), default)


class AlpnProtocol(Str):
    """The name of an ALPN protocol."""

    type_name = "ALPN protocol"

    def __init__(self) -> None:
        super().__init__(min_length=1, max_length=255)


class AlpnMatched(Matched[V, AlpnMatch[V]]):
    """By ALPN protocol: the very one, else what comes before its slash, else the default."""

    by = "ALPN protocol"
    ways: ClassVar[dict[str, Value[str]]] = {"protocol": AlpnProtocol()}
    doc = "A map or a list of maps, each with protocol, set_default, and the keys of the value."

    def make(self, tables: dict[str, dict[str, V]], default: V | None) -> AlpnMatch[V]:
        return AlpnMatch(tuple(tables["protocol"].items()), default)


class PathPrefix(Value[str]):
    """The beginning of a path."""

    type_name = "path prefix"

    def parse(self, node: Node, context: ParseContext) -> str:
        if not node.is_string or len(node.value) > 8192:
            raise ValueProblem(node, f"expected {article(self.type_name)}, not {node.describe()}")
        return str(node.value)

    def json_schema(self) -> dict[str, Any]:
        return {"type": "string"}


class PathMatched(Matched[V, PathMatch[V]]):
    """By the longest prefix of the path, else the default."""

    by = "path"
    ways: ClassVar[dict[str, Value[str]]] = {"prefix_match": PathPrefix()}
    doc = "A map or a list of maps, each with prefix_match, set_default, and the keys of the value."

    def make(self, tables: dict[str, dict[str, V]], default: V | None) -> PathMatch[V]:
        return PathMatch(tuple(tables["prefix_match"].items()), default)
