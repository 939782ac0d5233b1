# SPDX-License-Identifier: Apache-2.0
"""YAML becomes nodes as YAML 1.2 says, with places and bounds."""

from __future__ import annotations

import math
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from g3.config import document
from g3.config.document import Node, read_bytes, read_file, read_text, resolve
from g3.config.problems import Problems


def read(text: str) -> tuple[list[Node], Problems]:
    problems = Problems()
    return read_text(text, "f", problems), problems


class ScalarTests(SynchronousTestCase):
    def test_the_core_schema_types_plain_scalars(self) -> None:
        """YAML 1.2, 10.3.2."""
        cases = [
            ("", None), ("~", None), ("null", None), ("Null", None), ("true", True), ("FALSE", False), ("0", 0), ("-12", -12), ("+3", 3), ("010", 10),
            ("0x1F", 31), ("0o17", 15), ("1.5", 1.5), ("1e3", 1000.0), (".5", 0.5), ("5.", 5.0), ("-.inf", -math.inf), (str(2**63 - 1), 2**63 - 1),
        ]  # fmt: skip
        for text, value in cases:
            self.assertEqual((resolve(text), type(resolve(text))), (value, type(value)), text)
        self.assertTrue(math.isnan(resolve(".nan")))  # type: ignore[arg-type]

    def test_yaml_1_1_words_stay_strings(self) -> None:
        """What YAML 1.1 would turn into bools, base 60 numbers, dates and the like."""
        for text in [
            "no",
            "yes",
            "on",
            "off",
            "12:30:45",
            "1_000",
            "0b11",
            "2024-01-01",
            "=",
            "-",
            ".",
            "+",
            "1.2.3",
            "0x",
            "0o8",
            "e5",
            "nan",
            "inf",
            "nUll",
        ]:
            self.assertEqual(resolve(text), text)

    def test_an_integer_of_more_than_64_bits_is_a_float(self) -> None:
        """As upstream; and thousands of digits take no time."""
        self.assertEqual(resolve(str(2**63)), float(2**63))
        self.assertEqual(resolve("9" * 10_000), math.inf)

    def test_quoted_scalars_are_strings(self) -> None:
        """Any of the quoted styles."""
        (node,), _ = read("""["5", '5', 5, "", 'null']""")
        self.assertEqual([part.value for part in node.elements], ["5", "5", 5, "", "null"])

    def test_block_scalars_are_strings(self) -> None:
        """Literal and folded."""
        (node,), _ = read("a: |\n  5\nb: >-\n  6\n")
        self.assertEqual(node.to_python(), {"a": "5\n", "b": "6"})

    def test_tags_of_the_core_schema_choose_the_type(self) -> None:
        """Others make a string, as upstream."""
        (node,), problems = read("[!!str 5, !!int '5', !!float 5, !!bool true, !!null '', !mine 5]")
        self.assertEqual([part.value for part in node.elements], ["5", 5, 5.0, True, None, "5"])
        self.assertEqual(problems.errors, [])

    def test_a_value_that_does_not_fit_its_tag_is_an_error(self) -> None:
        """Located."""
        _, problems = read("a: !!int x")
        self.assertEqual([str(p) for p in problems], ['f:1:4: "x" is not a value of the tag !!int'])


class PlaceTests(SynchronousTestCase):
    def test_every_node_knows_its_place(self) -> None:
        """Line and column from 1."""
        (node,), _ = read("a: 1\nbé: [x,\n  y]\n")
        (a, one), (b, seq) = node.items
        places = [(n.line, n.column) for n in (node, a, one, b, seq, *seq.elements)]
        self.assertEqual(places, [(1, 1), (1, 1), (1, 4), (2, 1), (2, 5), (2, 6), (3, 3)])

    def test_many_documents(self) -> None:
        """In order; an empty one is null; an empty text has none."""
        nodes, _ = read("a: 1\n---\n---\nb: 2\n")
        self.assertEqual([n.to_python() for n in nodes], [{"a": 1}, None, {"b": 2}])
        self.assertEqual(read("")[0], [])
        self.assertEqual(read("# only a comment\n")[0], [])

    def test_syntax_errors_are_located_and_end_the_file(self) -> None:
        """The documents before it are still there."""
        nodes, problems = read("a: 1\n---\nb: [1\nc: }\n")
        self.assertEqual([n.to_python() for n in nodes], [{"a": 1}])
        (problem,) = problems.errors
        self.assertEqual((problem.place.line, problem.source), (4, "c: }"))

    def test_a_tab_for_indentation_is_located(self) -> None:
        """It says tab."""
        _, problems = read("a:\n  b: 1\n\tc: 2\n")
        (problem,) = problems.errors
        self.assertEqual(problem.place.line, 3)
        self.assertIn("tab", problem.message)

    def test_characters_that_yaml_forbids_are_located(self) -> None:
        """NUL and other control characters."""
        _, problems = read("é: 1\nb: \0")
        self.assertEqual([str(p) for p in problems], ["f:2:4: character U+0000 is not allowed in YAML"])

    def test_bytes_that_are_not_utf8_are_located(self) -> None:
        """Column counted in characters."""
        problems = Problems()
        self.assertEqual(read_bytes("é: 1\né: ".encode() + b"\xff", "f", problems), [])
        self.assertEqual([str(p) for p in problems], ["f:2:4: byte 0xFF is not UTF-8"])

    def test_a_byte_order_mark_is_ignored(self) -> None:
        """Columns too."""
        problems = Problems()
        (node,) = read_bytes(b"\xef\xbb\xbfa: 1", "f", problems)
        self.assertEqual((node.to_python(), node.column), ({"a": 1}, 1))


