# SPDX-License-Identifier: Apache-2.0
"""The ring of keys: who brought a key, and when it goes."""

from __future__ import annotations

import pickle
from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from g3.keyless import keys
from g3.keyless.keys import KeyRing
from tests.unit.keyless.world import key


class KeyRingTests(SynchronousTestCase):
    """Keys by identifier."""

    def test_a_key_of_two_sources_goes_with_the_second(self) -> None:
        """And nobody takes away what another brought."""
        ring, ski = KeyRing(), key("p256").ski
        self.assertTrue(ring.add(key("p256"), "one"))
        self.assertFalse(ring.add(key("p256"), "two"))
        self.assertFalse(ring.forget(ski, "three"))
        self.assertFalse(ring.forget(ski, "one"))
        self.assertIs(ring.by_ski[ski], key("p256"))
        self.assertTrue(ring.forget(ski, "two"))
        self.assertEqual((len(ring), ring.identifiers()), (0, []))

    def test_identifiers_are_hexadecimal_and_sorted(self) -> None:
        """As the list command prints them."""
        ring = KeyRing()
        for kind in ("p256", "p384", "ed25519"):
            ring.add(key(kind), "test")
        self.assertEqual(ring.identifiers(), sorted(key(kind).ski.hex() for kind in ("p256", "p384", "ed25519")))

    def test_another_process_gets_the_keys_and_nothing_else(self) -> None:
        """Of every kind, with the same identifiers; who brought them is of no interest there."""
        ours, theirs = KeyRing(), KeyRing()
        for kind in ("rsa1024", "p256", "ed25519"):
            ours.add(key(kind), "local")
        parcel = pickle.loads(pickle.dumps(ours))
        self.assertEqual(pickle.loads(pickle.dumps(parcel)).keys, parcel.keys)
        theirs.unpack(parcel.keys, "supervisor")
        self.assertEqual(theirs.identifiers(), ours.identifiers())
        self.assertEqual([each.kind for each in theirs.by_ski.values()], [each.kind for each in ours.by_ski.values()])
        self.assertTrue(theirs.forget(key("p256").ski, "supervisor"))

    def test_changes_are_told(self) -> None:
        """Each key that comes and each that goes, once."""
        ring = KeyRing()
        told: list[Any] = []
        ring.changed = lambda ski, each: told.append((ski, each))
        for source in ("one", "two"):
            ring.add(key("p256"), source)
        for source in ("one", "two"):
            ring.forget(key("p256").ski, source)
        self.assertEqual(told, [(key("p256").ski, key("p256")), (key("p256").ski, None)])

    def test_there_is_an_end(self) -> None:
        """A ring that is full takes no more, and keeps what it has."""
        self.patch(keys, "MOST_KEYS", 1)
        ring = KeyRing()
        ring.add(key("p256"), "one")
        self.assertRaises(OverflowError, ring.add, key("p384"), "one")
        self.assertFalse(ring.add(key("p256"), "one"))
