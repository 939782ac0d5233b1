# SPDX-License-Identifier: Apache-2.0
"""Any text as part of one line: what ends a line, a quote or a terminal's patience is written as an escape, and can be read back.

The form is that of Rust's C{char::escape_debug}: a backslash before quotes and backslash, C{\\n \\r \\t \\0}, C{\\u{hex}} for what does not print.
"""

from __future__ import annotations

import re
import unicodedata

#: A single value is cut here, in characters; a longer one ends in L{CUT_MARK}.
MAX_VALUE = 16384
CUT_MARK = "..."

_SPECIAL = re.compile(r"[^ !#-&(-\[\]-~]")
_SPECIAL_BRACKET = re.compile(r"[^ !#-&(-\[^-~]")
#: What nobody escapes as it is, all else as something else: C{translate} gives back the same object when nothing was to be changed. The micro
#: sign, which durations have, is of the first kind.
_AS_IT_IS = bytes(code if (32 <= code < 127 and chr(code) not in "\"'\\]") or code == 0xB5 else code ^ 1 for code in range(256))
_SHORT = {"\\": "\\\\", '"': '\\"', "'": "\\'", "\n": "\\n", "\r": "\\r", "\t": "\\t", "\0": "\\0", "]": "\\]"}
_ESCAPED = re.compile(r"\\(?:u\{([0-9a-f]{1,6})\}|(.))")
_LONG = {"n": "\n", "r": "\r", "t": "\t", "0": "\0"}


def cut(text: str, limit: int) -> str:
    """C{text}, at most C{limit} characters of it; that some are missing is seen."""
    return text if len(text) <= limit else text[: limit - len(CUT_MARK)] + CUT_MARK


def _escape(match: re.Match[str]) -> str:
    char = match.group()
    short = _SHORT.get(char)
    if short is not None:
        return short
    if char.isprintable() and not unicodedata.category(char).startswith("M"):
        return char
    return f"\\u{{{ord(char):x}}}"


def escape(text: str, limit: int = MAX_VALUE) -> str:
    """C{text} without line ends, control characters and bare quotes; first cut to C{limit} characters."""
    if len(text) > limit:
        text = cut(text, limit)
    return _SPECIAL.sub(_escape, text)


def escape_bracket(text: str, limit: int = MAX_VALUE) -> str:
    """The same, C{]} escaped too, as structured data needs it (RFC 5424 section 6.3.3)."""
    if len(text) > limit:
        text = cut(text, limit)
    return _SPECIAL_BRACKET.sub(_escape, text)


def plain(text: str, limit: int = MAX_VALUE) -> bool:
    """Whether L{escape} and L{escape_bracket} would leave C{text}, which may be several texts joined, as it is; False also where it is long, or
    not Latin."""
    try:
        whole = text.encode("latin-1")
    except UnicodeEncodeError:
        return False
    return len(whole) <= limit and whole.translate(_AS_IT_IS) is whole


def unescape(text: str) -> str:
    """What L{escape} was given."""

    def meant(match: re.Match[str]) -> str:
        code, char = match.groups()
        return chr(int(code, 16)) if code else _LONG.get(char, char)

    return _ESCAPED.sub(meant, text)
