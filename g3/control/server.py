# SPDX-License-Identifier: Apache-2.0
"""The control server: takes clients of the same user (or root), one request at a time, and answers."""

from __future__ import annotations

import socket
import struct
from typing import TYPE_CHECKING, Any

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReadDescriptor
from twisted.internet.protocol import Factory
from twisted.logger import Logger
from twisted.protocols.basic import LineReceiver
from zope.interface import implementer

from g3.control.messages import MAX_REQUEST, ControlError, Handing, answer, failure, parse_request
from g3.errors import G3Error
from g3.net.listen import EXHAUSTED, EXHAUSTED_PAUSE

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence

    from twisted.internet.interfaces import IAddress, IDelayedCall
    from twisted.python.failure import Failure

    from g3.control.endpoint import ControlSocket

log = Logger()

#: Clients at one time; more are closed at once.
MAX_CLIENTS = 16
#: Descriptors in one message (SCM_MAX_FD of Linux).
DESCRIPTORS_AT_ONCE = 253
_CREDENTIALS = struct.Struct("iII")


class ControlProtocol(LineReceiver):
    """One client. While a command runs nothing more is read."""

    delimiter = b"\n"
    MAX_LENGTH = MAX_REQUEST
    factory: ControlFactory

    def __init__(self) -> None:
        self._timer: IDelayedCall | None = None

    def connectionMade(self) -> None:
        self.factory.clients.append(self)
        if len(self.factory.clients) > MAX_CLIENTS:
            self._abort()
            return
        self._wait(self.factory.receive_timeout)

    def lineReceived(self, line: bytes) -> None:
        self._stop_waiting()
        self.pauseProducing()  # type: ignore[no-untyped-call]
        done: Deferred[tuple[bytes, Sequence[int]]] = Deferred.fromCoroutine(self._answer(line))
        done.addCallback(self._answered)

    def lineLengthExceeded(self, line: bytes) -> None:
        self._send(failure(ControlError(f"a request has at most {MAX_REQUEST} bytes")))
        self._close()

    def connectionLost(self, reason: Failure | None = None) -> None:
        self._stop_waiting()
        if self in self.factory.clients:
            self.factory.clients.remove(self)

    async def _answer(self, line: bytes) -> tuple[bytes, Sequence[int]]:
        """The line to send, and the descriptors beside it."""
        try:
            command, arguments = parse_request(line)
            result = await self.factory.run(command, arguments)
            return (answer(result.value), result.descriptors) if isinstance(result, Handing) else (answer(result), ())
        except ControlError as error:
            return failure(error), ()
        except G3Error as error:
            return failure(ControlError(str(error))), ()
        except Exception as error:
            log.failure("a control command failed")
            return failure(ControlError(f"internal error: {type(error).__name__}: {error}")), ()

    def _answered(self, outcome: tuple[bytes, Sequence[int]]) -> None:
        if self.transport is None or not self.connected:
            return
        line, descriptors = outcome
        if descriptors:
            try:
                line = send_beside(self.transport.getHandle(), line, descriptors)  # type: ignore[attr-defined]
            except OSError as error:
                log.error("sockets cannot be handed over: {error}", error=error)
                self._abort()
                return
        self._send(line)
        # What the answer leaves queued must be taken in time, too.
        self._wait(self.factory.send_timeout + self.factory.receive_timeout)
        self.resumeProducing()  # type: ignore[no-untyped-call]

    def _send(self, line: bytes) -> None:
        if self.transport is not None:
            self.transport.write(line)

    def _wait(self, seconds: float) -> None:
        self._stop_waiting()
        self._timer = self.factory.clock.callLater(seconds, self._abort)

    def _stop_waiting(self) -> None:
        timer, self._timer = self._timer, None
        if timer is not None and timer.active():
            timer.cancel()

    def _close(self) -> None:
        if self.transport is not None:
            self.transport.loseConnection()

    def _abort(self) -> None:
        self._timer = None
        if self.transport is not None:
            self.transport.abortConnection()  # type: ignore[attr-defined]


class ControlFactory(Factory):
    """What the clients of all sockets of a daemon share. C{run(command, arguments)} is awaited for each request. Timeouts in seconds."""

    noisy = False

    def __init__(
        self, clock: Any, run: Callable[[str, dict[str, Any]], Awaitable[Any]], *, receive_timeout: float = 30.0, send_timeout: float = 1.0
    ) -> None:
        self.clock = clock
        self.run = run
        self.receive_timeout = receive_timeout
        self.send_timeout = send_timeout
        self.clients: list[ControlProtocol] = []

    def buildProtocol(self, addr: IAddress | None) -> ControlProtocol:  # type: ignore[override]
        protocol = ControlProtocol()
        protocol.factory = self
        return protocol

    def close(self) -> None:
        """Disconnect everybody once what was answered is sent."""
        for client in list(self.clients):
            client._close()


@implementer(IReadDescriptor)
class ControlListener:
    """Accepts on one control socket. Not Twisted's port: that would remove the file of whoever took its place."""

    def __init__(self, reactor: Any, control: ControlSocket, factory: ControlFactory, allowed: Callable[[int], bool]) -> None:
        """
        @param allowed: C{allowed(uid)} says whether that user may control us.
        """
        self._reactor = reactor
        self._control = control
        self._factory = factory
        self._allowed = allowed
        self._retry: IDelayedCall | None = None

    @property
    def control(self) -> ControlSocket:
        """The socket and its file."""
        return self._control

    def start(self) -> None:
        """Accept from now on."""
        self._retry = None
        self._reactor.addReader(self)

    def stop(self) -> None:
        """Accept no more; close the socket and remove its file while it is ours."""
        if self._retry is not None:
            self._retry.cancel()
            self._retry = None
        self._reactor.removeReader(self)
        self._control.close()

    def fileno(self) -> int:
        return self._control.socket.fileno()

    def logPrefix(self) -> str:
        return "control"

    def doRead(self) -> None:
        try:
            client, _ = self._control.socket.accept()
            with client:
                self._accepted(client)
        except OSError as error:
            if error.errno in EXHAUSTED and self._retry is None:
                # Whoever waits goes on waiting, without keeping us busy.
                self._reactor.removeReader(self)
                self._retry = self._reactor.callLater(EXHAUSTED_PAUSE, self.start)

    def _accepted(self, client: socket.socket) -> None:
        uid = peer_uid(client)
        if not self._allowed(uid):
            log.warn("control client of uid {uid} refused", uid=uid)
            return
        client.setblocking(False)
        self._reactor.adoptStreamConnection(client.fileno(), socket.AF_UNIX, self._factory)

    def connectionLost(self, reason: Failure) -> None:
        """The reactor gave up on the descriptor."""
        self._control.close()


def send_beside(sock: socket.socket, line: bytes, descriptors: Sequence[int]) -> bytes:
    """Send descriptors with the first bytes of a line; the rest of it, which is still to be sent. Raises OSError."""
    for start in range(0, len(descriptors), DESCRIPTORS_AT_ONCE):
        socket.send_fds(sock, [line[:1]], descriptors[start : start + DESCRIPTORS_AT_ONCE])
        line = line[1:]
    return line


def peer_uid(client: socket.socket) -> int:
    """The effective user of the other end when it connected (unix(7), SO_PEERCRED)."""
    _, uid, _ = _CREDENTIALS.unpack(client.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _CREDENTIALS.size))
    return int(uid)