class MapTests(SynchronousTestCase):
    def test_a_key_twice_is_an_error_at_the_second(self) -> None:
        """The last value is kept, so that its own problems are told too."""
        (node,), problems = read("a: 1\nb: 2\na: 3\n")
        self.assertEqual([str(p) for p in problems], ['f:3:1: key "a" is given twice; the first is on line 1'])
        self.assertEqual(node.to_python(), {"a": 3, "b": 2})

    def test_a_number_and_its_text_are_two_keys(self) -> None:
        """As upstream."""
        self.assertEqual(read("1: a\n'1': b\n")[1].errors, [])

    def test_merge_keys_fill_in_what_is_not_given(self) -> None:
        """The map's own keys win, then the first merged map."""
        text = "x: &x {a: 1, b: 1}\ny: &y {b: 2, c: 2}\nz:\n  a: 0\n  <<: [*x, *y]\n"
        (node,), problems = read(text)
        self.assertEqual(node.to_python()["z"], {"a": 0, "b": 1, "c": 2})
        self.assertEqual(problems.errors, [])

    def test_a_merge_of_no_map_is_an_error(self) -> None:
        """Located."""
        _, problems = read("a:\n  <<: 5\n")
        self.assertEqual([str(p) for p in problems], ['f:2:7: the value of the merge key "<<" must be a map or a list of maps, not the number 5'])


class BoundTests(SynchronousTestCase):
    def test_an_alias_is_the_anchored_node(self) -> None:
        """Shared, not copied."""
        (node,), _ = read("a: &x [1]\nb: *x\n")
        self.assertIdentical(node.items[0][1], node.items[1][1])

    def test_an_unknown_alias_is_an_error(self) -> None:
        """Anchors of another document too."""
        _, problems = read("a: &x 1\n---\nb: *x\n")
        self.assertEqual([str(p) for p in problems], ["f:3:4: alias *x has no anchor"])

    def test_an_alias_inside_its_anchor_is_an_error(self) -> None:
        """No recursive structure."""
        _, problems = read("a: &x [1, *x]\n")
        self.assertEqual([str(p) for p in problems], ["f:1:11: alias *x contains itself"])

    def test_aliases_cannot_multiply_without_bound(self) -> None:
        """A billion laughs is refused at once."""
        lines = ["a0: &a0 [x,x,x,x,x,x,x,x,x,x]"]
        lines += [f"a{n}: &a{n} [{','.join([f'*a{n - 1}'] * 10)}]" for n in range(1, 12)]
        _, problems = read("\n".join(lines))
        self.assertIn("aliases written out", str(problems.errors[0]))

    def test_depth_is_bounded(self) -> None:
        """In a flow, in a block, by aliases."""
        flow = "[" * 5000 + "]" * 5000
        block = "".join(f"{' ' * n}a:\n" for n in range(200))
        chain = "\n".join(["- &a0 [x]", *(f"- &a{n} [*a{n - 1}]" for n in range(1, 200))])
        for text in (flow, block, chain):
            _, problems = read(text)
            self.assertIn("nested deeper", str(problems.errors[0]))

    def test_a_file_that_cannot_be_read_is_a_problem_where_it_is_named(self) -> None:
        """Missing, a directory, too large."""
        self.patch(document, "MAX_FILE", 3)
        large = Path(self.mktemp())
        large.write_text("abcd")
        for path, message in [("/nonexistent", "No such file"), ("/", "Is a directory"), (str(large), "larger"), ("a\0b", "null byte")]:
            problems = Problems()
            self.assertEqual(read_file(Path(path), problems), [])
            self.assertIn(message, str(problems.errors[0]))
