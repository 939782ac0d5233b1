# SPDX-License-Identifier: Apache-2.0
"""Declarative schemas: a frozen dataclass whose fields say how their keys are read.

::

    @config_class
    class DirectFixedConfig(EscaperConfig):
        bind_ip: tuple[IPAddress, ...] = key(OneOrMany(IPValue()), default=(), doc="Local addresses to connect from.")

From one declaration come the parser, the JSON Schema, C{--explain}, the reference docs and the effective-configuration dump.
Two configurations are equal when all their keys are: this is the reload diff.
"""

from __future__ import annotations

import dataclasses
import functools
from typing import TYPE_CHECKING, Any, Final, Protocol, TypeVar, cast, dataclass_transform, overload

from g3.config.problems import did_you_mean, quote
from g3.config.value import Reference, Reported, Value, ValueProblem, wrong_type

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from g3.config.document import Node
    from g3.config.value import ParseContext

T = TypeVar("T")
C = TypeVar("C")


class _Required:
    """The default of a key that has none."""

    def __repr__(self) -> str:
        return "REQUIRED"


REQUIRED: Final[Any] = _Required()

_METADATA = "g3.config"


@dataclasses.dataclass(frozen=True, slots=True)
class Key:
    """One key of a schema. C{default} is L{REQUIRED} when the key must be given."""

    name: str
    value: Value[Any]
    default: Any
    aliases: tuple[str, ...]
    doc: str
    unit: str
    #: Why it should not be used any more; "" for a current key.
    deprecated: str
    #: The key its value goes to.
    deprecated_for: str
    secret: bool

    @property
    def required(self) -> bool:
        return self.default is REQUIRED

    @property
    def words(self) -> tuple[str, ...]:
        """The name and its aliases."""
        return (self.name, *self.aliases)

    @property
    def is_deprecated(self) -> bool:
        return bool(self.deprecated or self.deprecated_for)


@overload
def key(
    value: Value[T],
    *,
    default: None,
    aliases: tuple[str, ...] = ...,
    doc: str = ...,
    unit: str = ...,
    deprecated: str = ...,
    deprecated_for: str = ...,
    secret: bool = ...,
) -> T | None: ...
@overload
def key(
    value: Value[T],
    *,
    default: T = ...,
    aliases: tuple[str, ...] = ...,
    doc: str = ...,
    unit: str = ...,
    deprecated: str = ...,
    deprecated_for: str = ...,
    secret: bool = ...,
) -> T: ...
def key(
    value: Value[Any],
    *,
    default: Any = REQUIRED,
    aliases: tuple[str, ...] = (),
    doc: str = "",
    unit: str = "",
    deprecated: str = "",
    deprecated_for: str = "",
    secret: bool = False,
) -> Any:
    """Declare a key of a L{config_class}. The field's name is the key.

    @param default: what the key is when it is not given; without one the key is required. Must be immutable.
    @param aliases: other words for it; the canonical one is the field's name.
    @param deprecated: why not to use it; it is read, with a warning.
    @param deprecated_for: the name of the key that its value goes to, unless that one is given too.
    @param secret: masked by --dump-config.
    """
    if deprecated or deprecated_for:
        default = None if default is REQUIRED else default
    made = Key("", value, default, aliases, doc, unit, deprecated, deprecated_for, secret or value.secret)
    return dataclasses.field(default=default, metadata={_METADATA: made})


@dataclass_transform(frozen_default=True, kw_only_default=True, field_specifiers=(key,))
def config_class(cls: type[C]) -> type[C]:
    """Make a class a configuration schema: a frozen, keyword-only dataclass. Base classes and mixins are made the same way, and a subclass may
    declare a key again to change it.

    A class may have C{check(self, at: Places) -> None}, called after a parse without errors, for rules over several keys.

    @raise TypeError: a key is called C{check}, which would hide that method.
    """
    made = dataclasses.dataclass(frozen=True, kw_only=True)(cls)
    if "check" in {field.name for field in dataclasses.fields(made)}:  # type: ignore[arg-type]
        raise TypeError(f"{cls.__name__}: no key can be called check")
    return made


