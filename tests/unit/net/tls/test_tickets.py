# SPDX-License-Identifier: Apache-2.0
"""Keys of session tickets: how they roll, and what a record must be."""

from __future__ import annotations

import json
import os
from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from g3.net.tls.tickets import (
    MAX_RECORD,
    MOST_KEYS,
    ROWS,
    SIZE,
    BadRecord,
    FleetKeys,
    LocalKeys,
    LocalSecrets,
    TicketKey,
    decryption_key,
    encryption_key,
)

LIFE = 100


def key(number: int = 0, lifetime: int = 1000) -> TicketKey:
    return TicketKey(number.to_bytes(16, "big"), os.urandom(32), os.urandom(16), lifetime)


class LocalTests(SynchronousTestCase):
    """Keys of the processes of one daemon."""

    def setUp(self) -> None:
        self.clock = Clock()
        self.clock.advance(1000)
        self.memory = bytearray(SIZE)

    def process(self, lifetime: int = LIFE) -> LocalKeys:
        """Another process: it has the memory in common."""
        return LocalKeys(LocalSecrets(self.clock.seconds, self.memory), lifetime)

    def test_all_processes_have_the_same_keys(self) -> None:
        one, two = self.process(), self.process()
        self.assertEqual(one.current(), two.current())
        self.assertEqual(two.find(one.current().name), one.current())
        self.clock.advance(LIFE / 2)
        self.assertEqual(two.current(), one.current())

    def test_a_key_encrypts_for_half_its_life_and_decrypts_for_all_of_it(self) -> None:
        keys = self.process()
        first = keys.current()
        self.clock.advance(LIFE / 2 - 1)
        self.assertEqual(keys.current(), first)
        self.clock.advance(1)
        self.assertNotEqual(keys.current(), first)
        self.assertEqual(keys.find(first.name), first)
        self.clock.advance(LIFE / 2)
        self.assertIsNone(keys.find(first.name))

    def test_a_process_that_comes_later_accepts_what_was_made_before(self) -> None:
        first = self.process().current()
        self.clock.advance(LIFE / 2)
        self.assertEqual(self.process().find(first.name), first)

    def test_what_expired_is_nowhere_in_the_memory(self) -> None:
        keys = self.process()
        keys.current()
        before = bytes(self.memory)
        secrets = [before[at + 8 : at + 40] for at in range(8, 8 + 120, 40) if any(before[at : at + 40])]
        self.assertEqual(len(secrets), 1)
        self.clock.advance(LIFE)
        keys.current()
        self.assertNotIn(secrets[0], bytes(self.memory))

    def test_other_lifetimes_have_other_keys(self) -> None:
        self.assertNotEqual(self.process(LIFE).current().name, self.process(LIFE + 2).current().name)

    def test_more_lifetimes_than_there_is_room_for_still_have_keys(self) -> None:
        """Each process its own then."""
        for lifetime in range(LIFE, LIFE + 2 * ROWS):
            self.process(lifetime).current()
        keys = self.process(LIFE + 2 * ROWS)
        self.assertEqual(keys.find(keys.current().name), keys.current())

    def test_without_shared_memory_it_works_alike(self) -> None:
        keys = LocalKeys(LocalSecrets(self.clock.seconds), LIFE)
        first = keys.current()
        self.clock.advance(LIFE / 2)
        self.assertEqual(keys.find(first.name), first)
        self.assertEqual((len(first.name), len(first.aes), len(first.hmac)), (16, 32, 16))

    def test_a_key_shows_nothing_of_itself(self) -> None:
        shown = repr(self.process().current())
        self.assertNotIn("aes", shown)
        self.assertNotIn("hmac", shown)


