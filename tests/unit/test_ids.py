# SPDX-License-Identifier: Apache-2.0
"""Ids: version 1, one after the other, and of one process alone."""

from __future__ import annotations

import os
import time
from unittest import mock
from uuid import RFC_4122, UUID

from twisted.trial.unittest import SynchronousTestCase

from g3 import ids
from g3.ids import new_id


class IdTests(SynchronousTestCase):
    def test_it_is_a_uuid_of_version_1_with_the_time_of_now(self) -> None:
        before = time.time_ns() // 100
        made = UUID(new_id())
        self.assertEqual((made.version, made.variant), (1, RFC_4122))
        self.assertTrue(before <= made.time - ids._GREGORIAN <= time.time_ns() // 100)
        self.assertTrue(made.node & 1 << 40, "marked as no hardware address")

    def test_they_differ_also_when_the_clock_stands_or_goes_back(self) -> None:
        with mock.patch.object(time, "time_ns", side_effect=[5_000, 5_000, 1_000, 900_000_000_000_000_000, 900_000_000_000_000_000]):
            made = [UUID(new_id()) for _ in range(5)]
        self.assertEqual(len(set(made)), 5)
        self.assertEqual([one.time for one in made], sorted(one.time for one in made))

    def test_a_child_makes_others(self) -> None:
        """A fork copies the state; the node and the sequence of a child are its own."""
        reader, writer = os.pipe()
        child = os.fork()
        if not child:
            os.write(writer, UUID(new_id()).bytes)
            os._exit(0)
        os.waitpid(child, 0)
        other = UUID(bytes=os.read(reader, 16))
        for descriptor in (reader, writer):
            os.close(descriptor)
        self.assertNotEqual(other.node, UUID(new_id()).node)
