# SPDX-License-Identifier: Apache-2.0
"""Limits that hold over all workers: the classes of g3.limit with what they count in shared memory.

A table has a row for each limit, found by what it is of; whoever needs it first takes it, and it is free when no worker has it any more.

- L{SharedGauge}: each worker writes its own number, and reads all: nothing is locked. Two that ask at the same moment may both be let in, so that
  it overshoots by the number of workers less one at most. What a dead worker had is given back with its slot.
- L{SharedRateLimiter}: exact, at the price of two system calls for each question.
- L{SharedStreamLimiter}: leases tokens from the common bucket and spends them without asking. A lease that is used up in its time is followed by
  one twice as large, else what is left goes back; one that its worker took into its grave is lost: a bucket never gives more than it has.

Rate limits and buckets are changed under a lock of the kernel (fcntl), which ends with its holder. One that stopped while it held it is not
waited for: to be a little too generous is better than to hang with it.
"""

from __future__ import annotations

import fcntl
import hashlib
import mmap
import os
import struct
from typing import TYPE_CHECKING, Any, Final

from twisted.logger import Logger

from g3.limit.gauge import Gauge
from g3.limit.rate import RateLimiter
from g3.limit.stream import GlobalStreamLimiter

if TYPE_CHECKING:
    from g3.limit.options import GlobalStreamSpeed

log = Logger()

#: Limits at most, and how far from where its key says a row may be.
ROWS: Final = 16384
WINDOW: Final = 32
#: Digest of the key, and two numbers.
_HEAD: Final = struct.Struct("=32sdd16x")
_NUMBERS: Final = struct.Struct("=dd")
_NUMBERS_AT: Final = 32
_CELL: Final = 8
#: A slot has a number for each row, and whether it uses the row.
_OF_SLOT: Final = ROWS * (_CELL + 1)
_HEADS: Final = ROWS * _HEAD.size
#: Turns to leave to the holder of a lock before we do without.
_TRIES: Final = 50
#: Bytes of a first lease, where the bucket has many times as much.
FIRST_LEASE: Final = 16384

#: kind, name and type of a node, and what of it.
Key = tuple[str, str, str, str]


def size(slots: int) -> int:
    """Bytes of a table, a multiple of a page; what is not written to takes no memory."""
    return _HEADS + slots * _OF_SLOT


class Numbers:
    """Two numbers that one worker at a time may change, inside C{with}."""

    __slots__ = ("_at", "_descriptor", "_held", "_map")

    def __init__(self, mapping: mmap.mmap, descriptor: int, at: int) -> None:
        self._map = mapping
        self._descriptor = descriptor
        self._at = at
        self._held = False

    def __enter__(self) -> tuple[float, float]:
        self._held = False
        for _ in range(_TRIES):
            try:
                fcntl.lockf(self._descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB, 1, self._at)
                self._held = True
                break
            except OSError:
                os.sched_yield()
        return self.get()

    def __exit__(self, *_: object) -> None:
        if self._held:
            fcntl.lockf(self._descriptor, fcntl.LOCK_UN, 1, self._at)

    def get(self) -> tuple[float, float]:
        """As they are."""
        return _NUMBERS.unpack_from(self._map, self._at)

    def set(self, one: float, other: float = 0.0) -> None:
        """Change them."""
        _NUMBERS.pack_into(self._map, self._at, one, other)


class SharedGauge(Gauge):
    """A gauge over all workers. C{permits} is what this worker was told."""

    __slots__ = ("_cells", "_slot")

    def __init__(self, permits: int, cells: memoryview, slot: int) -> None:
        self.permits = permits
        self._cells = cells
        self._slot = slot

    @property
    def alive(self) -> int:  # type: ignore[override]
        """In all workers."""
        return sum(self._cells)

    def acquire(self) -> bool:
        if 0 < self.permits <= sum(self._cells):
            return False
        self._cells[self._slot] += 1
        return True

    def release(self) -> None:
        if not self._cells[self._slot]:
            raise RuntimeError("released what was not acquired")
        self._cells[self._slot] -= 1


class SharedRateLimiter(RateLimiter):
    """A rate over all workers, whose clocks are the same."""

    __slots__ = ("_numbers",)

    def __init__(self, plain: RateLimiter, numbers: Numbers) -> None:
        super().__init__(plain.quota)
        self._numbers = numbers

    def admit(self, now: float) -> bool:
        numbers = self._numbers
        with numbers as (self._next, _):
            admitted = super().admit(now)
            if admitted:
                numbers.set(self._next)
        return admitted

    def delay(self, now: float) -> float:
        self._next, _ = self._numbers.get()
        return super().delay(now)


