# SPDX-License-Identifier: Apache-2.0
"""Reading a whole main configuration: the file, its documents, its sections, and the nodes written in it or in files it names.

upstream: configuration/index. All problems of all files are collected; nothing comes out of a configuration with an error.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

from g3.config.document import Node, merged, read_file
from g3.config.node import KINDS, Entry, NodeConfig, Position
from g3.config.problems import Place, Problems, did_you_mean, quote
from g3.config.runtime import ControllerConfig, ControllerValue, RuntimeConfig, WorkerConfig
from g3.config.schema import Nested, normalize, parse_map
from g3.config.topology import find_missing, sort_entries
from g3.config.upstream_types import DEFAULT_TYPES, canonical_type, not_available, upstream_words
from g3.config.value import ParseContext, Reference, Value
from g3.errors import ConfigError
from g3.logs.options import LogOptions

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

EXTENSIONS = ("yaml", "yml", "conf")

#: Files that one directory may hold.
MAX_FILES = 10_000


class Components(Protocol):
    """Where node types come from; g3.component.Components is one."""

    @property
    def broken(self) -> Sequence[object]:
        """What could not be looked at, each printable."""

    def find(self, kind: str, word: str) -> Any:
        """Something if the type is known, else None. Raises ConfigError when it is known twice."""

    def schema(self, kind: str, word: str) -> Any:
        """The configuration class of a type. Raises ConfigError when it cannot be loaded."""

    def words(self, kind: str) -> Sequence[str]:
        """Every type of a kind."""


@dataclass(frozen=True, slots=True)
class Section:
    """A section of the main configuration that is no list of nodes; C{default} when it is not there."""

    value: Value[Any]
    default: Any = None
    doc: str = ""
    required: bool = False


@dataclass(frozen=True, slots=True)
class Layout:
    """What a daemon's main configuration consists of."""

    program: str
    sections: Mapping[str, Section]
    kinds: tuple[str, ...] = KINDS
    #: Other words for a section.
    aliases: Mapping[str, str] = field(default_factory=dict)
    #: The type of a node that says none, by kind; kinds that are not here must say one.
    default_types: Mapping[str, str] = field(default_factory=lambda: DEFAULT_TYPES)

    def words(self) -> list[str]:
        """Every key of the main configuration."""
        return [*self.sections, *self.kinds, *self.aliases]


def proxy_layout(log: Section, stat: Section) -> Layout:
    """The layout of g3proxy. Logs and metrics say themselves what their sections hold."""
    return Layout("g3proxy", {**_process_sections(), "log": log, "stat": stat}, KINDS, {"user": "user_group"})


def keymess_layout(sections: Mapping[str, Section]) -> Layout:
    """The layout of g3keymess; C{sections} are those of its own, log and stat among them."""
    return Layout("g3keymess", {**_process_sections(), **sections}, ("store", "server"), default_types={"server": "key_server"})


def helper_layout(program: str, sections: Mapping[str, Section]) -> Layout:
    """The layout of a helper that has no nodes, no control socket and no event logs; C{sections} are those of its own."""
    process = _process_sections()
    return Layout(program, {"runtime": process["runtime"], "worker": process["worker"], **sections}, ())


def _process_sections() -> dict[str, Section]:
    return {
        "runtime": Section(Nested(RuntimeConfig, empty_ok=True), RuntimeConfig(), "The process."),
        "worker": Section(Nested(WorkerConfig), None, "Event loops for connections."),
        "controller": Section(ControllerValue(), ControllerConfig(), "The control socket."),
    }


