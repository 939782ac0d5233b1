# SPDX-License-Identifier: Apache-2.0
"""How one daemon takes the place of another of its group without a client noticing.

The new one asks the shared control socket for the listening sockets, makes everything ready and serves on them beside the old one. Only then
does it ask for the shared control socket itself, and tell the old one to leave. Whatever goes wrong before that has changed nothing.
"""

from __future__ import annotations

import os
import socket
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

from twisted.internet.defer import Deferred
from twisted.internet.endpoints import UNIXClientEndpoint
from twisted.internet.protocol import Factory
from twisted.logger import Logger
from twisted.protocols.basic import LineReceiver

from g3.control.messages import MAX_ANSWER, ControlError, parse_answer, request
from g3.control.server import DESCRIPTORS_AT_ONCE, peer_uid
from g3.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Collection
    from pathlib import Path

    from twisted.python.failure import Failure

log = Logger()

#: Seconds that the old daemon has for an answer.
TIMEOUT: Final = 10.0
#: Listening sockets at most.
MAX_SOCKETS: Final = 8192


@dataclass(slots=True)
class Estate:
    """What the old daemon hands over: C{listeners} by their key in its pool, those of them (or others) that it was C{passed} when it was
    started, and what it C{told} about itself."""

    listeners: dict[str, socket.socket] = field(default_factory=dict)
    passed: list[socket.socket] = field(default_factory=list)
    told: dict[str, Any] = field(default_factory=dict)

    def close(self) -> None:
        """Nobody wants it."""
        for sock in (*self.listeners.values(), *self.passed):
            sock.close()


def take(path: Path, uids: Collection[int], timeout: float = TIMEOUT) -> Estate | None:
    """What the daemon on that control socket hands over; None when nobody is there. Blocks.

    @param uids: the users it may run as.
    @raise ConfigError: it is of another user, or does not hand anything over; the reason is in the text.
    """
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as client:
        client.settimeout(timeout)
        try:
            client.connect(str(path))
        except (FileNotFoundError, ConnectionRefusedError):
            return None
        except OSError as error:
            raise ConfigError(f"control socket {path}: {error.strerror or error}") from error
        _check(client, path, uids)
        received: list[int] = []
        try:
            client.sendall(request("hand_over", {}))
            result = parse_answer(_receive(client, received))
            return _sorted_out(result, received)
        except OSError as error:
            raise ConfigError(f"the daemon on {path} does not hand over its sockets: {error.strerror or error}") from error
        except ControlError as error:
            raise ConfigError(f"the daemon on {path} does not hand over its sockets: {error}") from error
        finally:
            for descriptor in received:
                os.close(descriptor)


def _check(client: socket.socket, path: object, uids: Collection[int]) -> None:
    uid = peer_uid(client)
    if uid not in uids:
        raise ConfigError(f"the daemon on {path} is of uid {uid}, not ours")


def _receive(client: socket.socket, received: list[int]) -> bytes:
    """A line, and into C{received} the descriptors beside it."""
    line = bytearray()
    while not line.endswith(b"\n"):
        data, descriptors, flags, _ = socket.recv_fds(client, 65536, DESCRIPTORS_AT_ONCE)
        received += descriptors
        if flags & socket.MSG_CTRUNC or len(received) > MAX_SOCKETS:
            raise ControlError("there are more than we may have open")
        if not data:
            raise ControlError("it closed the connection")
        line += data
        if len(line) > MAX_ANSWER:
            raise ControlError("the answer is too long")
    return bytes(line)


def _sorted_out(result: Any, received: list[int]) -> Estate:
    """What was received, by what it is for; C{received} keeps what is left."""
    keys, passed = (result.get("listeners"), result.get("passed")) if isinstance(result, dict) else (None, None)
    if not isinstance(keys, list) or not isinstance(passed, int) or len(keys) + passed != len(received):
        raise ControlError("not an answer")
    estate = Estate(told={key: value for key, value in result.items() if key not in ("listeners", "passed")})
    sockets: list[socket.socket] = []
    while received:
        try:
            sockets.insert(0, socket.socket(fileno=received[-1]))
        except OSError as error:
            for sock in sockets:
                sock.close()
            raise ControlError("not a socket") from error
        received.pop()
        sockets[0].setblocking(False)
        sockets[0].set_inheritable(False)
    estate.listeners = dict(zip(map(str, keys), sockets, strict=False))
    estate.passed = sockets[len(keys) :]
    return estate


class _Asking(LineReceiver):
    """A connection to the old daemon that asks one thing at a time."""

    delimiter = b"\n"
    MAX_LENGTH = MAX_ANSWER

    def __init__(self) -> None:
        self._waiting: Deferred[bytes] | None = None

    def ask(self, line: bytes) -> Deferred[bytes]:
        """The answer's line. Fails with ControlError when the connection is lost first."""
        self._waiting = Deferred()
        self.sendLine(line.rstrip(b"\n"))  # type: ignore[no-untyped-call]
        return self._waiting

    def lineReceived(self, line: bytes) -> None:
        waiting, self._waiting = self._waiting, None
        if waiting is not None:
            waiting.callback(line)

    def connectionLost(self, reason: Failure | None = None) -> None:
        waiting, self._waiting = self._waiting, None
        if waiting is not None:
            waiting.errback(ControlError("it closed the connection"))


class _AskingFactory(Factory):
    noisy = False
    protocol = _Asking


class Predecessor:
    """The daemon that we take over from. Nothing here raises: whatever is wrong with it must not keep us from serving."""

    def __init__(self, reactor: Any, path: Path, uids: Collection[int], timeout: float = TIMEOUT) -> None:
        self._reactor = reactor
        self._path = path
        self._uids = uids
        self._timeout = timeout
        self._asking: _Asking | None = None

    async def release(self, listeners: Collection[str]) -> None:
        """Have it give up the shared control socket; we go on with these C{listeners}, by their keys."""
        try:
            endpoint = UNIXClientEndpoint(self._reactor, str(self._path), timeout=self._timeout)  # type: ignore[no-untyped-call]
            self._asking = await endpoint.connect(_AskingFactory())  # type: ignore[no-untyped-call]
            _check(self._asking.transport.getHandle(), self._path, self._uids)  # type: ignore[union-attr]
        except Exception as error:
            log.warn("the daemon before us is gone: {error}", error=error)
            self.close()
            return
        await self._ask("release_controller", pid=os.getpid(), listeners=list(listeners))

    async def retire(self) -> None:
        """We serve: it may leave."""
        await self._ask("offline")
        self.close()

    async def resume(self) -> None:
        """We do not serve: it has to go on."""
        await self._ask("cancel_shutdown")
        self.close()

    async def _ask(self, command: str, **arguments: Any) -> None:
        if self._asking is None:
            return
        try:
            answer = self._asking.ask(request(command, arguments)).addTimeout(self._timeout, self._reactor)
            parse_answer(await answer)
        except Exception as error:
            log.warn("the daemon before us, asked to {command}: {error}", command=command, error=error)

    def close(self) -> None:
        """Hang up."""
        asking, self._asking = self._asking, None
        if asking is not None and asking.transport is not None:
            asking.transport.loseConnection()