class SharedStreamLimiter(GlobalStreamLimiter):
    """A bucket over all workers, of which this one has a lease."""

    __slots__ = ("_batch", "_lease", "_numbers", "_until", "_workers")

    def __init__(self, plain: GlobalStreamLimiter, numbers: Numbers, workers: int) -> None:
        super().__init__(plain.options, 0.0)
        self._numbers = numbers
        self._workers = workers
        self._batch = FIRST_LEASE
        #: What is left of the lease, less than nothing when more was spent than there was, and when it ends.
        self._lease = 0
        self._until = 0.0

    def update(self, options: GlobalStreamSpeed) -> None:
        # Whatever is too much is cut with the next replenishment.
        self.options = options

    def allowance(self, now: float) -> int:
        if self._lease > 0 and now < self._until:
            return self._lease
        return self._renew(now)

    def spend(self, n: int) -> None:
        self._lease -= n

    def delay(self, now: float) -> float:
        if self._lease > 0 and now < self._until:
            return 0.0
        self._load(self._numbers.get())
        return super().delay(now)

    def _load(self, numbers: tuple[float, float]) -> None:
        self._last, tokens = numbers
        self._tokens = int(tokens)

    def _renew(self, now: float) -> int:
        numbers, left = self._numbers, self._lease
        with numbers as values:
            self._load(values)
            self._tokens += left
            available = super().allowance(now)
            self._lease = min(available, self._share(available, left))
            self._tokens -= self._lease
            numbers.set(self._last, self._tokens)
        self._until = now + self.options.replenish_interval
        return self._lease

    def _share(self, available: int, left: int) -> int:
        """The size of the next lease: what was used is what is needed, and nobody takes more than half of what were its share."""
        self._batch = max(self._batch - left, 1) if left > 0 else 2 * self._batch
        least = max(1, min(FIRST_LEASE, self.options.max_burst // (4 * self._workers)))
        most = max(least, available // (2 * self._workers))
        self._batch = min(max(self._batch, least), most)
        return self._batch


class LimitTable:
    """The limits of one daemon, as the worker in C{slot} uses them; the supervisor only clears slots.

    @param start: where in the mapping it begins, at a page.
    """

    def __init__(self, mapping: mmap.mmap, descriptor: int, start: int, slots: int, slot: int) -> None:
        self._map = mapping
        self._descriptor = descriptor
        self._start = start
        self._slots = slots
        self._slot = slot
        self._rows: dict[Key, int] = {}
        numbers = memoryview(mapping)[start + _HEADS : start + _HEADS + slots * _OF_SLOT]
        self._cells = numbers.cast("q")
        self._used = numbers
        self._told = False

    def clear(self) -> None:
        """Nobody is in our slot: what it had alive is given back, its rows are those of the others."""
        at = self._start + _HEADS + self._slot * _OF_SLOT
        try:
            self._map.madvise(mmap.MADV_REMOVE, at, _OF_SLOT)
        except OSError:  # a kernel without it: the same, at the price of memory
            self._map[at : at + _OF_SLOT] = bytes(_OF_SLOT)

    def share(self, key: Key, plain: object) -> object:
        """The limit to use in place of C{plain}; C{plain} itself when it is no limit, or there are too many."""
        if not isinstance(plain, Gauge | RateLimiter | GlobalStreamLimiter):
            return plain
        row = self._rows.get(key)
        if row is None:
            row = self._take(key, plain)
        if row is None:
            return plain
        if isinstance(plain, Gauge):
            stride = _OF_SLOT // _CELL
            return SharedGauge(plain.permits, self._cells[row : row + (self._slots - 1) * stride + 1 : stride], self._slot)
        numbers = Numbers(self._map, self._descriptor, self._head(row) + _NUMBERS_AT)
        if isinstance(plain, RateLimiter):
            return SharedRateLimiter(plain, numbers)
        return SharedStreamLimiter(plain, numbers, self._slots)

    def forget(self, key: Key) -> None:
        """It is used no more."""
        row = self._rows.pop(key, None)
        if row is not None:
            self._cells[self._cell(self._slot, row)] = 0
            self._used[self._mark(self._slot, row)] = 0

    def _head(self, row: int) -> int:
        return self._start + row * _HEAD.size

    def _cell(self, slot: int, row: int) -> int:
        return slot * (_OF_SLOT // _CELL) + row

    def _mark(self, slot: int, row: int) -> int:
        return slot * _OF_SLOT + ROWS * _CELL + row

    def _take(self, key: Key, plain: Gauge | RateLimiter | GlobalStreamLimiter) -> int | None:
        """The row of a key, which is ours from now on, too."""
        digest = hashlib.sha256("\0".join((*key, type(plain).__name__)).encode("utf-8", "surrogatepass")).digest()
        first = int.from_bytes(digest[:4], "big") % (ROWS - WINDOW)
        with Numbers(self._map, self._descriptor, self._start):
            row = self._find(digest, first)
            if row is None:
                row = next((row for row in range(first, first + WINDOW) if not self._is_used(row)), None)
                if row is not None:
                    _HEAD.pack_into(self._map, self._head(row), digest, *_state(plain))
            if row is not None:
                self._used[self._mark(self._slot, row)] = 1
                self._rows[key] = row
        if row is None and not self._told:
            self._told = True
            log.warn("there are too many limits: some hold in each worker for itself")
        return row

    def _find(self, digest: bytes, first: int) -> int | None:
        for row in range(first, first + WINDOW):
            at = self._head(row)
            if self._map[at : at + len(digest)] == digest:
                return row
        return None

    def _is_used(self, row: int) -> bool:
        return any(self._used[self._mark(slot, row)] for slot in range(self._slots))


def _state(plain: Any) -> tuple[float, float]:
    """The two numbers that a limit begins with."""
    if isinstance(plain, RateLimiter):
        return plain._next, 0.0
    return (plain._last, float(plain._tokens)) if isinstance(plain, GlobalStreamLimiter) else (0.0, 0.0)
