# SPDX-License-Identifier: Apache-2.0
"""The JSON Schema (2020-12) of a whole main configuration, for editors: every type and key of every component that is installed."""

from __future__ import annotations

import json
from collections import Counter
from typing import TYPE_CHECKING, Any

from g3.config.schema import doc_of, object_schema
from g3.config.upstream_types import canonical_type, upstream_words
from g3.config.values.basic import word_schema
from g3.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Callable

    from g3.config.main import Components, Layout
    from g3.config.node import NodeConfig

#: A part of the schema that occurs again is written once if it is at least this long, characters of JSON.
_SHARED_SIZE = 200


def json_schema(layout: Layout, components: Components) -> dict[str, Any]:
    """The schema. A type whose code cannot be loaded is left out; keys are listed in lower case with C{_} and with C{-}."""
    definitions: dict[str, Any] = {}
    properties: dict[str, Any] = {}
    for name, section in layout.sections.items():
        described = {**section.value.json_schema(), **({"description": section.doc} if section.doc else {})}
        _add(properties, name, described)
    for kind in layout.kinds:
        definitions[kind] = _node_list(kind, components, definitions, layout.default_types.get(kind))
        _add(properties, kind, {"$ref": f"#/$defs/{kind}"})
    for alias, name in layout.aliases.items():
        _add(properties, alias, properties[name])
    whole = {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": f"{layout.program} configuration",
        "type": "object",
        "properties": properties,
        "additionalProperties": False,
        "$defs": definitions,
    }
    return _Sharing(whole).result


def types_of(kind: str, components: Components) -> dict[str, type[NodeConfig]]:
    """The schema of every type of a kind that can be loaded."""
    result = {}
    for word in components.words(kind):
        try:
            result[word] = components.schema(kind, word)
        except ConfigError:
            continue
    return result


class _Sharing:
    """Writes what occurs several times only once, under C{$defs}: keys have many spellings, and types many keys in common."""

    def __init__(self, whole: dict[str, Any]) -> None:
        self.counts: Counter[str] = Counter()
        self.names: dict[str, str] = {}
        self.shared: dict[str, Any] = {}
        _map_parts(whole, self.count)
        self.result = _map_parts(whole, self.rewrite)
        self.result["$defs"].update(self.shared)

    def count(self, schema: dict[str, Any]) -> dict[str, Any]:
        text = json.dumps(schema, sort_keys=True)
        self.counts[text] += 1
        return _map_parts(schema, self.count) if self.counts[text] == 1 else schema

    def rewrite(self, schema: dict[str, Any]) -> dict[str, Any]:
        text = json.dumps(schema, sort_keys=True)
        if self.counts[text] < 2 or len(text) < _SHARED_SIZE:
            return _map_parts(schema, self.rewrite)
        if text not in self.names:
            name = self.names[text] = f"shared.{len(self.names) + 1}"
            self.shared[name] = _map_parts(schema, self.rewrite)
        return {"$ref": f"#/$defs/{self.names[text]}"}


def _map_parts(schema: dict[str, Any], change: Callable[[dict[str, Any]], dict[str, Any]]) -> dict[str, Any]:
    """A copy with every schema directly inside changed."""
    result = dict(schema)
    for word, part in schema.items():
        if word in ("properties", "$defs"):
            result[word] = {name: change(inner) for name, inner in part.items()}
        elif word in ("anyOf", "allOf", "prefixItems"):
            result[word] = [change(inner) for inner in part]
        elif word in ("items", "additionalProperties", "if", "then", "not") and isinstance(part, dict):
            result[word] = change(part)
    return result


def _add(properties: dict[str, Any], name: str, schema: dict[str, Any]) -> None:
    properties[name] = schema
    properties.setdefault(name.replace("_", "-"), schema)


def _node_list(kind: str, components: Components, definitions: dict[str, Any], default: str | None) -> dict[str, Any]:
    """Inline maps and paths, or one path."""
    types = types_of(kind, components)
    for word, cls in types.items():
        definitions[f"{kind}.{word}"] = object_schema(cls, {"type": {"type": "string"}})
    by_type = [
        {"if": {"properties": {"type": _type_words(kind, word, types)}, "required": ["type"]}, "then": {"$ref": f"#/$defs/{kind}.{word}"}}
        for word in types
    ]
    if default in types:
        by_type.append({"if": {"not": {"required": ["type"]}}, "then": {"$ref": f"#/$defs/{kind}.{default}"}})
    node: dict[str, Any] = {"type": "object", "required": ["name"] if default else ["name", "type"]}
    if types:
        node["allOf"] = by_type
        node["properties"] = {"type": {"anyOf": [_type_words(kind, word, types) for word in types]}}
    path = {"type": "string", "description": "A file with one node in each document, or a directory of such files."}
    return {"anyOf": [path, {"type": "array", "items": {"anyOf": [path, node]}}]}


def _type_words(kind: str, word: str, types: dict[str, type[NodeConfig]]) -> dict[str, Any]:
    known = [word, *(other for other in upstream_words(kind) if other != word and canonical_type(kind, other) == word)]
    bare = [spelling for spelling in dict.fromkeys(other.replace("_", "") for other in known) if spelling not in known]
    return {**word_schema([*known, *bare]), "description": doc_of(types[word])}
