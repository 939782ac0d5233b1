# SPDX-License-Identifier: Apache-2.0
"""A connected datagram socket to a helper: what is sent is sent now or not at all, and what comes is read in bounded batches.

A helper that is not there (the kernel says so by ECONNREFUSED) costs nothing but the answer: the socket stays and is used again.
"""

from __future__ import annotations

import socket
from typing import TYPE_CHECKING, Any, Final

from twisted.internet.interfaces import IReadDescriptor
from twisted.logger import Logger
from zope.interface import implementer

from g3.net.sockopts import set_buffers

if TYPE_CHECKING:
    from collections.abc import Callable

    from twisted.python.failure import Failure

    from g3.lookup.options import QueryOptions

_log = Logger()

#: Seconds between two warnings about one helper.
WARN_INTERVAL: Final = 60.0


@implementer(IReadDescriptor)
class DatagramPeer:
    """Sends to the helper of C{options} and gives what it answers to C{received(data)}.

    The socket is opened by the first C{send}. Counts C{sent}, C{unsent} and C{received}.
    """

    __slots__ = ("_batch", "_limit", "_options", "_reactor", "_received", "_socket", "_warned_at", "received", "sent", "unsent")

    def __init__(self, reactor: Any, options: QueryOptions, received: Callable[[bytes], None], limit: int) -> None:
        self._reactor = reactor
        self._options = options
        self._received = received
        self._limit = limit
        self._batch = max(options.cache_request_batch_count, 1)
        self._socket: socket.socket | None = None
        self._warned_at: float | None = None
        self.sent = self.unsent = self.received = 0

    def send(self, data: bytes) -> bool:
        """Send one datagram; False when it could not be. Never raises."""
        try:
            if self._socket is None:
                self._open()
            # The second try is for an earlier datagram's ECONNREFUSED, which the first one fetched.
            for _ in range(2):
                try:
                    self._socket.send(data)  # type: ignore[union-attr]
                    break
                except ConnectionRefusedError:
                    continue
            else:
                self._unsent("nobody listens there")
                return False
        except OSError as error:
            self._unsent(str(error))
            return False
        self.sent += 1
        return True

    def _open(self) -> None:
        host, port = self._options.query_peer_addr
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        sock = socket.socket(family, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK)
        try:
            set_buffers(sock, self._options.query_socket_buffer)
            sock.connect((host, port))
        except BaseException:
            sock.close()
            raise
        self._socket = sock
        self._reactor.addReader(self)

    def _unsent(self, why: str) -> None:
        self.unsent += 1
        self.warn(f"cannot be asked: {why}")

    def warn(self, what: str) -> None:
        """Log something about the helper, at most once a minute."""
        now = self._reactor.seconds()
        if self._warned_at is None or now - self._warned_at >= WARN_INTERVAL:
            self._warned_at = now
            host, port = self._options.query_peer_addr
            _log.warn("the helper at {host} port {port} {what}", host=host, port=port, what=what)

    def close(self) -> None:
        """No more of it. The next C{send} would open it again."""
        sock, self._socket = self._socket, None
        if sock is not None:
            self._reactor.removeReader(self)
            sock.close()

    def fileno(self) -> int:
        return -1 if self._socket is None else self._socket.fileno()

    def logPrefix(self) -> str:
        return "helper"

    def doRead(self) -> None:
        for _ in range(self._batch):
            if self._socket is None:
                return
            try:
                data = self._socket.recv(self._limit)
            except BlockingIOError:
                return
            except OSError:
                # An earlier datagram was refused: whoever waits for its answer hears of it by time.
                continue
            self.received += 1
            try:
                self._received(data)
            except Exception:
                _log.failure("an answer of a helper could not be handled")

    def connectionLost(self, reason: Failure) -> None:
        """The reactor ends."""
        self.close()
