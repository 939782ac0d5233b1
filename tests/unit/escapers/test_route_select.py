# SPDX-License-Identifier: Apache-2.0
"""route_select: weights, policies, and choice by name."""

from __future__ import annotations

from collections import Counter
from typing import Any

from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from g3.config.document import read_text
from g3.config.problems import Problems
from g3.config.schema import dump_map, parse_map, references
from g3.config.value import ParseContext
from g3.errors import EscaperNotUsable
from g3.escapers.route_select import RouteSelectEscaper
from g3.escapers.route_select.config import RouteSelectConfig
from g3.pick import PickPolicy, Weighted
from g3.task import PathSelection
from g3.tree.node import NodeContext
from g3.tree.slots import Slots
from tests.unit.escapers.test_route import make_task


def parse(text: str) -> tuple[RouteSelectConfig | None, list[str]]:
    problems = Problems()
    node = read_text(text, "test.yaml", problems)[0]
    config = parse_map(RouteSelectConfig, node, ParseContext(problems))
    return config, [str(problem) for problem in problems.errors]


def make(*nodes: tuple[str, float], policy: PickPolicy = PickPolicy.RANDOM, slots: Slots | None = None) -> RouteSelectEscaper:
    context = NodeContext(reactor=Clock())
    context.slots = slots or Slots(lambda _kind, name: f"stand-in for {name}")
    config = RouteSelectConfig(name="route", next_nodes=tuple(Weighted(name, weight) for name, weight in nodes), next_pick_policy=policy)
    return RouteSelectEscaper(config, context)


class Configuration(SynchronousTestCase):
    def test_names_and_maps_with_weights(self) -> None:
        config, problems = parse("{name: r, type: route-select, next_nodes: [a, {name: b, weight: 3}, {name: c, weight: 0}], next_pick_policy: rr}")
        self.assertEqual(problems, [])
        assert config is not None
        self.assertEqual(config.next_nodes, (Weighted("a"), Weighted("b", 3.0), Weighted("c", 0.0)))
        self.assertIs(config.next_pick_policy, PickPolicy.ROUND_ROBIN)
        self.assertEqual([reference.name for reference in references(config)], ["a", "b", "c"])
        self.assertEqual(dump_map(config)["next_nodes"], ["a", {"name": "b", "weight": 3.0}, {"name": "c", "weight": 0.0}])

    def test_the_default_policy_is_ketama(self) -> None:
        config, _ = parse("{name: r, next_nodes: a}")
        assert config is not None
        self.assertIs(config.next_pick_policy, PickPolicy.KETAMA)

    def test_what_cannot_work_is_refused(self) -> None:
        for nodes in ("", ", next_nodes: []", ", next_nodes: [{name: a, weight: 0}]", ", next_nodes: [{weight: 1}]"):
            text = f"{{name: r{nodes}}}"
            config, problems = parse(text)
            self.assertIsNone(config, text)
            self.assertEqual(len(problems), 1, problems)


class Choosing(SynchronousTestCase):
    def names(self, route: RouteSelectEscaper, tasks: list[Any]) -> list[str]:
        return [route.pick(task).removeprefix("stand-in for ") for task in tasks]

    def test_weights_share_the_load(self) -> None:
        counts = Counter(self.names(make(("a", 1), ("b", 3)), [make_task() for _ in range(4000)]))
        self.assertTrue(0.71 < counts["b"] / 4000 < 0.79, counts)

    def test_hashing_keeps_together_what_belongs_together(self) -> None:
        for policy in (PickPolicy.KETAMA, PickPolicy.RENDEZVOUS, PickPolicy.JUMP_HASH):
            route = make(("a", 1), ("b", 1), ("c", 1), policy=policy)
            once = self.names(route, [make_task(host=f"h{number}.example") for number in range(60)])
            self.assertEqual(set(once), {"a", "b", "c"})
            self.assertEqual(once, self.names(route, [make_task(host=f"h{number}.example") for number in range(60)]))

    def test_serial_takes_the_heaviest_and_round_robin_all(self) -> None:
        tasks = [make_task() for _ in range(4)]
        self.assertEqual(self.names(make(("a", 1), ("b", 2), policy=PickPolicy.SERIAL), tasks), ["b"] * 4)
        self.assertEqual(self.names(make(("a", 1), ("b", 1), policy=PickPolicy.ROUND_ROBIN), tasks), ["a", "b", "a", "b"])

    def test_weight_zero_is_never_picked_but_by_name(self) -> None:
        for policy in PickPolicy:
            route = make(("a", 1), ("hidden", 0), ("b", 1), policy=policy)
            names = self.names(route, [make_task(host=f"h{number}") for number in range(50)])
            self.assertNotIn("hidden", names)
            task = make_task()
            task.path = PathSelection(ids={"route": "hidden"})
            self.assertEqual(self.names(route, [task]), ["hidden"])

    def test_a_name_that_is_not_listed_is_refused_and_counted(self) -> None:
        route = make(("a", 1))
        task = make_task()
        task.path = PathSelection(ids={"route": "other"})
        error = self.assertRaises(EscaperNotUsable, route.pick, task)
        self.assertEqual(error.http_status, 503)
        self.assertEqual((route.stats.passed, route.stats.failed), (0, 1))

    def test_an_id_for_another_escaper_is_not_for_us(self) -> None:
        task = make_task()
        task.path = PathSelection(number=7, ids={"elsewhere": "b"})
        self.assertEqual(self.names(make(("a", 1), ("b", 0)), [task]), ["a"])

    def test_a_reload_of_the_next_escaper_is_seen(self) -> None:
        slots = Slots(lambda _kind, name: f"stand-in for {name}")
        route = make(("a", 1), slots=slots)
        self.assertEqual(route.pick(make_task()), "stand-in for a")
        slots.put("escaper", "a", "the real one")
        self.assertEqual(route.pick(make_task()), "the real one")
