# SPDX-License-Identifier: Apache-2.0
"""Clients of a proxy that notice everything: fresh connections at a steady rate, kept ones, and tunnels, with an origin behind them. All of it
runs in one thread of its own; what went wrong is counted by kind."""

from __future__ import annotations

import asyncio
import contextlib
import threading
import time
from collections import Counter
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Coroutine

BODY = bytes(range(256)) * 12
#: Seconds after which an answer is late.
LATE = 20.0
#: Fresh clients at one time; more are not started.
MOST = 400


class Broken(Exception):
    """What a client must not meet, by kind."""


class Traffic:
    """Use as a context manager; C{done} counts what went well, C{failed} what did not, by kind: fresh, kept, tunnel and what happened.

    @param rate: fresh clients a second. @param kept: clients that ask again and again over one connection, and over another when they are told
        that it closes. @param tunnels: CONNECT tunnels that stay open and are used.
    """

    def __init__(self, port: int, *, rate: float = 100, kept: int = 4, tunnels: int = 0) -> None:
        self.port = port
        self.done: Counter[str] = Counter()
        self.failed: Counter[str] = Counter()
        self._rate = rate
        self._kept = kept
        self._tunnels = tunnels
        self._loop = asyncio.new_event_loop()
        self._over = False
        self._ready = threading.Event()
        self._running: set[asyncio.Task[None]] = set()
        self._thread = threading.Thread(target=self._loop.run_until_complete, args=(self._all(),), daemon=True)

    def __enter__(self) -> Traffic:
        self._thread.start()
        if not self._ready.wait(60):
            raise AssertionError(f"clients could not begin: {self.failed}")
        return self

    def __exit__(self, *_: object) -> None:
        self._over = True
        self._thread.join(LATE + 20)
        self._loop.close()

    def more(self, count: int = 100, kind: str = "fresh", seconds: float = 60.0) -> None:
        """Wait until so many more things went well."""
        wanted = self.done[kind] + count
        deadline = time.monotonic() + seconds
        while self.done[kind] < wanted:
            if time.monotonic() > deadline:
                raise AssertionError(f"clients are not served: {self.done}, {self.failed}")
            time.sleep(0.01)

    async def _all(self) -> None:
        origin = await asyncio.start_server(self._answer, "127.0.0.1", 0, backlog=1024)
        echo = await asyncio.start_server(self._echo, "127.0.0.1", 0, backlog=1024)
        self._origin, self._other = (server.sockets[0].getsockname()[1] for server in (origin, echo))
        opened = [await self._open_tunnel() for _ in range(self._tunnels)]
        for tunnel in opened:
            self._start("tunnel", self._use_tunnel(*tunnel))
        for _ in range(self._kept):
            self._start("kept", self._keep_asking())
        self._ready.set()
        await self._arrive()
        while self._running:
            await asyncio.wait(self._running)
        for server in (origin, echo):
            server.close()
        rest = asyncio.all_tasks() - {asyncio.current_task()}
        for task in rest:
            task.cancel()
        await asyncio.gather(*rest, return_exceptions=True)

    async def _arrive(self) -> None:
        start, count = time.monotonic(), 0
        while not self._over:
            wanted = int((time.monotonic() - start) * self._rate)
            for _ in range(min(wanted - count, MOST - len(self._running))):
                self._start("fresh", self._ask_once())
            count = wanted
            await asyncio.sleep(0.005)

    def _start(self, kind: str, client: Coroutine[None, None, None]) -> None:
        task = self._loop.create_task(self._watched(kind, client))
        self._running.add(task)
        task.add_done_callback(self._running.discard)

    async def _watched(self, kind: str, client: Coroutine[None, None, None]) -> None:
        try:
            await client
        except ConnectionRefusedError:
            self.failed[f"{kind} refused"] += 1
        except OSError as error:
            self.failed[f"{kind} {type(error).__name__}"] += 1
        except Broken as error:
            self.failed[f"{kind} {error}"] += 1
        except Exception as error:
            self.failed[f"{kind} {error!r}"] += 1

    # Clients

    async def _ask_once(self) -> None:
        reader, writer = await self._connect()
        try:
            await self._ask(reader, writer)
            self.done["fresh"] += 1
        finally:
            writer.close()

    async def _keep_asking(self) -> None:
        while not self._over:
            reader, writer = await self._connect()
            try:
                kept = True
                while kept and not self._over:
                    kept = await self._ask(reader, writer)
                    self.done["kept"] += 1
                    await asyncio.sleep(0.02)
            finally:
                writer.close()

    async def _connect(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        return await asyncio.open_connection("127.0.0.1", self.port)

    async def _ask(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        """Whether the connection is kept."""
        writer.write(f"GET http://127.0.0.1:{self._origin}/ HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n".encode())
        try:
            head = await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), LATE)
            status = head.split(b" ", 2)[1]
            if status != b"200":
                raise Broken(f"status {status.decode()}")
            body = await asyncio.wait_for(reader.readexactly(len(BODY)), LATE)
        except asyncio.IncompleteReadError as error:
            raise Broken("short" if b"200" in error.partial[:20] or error.expected == len(BODY) else "closed") from error
        except TimeoutError as error:
            raise Broken("late") from error
        if body != BODY:
            raise Broken("wrong body")
        return b"connection: close" not in head.lower()

    async def _open_tunnel(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        reader, writer = await self._connect()
        writer.write(f"CONNECT 127.0.0.1:{self._other} HTTP/1.1\r\nHost: 127.0.0.1:{self._other}\r\n\r\n".encode())
        head = await reader.readuntil(b"\r\n\r\n")
        if b" 200 " not in head:
            raise Broken("no tunnel")
        return reader, writer

    async def _use_tunnel(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        number = 0
        try:
            while not self._over:
                number += 1
                word = b"%8d" % number
                writer.write(word)
                try:
                    if await asyncio.wait_for(reader.readexactly(8), LATE) != word:
                        raise Broken("wrong bytes")
                except asyncio.IncompleteReadError as error:
                    raise Broken("closed") from error
                except TimeoutError as error:
                    raise Broken("late") from error
                self.done["tunnel"] += 1
                await asyncio.sleep(0.2)
        finally:
            writer.close()

    # Origins

    async def _answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError, asyncio.IncompleteReadError, asyncio.CancelledError):
            while True:
                await reader.readuntil(b"\r\n\r\n")
                writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(BODY) + BODY)
        writer.close()

    async def _echo(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError, asyncio.CancelledError):
            while data := await reader.read(4096):
                writer.write(data)
        writer.close()
