# SPDX-License-Identifier: Apache-2.0
"""Records by a layout: when a template is good for one."""

from __future__ import annotations

from typing import TYPE_CHECKING

from twisted.trial.unittest import SynchronousTestCase

from g3.proto import record
from g3.proto.escape import MAX_VALUE
from g3.proto.record import Filled, Layout, Part, Templates

if TYPE_CHECKING:
    from g3.proto.record import Value

LAYOUT = Layout("a b c d")


class TemplatesTest(SynchronousTestCase):
    """With a format of its own."""

    def setUp(self) -> None:
        self.made: list[tuple[str, type]] = []
        self.templates = Templates(self.pair)

    def pair(self, name: str, kind: type) -> str:
        self.made.append((name, kind))
        return f'{name}="%s";' if kind is str else f"{name}=%s;"

    def fill(self, *values: Value, message: str = "", limit: int = 100) -> bytes | None:
        return self.templates.fill(Filled(LAYOUT, values), message, limit)

    def test_a_record_of_the_same_types_needs_no_other_template(self) -> None:
        """None is a type: what is missing is left out, and costs nothing."""
        self.assertEqual(self.fill("x", None, 7, "y"), b'a="x";c=7;d="y";')
        self.assertEqual(self.fill("1.234\u00b5s", None, 8, "%s"), b'a="1.234\xc2\xb5s";c=8;d="%s";')
        self.assertEqual(self.made, [("a", str), ("c", int), ("d", str)])
        self.assertEqual(self.fill("x", True, False, "y"), b'a="x";b=true;c=false;d="y";')
        self.assertEqual(len(self.made), 7)

    def test_what_must_be_escaped_or_cut_is_for_others(self) -> None:
        """Any of the texts, and the message."""
        for text in ("'", '"', "\\", "]", "\n", "\x7f", "\u00e9", "\u4e2d", "\ud800", '"";', "x" * 101):
            for values in ((text, 1, 1, "y"), ("x", 1, 1, text)):
                self.assertIsNone(self.fill(*values))
            self.assertIsNone(self.fill("x", 1, 1, "y", message=text))
        self.assertIsNone(self.fill("x", 1, 1.5, "y"))
        self.assertEqual(self.fill(1, 1, 1, None, message="x"), b"a=1;b=1;c=1;", "a message may be the only text")
        self.assertIsNone(self.fill(None, None, None, None))
        safe = Filled(Layout("a b c d", safe="b c"), ("x", "y'", 1, "z"))
        self.assertEqual(self.templates.fill(safe, "", 100), b'a="x";b="y\'";c=1;d="z";', "what is said to be safe is not looked at")
        self.assertIsNone(self.templates.fill([("a", "x"), ("b", "y")], "", 100))

    def test_pairs_in_order_with_those_of_every_record(self) -> None:
        """A constant is text, also where it looks like a place for a value; one beyond ASCII is not for here."""
        ordered = Templates(self.pair, ordered=True, constants=[("aa", "aa=100%s;"), ("e", "e=1;")])
        self.assertEqual(ordered.fill(Filled(Layout("d c b a"), ("1", 2, None, "3")), "", 100), b'a="3";aa=100%s;c=2;d="1";e=1;')
        odd = Templates(self.pair, ordered=True, constants=[("b", "{v0}\\x\"'\n\r%{{")])
        self.assertEqual(odd.fill(Filled(Layout("a c"), ("1", "2")), "", 100), b'a="1";{v0}\\x"\'\n\r%{{c="2";')
        foreign = Templates(self.pair, ordered=True, constants=[("aa", "aa=\u00b5;")])
        self.assertIsNone(foreign.fill(Filled(LAYOUT, ("1", 2, 3, "4")), "", 100))

    def test_templates_are_bounded(self) -> None:
        """Which values are missing is not ours to say."""
        self.patch(record, "MAX_TEMPLATES", 3)
        for values in (("a", 1, 1, "b"), ("a", None, 1, "b"), ("a", 1, None, "b"), ("a", "b", 1, None), ("a", "b", "c", "d")):
            self.assertIsNotNone(self.fill(*values))
            self.assertLessEqual(len(self.templates._ready), 3)

    def test_a_part_is_written_once(self) -> None:
        """Until another format asks; where it has to be escaped or cut, the record is for others."""
        inner = Layout("x y")
        outer = Layout("a", inner, "b")
        part = Part(inner, ("1", "2"))
        for number in (3, 4):
            record = Filled(outer, ("k", part, f"v{number}"))
            self.assertEqual(self.templates.fill(record, "", MAX_VALUE), f'a="k";x="1";y="2";b="v{number}";'.encode())
        self.assertEqual(len(self.made), 4)
        self.assertIsNone(self.templates.fill(record, "", 100))
        self.assertEqual(list(record), [("a", "k"), ("x", "1"), ("y", "2"), ("b", "v4")])
        other = Templates(lambda name, _: f"{name}: %s, ", ordered=True)
        self.assertEqual(other.fill(record, "", 100), b"a: k, b: v4, x: 1, y: 2, ")
        another = Templates(lambda name, _: f"{name} %s.")
        self.assertEqual(another.fill(record, "", MAX_VALUE), b"a k.x 1.y 2.b v4.")
        self.assertIsNone(self.templates.fill(Filled(outer, ("k", Part(inner, ("1", "'")), "v")), "", MAX_VALUE))

    def test_a_record_is_pairs_too(self) -> None:
        """As often as they are asked for."""
        filled = Filled(LAYOUT, ("x", None, 7, "y"))
        self.assertEqual(list(filled), [("a", "x"), ("b", None), ("c", 7), ("d", "y")])
        self.assertEqual(list(filled), list(filled))
