# SPDX-License-Identifier: Apache-2.0
"""What a client of a key server is answered, when it is closed, and what is logged and counted."""

from __future__ import annotations

import hashlib
from typing import Any

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, padding, utils
from twisted.trial.unittest import SynchronousTestCase

from g3.errors import ConfigError
from g3.metrics.quantile import HistogramOptions
from g3.proto.keyless import MAX_MESSAGE, Opcode, encode_request
from g3.tree.node import Lasting
from g3.workers.memory import Memory
from tests.unit.keyless.world import Client, World, key, private

DIGEST = hashlib.sha256(b"what is signed").digest()
RSA_SIGN = Opcode.RSA_SIGN_SHA256
NO_KEY = bytes(20)
#: As what an error is counted.
REASONS = {1: "crypto_fail", 2: "key_not_found", 5: "bad_op_code", 7: "format_error"}


def codes(answers: list[Any]) -> list[int]:
    """The error codes of answers; 0 for those that are none."""
    return [answer.error for answer in answers]


class CheckTests(SynchronousTestCase):
    """Which error comes first."""

    def setUp(self) -> None:
        self.world = World("rsa2048", "p256", "ed25519")
        self.rsa, self.ec, self.ed = key("rsa2048").ski, key("p256").ski, key("ed25519").ski

    def check(self, code: int, opcode: int, ski: bytes, payload: bytes, group: str) -> None:
        answers = self.world.ask(encode_request(77, opcode, ski, payload))
        self.assertEqual((codes(answers), answers[0].id), ([code], 77))
        stats = next(each for each in self.world.server.requests if each.request == group)
        self.assertEqual(
            (stats.total, {reason: number for reason in REASONS.values() if (number := getattr(stats, reason))}), (1, {REASONS[code]: 1})
        )
        self.assertEqual(self.world.logs.request.records[-1][1]["msg_id"], 77)

    def test_an_opcode_nobody_serves(self) -> None:
        """Error 5, before anything else is looked at, also for opcodes of responses and for none at all."""
        for opcode in (0, 0x09, 0x11, 0x19, 0x21, 0x22, 0x23, 0x24, 0x34, 0x38, 0xF0, 0xF2, 0xFF):
            answers = self.world.ask(encode_request(1, opcode, NO_KEY, b""))
            self.assertEqual(codes(answers), [5], hex(opcode))
        self.assertEqual(self.world.server.requests[0].bad_op_code, 13)

    def test_a_digest_of_another_length(self) -> None:
        """Error 7 before the key is looked for; it counts as no operation."""
        self.check(7, RSA_SIGN, NO_KEY, bytes(20), "no_op")

    def test_no_such_key(self) -> None:
        """Error 2, for a decryption of the wrong size, too; counted with its operation."""
        self.check(2, Opcode.RSA_DECRYPT, NO_KEY, bytes(5), "rsa_decrypt")

    def test_no_key_identifier(self) -> None:
        """Error 2."""
        self.check(2, RSA_SIGN, b"", DIGEST, "rsa_sign")

    def test_what_is_decrypted_is_as_long_as_the_modulus(self) -> None:
        """Error 7, whatever the key."""
        self.check(7, Opcode.RSA_DECRYPT, self.rsa, bytes(255), "rsa_decrypt")

    def test_a_key_of_another_kind(self) -> None:
        """Error 1, also where OpenSSL would sign something else with it."""
        world = self.world
        for opcode, ski, payload in (
            (RSA_SIGN, self.ec, DIGEST),
            (Opcode.RSA_PSS_SIGN_SHA256, self.ed, DIGEST),
            (Opcode.ECDSA_SIGN_SHA256, self.rsa, DIGEST),
            (Opcode.ED25519_SIGN, self.rsa, b"message"),
            (Opcode.ED25519_SIGN, self.ec, b"message"),
            (Opcode.RSA_DECRYPT, self.ec, bytes(key("p256").size)),
            (Opcode.RSA_RAW_DECRYPT, self.ed, bytes(64)),
        ):
            self.assertEqual(codes(world.ask(encode_request(1, opcode, ski, payload))), [1], opcode)

    def test_bad_padding_is_an_error(self) -> None:
        """Error 1, never random bytes."""
        for payload in (bytes(256), bytes(255) + b"\1", bytes(255) + b"\2", b"\xff" * 256):
            self.assertEqual(codes(self.world.ask(encode_request(1, Opcode.RSA_DECRYPT, self.rsa, payload))), [1])

    def test_a_ping_needs_no_key(self) -> None:
        """What it carries comes back, be it nothing."""
        for payload in (b"", b"are you there"):
            answer = self.world.ask(encode_request(9, Opcode.PING, b"", payload))[0]
            self.assertEqual(answer, (9, Opcode.PONG, payload))


