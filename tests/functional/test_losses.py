# SPDX-License-Identifier: Apache-2.0
"""http_proxy where there is too much of something: too many clients, too much that is offered. Nobody is lost, and nothing is left."""

from __future__ import annotations

import contextlib
import os
import selectors
import time
from pathlib import Path
from typing import TYPE_CHECKING

from tests.functional import harness
from tests.functional.harness import COMMANDS
from tests.functional.peers import read_head
from tests.functional.test_http_exchanges import OK, ExchangeCase
from tests.functional.test_http_proxy import get

if TYPE_CHECKING:
    import socket

    from tests.functional.rawhttp import RawClient

#: Clock ticks of /proc in a second.
TICKS = os.sysconf("SC_CLK_TCK")


def cpu_seconds(pid: int) -> float:
    """CPU that a process has used."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / TICKS


class DescriptorTests(ExchangeCase):
    """More clients than descriptors."""

    limit = 256

    def setUp(self) -> None:
        super().setUp()
        words = ["prlimit", f"--nofile={self.limit}:{self.limit}", *COMMANDS["twistd"]]
        if os.geteuid() == 0:
            # Who may raise the limit would.
            words = ["setpriv", "--bounding-set=-sys_resource", *words]
        self.patch(harness, "COMMANDS", {**COMMANDS, "few": words})
        self.command = "few"

    def test_400_clients_with_256_descriptors(self) -> None:
        """Who is served is served, tunnels move on, the others wait without costing CPU; ctl answers; when they leave all is as before."""

        def script(connection: socket.socket, _number: int) -> None:
            while read_head(connection):
                connection.sendall(OK)

        origin = self.scripted(script)
        port = self.proxy()
        tunnels = [self.client(port) for _ in range(40)]
        for tunnel in tunnels:
            self.assertEqual(tunnel.ask(b"CONNECT 127.0.0.1:%d HTTP/1.1\r\nHost: x\r\n\r\n" % origin.port, "CONNECT").status, 200)
        crowd = [self.client(port) for _ in range(400)]
        for client in crowd:
            client.send(get(origin.port))
        served = self.served(crowd)
        self.assertTrue(50 <= served < 100, served)
        used = cpu_seconds(self.daemon.pid)
        time.sleep(2)
        used = cpu_seconds(self.daemon.pid) - used
        self.assertLess(used, 0.2)
        for tunnel in tunnels:
            self.assertEqual(tunnel.ask(get(origin.port)).body, b"ok")
        self.assertEqual(self.daemon.ctl("version").returncode, 0)
        self.assertEqual(self.tasks_alive(), 40)
        # Each that leaves makes room for one that waits.
        waiting = crowd[served:]
        for client in crowd[:served]:
            client.close()
        self.assertGreater(self.served(waiting), 50)
        for client in waiting:
            client.close()
        left = time.monotonic()
        for _ in range(20):
            self.assertEqual(self.client(port).ask(get(origin.port)).body, b"ok")
        self.assertLess(time.monotonic() - left, 2)

    def served(self, clients: list[RawClient]) -> int:
        """How many of the first of them have their answer, which is the right one, when no more come."""
        done = 0
        with selectors.DefaultSelector() as waiting:
            for client in clients:
                waiting.register(client.sock, selectors.EVENT_READ, client)
            while ready := waiting.select(1):
                for key, _ in ready:
                    self.assertEqual(key.data.answer().body, b"ok")
                    waiting.unregister(key.fileobj)
                    done += 1
        for client in clients[done:]:
            client.sock.setblocking(False)
            with contextlib.suppress(BlockingIOError):
                self.fail(f"served out of turn: {client.sock.recv(100)!r}")
        return done
