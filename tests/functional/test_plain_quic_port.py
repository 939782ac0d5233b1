# SPDX-License-Identifier: Apache-2.0
"""plain_quic_port: HTTP on the streams of QUIC connections, by a client of aioquic."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import os
import signal
import socket
import threading
from typing import TYPE_CHECKING, Any

from aioquic.asyncio.client import connect
from aioquic.quic.configuration import QuicConfiguration
from aioquic.quic.connection import QuicConnection

from tests.functional.harness import Daemon, run_g3proxy
from tests.functional.observed import ObservedCase
from tests.functional.peers import RecordingOrigin
from tests.functional.processes import free_port
from tests.functional.streams import DigestUpstream, digest
from tests.functional.test_workers import workers

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Coroutine

SERVERS = """
  - name: port
    type: plain_quic_port
    listen: 127.0.0.1:{port}
    server: {next}
    {more}
    quic_server:
      cert_pairs: {{certificate: server.pem, private_key: server-key.pem}}
      {quic}
  - name: http
    type: http_proxy
    escaper: e
  - name: stream
    type: tcp_stream
    escaper: e
    upstream: 127.0.0.1:{to}
"""


class QUICPortCase(ObservedCase):
    """A port, an http_proxy and a tcp_stream."""

    def setUp(self) -> None:
        super().setUp()
        self.certificate("server", "g3proxy.local", "127.0.0.1")
        self.origin = RecordingOrigin()
        self.addCleanup(self.origin.close)
        self.port = free_port()
        self._head = self._head.replace("thread_number: 0", "thread_number: 0, server_offline_delay: 0s, task_wait_delay: 0s")

    def start(self, more: str = "", quic: str = "", next_: str = "http", to: int = 1, **options: Any) -> Daemon:
        text = SERVERS.format(port=self.port, next=next_, more=more, quic=quic, to=to)
        daemon = self.start_daemon(self._head + text, **options)
        daemon.wait_listening(self.port, kind="udp")
        return daemon

    def configuration(self, **more: Any) -> QuicConfiguration:
        configuration = QuicConfiguration(is_client=True, server_name="g3proxy.local", **more)
        configuration.load_verify_locations(str(self.directory / "ca.pem"))
        return configuration

    @contextlib.asynccontextmanager
    async def connection(self, port: int = 0, **more: Any) -> AsyncIterator[Any]:
        async with connect("127.0.0.1", port or self.port, configuration=self.configuration(**more)) as client:
            yield client

    def run_client(self, coroutine: Coroutine[Any, Any, Any]) -> Any:
        return asyncio.run(asyncio.wait_for(coroutine, 40))

    async def open(self, client: Any) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        """A new stream."""
        reader, writer = await client.create_stream()
        return reader, writer

    async def until(self, ready: Callable[[], object]) -> None:
        """Wait for something."""
        while not ready():
            await asyncio.sleep(0.02)

    def leave(self, writer: asyncio.StreamWriter) -> None:
        """The client's library would end a stream that we may have broken off already."""
        writer.transport._closing = True  # type: ignore[attr-defined]

    def get(self, path: str = "/", more: str = "Connection: close\r\n") -> bytes:
        return f"GET http://127.0.0.1:{self.origin.port}{path} HTTP/1.1\r\nHost: x\r\n{more}\r\n".encode()

    async def ask(self, client: Any, path: str = "/") -> bytes:
        """An answer on a stream of its own."""
        reader, writer = await self.open(client)
        writer.write(self.get(path))
        answer = await reader.read()
        self.leave(writer)
        return answer

    async def new_answer(self) -> bytes:
        """An answer on a connection of its own."""
        async with self.connection() as quic:
            return await self.ask(quic)