class OperationTests(SynchronousTestCase):
    """Each operation, verified by another library."""

    def result(self, kind: str, opcode: int, payload: bytes) -> bytes:
        answer = World(kind).ask(encode_request(1, opcode, key(kind).ski, payload))[0]
        self.assertEqual(answer.opcode, Opcode.RESPONSE)
        payload_back: bytes = answer.payload
        return payload_back

    def test_rsa_signatures(self) -> None:
        """PKCS #1 v1.5 with each digest, and PSS with a salt of the digest's length."""
        public = private("rsa2048").public_key()
        for opcode, algorithm in zip(
            range(0x03, 0x08), (hashes.SHA1(), hashes.SHA224(), hashes.SHA256(), hashes.SHA384(), hashes.SHA512()), strict=True
        ):
            digest = bytes(range(algorithm.digest_size))
            public.verify(self.result("rsa2048", opcode, digest), digest, padding.PKCS1v15(), utils.Prehashed(algorithm))
        for opcode, chosen in zip(range(0x35, 0x38), (hashes.SHA256(), hashes.SHA384(), hashes.SHA512()), strict=True):
            digest = bytes(range(chosen.digest_size))
            salted = padding.PSS(padding.MGF1(chosen), chosen.digest_size)
            public.verify(self.result("rsa2048", opcode, digest), digest, salted, utils.Prehashed(chosen))

    def test_md5_sha1_has_no_name_of_its_digest(self) -> None:
        """What is signed is padding and the 36 bytes, nothing else (RFC 4346)."""
        digest = bytes(range(36))
        public = private("rsa2048").public_key().public_numbers()
        signed = pow(int.from_bytes(self.result("rsa2048", 0x02, digest), "big"), public.e, public.n).to_bytes(256, "big")
        self.assertEqual(signed, b"\x00\x01" + b"\xff" * (256 - 3 - 36) + b"\x00" + digest)

    def test_ecdsa_signatures(self) -> None:
        """Each curve with each digest, as DER."""
        for kind in ("p256", "p384", "p521"):
            for opcode, algorithm in (
                (0x13, hashes.SHA1()),
                (0x14, hashes.SHA224()),
                (0x15, hashes.SHA256()),
                (0x16, hashes.SHA384()),
                (0x17, hashes.SHA512()),
            ):
                digest = bytes(range(algorithm.digest_size))
                private(kind).public_key().verify(self.result(kind, opcode, digest), digest, ec.ECDSA(utils.Prehashed(algorithm)))
            self.assertEqual(self.result(kind, 0x12, bytes(36))[0], 0x30)

    def test_ed25519_signs_a_message_of_any_length(self) -> None:
        """None, and a long one."""
        for message in (b"", b"m" * 60000):
            private("ed25519").public_key().verify(self.result("ed25519", 0x18, message), message)

    def test_decryption(self) -> None:
        """With padding what was encrypted, without all bytes of the modulus, leading zeros too."""
        public = private("rsa2048").public_key()
        self.assertEqual(self.result("rsa2048", 0x01, public.encrypt(b"abcdef", padding.PKCS1v15())), b"abcdef")
        self.assertEqual(self.result("rsa2048", 0x01, public.encrypt(b"", padding.PKCS1v15())), b"")
        numbers = public.public_numbers()
        secret = pow(0x1234, numbers.e, numbers.n).to_bytes(256, "big")
        self.assertEqual(self.result("rsa2048", 0x08, secret), bytes(254) + b"\x12\x34")


