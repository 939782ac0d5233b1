# SPDX-License-Identifier: Apache-2.0
"""What a supervisor asks of a worker, over a real link to a real one in the same process."""

from __future__ import annotations

import os
import socket
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.error import ConnectionDone
from twisted.trial.unittest import TestCase

from g3.apps.worker import Worker
from g3.errors import ConfigError
from g3.workers import link as words
from g3.workers.member import Member, WorkerLink
from g3.workers.memory import Memory
from tests.functional.leftover import descriptors


class AskTests(TestCase):
    """A control command and its answer."""

    def setUp(self) -> None:
        from twisted.internet import reactor

        self.lost: list[Deferred[None]] = []
        self.worker = Worker(reactor, Memory(1), 0)
        self.worker._beating.stop()
        self.member = Member(0, WorkerLink())
        ours, theirs = socket.socketpair()
        for sock, link in ((ours, self.member.link), (theirs, self.worker)):
            lost: Deferred[None] = Deferred()
            link.lost = lambda lost=lost: lost.callback(None)  # type: ignore[misc]
            self.lost.append(lost)
            words.attach(reactor, sock, link)

    async def tearDown(self) -> None:
        self.member.link.transport.loseConnection()
        for lost in self.lost:
            await lost

    def messages(self) -> int:
        """How many are open."""
        return sum("g3-message" in each for each in descriptors(os.getpid()))

    async def test_long_ones_arrive_and_nothing_stays_open(self) -> None:
        """Neither with us nor with the worker, as soon as the answer is there."""

        async def shorten(command: str, arguments: dict[str, Any]) -> Any:
            return command, len(arguments["text"]), "y" * 100

        async def lengthen(_command: str, arguments: dict[str, Any]) -> Any:
            return arguments["text"] * 100000

        for self.worker._commands, text, result in (
            (shorten, "x" * 1000000, ["say", 1000000, "y" * 100]),
            (lengthen, "0123456789", "0123456789" * 100000),
        ):
            self.assertEqual(await self.member.ask({"command": "say", "arguments": {"text": text}}), {"result": result})
            self.assertEqual(self.messages(), 0)

    async def test_errors_are_answers(self) -> None:
        async def refuse(_command: str, _arguments: dict[str, Any]) -> Any:
            raise ConfigError("no")

        self.assertEqual(await self.member.ask({"command": "x", "arguments": {}}), {"error": "not serving yet"})
        self.worker._commands = refuse
        self.assertEqual(await self.member.ask({"command": "x", "arguments": {}}), {"error": "no"})
        self.assertEqual(self.messages(), 0)

    async def test_a_worker_that_is_lost_leaves_nothing_open(self) -> None:
        """Who asked it hears of it."""

        def never(_command: str, _arguments: dict[str, Any]) -> Deferred[None]:
            self.worker.transport.abortConnection()
            return waiting

        waiting: Deferred[None] = Deferred()
        self.worker._commands = never
        with self.assertRaises(ConnectionDone):
            await self.member.ask({"command": "x", "arguments": {}})
        waiting.callback(None)
        self.assertEqual(self.messages(), 0)
