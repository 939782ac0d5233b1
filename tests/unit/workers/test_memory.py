# SPDX-License-Identifier: Apache-2.0
"""Cells that all processes see."""

from __future__ import annotations

import os
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from g3.limit.gauge import Gauge
from g3.metrics.server import ServerStats
from g3.workers.memory import Memory


class MemoryTests(SynchronousTestCase):
    """One writer, many readers."""

    def test_another_mapping_sees_what_is_written(self) -> None:
        """Live connections, beats and busyness of each slot, and nothing of one slot in another."""
        ours = Memory(3)
        theirs = Memory(3, ours.descriptor)
        live = theirs.live_of(1)
        live.live += 5
        theirs.serving[2] = 1
        theirs.rows[1].beat += 7
        self.assertEqual(list(ours.live), [0, 5, 0])
        self.assertEqual(list(ours.serving), [0, 0, 1])
        self.assertEqual([row.beat for row in ours.rows], [0, 7, 0])

    def test_a_cleared_slot_has_nobody_alive(self) -> None:
        """Others keep theirs."""
        memory = Memory(2)
        for slot in (0, 1):
            memory.live_of(slot).live = 9
            memory.serving[slot] = memory.rows[slot].busy = 1
        memory.clear(0)
        self.assertEqual((list(memory.live), list(memory.serving)), ([0, 9], [0, 1]))
        self.assertEqual([row.busy for row in memory.rows], [0, 1])

    def test_what_is_not_used_takes_no_memory(self) -> None:
        """Looking into empty slots, and clearing them, touches some pages, not the megabytes that are set aside for each."""
        memory = Memory(8)
        for slot in range(8):
            memory.clear(slot)
            desk = memory.desk_of(slot)
            desk.share(("server", "web", "t", "stats"), ServerStats("web"))
            desk.share(("server", "web", "t", "alive"), Gauge())
        self.assertLess(os.fstat(memory.descriptor).st_blocks * 512, 512 * 1024)

    def test_it_has_no_name_and_is_not_inherited_unasked(self) -> None:
        """A memfd with close-on-exec."""
        memory = Memory(1)
        self.assertIn("memfd:", str(Path(f"/proc/self/fd/{memory.descriptor}").readlink()))
        self.assertFalse(os.get_inheritable(memory.descriptor))
