# SPDX-License-Identifier: Apache-2.0
"""Upstream's own configuration files: copied with the certificates they name, read for what they ask of us, and cut to what is built.

Reads YAML by itself and not with g3.config: what is tested is not asked.
"""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, Any

import yaml

from g3.component import Components
from g3.config.upstream_types import DEFAULT_TYPES, canonical_type
from tests.functional.certificates import Authority, make_certificates
from tests.upstream import upstream_dir

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

FOLDERS = ("examples/g3proxy", "coverage/g3proxy")
MAIN_NAMES = ("main.yaml", "g3proxy.yaml")
SECTIONS = {"resolver": "resolver", "escaper": "escaper", "user_group": "user_group", "user": "user_group", "auditor": "auditor", "server": "server"}
PAIRS = (("certificate", "private_key"),)


def copied(destination: Path) -> Path:
    """A copy of upstream's g3proxy files below C{destination}, every certificate they name made beside it."""
    source = upstream_dir()
    for folder in FOLDERS:
        shutil.copytree(source / folder, destination / folder)
        for path in (destination / folder).rglob("*"):
            path.chmod(0o755 if path.is_dir() else 0o644)
    authority = make_certificates(destination / "coverage" / "g3proxy")
    for path in destination.rglob("*.yaml"):
        for document in documents(path):
            make_named(document, path.parent, authority)
    return destination


def main_files(folder: Path) -> list[Path]:
    """Every main configuration below a copy, or below upstream's folder itself."""
    found: list[Path] = []
    for below in FOLDERS:
        for directory in sorted({folder / below, *(path for path in (folder / below).iterdir() if path.is_dir())}):
            found += [directory / name for name in MAIN_NAMES if (directory / name).is_file()]
    return found


def normalize(word: str) -> str:
    return word.lower().replace("-", "_")


def documents(path: Path) -> list[Any]:
    return [document for document in yaml.load_all(path.read_text(), yaml.CSafeLoader) if document is not None]


def make_named(value: Any, directory: Path, authority: Authority) -> None:
    """Make each certificate and key that a map below C{value} names and that is not there."""
    if isinstance(value, dict):
        named = {normalize(key): inner for key, inner in value.items() if isinstance(key, str)}
        for certificate, key in PAIRS:
            files = [directory / named[word] for word in (certificate, key) if isinstance(named.get(word), str)]
            if len(files) == 2 and not any(file.exists() for file in files):
                authority.write(files[0], files[1], "localhost", "127.0.0.1")
        value = list(value.values())
    if isinstance(value, list):
        for inner in value:
            make_named(inner, directory, authority)


@dataclass(frozen=True, order=True)
class Named:
    """A type that a configuration names: the canonical word."""

    kind: str
    type: str

    @property
    def built(self) -> bool:
        return _components().find(self.kind, self.type) is not None


@cache
def _components() -> Components:
    return Components.discover()


def nodes_of(section: Any, main: Path) -> Iterator[dict[str, Any]]:
    """The nodes of one section: maps, files of maps, and folders of such files."""
    for item in section if isinstance(section, list) else [section]:
        if isinstance(item, dict):
            yield item
        elif isinstance(item, str):
            path = main.parent / item
            for file in sorted(path.glob(f"*{main.suffix}")) if path.is_dir() else [path]:
                yield from documents(file)


def types_named(main: Path) -> set[Named]:
    """Every type that a main configuration and what it includes name."""
    found = set()
    for document in documents(main):
        for word, section in document.items():
            kind = SECTIONS.get(normalize(word))
            if kind is None or section is None:
                continue
            for node in nodes_of(section, main):
                typed = {normalize(key): value for key, value in node.items()}.get("type", DEFAULT_TYPES.get(kind, ""))
                canonical = canonical_type(kind, typed)
                if canonical is None:
                    raise AssertionError(f"{main}: {kind} type {typed!r} is in no list of upstream's types")
                found.add(Named(kind, canonical))
    return found


@dataclass
class Derived:
    """A configuration cut to what is built, and what was done to it."""

    document: dict[str, Any]
    #: One line for each change.
    changes: list[str]

    def write(self, path: Path) -> Path:
        path.write_text("".join(f"# {change}\n" for change in self.changes) + yaml.safe_dump(self.document, sort_keys=False))
        return path


def derive(main: Path) -> Derived:
    """The configuration with every node of a type that is not built taken out."""
    (document,) = documents(main)
    changes: list[str] = []
    for word in list(document):
        kind = SECTIONS.get(normalize(word))
        if kind is None or not isinstance(document[word], list):
            continue
        kept = []
        for node in document[word]:
            named = Named(kind, canonical_type(kind, node.get("type", DEFAULT_TYPES.get(kind, ""))) or "")
            if named.built:
                kept.append(node)
            else:
                changes.append(f"left out {kind} {node['name']}: {named.type} is not built yet")
        document[word] = kept
    return Derived(document, changes)
