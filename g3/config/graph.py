# SPDX-License-Identifier: Apache-2.0
"""The dependency graph of a configuration, as graphviz, mermaid or plantuml text."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from g3.config.main import MainConfig
    from g3.config.value import Reference

_TITLES = {"auditor": "Auditor", "user_group": "UserGroup", "resolver": "Resolver", "escaper": "Escaper", "server": "Server"}
_COLORS = {"auditor": "black", "user_group": "purple", "resolver": "blue", "escaper": "red", "server": "green"}


class _Vertex(NamedTuple):
    id: str
    name: str
    missing: bool


class _Edge(NamedTuple):
    source: str
    target: str
    source_kind: str
    target_kind: str


class _Graph:
    """Vertices by kind and the edges between them, with ids that every language takes."""

    def __init__(self, main: MainConfig) -> None:
        self.ids: dict[tuple[str, str], str] = {}
        self.vertices: dict[str, list[_Vertex]] = {}
        for kind in sorted(main.layout.kinds, key=lambda kind: list(_TITLES).index(kind) if kind in _TITLES else -1):
            found = [_Vertex(self.id(kind, name), name, missing=False) for name in main.nodes[kind]]
            found += [_Vertex(self.id(ref.kind, ref.name), ref.name, missing=True) for ref in sorted(main.missing) if ref.kind == kind]
            self.vertices[kind] = found
        self.edges = [
            _Edge(self.id(kind, name), self.id(ref.kind, ref.name), kind, ref.kind)
            for kind in main.layout.kinds
            for name, entry in main.nodes[kind].items()
            for ref, _ in entry.references()
            if self.is_vertex(main, ref)
        ]

    def is_vertex(self, main: MainConfig, ref: Reference) -> bool:
        return ref in main.missing or ref.name in main.nodes.get(ref.kind, {})

    def id(self, kind: str, name: str) -> str:
        """A word of ASCII letters, digits and underscores, unique to the node."""
        if (kind, name) not in self.ids:
            word = f"{kind}_{re.sub('[^A-Za-z0-9]', '_', name)}"
            taken = set(self.ids.values())
            number = 1
            unique = word
            while unique in taken:
                number += 1
                unique = f"{word}__{number}"
            self.ids[kind, name] = unique
        return self.ids[kind, name]


def graphviz(main: MainConfig) -> str:
    """For C{dot -Tsvg}. A stand-in for a node that nobody defines is dashed."""
    graph = _Graph(main)
    lines = ["strict digraph G {", "  // draw it with: dot -Tsvg", "  concentrate=true;clusterrank=global;ranksep=1"]
    for kind, vertices in graph.vertices.items():
        lines += [f"  subgraph cluster_{kind} {{", f'    label="{kind}"; style=dashed']
        lines += [f'    {v.id} [label="{v.name}"; color={_COLORS.get(kind, "black")}{"; style=dashed" if v.missing else ""}]' for v in vertices]
        lines.append("  }")
    for edge in graph.edges:
        dotted = " [style=dotted]" if edge.target_kind in ("resolver", "user_group") and edge.source_kind != edge.target_kind else ""
        lines.append(f"  {edge.source} -> {edge.target}{dotted}")
    return "\n".join([*lines, "}"]) + "\n"


def mermaid(main: MainConfig) -> str:
    """For https://mermaid.live and Markdown that draws mermaid."""
    graph = _Graph(main)
    lines = ["flowchart LR", "%% draw it at https://mermaid.live/"]
    for kind, vertices in graph.vertices.items():
        lines.append(f"  subgraph {_TITLES.get(kind, kind)}")
        lines += [f'    {v.id}["{v.name}{" (missing)" if v.missing else ""}"]' for v in vertices]
        lines.append("  end")
    lines += [f"  {edge.source} {_mermaid_arrow(edge)} {edge.target}" for edge in graph.edges]
    if {"server", "escaper"} <= set(main.layout.kinds):
        lines += ["Client ===> Server", "Escaper ===> Target"]
    return "\n".join(lines) + "\n"


def _mermaid_arrow(edge: _Edge) -> str:
    if edge.source_kind != edge.target_kind:
        return {"resolver": "-. dns .->", "user_group": "o-. auth .-o", "auditor": "<-->"}.get(edge.target_kind, "-->")
    return "-->"


def plantuml(main: MainConfig) -> str:
    """For C{plantuml}."""
    graph = _Graph(main)
    lines = ["@startuml"]
    for kind, vertices in graph.vertices.items():
        lines.append(f"package {_TITLES.get(kind, kind)} {{")
        lines += [f'  component "{v.name}{" (missing)" if v.missing else ""}" as {v.id}' for v in vertices]
        lines.append("}")
    for edge in graph.edges:
        dotted = edge.target_kind in ("resolver", "user_group") and edge.source_kind != edge.target_kind
        lines.append(f"{edge.source} {'..>' if dotted else '-->'} {edge.target}")
    return "\n".join([*lines, "hide @unlinked", "@enduml"]) + "\n"


FORMATS: Mapping[str, Callable[[MainConfig], str]] = {"graphviz": graphviz, "mermaid": mermaid, "plantuml": plantuml}
