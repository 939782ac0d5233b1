# SPDX-License-Identifier: Apache-2.0
"""YAML text to nodes that know their file, line and column.

YAML 1.2 core schema (section 10.3), as upstream reads it: C{no}, C{on} and C{12:30:45} are strings, C{010} is ten, an integer that needs more
than 64 bits is a float. Read event by event, so that depth and size are bounded while reading. Merge keys (C{<<}) work, which they do not upstream.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, Final

import yaml

from g3.config.problems import Place, Problems, quote

if TYPE_CHECKING:
    from pathlib import Path

Loader: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)

#: A larger file is refused, bytes.
MAX_FILE = 64 << 20

#: Maps and sequences inside each other.
MAX_DEPTH = 64

#: Nodes of one document with every alias written out.
MAX_NODES = 2_000_000

_INT = re.compile(r"[-+]?[0-9]+\Z")
_BASED = {"0x": (16, re.compile(r"0x[0-9a-fA-F]+\Z")), "0o": (8, re.compile(r"0o[0-7]+\Z"))}
_FLOAT = re.compile(r"[-+]?(?:\.[0-9]+|[0-9]+(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]+)?\Z")
_INFINITE = re.compile(r"([-+]?)\.(?:inf|Inf|INF)\Z")
_WORDS: Final[dict[str, bool | float | None]] = {
    **dict.fromkeys(("", "~", "null", "Null", "NULL"), None),
    **dict.fromkeys(("true", "True", "TRUE"), True),
    **dict.fromkeys(("false", "False", "FALSE"), False),
    **dict.fromkeys((".nan", ".NaN", ".NAN"), float("nan")),
}
#: A plain scalar that starts with none of these is a string.
_TYPED_START = frozenset("~nNtTfF+-.0123456789")
_INT64 = 1 << 63

_NOT_YAML = re.compile("[^\t\n\r\x20-\x7e\x85\xa0-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
_BREAK = re.compile("\r\n|[\n\r\x85\u2028\u2029]")
_TAG = "tag:yaml.org,2002:"


class Node:
    """A scalar, sequence or map with its place.

    C{kind} is "scalar", "seq" or "map". C{value} is None, a bool, int, float or str; or a list of nodes; or a list of pairs of nodes, whose
    keys may be any node. C{text} is a scalar as written (after unquoting), so that C{1.10} given for a string stays C{1.10}.
    Line and column count from 1. A node with an anchor is shared by its aliases.
    """

    __slots__ = ("column", "file", "height", "kind", "line", "quoted", "size", "text", "value")

    def __init__(self, kind: str, value: Any, file: str, line: int, column: int, text: str = "", quoted: bool = False) -> None:
        self.kind, self.value = kind, value
        self.file, self.line, self.column = file, line, column
        self.text, self.quoted = text, quoted
        self.size = 1
        self.height = 1

    def __repr__(self) -> str:
        return f"<{self.kind} {self.value!r} at {self.place}>"

    @property
    def place(self) -> Place:
        """Where it starts."""
        return Place(self.file, self.line, self.column)

    @property
    def items(self) -> list[tuple[Node, Node]]:
        """The pairs of a map; empty for anything else."""
        return self.value if self.kind == "map" else []

    @property
    def elements(self) -> list[Node]:
        """The elements of a sequence; empty for anything else."""
        return self.value if self.kind == "seq" else []

    @property
    def is_null(self) -> bool:
        return self.kind == "scalar" and self.value is None

    @property
    def is_string(self) -> bool:
        return self.kind == "scalar" and isinstance(self.value, str)

    def describe(self) -> str:
        """What it is, for "expected X, not Y"."""
        if self.kind != "scalar":
            return "a map" if self.kind == "map" else "a list"
        if self.value is None:
            return "nothing"
        if isinstance(self.value, bool):
            return f"the bool {self.text}"
        return quote(self.text) if isinstance(self.value, str) else f"the number {quote(self.text)[1:-1]}"

    def to_python(self) -> Any:
        """Plain dicts, lists and scalars; a key that is no scalar becomes its description."""
        if self.kind == "map":
            return {key.text if key.kind == "scalar" else key.describe(): value.to_python() for key, value in self.items}
        return [element.to_python() for element in self.elements] if self.kind == "seq" else self.value


def resolve(text: str) -> bool | int | float | str | None:
    """The value of a plain scalar by the YAML 1.2 core schema."""
    if text and text[0] not in _TYPED_START:
        return text
    if text in _WORDS:
        return _WORDS[text]
    if (based := _BASED.get(text[:2])) is not None and based[1].match(text) and len(text) <= 24:
        number = int(text[2:], based[0])
        return number if number < _INT64 else text
    if _FLOAT.match(text):
        return _number(text)
    if infinite := _INFINITE.match(text):
        return float(f"{infinite[1]}inf")
    return text


def _number(text: str) -> int | float:
    if _INT.match(text) and len(text) <= 24 and -_INT64 <= (number := int(text)) < _INT64:
        return number
    return float(text)


def merged(nodes: list[Node]) -> Node:
    """What is given in several places: maps are read as one map, lists (and maps beside a list) as one list, nothing adds nothing, else the last
    wins. There is one at least."""
    nodes = [node for node in nodes if not node.is_null] or nodes[-1:]
    if len(nodes) == 1 or any(node.kind == "scalar" for node in nodes):
        return nodes[-1]
    first = next((node for node in nodes if node.kind == "seq"), nodes[0])
    parts = [part for node in nodes for part in (node.elements or [node] if first.kind == "seq" else node.items)]
    return Node(first.kind, parts, first.file, first.line, first.column)


class _Refused(Exception):
    """Reading cannot go on; already reported."""


class _Open:
    """A collection being read."""

    __slots__ = ("anchor", "content", "node")

    def __init__(self, node: Node, anchor: str | None) -> None:
        self.node, self.anchor = node, anchor
        self.content: list[Node] = []


class _Composer:
    """Builds the nodes of one file."""

    __slots__ = ("anchors", "documents", "file", "problems", "root", "stack")

    def __init__(self, file: str, problems: Problems) -> None:
        self.file, self.problems = file, problems
        self.documents: list[Node] = []
        self.stack: list[_Open] = []
        self.anchors: dict[str, Node | None] = {}
        self.root: Node | None = None

    def run(self, loader: Any) -> None:
        handlers = {
            yaml.ScalarEvent: self.scalar,
            yaml.MappingStartEvent: self.open_map,
            yaml.SequenceStartEvent: self.open_seq,
            yaml.MappingEndEvent: self.close_map,
            yaml.SequenceEndEvent: self.close_seq,
            yaml.AliasEvent: self.alias,
            yaml.DocumentStartEvent: self.document_start,
            yaml.DocumentEndEvent: self.document_end,
        }
        while True:
            event = loader.get_event()
            if type(event) is yaml.StreamEndEvent:
                return
            handler = handlers.get(type(event))
            if handler is not None:
                handler(event)

    def scalar(self, event: Any) -> None:
        text, mark = event.value, event.start_mark
        quoted = not event.implicit[0] and event.style not in (None, "")
        value: object = text if quoted else resolve(text)
        node = Node("scalar", value, self.file, mark.line + 1, mark.column + 1, text, quoted)
        if event.tag is not None:
            node.value = self.tagged(node, event.tag)
        self.put(node, event.anchor)

    def tagged(self, node: Node, tag: str) -> Any:
        """The value under an explicit tag. A tag outside the core schema makes a string, as upstream."""
        if not tag.startswith(_TAG) or tag == f"{_TAG}str":
            return node.text
        value, wanted = resolve(node.text), tag[len(_TAG) :]
        if wanted == "float" and type(value) is int:
            return float(value)
        fits = {"int": int, "float": float, "bool": bool, "null": type(None)}.get(wanted)
        if fits is not None and type(value) is not fits:
            self.problems.error(node, f"{quote(node.text)} is not a value of the tag !!{wanted}")
        return value if fits is not None else node.text

    def open_map(self, event: Any) -> None:
        self.open("map", event)

    def open_seq(self, event: Any) -> None:
        self.open("seq", event)

    def open(self, kind: str, event: Any) -> None:
        mark = event.start_mark
        node = Node(kind, [], self.file, mark.line + 1, mark.column + 1)
        if len(self.stack) >= MAX_DEPTH:
            self.refuse(node, f"nested deeper than {MAX_DEPTH} levels")
        if event.anchor is not None:
            self.anchors[event.anchor] = None
        self.stack.append(_Open(node, event.anchor))

    def close_seq(self, _event: Any) -> None:
        opened = self.stack.pop()
        opened.node.value = opened.content
        self.close(opened)

    def close_map(self, _event: Any) -> None:
        opened = self.stack.pop()
        content = iter(opened.content)
        opened.node.value = self.unique(list(zip(content, content, strict=False)))
        self.close(opened)

    def close(self, opened: _Open) -> None:
        node = opened.node
        for child in opened.content:
            node.size += child.size
            node.height = max(node.height, child.height + 1)
        if node.size > MAX_NODES:
            self.refuse(node, f"more than {MAX_NODES} values, aliases written out")
        if node.height > MAX_DEPTH:
            self.refuse(node, f"nested deeper than {MAX_DEPTH} levels, aliases written out")
        self.put(node, opened.anchor)

    def unique(self, pairs: list[tuple[Node, Node]]) -> list[tuple[Node, Node]]:
        """The pairs of a map: a key twice is an error, merge keys are merged."""
        seen: dict[tuple[type, object], int] = {}
        result: list[tuple[Node, Node]] = []
        merges: list[Node] = []
        for key, value in pairs:
            if key.kind == "scalar":
                if key.value == "<<" and not key.quoted:
                    merges.append(value)
                    continue
                identity = (type(key.value), key.value)
                if identity in seen:
                    first = result[seen[identity]][0]
                    self.problems.error(key, f"key {quote(key.text)} is given twice; the first is on line {first.line}")
                    result[seen[identity]] = (key, value)
                    continue
                seen[identity] = len(result)
            result.append((key, value))
        for merge in merges:
            self.merge(result, seen, merge)
        return result

    def merge(self, result: list[tuple[Node, Node]], seen: dict[tuple[type, object], int], source: Node) -> None:
        for part in source.elements if source.kind == "seq" else [source]:
            if part.kind != "map":
                self.problems.error(part, f'the value of the merge key "<<" must be a map or a list of maps, not {part.describe()}')
                continue
            for key, value in part.items:
                identity = (type(key.value), key.value if key.kind == "scalar" else id(key))
                if identity not in seen:
                    seen[identity] = len(result)
                    result.append((key, value))

    def alias(self, event: Any) -> None:
        mark = event.start_mark
        place = Place(self.file, mark.line + 1, mark.column + 1)
        target = self.anchors.get(event.anchor)
        if target is None:
            inside = event.anchor in self.anchors
            self.problems.error(place, f"alias *{event.anchor} {'contains itself' if inside else 'has no anchor'}")
            target = Node("scalar", None, self.file, place.line, place.column)
        self.put(target, None)

    def put(self, node: Node, anchor: str | None) -> None:
        if anchor is not None:
            self.anchors[anchor] = node
        if self.stack:
            self.stack[-1].content.append(node)
        else:
            self.root = node

    def document_start(self, _event: Any) -> None:
        self.anchors.clear()
        self.root = None

    def document_end(self, _event: Any) -> None:
        if self.root is not None:
            self.documents.append(self.root)

    def refuse(self, where: Node, message: str) -> None:
        self.problems.error(where, message)
        raise _Refused


def read_text(text: str, file: str, problems: Problems) -> list[Node]:
    """The documents of a YAML text; an empty text has none. What is wrong goes to C{problems}, and the documents before it are
    returned. Never raises."""
    text = text.removeprefix("\ufeff")
    problems.add_source(file, text)
    if bad := _NOT_YAML.search(text):
        problems.error(_place_at(text, bad.start(), file), f"character U+{ord(bad[0]):04X} is not allowed in YAML")
        return []
    composer = _Composer(file, problems)
    loader = None
    try:
        loader = Loader(text)
        composer.run(loader)
    except _Refused:
        pass
    except yaml.MarkedYAMLError as error:
        problems.error(_mark_place(error, file), _syntax_message(error))
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        problems.error(Place(file), f"not YAML: {error}")
    finally:
        if loader is not None:
            loader.dispose()
    return composer.documents


def read_bytes(data: bytes, file: str, problems: Problems) -> list[Node]:
    """The documents of a YAML file in UTF-8. See L{read_text}."""
    try:
        text = data.decode("utf-8")
    except UnicodeDecodeError as error:
        good = data[: error.start].decode("utf-8")
        problems.add_source(file, data.decode("utf-8", "replace"))
        problems.error(_place_at(good, len(good), file), f"byte 0x{data[error.start]:02X} is not UTF-8")
        return []
    return read_text(text, file, problems)


def read_file(path: Path, problems: Problems, at: Node | Place | None = None) -> list[Node]:
    """The documents of a file. C{at} is the place that names the file, for the problem when it cannot be read."""
    try:
        with path.open("rb") as stream:
            data = stream.read(MAX_FILE + 1)
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        problems.error(at or Place(str(path)), f"cannot read {quote(path, 300)}: {reason}")
        return []
    if len(data) > MAX_FILE:
        problems.error(at or Place(str(path)), f"{quote(path, 300)} is larger than {MAX_FILE} bytes")
        return []
    return read_bytes(data, str(path), problems)


def _place_at(text: str, offset: int, file: str) -> Place:
    line, start = 1, 0
    for line_break in _BREAK.finditer(text, 0, offset):
        line, start = line + 1, line_break.end()
    return Place(file, line, offset - start + 1)


def _mark_place(error: yaml.MarkedYAMLError, file: str) -> Place:
    mark = error.problem_mark or error.context_mark
    return Place(file, mark.line + 1, mark.column + 1) if mark is not None else Place(file)


def _syntax_message(error: yaml.MarkedYAMLError) -> str:
    parts = [error.problem or "cannot be understood", error.context or ""]
    return "YAML syntax: " + " ".join(part for part in parts if part)
