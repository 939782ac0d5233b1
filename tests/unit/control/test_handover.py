# SPDX-License-Identifier: Apache-2.0
"""Asking a daemon for its sockets, and whatever it may answer."""

from __future__ import annotations

import json
import os
import socket
import tempfile
import threading
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from twisted.internet.protocol import Factory
from twisted.protocols.basic import LineReceiver
from twisted.trial.unittest import SynchronousTestCase, TestCase

from g3.control.handover import Predecessor, take
from g3.control.messages import ControlError, answer, failure
from g3.control.server import send_beside
from g3.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Callable


class TakeTests(SynchronousTestCase):
    def setUp(self) -> None:
        directory = tempfile.TemporaryDirectory(prefix="g3t")
        self.addCleanup(directory.cleanup)
        self.path = Path(directory.name) / "x.sock"

    def answered_by(self, respond: Callable[[socket.socket], None]) -> threading.Thread:
        """The next client is answered so."""
        listener = socket.socket(socket.AF_UNIX)
        listener.bind(str(self.path))
        listener.listen()

        def serve() -> None:
            with listener, listener.accept()[0] as client:
                client.recv(4096)
                respond(client)

        thread = threading.Thread(target=serve)
        thread.start()
        self.addCleanup(thread.join)
        return thread

    def refused(self, text: str) -> None:
        error = self.assertRaises(ConfigError, take, self.path, {os.geteuid()}, 5)
        self.assertIn(text, str(error))

    def listening(self, count: int) -> list[socket.socket]:
        sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
        for sock in sockets:
            self.addCleanup(sock.close)
        return sockets

    def test_nobody_is_no_error(self) -> None:
        """Neither without a file nor with one that somebody left."""
        self.assertIsNone(take(self.path, {os.geteuid()}))
        with socket.socket(socket.AF_UNIX) as left:
            left.bind(str(self.path))
        self.assertIsNone(take(self.path, {os.geteuid()}))

    def test_sockets_come_with_their_keys(self) -> None:
        """More than one message holds, and datagram sockets too; nobody inherits them unasked."""
        sockets = self.listening(300)
        datagrams = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.addCleanup(datagrams.close)
        datagrams.bind(("127.0.0.1", 0))
        keys = [str(number) for number in range(300)]
        line = answer({"listeners": [*keys, "udp"], "passed": 1, "version": "9"})
        numbers = [sock.fileno() for sock in (*sockets, datagrams, sockets[7])]
        self.answered_by(lambda client: client.sendall(send_beside(client, line, numbers)))
        estate = take(self.path, {os.geteuid()})
        assert estate is not None
        self.addCleanup(estate.close)
        names = {key: sock.getsockname() for key, sock in estate.listeners.items()}
        self.assertEqual(names, dict(zip([*keys, "udp"], [sock.getsockname() for sock in (*sockets, datagrams)], strict=True)))
        self.assertEqual(estate.listeners["udp"].type & ~socket.SOCK_NONBLOCK, socket.SOCK_DGRAM)
        self.assertEqual([sock.getsockname() for sock in estate.passed], [sockets[7].getsockname()])
        self.assertEqual(estate.told, {"version": "9"})
        self.assertFalse(any(sock.get_inheritable() or sock.getblocking() for sock in (*estate.listeners.values(), *estate.passed)))

    def test_somebody_else_is_refused(self) -> None:
        """Before anything is asked."""
        self.answered_by(lambda _: None)
        error = self.assertRaises(ConfigError, take, self.path, {os.geteuid() + 1}, 5)
        self.assertIn(f"is of uid {os.geteuid()}", str(error))

    def test_a_refusal_is_told(self) -> None:
        """One that is of another version knows no such command."""
        self.answered_by(lambda client: client.sendall(failure(ControlError("unknown command 'hand_over'"))))
        self.refused("unknown command")

    def test_one_that_hangs_up_is_told(self) -> None:
        """Without an answer."""
        self.answered_by(lambda _: None)
        self.refused("closed the connection")

    def test_an_answer_that_is_none_leaves_nothing_open(self) -> None:
        """Too few descriptors, none that is a socket, no lists: it is refused, and what came is closed."""
        (sock,) = self.listening(1)
        before = len(list(Path("/proc/self/fd").iterdir()))
        with tempfile.TemporaryFile() as file:
            cases: tuple[tuple[object, list[int]], ...] = (
                ({"listeners": ["a", "b"], "passed": 0}, [sock.fileno()]),
                ({"listeners": ["a", "b"], "passed": 0}, [file.fileno(), sock.fileno()]),
                ({"listeners": 5, "passed": 0}, [sock.fileno()]),
                ("text", [sock.fileno()]),
            )
            for result, numbers in cases:
                self.path.unlink(missing_ok=True)
                thread = self.answered_by(partial(self.say, result, numbers))
                self.refused("not")
                thread.join()
            self.assertEqual(len(list(Path("/proc/self/fd").iterdir())), before + 1)

    def say(self, result: object, numbers: list[int], client: socket.socket) -> None:
        client.sendall(send_beside(client, answer(result), numbers))


