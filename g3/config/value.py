# SPDX-License-Identifier: Apache-2.0
"""What a kind of configuration value is: one object that parses it, describes it and writes it back.

A value class is made once per key and holds no state of a parse. Composite values (lists, maps) are in g3.config.values.basic.
"""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Generic, NamedTuple, TypeVar

from g3.config.problems import Place, Problems, quote

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from g3.config.document import Node

T = TypeVar("T")

#: A file named by a configuration (certificates, word lists) may be this large, bytes.
MAX_REFERRED_FILE = 64 << 20


class ValueProblem(Exception):
    """A value cannot be used; becomes a located problem. Also ends the parse of the enclosing value."""

    def __init__(self, node: Node, message: str) -> None:
        super().__init__(message)
        self.node, self.message = node, message


class Reported(Exception):
    """A value cannot be used and every reason is in C{context.problems} already."""


class Reference(NamedTuple):
    """A use of another node by name. C{kind} is "server", "escaper", "resolver", "auditor" or "user_group"."""

    kind: str
    name: str


@dataclass(slots=True)
class ParseContext:
    """What a parse needs and leaves behind, for the nodes of one file."""

    problems: Problems
    #: The directory that relative paths start from: that of the file.
    directory: Path = field(default_factory=Path.cwd)
    env: Mapping[str, str] = field(default_factory=lambda: os.environ)
    #: Every file that was read for a value.
    files: set[Path] = field(default_factory=set)
    #: Every reference to another node, in order.
    references: list[tuple[Reference, Place]] = field(default_factory=list)

    def refer(self, kind: str, name: str, node: Node) -> None:
        """Note that C{node} names another node of the tree."""
        self.references.append((Reference(kind, name), node.place))

    def resolve_path(self, path: str) -> Path:
        """The path, relative to the file's directory."""
        return self.directory / path

    def read_file(self, node: Node, path: str, limit: int = MAX_REFERRED_FILE) -> bytes:
        """The content of a file that C{node} names, relative to the configuration file.

        @raise ValueProblem: it cannot be read, is no regular file or is larger than C{limit} bytes.
        """
        full = self.resolve_path(path)
        try:
            if not full.is_file():
                raise ValueProblem(node, f"{quote(full, 300)} {'is not a file' if full.exists() else 'does not exist'}")
            with full.open("rb") as stream:
                data = stream.read(limit + 1)
        except (OSError, ValueError) as error:
            raise ValueProblem(node, f"cannot read {quote(full, 300)}: {getattr(error, 'strerror', None) or error}") from None
        if len(data) > limit:
            raise ValueProblem(node, f"{quote(full, 300)} is larger than {limit} bytes")
        self.files.add(full)
        return data


class Value(Generic[T]):
    """A kind of value. Subclasses override C{parse}, C{json_schema} and, where the value is not JSON itself, C{dump}.

    C{type_name} is for people: "duration", "list of IP addresses". C{doc} says more, once for all keys of this kind.
    """

    type_name: str = "value"
    doc: str = ""
    #: Never shown by --dump-config.
    secret: bool = False

    def parse(self, node: Node, context: ParseContext) -> T:
        """The value a node stands for.

        @raise ValueProblem: it stands for none; or report every reason to C{context.problems} and raise L{Reported}.
        """
        raise NotImplementedError

    def json_schema(self) -> dict[str, Any]:
        """What an editor should accept, as JSON Schema 2020-12. Lenient: it may accept what C{parse} refuses, never the reverse."""
        return {}

    def dump(self, value: T) -> Any:
        """The value as JSON types, such that C{parse} of it gives the value again."""
        return value

    def references(self, value: T) -> Iterable[Reference]:
        """The nodes a value names."""
        return ()

    def schema_class(self) -> type | None:
        """The config class whose keys a map value (or each element of a list) has, if any; for --explain and the docs."""
        return None

    def attempt(self, node: Node, context: ParseContext) -> tuple[bool, T | None]:
        """Parse and report: (True, value), or (False, None) with the problem reported. For composite values that go on."""
        try:
            return True, self.parse(node, context)
        except ValueProblem as problem:
            context.problems.error(problem.node, problem.message)
        except Reported:
            pass
        return False, None


def wrong_type(node: Node, expected: str) -> ValueProblem:
    """The problem of a node that is of the wrong shape."""
    return ValueProblem(node, f"expected {expected}, not {node.describe()}")