class EndTests(SynchronousTestCase):
    """How connections end, and what the task log says."""

    def start(self, **options: Any) -> None:
        self.world = World("rsa2048", **options)
        self.stream, self.client = self.world.connect()

    def send(self, data: bytes) -> None:
        self.stream.write(data)
        self.world.settle()

    def logged(self) -> list[str]:
        return [message for message, _ in self.world.logs.task.records]

    def test_a_client_that_ends_is_answered_first(self) -> None:
        """Its record has who and when."""
        self.start()
        self.stream.write(encode_request(1, Opcode.PING))
        self.stream.loseWriteConnection()
        self.world.settle()
        self.assertEqual(len(self.client.answers), 1)
        self.assertTrue(self.client.gone)
        message, fields = self.world.logs.task.records[0]
        self.assertEqual(message, "no error")
        self.assertEqual(list(fields), ["task_id", "start_at", "server_addr", "client_addr"])
        self.assertEqual((fields["server_addr"], fields["client_addr"]), ("198.51.100.1:1300", "192.0.2.1:40000"))
        self.assertEqual(self.world.server.stats.alive_tasks, 0)

    def test_what_is_no_request_closes_without_an_answer(self) -> None:
        """Those before it are answered."""
        for wrong, words in (
            (b"\x02\x00\x00\x00\x00\x00\x00\x01", "unexpected version 2.0"),
            (bytes.fromhex("0100000100000001 11"), "corrupted message"),
            (bytes.fromhex("0100000500000001 1100020101"), "invalid length for item 17"),
        ):
            self.start()
            self.send(encode_request(1, Opcode.PING) + wrong + encode_request(2, Opcode.PING))
            self.assertEqual([answer.id for answer in self.client.answers], [1])
            self.assertTrue(self.client.gone)
            self.assertEqual(self.logged(), [f"invalid request: {words}"])

    def test_half_a_request_has_its_time(self) -> None:
        """From its first byte on; an idle connection has all the time."""
        self.start(request_read_timeout=0.1)
        self.world.clock.advance(3600)
        self.send(encode_request(1, Opcode.PING)[:100])
        self.world.clock.advance(0.09)
        self.assertEqual(self.logged(), [])
        self.world.clock.advance(0.02)
        self.world.settle()
        self.assertEqual(self.logged(), ["read request timeout"])
        self.assertTrue(self.client.gone)

    def test_each_request_has_its_own_time(self) -> None:
        """A stream of requests that always ends in the middle of one is none that is late."""
        self.start(request_read_timeout=0.1)
        data = encode_request(1, Opcode.PING)
        self.send(data[:500])
        for _ in range(5):
            self.world.clock.advance(0.08)
            self.send(data[500:] + data[:500])
        self.assertEqual((len(self.client.answers), self.logged()), (5, []))

    def test_a_client_gone_before_its_first_request_is_not_logged(self) -> None:
        """Neither half a request nor a reset."""
        self.start()
        self.send(encode_request(1, Opcode.PING)[:100])
        self.stream.loseWriteConnection()
        self.world.settle()
        self.assertTrue(self.client.gone)
        self.start()
        self.stream.abortConnection()
        self.world.settle()
        self.assertEqual(self.logged(), [])
        self.assertEqual(self.world.server.stats.total_tasks, 1)

    def test_later_it_is_a_failed_read(self) -> None:
        """Cut off in the middle; and reset."""
        self.start()
        self.send(encode_request(1, Opcode.PING) * 2 + b"\x01")
        self.stream.loseWriteConnection()
        self.world.settle()
        self.assertEqual(self.logged(), ["read failed: early eof"])
        self.start()
        self.send(encode_request(1, Opcode.PING))
        self.stream.abortConnection()
        self.world.settle()
        self.assertTrue(self.logged()[0].startswith("read failed: "), self.logged())

    def test_a_server_that_leaves_closes_what_is_idle(self) -> None:
        """The record says who did."""
        self.start()
        self.send(encode_request(1, Opcode.PING))
        drained = self.world.server.stop()
        self.world.settle()
        self.assertTrue(self.client.gone)
        self.assertIsNotNone(drained)
        self.assertEqual(self.logged(), ["server force quit"])

    def test_who_came_a_moment_ago_is_heard_first(self) -> None:
        """Its first request is answered, then it is closed; also when it came while the server left already."""
        self.start()
        for come in (lambda: None, self.start_again):
            come()
            self.world.server.stop()
            self.world.settle()
            self.assertFalse(self.client.gone)
            self.send(encode_request(7, Opcode.PING))
            self.assertEqual([answer.id for answer in self.client.answers], [7])
            self.assertTrue(self.client.gone)
        self.assertEqual(self.logged(), ["server force quit"] * 2)

    def start_again(self) -> None:
        self.stream, self.client = self.world.connect()

    def test_but_not_for_ever(self) -> None:
        """One that says nothing has a second."""
        self.start()
        drained = self.world.server.stop()
        assert drained is not None
        self.world.clock.advance(0.9)
        self.world.settle()
        self.assertNoResult(drained)
        self.world.clock.advance(0.2)
        self.world.settle()
        self.assertTrue(self.client.gone)
        self.successResultOf(drained)

    def test_force_quit(self) -> None:
        """At once, whatever is being worked on."""
        self.start(multiplex_queue_depth=8, threads=100)
        self.send(encode_request(1, RSA_SIGN, key("rsa2048").ski, DIGEST))
        self.world.server.force_quit()
        self.world.settle()
        self.assertEqual((self.client.answers, self.logged()), ([], ["server force quit"]))
        self.world.threads.work()
        self.assertEqual(self.world.server.requests[3].alive, 0)


