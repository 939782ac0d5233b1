# SPDX-License-Identifier: Apache-2.0
"""Client hellos against OpenSSL: a server behind us never sees another name than we do, whatever a client makes of its hello."""

from __future__ import annotations

import random

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from g3.proto.tls.clienthello import ClientHello, HelloReader, TLSError
from tests.hellos import hello_with, openssl_hello, openssl_reads, server_name, split_records

MANY = settings(max_examples=1000, deadline=None, database=None)

LABEL = st.text("abcxyzABC019-_", min_size=1, max_size=20)
NAME = st.lists(LABEL, min_size=2, max_size=5).map(".".join).filter(lambda name: not name.rpartition(".")[2].isdigit())


def seen(data: bytes) -> str | None:
    """The name we see; None when it is refused or more is wanted."""
    try:
        hello = HelloReader().feed(data)
        return None if hello is None else hello.server_name
    except TLSError:
        return None


class AgainstOpenSSL(SynchronousTestCase):
    @MANY
    @given(NAME, st.lists(st.integers(1, 300), min_size=1, max_size=6))
    def test_the_same_name_in_any_records(self, name: str, sizes: list[int]) -> None:
        data = split_records(hello_with(server_name(name.encode())), *sizes)
        expected = name.lower() if 0 < len(name) <= 253 else None
        if expected is not None and not name.rsplit(".", maxsplit=1)[-1].lower().startswith("0x"):
            self.assertEqual(seen(data), expected)

    @MANY
    @given(NAME, st.integers(0, 2**32))
    def test_openssl_s_hellos_are_read(self, name: str, seed: int) -> None:
        """In records and pieces of any size."""
        rng = random.Random(seed)
        try:
            data = openssl_hello(name)
        except (ValueError, UnicodeError):  # the standard library's own idea of names
            return
        cut = split_records(data, *(rng.randrange(1, 200) for _ in range(rng.randrange(1, 5))))
        reader, hello, at = HelloReader(), None, 0
        while at < len(cut):
            self.assertIs(hello, None)
            size = rng.randrange(1, 100)
            hello = reader.feed(cut[at : at + size])
            at += size
        assert isinstance(hello, ClientHello)
        try:
            self.assertEqual(hello.server_name, name.lower())
        except TLSError:
            self.assertTrue(name.lower().rpartition(".")[2].startswith("0x"), name)

    def test_no_mutation_makes_a_server_see_another_name(self) -> None:
        """Bytes changed, taken out, doubled: what we let through and OpenSSL answers has one name."""
        rng = random.Random(20240611)
        agreed = 0
        for number in range(3000):
            data = bytearray(openssl_hello("victim.test") if number % 2 else hello_with(server_name(b"victim.test"), (16, b"\0\x03\x02h2")))
            for _ in range(rng.randrange(1, 4)):
                at = rng.randrange(len(data)) if rng.random() < 0.3 else rng.randrange(5, min(len(data), 160))
                match rng.randrange(4):
                    case 0:
                        data[at] = rng.randrange(256)
                    case 1:
                        data[at] ^= 1 << rng.randrange(8)
                    case 2:
                        del data[at]
                    case _:
                        data.insert(at, rng.randrange(256))
            ours = seen(bytes(data))
            if ours:
                theirs = openssl_reads(bytes(data))
                if theirs is not None:
                    agreed += 1
                    self.assertEqual(theirs.lower().rstrip("."), ours, bytes(data))
        self.assertGreater(agreed, 300)

    @MANY
    @given(st.binary(max_size=400))
    def test_nothing_else_is_raised(self, data: bytes) -> None:
        for start in (b"", b"\x16\x03\x01", b"\x16\x03\x01\x00\x40\x01\x00\x00\x3c\x03\x03"):
            seen(start + data)