class StreamsTests(QUICPortCase):
    """What the next server gets."""

    def test_each_stream_is_a_connection_of_the_next_server(self) -> None:
        """Several at once on one QUIC connection, one with two requests; the record has the client's address."""
        self.start()

        async def client() -> list[bytes]:
            async with self.connection() as quic:
                answers = list(await asyncio.gather(*(self.ask(quic, f"/{number}") for number in range(20))))
                reader, writer = await self.open(quic)
                writer.write(self.get(more=""))
                first = await reader.readuntil(b"\r\n\r\n")
                writer.write(self.get())
                answers += [first, (await reader.read()).partition(b"HTTP/1.1")[2]]
                self.leave(writer)
                return answers

        answers = self.run_client(client())
        self.assertEqual([answer.partition(b" 200 ")[1] for answer in answers], [b" 200 "] * 22)
        self.assertRegex(self.finished()["client_addr"], r"^127\.0\.0\.1:\d+$")
        self.assertEqual(self.counted("listen.accepted", "server:port"), 1)

    def test_much_travels_both_ways(self) -> None:
        """2 MB up, with the end of the client's direction; the answer comes after it."""
        upstream = DigestUpstream(b"hello ")
        self.addCleanup(upstream.close)
        self.start(next_="stream", to=upstream.port)
        data = os.urandom(2_000_000)

        async def client() -> bytes:
            async with self.connection() as quic:
                reader, writer = await self.open(quic)
                writer.write(data)
                writer.write_eof()
                return await reader.read()

        self.assertEqual(self.run_client(client()), b"hello " + digest(data))
        record = self.finished()
        self.assertEqual((record["c_rd_bytes"], record["reason"]), ("2000000", "ClosedByClient"))

    def test_an_upstream_that_does_not_read_stops_the_client(self) -> None:
        """The daemon's memory stays what it was, and all arrives in the end."""
        gate = threading.Event()
        silent = socket.create_server(("127.0.0.1", 0))
        silent.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 65536)
        self.addCleanup(silent.close)
        seen = hashlib.sha256()

        def serve() -> None:
            with silent.accept()[0] as sock:
                gate.wait(30)
                while chunk := sock.recv(65536):
                    seen.update(chunk)
                sock.sendall(seen.digest())

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        daemon = self.start(next_="stream", to=silent.getsockname()[1])
        before = daemon.memory()
        data = os.urandom(8 << 20)

        async def client() -> tuple[int, bytes]:
            async with self.connection() as quic:
                reader, writer = await self.open(quic)
                writer.write(data)
                writer.write_eof()
                stream, last = quic._quic._streams[0], -1
                while stream.max_stream_data_remote != last:
                    last = stream.max_stream_data_remote
                    await asyncio.sleep(1)
                gate.set()
                return last, await reader.read()

        stopped, answer = self.run_client(client())
        self.assertLess(stopped, 7 << 20, "the sockets' buffers and the windows")
        self.assertLess(daemon.memory() - before, 12 << 20)
        self.assertEqual(answer, hashlib.sha256(data).digest())
        thread.join(10)

    def test_who_may_not_come_gets_no_answer(self) -> None:
        """ingress_network_filter."""
        self.start("ingress_network_filter: {forbid: 127.0.0.1}")

        quic = QuicConnection(configuration=self.configuration())
        quic.connect(("127.0.0.1", self.port), 0)
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
            sock.settimeout(0.5)
            for data, address in quic.datagrams_to_send(0):
                sock.sendto(data, address)
            self.assertRaises(TimeoutError, sock.recv, 2000)
        self.assertGreaterEqual(self.counted("listen.dropped", "server:port"), 1)
        self.assertEqual(self.total("listen.accepted", "server:port"), 0)

    def test_no_tls_server_of_the_next_server_is_in_between(self) -> None:
        """Its own TLS is for its own port; and a next server that is none closes the stream."""
        self.start(next_="nobody")

        async def client() -> bytes:
            async with self.connection() as quic:
                return await self.ask(quic)

        self.assertEqual(self.run_client(client()), b"")

    def test_what_quic_cannot_do_is_refused(self) -> None:
        """With all else that is wrong."""
        more = "enable_client_auth: true\n      max_tls_version: 1.2"
        path = self.write("bad.yaml", self._head + SERVERS.format(port=self.port, next="http", more="", quic=more, to=1))
        ran = run_g3proxy("-t", "-c", str(path))
        self.assertEqual(ran.returncode, 1)
        self.assertIn("enable_client_auth: the QUIC library asks no client for a certificate", ran.stderr)
        self.assertIn("max_tls_version: QUIC is TLS 1.3", ran.stderr)


