# SPDX-License-Identifier: Apache-2.0
"""The keyless client: answers find their requests, and what goes wrong is told to all who wait."""

from __future__ import annotations

from typing import Any

from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.error import ConnectionDone
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from g3.keyless import client as module
from g3.keyless.client import KeylessClient, KeylessRefused
from g3.proto.keyless import KeylessError, Opcode, Splitter, encode_error, encode_pong, encode_response, parse_request
from g3.testing.streams import Recorder, memory_stream_pair, pump


class KeylessClientTests(SynchronousTestCase):
    """Against a server that the test is."""

    def start(self, first_id: int = 1) -> None:
        self.clock = Clock()
        ours, self.theirs = memory_stream_pair(self.clock)
        self.client, self.server = KeylessClient(first_id), Recorder()
        ours.start(self.client)
        self.theirs.start(self.server)
        pump(self.clock)

    def setUp(self) -> None:
        self.start()

    def heard(self) -> list[Any]:
        """The requests so far."""
        pump(self.clock)
        splitter, found = Splitter(), []
        splitter.feed(bytes(self.server.data))
        while (message := splitter.take()) is not None:
            found.append(parse_request(*message))
        return found

    def say(self, *messages: bytes) -> None:
        self.theirs.write(b"".join(messages))
        pump(self.clock)

    def test_answers_in_any_order(self) -> None:
        """Each to its request; a ping's is what was sent."""
        one, two, three = self.client.ask(Opcode.RSA_SIGN_SHA256, b"k" * 20, b"1"), self.client.ask(5, b"k" * 20, b"2"), self.client.ping(b"3")
        self.assertEqual([(request.id, request.payload) for request in self.heard()], [(1, b"1"), (2, b"2"), (3, b"3")])
        self.say(encode_pong(3, b"3"), encode_response(2, b"B"), encode_response(1, b"A"))
        self.assertEqual([self.successResultOf(each) for each in (one, two, three)], [b"A", b"B", b"3"])
        self.assertEqual(self.client.waiting, 0)

    def test_an_error_has_its_code(self) -> None:
        """Also one that nobody named."""
        for number, code, words in ((1, 2, "no matching certificate ID"), (2, 99, "error 99")):
            asked = self.client.ask(5, b"k" * 20, b"")
            self.say(encode_error(number, code))
            error = self.failureResultOf(asked, KeylessRefused).value
            self.assertEqual((error.code, str(error)), (code, f"key server: {words}"))  # type: ignore[attr-defined]

    def test_ids_begin_again_and_pass_over_those_in_use(self) -> None:
        """After 2**32."""
        self.start(first_id=0xFFFFFFFF)
        first = self.client.ping(b"first")
        second = self.client.ping(b"second")
        self.client._next = 0xFFFFFFFF
        third = self.client.ping(b"third")
        self.assertEqual([request.id for request in self.heard()], [0xFFFFFFFF, 0, 1])
        self.say(encode_pong(1, b"third"), encode_pong(0, b"second"), encode_pong(0xFFFFFFFF, b"first"))
        self.assertEqual([self.successResultOf(each) for each in (first, second, third)], [b"first", b"second", b"third"])

    def test_who_gives_up_leaves_the_id_taken(self) -> None:
        """Until the late answer is here, which is dropped."""
        asked = self.client.ping(b"x")
        asked.cancel()
        self.failureResultOf(asked, CancelledError)
        self.assertEqual(self.client.waiting, 1)
        self.say(encode_pong(1, b"x"))
        self.assertEqual(self.client.waiting, 0)

    def test_the_end_is_told_to_all_who_wait(self) -> None:
        """And to who asks later."""
        asked = [self.client.ping(), self.client.ping()]
        lost: Deferred[None] = self.client.lost
        self.theirs.loseConnection()
        pump(self.clock)
        for each in (*asked, self.client.ping()):
            self.failureResultOf(each, ConnectionDone)
        self.successResultOf(lost)

    def test_what_is_no_answer_ends_the_connection(self) -> None:
        """An answer nobody asked for, a request, another version."""
        for wrong in (encode_response(9, b""), bytes.fromhex("01000004 00000001 110001f1"), b"\x02" * 8):
            self.start()
            asked = self.client.ping()
            self.say(wrong)
            self.failureResultOf(asked, KeylessError)
            self.assertTrue(self.theirs.disconnected)

    def test_who_waits_is_bounded(self) -> None:
        """So many requests without an answer."""
        self.patch(module, "MOST_WAITING", 2)
        asked = [self.client.ping(), self.client.ping()]
        self.assertRaises(RuntimeError, self.client.ping)
        self.client.close()
        pump(self.clock)
        for each in asked:
            self.failureResultOf(each)
