# SPDX-License-Identifier: Apache-2.0
"""The control server: bounded in size, time and clients, and for its own user."""

from __future__ import annotations

import contextlib
import json
import os
import resource
import shutil
import socket
import tempfile
from pathlib import Path
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.internet.testing import StringTransport
from twisted.internet.threads import deferToThread
from twisted.trial.unittest import SynchronousTestCase, TestCase

from g3.control.client import ControlClient, NotConnected
from g3.control.endpoint import ControlSocket
from g3.control.messages import MAX_REQUEST, ControlError, answer, parse_answer, parse_request, request
from g3.control.server import MAX_CLIENTS, ControlFactory, ControlListener, ControlProtocol, peer_uid
from g3.errors import ConfigError
from g3.net.listen import EXHAUSTED_PAUSE


class Transport(StringTransport):
    aborted = False

    def abortConnection(self) -> None:
        self.aborted = True
        self.loseConnection()


class ProtocolTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.clock = Clock()
        self.asked: list[tuple[str, dict[str, Any]]] = []
        self.waiting: Deferred[Any] = Deferred()
        self.factory = ControlFactory(self.clock, self.run_command, receive_timeout=30, send_timeout=1)
        self.protocol, self.transport = self.connect()

    def connect(self) -> tuple[ControlProtocol, Transport]:
        protocol, transport = self.factory.buildProtocol(None), Transport()
        protocol.makeConnection(transport)
        return protocol, transport

    async def run_command(self, command: str, arguments: dict[str, Any]) -> Any:
        self.asked.append((command, arguments))
        if command == "wait":
            return await self.waiting
        if command == "refuse":
            raise ConfigError(["one", "two"])
        if command == "crash":
            raise ZeroDivisionError
        return {"echo": arguments}

    def answer(self) -> Any:
        value = self.transport.value()
        self.transport.clear()
        return json.loads(value)

    def test_a_request_is_a_line_and_so_is_its_answer(self) -> None:
        """In pieces as they come."""
        for byte in request("x", {"a": 1}):
            self.protocol.dataReceived(bytes([byte]))
        self.assertEqual(self.answer(), {"result": {"echo": {"a": 1}}})

    def test_the_next_request_waits_for_the_answer(self) -> None:
        """One command at a time, in order; meanwhile nothing is read."""
        self.protocol.dataReceived(request("wait", {}) + request("x", {}))
        self.assertEqual([command for command, _ in self.asked], ["wait"])
        self.assertEqual(self.transport.producerState, "paused")
        self.waiting.callback(1)
        lines = self.transport.value().splitlines()
        self.assertEqual([json.loads(line) for line in lines], [{"result": 1}, {"result": {"echo": {}}}])

    def test_what_is_no_request_is_answered_with_an_error(self) -> None:
        """Whatever the bytes."""
        for line in (b"\xff\xfe\n", b"[]\n", b"{}\n", b'{"command": 1}\n', b'{"command": "x", "arguments": 3}\n', b"[" * 5000 + b"\n"):
            self.protocol.dataReceived(line)
            self.assertEqual(self.answer()["error"]["code"], -1)
        self.assertEqual(self.asked, [])

    def test_a_refusal_has_all_reasons(self) -> None:
        """One line each."""
        self.protocol.dataReceived(request("refuse", {}))
        self.assertEqual(self.answer(), {"error": {"code": -1, "reason": "one\ntwo"}})

    def test_a_defect_is_an_error_for_the_client_and_a_traceback_in_the_log(self) -> None:
        """The connection goes on."""
        self.protocol.dataReceived(request("crash", {}))
        self.assertIn("ZeroDivisionError", self.answer()["error"]["reason"])
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)
        self.protocol.dataReceived(request("x", {}))
        self.assertIn("result", self.answer())

    def test_a_line_without_end_is_cut_off(self) -> None:
        """No more than MAX_REQUEST bytes are kept."""
        for _ in range(MAX_REQUEST // 65536 + 1):
            self.protocol.dataReceived(b"x" * 65536)
        self.assertIn("at most", self.answer()["error"]["reason"])
        self.assertTrue(self.transport.disconnecting)

    def test_a_client_that_says_nothing_is_disconnected(self) -> None:
        """After the receive timeout, counted from the last answer."""
        self.clock.advance(29)
        self.protocol.dataReceived(request("x", {}))
        self.clock.advance(30)
        self.assertFalse(self.transport.aborted)
        self.clock.advance(1)
        self.assertTrue(self.transport.aborted)

    def test_a_slow_command_is_not_a_slow_client(self) -> None:
        """While a command runs no timeout runs."""
        self.protocol.dataReceived(request("wait", {}))
        self.clock.advance(3600)
        self.assertFalse(self.transport.aborted)

    def test_a_client_that_is_gone_gets_no_answer(self) -> None:
        """And nothing stays scheduled."""
        self.protocol.dataReceived(request("wait", {}))
        self.protocol.connectionLost()
        self.protocol.connected = 0
        self.waiting.callback(1)
        self.assertEqual(self.transport.value(), b"")
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_there_are_only_so_many_clients(self) -> None:
        """One more is disconnected, the others stay."""
        others = [self.connect()[1] for _ in range(MAX_CLIENTS)]
        self.assertEqual([each.aborted for each in others], [False] * (MAX_CLIENTS - 1) + [True])


class MessageTests(SynchronousTestCase):
    def test_messages_come_back(self) -> None:
        """Encoding then decoding is nothing."""
        self.assertEqual(parse_request(request("c", {"name": "å\n"})), ("c", {"name": "å\n"}))
        self.assertEqual(parse_answer(answer(["a"])), ["a"])

    def test_a_request_that_is_too_long_is_not_sent(self) -> None:
        """The client says so itself."""
        with self.assertRaises(ControlError):
            request("c", {"data": "x" * MAX_REQUEST})

    def test_an_answer_that_is_none_is_an_error(self) -> None:
        """Whatever the bytes."""
        for line in (b"{}", b"3", b'{"error": 3}', b"\x00"):
            with self.assertRaises(ControlError):
                parse_answer(line)


class SocketTests(TestCase):
    """With real sockets."""

    def setUp(self) -> None:
        self.directory = Path(tempfile.mkdtemp(prefix="g3c"))
        self.addCleanup(shutil.rmtree, self.directory, ignore_errors=True)
        self.path = self.directory / "a.sock"

    def listen(self, allowed: Any) -> None:
        from twisted.internet import reactor

        async def run(command: str, _arguments: dict[str, Any]) -> Any:
            return command

        self.factory = ControlFactory(reactor, run)
        listener = ControlListener(reactor, ControlSocket(self.path, replace=False), self.factory, allowed)
        listener.start()
        self.addCleanup(listener.stop)
        self.addCleanup(self.factory.close)

    def ask(self) -> Any:
        with ControlClient(self.path, timeout=10) as client:
            return client.call("hello")

    async def test_our_own_user_is_served(self) -> None:
        """A client and the server meet over a real socket."""
        uids: list[int] = []
        self.listen(lambda uid: uids.append(uid) or True)  # type: ignore[func-returns-value]
        self.assertEqual(await deferToThread(self.ask), "hello")
        self.assertEqual(uids, [os.geteuid()])

    async def test_another_user_is_not(self) -> None:
        """The connection is closed before a byte is read."""
        self.listen(lambda _uid: False)
        await self.assertFailure(deferToThread(self.ask), NotConnected)

    def test_out_of_descriptors_it_rests_and_comes_back(self) -> None:
        """No busy loop; who waits is served later."""
        clock: Any = Clock()
        readers: set[Any] = set()
        clock.addReader, clock.removeReader = readers.add, readers.discard
        control = ControlSocket(self.path, replace=False)
        listener = ControlListener(clock, control, ControlFactory(clock, None), lambda _uid: True)  # type: ignore[arg-type]
        listener.start()
        holes = []
        limits = resource.getrlimit(resource.RLIMIT_NOFILE)
        with contextlib.closing(socket.socket(socket.AF_UNIX)) as client:
            client.connect(str(self.path))
            resource.setrlimit(resource.RLIMIT_NOFILE, (max(int(each.name) for each in Path("/proc/self/fd").iterdir()) + 1, limits[1]))
            try:
                with contextlib.suppress(OSError):
                    while True:
                        holes.append(os.open(os.devnull, os.O_RDONLY))
                for _ in range(2):
                    listener.doRead()
                    self.assertEqual((readers, len(clock.getDelayedCalls())), (set(), 1))
                    clock.advance(EXHAUSTED_PAUSE)
                    self.assertEqual(readers, {listener})
                listener.doRead()
            finally:
                resource.setrlimit(resource.RLIMIT_NOFILE, limits)
                for hole in holes:
                    os.close(hole)
        listener.stop()
        self.assertEqual((readers, clock.getDelayedCalls()), (set(), []))

    def test_peer_credentials_are_the_kernels(self) -> None:
        """SO_PEERCRED, which a client cannot forge."""
        ours, theirs = socket.socketpair(socket.AF_UNIX)
        with ours, theirs:
            self.assertEqual(peer_uid(ours), os.geteuid())

    def test_nobody_there_is_told_with_the_path(self) -> None:
        """No traceback for a daemon that does not run."""
        with self.assertRaises(NotConnected) as caught:
            self.ask()
        self.assertIn(str(self.path), str(caught.exception))
