# SPDX-License-Identifier: Apache-2.0
"""Anything may come from a client of a key server, in any pieces: an oracle reads it too, and every whole request is answered once."""

from __future__ import annotations

import hashlib
from typing import NamedTuple

from hypothesis import example, given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from g3.proto.keyless import (
    KeylessError,
    Opcode,
    Request,
    Splitter,
    encode_error,
    encode_pong,
    encode_request,
    encode_response,
    parse_request,
    parse_response,
)
from tests.unit.keyless.world import World, key


class Read(NamedTuple):
    """What an oracle found: whole requests, and why it stopped, "" at the end of the data."""

    requests: list[Request]
    why: str


def oracle(data: bytes) -> Read:
    """The wire format, read slowly."""
    found: list[Request] = []
    while len(data) >= 8:
        if data[:2] != b"\x01\x00":
            return Read(found, f"unexpected version {data[0]}.{data[1]}")
        length = int.from_bytes(data[2:4], "big")
        if len(data) < 8 + length:
            break
        number, body, data = int.from_bytes(data[4:8], "big"), data[8 : 8 + length], data[8 + length :]
        items = {0x04: b"", 0x11: b"\0", 0x12: b""}
        while body:
            size = int.from_bytes(body[1:3], "big")
            if len(body) < 3 or len(body) < 3 + size:
                return Read(found, "corrupted message")
            if body[0] == 0x11 and size != 1:
                return Read(found, "invalid length for item 17")
            items[body[0]] = body[3 : 3 + size]
            body = body[3 + size :]
        found.append(Request(number, items[0x11][0], items[0x04], items[0x12]))
    return Read(found, "")


def ours(data: bytes, pieces: list[int]) -> Read:
    """The same by the codec, fed in pieces."""
    splitter, found, at = Splitter(), [], 0
    for size in [*pieces, len(data)]:
        splitter.feed(data[at : at + size])
        at += size
        try:
            while (message := splitter.take()) is not None:
                found.append(parse_request(*message))
        except KeylessError as error:
            return Read(found, str(error))
    return Read(found, "")


items = st.tuples(st.sampled_from([0x01, 0x02, 0x04, 0x11, 0x12, 0x20, 0xEE]), st.binary(max_size=40)).map(
    lambda item: bytes([item[0]]) + len(item[1]).to_bytes(2, "big") + item[1]
)
bodies = st.one_of(st.lists(items, max_size=6).map(b"".join), st.binary(max_size=60))
messages = st.tuples(st.integers(0, 0xFFFFFFFF), bodies).map(
    lambda message: b"\x01\x00" + len(message[1]).to_bytes(2, "big") + message[0].to_bytes(4, "big") + message[1]
)
streams = st.one_of(st.binary(max_size=200), st.lists(st.one_of(messages, st.binary(max_size=12)), max_size=5).map(b"".join))
digest = hashlib.sha256(b"x").digest()
requests = st.one_of(
    st.builds(encode_request, st.integers(0, 0xFFFFFFFF), st.integers(0, 255), st.binary(max_size=24), st.binary(max_size=70), padded=st.just(0)),
    st.builds(
        encode_request,
        st.integers(0, 0xFFFFFFFF),
        st.sampled_from([int(Opcode.ECDSA_SIGN_SHA256), int(Opcode.RSA_SIGN_SHA256), int(Opcode.PING), int(Opcode.RSA_DECRYPT)]),
        st.sampled_from([key("p256").ski, key("rsa2048").ski]),
        st.sampled_from([digest, bytes(256), b""]),
        padded=st.sampled_from([0, 1024]),
    ),
)


class CodecFuzz(SynchronousTestCase):
    """The codec."""

    @settings(max_examples=1000, deadline=None)
    @given(streams, st.lists(st.integers(0, 50), max_size=12))
    @example(b"\x01\x00\x00\x00\x00\x00\x00", [])
    @example(b"\x01\x00\x00\x00\x00\x00\x00\x00" * 3, [8, 3, 9])
    def test_the_codec_reads_what_the_oracle_reads(self, data: bytes, pieces: list[int]) -> None:
        """In whatever pieces; the same requests, the same fault."""
        self.assertEqual(ours(data, pieces), oracle(data))

    @settings(max_examples=1000, deadline=None)
    @given(st.integers(0, 0xFFFFFFFF), st.integers(0, 255), st.binary(max_size=64), st.binary(max_size=1200), st.integers(0, 1100))
    def test_what_is_written_is_read_back(self, number: int, opcode: int, ski: bytes, payload: bytes, padded: int) -> None:
        """Requests and responses."""
        data = encode_request(number, opcode, ski, payload, padded=padded)
        self.assertEqual(oracle(data), Read([Request(number, opcode, ski, payload)], ""))
        for made, kind, content in (
            (encode_response(number, payload), Opcode.RESPONSE, payload),
            (encode_pong(number, payload), Opcode.PONG, payload),
            (encode_error(number, opcode), Opcode.ERROR, bytes([opcode])),
        ):
            self.assertEqual(parse_response(made, 0, len(made)), (number, kind, content))


class ServerFuzz(SynchronousTestCase):
    """The server."""

    @settings(max_examples=1000, deadline=None)
    @given(st.lists(requests, max_size=8), st.binary(max_size=30), st.lists(st.integers(1, 700), max_size=8), st.booleans())
    def test_every_request_is_answered_once(self, asked: list[bytes], rest: bytes, pieces: list[int], threads: bool) -> None:
        """In simplex mode in order; what follows may be anything."""
        data = b"".join(asked) + rest
        expected = oracle(data)
        world = World("p256", "rsa2048", threads=4 if threads else 0)
        stream, client = world.connect()
        at = 0
        for size in [*pieces, len(data)]:
            if not stream.disconnected:
                stream.write(data[at : at + size])
            at += size
            world.settle()
        while world.threads is not None and world.threads.jobs:
            self.work(world)
        self.assertEqual([answer.id for answer in client.answers], [request.id for request in expected.requests])
        if expected.why:
            self.assertTrue(client.gone)
            self.assertEqual(world.logs.task.records[-1][0], f"invalid request: {expected.why}")
        else:
            stream.loseWriteConnection()
            world.settle()
            self.assertTrue(client.gone)
        stats = world.server.requests
        self.assertEqual(sum(each.total for each in stats), len(expected.requests))
        self.assertEqual(sum(each.passed + each.failed for each in stats), len(expected.requests))
        self.assertEqual((sum(each.alive for each in stats), world.server.stats.alive_tasks), (0, 0))

    def work(self, world: World) -> None:
        """One job, which may fail."""
        from g3.net.libssl.library import LibraryError

        job = world.threads.jobs.pop(0)
        try:
            job.result = world.common.engine.run(job.key, job.operation, job.payload)
        except LibraryError:
            job.result = None
        job.owner.finished(job)
        job.owner.go_on()
        world.settle()