@dataclass(frozen=True)
class MainConfig:
    """A configuration without errors. C{nodes} has for each kind the nodes by name, each after those of its kind that it needs."""

    path: Path
    layout: Layout
    sections: Mapping[str, Any]
    nodes: Mapping[str, Mapping[str, Entry]]
    #: Named, but not defined: a stand-in serves.
    missing: frozenset[Reference]
    #: Every file that was read, those with nodes and those that values name.
    files: frozenset[Path]

    @property
    def runtime(self) -> RuntimeConfig:
        made: RuntimeConfig = self.sections["runtime"]
        return made

    @property
    def worker(self) -> WorkerConfig | None:
        made: WorkerConfig | None = self.sections["worker"]
        return made

    @property
    def controller(self) -> ControllerConfig:
        made: ControllerConfig = self.sections.get("controller", ControllerConfig())
        return made

    @property
    def log(self) -> Any:
        return self.sections.get("log", LogOptions())

    @property
    def stat(self) -> Any:
        return self.sections["stat"]

    def configs(self, kind: str) -> list[NodeConfig]:
        """The nodes of a kind in the order to make them."""
        return [entry.config for entry in self.nodes[kind].values()]

    def references(self) -> set[Reference]:
        """Every node that another one names."""
        return {reference for entries in self.nodes.values() for entry in entries.values() for reference, _ in entry.references()}


def find_main_file(path: Path, program: str, problems: Problems) -> Path | None:
    """The main file: the path itself or, for a directory, C{main.<ext>} or C{<program>.<ext>} in it. None when there is none."""
    try:
        if not path.is_dir():
            return path
        candidates = [path / f"{stem}.{extension}" for stem in ("main", program) for extension in EXTENSIONS]
        found = next((candidate for candidate in candidates if candidate.exists()), None)
    except (OSError, ValueError) as error:
        problems.error(Place(str(path)), f"cannot be looked at: {getattr(error, 'strerror', None) or error}")
        return None
    if found is None:
        problems.error(Place(str(path)), f"no main.* or {program}.* with the ending yaml, yml or conf is in this directory")
    return found


def load(path: Path | str, components: Components, problems: Problems, layout: Layout) -> MainConfig | None:
    """Read a main configuration. Every problem goes to C{problems}; None when one is an error. Never raises."""
    main = find_main_file(Path(path), layout.program, problems)
    if main is None:
        return None
    return _Loader(main, components, problems, layout).load()


def load_one(main: MainConfig, kind: str, name: str, components: Components, problems: Problems) -> MainConfig | None:
    """The configuration with one node read again from the document it came from; None when there is an error, also when the node is written in the
    main file, or another name stands in its place now. Never raises."""
    entry = main.nodes.get(kind, {}).get(name)
    if entry is None or entry.position is None:
        what = "is written in the main file: reload all" if entry else "does not exist"
        problems.error(entry.place if entry else Place(str(main.path)), f"{kind} {quote(name)} {what}")
        return None
    loader = _Loader(main.path, components, problems, main.layout)
    made = loader.reload(kind, name, entry.position)
    if made is None:
        return None
    nodes = {**main.nodes, kind: {**main.nodes[kind], name: made}}
    return loader.finish(main.sections, nodes, main.files)


class _Unusable(NamedTuple):
    """A type that cannot be used; told once for all nodes under the word C{once}, if that is not empty."""

    message: str
    once: str = ""


