# SPDX-License-Identifier: Apache-2.0
"""Private reactors driven by hand, so that one test class runs on every kind, whichever is installed."""

from __future__ import annotations

import asyncio
import socket
import struct
import sys
import time
from typing import TYPE_CHECKING, Any

from twisted.internet.asyncioreactor import AsyncioSelectorReactor
from twisted.internet.epollreactor import EPollReactor
from twisted.internet.interfaces import IHalfCloseableProtocol
from twisted.internet.pollreactor import PollReactor
from twisted.internet.protocol import Protocol
from twisted.internet.selectreactor import SelectReactor
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase
from zope.interface import implementer

from g3.net.reactor import G3Reactor
from g3.net.transport import Stream

if TYPE_CHECKING:
    from collections.abc import Callable

KINDS: dict[str, Callable[[], Any]] = {
    "G3": G3Reactor,
    "EPoll": EPollReactor,
    "Poll": PollReactor,
    "Select": SelectReactor,
    "Asyncio": lambda: AsyncioSelectorReactor(asyncio.SelectorEventLoop()),
}


class Readers(Clock):
    """A clock that descriptors can be added to, to be read, or written to, when a test says."""

    def __init__(self) -> None:
        super().__init__()
        self.readers: list[Any] = []
        self.writers: list[Any] = []

    def addReader(self, reader: Any) -> None:
        self.readers.append(reader)

    def removeReader(self, reader: Any) -> None:
        if reader in self.readers:
            self.readers.remove(reader)

    def addWriter(self, writer: Any) -> None:
        self.writers.append(writer)

    def removeWriter(self, writer: Any) -> None:
        if writer in self.writers:
            self.writers.remove(writer)


class ReactorTestCase(SynchronousTestCase):
    """Has C{reactor}, made by C{make_reactor}, which runs only while L{spin} does."""

    make_reactor: Callable[[], Any] = staticmethod(G3Reactor)

    def setUp(self) -> None:
        self.reactor = self.make_reactor()
        self.addCleanup(self._end_reactor)

    def _end_reactor(self) -> None:
        reactor = self.reactor
        for call in reactor.getDelayedCalls():
            call.cancel()
        wakers = list(reactor._internalReaders)
        reactor.removeAll()
        for waker in wakers:
            reactor.removeReader(waker)
            waker.connectionLost(None)
        if hasattr(reactor, "_asyncioEventloop"):
            reactor._asyncioEventloop.close()
        if hasattr(reactor, "_poller") and hasattr(reactor._poller, "close"):
            reactor._poller.close()

    def turn(self, wait: float = 0.0) -> None:
        """One turn of the reactor."""
        if hasattr(self.reactor, "_asyncioEventloop"):
            loop = self.reactor._asyncioEventloop
            loop.call_later(wait, loop.stop)
            loop.run_forever()
        else:
            self.reactor.runUntilCurrent()
            self.reactor.doIteration(0 if self.reactor.threadCallQueue else min(wait, self.reactor.timeout() or wait))

    def spin(self, until: Callable[[], object], timeout: float = 10.0) -> None:
        """Run until something is true. @raise AssertionError: it is not within C{timeout} seconds."""
        deadline = time.monotonic() + timeout
        while not until():
            if time.monotonic() > deadline:
                self.fail(f"{until} did not come true in {timeout} seconds")
            self.turn(0.005)

    def settle(self, turns: int = 5) -> None:
        """Let everything that is ready happen."""
        for _ in range(turns):
            self.turn()

    def pair(self, *, tcp: bool = True, read_size: int = 65536) -> tuple[Stream, socket.socket]:
        """A stream and the non-blocking socket at its other end."""
        ours, theirs = tcp_pair() if tcp else socket.socketpair()
        for sock in (ours, theirs):
            sock.setblocking(False)
            self.addCleanup(sock.close)
        stream = Stream(self.reactor, ours, read_size=read_size)
        self.addCleanup(stream.abortConnection)
        return stream, theirs


def tcp_pair() -> tuple[socket.socket, socket.socket]:
    """Two connected TCP sockets."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        one = socket.create_connection(listener.getsockname())
        two, _ = listener.accept()
    for sock in (one, two):
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return two, one


def reset(sock: socket.socket) -> None:
    """Close so that the peer gets a reset."""
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    sock.close()


class Recorder(Protocol):
    """Keeps what it hears."""

    def __init__(self) -> None:
        self.data = b""
        self.events: list[str] = []
        self.reason: Any = None

    def connectionMade(self) -> None:
        self.events.append("made")

    def dataReceived(self, data: bytes) -> None:
        self.data += data

    def connectionLost(self, reason: Any = None) -> None:
        self.events.append("lost")
        self.reason = reason


@implementer(IHalfCloseableProtocol)
class HalfCloseable(Recorder):
    """Hears the ends of both directions too."""

    def readConnectionLost(self) -> None:
        self.events.append("read closed")

    def writeConnectionLost(self) -> None:
        self.events.append("write closed")


def segments_in(sock: socket.socket) -> int:
    """TCP segments that have arrived at C{sock} (tcpi_segs_in of linux/tcp.h)."""
    return int.from_bytes(sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 144)[140:144], sys.byteorder)


def receive_all(sock: socket.socket) -> bytes:
    """What is there to read now, up to the end."""
    parts = []
    while True:
        try:
            part = sock.recv(1 << 20)
        except BlockingIOError:
            break
        if not part:
            break
        parts.append(part)
    return b"".join(parts)


def on_every_reactor(case: type[ReactorTestCase], names: tuple[str, ...] = tuple(KINDS)) -> dict[str, type[ReactorTestCase]]:
    """Subclasses of C{case}, one for each kind, for C{globals().update}."""
    made = {}
    for name in names:
        title = f"{name}{case.__name__.lstrip('_')}"
        made[title] = type(title, (case,), {"make_reactor": staticmethod(KINDS[name]), "__module__": case.__module__})
    return made