@functools.cache
def keys_of(cls: type) -> tuple[Key, ...]:
    """The keys of a config class, base classes first, in order of declaration."""
    result = []
    for field in dataclasses.fields(cls):
        made = field.metadata.get(_METADATA)
        if made is not None:
            result.append(dataclasses.replace(made, name=field.name))
    return tuple(result)


@functools.cache
def key_index(cls: type) -> dict[str, Key]:
    """The keys of a config class by every word."""
    return {word: made for made in keys_of(cls) for word in made.words}


def doc_of(cls: type) -> str:
    """The docstring of a class on one line per paragraph; "" when it has none of its own."""
    text = cls.__dict__.get("__doc__") or ""
    if text.startswith(f"{cls.__name__}("):
        return ""
    paragraphs = [" ".join(part.split()) for part in text.split("\n\n")]
    return "\n".join(part for part in paragraphs if part)


@functools.lru_cache(maxsize=4096)
def normalize(word: str) -> str:
    """A key or enum word as it is compared: lower case, C{-} as C{_}. Only ASCII has cases here: else KELVIN SIGN would be a C{k}."""
    return (word.lower() if word.isascii() else word).replace("-", "_")


class _Checked(Protocol):
    def check(self, at: Places) -> None: ...


class Places:
    """Where the keys of one map were given, for C{check}."""

    __slots__ = ("_context", "_given", "node")

    def __init__(self, node: Node, context: ParseContext, given: dict[str, Node]) -> None:
        self.node = node
        self._context, self._given = context, given

    def __contains__(self, name: str) -> bool:
        """Whether the key was given."""
        return name in self._given

    def __getitem__(self, name: str) -> Node:
        """The node of a key's value; of the whole map when the key was not given."""
        return self._given.get(name, self.node)

    def error(self, name: str, message: str) -> None:
        """Refuse the configuration, at the place of a key."""
        self._context.problems.error(self[name], message)

    def warn(self, name: str, message: str) -> None:
        """Warn, at the place of a key."""
        self._context.problems.warn(self[name], message)


class _MapParser:
    """Reads one map into one config object."""

    __slots__ = ("cls", "context", "extra", "given", "index", "node", "values")

    def __init__(self, cls: type, node: Node, context: ParseContext) -> None:
        self.cls, self.node, self.context = cls, node, context
        self.index = key_index(cls)
        self.extra: frozenset[str] = getattr(cls, "extra_keys", frozenset())
        self.given: dict[str, Node] = {}
        self.values: dict[str, Any] = {}

    def parse(self) -> Any:
        problems = self.context.problems
        before = problems.error_count
        # What another spelling or a successor overrides is read too: a mistake in it is one.
        for known, key_node, value_node in sorted(self.collect(), key=lambda pair: not pair[0].deprecated_for):
            self.read(known, key_node, value_node)
        self.missing()
        if problems.error_count > before:
            return None
        made = self.cls(**self.values)
        check = getattr(made, "check", None)
        if check is not None:
            cast("_Checked", made).check(Places(self.node, self.context, self.given))
        return made if problems.error_count == before else None

    def collect(self) -> list[tuple[Key, Node, Node]]:
        """The pairs whose keys are known; of two spellings of one key the last wins, as upstream."""
        result: list[tuple[Key, Node, Node]] = []
        given: dict[str, Node] = {}
        for key_node, value_node in self.node.items:
            if not key_node.is_string:
                self.context.problems.error(key_node, f"a key must be a string, not {key_node.describe()}")
                continue
            word = normalize(key_node.value)
            if word in self.extra:
                continue
            known = self.index.get(word)
            if known is None:
                self.unknown(key_node, word)
                continue
            if known.name in given:
                first = given[known.name]
                self.context.problems.warn(key_node, f"key {quote(known.name)} is also given on line {first.line}; this one wins")
            given[known.name] = key_node
            result.append((known, key_node, value_node))
        return result

    def unknown(self, key_node: Node, word: str) -> None:
        hint = did_you_mean(word, (w for w, k in self.index.items() if not k.is_deprecated))
        self.context.problems.error(key_node, f"unknown key {quote(key_node.value)}{hint}")

    def read(self, known: Key, key_node: Node, value_node: Node) -> None:
        """Read a value, that of a deprecated key as the one of its successor."""
        if known.is_deprecated:
            reason = known.deprecated or f"use {quote(known.deprecated_for)}"
            self.context.problems.warn(key_node, f"key {quote(known.name)} is deprecated: {reason}")
        self.given[known.name] = value_node
        target = self.index[known.deprecated_for] if known.deprecated_for else known
        self.given[target.name] = value_node
        try:
            self.values[target.name] = target.value.parse(value_node, self.context)
        except ValueProblem as problem:
            self.context.problems.error(problem.node, f"{target.name}: {problem.message}")
        except Reported:
            pass

    def missing(self) -> None:
        for known in keys_of(self.cls):
            if known.required and known.name not in self.given:
                self.context.problems.error(self.node, f"required key {quote(known.name)} is missing")


