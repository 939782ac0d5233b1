# SPDX-License-Identifier: Apache-2.0
"""A pycares channel on a Twisted reactor: its sockets are read by the reactor, its timeouts pumped by one call of ours, no thread resolves.

What it is asked ends in exactly one call of the asker's function, never from inside the library.
"""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, Any

import pycares
from twisted.internet.interfaces import IReadWriteDescriptor
from zope.interface import implementer

if TYPE_CHECKING:
    from collections.abc import Callable
    from socket import AddressFamily

    #: What an asker is called with: a result of pycares or None, and an error number or None.
    Answer = Callable[[Any, int | None], None]

#: The library never wants to be woken sooner than this, seconds.
MIN_WAKE = 0.001
#: And never later, so that a timeout it forgot to tell still passes.
MAX_WAKE = 5.0


@implementer(IReadWriteDescriptor)
class _Socket:
    """A socket of the library as the reactor sees it; the library opens and closes it."""

    def __init__(self, channel: AresChannel, number: int) -> None:
        self._channel = channel
        self._number = number
        self.reading = self.writing = False

    def fileno(self) -> int:
        return self._number

    def logPrefix(self) -> str:
        return "c-ares"

    def doRead(self) -> None:
        self._channel.process(self._number, pycares.ARES_SOCKET_BAD)

    def doWrite(self) -> None:
        self._channel.process(pycares.ARES_SOCKET_BAD, self._number)

    def connectionLost(self, reason: object) -> None:
        """The reactor saw an error and lets go; the library is to see it too, and may want to go on."""
        self.reading = self.writing = False
        self._channel.lost(self._number)


class AresChannel:
    """One c-ares channel. Make it in the process, and after the fork, that uses it.

    @param options: keyword arguments of pycares.Channel.
    @raise pycares.AresError: the library cannot be set up.
    """

    def __init__(self, reactor: Any, options: dict[str, Any]) -> None:
        self.pending = 0
        self.asked = 0
        self.idle: Callable[[], None] | None = None
        self._reactor = reactor
        self._sockets: dict[int, _Socket] = {}
        self._answers: deque[tuple[Answer, Any, int | None]] = deque()
        self._handing_out = False
        self._timer: Any = None
        self._closed = False
        self._channel = pycares.Channel(sock_state_cb=self._socket_state, **options)

    def bind(self, *addresses: str) -> None:
        """Send from these local addresses, at most one of each family."""
        for address in addresses:
            self._channel.set_local_ip(address)  # type: ignore[no-untyped-call]

    @property
    def servers(self) -> int:
        """How many name servers it may ask one after the other."""
        return len(self._channel.servers)

    def query(self, name: str, query_type: int, answer: Answer) -> None:
        """Ask the name servers."""
        self._ask(answer, lambda done: self._channel.query(name, query_type, callback=done))

    def hosts(self, name: str, family: AddressFamily, answer: Answer) -> None:
        """Ask what the channel's C{lookups} say, as getaddrinfo does; C{family} as of the socket module."""
        self._ask(answer, lambda done: self._channel.getaddrinfo(name, None, family=family, callback=done))

    def _ask(self, answer: Answer, ask: Callable[[Callable[[Any, int | None], None]], None]) -> None:
        self.asked += 1
        self.pending += 1
        told = False

        def done(result: Any, error: int | None) -> None:
            nonlocal told
            if not told:
                told = True
                self._answers.append((answer, result, error))

        try:
            ask(done)
        except pycares.AresError as error:
            # What fails while it is sent (a name server that refuses, say) is told both ways.
            done(None, error.args[0])
        except (RuntimeError, ValueError, UnicodeError):
            done(None, pycares.errno.ARES_EBADNAME)
        self._hand_out()

    def process(self, read: int, write: int) -> None:
        """Let the library look at a socket, or with none at its timeouts."""
        if not self._closed:
            self._channel.process_fd(read, write)
            self._hand_out()

    def lost(self, number: int) -> None:
        """The reactor no longer watches a socket of ours."""
        self.process(number, number)
        sock = self._sockets.get(number)
        if sock is not None and not self._closed and not (sock.reading or sock.writing):
            self._watch(sock, True, False)

    def _socket_state(self, number: int, readable: bool, writable: bool) -> None:
        """From inside the library: it opened, closes or waits for a socket."""
        if self._closed:
            return
        sock = self._sockets.get(number)
        if sock is None:
            sock = self._sockets[number] = _Socket(self, number)
        self._watch(sock, bool(readable), bool(writable))
        if not readable and not writable:
            del self._sockets[number]

    def _watch(self, sock: _Socket, readable: bool, writable: bool) -> None:
        if readable != sock.reading:
            sock.reading = readable
            (self._reactor.addReader if readable else self._reactor.removeReader)(sock)
        if writable != sock.writing:
            sock.writing = writable
            (self._reactor.addWriter if writable else self._reactor.removeWriter)(sock)

    def _hand_out(self) -> None:
        """Give the answers that came, then see when to wake up next."""
        if self._handing_out:
            return
        self._handing_out = True
        try:
            while self._answers:
                answer, result, error = self._answers.popleft()
                self.pending -= 1
                answer(result, error)
        finally:
            self._handing_out = False
        self._pump()
        if not self.pending and self.idle is not None:
            self.idle()

    def _pump(self) -> None:
        if self._closed or not self.pending:
            self._stop_timer()
            return
        delay = min(max(self._channel.timeout(), MIN_WAKE), MAX_WAKE)  # type: ignore[no-untyped-call]
        if self._timer is None:
            self._timer = self._reactor.callLater(delay, self._wake)
        elif self._timer.getTime() > self._reactor.seconds() + delay:
            self._timer.reset(delay)

    def _wake(self) -> None:
        self._timer = None
        self.process(pycares.ARES_SOCKET_BAD, pycares.ARES_SOCKET_BAD)

    def _stop_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def close(self) -> None:
        """End: what is pending is answered C{ARES_ECANCELLED} before this returns. A second call does nothing."""
        if self._closed:
            return
        self.idle = None
        self._channel.cancel()
        self._closed = True
        self._stop_timer()
        for sock in self._sockets.values():
            self._watch(sock, False, False)
        self._sockets.clear()
        self._hand_out()
        self._channel.close()
