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
    #: How a format writes a pair: of a name, and the type of its value, with C{%s} in the place of the value; empty where it does not.
    Pair = Callable[[str, type], str]
    #: Values, message and limit to the text of all pairs; None as of L{Templates.fill}.
    _Write = Callable[[tuple[Any, ...], str, int], str | None]

#: Templates that a format keeps. Which values of a record are missing makes another template, and a client has some say in that.
MAX_TEMPLATES = 512


class Layout:
    """The names of a kind of record, in their order. No name has a percent sign.

    @ivar safe: names whose texts never have anything to be escaped, since the suite makes them itself: ASCII and the micro sign, and short.
    """

    __slots__ = ("flat", "names", "parts", "places", "safe")

    names: tuple[str, ...]
    places: tuple[str | Layout, ...]

    def __init__(self, *pieces: str | Layout, safe: str = "") -> None:
        """Of names with spaces between them, and of layouts in whose place a L{Part} will stand; those have no parts."""
        places: list[str | Layout] = []
        for piece in pieces:
            places += [piece] if isinstance(piece, Layout) else piece.split()
        self.places = tuple(places)
        self.names = tuple([name for place in places for name in ((place,) if isinstance(place, str) else place.names)])
        self.safe = frozenset(safe.split())
        #: Where parts stand, the last first.
        self.parts = tuple([place for place, piece in enumerate(places) if isinstance(piece, Layout)][::-1])
        #: The same without parts.
        self.flat = Layout(*self.names, safe=safe) if self.parts else self


class Filled:
    """The values of one record by a layout: pairs like any other, which a format may also write by a template."""

    __slots__ = ("layout", "values")

    def __init__(self, layout: Layout, values: tuple[Value | Part, ...]) -> None:
        self.layout = layout
        self.values = values

    def flat(self) -> list[Any]:
        """The values, those of parts among them."""
        values: list[Any] = list(self.values)
        for place in self.layout.parts:
            values[place : place + 1] = values[place].values
        return values

    def __iter__(self) -> Iterator[tuple[str, Value]]:
        return zip(self.layout.names, self.flat(), strict=True)


class Part(Filled):
    """Values that several records have in the same place, written once: C{ready} is by whom, and how."""

    __slots__ = ("ready",)

    def __init__(self, layout: Layout, values: tuple[Value, ...]) -> None:
        self.layout = layout  # super() is slow
        self.values = values
        self.ready: tuple[Templates | None, str | None] = (None, None)


def _quoted(text: str) -> str:
    """ASCII text as it stands in an f-string, whatever is in it."""
    return "".join([char if char.isalnum() else f"\\x{ord(char):02x}" for char in text])


class Templates:
    """The templates of one format: functions that write the values of a record, one for all records with the same names and types of values.

    @param ordered: pairs stand in the order of their names, among them C{constants}, pairs that are the same in each record.
    """

    def __init__(self, pair: Pair, *, ordered: bool = False, constants: Sequence[tuple[str, str]] = ()) -> None:
        self._pair = pair
        self._ordered = ordered
        self._constants = constants
        self._ready: dict[tuple[Any, ...], _Write | None] = {}

    def fill(self, fields: Fields, message: str, limit: int) -> bytes | None:
        """All pairs of a record. None where they must be written one by one, for a text among them, or C{message}, is to be escaped or is
        long, or they have no layout."""
        if not isinstance(fields, Filled):
            return None
        layout, values = fields.layout, fields.values
        if self._ordered and layout.parts:
            layout, values = layout.flat, tuple(fields.flat())
        text = self._text(layout, values, message, limit)
        # what is plain has no other character beyond ASCII than the micro sign, and this is the quickest way to its UTF-8
        return None if text is None else text.encode("latin-1").replace(b"\xb5", b"\xc2\xb5")

    def _text(self, layout: Layout, values: tuple[Any, ...], message: str, limit: int) -> str | None:
        key = (layout, *map(type, values))
        try:
            write = self._ready[key]
        except KeyError:
            write = self._make(key)
        return None if write is None else write(values, message, limit)

    def _part(self, part: Part, limit: int) -> str | None:
        """What stands in the place of a part; None as of L{fill}."""
        owner, text = part.ready
        if owner is not self:
            text = self._text(part.layout, part.values, "", MAX_VALUE)
            part.ready = self, text
        return text if limit >= MAX_VALUE else None

    def _make(self, key: tuple[Any, ...]) -> _Write | None:
        if len(self._ready) >= MAX_TEMPLATES:
            self._ready.clear()
        made = self._ready[key] = self._template(key[0], key[1:])
        return made

    def _template(self, layout: Layout, types: tuple[type, ...]) -> _Write | None:
        names = layout.places
        known = [place for place, found in enumerate(types) if found is not type(None)]
        pairs = [(str(names[place]), "%s" if types[place] is Part else self._pair(str(names[place]), types[place]), place) for place in known]
        if self._ordered:
            pairs = sorted([*pairs, *((name, text, -1) for name, text in self._constants)], key=itemgetter(0))
        if not known or not all(types[place] in (str, int, bool, Part) for place in known) or not all(text.isascii() for _, text, _ in pairs):
            return None
        return self._compiled(pairs, types, [place for place in known if types[place] is str and names[place] not in layout.safe])

    def _compiled(self, pairs: list[tuple[str, str, int]], types: tuple[type, ...], texts: list[int]) -> _Write:
        """A function around an f-string, which takes half of what C{%} does.

        @param texts: places of the texts that must be looked at.
        """
        body = ""
        for _, text, place in pairs:
            head, mark, tail = text.partition("%s") if place >= 0 else (text, "", "")
            body += _quoted(head) + (f"{{v{place}}}" if mark else "") + _quoted(tail)
        looked = "".join([f"{{v{place}}}" for place in texts])
        lines = [
            "def write(values, message, limit):",
            f" {', '.join([f'v{place}' for place in range(len(types))])}, = values",
            f' if not plain(f"{{message}}{looked}", limit): return None' if texts else " if message and not plain(message, limit): return None",
        ]
        for place, found in enumerate(types):
            if found is bool:
                lines.append(f' v{place} = "true" if v{place} else "false"')
            elif found is Part:
                lines += [f" v{place} = part(v{place}, limit)", f" if v{place} is None: return None"]
        lines.append(f' return f"{body}"')
        known: dict[str, Any] = {"part": self._part, "plain": plain}
        exec("\n".join(lines), known)
        return known["write"]  # type: ignore[no-any-return]
