# SPDX-License-Identifier: Apache-2.0
"""Any text as part of one line: what ends a line, a quote or a terminal's patience is written as an escape, and can be read back.

The form is that of Rust's C{char::escape_debug}: a backslash before quotes and backslash, C{\\n \\r \\t \\0}, C{\\u{hex}} for what does not print.
"""

from __future__ import annotations

import re
import unicodedata
from functools import lru_cache

#: A single value is cut here, in characters; a longer one ends in L{CUT_MARK}.
MAX_VALUE = 16384
CUT_MARK = "..."

_SPECIAL = re.compile(r"[^ !#-&(-\[\]-~]")
_SPECIAL_BRACKET = re.compile(r"[^ !#-&(-\[^-~]")
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


def plain_table(frame: str) -> bytes:
    """For C{bytes.translate}, which gives back the same object when nothing is changed: a text in Latin-1 stays as it is when L{escape} and
    L{escape_bracket} would change nothing but C{frame}. The micro sign, which durations have, is none that they change."""
    stay = {*map(chr, range(32, 127)), "\xb5", frame} - ({*"\"'\\]"} - {frame})
    return bytes(code if chr(code) in stay else code ^ 1 for code in range(256))


_PLAIN = plain_table("")


@lru_cache(maxsize=256)
def plain(text: str) -> bool:
    """Whether L{escape} and L{escape_bracket} would leave C{text}, which should not be long, as it is; False also where it is not Latin."""
    try:
        whole = text.encode("latin-1")
    except UnicodeEncodeError:
        return False
    return whole.translate(_PLAIN) is whole


def unescape(text: str) -> str:
    """What L{escape} was given."""

    def meant(match: re.Match[str]) -> str:
        code, char = match.groups()
        return chr(int(code, 16)) if code else _LONG.get(char, char)

    return _ESCAPED.sub(meant, text)
