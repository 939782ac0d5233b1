# SPDX-License-Identifier: Apache-2.0
"""What a supervisor asks of a worker, over a real link to a real one in the same process."""

from __future__ import annotations

import os
import socket
from types import SimpleNamespace
from typing import Any

from twisted.internet.defer import Deferred, fail, succeed
from twisted.internet.error import ConnectionDone
from twisted.logger import InvalidLogLevelError, globalLogPublisher
from twisted.protocols.amp import TooLong
from twisted.trial.unittest import TestCase

from g3.apps.worker import Worker
from g3.errors import ConfigError
from g3.workers import link as words
from g3.workers.member import Member, WorkerLink
from g3.workers.memory import Memory
from tests.functional.leftover import descriptors


class LinkCase(TestCase):
    """A member and its worker."""

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


class AskTests(LinkCase):
    """A control command and its answer."""

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

    async def test_what_cannot_be_written_down_is_an_error(self) -> None:
        """And the next one is answered."""
        results: list[Any] = [object(), 1]

        async def answer(_command: str, _arguments: dict[str, Any]) -> Any:
            return results.pop(0)

        self.worker._commands = answer
        self.assertIn("TypeError", (await self.member.ask({"command": "x", "arguments": {}}))["error"])
        self.assertEqual(await self.member.ask({"command": "x", "arguments": {}}), {"result": 1})
        self.assertEqual((self.messages(), len(self.flushLoggedErrors(TypeError))), (0, 1))


class Unexpected(Exception):
    """What nobody thought of."""


def fails(*_: object) -> Any:
    """At once."""
    raise Unexpected("on the way " + "x" * 20000)


class DefectTests(LinkCase):
    """An error in what answers a command is that command's alone: no worker is lost with its clients for it, and no supervisor."""

    async def assert_linked(self, error: type[Exception] = Unexpected) -> None:
        """It is logged once, and the next command is answered."""
        self.assertEqual(await self.member.ask({"command": "x", "arguments": {}}), {"error": "not serving yet"})
        self.assertEqual(len(self.flushLoggedErrors(error)), 1)

    async def test_in_a_worker(self) -> None:
        """Whether it comes at once or later."""
        daemon: Any = SimpleNamespace(close_servers=fails)
        self.worker._daemon = daemon
        with self.assertRaises(words.Failed) as caught:
            await self.member.close_servers()
        self.assertIn("Unexpected: on the way", str(caught.exception))
        await self.assert_linked()
        for daemon.drained in (fails, lambda: fail(Unexpected())):
            await self.member.drained()
            await self.assert_linked()

    async def test_in_a_roll_back(self) -> None:
        """What was staged is forgotten before anything goes wrong: who answers may go on."""
        transition: Any = SimpleNamespace(discard=fails)
        self.worker._staged = None, transition
        await self.member.roll_back()
        await self.assert_linked()
        self.assertIsNone(self.worker._staged)

    async def test_in_an_answer(self) -> None:
        """It is longer than can be sent."""
        self.patch(self.worker, "_reported", lambda step: _closed(step, succeed({"report": "x" * 65536})))
        with self.assertRaises(words.Failed):
            await self.member.commit()
        await self.assert_linked(TooLong)

    async def test_in_a_supervisor(self) -> None:
        """Of the lines for its log it has all but the bad one."""
        lines: list[str] = []
        observer = lambda event: lines.append(event.get("text", ""))  # noqa: E731
        globalLogPublisher.addObserver(observer)
        self.addCleanup(globalLogPublisher.removeObserver, observer)
        for level, text in (("no such level", "one"), ("info", "two"), ("info", words.cut("three \udcff"))):
            self.worker.tell(words.Say, level=level, namespace="n", text=text)
        await self.member.roll_back()
        await self.assert_linked(InvalidLogLevelError)
        self.assertEqual([line for line in lines if line], ["two", "three \\udcff"])


async def _closed(step: Any, answer: Deferred[Any]) -> Any:
    step.close()
    return await answer
