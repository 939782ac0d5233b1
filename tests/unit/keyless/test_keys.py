# SPDX-License-Identifier: Apache-2.0
"""The ring of keys: who brought a key, and when it goes."""

from __future__ import annotations

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

    def test_there_is_an_end(self) -> None:
        """A ring that is full takes no more, and keeps what it has."""
        self.patch(keys, "MOST_KEYS", 1)
        ring = KeyRing()
        ring.add(key("p256"), "one")
        self.assertRaises(OverflowError, ring.add, key("p384"), "one")
        self.assertFalse(ring.add(key("p256"), "one"))
