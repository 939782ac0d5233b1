# SPDX-License-Identifier: Apache-2.0
"""Problems are collected, located, shown with their line, and bounded."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from g3.config.problems import MAX_PROBLEMS, Place, Problems, did_you_mean, excerpt, format_report, printable, quote
from g3.errors import ConfigError


def sink(text: str = "") -> Problems:
    problems = Problems()
    problems.add_source("f", text)
    return problems


class ReportTests(SynchronousTestCase):
    def test_a_problem_prints_as_file_line_column_message(self) -> None:
        """Warnings say so."""
        problems = sink()
        problems.error(Place("f", 3, 5), "bad")
        problems.warn(Place("f", 2, 1), "odd")
        problems.error(Place("g"), "gone")
        self.assertEqual([str(p) for p in problems], ["f:2:1: warning: odd", "f:3:5: bad", "g: gone"])

    def test_the_report_shows_line_and_caret(self) -> None:
        """Tabs keep their width; a last line counts."""
        problems = sink("a: 1\n\tb: x\n")
        problems.error(Place("f", 2, 5), "bad")
        self.assertEqual(format_report(problems), "f:2:5: bad\n    \tb: x\n    \t   ^\n1 error\n")

    def test_a_long_line_is_cut_around_the_column(self) -> None:
        """And control characters are escaped."""
        problems = sink("x" * 500 + "!" + "y" * 5000)
        problems.error(Place("f", 1, 501), "bad")
        line, caret = excerpt(problems.errors[0])
        self.assertLess(len(line), 130)
        self.assertEqual(line[caret.index("^")], "!")

    def test_all_well_is_an_empty_report(self) -> None:
        """Nothing to say."""
        self.assertEqual(format_report(sink()), "")

    def test_the_same_problem_is_told_once(self) -> None:
        """A node shared by aliases is read several times."""
        problems = sink()
        for _ in range(3):
            problems.error(Place("f", 1, 1), "bad")
        self.assertEqual(len(problems), 1)

    def test_problems_are_bounded(self) -> None:
        """Further ones are counted."""
        problems = sink()
        for line in range(MAX_PROBLEMS + 10):
            problems.error(Place("f", line + 1, 1), "bad")
        self.assertEqual((len(problems.errors), problems.error_count), (MAX_PROBLEMS, MAX_PROBLEMS + 10))
        self.assertIn("(10 not shown)", format_report(problems))

    def test_errors_raise_together(self) -> None:
        """Warnings alone do not."""
        problems = sink()
        problems.warn(Place("f"), "odd")
        problems.raise_errors()
        problems.error(Place("f"), "bad")
        problems.error(Place("f"), "worse")
        self.assertEqual(len(self.assertRaises(ConfigError, problems.raise_errors).problems), 2)


class TextTests(SynchronousTestCase):
    def test_did_you_mean_finds_the_nearest_word(self) -> None:
        """In any case, with - or _; nothing when nothing is near."""
        known = ["bind_ip", "listen", "escaper"]
        self.assertEqual(did_you_mean("Bind-IPs", known), '; did you mean "bind_ip"?')
        self.assertEqual(did_you_mean("zzz", known), "")
        self.assertEqual(did_you_mean("b" * 100_000, known), "")

    def test_what_is_shown_is_one_printable_line(self) -> None:
        """Escapes of control characters, lone surrogates, terminal sequences."""
        self.assertEqual(printable("a\n\x1b[0m\udc80é"), "a\\n\\x1b[0m\\udc80é")
        self.assertEqual(len(quote("x" * 1000)), 82)
