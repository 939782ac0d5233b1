# SPDX-License-Identifier: Apache-2.0
"""Statistics in shared memory: what a worker has counted is still there when it is not.

A slot's ledger has a line for each statistics object of its worker, found by what the object is of. The replacement of a dead worker finds
the lines and counts on from there; its gauges begin at zero. Beside each value stands what of it was sent to statsd, so that nothing is
sent twice and nothing is left out.

An object in the ledger is a ctypes structure with the methods of its plain class: adding to an attribute costs 50 ns more than to a slot
(measured: 78 against 26), and no other process ever sees half a value.
"""

from __future__ import annotations

import ctypes
import hashlib
import mmap
import struct
from typing import TYPE_CHECKING, Any, Final

from twisted.logger import Logger
from zope.interface import classImplements, implementedBy

from g3.metrics.stats import Stats

if TYPE_CHECKING:
    from collections.abc import Iterator

    from g3.metrics.sample import Tags

log = Logger()

#: Lines of a ledger, and bytes of a line. Before the first is a page that says how many were ever used: what is behind them is not even looked at,
#: so that it takes no memory.
LINES: Final = 1024
LINE: Final = 1024
_FIRST: Final = mmap.PAGESIZE
SIZE: Final = _FIRST + LINES * LINE
_EVER_USED: Final = struct.Struct("=Q")
#: Digest of the key, number of counters, number of values.
_HEAD: Final = struct.Struct("=32sQQ")
_CELL: Final = 8
MOST_VALUES: Final = (LINE - _HEAD.size) // (2 * _CELL)

#: kind, name and type of a node, and what of it.
Key = tuple[str, str, str, str]

_classes: dict[type[Stats], type[Any]] = {}


def fields_of(cls: type[Stats]) -> tuple[list[str], int]:
    """The attributes of a statistics class in the order of its line, counters first; how many are counters."""
    counters = list(dict.fromkeys(row[0] for row in cls.counters))
    gauges = [name for name in dict.fromkeys(row[0] for row in cls.gauges + cls.quiet_gauges) if name not in counters]
    return counters + gauges, len(counters)


def _digest(key: Key, cls: type[Stats]) -> bytes:
    names, _ = fields_of(cls)
    return hashlib.sha256("\0".join((*key, *names)).encode("utf-8", "surrogatepass")).digest()


class Sent:
    """What was sent of each series: a mapping for the exporter, kept in the line."""

    def __init__(self, stats: Any, cells: Any, names: list[str]) -> None:
        self._stats = stats
        self._cells = cells
        self._index = {name: index for index, name in enumerate(names)}
        self._series: dict[tuple[str, Tags], int] = {}

    def _cell(self, key: tuple[str, Tags]) -> int | None:
        index = self._series.get(key)
        if index is None:
            rows = self._stats._rows
            tables = self._stats.counters + self._stats.gauges + self._stats.quiet_gauges
            self._series = {(name, rows[attribute + name]): self._index[attribute] for attribute, name, _ in tables}
            index = self._series.get(key)
        return index

    def get(self, key: tuple[str, Tags], default: float) -> float:
        """What was sent of a series."""
        index = self._cell(key)
        return default if index is None else self._cells[index]

    def __setitem__(self, key: tuple[str, Tags], value: float) -> None:
        index = self._cell(key)
        if index is not None:
            self._cells[index] = int(value)


def _shared_class(cls: type[Stats]) -> type[Any]:
    """A structure with the attributes and methods of a statistics class."""
    made: Any = _classes.get(cls)
    if made is None:
        names, _ = fields_of(cls)
        skipped = {"__slots__", "__init__", "__dict__", "__weakref__", "__provides__", "__implemented__", "__providedBy__", *_slots(cls)}
        namespace = {name: value for base in reversed(cls.__mro__[:-1]) for name, value in vars(base).items() if name not in skipped}
        namespace["_fields_"] = [(name, ctypes.c_int64) for name in names]
        metaclass: Any = type(ctypes.Structure)
        made = _classes[cls] = metaclass(cls.__name__, (ctypes.Structure,), namespace)
        implement: Any = classImplements
        implement(made, *implementedBy(cls))  # type: ignore[no-untyped-call]
    shared: type[Any] = made
    return shared