def parse_map(cls: type[C], node: Node, context: ParseContext) -> C | None:
    """Read a map as a config object. Every problem goes to C{context.problems}; None when there was an error. Never raises."""
    if node.kind != "map":
        context.problems.error(node, f"expected a map, not {node.describe()}")
        return None
    return cast("C | None", _MapParser(cls, node, context).parse())


class Nested(Value[C]):
    """A map with a schema of its own. A null is an empty map where C{empty_ok}."""

    def __init__(self, cls: type[C], *, empty_ok: bool = False) -> None:
        self.cls, self.empty_ok = cls, empty_ok
        self.type_name = "map"

    def parse(self, node: Node, context: ParseContext) -> C:
        if node.is_null and self.empty_ok:
            return self.cls()
        if node.kind != "map":
            raise wrong_type(node, "a map")
        made = parse_map(self.cls, node, context)
        if made is None:
            raise Reported
        return made

    def json_schema(self) -> dict[str, Any]:
        schema = object_schema(self.cls)
        return {**schema, "type": ["object", "null"]} if self.empty_ok else schema

    def dump(self, value: C) -> Any:
        return dump_map(value)

    def references(self, value: C) -> Iterator[Reference]:
        return references(value)

    def schema_class(self) -> type | None:
        return self.cls


def references(config: object) -> Iterator[Reference]:
    """Every use of another node in a config object, in order of its keys; the same one may come twice."""
    for known, value in set_keys(config):
        yield from known.value.references(value)


def dump_map(config: object) -> dict[str, Any]:
    """A config object as JSON types by its canonical keys, defaults included; those of L{set_keys}.
    Secrets are in it: g3.config.dump masks them."""
    return {known.name: known.value.dump(value) for known, value in set_keys(config)}


def set_keys(config: object) -> Iterator[tuple[Key, Any]]:
    """The keys of a config object that are set (not None), with their values; deprecated ones only where they were given."""
    cls: type = type(config)
    for known in keys_of(cls):
        value = getattr(config, known.name)
        if value is not None and (not known.is_deprecated or value != known.default):
            yield known, value


def object_schema(cls: type, extra: dict[str, Any] | None = None) -> dict[str, Any]:
    """The JSON Schema of a map with this schema: every word of every key, also with C{-} for C{_}."""
    properties: dict[str, Any] = dict(extra or {})
    required: list[dict[str, Any]] = []
    for known in keys_of(cls):
        described = _key_schema(known)
        words = spellings(known.words)
        properties.update((word, described if word == known.name else {**described, "description": f"Same as {known.name}."}) for word in words)
        if known.required:
            required.append({"required": [words[0]]} if len(words) == 1 else {"anyOf": [{"required": [word]} for word in words]})
    schema: dict[str, Any] = {"type": "object", "properties": properties, "additionalProperties": False}
    if doc := doc_of(cls):
        schema["description"] = doc
    if required:
        schema["allOf"] = required
    return schema


def _key_schema(known: Key) -> dict[str, Any]:
    schema = dict(known.value.json_schema())
    doc = " ".join(part for part in (known.doc, f"Unit: {known.unit}." if known.unit else "") if part)
    if doc:
        schema["description"] = doc
    if known.is_deprecated:
        schema["deprecated"] = True
    elif not known.required and known.default is not None and not known.secret:
        schema["default"] = known.value.dump(known.default)
    return schema


def spellings(words: Iterable[str]) -> list[str]:
    """How an editor may find the words written: as they are, and with C{-} for C{_}."""
    return list(dict.fromkeys(spelling for word in words for spelling in (word, word.replace("_", "-"))))