class FleetTests(SynchronousTestCase):
    """Keys from elsewhere."""

    def setUp(self) -> None:
        self.clock = Clock()
        self.local = LocalKeys(LocalSecrets(self.clock.seconds), LIFE)
        self.keys = FleetKeys(self.local, self.clock.seconds)

    def test_own_keys_until_others_came(self) -> None:
        own = self.keys.current()
        self.assertEqual(own, self.local.current())
        theirs = key(1)
        self.keys.take(theirs, [])
        self.assertEqual(self.keys.current(), theirs)
        self.assertEqual(self.keys.find(own.name), own, "tickets that were issued before are good")

    def test_a_key_of_the_set_is_good_until_it_expires(self) -> None:
        self.keys.take(key(1), [(key(2), 50.0)])
        self.clock.advance(49)
        self.assertIsNotNone(self.keys.find(key(2).name))
        self.clock.advance(1)
        self.assertIsNone(self.keys.find(key(2).name))

    def test_the_key_before_is_good_for_its_lifetime(self) -> None:
        """Also when the set does not have it."""
        self.keys.take(key(1, 60), [])
        self.clock.advance(20)
        self.keys.take(key(2, 60), [])
        self.clock.advance(39)
        self.assertIsNotNone(self.keys.find(key(1).name))
        self.clock.advance(2)
        self.assertIsNone(self.keys.find(key(1).name))

    def test_a_source_that_is_silent_for_long_is_not_relied_on(self) -> None:
        """Half of the lifetime: then own keys, that roll."""
        self.keys.take(key(1, 60), [])
        self.clock.advance(29)
        self.assertEqual(self.keys.current().name, key(1).name)
        self.clock.advance(1)
        self.assertEqual(self.keys.current(), self.local.current())
        self.assertIsNotNone(self.keys.find(key(1).name))

    def test_their_number_is_bounded(self) -> None:
        for number in range(3):
            self.keys.take(key(number), [(key(number * 1000 + each), 1e6) for each in range(MOST_KEYS)])
        self.assertEqual(len(self.keys), MOST_KEYS)


class RecordTests(SynchronousTestCase):
    """What is in Redis."""

    good: dict[str, Any] = {"name": "ab" * 16, "aes": "cd" * 32, "hmac": "ef" * 16}

    def refused(self, read: Any, **more: Any) -> str:
        return str(self.assertRaises(BadRecord, read, json.dumps({**self.good, **more}).encode()))

    def test_upstreams_records_are_read(self) -> None:
        found = encryption_key(json.dumps(self.good).encode())
        self.assertEqual(found, TicketKey(b"\xab" * 16, b"\xcd" * 32, b"\xef" * 16, 86400))
        found = encryption_key(json.dumps({"NAME": "ab" * 16, "aes-key": "cd" * 32, "hmac_key": "ef" * 16, "lifetime": 60}).encode())
        self.assertEqual(found, TicketKey(b"\xab" * 16, b"\xcd" * 32, b"\xef" * 16, 60))
        found, expires = decryption_key(json.dumps({**self.good, "expire": "2025-12-31T23:59:59Z", "lifetime": 9}).encode())
        self.assertEqual((found.name, expires), (b"\xab" * 16, 1767225599.0))

    def test_what_is_wrong_is_said_without_the_key(self) -> None:
        for more, words in (
            ({"name": "ab"}, "name must be 16 bytes in hexadecimal"),
            ({"aes": 5}, "aes must be 32 bytes"),
            ({"hmac": "xy" * 16}, "hmac must be 16 bytes"),
            ({"lifetime": "1h"}, "lifetime must be a number of seconds"),
            ({"lifetime": 0}, "lifetime must be"),
            ({"lifetime": True}, "lifetime must be"),
        ):
            said = self.refused(encryption_key, **more)
            self.assertIn(words, said)
            self.assertNotIn("cdcd", said)
        for expire in (None, 5, "soon", "2025-12-31T23:59:59"):
            self.assertIn("expire must be", self.refused(decryption_key, expire=expire))
        part = json.dumps({"name": "ab" * 16, "aes": "cd" * 32}).encode()
        self.assertEqual(str(self.assertRaises(BadRecord, encryption_key, part)), "hmac is missing")
        self.assertIn("more than", str(self.assertRaises(BadRecord, encryption_key, b" " * (MAX_RECORD + 1))))

    @given(st.one_of(st.binary(max_size=200), st.text(max_size=200).map(lambda text: text.encode("utf-8", "surrogatepass"))))
    def test_anything_else_is_a_bad_record(self, data: bytes) -> None:
        for read in (encryption_key, decryption_key):
            self.assertRaises(BadRecord, read, data)

    def test_deep_nesting_is_a_bad_record(self) -> None:
        self.assertRaises(BadRecord, encryption_key, b"[" * 4000)