class LifeTests(QUICPortCase):
    """Reload, going offline, and the deaths of workers."""

    def test_a_reload_leaves_streams_alone(self) -> None:
        """What is open goes on; a connection without a stream ends, and the next one finds the new configuration."""
        upstream = DigestUpstream(b"")
        self.addCleanup(upstream.close)
        daemon = self.start(next_="stream", to=upstream.port)

        async def client() -> tuple[bytes, bytes]:
            async with self.connection() as quic, self.connection() as idle:
                reader, writer = await self.open(quic)
                writer.write(b"before ")
                await self.until(lambda: upstream.connections)
                self.rewrite(SERVERS.format(port=self.port, next="http", more="", quic="", to=upstream.port))
                reloaded = await asyncio.to_thread(daemon.ctl, "reload")
                self.assertEqual(reloaded.returncode, 0, reloaded.stderr)
                writer.write(b"after")
                writer.write_eof()
                old, _ = await reader.read(), await idle.wait_closed()
                return old, await self.new_answer()

        old, new = self.run_client(client())
        self.assertEqual(old, digest(b"before after"))
        self.assertTrue(new.startswith(b"HTTP/1.1 200"), new[:100])

    def test_going_offline_closes_connections(self) -> None:
        """At once, as upstream; the port is free."""
        upstream = DigestUpstream(b"")
        self.addCleanup(upstream.close)
        daemon = self.start(next_="stream", to=upstream.port)

        async def client() -> None:
            async with self.connection() as quic:
                _, writer = await self.open(quic)
                writer.write(b"x")
                await self.until(lambda: upstream.connections)
                await asyncio.to_thread(daemon.send_signal, signal.SIGTERM)
                await quic.wait_closed()
                self.leave(writer)

        self.run_client(client())
        self.assertEqual(daemon.wait(), 0)

    def test_connections_go_on_at_the_rebind_port(self) -> None:
        """offline_rebind_port, for a client that does not mind from where it is answered."""
        upstream = DigestUpstream(b"")
        self.addCleanup(upstream.close)
        other = free_port()
        daemon = self.start(f"offline_rebind_port: {other}", next_="stream", to=upstream.port)

        async def client() -> bytes:
            async with self.connection() as quic:
                reader, writer = await self.open(quic)
                writer.write(b"before ")
                await self.until(lambda: upstream.connections)
                await asyncio.to_thread(daemon.send_signal, signal.SIGTERM)
                await asyncio.to_thread(daemon.wait_listening, other, kind="udp")
                with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
                    probe.bind(("127.0.0.1", self.port))
                path = quic._quic._network_paths[0]
                path.addr = (*path.addr[:1], other, *path.addr[2:])
                writer.write(b"after")
                writer.write_eof()
                return await reader.read()

        self.assertEqual(self.run_client(client()), digest(b"before after"))
        self.assertEqual(daemon.wait(), 0)
        self.assertIn(f"1 QUIC connections go on at port {other}", daemon.output())


class WorkerTests(QUICPortCase):
    """Several workers, each with its socket."""

    def succeeded(self, before: Daemon) -> Daemon:
        """The daemon that took over from one, which has ended."""
        daemon = Daemon(self.directory / "g3proxy.yaml", self.directory, beside=before, arguments=("-m",))
        self.addCleanup(daemon.quit)
        self.assertEqual(before.wait(30), 0)
        before.check_log()
        return daemon

    async def resumptions(self) -> list[bool]:
        """Whether each of several connections, one after another, was resumed."""
        tickets: list[Any] = []
        seen = []
        for count in range(7):
            configuration = self.configuration(session_ticket=tickets[-1] if tickets else None)
            async with connect("127.0.0.1", self.port, configuration=configuration, session_ticket_handler=tickets.append) as quic:
                await self.ask(quic)
                await self.until(lambda count=count: len(tickets) > count)
                seen.append(bool(quic._quic.tls.session_resumed))
        return seen

    def test_connections_stay_at_their_workers(self) -> None:
        """Each of many has all its streams answered, and sessions are resumed at all of them; a successor takes the sockets over; when a worker
        dies its connections end and new ones find its replacement."""
        self._head = self._head.replace("thread_number: 0", "thread_number: 2")
        daemon = self.start(arguments=("-m",))
        daemon.wait_until(lambda: "is ready" in daemon.output(), "it can be succeeded")

        self.assertEqual(self.run_client(self.resumptions()), [False] + [True] * 6)

        async def client() -> list[bytes]:
            async with contextlib.AsyncExitStack() as stack:
                several = [await stack.enter_async_context(self.connection()) for _ in range(12)]
                return list(await asyncio.gather(*(self.ask(quic) for quic in several for _ in range(3))))

        self.assertEqual({answer[:12] for answer in self.run_client(client())}, {b"HTTP/1.1 200"})
        daemon = self.succeeded(daemon)
        self.assertEqual({answer[:12] for answer in self.run_client(client())}, {b"HTTP/1.1 200"})
        first = set(workers(daemon))
        self.assertEqual(len(first), 2)
        os.kill(min(first), signal.SIGKILL)
        daemon.wait_until(lambda: len(set(workers(daemon)) - first) == 1 and "serves" in daemon.output(), "a worker is replaced")
        self.assertEqual({answer[:12] for answer in self.run_client(client())}, {b"HTTP/1.1 200"})
