# SPDX-License-Identifier: Apache-2.0
"""How the nodes of a configuration depend on each other: the order to make them in, cycles, names that nobody has."""

from __future__ import annotations

from typing import TYPE_CHECKING

from g3.config.problems import did_you_mean, quote
from g3.config.value import Reference

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Mapping, Sequence

    from g3.config.node import Entry
    from g3.config.problems import Problems

#: What serves in place of a node that nobody defines (upstream: the same).
STAND_INS = {
    "resolver": "deny_all",
    "escaper": "dummy_deny",
    "server": "dummy_close",
    "user_group": "a group without users",
    "auditor": "an auditor with all defaults",
}


class _Tarjan:
    """Strongly connected components without recursion; a component comes after those it depends on."""

    def __init__(self, edges: Callable[[str], Iterable[str]]) -> None:
        self.edges = edges
        self.number: dict[str, int] = {}
        self.low: dict[str, int] = {}
        self.open: list[str] = []
        self.is_open: set[str] = set()
        self.result: list[list[str]] = []

    def visit(self, root: str) -> None:
        if root in self.number:
            return
        self.enter(root)
        path = [(root, iter(self.edges(root)))]
        while path:
            name, children = path[-1]
            child = next(children, None)
            if child is None:
                path.pop()
                self.leave(name)
                if path:
                    above = path[-1][0]
                    self.low[above] = min(self.low[above], self.low[name])
            elif child not in self.number:
                self.enter(child)
                path.append((child, iter(self.edges(child))))
            elif child in self.is_open:
                self.low[name] = min(self.low[name], self.number[child])

    def enter(self, name: str) -> None:
        self.number[name] = self.low[name] = len(self.number)
        self.open.append(name)
        self.is_open.add(name)

    def leave(self, name: str) -> None:
        if self.low[name] != self.number[name]:
            return
        component: list[str] = []
        while not component or component[-1] != name:
            component.append(self.open.pop())
        self.is_open.difference_update(component)
        self.result.append(component)


def sort(names: Iterable[str], edges: Mapping[str, Sequence[str]]) -> tuple[list[str], list[list[str]]]:
    """The names, each after those it has an edge to, else in the order given; and one cycle C{[a, b, a]} for each knot of names that need each
    other. Edges to other names are ignored."""
    listed = list(names)
    known = set(listed)
    tarjan = _Tarjan(lambda name: [child for child in edges.get(name, ()) if child in known])
    for name in listed:
        tarjan.visit(name)
    rank = {name: number for number, name in enumerate(listed)}
    order, cycles = [], []
    for component in tarjan.result:
        order.extend(sorted(component, key=rank.__getitem__))
        if len(component) > 1 or component[0] in edges.get(component[0], ()):
            cycles.append(_cycle(component, edges, rank))
    return order, cycles


def _cycle(component: list[str], edges: Mapping[str, Sequence[str]], rank: Mapping[str, int]) -> list[str]:
    inside = set(component)
    walk = [min(component, key=rank.__getitem__)]
    seen: dict[str, int] = {}
    while walk[-1] not in seen:
        seen[walk[-1]] = len(walk) - 1
        walk.append(next(child for child in edges[walk[-1]] if child in inside))
    return walk[seen[walk[-1]] :]


def sort_entries(kind: str, entries: Mapping[str, Entry], problems: Problems) -> dict[str, Entry]:
    """The nodes of one kind, each after those of its kind that it needs. Cycles are errors, at the place where a node names the next."""
    edges = {name: [ref.name for ref, _ in entry.references() if ref.kind == kind] for name, entry in entries.items()}
    order, cycles = sort(entries, edges)
    for cycle in cycles:
        place = entries[cycle[0]].places.get(Reference(kind, cycle[1]), entries[cycle[0]].place)
        problems.error(place, f"{kind} {quote(cycle[0])} depends on itself: {' -> '.join(cycle)}")
    return {name: entries[name] for name in order}


def find_missing(
    nodes: Mapping[str, Mapping[str, Entry]], declared: Mapping[str, Collection[str]], built: Callable[[str], bool], problems: Problems
) -> frozenset[Reference]:
    """What is named and not defined: a warning at the first place that names it, since a stand-in serves until it appears, as upstream.

    A user group or auditor is an error while no type of its kind is C{built}: nothing may be served without the one that was asked for.
    """
    missing: dict[Reference, None] = {}
    for entries in nodes.values():
        for entry in entries.values():
            for reference, place in entry.references():
                if reference in missing or reference.kind not in declared or reference.name in declared[reference.kind]:
                    continue
                missing[reference] = None
                hint = did_you_mean(reference.name, declared[reference.kind])
                what = f"no {reference.kind} is called {quote(reference.name)}"
                if reference.kind in ("user_group", "auditor") and not built(reference.kind):
                    problems.error(place, f"{what}, and nothing of that kind is available yet")
                else:
                    problems.warn(place, f"{what}, {STAND_INS.get(reference.kind, 'a stand-in')} takes its place{hint}")
    return frozenset(missing)
