# SPDX-License-Identifier: Apache-2.0
"""http_proxy where there is too much of something: too many clients, too much that is offered. Nobody is lost, and nothing is left."""

from __future__ import annotations

import collections
import contextlib
import os
import selectors
import socket
import ssl
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tests.functional import harness
from tests.functional.harness import COMMANDS
from tests.functional.leftover import descriptors
from tests.functional.peers import ScriptedOrigin, read_exactly, read_head
from tests.functional.processes import free_port
from tests.functional.test_http_exchanges import MB, OK, RESET, ExchangeCase, listener_tls
from tests.functional.test_http_proxy import get

if TYPE_CHECKING:
    from collections.abc import Callable

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


class IdleTests(ExchangeCase):
    """What a tunnel costs that nobody uses."""

    def test_a_tunnel_has_its_two_sockets(self) -> None:
        """And no pipe, which has two descriptors more: not before its first byte, not after some, and those that much went through share a few."""

        def script(connection: socket.socket, _number: int) -> None:
            while size := connection.recv(8):
                connection.sendall(b"x" * int(size))

        origin = self.scripted(script)
        port = self.proxy()
        request = b"CONNECT 127.0.0.1:%d HTTP/1.1\r\nHost: x\r\n\r\n" % origin.port
        tunnels = [self.client(port)]
        self.assertEqual(tunnels[0].ask(request, "CONNECT").status, 200)
        # With the first: whoever asked by the control socket when the daemon had started is gone by now.
        before = collections.Counter(each.partition(":")[0] for each in descriptors(self.daemon.pid))
        tunnels += [self.client(port) for _ in range(59)]
        for tunnel in tunnels[1:]:
            self.assertEqual(tunnel.ask(request, "CONNECT").status, 200)
        before["socket"] += 2 * 59
        for used, size, pipes in ((0, 0, 0), (40, 1000, 0), (20, 3 * MB, 4)):
            for tunnel in tunnels[:used]:
                tunnel.send(b"%8d" % size)
                self.assertEqual(read_exactly(tunnel.sock, size), size)
            now = collections.Counter(each.partition(":")[0] for each in descriptors(self.daemon.pid))
            self.assertLessEqual(now["pipe"] - before["pipe"], pipes)
            now["pipe"] = before["pipe"]
            self.assertEqual(now, before)


class LookupTests(ExchangeCase):
    """A name server that says nothing."""

    def test_clients_that_go_while_their_name_is_looked_up_leave_nothing(self) -> None:
        """Their tasks end at once, whether they asked for a page or a tunnel; the question ends in its own time, and its socket."""
        with contextlib.closing(socket.socket(socket.AF_INET, socket.SOCK_DGRAM)) as silent:
            silent.bind(("127.0.0.1", 0))
            port = free_port()
            asks = f"{{name: r, type: c_ares, server: '127.0.0.1:{silent.getsockname()[1]}', each_timeout: 6000, each_tries: 1}}"
            self.daemon = self.start_daemon(self.config(port).replace("{name: r, type: deny_all}", asks), ports=[port])
            clients = [self.client(port) for _ in range(40)]
            for number, client in enumerate(clients):
                host = f"host{number % 10}.test"
                client.send(get(80, host=host) if number % 2 else f"CONNECT {host}:443 HTTP/1.1\r\nHost: x\r\n\r\n".encode())
            self.daemon.wait_until(lambda: self.tasks_alive() == 40, "all ask")
            for client in clients:
                client.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
                client.close()
            self.daemon.wait_until(lambda: self.tasks_alive() == 0, "none asks", 4)


class Crowd:
    """Connections that offer more than anybody takes, others that take a sip now and then, and some that offer as little, all in one thread."""

    #: What TLS takes at once: a longer block is sent whole or counts as not sent.
    block = memoryview(bytes(16384))
    #: Seconds between two sips, and bytes of one.
    pause, sip_size = 0.2, 2048

    def __init__(self) -> None:
        self._selector = selectors.DefaultSelector()
        self._sipping: list[socket.socket] = []
        self._dripping: list[socket.socket] = []
        self._lock = threading.Lock()
        self._done = threading.Event()
        self._thread = threading.Thread(target=self._run)
        #: Bytes that somebody took, by connection.
        self.taken: dict[socket.socket, int] = {}
        self._thread.start()

    def offer(self, sock: socket.socket) -> None:
        """Send without end."""
        sock.setblocking(False)
        with self._lock:
            self.taken[sock] = 0
            self._selector.register(sock, selectors.EVENT_WRITE)

    def sip(self, sock: socket.socket) -> None:
        """Read a little at a time."""
        sock.setblocking(False)
        with self._lock:
            self._sipping.append(sock)

    def drip(self, sock: socket.socket) -> None:
        """Write a little at a time."""
        sock.setblocking(False)
        with self._lock:
            self._dripping.append(sock)

    def _run(self) -> None:
        next_sip = time.monotonic()
        while not self._done.wait(0.005):
            with self._lock:
                for key, _ in self._selector.select(0):
                    self._send(key.fileobj)
                if time.monotonic() >= next_sip:
                    next_sip = time.monotonic() + self.pause
                    for sock in self._sipping:
                        with contextlib.suppress(OSError):
                            sock.recv(self.sip_size)
                    for sock in self._dripping:
                        with contextlib.suppress(OSError):
                            sock.send(self.block[: self.sip_size])

    def _send(self, sock: Any) -> None:
        try:
            for _ in range(64):
                self.taken[sock] += sock.send(self.block)
        except (BlockingIOError, ssl.SSLWantReadError, ssl.SSLWantWriteError):
            pass
        except OSError:
            self._selector.unregister(sock)

    def close(self) -> None:
        self._done.set()
        self._thread.join()
        self._selector.close()


