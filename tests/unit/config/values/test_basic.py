# SPDX-License-Identifier: Apache-2.0
"""Basic values accept what upstream accepts and say why they refuse."""

from __future__ import annotations

import enum
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from g3.config.problems import Problems
from g3.config.value import Reference as ReferenceTo
from g3.config.value import Reported
from g3.config.values.basic import (
    Ascii,
    Bool,
    Enum,
    FileContent,
    FilePath,
    Float,
    FrozenMap,
    Int,
    List,
    Map,
    NodeName,
    OneOrMany,
    Reference,
    Str,
    Tuple,
)
from tests.unit.config.samples import parse, refusal


class Color(enum.Enum):
    DARK_RED = 1
    BLUE = 2


class ScalarTests(SynchronousTestCase):
    def test_a_string_may_be_a_number_as_written(self) -> None:
        """Not a bool, null or collection."""
        for text, value in {"abc": "abc", "1.10": "1.10", "0x1f": "0x1f", "''": ""}.items():
            self.assertEqual(parse(Str(), text), value)
        for text, what in {"true": "the bool true", "~": "nothing", "[a]": "a list", "{a: b}": "a map"}.items():
            self.assertEqual(refusal(Str(), text), f"expected a string, not {what}")

    def test_the_length_of_a_string_is_bounded(self) -> None:
        """Below and above."""
        self.assertEqual(refusal(Str(min_length=1), "''"), "must not be empty")
        self.assertEqual(refusal(Str(max_length=2), "abc"), "must have at most 2 characters")

    def test_ascii_names_the_character_it_refuses(self) -> None:
        """First one."""
        self.assertEqual(refusal(Ascii(), "aé"), 'character "é" is not ASCII')

    def test_an_integer_may_be_digits_in_a_string(self) -> None:
        """Within its range."""
        for text, value in {"5": 5, "'+7'": 7, "0x10": 16, "'-3'": -3}.items():
            self.assertEqual(parse(Int(-10, 100), text), value)
        self.assertEqual(refusal(Int(0, 5), "6"), "6 is not from 0 to 5")
        for text in ("1.0", "true", "a", "''", "'1_0'", "[1]", "'" + "9" * 5000 + "'", "~"):
            self.assertIn("expected an integer", refusal(Int(), text))

    def test_a_float_is_any_finite_number(self) -> None:
        """Integers and strings too."""
        for text, value in {"1": 1.0, "-.5": -0.5, "'1e3'": 1000.0}.items():
            self.assertEqual(parse(Float(), text), value)
        for text in (".inf", ".nan", "'inf'", "true", "x", "'1e9999'"):
            self.assertIn("expected a number", refusal(Float(), text))
        self.assertEqual(refusal(Float(0, 1), "1.5"), "1.5 is not from 0 to 1")

    def test_a_bool_has_many_words(self) -> None:
        """As upstream: on, yes, 1 and their opposites in any case; integers."""
        for text in ("true", "ON", "'Yes'", "1", "7", "'1'"):
            self.assertIs(parse(Bool(), text), True)
        for text in ("false", "off", "NO", "0", "'0'"):
            self.assertIs(parse(Bool(), text), False)
        for text in ("1.0", "maybe", "'2'", "~", "[true]"):
            self.assertIn("expected a bool", refusal(Bool(), text))

    def test_enum_words_in_any_spelling(self) -> None:
        """With a hint, or all words."""
        self.assertIs(parse(Enum(Color), "Dark-RED"), Color.DARK_RED)
        self.assertEqual(refusal(Enum(Color), "dark_read"), 'unknown word "dark_read"; did you mean "dark_red"?')
        self.assertEqual(refusal(Enum(Color), "x"), 'unknown word "x"; known are dark_red, blue')
        words = Enum(Color, {"red": Color.DARK_RED, "rot": Color.DARK_RED, "b": Color.BLUE})
        self.assertEqual((parse(words, "rot"), words.dump(Color.DARK_RED)), (Color.DARK_RED, "red"))


