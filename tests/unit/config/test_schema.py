# SPDX-License-Identifier: Apache-2.0
"""A declared schema reads a map, and tells everything that is wrong with it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from g3.config.document import read_text
from g3.config.problems import Problems
from g3.config.schema import Nested, config_class, dump_map, key, keys_of, object_schema, parse_map, references
from g3.config.value import ParseContext, Reference
from g3.config.values.basic import Int

from .samples import Listen, PickConfig, WebConfig, told


def read(text: str, cls: type = WebConfig) -> tuple[Any, Problems]:
    problems = Problems()
    (node,) = read_text(text, "f", problems)
    return parse_map(cls, node, ParseContext(problems, Path())), problems


class ParseTests(SynchronousTestCase):
    def test_keys_in_any_case_and_with_dashes(self) -> None:
        """Also by alias; what is not given has its default."""
        config, problems = read("NAME: a\nType: web\nIdle-Timeout: 5s\nlisten: {address: x}")
        self.assertEqual(list(problems), [])
        self.assertEqual(config, WebConfig(name="a", idle=5.0, listen=Listen(address="x")))

    def test_all_mistakes_of_a_map_are_told_at_once(self) -> None:
        """Unknown and missing keys, bad values, those inside nested maps."""
        config, problems = read("nane: a\nidle: x\nlisten: {backlog: 70000, addres: 1}\n5: 6\n")
        self.assertIdentical(config, None)
        self.assertEqual(
            told(problems),
            [
                '1:1: unknown key "nane"; did you mean "name"?',
                '1:1: required key "name" is missing',
                '2:7: idle: "x" is not a duration such as 30, "500ms" or "1h 30m" (units ns us ms s m h d)',
                '3:9: required key "address" is missing',
                "3:19: backlog: 70000 is not from 0 to 65535",
                '3:26: unknown key "addres"; did you mean "address"?',
                "4:1: a key must be a string, not the number 5",
            ],
        )

    def test_two_spellings_of_a_key_warn_and_the_last_wins(self) -> None:
        """As upstream, which does not notice."""
        config, problems = read("name: a\nidle: 1\nidle-timeout: 2")
        self.assertEqual(told(problems), ['3:1: key "idle" is also given on line 2; this one wins'])
        self.assertEqual(config.idle, 2.0)

    def test_what_is_overridden_must_be_right_too(self) -> None:
        """By another spelling, by a successor."""
        self.assertEqual(read("name: a\nidle: [x]\nidle-timeout: 2")[1].error_count, 1)
        self.assertEqual(read("name: a\nidle: 2\nold-idle: [x]")[1].error_count, 1)

    def test_only_ascii_letters_have_cases(self) -> None:
        """KELVIN SIGN is no k."""
        self.assertEqual(told(read("name: a\nlisten: {address: x, BackLog: 5}")[1]), [])
        self.assertIn("unknown key", told(read("name: a\nlisten: {address: x, bac\u212alog: 5}")[1])[0])

    def test_a_deprecated_key_is_forwarded_with_a_warning(self) -> None:
        """Unless its successor is given too."""
        config, problems = read("name: a\nold-idle: 7")
        self.assertEqual(told(problems), ['2:1: key "old_idle" is deprecated: use "idle"'])
        self.assertEqual(config, WebConfig(name="a", idle=7.0))
        self.assertEqual(read("name: a\nold-idle: 7\nidle: 8")[0], WebConfig(name="a", idle=8.0))
        self.assertEqual(read("name: a\nold-idle: x")[1].error_count, 1)

    def test_a_deprecated_key_without_successor_is_read(self) -> None:
        """And warned about."""
        config, problems = read("name: a\nancient: 7")
        self.assertEqual(told(problems), ['2:1: key "ancient" is deprecated: it does nothing'])
        self.assertEqual(config.ancient, 7)

    def test_rules_over_several_keys_are_checked_last(self) -> None:
        """At the place of a key."""
        self.assertEqual(told(read("name: a\nstrict: on")[1]), ["2:9: strict needs idle"])
        self.assertEqual(told(read("name: a\nstrict: on\nidle: 3")[1]), [])

    def test_what_is_no_map_is_an_error(self) -> None:
        """Told, not raised."""
        self.assertEqual(told(read("[a]")[1]), ["1:1: expected a map, not a list"])

    def test_equal_keys_are_equal_configurations(self) -> None:
        """This is the reload diff: defaults spelled out change nothing."""
        self.assertEqual(read("name: a\nidle: 1m\ntype: x")[0], read("name: a")[0])
        self.assertEqual(hash(read("name: a\ntags: {x: y}")[0]), hash(read("name: a\ntags: {x: y}")[0]))


class DeclarationTests(SynchronousTestCase):
    def test_a_subclass_may_declare_a_key_again(self) -> None:
        """It keeps its place."""

        @config_class
        class Other(Listen):
            backlog: int = key(Int(1, 5), default=3)

        self.assertEqual([(k.name, k.default) for k in keys_of(Other)][1], ("backlog", 3))

    def test_references_are_found_in_the_object(self) -> None:
        """In lists too; an empty name is none."""
        self.assertEqual(list(references(PickConfig(name="a", next=("b", "c")))), [Reference("escaper", "b"), Reference("escaper", "c")])
        self.assertEqual(list(references(WebConfig(name="a"))), [])

    def test_a_dump_has_every_key_that_is_set(self) -> None:
        """By canonical name, as JSON types."""
        dumped = dump_map(WebConfig(name="a", listen=Listen(address="x")))
        self.assertEqual((dumped["idle"], dumped["listen"]), ("1m", {"address": "x", "backlog": 4096}))
        self.assertNotIn("ancient", dumped)

    def test_the_json_schema_has_every_spelling(self) -> None:
        """With deprecation, defaults and what is required."""
        schema = object_schema(WebConfig)
        self.assertLessEqual({"idle", "idle_timeout", "idle-timeout", "old-idle"}, set(schema["properties"]))
        self.assertTrue(schema["properties"]["old_idle"]["deprecated"])
        self.assertEqual(schema["properties"]["idle"]["default"], "1m")
        self.assertEqual(schema["allOf"], [{"required": ["name"]}])

    def test_a_null_is_an_empty_map_where_that_is_allowed(self) -> None:
        """As for the section runtime."""

        @config_class
        class Some:
            x: int = key(Int(), default=1)

        @config_class
        class Outer:
            some: Some = key(Nested(Some, empty_ok=True), default=Some())
            other: Some = key(Nested(Some), default=Some())

        self.assertEqual(read("some:", Outer)[0], Outer())
        self.assertEqual(told(read("other:", Outer)[1]), ["1:7: other: expected a map, not nothing"])