def kernel_buffers() -> int:
    """Bytes that the kernel may hold on the way through a proxy, which is two connections: it lets the buffers of a few grow far."""
    return 2 * sum(int(Path(f"/proc/sys/net/ipv4/tcp_{which}mem").read_text().split()[2]) for which in "rw")


class OfferedTests(ExchangeCase):
    """256 MiB offered by one side to another that takes a sip now and then, and by one that writes no faster than that: what it costs is bounded by
    the copy buffers."""

    #: Slow readers of each of: download by forward and by tunnel, upload by forward and by tunnel. As many slow writers in each direction.
    each = 100
    size = 256 * MB
    #: Bytes of memory for one of them: what is read at once, and what waits to be written.
    most = 2 * 65536

    def offered(self, more: str = "", wrap: Callable[[socket.socket], socket.socket] | None = None) -> None:
        """All of them at once. Nobody is cut off, and others are served."""
        crowd = Crowd()
        self.addCleanup(crowd.close)
        done = threading.Event()
        self.addCleanup(done.set)
        origin = self.offering(crowd, done)
        # With sips so small it may be long until the kernel lets more pass.
        port = self.proxy(f"    task_idle_max_count: 60\n{more}")
        clients = []

        def begin(request: bytes) -> socket.socket:
            sock = socket.create_connection(("127.0.0.1", port), 20)
            sock = sock if wrap is None else wrap(sock)
            self.addCleanup(sock.close)
            sock.sendall(request)
            clients.append(sock)
            return sock

        grown = self.grown(lambda: self.all_at_once(crowd, begin, origin.port)) * MB
        self.assertLess(grown, 6 * self.each * self.most)
        self.assertEqual(self.tasks_alive(), 6 * self.each)
        last = begin(get(origin.port))
        last.settimeout(10)
        self.assertTrue(last.recv(1000).startswith(b"HTTP/1.1 200"))
        # Nobody has offered more than the kernel holds of it.
        self.assertLess(kernel_buffers(), self.size / 2)
        self.assertLess(max(crowd.taken.values()), kernel_buffers())
        # Who only ends would have what it has sent already read to its end, as slowly as it may be.
        for sock in clients:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
            sock.close()
        done.set()

    def offering(self, crowd: Crowd, done: threading.Event) -> ScriptedOrigin:
        """An origin whose connections join the crowd, each as its path says."""

        def script(connection: socket.socket, _number: int) -> None:
            head = read_head(connection)
            if b"/up" in head:
                crowd.sip(connection)
            elif b"/down" in head or b"/drip" in head:
                connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % self.size)
                (crowd.offer if b"/down" in head else crowd.drip)(connection)
            else:
                connection.sendall(OK)
                return
            done.wait(120)

        return self.scripted(script)

    def all_at_once(self, crowd: Crowd, begin: Callable[[bytes], socket.socket], port: int) -> None:
        """Begin all; they have had time to fill whatever takes when this returns."""
        tunnel = b"CONNECT 127.0.0.1:%d HTTP/1.1\r\nHost: x\r\n\r\n" % port
        down = [get(port, "/down"), tunnel + get(port, "/down")]
        up = [get(port, "/up", f"Content-Length: {self.size}", method="POST"), tunnel + get(port, "/up")]
        for number in range(self.each):
            for request in down:
                crowd.sip(begin(request))
            for request in up:
                crowd.offer(begin(request))
            crowd.sip(begin(down[number % 2].replace(b"/down", b"/drip")))
            crowd.drip(begin(up[number % 2]))
        deadline = time.monotonic() + 40
        while len(crowd.taken) < 4 * self.each or not all(crowd.taken.values()):
            self.assertLess(time.monotonic(), deadline)
            time.sleep(0.1)
        time.sleep(1)

    def test_in_plain_tcp(self) -> None:
        self.offered()

    def test_with_tls(self) -> None:
        more, context = listener_tls(self)
        self.offered(more, lambda sock: context.wrap_socket(sock, server_hostname="g3proxy.local"))

    def test_with_speed_limits(self) -> None:
        self.offered("    tcp_sock_speed_limit: 100K")


