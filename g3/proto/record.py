# SPDX-License-Identifier: Apache-2.0
"""Log records as named values, and the quick way to write those whose names are known before: one template for all of the same names and types."""

from __future__ import annotations

from operator import itemgetter
from typing import TYPE_CHECKING, Any

from g3.proto.escape import plain, plain_table

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from typing import TypeAlias

    Value = str | int | float | bool | None
    #: Pairs of name and value; None is left out of the record.
    Fields: TypeAlias = "Sequence[tuple[str, Value]] | Filled"
    #: How a format writes a pair: of a name, and the type of its value, with C{%s} in the place of the value.
    Pair = Callable[[str, type], str]

#: A message may be this long.
MAX_MESSAGE = 256
#: Templates that a format keeps. Which values of a record are missing makes another template, and a client has some say in that.
MAX_TEMPLATES = 512


class Layout:
    """The names of a kind of record, in their order. No name has a percent sign."""

    __slots__ = ("names",)

    def __init__(self, names: str) -> None:
        """@param names: with spaces between them."""
        self.names = tuple(names.split())


class Filled:
    """The values of one record by a layout: pairs like any other, which a format may also write by a template."""

    __slots__ = ("layout", "values")

    def __init__(self, layout: Layout, values: tuple[Value, ...]) -> None:
        self.layout = layout
        self.values = values

    def __iter__(self) -> Iterator[tuple[str, Value]]:
        return zip(self.layout.names, self.values, strict=True)


class _Template:
    """A text with C{%s} for each value that C{known} picks, and the format's frame so many times. C{flags} are the places of truth values."""

    __slots__ = ("flags", "frames", "known", "text")

    def __init__(self, text: str, frames: int, known: list[int], flags: list[int]) -> None:
        self.text = text
        self.frames = frames
        self.known: Callable[[Sequence[Value]], tuple[Value, ...]] = itemgetter(*known)
        self.flags = flags


class Templates:
    """The templates of one format.

    @param frame: the one character between pairs or around values that would be escaped in a value; C{ordered}: pairs stand in the order of
        their names, among them C{constants}, pairs that are the same in each record.
    """

    def __init__(self, pair: Pair, *, frame: str = '"', ordered: bool = False, constants: Sequence[tuple[str, str]] = ()) -> None:
        self._pair = pair
        self._frame = frame.encode("ascii")
        self._plain = plain_table(frame)
        self._ordered = ordered
        self._constants = constants
        self._ready: dict[tuple[Any, ...], _Template | None] = {}

    def fill(self, fields: Fields, message: str, limit: int) -> bytes | None:
        """All pairs of a record. None where they must be written one by one, for a text among them, or C{message}, is to be escaped or is
        long, or they have no layout."""
        if type(fields) is not Filled:
            return None
        values: Sequence[Value] = fields.values
        key = (fields.layout, *map(type, values))
        try:
            template = self._ready[key]
        except KeyError:
            template = self._make(key)
        if template is None:
            return None
        if template.flags:
            values = list(values)
            for place in template.flags:
                values[place] = "true" if values[place] else "false"
        try:
            made = (template.text % template.known(values)).encode("latin-1")
        except UnicodeEncodeError:
            return None
        if made.translate(self._plain) is not made or made.count(self._frame) != template.frames:
            return None
        if len(made) + len(message) > limit or not (len(message) <= MAX_MESSAGE and plain(message)):
            return None
        # what is plain has no other character beyond ASCII than the micro sign, and this is the quickest way to its UTF-8
        return made.replace(b"\xb5", b"\xc2\xb5")

    def _make(self, key: tuple[Any, ...]) -> _Template | None:
        if len(self._ready) >= MAX_TEMPLATES:
            self._ready.clear()
        made = self._ready[key] = self._template(key[0].names, key[1:])
        return made

    def _template(self, names: tuple[str, ...], types: tuple[type, ...]) -> _Template | None:
        known = [place for place, found in enumerate(types) if found is not type(None)]
        if len(known) < 2 or not all(types[place] in (str, int, bool) for place in known):  # a getter of one gives no tuple
            return None
        pairs = [(names[place], self._pair(names[place], types[place]), place) for place in known]
        if self._ordered:
            pairs = sorted([*pairs, *((name, text.replace("%", "%%"), -1) for name, text in self._constants)], key=itemgetter(0))
        text = "".join([text for _, text, _ in pairs])
        if not text.isascii():
            return None
        flags = [place for place in known if types[place] is bool]
        return _Template(text, text.count(self._frame.decode()), [place for *_, place in pairs if place >= 0], flags)
