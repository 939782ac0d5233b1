# SPDX-License-Identifier: Apache-2.0
"""What a service manager says by the environment, and what it is told."""

from __future__ import annotations

import os
import socket
import tempfile
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from g3.apps.systemd import Notifier, at_start, notifier, passed_sockets
from g3.errors import ConfigError
from g3.net.options import TCPListen, UDPListen


class NotifierTests(SynchronousTestCase):
    def setUp(self) -> None:
        directory = tempfile.TemporaryDirectory(prefix="g3t")
        self.addCleanup(directory.cleanup)
        self.path = str(Path(directory.name) / "notify")

    def listening(self, address: str) -> socket.socket:
        sock = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.addCleanup(sock.close)
        sock.bind(address)
        sock.setblocking(False)
        return sock

    def test_both_kinds_of_address_are_told(self) -> None:
        """A path, and an abstract one."""
        name = f"g3-test-{os.getpid()}"
        for address, bound in ((self.path, self.path), (f"@{name}", f"\0{name}")):
            sock = self.listening(bound)
            Notifier(address).ready("serving")
            self.assertEqual(sock.recv(4096), b"READY=1\nSTATUS=serving")

    def test_a_reload_says_when_it_began(self) -> None:
        """In microseconds of the monotonic clock."""
        sock = self.listening(self.path)
        Notifier(self.path).reloading()
        state = dict(line.split("=") for line in sock.recv(4096).decode().splitlines())
        self.assertEqual(state["RELOADING"], "1")
        self.assertGreater(int(state["MONOTONIC_USEC"]), 0)

    def test_who_was_succeeded_is_silent(self) -> None:
        """The successor is the service now."""
        sock = self.listening(self.path)
        told = Notifier(self.path, 1000)
        told.succeeded_by(17)
        told.alive()
        told.stopping()
        self.assertEqual(sock.recv(4096), b"MAINPID=17")
        self.assertRaises(BlockingIOError, sock.recv, 4096)
        self.assertEqual(told.watchdog, 0)

    def test_nobody_there_is_no_error(self) -> None:
        """Also one that does not read."""
        Notifier().ready("x")
        Notifier(self.path).ready("x")
        self.listening(self.path)
        told = Notifier(self.path)
        for _ in range(3000):
            told.alive()

    def test_the_environment_is_read_once(self) -> None:
        """Nobody we start sees it; a watchdog of another process is none of ours."""
        environment = {"NOTIFY_SOCKET": "/run/x", "WATCHDOG_USEC": "30000000", "WATCHDOG_PID": str(os.getpid()), "HOME": "/"}
        found = notifier(environment)
        self.assertEqual((found.address, found.watchdog, environment), ("/run/x", 30_000_000, {"HOME": "/"}))
        self.assertEqual(notifier({"NOTIFY_SOCKET": "@x", "WATCHDOG_USEC": "5", "WATCHDOG_PID": "1"}).watchdog, 0)
        self.assertEqual(notifier({"NOTIFY_SOCKET": "@x", "WATCHDOG_USEC": "5"}).watchdog, 5)
        self.assertEqual(notifier({"NOTIFY_SOCKET": "@x", "WATCHDOG_USEC": "often"}).watchdog, 0)
        self.assertEqual(notifier({"NOTIFY_SOCKET": "vsock:1:2", "WATCHDOG_USEC": "5"}).address, "")


class PassedTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.tcp, self.udp, self.connected = socket.create_server(("127.0.0.1", 0)), socket.socket(type=socket.SOCK_DGRAM), socket.socket()
        self.udp.bind(("127.0.0.1", 0))
        self.connected.connect(self.tcp.getsockname())
        # A run of numbers that nobody else has.
        self.first = 700
        for number, sock in enumerate((self.tcp, self.udp, self.connected), self.first):
            os.dup2(sock.fileno(), number)
            self.addCleanup(sock.close)

    def environment(self, **changes: str) -> dict[str, str]:
        return {"LISTEN_PID": str(os.getpid()), "LISTEN_FDS": "3", "LISTEN_FDNAMES": "web:dns:", **changes}

    def test_a_listener_gets_the_one_of_its_address(self) -> None:
        """As often as it asks: a reload gives it back and takes it again. It is not ours alone to close."""
        passed = passed_sockets(self.environment(), self.first)
        options = TCPListen(address=self.tcp.getsockname(), backlog=33)
        for _ in range(2):
            with passed.bind_tcp(options) as sock:
                self.assertEqual(sock.getsockname(), self.tcp.getsockname())
                self.assertFalse(sock.get_inheritable() or sock.getblocking())
        with passed.bind_udp(UDPListen(address=self.udp.getsockname())) as sock:
            self.assertEqual(sock.getsockname(), self.udp.getsockname())
        (line,) = passed.unused()
        self.assertIn("unnamed (descriptor 702): TCP 127.0.0.1:", line)
        self.assertIn("does not listen", line)
        for each in passed.sockets():
            each.close()

    def test_the_variables_are_those_of_the_start(self) -> None:
        """Whoever took them out of the environment since; nobody we start sees them."""
        environment = {**self.environment(), "HOME": "/nowhere"}
        found = at_start(environment)
        self.assertEqual(environment, {"HOME": "/nowhere"})
        self.assertNotEqual(found.get("HOME"), "/nowhere")
        for number in range(self.first, self.first + 3):
            os.close(number)

    def test_what_cannot_be_set_is_told_as_of_one_that_is_bound(self) -> None:
        """With the address."""
        passed = passed_sockets(self.environment(), self.first)
        options = TCPListen(address=self.tcp.getsockname(), max_segment_size=10)
        error = self.assertRaises(ConfigError, passed.bind_tcp, options)
        self.assertEqual(str(error), "cannot listen on {}:{}: Invalid argument".format(*self.tcp.getsockname()))
        for each in passed.sockets():
            each.close()

    def test_others_are_bound_as_ever(self) -> None:
        """What is unused is told by name and address."""
        passed = passed_sockets(self.environment(), self.first)
        with passed.bind_tcp(TCPListen(address=("127.0.0.1", 0))) as sock:
            self.assertNotEqual(sock.getsockname(), self.tcp.getsockname())
        self.assertIn(f"web (descriptor 700): TCP 127.0.0.1:{self.tcp.getsockname()[1]}", passed.unused())
        self.assertIn(f"dns (descriptor 701): UDP 127.0.0.1:{self.udp.getsockname()[1]}", passed.unused())
        for each in passed.sockets():
            each.close()

    def test_those_of_another_process_are_left_alone(self) -> None:
        """The variables were inherited from it."""
        self.assertEqual(passed_sockets(self.environment(LISTEN_PID="1"), self.first).sockets(), [])
        self.assertEqual(passed_sockets(self.environment(LISTEN_FDS="x"), self.first).sockets(), [])
        for number in range(self.first, self.first + 3):
            os.close(number)

    def test_what_is_no_socket_is_left_out(self) -> None:
        """It is warned of."""
        with tempfile.TemporaryFile() as file:
            os.dup2(file.fileno(), self.first)
            passed = passed_sockets(self.environment(), self.first)
        self.assertEqual(len(passed.sockets()), 2)
        for each in passed.sockets():
            each.close()
        os.close(self.first)
