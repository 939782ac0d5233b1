# SPDX-License-Identifier: Apache-2.0
"""Memory that all processes of a daemon share: one memfd, mapped by inheritance. It has no name, and goes with its last process.

Each worker slot has a row of 8-byte cells with one writer, so that nothing is locked and a reader never waits for a worker.
"""

from __future__ import annotations

import ctypes
import fcntl
import mmap
import os
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING, Final

from g3.net.tls import tickets
from g3.workers import ledger, limits

if TYPE_CHECKING:
    from collections.abc import Iterator

#: Workers at most.
MAX_SLOTS: Final = 1024
_CELL: Final = 8
_ROW: Final = 64


class Row(ctypes.Structure):
    """One slot. C{beat} moves while its worker's reactor turns; C{busy} is 1 while it does something known to take long."""

    _fields_ = (("beat", ctypes.c_int64), ("busy", ctypes.c_int64))
    beat: int
    busy: int


class Live(ctypes.Structure):
    """The live connections of one slot, as an attribute C{live} to add to."""

    _fields_ = (("live", ctypes.c_int64),)
    live: int


class Desk:
    """What of a worker's objects is in shared memory (ILedger): its statistics, which outlive it, and limits, which hold for all workers."""

    def __init__(self, counts: ledger.Ledger, table: limits.LimitTable) -> None:
        self._counts = counts
        self._table = table

    def share(self, key: ledger.Key, plain: object) -> object:
        """What is to be used in place of C{plain}."""
        return self._table.share(key, self._counts.share(key, plain))

    def forget(self, key: ledger.Key, shared: object) -> None:
        """It is used no more."""
        self._counts.forget(key, shared)
        self._table.forget(key)


class Memory:
    """The cells of C{slots} workers.

    @param descriptor: of the memfd; None makes one.
    """

    def __init__(self, slots: int, descriptor: int | None = None) -> None:
        self.slots = slots
        dense = -(-3 * slots * _CELL // _ROW) * _ROW
        self._ledgers = -(-(dense + slots * _ROW) // mmap.PAGESIZE) * mmap.PAGESIZE
        self._limits = self._ledgers + slots * ledger.SIZE
        self._tickets = self._limits + limits.size(slots)
        size = self._tickets + tickets.SIZE
        if descriptor is None:
            descriptor = os.memfd_create("g3", os.MFD_CLOEXEC)
            os.ftruncate(descriptor, size)
        self.descriptor = descriptor
        self._map = mmap.mmap(descriptor, size)
        cells = memoryview(self._map)
        #: Live connections by slot; whether a worker serves in it; clients it ever took.
        self.live = cells[: slots * _CELL].cast("q")
        self.serving = cells[slots * _CELL : 2 * slots * _CELL].cast("q")
        self.taken = cells[2 * slots * _CELL : 3 * slots * _CELL].cast("q")
        self.rows = [Row.from_buffer(self._map, dense + slot * _ROW) for slot in range(slots)]

    def live_of(self, slot: int) -> Live:
        """The writer's side of C{live}."""
        return Live.from_buffer(self._map, slot * _CELL)

    def ledger_of(self, slot: int) -> ledger.Ledger:
        """The statistics of one slot as they are now; its worker makes one for itself and writes in it."""
        return ledger.Ledger(self._map, self._ledgers + slot * ledger.SIZE)

    def desk_of(self, slot: int) -> Desk:
        """The writer's side of both."""
        return Desk(self.ledger_of(slot), self._limits_of(slot))

    def _limits_of(self, slot: int) -> limits.LimitTable:
        return limits.LimitTable(self._map, self.descriptor, self._limits, self.slots, slot)

    def ticket_secrets(self) -> tickets.LocalSecrets:
        """What the keys of session tickets are made of, the same in all workers: here they do write in the same place, under a lock."""
        cells = memoryview(self._map)[self._tickets : self._tickets + tickets.SIZE]
        # All processes of a host have the same monotonic clock.
        return tickets.LocalSecrets(time.monotonic, cells, self._ticket_lock)

    @contextmanager
    def _ticket_lock(self) -> Iterator[None]:
        """The kernel lets go of it when its holder dies."""
        fcntl.lockf(self.descriptor, fcntl.LOCK_EX, tickets.SIZE, self._tickets)
        try:
            yield
        finally:
            fcntl.lockf(self.descriptor, fcntl.LOCK_UN, tickets.SIZE, self._tickets)

    def clear(self, slot: int) -> None:
        """Nobody is in that slot: what was true of a worker only while it lived is gone."""
        self.live[slot] = self.serving[slot] = 0
        self.rows[slot].busy = 0
        self.ledger_of(slot).end()
        self._limits_of(slot).clear()