class MultiplexTests(SynchronousTestCase):
    """Several requests of one connection at a time."""

    def start(self, **options: Any) -> None:
        self.world = World("rsa2048", "p256", threads=options.pop("threads", 100), **options)
        self.stream, self.client = self.world.connect()

    def sign(self, *numbers: int) -> None:
        self.stream.write(b"".join(encode_request(number, RSA_SIGN, key("rsa2048").ski, DIGEST) for number in numbers))
        self.world.settle()

    def ids(self, client: Client | None = None) -> list[int]:
        self.world.settle()
        return [answer.id for answer in (client or self.client).answers]

    def test_answers_come_as_they_are_done(self) -> None:
        """Out of order, and a ping overtakes them all."""
        self.start(multiplex_queue_depth=8)
        self.sign(1, 2, 3)
        self.stream.write(encode_request(4, Opcode.PING))
        self.assertEqual(self.ids(), [4])
        self.world.threads.work(1)
        self.world.threads.work()
        self.assertEqual(self.ids(), [4, 2, 1, 3])

    def test_no_more_than_the_depth_at_a_time(self) -> None:
        """Then the next waits for one that is done."""
        self.start(multiplex_queue_depth=2)
        self.sign(1, 2, 3, 4)
        self.assertEqual([job.number for job in self.world.threads.jobs], [1, 2])
        self.world.threads.work(1)
        self.assertEqual([job.number for job in self.world.threads.jobs], [1, 3])
        self.world.threads.work()
        self.world.threads.work()
        self.assertEqual(self.ids(), [2, 1, 3, 4])

    def test_without_it_one_by_one_in_order(self) -> None:
        """A depth of 0 and of 1."""
        for depth in (0, 1):
            self.start(multiplex_queue_depth=depth)
            self.sign(1, 2, 3)
            for _ in range(3):
                self.assertEqual(len(self.world.threads.jobs), 1)
                self.world.threads.work()
            self.assertEqual(self.ids(), [1, 2, 3])

    def test_brief_operations_are_done_here(self) -> None:
        """ECDSA takes no longer than the way to a thread."""
        self.start(multiplex_queue_depth=8)
        self.stream.write(encode_request(1, Opcode.ECDSA_SIGN_SHA256, key("p256").ski, DIGEST))
        self.assertEqual((self.ids(), self.world.threads.jobs), ([1], []))

    def test_what_threads_have_no_room_for_is_done_here(self) -> None:
        """Nothing is refused."""
        self.start(multiplex_queue_depth=8, threads=2)
        self.sign(1, 2, 3)
        self.assertEqual((self.ids(), len(self.world.threads.jobs)), ([3], 2))

    def test_a_client_that_ends_has_its_answers(self) -> None:
        """All of them, then the connection is closed."""
        self.start(multiplex_queue_depth=8)
        self.sign(1, 2)
        self.stream.loseWriteConnection()
        self.world.settle()
        self.assertFalse(self.client.gone)
        self.world.threads.work()
        self.assertEqual((self.ids(), self.client.gone), ([1, 2], True))
        self.assertEqual(self.world.logs.task.records[0][0], "no error")

    def test_so_has_one_that_sends_what_is_no_request(self) -> None:
        """What was asked before it is answered."""
        self.start(multiplex_queue_depth=8)
        self.sign(1)
        self.stream.write(b"\x02" * 8)
        self.world.settle()
        self.assertFalse(self.client.gone)
        self.world.threads.work()
        self.assertEqual((self.ids(), self.client.gone), ([1], True))

    def test_what_takes_too_long_has_failed(self) -> None:
        """Error 1 after async_op_timeout; the late result is dropped, and its place in the limit is free then."""
        self.start(multiplex_queue_depth=2, async_op_timeout=1.0, concurrency_limit=1)
        self.sign(1)
        self.world.clock.advance(2.1)
        self.assertEqual(self.ids(), [1])
        self.assertEqual(codes(self.client.answers), [1])
        self.sign(2)
        self.assertEqual([job.number for job in self.world.threads.jobs], [1])
        self.world.threads.work()
        self.world.settle()
        self.world.threads.work()
        self.assertEqual((self.ids(), codes(self.client.answers)), ([1, 2], [1, 0]))
        self.assertEqual(self.world.server.requests[3].alive, 0)

    def test_the_limit_is_over_all_connections_and_makes_them_wait(self) -> None:
        """In turn, and none is refused."""
        self.start(multiplex_queue_depth=8, concurrency_limit=2)
        other, second = self.world.connect()
        self.sign(1, 2, 3)
        other.write(encode_request(10, RSA_SIGN, key("rsa2048").ski, DIGEST))
        self.world.settle()
        self.assertEqual([job.number for job in self.world.threads.jobs], [1, 2])
        most = 0
        while self.world.threads.jobs:
            most = max(most, len(self.world.threads.jobs))
            self.world.threads.work(0)
            self.world.settle()
        self.assertEqual(most, 2)
        self.assertEqual((self.ids(), self.ids(second)), ([1, 2, 3], [10]))

    def test_one_that_waits_and_goes_gives_its_turn_up(self) -> None:
        """The others are not kept by it."""
        self.start(multiplex_queue_depth=8, concurrency_limit=1)
        self.sign(1)
        gone, _ = self.world.connect()
        gone.write(encode_request(5, RSA_SIGN, key("rsa2048").ski, DIGEST))
        last, third = self.world.connect()
        last.write(encode_request(6, RSA_SIGN, key("rsa2048").ski, DIGEST))
        self.world.settle()
        gone.abortConnection()
        self.world.settle()
        self.world.threads.work()
        self.world.settle()
        self.world.threads.work()
        self.assertEqual(self.ids(third), [6])


