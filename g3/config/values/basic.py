# SPDX-License-Identifier: Apache-2.0
"""Basic values: strings, numbers, words, collections, names, files.

As upstream, a number is taken where a string is wanted (as written), and a string of digits where a number is wanted.
"""

from __future__ import annotations

import enum
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any, Generic, TypeVar, cast

from g3.config.problems import did_you_mean, quote
from g3.config.schema import normalize
from g3.config.value import Reference as ReferenceTo
from g3.config.value import Reported, Value, ValueProblem, wrong_type

if TYPE_CHECKING:
    from collections.abc import Hashable, Iterable, Iterator, Mapping

    from g3.config.document import Node
    from g3.config.value import ParseContext

T = TypeVar("T")
K = TypeVar("K", bound="Hashable")
V = TypeVar("V")
E = TypeVar("E", bound=enum.Enum)

_DIGITS = re.compile(r"[+-]?[0-9]{1,20}\Z")
_DECIMAL = re.compile(r"[+-]?(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][+-]?[0-9]{1,4})?\Z")

U8, U16, U32, U64, I64 = 0xFF, 0xFFFF, 0xFFFF_FFFF, 0xFFFF_FFFF_FFFF_FFFF, 0x7FFF_FFFF_FFFF_FFFF


class Str(Value[str]):
    """A string; a number counts as it was written. C{min_length} and C{max_length} in characters."""

    type_name = "string"

    def __init__(self, *, min_length: int = 0, max_length: int = 1 << 20, secret: bool = False) -> None:
        self.min_length, self.max_length, self.secret = min_length, max_length, secret

    def parse(self, node: Node, context: ParseContext) -> str:
        value = string_of(node, self.type_name)
        if len(value) < self.min_length:
            raise ValueProblem(node, "must not be empty" if not value else f"must have at least {self.min_length} characters")
        if len(value) > self.max_length:
            raise ValueProblem(node, f"must have at most {self.max_length} characters")
        return value

    def json_schema(self) -> dict[str, Any]:
        return {"type": ["string", "number"]}


class Ascii(Str):
    """A string of ASCII characters."""

    type_name = "ASCII string"

    def parse(self, node: Node, context: ParseContext) -> str:
        value = super().parse(node, context)
        if not value.isascii():
            bad = next(char for char in value if not char.isascii())
            raise ValueProblem(node, f"character {quote(bad)} is not ASCII")
        return value


def string_of(node: Node, expected: str = "string") -> str:
    """The text of a string or number node.

    @raise ValueProblem: it is neither.
    """
    if node.kind != "scalar" or node.value is None or isinstance(node.value, bool):
        raise wrong_type(node, article(expected))
    return node.text


def only_string(node: Node, expected: str = "string") -> str:
    """The text of a string node; a number is refused, as upstream does for names, paths and addresses.

    @raise ValueProblem: it is not a string.
    """
    if not node.is_string:
        raise wrong_type(node, article(expected))
    return cast("str", node.value)


def article(name: str) -> str:
    """The name with "a" or "an" before it."""
    return f"{'an' if name[:1].lower() in 'aeiou' else 'a'} {name}"


class Int(Value[int]):
    """An integer from C{low} to C{high}, both included; a string of digits too."""

    def __init__(self, low: int = 0, high: int = I64) -> None:
        self.low, self.high = low, high
        self.type_name = "integer" if (low, high) == (0, I64) else f"integer from {low} to {high}"

    def parse(self, node: Node, context: ParseContext) -> int:
        value = int_of(node, "an integer")
        if not self.low <= value <= self.high:
            raise ValueProblem(node, f"{value} is not from {self.low} to {self.high}")
        return value

    def json_schema(self) -> dict[str, Any]:
        return {"anyOf": [{"type": "integer", "minimum": self.low, "maximum": self.high}, {"type": "string", "pattern": "^[+-]?[0-9]+$"}]}


def int_of(node: Node, expected: str) -> int:
    """The integer of an int or digits node.

    @raise ValueProblem: it is neither.
    """
    value = node.value
    if node.kind == "scalar":
        if isinstance(value, int) and not isinstance(value, bool):
            return value
        if isinstance(value, str) and _DIGITS.match(value):
            return int(value)
    raise wrong_type(node, expected)


class Float(Value[float]):
    """A finite number from C{low} to C{high}; a string of one too."""

    def __init__(self, low: float = float("-inf"), high: float = float("inf")) -> None:
        self.low, self.high = low, high
        self.type_name = "number" if low == float("-inf") else f"number from {low:g} to {high:g}"

    def parse(self, node: Node, context: ParseContext) -> float:
        value = float_of(node, "a number")
        if not self.low <= value <= self.high:
            raise ValueProblem(node, f"{value:g} is not from {self.low:g} to {self.high:g}")
        return value

    def json_schema(self) -> dict[str, Any]:
        return {"type": ["number", "string"]}


