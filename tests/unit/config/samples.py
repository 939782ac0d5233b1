# SPDX-License-Identifier: Apache-2.0
"""A small world for tests of the configuration machinery: a server and two escapers with schemas, and a place to write files."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from g3.config.document import read_text
from g3.config.main import MainConfig, Section, load, proxy_layout
from g3.config.node import EscaperConfig, NodeConfig, ServerConfig
from g3.config.problems import Problems
from g3.config.schema import Nested, Places, config_class, key, normalize
from g3.config.value import ParseContext, Value, ValueProblem
from g3.config.values.basic import Bool, FrozenMap, Int, List, Map, OneOrMany, Reference, Str
from g3.config.values.duration import Duration
from g3.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from g3.config.document import Node


class Anything(Value[Any]):
    """Whatever YAML holds, as plain Python."""

    type_name = "anything"

    def parse(self, node: Node, context: ParseContext) -> Any:
        return node.to_python()


@config_class
class Listen:
    """Where to listen."""

    address: str = key(Str(min_length=1), doc="Host and port.")
    backlog: int = key(Int(0, 65535), default=4096)


@config_class
class Shared:
    """Keys that several types have."""

    escaper: str = key(Reference("escaper"), default="", doc="The way out.")
    user_group: str = key(Reference("user_group"), default="")
    auditor: str = key(Reference("auditor"), default="")


@config_class
class WebConfig(ServerConfig, Shared):
    """Serves the web. Used by tests only."""

    type_word: ClassVar[str] = "web_proxy"

    listen: Listen | None = key(Nested(Listen), default=None)
    extra_listen: tuple[Listen, ...] = key(OneOrMany(Nested(Listen)), default=())
    idle: float = key(Duration(), default=60.0, aliases=("idle_timeout",), unit="seconds", doc="How long nothing may happen.")
    password: str = key(Str(secret=True), default="")
    tags: FrozenMap[str, str] = key(Map(Str(), Str()), default=FrozenMap())
    strict: bool = key(Bool(), default=False)
    old_idle: float | None = key(Duration(), default=None, deprecated_for="idle")
    ancient: int | None = key(Int(), default=None, deprecated="it does nothing")

    def check(self, at: Places) -> None:
        if self.strict and "idle" not in at:
            at.error("strict", "strict needs idle")


@config_class
class OutConfig(EscaperConfig):
    """Goes out."""

    type_word: ClassVar[str] = "go_out"

    bind: tuple[str, ...] = key(OneOrMany(Str()), default=())


@config_class
class PickConfig(EscaperConfig):
    """Picks another escaper."""

    type_word: ClassVar[str] = "pick"

    next: tuple[str, ...] = key(List(Reference("escaper"), min_items=1))


class FakeComponents:
    """Components as the loader sees them."""

    def __init__(self, *classes: type[NodeConfig], broken: tuple[str, ...] = (), failing: Mapping[str, str] | None = None) -> None:
        self.classes = {(cls.kind, cls.type_word): cls for cls in classes}
        self.broken = broken
        self.failing = failing or {}

    def find(self, kind: str, word: str) -> Any:
        return self.classes.get((kind, normalize(word)))

    def schema(self, kind: str, word: str) -> Any:
        if normalize(word) in self.failing:
            raise ConfigError(self.failing[normalize(word)])
        return self.find(kind, word)

    def words(self, kind: str) -> list[str]:
        return sorted(word for of, word in self.classes if of == kind)


COMPONENTS = FakeComponents(WebConfig, OutConfig, PickConfig)
LAYOUT = proxy_layout(Section(Anything(), "discard"), Section(Anything(), None))


def parse(value: Value[Any], text: str, directory: Path | None = None, env: Mapping[str, str] | None = None) -> Any:
    """The value of a YAML text. Raises ValueProblem or Reported."""
    problems = Problems()
    nodes = read_text(text, "test.yaml", problems)
    assert not problems.errors, problems.errors
    return value.parse(nodes[0], ParseContext(problems, directory or Path(), env=env or {}))


def refusal(value: Value[Any], text: str) -> str:
    """Why a value is refused: the message."""
    try:
        result = parse(value, text)
    except ValueProblem as problem:
        return problem.message
    raise AssertionError(f"accepted {text!r} as {result!r}")


def write(directory: str, files: Mapping[str, str]) -> Path:
    """Files in a new directory, and the path of the first."""
    root = Path(directory)
    for name, text in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text, encoding="utf-8")
    return root / next(iter(files))


def load_files(directory: str, files: Mapping[str, str], components: Any = COMPONENTS) -> tuple[MainConfig | None, Problems]:
    """The first file read as a main configuration."""
    problems = Problems()
    return load(write(directory, files), components, problems, LAYOUT), problems


def told(problems: Problems) -> list[str]:
    """Every problem as line:column: message, files left out."""
    return [f"{p.place.line}:{p.place.column}: {p.message}" for p in problems]
