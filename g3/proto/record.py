# SPDX-License-Identifier: Apache-2.0
"""Log records as named values, and the quick way to write those whose names are known before: one template for all of the same names and types."""

from __future__ import annotations

from operator import itemgetter
from typing import TYPE_CHECKING, Any

from g3.proto.escape import MAX_VALUE, plain

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

    __slots__ = ("flat", "names", "places", "safe")

    names: tuple[str, ...]
    places: tuple[str | Layout, ...]

    def __init__(self, *pieces: str | Layout, safe: str = "") -> None:
        """Of names with spaces between them, and of layouts in whose place a L{Part} will stand."""
        places: list[str | Layout] = []
        for piece in pieces:
            places += [piece] if isinstance(piece, Layout) else piece.split()
        self.places = tuple(places)
        self.names = tuple([name for place in places for name in ((place,) if isinstance(place, str) else place.names)])
        self.safe = frozenset(safe.split())
        #: The same without parts.
        self.flat = self if self.places == self.names else Layout(*self.names, safe=safe)


class Filled:
    """The values of one record by a layout: pairs like any other, which a format may also write by a template."""

    __slots__ = ("layout", "values")

    def __init__(self, layout: Layout, values: tuple[Value | Part, ...]) -> None:
        self.layout = layout
        self.values = values

    def flat(self) -> list[Value]:
        """The values, those of parts among them."""
        return [value for place in self.values for value in (place.flat() if isinstance(place, Part) else (place,))]

    def __iter__(self) -> Iterator[tuple[str, Value]]:
        return zip(self.layout.names, self.flat(), strict=True)


class Part(Filled):
    """Values that several records have in the same place, written once: C{ready} is by whom, and how."""

    __slots__ = ("ready",)

    def __init__(self, layout: Layout, values: tuple[Value | Part, ...]) -> None:
        super().__init__(layout, values)
        self.ready: tuple[Templates | None, str | None] = (None, None)


class _Template:
    """A text with C{%s} for each value that C{known} picks. C{texts} picks those that must be looked at, C{odd} are the places of truth values and
    parts."""

    __slots__ = ("known", "odd", "text", "texts")

    def __init__(self, text: str, known: list[int], texts: list[int], odd: list[int]) -> None:
        self.text = text
        self.known: Callable[[Sequence[Value | Part]], tuple[Value, ...]] = itemgetter(*known)
        self.texts: Callable[[Sequence[Value | Part]], tuple[Any, ...]] = itemgetter(*texts)
        self.odd = odd


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
        if not isinstance(fields, Filled):
            return None
        layout, values = fields.layout, fields.values
        if self._ordered and layout.flat is not layout:
            layout, values = layout.flat, tuple(fields.flat())
        key = (layout, *map(type, values))
        try:
            template = self._ready[key]
        except KeyError:
            template = self._make(key)
        if template is None or not plain((message, *template.texts(values)), limit):
            return None
        if template.odd:
            written = list(values)
            for place in template.odd:
                value = written[place]
                if type(value) is Part:
                    text = self._part(value)
                    if text is None or limit < MAX_VALUE:
                        return None
                    written[place] = text
                else:
                    written[place] = "true" if value else "false"
            values = tuple(written)
        # what is plain has no other character beyond ASCII than the micro sign, and this is the quickest way to its UTF-8
        return (template.text % template.known(values)).encode("latin-1").replace(b"\xb5", b"\xc2\xb5")

    def _part(self, part: Part) -> str | None:
        owner, text = part.ready
        if owner is not self:
            made = self.fill(part, "", MAX_VALUE)
            text = None if made is None else made.decode()
            part.ready = self, text
        return text

    def _make(self, key: tuple[Any, ...]) -> _Template | None:
        if len(self._ready) >= MAX_TEMPLATES:
            self._ready.clear()
        made = self._ready[key] = self._template(key[0], key[1:])
        return made

    def _template(self, layout: Layout, types: tuple[type, ...]) -> _Template | None:
        names = layout.places
        known = [place for place, found in enumerate(types) if found is not type(None)]
        texts = [place for place in known if types[place] is str and names[place] not in layout.safe]
        if len(texts) < 2 or not all(types[place] in (str, int, bool, Part) for place in known):  # a getter of one gives no tuple
            return None
        pairs = [(str(names[place]), "%s" if types[place] is Part else self._pair(str(names[place]), types[place]), place) for place in known]
        if self._ordered:
            pairs = sorted([*pairs, *((name, text.replace("%", "%%"), -1) for name, text in self._constants)], key=itemgetter(0))
        text = "".join([text for _, text, _ in pairs])
        if not text.isascii():
            return None
        odd = [place for place in known if types[place] in (bool, Part)]
        return _Template(text, [place for *_, place in pairs if place >= 0], texts, odd)
