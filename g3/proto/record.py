# SPDX-License-Identifier: Apache-2.0
"""Log records as named values, and the quick way to write those whose names are known before: one template for all of the same names and types."""

from __future__ import annotations

from operator import itemgetter
from typing import TYPE_CHECKING, Any

from g3.proto.escape import plain

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from typing import TypeAlias

    Value = str | int | float | bool | None
    #: Pairs of name and value; None is left out of the record.
    Fields: TypeAlias = "Sequence[tuple[str, Value]] | Filled"
    #: How a format writes a pair: of a name, and the type of its value, with C{%s} in the place of the value.
    Pair = Callable[[str, type], str]

#: Templates that a format keeps. Which values of a record are missing makes another template, and a client has some say in that.
MAX_TEMPLATES = 512


class Layout:
    """The names of a kind of record, in their order. No name has a percent sign.

    @ivar safe: names whose texts never have anything to be escaped, since the suite makes them itself: ASCII and the micro sign, and short.
    """

    __slots__ = ("names", "safe")

    def __init__(self, names: str, safe: str = "") -> None:
        """Of names with spaces between them."""
        self.names = tuple(names.split())
        self.safe = frozenset(safe.split())


class Filled:
    """The values of one record by a layout: pairs like any other, which a format may also write by a template."""

    __slots__ = ("layout", "values")

    def __init__(self, layout: Layout, values: tuple[Value, ...]) -> None:
        self.layout = layout
        self.values = values

    def __iter__(self) -> Iterator[tuple[str, Value]]:
        return zip(self.layout.names, self.values, strict=True)


class _Template:
    """A text with C{%s} for each value that C{known} picks. C{texts} picks those that must be looked at, C{flags} are the places of truth values."""

    __slots__ = ("flags", "known", "text", "texts")

    def __init__(self, text: str, known: list[int], texts: list[int], flags: list[int]) -> None:
        self.text = text
        self.known: Callable[[Sequence[Value]], tuple[Value, ...]] = itemgetter(*known)
        self.texts: Callable[[Sequence[Value]], tuple[Any, ...]] = itemgetter(*texts)
        self.flags = flags


class Templates:
    """The templates of one format.

    @param ordered: pairs stand in the order of their names, among them C{constants}, pairs that are the same in each record.
    """

    def __init__(self, pair: Pair, *, ordered: bool = False, constants: Sequence[tuple[str, str]] = ()) -> None:
        self._pair = pair
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
        if template is None or not plain((message, *template.texts(values)), limit):
            return None
        if template.flags:
            values = list(values)
            for place in template.flags:
                values[place] = "true" if values[place] else "false"
        # what is plain has no other character beyond ASCII than the micro sign, and this is the quickest way to its UTF-8
        return (template.text % template.known(values)).encode("latin-1").replace(b"\xb5", b"\xc2\xb5")

    def _make(self, key: tuple[Any, ...]) -> _Template | None:
        if len(self._ready) >= MAX_TEMPLATES:
            self._ready.clear()
        made = self._ready[key] = self._template(key[0], key[1:])
        return made

    def _template(self, layout: Layout, types: tuple[type, ...]) -> _Template | None:
        names = layout.names
        known = [place for place, found in enumerate(types) if found is not type(None)]
        texts = [place for place in known if types[place] is str and names[place] not in layout.safe]
        if len(texts) < 2 or not all(types[place] in (str, int, bool) for place in known):  # a getter of one gives no tuple
            return None
        pairs = [(names[place], self._pair(names[place], types[place]), place) for place in known]
        if self._ordered:
            pairs = sorted([*pairs, *((name, text.replace("%", "%%"), -1) for name, text in self._constants)], key=itemgetter(0))
        text = "".join([text for _, text, _ in pairs])
        if not text.isascii():
            return None
        return _Template(text, [place for *_, place in pairs if place >= 0], texts, [place for place in known if types[place] is bool])