class PressureTests(SynchronousTestCase):
    """A client that sends without end, or takes nothing."""

    def test_what_waits_is_bounded(self) -> None:
        """No more is read once a longest message's worth of requests waits."""
        world = World("rsa2048", threads=100, multiplex_queue_depth=1)
        stream, client = world.connect()
        request = encode_request(1, RSA_SIGN, key("rsa2048").ski, DIGEST)
        for _ in range(1000):
            stream.write(request)
        world.settle()
        connection = next(iter(world.server.connections))
        self.assertLess(connection._splitter.held, 2 * MAX_MESSAGE + 65536)  # type: ignore[attr-defined]
        self.assertGreater(stream.queued, 500_000)
        for _ in range(1000):
            world.threads.work()
            world.settle()
        self.assertEqual(len(client.answers), 1000)

    def test_who_takes_no_answers_is_asked_for_no_more(self) -> None:
        """Answers that wait are bounded, and go on when taken."""
        world = World(multiplex_queue_depth=8)
        stream, client = world.connect(window=4096)
        stream.pauseProducing()
        for number in range(2000):
            stream.write(encode_request(number, Opcode.PING, payload=bytes(900)))
        world.settle()
        self.assertLess(world.server.requests[1].total, 200)
        stream.resumeProducing()
        world.settle()
        self.assertEqual([answer.id for answer in client.answers], list(range(2000)))