def float_of(node: Node, expected: str) -> float:
    """The finite number of a node.

    @raise ValueProblem: it has none.
    """
    value = node.value
    if node.kind == "scalar" and not isinstance(value, bool):
        if isinstance(value, str) and _DECIMAL.match(value):
            value = float(value)
        if isinstance(value, (int, float)) and abs(value) < float("inf"):
            return float(value)
    raise wrong_type(node, expected)


class Bool(Value[bool]):
    """True or false; also the strings on, off, yes, no, 1, 0 in any case, and integers, of which only 0 is false."""

    type_name = "bool"
    _WORDS = {"on": True, "true": True, "yes": True, "1": True, "off": False, "false": False, "no": False, "0": False}

    def parse(self, node: Node, context: ParseContext) -> bool:
        value = node.value
        if node.kind == "scalar":
            if isinstance(value, (bool, int)):
                return bool(value)
            if isinstance(value, str) and value.lower() in self._WORDS:
                return self._WORDS[value.lower()]
        raise wrong_type(node, "a bool")

    def json_schema(self) -> dict[str, Any]:
        return {"anyOf": [{"type": ["boolean", "integer"]}, {"type": "string", "pattern": any_case(self._WORDS)}]}


class Enum(Value[E]):
    """A word that stands for a member of an enum; case and C{-}/C{_} do not matter. Without C{words} the members' names are the words."""

    def __init__(self, cls: type[E], words: Mapping[str, E] | None = None, *, type_name: str = "") -> None:
        given = words or {member.name: member for member in cls}
        self.words: dict[str, E] = {normalize(word): member for word, member in given.items()}
        self.canonical: dict[E, str] = {}
        for word, member in self.words.items():
            self.canonical.setdefault(member, word)
        self.type_name = type_name or f"one of {', '.join(self.canonical.values())}"

    def parse(self, node: Node, context: ParseContext) -> E:
        word = string_of(node, "word")
        member = self.words.get(normalize(word))
        if member is None:
            hint = did_you_mean(word, self.words) or f"; known are {', '.join(self.canonical.values())}"
            raise ValueProblem(node, f"unknown word {quote(word)}{hint}")
        return member

    def json_schema(self) -> dict[str, Any]:
        return word_schema(self.words)

    def dump(self, value: E) -> Any:
        return self.canonical[value]


def word_schema(words: Iterable[str]) -> dict[str, Any]:
    """JSON Schema of a word in any case and with C{-} or C{_}."""
    known = list(words)
    return {"anyOf": [{"enum": known}, {"type": "string", "pattern": any_case(known)}]}


def any_case(words: Iterable[str]) -> str:
    """A regular expression for words in any case and with C{-} or C{_}, of the plain kind that every JSON Schema tool knows."""
    return f"^({'|'.join(''.join(map(_any_case_char, word)) for word in words)})$"


def _any_case_char(char: str) -> str:
    if char == "_":
        return "[-_]"
    if char.isalpha() and char.isascii():
        return f"[{char.lower()}{char.upper()}]"
    return char if char.isalnum() else f"\\{char}"


class List(Value[tuple[T, ...]]):
    """A sequence of values, at least C{min_items} and at most C{max_items}; C{unique} refuses the same one twice."""

    def __init__(self, item: Value[T], *, min_items: int = 0, max_items: int = 1_000_000, unique: bool = False) -> None:
        self.item, self.min_items, self.max_items, self.unique = item, min_items, max_items, unique
        self.type_name = f"list of {item.type_name}"
        self.secret = item.secret

    def parse(self, node: Node, context: ParseContext) -> tuple[T, ...]:
        if node.kind != "seq":
            raise wrong_type(node, "a list")
        return self.collect(node, node.elements, context)

    def collect(self, node: Node, elements: list[Node], context: ParseContext) -> tuple[T, ...]:
        if len(elements) < self.min_items:
            raise ValueProblem(node, "must not be empty" if not elements else f"must have at least {self.min_items} elements")
        if len(elements) > self.max_items:
            raise ValueProblem(node, f"must have at most {self.max_items} elements")
        attempts = [self.item.attempt(element, context) for element in elements]
        if not all(ok for ok, _ in attempts):
            raise Reported
        values = cast("tuple[T, ...]", tuple(value for _, value in attempts))
        if self.unique:
            self.refuse_doubles(elements, values)
        return values

    def refuse_doubles(self, elements: list[Node], values: tuple[T, ...]) -> None:
        seen: set[Any] = set()
        for element, value in zip(elements, values, strict=True):
            if value in seen:
                raise ValueProblem(element, f"{quote(element.text)} is listed twice")
            seen.add(value)

    def json_schema(self) -> dict[str, Any]:
        schema: dict[str, Any] = {"type": "array", "items": self.item.json_schema()}
        if self.min_items:
            schema["minItems"] = self.min_items
        return schema

    def dump(self, value: tuple[T, ...]) -> Any:
        return [self.item.dump(element) for element in value]

    def references(self, value: tuple[T, ...]) -> Iterator[ReferenceTo]:
        for element in value:
            yield from self.item.references(element)

    def schema_class(self) -> type | None:
        return self.item.schema_class()


