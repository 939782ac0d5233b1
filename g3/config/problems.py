# SPDX-License-Identifier: Apache-2.0
"""Problems of a configuration: where, what, and what was probably meant. They are collected, never raised one by one."""

from __future__ import annotations

import difflib
import enum
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from g3.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

#: Kept of each severity; further ones are only counted.
MAX_PROBLEMS = 500

#: A message longer than this is cut: a value of a megabyte must not become a report of a megabyte.
MAX_MESSAGE = 500

_WINDOW = 120
_LINE_BREAK = re.compile("\r\n|[\n\r\x85\u2028\u2029]")


class Severity(enum.Enum):
    """How bad it is. Only an error refuses the configuration."""

    ERROR = "error"
    WARNING = "warning"


class Located(Protocol):
    """Anything with a place in a file: a L{Place}, a node of a document."""

    @property
    def file(self) -> str: ...

    @property
    def line(self) -> int: ...

    @property
    def column(self) -> int: ...


@dataclass(frozen=True, slots=True)
class Place:
    """A place in a file. Line and column count from 1; line 0 is the file as a whole."""

    file: str
    line: int = 0
    column: int = 0

    def __str__(self) -> str:
        return f"{self.file}:{self.line}:{self.column}" if self.line else self.file


def place_of(where: Located) -> Place:
    """The place of anything that has one."""
    return where if isinstance(where, Place) else Place(where.file, where.line, where.column)


@dataclass(frozen=True, slots=True)
class Problem:
    """One thing that is wrong, printable as C{file:line:col: what}; C{source} is the offending line."""

    severity: Severity
    place: Place
    message: str
    source: str = ""

    def __str__(self) -> str:
        mark = "warning: " if self.severity is Severity.WARNING else ""
        return f"{self.place}: {mark}{self.message}"


class Problems:
    """Collects problems. Reporting never raises; the same message at the same place is kept once."""

    __slots__ = ("_lines", "_seen", "_texts", "error_count", "errors", "warning_count", "warnings")

    def __init__(self) -> None:
        self.errors: list[Problem] = []
        self.warnings: list[Problem] = []
        self.error_count = 0
        self.warning_count = 0
        self._seen: set[tuple[Place, str]] = set()
        self._texts: dict[str, str] = {}
        self._lines: dict[str, list[str]] = {}

    def __iter__(self) -> Iterator[Problem]:
        return iter(sorted((*self.errors, *self.warnings), key=_order))

    def __len__(self) -> int:
        return self.error_count + self.warning_count

    def error(self, where: Located, message: str) -> None:
        """Note what makes the configuration unusable."""
        if self._is_new(where, message):
            self.error_count += 1
            if len(self.errors) < MAX_PROBLEMS:
                self.errors.append(self._problem(Severity.ERROR, where, message))

    def warn(self, where: Located, message: str) -> None:
        """Note what works, but hardly as meant."""
        if self._is_new(where, message):
            self.warning_count += 1
            if len(self.warnings) < MAX_PROBLEMS:
                self.warnings.append(self._problem(Severity.WARNING, where, message))

    def add_source(self, file: str, text: str) -> None:
        """Remember the text of a file, so that problems in it can show their line."""
        self._texts[file] = text
        self._lines.pop(file, None)

    def raise_errors(self) -> None:
        """@raise ConfigError: there is an error; it carries all of them."""
        if self.error_count:
            raise ConfigError(self.errors)

    def _is_new(self, where: Located, message: str) -> bool:
        seen = (place_of(where), message[:MAX_MESSAGE])
        if seen in self._seen:
            return False
        if len(self._seen) < 4 * MAX_PROBLEMS:
            self._seen.add(seen)
        return True

    def _problem(self, severity: Severity, where: Located, message: str) -> Problem:
        place = place_of(where)
        return Problem(severity, place, shorten(printable(message), MAX_MESSAGE), self._line(place))

    def _line(self, place: Place) -> str:
        text = self._texts.get(place.file)
        if text is None or not place.line:
            return ""
        lines = self._lines.get(place.file)
        if lines is None:
            lines = self._lines[place.file] = _LINE_BREAK.split(text)
        return lines[place.line - 1] if place.line <= len(lines) else ""


def _order(problem: Problem) -> tuple[str, int, int]:
    return problem.place.file, problem.place.line, problem.place.column


def printable(text: str) -> str:
    """The text on one line with control characters, lone surrogates and the like escaped."""
    if text.isprintable():
        return text
    return "".join(char if char.isprintable() else char.encode("unicode_escape", "surrogatepass").decode("ascii") for char in text)


def shorten(text: str, limit: int) -> str:
    """The text, cut to C{limit} characters with an ellipsis."""
    return text if len(text) <= limit else text[: limit - 3] + "..."


def quote(value: object, limit: int = 80) -> str:
    """A value as a message shows it: in double quotes, on one line, cut."""
    return f'"{shorten(printable(str(value)), limit)}"'


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """The tail of a message about an unknown word: C{'; did you mean "x"?'}, or nothing when no known word is near."""
    if len(word) > 100:
        return ""
    near = difflib.get_close_matches(word.lower().replace("-", "_"), list(known), n=1, cutoff=0.6)
    return f'; did you mean "{near[0]}"?' if near else ""


def excerpt(problem: Problem) -> list[str]:
    """The offending line and a caret under the column, as two lines; nothing when the line is not known or blank."""
    source, column = problem.source, max(problem.place.column, 1)
    if not source.strip():
        return []
    start = max(0, column - 1 - _WINDOW // 2) if len(source) > _WINDOW else 0
    shown = source[start : start + _WINDOW]
    pad = "".join("\t" if char == "\t" else " " for char in shown[: column - 1 - start])
    body = "".join(char if char == "\t" else printable(char) for char in shown)
    return [f"    {body}", f"    {pad}^"]


def format_report(problems: Problems) -> str:
    """All problems for a terminal, sorted by place, each with its line and caret; a last line counts them. Empty when all is well."""
    if not len(problems):
        return ""
    lines: list[str] = []
    for problem in problems:
        lines.append(str(problem))
        lines.extend(excerpt(problem))
    lines.append(_summary(problems))
    return "\n".join(lines) + "\n"


def _summary(problems: Problems) -> str:
    parts = [_count(problems.error_count, "error"), _count(problems.warning_count, "warning")]
    hidden = len(problems) - len(problems.errors) - len(problems.warnings)
    return ", ".join(part for part in parts if part) + (f" ({hidden} not shown)" if hidden else "")


def _count(number: int, word: str) -> str:
    return f"{number} {word}{'s' if number != 1 else ''}" if number else ""
