# SPDX-License-Identifier: Apache-2.0
"""What a key, type or section is, asked by its path: C{escaper.direct_fixed.bind_ip}, C{escaper.direct_fixed}, C{escaper}."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from g3.config.jsonschema import types_of
from g3.config.problems import did_you_mean, quote
from g3.config.schema import REQUIRED, Key, doc_of, key_index, keys_of, normalize
from g3.config.upstream_types import canonical_type, not_available
from g3.config.values.basic import Str
from g3.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from g3.config.main import Components, Layout
    from g3.config.value import Value


_NONE: Mapping[str, Key] = {}


def explain(path: str, layout: Layout, components: Components) -> str:
    """Text about what the path names. An empty path lists the sections.

    @raise ConfigError: there is no such thing; says what is near.
    """
    words = [normalize(word.strip()) for word in path.split(".") if word.strip()]
    if not words:
        return _listing("The main configuration has these keys:", [(word, _section_doc(layout, word)) for word in (*layout.sections, *layout.kinds)])
    head = layout.aliases.get(words[0], words[0])
    if head in layout.sections:
        section = layout.sections[head]
        return _value(head, section.value, section.doc, words[1:])
    if head in layout.kinds:
        return _kind(head, words[1:], layout, components)
    raise ConfigError(f"unknown section {quote(words[0])}{did_you_mean(words[0], layout.words())}")


def _section_doc(layout: Layout, word: str) -> str:
    return layout.sections[word].doc if word in layout.sections else f"A list of {word} nodes."


def _kind(kind: str, rest: list[str], layout: Layout, components: Components) -> str:
    types = types_of(kind, components)
    if not rest:
        return _listing(f"{kind}: a list of nodes of these types, or a path to them:", [(word, _first(doc_of(cls))) for word, cls in types.items()])
    word = rest[0] if rest[0] in types else canonical_type(kind, rest[0]) or rest[0]
    if word not in types:
        if canonical_type(kind, word):
            raise ConfigError(not_available(kind, word))
        raise ConfigError(f"unknown {kind} type {quote(rest[0])}{did_you_mean(rest[0], types)}")
    return _class(f"{kind}.{word}", types[word], rest[1:], {"type": _type_key(kind, layout)})


def _type_key(kind: str, layout: Layout) -> Key:
    """C{type}, which no schema has: it chooses the schema."""
    return Key("type", Str(), layout.default_types.get(kind, REQUIRED), (), f"Which type of {kind} this is.", "", "", "", secret=False)


def _class(path: str, cls: type, rest: list[str], extra: Mapping[str, Key] = _NONE) -> str:
    """A map with a schema, or one of its keys; C{extra} are keys that the schema does not have."""
    if not rest:
        rows = [(known.name, _first(known.doc)) for known in (*extra.values(), *keys_of(cls)) if not known.is_deprecated]
        return _listing(f"{path}: {doc_of(cls) or 'a map'}\nKeys:", rows)
    index = {**extra, **key_index(cls)}
    known = index.get(rest[0])
    if known is None:
        raise ConfigError(f"{path} has no key {quote(rest[0])}{did_you_mean(rest[0], index)}")
    path = f"{path}.{known.name}"
    if len(rest) == 1:
        return _key(path, known)
    return _value(path, known.value, known.doc, rest[1:])


def _value(path: str, value: Value[Any], doc: str, rest: list[str]) -> str:
    """A value, or what is inside it."""
    inner = value.schema_class()
    if rest and inner is None:
        raise ConfigError(f"{path} is a {value.type_name}, it has no key {quote(rest[0])}")
    if inner is not None:
        return _class(path, inner, rest)
    return "\n".join(line for line in (f"{path}: {doc}".rstrip(": "), f"  type: {value.type_name}", _indented(value.doc)) if line) + "\n"


def _key(path: str, known: Key) -> str:
    lines = [f"{path}: {known.doc}".rstrip(": "), f"  type: {known.value.type_name}"]
    if known.value.doc:
        lines.append(_indented(known.value.doc))
    if known.unit:
        lines.append(f"  unit: {known.unit}")
    lines.append(f"  default: {_default(known)}")
    if known.aliases:
        lines.append(f"  also written: {', '.join(known.aliases)}")
    if known.is_deprecated:
        lines.append(f"  deprecated: {known.deprecated or f'use {known.deprecated_for}'}")
    text = "\n".join(lines) + "\n"
    inner = known.value.schema_class()
    return text if inner is None else text + "\n" + _class(path, inner, [])


def _default(known: Key) -> str:
    if known.required:
        return "none, the key is required"
    return "not set" if known.default is None else json.dumps(known.value.dump(known.default), ensure_ascii=False)


def _indented(text: str) -> str:
    return f"  {text}" if text else ""


def _first(doc: str) -> str:
    """The first sentence of a text."""
    line = doc.partition("\n")[0]
    return line.partition(". ")[0].rstrip(".") + "." if line else ""


def _listing(title: str, rows: Iterable[tuple[str, str]]) -> str:
    listed = list(rows)
    width = min(max((len(word) for word, _ in listed), default=0), 32)
    return "\n".join([title, *(f"  {word:<{width}}  {doc}".rstrip() for word, doc in listed)]) + "\n"