class OneOrMany(List[T]):
    """A sequence of values, or one value for a sequence of one."""

    def __init__(self, item: Value[T], *, min_items: int = 0, max_items: int = 1_000_000, unique: bool = False) -> None:
        super().__init__(item, min_items=min_items, max_items=max_items, unique=unique)
        self.type_name = f"{item.type_name} or list of them"

    def parse(self, node: Node, context: ParseContext) -> tuple[T, ...]:
        return self.collect(node, node.elements if node.kind == "seq" else [node], context)

    def json_schema(self) -> dict[str, Any]:
        return {"anyOf": [self.item.json_schema(), super().json_schema()]}


class Tuple(Value[tuple[Any, ...]]):
    """A sequence of a fixed length with a kind of value for each place."""

    def __init__(self, *items: Value[Any]) -> None:
        self.items = items
        self.type_name = f"list [{', '.join(item.type_name for item in items)}]"

    def parse(self, node: Node, context: ParseContext) -> tuple[Any, ...]:
        if node.kind != "seq" or len(node.elements) != len(self.items):
            raise wrong_type(node, f"a {self.type_name}")
        attempts = [item.attempt(element, context) for item, element in zip(self.items, node.elements, strict=True)]
        if not all(ok for ok, _ in attempts):
            raise Reported
        return tuple(value for _, value in attempts)

    def json_schema(self) -> dict[str, Any]:
        return {"type": "array", "prefixItems": [item.json_schema() for item in self.items], "minItems": len(self.items), "maxItems": len(self.items)}

    def dump(self, value: tuple[Any, ...]) -> Any:
        return [item.dump(element) for item, element in zip(self.items, value, strict=True)]


class FrozenMap(dict[K, V]):
    """A dict that does not change and has a hash, so that configurations may hold it and stay comparable."""

    def __hash__(self) -> int:  # type: ignore[override]
        return hash(frozenset(self.items()))

    def __reduce__(self) -> Any:
        return type(self), (dict(self),)

    def _refuse(self, *_args: object, **_kwargs: object) -> Any:
        raise TypeError("a FrozenMap does not change")

    __setitem__ = __delitem__ = __ior__ = update = setdefault = pop = popitem = clear = _refuse


class Map(Value[FrozenMap[K, V]], Generic[K, V]):
    """A map of keys of one kind to values of one kind, in order; a key that means the same as an earlier one is refused."""

    def __init__(self, key: Value[K], value: Value[V], *, max_items: int = 1_000_000) -> None:
        self.key, self.value, self.max_items = key, value, max_items
        self.type_name = f"map of {key.type_name} to {value.type_name}"

    def parse(self, node: Node, context: ParseContext) -> FrozenMap[K, V]:
        if node.kind != "map":
            raise wrong_type(node, "a map")
        if len(node.items) > self.max_items:
            raise ValueProblem(node, f"must have at most {self.max_items} keys")
        result: dict[K, V] = {}
        good = True
        for key_node, value_node in node.items:
            key_ok, key = self.key.attempt(key_node, context)
            value_ok, value = self.value.attempt(value_node, context)
            if key_ok and key in result:
                context.problems.error(key_node, f"{quote(key_node.text)} is given twice")
                key_ok = False
            if key_ok and value_ok:
                result[cast("K", key)] = cast("V", value)
            good = good and key_ok and value_ok
        if not good:
            raise Reported
        return FrozenMap(result)

    def json_schema(self) -> dict[str, Any]:
        return {"type": "object", "additionalProperties": self.value.json_schema()}

    def dump(self, value: FrozenMap[K, V]) -> Any:
        return {str(self.key.dump(key)): self.value.dump(content) for key, content in value.items()}

    def references(self, value: FrozenMap[K, V]) -> Iterator[ReferenceTo]:
        for content in value.values():
            yield from self.value.references(content)