class EndTests(ExchangeCase):
    """How one side ends is what the other side sees, whether TLS is between them or not, whether bytes were copied or spliced."""

    #: Bytes before the end: copied, and more than what is copied before it is spliced.
    sizes = (1000, 3 * MB)

    def both(self) -> dict[str, Callable[[], socket.socket]]:
        """What connects to a plain and to a TLS listener of one daemon. A TLS end without close_notify is an error."""
        more, context = listener_tls(self)
        secure = free_port()
        keys = f"type: http_proxy\n    listen: 127.0.0.1:{secure}\n    escaper: e\n    task_idle_check_interval: 2s\n{more}"
        plain = self.proxy(f"  - name: secure\n    {keys}")
        self.daemon.wait_listening(secure)

        def connect(port: int) -> socket.socket:
            sock = socket.create_connection(("127.0.0.1", port), 20)
            self.addCleanup(sock.close)
            return sock

        return {
            "plain": lambda: connect(plain),
            "tls": lambda: context.wrap_socket(connect(secure), server_hostname="g3proxy.local", suppress_ragged_eofs=False),
        }

    def tunnel(self, sock: socket.socket, port: int) -> socket.socket:
        """Through the proxy."""
        sock.sendall(b"CONNECT 127.0.0.1:%d HTTP/1.1\r\nHost: x\r\n\r\n" % port)
        head = b""
        while not head.endswith(b"\r\n\r\n"):
            head += sock.recv(1)
        self.assertTrue(head.startswith(b"HTTP/1.1 200"))
        return sock

    def test_an_upstream_that_ends_first_still_hears_the_client(self) -> None:
        """The other half close: all that the client sends afterwards arrives, and then its end."""
        received: list[int] = []

        def script(connection: socket.socket, number: int) -> None:
            connection.sendall(b"d" * self.sizes[number % 2])
            connection.shutdown(socket.SHUT_WR)
            total = 0
            while data := connection.recv(MB):
                total += len(data)
            received.append(total)

        origin = self.scripted(script)
        for name, connect in self.both().items():
            for size in self.sizes:
                with self.tunnel(connect(), origin.port) as sock:
                    got = 0
                    while data := sock.recv(MB):
                        got += len(data)
                    self.assertEqual(got, size, name)
                    sock.sendall(b"u" * size)
                    if isinstance(sock, ssl.SSLSocket):
                        sock.unwrap()
                    else:
                        sock.shutdown(socket.SHUT_WR)
                    self.daemon.wait_until(lambda: bool(received), "the origin heard the end")
                    self.assertEqual(received, [size], name)
                received.clear()

    def test_an_upstream_that_is_reset_is_no_clean_end(self) -> None:
        """In a tunnel, in a body by length, in one until the connection closes: all that came before the reset and was not lost by it may arrive, and
        then an error."""

        def script(connection: socket.socket, _number: int) -> None:
            words = connection.recv(1000)
            size = self.sizes[int(words.partition(b"size=")[2][:1])]
            if words.startswith(b"GET"):
                length = b"Content-Length: %d\r\n" % (2 * size) if b"length" in words else b""
                connection.sendall(b"HTTP/1.1 200 OK\r\n%s\r\n" % length)
            connection.sendall(b"d" * size)
            gone.wait(10)
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)

        origin = self.scripted(script)
        for name, connect in self.both().items():
            for kind in ("tunnel", "length", "close"):
                for index, size in enumerate(self.sizes):
                    gone = threading.Event()
                    with connect() as sock:
                        if kind == "tunnel":
                            self.tunnel(sock, origin.port).sendall(b"size=%d" % index)
                        else:
                            sock.sendall(get(origin.port, f"/{kind}?size={index}"))
                        got = 0
                        while got < size:
                            got += len(sock.recv(MB))
                        gone.set()
                        with self.assertRaises((ConnectionResetError, ssl.SSLEOFError), msg=(name, kind, size)):
                            while sock.recv(MB):
                                pass

    def test_a_client_that_is_reset_is_no_clean_end(self) -> None:
        """For the upstream of its tunnel and of its upload."""
        ends: list[str] = []
        heard: set[int] = set()

        def script(connection: socket.socket, number: int) -> None:
            try:
                while connection.recv(MB):
                    heard.add(number)
                ends.append("end")
            except ConnectionResetError:
                ends.append("reset")

        origin = self.scripted(script)
        for connect in self.both().values():
            for kind in ("tunnel", "upload"):
                for size in self.sizes:
                    number = origin.connections
                    with connect() as sock:
                        if kind == "tunnel":
                            self.tunnel(sock, origin.port)
                        else:
                            sock.sendall(get(origin.port, "/", f"Content-Length: {2 * size}", method="POST"))
                        sock.sendall(b"u" * size)
                        self.daemon.wait_until(lambda number=number: number in heard, "the origin heard something")  # type: ignore[misc]
                        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
        self.daemon.wait_until(lambda: len(ends) == 8, "the origin has heard of all")
        self.assertEqual(set(ends), {"reset"})