class CountTests(SynchronousTestCase):
    """Metrics by name."""

    def test_metrics(self) -> None:
        """Totals by request, failures by reason, durations by quantile; tags of the server, its configuration and those added later."""
        world = World("rsa2048", extra_metrics_tags=(("cluster", "one"),), duration_stats=HistogramOptions(rotate=4.0))
        world.server.add_tag("row", "b")
        ski = key("rsa2048").ski
        world.ask(encode_request(1, RSA_SIGN, ski, DIGEST), encode_request(2, RSA_SIGN, NO_KEY, DIGEST), encode_request(3, 0x77))
        found = {(sample.name, *(value for name, value in sample.tags if name in ("request", "reason"))): sample for sample in world.samples()}
        self.assertEqual(
            {name: sample.value for name, sample in found.items()},
            {
                ("server.task.total",): 1,
                ("server.task.alive",): 1,
                ("server.request.total", "no_op"): 1,
                ("server.request.alive", "no_op"): 0,
                ("server.request.failed", "no_op", "bad_op_code"): 1,
                ("server.request.total", "rsa_sign"): 2,
                ("server.request.alive", "rsa_sign"): 0,
                ("server.request.passed", "rsa_sign"): 1,
                ("server.request.failed", "rsa_sign", "key_not_found"): 1,
            },
        )
        self.assertEqual(found[("server.task.total",)].tags, (("server", "default"), ("cluster", "one"), ("row", "b")))
        world.server.add_tag("cluster", "two")
        for sample in world.samples():
            self.assertEqual(dict(sample.tags)["cluster"], "two")
            self.assertEqual(sample.state, (("online", "y"),))
        world.server.stats.online = False
        self.assertEqual({sample.state for sample in world.samples()}, {(("online", "n"),)})

    def test_counts_outlive_their_process(self) -> None:
        """Where a worker is replaced, its successor counts on; what is alive begins anew."""
        memory = Memory(1)
        for total in (2, 4):
            world = World(lasting=Lasting(memory.ledger_of(0)))
            world.ask(encode_request(5, RSA_SIGN, NO_KEY, DIGEST), encode_request(6, 0x77))
            found = {sample.name: sample.value for sample in world.samples()}
            self.assertEqual(found["server.task.total"], total // 2)
            self.assertEqual(sum(sample.value for sample in world.samples() if sample.name == "server.request.failed"), total)
            memory.clear(0)

    def test_added_tags_have_an_end(self) -> None:
        """One that is there may be changed."""
        world = World()
        for number in range(64):
            world.server.add_tag(f"t{number}", "x")
        self.assertRaises(ConfigError, world.server.add_tag, "one-more", "x")
        world.server.add_tag("t0", "y")

    def test_durations(self) -> None:
        """In nanoseconds, once a window is full."""
        world = World("rsa2048", threads=10, multiplex_queue_depth=4)
        stream, _ = world.connect()
        stream.write(encode_request(1, RSA_SIGN, key("rsa2048").ski, DIGEST))
        world.settle()
        world.clock.advance(0.5)
        world.threads.work()
        world.clock.advance(4)
        told = {dict(sample.tags)["quantile"]: sample.value for sample in world.samples() if sample.name == "server.request.duration"}
        self.assertEqual(list(told), ["min", "max", "mean", "0.50", "0.80", "0.90", "0.95", "0.99"])
        for value in told.values():
            self.assertLessEqual(abs(value - 0.5e9), 0.01e9)

    def test_a_failed_request_is_logged(self) -> None:
        """With its connection's task, its id, when and how long."""
        world = World()
        world.ask(encode_request(5, RSA_SIGN, NO_KEY, DIGEST))
        message, fields = world.logs.request.records[0]
        self.assertEqual(message, "no matching certificate ID")
        self.assertEqual(list(fields), ["task_id", "msg_id", "create_at", "process_time"])


class ReloadTests(SynchronousTestCase):
    """A new configuration in place."""

    def test_connections_stay_where_they_can(self) -> None:
        """Not when the socket, TLS or the logs change."""
        world = World(multiplex_queue_depth=4)
        server = world.server
        import dataclasses

        for change, stays in (({"multiplex_queue_depth": 9}, True), ({"concurrency_limit": 1}, True), ({"shared_logger": "x"}, False)):
            self.assertEqual(server.accepts(dataclasses.replace(server.config, **change)), stays, change)
