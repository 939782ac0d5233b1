# SPDX-License-Identifier: Apache-2.0
"""Names are sorted so that each comes after what it needs; knots are found."""

from __future__ import annotations

import itertools

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from g3.config.topology import sort

NAMES = "abcdefgh"
EDGES = st.dictionaries(st.sampled_from(NAMES), st.lists(st.sampled_from(NAMES), max_size=3))


class SortTests(SynchronousTestCase):
    def test_what_is_needed_comes_first_else_the_order_stays(self) -> None:
        """Edges to unknown names are ignored."""
        self.assertEqual(sort("abcd", {"a": ["c", "z"], "c": ["d"]}), (["d", "c", "a", "b"], []))

    def test_each_knot_gives_one_cycle(self) -> None:
        """From the first name of it."""
        _, cycles = sort("abcdex", {"a": ["b"], "b": ["c", "x"], "c": ["b", "a"], "d": ["e"], "e": ["d"], "x": ["x"]})
        self.assertEqual(sorted(cycles), [["b", "c", "b"], ["d", "e", "d"], ["x", "x"]])

    def test_a_long_chain_needs_no_recursion(self) -> None:
        """Tens of thousands of nodes."""
        names = [str(n) for n in range(30_000)]
        order, cycles = sort(names, {a: [b] for a, b in itertools.pairwise(names)})
        self.assertEqual((order, cycles), (names[::-1], []))

    @given(EDGES)
    def test_any_graph_is_sorted_or_has_a_cycle(self, edges: dict[str, list[str]]) -> None:
        """Every name once; without cycles every edge points back; every cycle is a real one."""
        order, cycles = sort(NAMES, edges)
        self.assertEqual(sorted(order), list(NAMES))
        for cycle in cycles:
            self.assertEqual(cycle[0], cycle[-1])
            self.assertTrue(all(b in edges[a] for a, b in itertools.pairwise(cycle)))
        if not cycles:
            self.assertTrue(all(order.index(b) < order.index(a) for a, needed in edges.items() for b in needed))