class CollectionTests(SynchronousTestCase):
    def test_a_list_tells_every_bad_element(self) -> None:
        """And goes on."""
        problems = Problems()
        self.assertEqual(parse(List(Int()), "[1, '2']"), (1, 2))
        self.assertRaises(Reported, parse, List(Int()), "[a, 1, b]")
        self.assertEqual(refusal(List(Int()), "1"), "expected a list, not the number 1")
        self.assertEqual(refusal(List(Int(), min_items=1), "[]"), "must not be empty")
        self.assertEqual(refusal(List(Int(), max_items=1), "[1, 2]"), "must have at most 1 elements")
        self.assertEqual(refusal(List(Int(), unique=True), "[1, 2, 1]"), '"1" is listed twice')
        self.assertEqual(len(problems), 0)

    def test_one_stands_for_a_list_of_one(self) -> None:
        """Where one or many are taken."""
        self.assertEqual(parse(OneOrMany(Int()), "1"), (1,))
        self.assertEqual(parse(OneOrMany(Int()), "[1, 2]"), (1, 2))

    def test_a_tuple_has_its_length(self) -> None:
        """And kinds."""
        self.assertEqual(parse(Tuple(Int(), Str()), "[1, a]"), (1, "a"))
        self.assertEqual(refusal(Tuple(Int(), Str()), "[1]"), "expected a list [integer, string], not a list")

    def test_a_map_refuses_keys_that_mean_the_same(self) -> None:
        """It does not change, and has a hash."""
        made = parse(Map(Int(), Str()), "{1: a, '2': b}")
        self.assertEqual(made, {1: "a", 2: "b"})
        self.assertEqual(hash(made), hash(FrozenMap({2: "b", 1: "a"})))
        self.assertRaises(TypeError, made.update, {})
        self.assertRaises(TypeError, made.__setitem__, 1, "x")
        self.assertRaises(Reported, parse, Map(Int(), Str()), "{1: a, '1': b}")


class NameTests(SynchronousTestCase):
    def test_names_and_references(self) -> None:
        """A reference tells what it names."""
        self.assertEqual(parse(NodeName(), "a.b/c-d_é9"), "a.b/c-d_é9")
        self.assertEqual(list(OneOrMany(Reference("server")).references(("a", "b"))), [ReferenceTo("server", "a"), ReferenceTo("server", "b")])
        for text in ("''", "a b", "a:b", "5", "a\u2028"[:1] + "\U0001f600", "x" * 300):
            self.assertTrue(refusal(NodeName(), text))


class FileTests(SynchronousTestCase):
    def test_paths_start_at_the_directory_of_the_file(self) -> None:
        """Absolute ones stay."""
        self.assertEqual(parse(FilePath(), "a/b", Path("/conf")), Path("/conf/a/b"))
        self.assertEqual(parse(FilePath(), "/a", Path("/conf")), Path("/a"))
        self.assertEqual(refusal(FilePath(absolute=True), "a"), '"a" is not an absolute path')
        self.assertEqual(refusal(FilePath(), "''"), "a path must not be empty")
        self.assertEqual(refusal(FilePath(), '"a\\0"'), "a path must not contain NUL")
        self.assertIn("does not exist", refusal(FilePath(must_exist=True), "/nonexistent"))
        self.assertIn("is not a regular file", refusal(FilePath(must_exist=True), "/"))
        self.assertEqual(parse(FilePath(directory=True), "/"), Path("/"))
        self.assertTrue(refusal(FilePath(must_exist=True), "x" * 10_000))

    def test_the_content_of_a_file_is_part_of_the_value(self) -> None:
        """So a reload sees that it changed."""
        path = Path(self.mktemp())
        path.write_bytes(b"one")
        value = FileContent(limit=5)
        first = parse(value, str(path.resolve()))
        self.assertEqual((first == parse(value, str(path.resolve())), bytes(first), value.dump(first)), (True, b"one", str(path.resolve())))
        path.write_bytes(b"two")
        self.assertNotEqual(first, parse(value, str(path.resolve())))
        path.write_bytes(b"longer")
        self.assertIn("larger than 5 bytes", refusal(value, str(path.resolve())))
        self.assertIn("is not a file", refusal(value, "/"))
        self.assertIn("does not exist", refusal(value, "/nonexistent"))
