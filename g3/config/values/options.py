# SPDX-License-Identifier: Apache-2.0
"""Values that are a map of keys, or something shorter that stands for one, and become one frozen option object."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar, Generic, TypeVar

from g3.config.schema import Key, keys_of, object_schema, parse_map
from g3.config.value import Reported, Value, wrong_type

if TYPE_CHECKING:
    from collections.abc import Callable

    from g3.config.document import Node
    from g3.config.value import ParseContext

O = TypeVar("O")  # noqa: E741 - the option object


class Options(Value[O], Generic[O]):
    """A map with the schema C{keys}, made into C{made}, whose fields are named as the keys.

    Subclasses override L{short} and L{short_schemas} where something else than a map is accepted too, and L{build} and L{key_value} where
    keys and fields differ.
    """

    keys: ClassVar[type]
    made: ClassVar[Callable[..., Any]]
    #: What is expected, for the message about something else.
    expected: ClassVar[str] = "a map"

    def parse(self, node: Node, context: ParseContext) -> O:
        return self.from_map(node, context) if node.kind == "map" else self.short(node, context)

    def from_map(self, node: Node, context: ParseContext) -> O:
        """The value of a map. @raise Reported: see C{context.problems}."""
        given = parse_map(self.keys, node, context)
        if given is None:
            raise Reported
        return self.build(given, node, context)

    def short(self, node: Node, context: ParseContext) -> O:
        """The value of what is no map."""
        raise wrong_type(node, self.expected)

    def build(self, given: Any, node: Node, context: ParseContext) -> O:
        """The value of parsed keys. May raise as C{parse}."""
        made: O = self.made(**{key.name: getattr(given, key.name) for key in keys_of(self.keys) if not key.is_deprecated})
        return made

    def short_schemas(self) -> list[dict[str, Any]]:
        """JSON Schemas of what L{short} takes."""
        return []

    def json_schema(self) -> dict[str, Any]:
        schemas = [*self.short_schemas(), object_schema(self.keys)]
        return schemas[0] if len(schemas) == 1 else {"anyOf": schemas}

    def dump(self, value: O) -> Any:
        dumped = {}
        for key in keys_of(self.keys):
            content = None if key.is_deprecated else self.key_value(value, key)
            if content is not None:
                dumped[key.name] = key.value.dump(content)
        return dumped

    def key_value(self, value: O, key: Key) -> Any:
        """What a key is in an option object; None leaves it out of the dump."""
        return getattr(value, key.name)

    def schema_class(self) -> type | None:
        return self.keys
