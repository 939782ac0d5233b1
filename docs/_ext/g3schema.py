# SPDX-License-Identifier: Apache-2.0
"""Puts the key tables of the configuration into the documentation, made from the schemas that read it, so that they cannot drift.

C{.. g3-keys:: escaper direct_fixed} has the keys of a type, C{.. g3-keys:: class g3.config.main.MainConfig} those of any config class;
C{.. g3-types:: escaper} lists the types of a kind with links to their pages.
"""

from __future__ import annotations

import importlib
import json
import re
from typing import TYPE_CHECKING, Any

from docutils import nodes
from sphinx.util.docutils import SphinxDirective

from g3.component import Components
from g3.config.schema import Key, doc_of, keys_of
from g3.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from sphinx.application import Sphinx

MARKED = re.compile(r"[CL]\{([^{}]*)\}")
#: Longer values are left to --explain.
LONGEST_DEFAULT = 60


def prose(text: str) -> list[nodes.Node]:
    """Plain text with C{code} in it, as docutils nodes."""
    pieces = MARKED.split(text)
    return [nodes.literal(text=piece) if number % 2 else nodes.Text(piece) for number, piece in enumerate(pieces) if piece]


def paragraph(text: str) -> nodes.paragraph:
    made = nodes.paragraph()
    made += prose(text)
    return made


def find_class(kind: str, word: str) -> type:
    """The config class that a directive names."""
    if kind == "class":
        module, _, name = word.rpartition(".")
        found: type = getattr(importlib.import_module(module), name)
        return found
    schema: type = Components.discover().schema(kind, word)
    return schema


def default_of(key: Key) -> list[nodes.Node]:
    """The default as it would be written in YAML."""
    if key.required:
        return [nodes.emphasis(text="required")]
    if key.default is None:
        return [nodes.Text("not set")]
    if key.secret:
        return [nodes.Text("secret")]
    value = key.value.dump(key.default)
    if isinstance(value, dict) and key.value.schema_class() is not None:
        return [nodes.Text("see below")]
    if value in ((), [], {}, ""):
        return [nodes.Text("empty")]
    written = value if isinstance(value, str) else json.dumps(value)
    return [nodes.literal(text=written)] if len(written) <= LONGEST_DEFAULT else [nodes.Text("see --explain")]


def meaning(key: Key) -> Iterator[nodes.Node]:
    """What a key does, its unit, its other words, and whether it is still to be used."""
    parts = [key.doc] if key.doc else []
    if key.unit:
        parts.append(f"Unit: {key.unit}.")
    if key.aliases:
        parts.append("Also " + ", ".join(f"C{{{alias}}}" for alias in key.aliases) + ".")
    if key.is_deprecated:
        parts.append("Deprecated: " + (key.deprecated or f"use C{{{key.deprecated_for}}}") + ".")
    yield paragraph(" ".join(parts))


def table(header: Iterable[str], rows: Iterable[list[nodes.Node]], widths: tuple[int, ...]) -> nodes.table:
    """A table of ready cells."""

    def row(cells: Iterable[nodes.Node]) -> nodes.row:
        made = nodes.row()
        for cell in cells:
            made += nodes.entry("", cell)
        return made

    group = nodes.tgroup(cols=len(widths))
    group += [nodes.colspec(colwidth=width) for width in widths]
    group += nodes.thead("", row(paragraph(word) for word in header))
    group += nodes.tbody("", *(row(cells) for cells in rows))
    return nodes.table("", group, classes=["g3-keys"])


class KeysDirective(SphinxDirective):
    """C{.. g3-keys:: KIND TYPE}"""

    required_arguments = 2

    def run(self) -> list[nodes.Node]:
        kind, word = self.arguments
        try:
            found = find_class(kind, word)
        except Exception as error:
            raise self.error(f"no schema of {kind} {word}: {error}") from error
        made: list[nodes.Node] = [paragraph(text) for text in doc_of(found).splitlines()]
        return made + list(self.tables(found, f"{kind}-{word}", set()))

    def tables(self, cls: type, prefix: str, seen: set[type]) -> Iterator[nodes.Node]:
        """The table of a class, then one for each key whose value is a map of its own."""
        seen.add(cls)
        keys = keys_of(cls)
        yield table(("Key", "Value", "Default", "Meaning"), (self.row(key, prefix) for key in keys), (20, 20, 15, 45))
        for key in keys:
            inner = key.value.schema_class()
            if inner is not None and inner not in seen and not key.is_deprecated:
                yield nodes.rubric("", "", *prose(f"C{{{key.name}}}"))
                yield from (paragraph(text) for text in doc_of(inner).splitlines())
                yield from self.tables(inner, f"{prefix}-{key.name}", seen)

    def row(self, key: Key, prefix: str) -> list[nodes.Node]:
        name = nodes.paragraph("", "", nodes.literal(text=key.name), ids=[nodes.make_id(f"{prefix}-{key.name}")])
        default = nodes.paragraph("", "", *default_of(key))
        body = list(meaning(key))
        return [name, paragraph(key.value.type_name), default, body[0]]


class TypesDirective(SphinxDirective):
    """C{.. g3-types:: KIND}"""

    required_arguments = 1

    def run(self) -> list[nodes.Node]:
        kind = self.arguments[0]
        components = Components.discover()
        rows = []
        for info in components.types(kind):
            try:
                schema = components.schema(kind, info.type)
            except ConfigError as error:
                raise self.error(str(error)) from error
            link = nodes.reference("", "", nodes.literal(text=info.type), refuri=f"{kind}s/{info.type}.html", internal=True)
            words = ", ".join(f"C{{{alias}}}" for alias in info.aliases)
            first = (doc_of(schema).splitlines() or [""])[0]
            rows.append([nodes.paragraph("", "", link), paragraph(words), paragraph(first)])
        return [table(("Type", "Also", "What it does"), rows, (20, 20, 60))]


def setup(app: Sphinx) -> dict[str, Any]:
    app.add_directive("g3-keys", KeysDirective)
    app.add_directive("g3-types", TypesDirective)
    return {"parallel_read_safe": True}
