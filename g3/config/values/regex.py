# SPDX-License-Identifier: Apache-2.0
"""Regular expressions, written for upstream's engine (the syntax of Rust's regex crate) and compiled for Python's.

Upstream's engine takes linear time; Python's backtracks. A pattern that repeats nothing but a repetition, C{(a+)+}, takes exponential time
on hostile input, and gets a warning.
"""

from __future__ import annotations

import re
import warnings
from typing import TYPE_CHECKING, Any

# The parser of the standard library is the only thing that knows for certain what a pattern repeats.
from re import _constants, _parser  # type: ignore[attr-defined]  # isort: skip

from g3.config.problems import quote
from g3.config.value import Value, ValueProblem
from g3.config.values.basic import only_string

if TYPE_CHECKING:
    from g3.config.document import Node
    from g3.config.value import ParseContext

MAX_PATTERN = 4096

#: A repetition that may run this often counts as unbounded.
_OFTEN = 16

_POSIX = {
    "alnum": "0-9A-Za-z",
    "alpha": "A-Za-z",
    "ascii": r"\x00-\x7f",
    "blank": r"\t ",
    "cntrl": r"\x00-\x1f\x7f",
    "digit": "0-9",
    "graph": "!-~",
    "lower": "a-z",
    "print": " -~",
    "punct": r"!-/:-@\[-`{-~",
    "space": r"\t\n\v\f\r ",
    "upper": "A-Z",
    "word": "0-9A-Za-z_",
    "xdigit": "0-9A-Fa-f",
}
_TOKEN = re.compile(r"\\(?:[xuU]\{[0-9A-Fa-f]{1,6}\}|z|.)|\[:(\w+):\]|\$|.", re.DOTALL)
_REPEATS = {_constants.MAX_REPEAT, _constants.MIN_REPEAT}


def translate(pattern: str) -> str:
    """The pattern in Python's syntax, where the two differ: C{\\z}, C{\\x{..}}, C{$}, POSIX classes."""
    multi_line = re.match(r"\(\?[a-zA-Z]*m", pattern) is not None

    def token(match: re.Match[str]) -> str:
        text = match[0]
        if match[1]:
            return _POSIX.get(match[1], text)
        if text == "\\z" or (text == "$" and not multi_line and not _in_class(pattern, match.start())):
            return "\\Z"
        if text[:2] in ("\\x", "\\u", "\\U") and text[2:3] == "{":
            return f"\\U{int(text[3:-1], 16):08x}"
        return text

    return _TOKEN.sub(token, pattern)


def _in_class(pattern: str, offset: int) -> bool:
    inside = False
    for match in _TOKEN.finditer(pattern, 0, offset):
        if match[0] == "[" or match[0] == "]":
            inside = match[0] == "["
    return inside


def compile_regex(pattern: str) -> re.Pattern[str]:
    """The compiled pattern.

    @raise ValueError: it is not one; the message says why.
    """
    if len(pattern) > MAX_PATTERN:
        raise ValueError(f"a regular expression must have at most {MAX_PATTERN} characters")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return re.compile(translate(pattern))
    except (re.error, OverflowError, RecursionError, ValueError) as error:
        raise ValueError(f"{quote(pattern)} is not a regular expression: {error}") from None


def explosive(pattern: str) -> bool:
    """Whether a valid pattern repeats something that is nothing but a repetition itself, so that a text can be split in exponentially many ways."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return _explosive(_parser.parse(translate(pattern)))


def _explosive(parsed: Any) -> bool:
    for operator, argument in parsed:
        if operator in _REPEATS and argument[1] > _OFTEN and _only_repeats(argument[2]):
            return True
        if any(_explosive(part) for part in _parts(argument)):
            return True
    return False


def _only_repeats(parsed: Any) -> bool:
    """Whether one way through a sub-pattern is a single repetition of varying length."""
    if len(parsed) != 1:
        return False
    operator, argument = parsed[0]
    if operator in _REPEATS:
        return bool(argument[1] > _OFTEN and argument[0] != argument[1])
    return operator in (_constants.SUBPATTERN, _constants.BRANCH) and any(_only_repeats(part) for part in _parts(argument))


def _parts(argument: Any) -> list[Any]:
    """The sub-patterns of a parsed operator's argument."""
    if isinstance(argument, _parser.SubPattern):
        return [argument]
    if isinstance(argument, (tuple, list)):
        return [part for item in argument for part in _parts(item)]
    return []


class Regex(Value["re.Pattern[str]"]):
    """A regular expression, to be used with C{search}."""

    type_name = "regular expression"

    def parse(self, node: Node, context: ParseContext) -> re.Pattern[str]:
        pattern = only_string(node, "regular expression")
        try:
            compiled = compile_regex(pattern)
        except ValueError as error:
            raise ValueProblem(node, str(error)) from None
        if explosive(pattern):
            context.problems.warn(node, f"{quote(pattern)} repeats a repetition, which takes exponential time on some texts")
        return compiled

    def json_schema(self) -> dict[str, Any]:
        return {"type": "string"}

    def dump(self, value: re.Pattern[str]) -> Any:
        return value.pattern