class _Loader:
    """Reads one main configuration."""

    def __init__(self, path: Path, components: Components, problems: Problems, layout: Layout) -> None:
        self.path, self.components, self.problems, self.layout = path, components, problems, layout
        self.directory = _real(path).parent
        self.sections: dict[str, list[Node]] = {}
        self.nodes: dict[str, dict[str, Entry]] = {kind: {} for kind in layout.kinds}
        self.declared: dict[str, dict[str, Place]] = {kind: {} for kind in layout.kinds}
        self.files: set[Path] = {path}
        self.types: dict[tuple[str, str], type[NodeConfig] | _Unusable] = {}
        self.told: set[tuple[str, str]] = set()
        self.before = problems.error_count

    def load(self) -> MainConfig | None:
        for document in read_file(self.path, self.problems):
            self.root(document)
        sections = {name: self.section(name, section) for name, section in self.layout.sections.items()}
        return self.finish(sections, self.nodes, frozenset())

    def finish(self, sections: Mapping[str, Any], nodes: Mapping[str, Mapping[str, Entry]], files: frozenset[Path]) -> MainConfig | None:
        """Look at the whole."""
        declared = {kind: [*nodes[kind], *self.declared[kind]] for kind in self.layout.kinds}
        built = {kind: bool(self.components.words(kind)) for kind in self.layout.kinds}
        missing = find_missing(nodes, declared, built.__getitem__, self.problems)
        ordered = {kind: sort_entries(kind, nodes[kind], self.problems) for kind in self.layout.kinds}
        if self.problems.error_count > self.before:
            return None
        return MainConfig(self.path, self.layout, sections, ordered, missing, files | self.files)

    def root(self, document: Node) -> None:
        """One document of the main file; all are read as one map."""
        if document.kind != "map":
            self.problems.error(document, f"a main configuration must be a map, not {document.describe()}")
            return
        for key_node, value_node in document.items:
            if not key_node.is_string:
                self.problems.error(key_node, f"a key must be a string, not {key_node.describe()}")
                continue
            word = normalize(key_node.value)
            word = self.layout.aliases.get(word, word)
            if word in self.layout.sections:
                self.sections.setdefault(word, []).append(value_node)
            elif word in self.layout.kinds:
                self.hybrid(word, value_node)
            else:
                hint = did_you_mean(word, self.layout.words())
                self.problems.error(key_node, f"unknown key {quote(key_node.text)} in the main configuration{hint}")

    def section(self, name: str, section: Section) -> Any:
        given = self.sections.get(name)
        if not given:
            if section.required:
                self.problems.error(Place(str(self.path)), f"required key {quote(name)} is missing in the main configuration")
            return section.default
        context = self.context(self.path)
        whole = merged(given)
        _, value = section.value.attempt(whole, context)
        for node in given if whole in given else ():
            if node is not whole and not node.is_null:
                # It does not count, but what is wrong with it is told.
                section.value.attempt(node, context)
        self.files |= context.files
        return value

    def hybrid(self, kind: str, value: Node) -> None:
        """A list whose items are maps or paths, or one path."""
        if value.is_string:
            self.path_item(kind, value)
        elif value.kind != "seq":
            self.problems.error(value, f"{kind}: expected a list of maps and paths, or one path, not {value.describe()}")
        for item in value.elements:
            if item.kind == "map":
                self.node(kind, item, self.path, None)
            elif item.is_string:
                self.path_item(kind, item)
            else:
                self.problems.error(item, f"{kind}: expected a map or a path, not {item.describe()}")

    def path_item(self, kind: str, item: Node) -> None:
        """A path to a file with one node in each document, or to a directory of such files."""
        if not item.value or "\0" in item.value:
            self.problems.error(item, f"{kind}: {quote(item.value)} is not a path")
            return
        path = self.directory / item.value
        try:
            if path.is_dir():
                for found in self.listing(path, item):
                    self.node_file(kind, found, item)
            elif path.is_file():
                self.node_file(kind, path, item)
            else:
                what = "is neither a file nor a directory" if path.exists() else "does not exist"
                self.problems.error(item, f"{kind}: {quote(path, 300)} {what}")
        except (OSError, ValueError) as error:
            self.problems.error(item, f"{kind}: cannot look at {quote(path, 300)}: {getattr(error, 'strerror', None) or error}")

    def listing(self, directory: Path, item: Node) -> list[Path]:
        """The files of a directory that have the main file's extension, by name; symlinks to files too."""
        suffix = self.path.suffix
        found = sorted(path for path in directory.iterdir() if path.is_file() and (not suffix or path.suffix == suffix))
        if len(found) > MAX_FILES:
            self.problems.error(item, f"{quote(directory, 300)} has more than {MAX_FILES} files")
            return []
        return found

    def node_file(self, kind: str, path: Path, item: Node) -> None:
        self.files.add(path)
        for index, document in enumerate(read_file(path, self.problems, item)):
            if document.kind == "map":
                self.node(kind, document, path, Position(path, index))
            else:
                self.problems.error(document, f"{kind}: a document must be a map, not {document.describe()}")

    def node(self, kind: str, node: Node, path: Path, position: Position | None) -> None:
        """One node: note its name, then read it by its type's schema."""
        self.declare(kind, node)
        entry = self.entry(kind, node, path, position)
        if entry is not None:
            self.nodes[kind].setdefault(entry.config.name, entry)

    def declare(self, kind: str, node: Node) -> None:
        name = _field(node, "name")
        if name is None or not name.is_string or not name.value:
            return
        first = self.declared[kind].setdefault(name.value, name.place)
        if first != name.place:
            self.problems.error(name, f"{kind} {quote(name.value)} already exists; the first is at {first}")

    def entry(self, kind: str, node: Node, path: Path, position: Position | None) -> Entry | None:
        schema = self.schema(kind, node)
        if schema is None:
            return None
        context = self.context(path)
        config = parse_map(schema, node, context)
        self.files |= context.files
        if config is None:
            return None
        places: dict[Reference, Place] = {}
        for reference, place in context.references:
            places.setdefault(reference, place)
        return Entry(config, node.place, position, places)

    def schema(self, kind: str, node: Node) -> type[NodeConfig] | None:
        """The schema of a node's type."""
        type_node = _field(node, "type")
        if type_node is None and kind not in self.layout.default_types:
            self.problems.error(node, f'{kind}: required key "type" is missing')
            return None
        if type_node is not None and not type_node.is_string:
            self.problems.error(type_node, f"type: expected a word, not {type_node.describe()}")
            return None
        word = normalize(type_node.value if type_node is not None else self.layout.default_types[kind])
        found = self.types.get((kind, word))
        if found is None:
            found = self.types[kind, word] = self.look_up(kind, word)
        if not isinstance(found, _Unusable):
            return found
        if not found.once or (kind, found.once) not in self.told:
            self.told.add((kind, found.once))
            self.problems.error(type_node or node, found.message)
        return None

    def look_up(self, kind: str, word: str) -> type[NodeConfig] | _Unusable:
        """The schema of a type, or what to tell: one that upstream has is told apart from one that nobody has."""
        try:
            if self.components.find(kind, word) is not None:
                schema: type[NodeConfig] = self.components.schema(kind, word)
                return schema
        except ConfigError as error:
            return _Unusable(str(error), word)
        broken = "".join(f"; {note}" for note in self.components.broken)
        canonical = canonical_type(kind, word)
        if canonical is not None:
            return _Unusable(not_available(kind, canonical) + broken, canonical)
        hint = did_you_mean(word, (*self.components.words(kind), *upstream_words(kind)))
        return _Unusable(f"unknown {kind} type {quote(word)}{hint}{broken}")

    def reload(self, kind: str, name: str, position: Position) -> Entry | None:
        """The node at a position, if it still has its name."""
        documents = read_file(position.path, self.problems)
        here = Place(str(position.path))
        if position.index >= len(documents):
            if self.problems.error_count == self.before:
                self.problems.error(here, f"document {position.index} is gone")
            return None
        document = documents[position.index]
        found = _field(document, "name")
        if found is None or found.value != name:
            what = quote(found.text) if found is not None else "no name"
            self.problems.error(found or document, f"expected {kind} {quote(name)} here, found {what}: reload all")
            return None
        return self.entry(kind, document, position.path, position)

    def context(self, path: Path) -> ParseContext:
        return ParseContext(self.problems, _real(path).parent)


def _real(path: Path) -> Path:
    """The path with symlinks resolved, as far as that works."""
    try:
        return path.resolve()
    except (OSError, RuntimeError, ValueError):
        return path.absolute()


def _field(node: Node, name: str) -> Node | None:
    """The value of a key of a map, the last one if it is given in several spellings."""
    result = None
    for key_node, value_node in node.items:
        if key_node.is_string and normalize(key_node.value) == name:
            result = value_node
    return result


def entries(main: MainConfig) -> Iterator[Entry]:
    """Every node, in the order to make them."""
    for kind in main.layout.kinds:
        yield from main.nodes[kind].values()
