# SPDX-License-Identifier: Apache-2.0
"""Any text as part of one line."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from g3.proto.escape import escape, escape_bracket, unescape


class EscapeTest(SynchronousTestCase):
    """The form of Rust's char::escape_debug."""

    def test_what_is_escaped(self) -> None:
        """Quotes, backslash, line ends, control characters, what joins with its neighbour."""
        table = {
            "plain ~ text": "plain ~ text",
            'a"d"\ta': 'a\\"d\\"\\ta',
            "it's": "it\\'s",
            "a\\b": "a\\\\b",
            "\r\n\0": "\\r\\n\\0",
            "\x1b[2J\x7f": "\\u{1b}[2J\\u{7f}",
            '时间\t"Time"': '时间\\t\\"Time\\"',
            "e\u0301": "e\\u{301}",
            "\u2028\u202e\x85": "\\u{2028}\\u{202e}\\u{85}",
            "\U0001f600": "\U0001f600",
            "\ud800": "\\u{d800}",
        }
        for text, escaped in table.items():
            self.assertEqual(escape(text), escaped)
            self.assertEqual(unescape(escaped), text)

    def test_brackets_for_structured_data(self) -> None:
        """Only there."""
        self.assertEqual((escape("[]"), escape_bracket("[]")), ("[]", "[\\]"))

    def test_long_text_is_cut_before_it_is_escaped(self) -> None:
        """So that no escape is torn, and the work is bounded."""
        self.assertEqual(escape("\n" * 100, 5), "\\n\\n...")
        self.assertEqual(escape("x" * 5, 5), "xxxxx")
        self.assertEqual(len(escape("x" * 10**6)), 16384)