class NodeName(Value[str]):
    """The name of a node: letters of any script, digits and C{- _ . /}. Must be a string: quote a name of digits."""

    type_name = "node name"

    def parse(self, node: Node, context: ParseContext) -> str:
        name = only_string(node, "name (quote one that looks like a number)")
        if not name:
            raise ValueProblem(node, "a name must not be empty")
        if len(name) > 255:
            raise ValueProblem(node, "a name must have at most 255 characters")
        if bad := next((char for char in name if not (char.isalnum() or char in "-_./")), ""):
            raise ValueProblem(node, f"character {quote(bad)} is not allowed in a name (letters, digits, - _ . /)")
        return name

    def json_schema(self) -> dict[str, Any]:
        return {"type": "string", "minLength": 1}


class Reference(NodeName):
    """The name of a node of the given kind."""

    def __init__(self, kind: str) -> None:
        self.kind = kind
        self.type_name = f"{kind} name"

    def parse(self, node: Node, context: ParseContext) -> str:
        name = super().parse(node, context)
        context.refer(self.kind, name, node)
        return name

    def references(self, value: str) -> Iterator[ReferenceTo]:
        if value:
            yield ReferenceTo(self.kind, value)


class FilePath(Value[Path]):
    """A path, relative to the directory of the configuration file. C{must_exist} wants a regular file there, C{directory} a directory."""

    type_name = "path"

    def __init__(self, *, must_exist: bool = False, directory: bool = False, absolute: bool = False) -> None:
        self.must_exist, self.directory, self.absolute = must_exist, directory, absolute
        self.type_name = "absolute path" if absolute else "path"

    def parse(self, node: Node, context: ParseContext) -> Path:
        text = only_string(node, "path")
        if not text or "\0" in text:
            raise ValueProblem(node, "a path must not be empty" if not text else "a path must not contain NUL")
        if self.absolute and not text.startswith("/"):
            raise ValueProblem(node, f"{quote(text)} is not an absolute path")
        path = context.resolve_path(text)
        if self.must_exist or self.directory:
            self.refuse_missing(node, path)
        return path

    def refuse_missing(self, node: Node, path: Path) -> None:
        try:
            found = path.is_dir() if self.directory else path.is_file()
            exists = found or path.exists()
        except (OSError, ValueError) as error:
            raise ValueProblem(node, f"cannot look at {quote(path, 300)}: {getattr(error, 'strerror', None) or error}") from None
        if not found:
            wanted = "directory" if self.directory else "regular file"
            raise ValueProblem(node, f"{quote(path, 300)} {f'is not a {wanted}' if exists else 'does not exist'}")

    def json_schema(self) -> dict[str, Any]:
        return {"type": "string", "minLength": 1}

    def dump(self, value: Path) -> Any:
        return str(value)


class FileBytes(bytes):
    """The content of a file, and where it came from; two are equal when path and content are."""

    path: Path

    def __new__(cls, content: bytes, path: Path) -> FileBytes:
        made = super().__new__(cls, content)
        made.path = path
        return made

    def __eq__(self, other: object) -> bool:
        return bytes.__eq__(self, other) is True and self.path == getattr(other, "path", self.path)

    def __ne__(self, other: object) -> bool:
        return not self == other

    def __hash__(self) -> int:
        return super().__hash__()


class FileContent(Value[FileBytes]):
    """The content of a file named by its path; equality sees a changed file, so a reload does. At most C{limit} bytes."""

    type_name = "path of a file"

    def __init__(self, *, limit: int = 64 << 20) -> None:
        self.limit = limit

    def parse(self, node: Node, context: ParseContext) -> FileBytes:
        text = only_string(node, "path")
        if not text or "\0" in text:
            raise ValueProblem(node, "a path must not be empty" if not text else "a path must not contain NUL")
        return FileBytes(context.read_file(node, text, self.limit), context.resolve_path(text))

    def json_schema(self) -> dict[str, Any]:
        return {"type": "string", "minLength": 1}

    def dump(self, value: FileBytes) -> Any:
        return str(value.path)


def values_of(node: Node, *words: str) -> list[Node]:
    """The values of a map that has these keys and no others.

    @raise ValueProblem: it has not.
    """
    known: dict[str, Node] = {}
    for k, v in node.items:
        word = normalize(k.value) if k.is_string else ""
        if word not in words:
            raise ValueProblem(k, f"unknown key {quote(k.text)}{did_you_mean(k.text, words)}")
        known[word] = v
    for word in words:
        if word not in known:
            raise ValueProblem(node, f"required key {quote(word)} is missing")
    return [known[word] for word in words]