def _slots(cls: type) -> Iterator[str]:
    for base in cls.__mro__:
        slots = base.__dict__.get("__slots__", ())
        yield from [slots] if isinstance(slots, str) else slots


class Ledger:
    """The lines of one slot. One process writes.

    @param start: where in the mapping it begins.
    """

    def __init__(self, mapping: mmap.mmap, start: int) -> None:
        self._map = mapping
        self._start = start
        self._ever_used: int = _EVER_USED.unpack_from(mapping, start)[0]
        self._lines: dict[bytes, int] = {}
        self._free: list[int] = []
        for line in range(self._ever_used):
            digest, _, values = self._head(line)
            if values:
                self._lines[digest] = line
            else:
                self._free.append(line)
        self._told = False

    def _at(self, line: int) -> int:
        return self._start + _FIRST + line * LINE

    def _head(self, line: int) -> tuple[bytes, int, int]:
        digest, counters, values = _HEAD.unpack_from(self._map, self._at(line))
        return digest, counters, values

    def _values(self, line: int) -> int:
        return self._at(line) + _HEAD.size

    def share(self, key: Key, plain: object) -> object:
        """The object that counts in the line of C{key} in place of C{plain}; C{plain} itself when it has no such counters, or no line is free."""
        if not isinstance(plain, Stats):
            return plain
        cls = type(plain)
        names, counters = fields_of(cls)
        line = self._line(_digest(key, cls), counters, len(names))
        if line is None:
            return plain
        at = self._values(line)
        shared: Any = _shared_class(cls).from_buffer(self._map, at)
        for slot in _slots(cls):
            if slot not in names and hasattr(plain, slot):
                setattr(shared, slot, getattr(plain, slot))
        shared.sent = Sent(shared, (ctypes.c_int64 * len(names)).from_buffer(self._map, at + _CELL * len(names)), names)
        return shared

    def _line(self, digest: bytes, counters: int, values: int) -> int | None:
        line = self._lines.get(digest)
        if line is None and 0 < values <= MOST_VALUES and (line := self._unused()) is not None:
            self._lines[digest] = line
            self._map[self._at(line) : self._at(line + 1)] = bytes(LINE)
            _HEAD.pack_into(self._map, self._at(line), digest, counters, values)
        if line is None and not self._told:
            self._told = True
            log.warn("more than {lines} nodes have statistics: what some of them count is forgotten when their worker ends", lines=LINES)
        return line

    def _unused(self) -> int | None:
        if self._free:
            return self._free.pop()
        if self._ever_used == LINES:
            return None
        self._ever_used += 1
        _EVER_USED.pack_into(self._map, self._start, self._ever_used)
        return self._ever_used - 1

    def forget(self, key: Key, shared: object) -> None:
        """The node of C{key} is no more: its line is free."""
        cls = next((plain for plain, made in _classes.items() if isinstance(shared, made)), None)
        line = None if cls is None else self._lines.pop(_digest(key, cls), None)
        if line is not None:
            _HEAD.pack_into(self._map, self._at(line), bytes(32), 0, 0)
            self._free.append(line)

    def read(self, key: Key, cls: type[Stats]) -> dict[str, int]:
        """What is in the line of C{key}; empty when there is none."""
        names, _ = fields_of(cls)
        line = self._lines.get(_digest(key, cls))
        if line is None:
            return {}
        return dict(zip(names, struct.unpack_from(f"={len(names)}q", self._map, self._values(line)), strict=True))

    def end(self) -> None:
        """The writer is gone: its gauges are zero."""
        for line in self._lines.values():
            _, counters, values = self._head(line)
            at = self._values(line) + counters * _CELL
            self._map[at : at + (values - counters) * _CELL] = bytes((values - counters) * _CELL)
