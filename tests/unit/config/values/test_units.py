# SPDX-License-Identifier: Apache-2.0
"""Sizes, durations, ratios and regular expressions as upstream writes them."""

from __future__ import annotations

from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from g3.config.document import read_text
from g3.config.problems import Problems
from g3.config.value import ParseContext
from g3.config.values.duration import Duration, format_duration, parse_duration
from g3.config.values.ratio import Ratio
from g3.config.values.regex import Regex, explosive, translate
from g3.config.values.size import RaisedSize, Size, SizeU32, format_size, parse_size
from tests.unit.config.samples import parse, refusal


class SizeTests(SynchronousTestCase):
    def test_units_of_1024_and_1000(self) -> None:
        """In any case, B or not, a space or not."""
        cases = {
            "5": 5,
            "'5'": 5,
            "64KiB": 65536,
            "64 kib": 65536,
            "64Ki": 65536,
            "1K": 1000,
            "2MB": 2_000_000,
            "1GiB": 1 << 30,
            "3b": 3,
            "1T": 10**12,
        }
        for text, size in cases.items():
            self.assertEqual(parse(Size(), text), size, text)

    def test_what_is_no_size_is_refused(self) -> None:
        """Also what is too large."""
        for text in ("x", "''", "KB", "1.5K", "1Q", "-1", "1.5", "true", "[1]", "~", "1KBB"):
            self.assertTrue(refusal(Size(), text), text)
        self.assertIn("is not from 0 to 4294967295 bytes", refusal(SizeU32(), "4GiB"))
        self.assertIn("is not from", refusal(Size(), "99999999EiB"))

    def test_a_least_size_is_taken_for_less_with_a_warning(self) -> None:
        """Upstream does without the warning."""
        problems = Problems()
        context = ParseContext(problems, Path())
        sizes = [RaisedSize(4096).parse(read_text(text, "t", problems)[0], context) for text in ("4K", "0", "4KiB", "5000")]
        self.assertEqual(sizes, [4096, 4096, 4096, 5000])
        self.assertEqual([problem.message.partition(":")[0] for problem in problems], ["4K is taken as 4096 bytes", "0 is taken as 4096 bytes"])

    @given(st.integers(0, 1 << 63))
    def test_a_size_is_written_so_that_it_reads_back(self, size: int) -> None:
        """Any."""
        self.assertEqual(parse_size(str(format_size(size))), size)


class DurationTests(SynchronousTestCase):
    def test_numbers_are_seconds_and_strings_have_units(self) -> None:
        """Compound too; "m" and "min" are minutes."""
        cases = {"30": 30.0, "1.5": 1.5, "'7'": 7.0, "0": 0.0, "500ms": 0.5, "1h 30m 71s": 5471.0, "1d2h": 93600.0, "5 min": 300.0, "10us": 1e-5}
        for text, seconds in cases.items():
            self.assertEqual(parse(Duration(), text), seconds, text)

    def test_what_is_no_duration_is_refused(self) -> None:
        """Negative and endless ones too."""
        for text in ("-1", "x", "''", "5x", "s", "1h30", ".inf", ".nan", "true", "[5]", "~", "1e30", "999999999999d"):
            self.assertTrue(refusal(Duration(), text), text)
        self.assertEqual(refusal(Duration(1, 60), "2m"), "2m is not from 1s to 1m")

    @given(st.one_of(st.floats(0, 1e9), st.integers(0, 10**9), st.integers(0, 10**7).map(lambda n: n / 1000)))
    def test_a_duration_is_written_so_that_it_reads_back(self, seconds: float) -> None:
        """Any."""
        written = format_duration(seconds)
        self.assertEqual(parse_duration(written) if isinstance(written, str) else written, seconds)


class RatioTests(SynchronousTestCase):
    def test_a_ratio_in_its_forms(self) -> None:
        """Number, fraction, percentage, bool."""
        cases = {"0.25": 0.25, "1/4": 0.25, "25%": 0.25, "' 1 / 2 '": 0.5, "1": 1.0, "0": 0.0, "true": 1.0, "false": 0.0, "'0.5'": 0.5}
        for text, ratio in cases.items():
            self.assertEqual(parse(Ratio(), text), ratio, text)

    def test_what_is_not_from_0_to_1_is_refused(self) -> None:
        """Or is no ratio."""
        for text in ("2", "1.5", "-0.1", "3/2", "1/0", "101%", "x", "a/2", "''", "[1]", "~", ".nan"):
            self.assertTrue(refusal(Ratio(), text), text)


class RegexTests(SynchronousTestCase):
    def test_patterns_of_upstreams_engine_mean_the_same(self) -> None:
        """Where the syntaxes differ: end of text, code points, POSIX classes."""
        matching = [("a$", "a"), (r"a\z", "a"), (r"\x{41}\u{42}", "AB"), ("[[:digit:]]{2}", "12"), ("[$]", "$"), (r"\$", "$"), ("(?i)abc", "ABC")]
        for pattern, text in matching:
            self.assertTrue(parse(Regex(), f"'{pattern}'").search(text), pattern)
        for pattern, text in [("a$", "a\n"), ("[[:digit:]]", "x"), (r"a\z", "ab")]:
            self.assertFalse(parse(Regex(), f"'{pattern}'").search(text), pattern)
        self.assertEqual(translate(r"\\z[^$]"), r"\\z[^$]")

    def test_what_is_no_pattern_is_refused(self) -> None:
        """Whatever it is."""
        for text in ("'('", "'[a'", "'*'", r"'\p{L}'", "'a{5,2}'", "5", "'" + "(" * 3000 + "'", "'" + "x" * 5000 + "'"):
            self.assertTrue(refusal(Regex(), text), text)

    def test_a_pattern_that_can_take_exponential_time_is_warned_about(self) -> None:
        """Repetition of nothing but a repetition."""
        for pattern in ("(a+)+$", "(a*)*", "((?:a+)|b)*c", "([a-z]+){20,}"):
            self.assertTrue(explosive(pattern), pattern)
        for pattern in (r"^([a-z0-9-]+\.)*example\.com$", "a*b*", "(a|b)*", "(a{1,3}){1,5}"):
            self.assertFalse(explosive(pattern), pattern)
        problems = Problems()
        (node,) = read_text("'(a+)+'", "f", problems)
        Regex().parse(node, ParseContext(problems, Path()))
        self.assertEqual(problems.warning_count, 1)