class Old(LineReceiver):
    """A daemon that is asked to leave; C{answers} are what it says to each command, nothing when there are no more."""

    delimiter = b"\n"

    def __init__(self, asked: list[object], answers: list[bytes]) -> None:
        self.asked = asked
        self.answers = answers

    def lineReceived(self, line: bytes) -> None:
        self.asked.append(json.loads(line))
        if self.answers:
            self.transport.write(self.answers.pop(0))  # type: ignore[union-attr]


class PredecessorTests(TestCase):
    def setUp(self) -> None:
        from twisted.internet import reactor

        directory = tempfile.TemporaryDirectory(prefix="g3t")
        self.addCleanup(directory.cleanup)
        self.path = Path(directory.name) / "x.sock"
        self.reactor: Any = reactor
        self.asked: list[object] = []

    def predecessor(self, *answers: bytes, uid: int | None = None, timeout: float = 10.0) -> Predecessor:
        factory = Factory.forProtocol(lambda: Old(self.asked, list(answers)))  # type: ignore[arg-type]
        port = self.reactor.listenUNIX(str(self.path), factory)
        self.addCleanup(port.stopListening)
        found = Predecessor(self.reactor, self.path, {os.geteuid() if uid is None else uid}, timeout)
        self.addCleanup(found.close)
        return found

    async def test_it_gives_up_its_socket_and_then_leaves(self) -> None:
        """It is told whose process it was."""
        old = self.predecessor(answer("success"), answer("success"))
        await old.release({"a": 1})
        self.assertEqual(self.asked, [{"command": "release_controller", "arguments": {"pid": os.getpid(), "listeners": ["a"]}}])
        await old.retire()
        self.assertEqual(self.asked[1:], [{"command": "offline", "arguments": {}}])

    async def test_it_goes_on_when_we_cannot(self) -> None:
        """After it gave up its socket."""
        old = self.predecessor(answer("success"), answer("success"))
        await old.release(())
        await old.resume()
        self.assertEqual(self.asked[1:], [{"command": "cancel_shutdown", "arguments": {}}])

    async def test_whatever_is_wrong_with_it_we_serve(self) -> None:
        """It is gone, is leaving already, or does not answer."""
        gone = Predecessor(self.reactor, self.path, {os.geteuid()})
        await gone.release(())
        await gone.retire()
        for answers in ((failure(ControlError("it is leaving already")), answer("success")), (b"nonsense\n",), ()):
            self.path = self.path.with_name(f"{self.path.name}x")
            old = self.predecessor(*answers, timeout=0.2)
            await old.release(())
            await old.retire()

    async def test_somebody_else_is_asked_nothing(self) -> None:
        """Who may have taken its place."""
        old = self.predecessor(uid=os.geteuid() + 1)
        await old.release(())
        await old.retire()
        self.assertEqual(self.asked, [])
