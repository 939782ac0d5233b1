# SPDX-License-Identifier: Apache-2.0
"""What a supervisor and its workers say to each other: AMP over a socket pair, descriptors beside the words.

An AMP value has 64 KiB at most, so that what may be longer travels in a memfd. Both ends run the same code (workers are forked), so that
pickle is the format of what is in it; nobody else can write to either.
"""

from __future__ import annotations

import json
import os
import pickle
import socket
from functools import partial
from typing import TYPE_CHECKING, Any, ClassVar

from twisted.internet.defer import maybeDeferred
from twisted.internet.protocol import Factory
from twisted.logger import Logger
from twisted.protocols import amp

from g3.errors import ConfigError, G3Error

if TYPE_CHECKING:
    from collections.abc import Callable

    from twisted.internet.defer import Deferred
    from twisted.python.failure import Failure

log = Logger()

_Text: Any = amp.Unicode
_Integer: Any = amp.Integer
_Descriptor: Any = amp.Descriptor

#: Characters of a report; AMP values have 65535 bytes.
MAX_TEXT = 15000


class Socket(amp.Command):
    """Supervisor: a listening socket that the next stage may claim, by its key in the listener pool."""

    arguments: ClassVar[list[tuple[bytes, Any]]] = [(b"key", _Text()), (b"descriptor", _Descriptor())]


class Stage(amp.Command):
    """Supervisor: prepare to serve this configuration, and change nothing yet. The first one brings all that a worker has to know."""

    arguments: ClassVar[list[tuple[bytes, Any]]] = [(b"generation", _Integer()), (b"snapshot", _Descriptor())]
    response: ClassVar[list[tuple[bytes, Any]]] = [(b"report", _Text())]


class Commit(amp.Command):
    """Supervisor: go over to what was staged."""

    response: ClassVar[list[tuple[bytes, Any]]] = [(b"report", _Text())]


class RollBack(amp.Command):
    """Supervisor: forget what was staged."""


class Control(amp.Command):
    """Supervisor: run the control command that stands on this memfd, and put the answer in its place."""

    arguments: ClassVar[list[tuple[bytes, Any]]] = [(b"slate", _Descriptor())]


class CloseServers(amp.Command):
    """Supervisor: take no new clients."""


class Drained(amp.Command):
    """Supervisor: answer when the last task has ended."""


class Leave(amp.Command):
    """Supervisor: end."""

    requiresAnswer = False


class Say(amp.Command):
    """Worker: a line for the process log."""

    arguments: ClassVar[list[tuple[bytes, Any]]] = [(b"level", _Text()), (b"namespace", _Text()), (b"text", _Text())]
    requiresAnswer = False


class Failed(G3Error):
    """The other end met an error of its own, which it has logged, at this command; it goes on with the next."""


class Link(amp.AMP):
    """One end. C{lost} is called when the other end is gone. An error in what answers a command is logged, and is the answer to that command."""

    lost: Callable[[], None] | None = None

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]

    def ask(self, command: type[amp.Command], **arguments: Any) -> Deferred[dict[str, Any]]:
        """What the other end answers. The Deferred fails when it is gone first, and with L{Failed}."""
        answer: Deferred[dict[str, Any]] = self.callRemote(command, **arguments)  # type: ignore[no-untyped-call]
        answer.addErrback(_told)
        return answer

    def tell(self, command: type[amp.Command], **arguments: Any) -> None:
        """Say what takes no answer."""
        self.callRemote(command, **arguments)  # type: ignore[no-untyped-call]

    # AMP's own would end the link for any error.

    def locateResponder(self, name: bytes) -> Any:
        responder = super().locateResponder(name)  # type: ignore[no-untyped-call]
        return None if responder is None else partial(self._respond, responder)

    def _respond(self, responder: Callable[[Any], Any], box: Any) -> Deferred[Any]:
        return maybeDeferred(responder, box).addCallback(_sendable).addErrback(self._failed, box)

    def _failed(self, failure: Failure, box: Any) -> None:
        self.unhandledError(failure)
        if amp.ASK in box:
            description = cut(f"{type(failure.value).__name__}: {failure.value}")
            raise amp.RemoteAmpError(amp.UNKNOWN_ERROR_CODE, description)  # type: ignore[no-untyped-call]

    def unhandledError(self, failure: Failure) -> None:
        log.failure("between supervisor and worker", failure)

    # AMP's own two log a line each.

    def makeConnection(self, transport: Any) -> None:
        amp.BinaryBoxProtocol.makeConnection(self, transport)  # type: ignore[no-untyped-call]

    def connectionLost(self, reason: Any = None) -> None:
        amp.BinaryBoxProtocol.connectionLost(self, reason)  # type: ignore[no-untyped-call]
        self.transport = None
        if self.lost is not None:
            self.lost()


def _told(failure: Failure) -> Failure:
    error = failure.value
    if isinstance(error, amp.UnknownRemoteError):
        raise Failed(error.description)
    return failure


def _sendable(answer: Any) -> Any:
    """A box that can be written. Raises amp.TooLong and the like."""
    answer.serialize()
    return answer


class _LinkFactory(Factory):
    noisy = False

    def __init__(self, link: Link) -> None:
        self._link = link

    def buildProtocol(self, addr: object) -> Link:
        return self._link


def attach(reactor: Any, sock: socket.socket, link: Link) -> None:
    """Have C{link} speak over C{sock}, which is closed; the reactor has its own descriptor of it."""
    with sock:
        sock.setblocking(False)
        reactor.adoptStreamConnection(sock.fileno(), socket.AF_UNIX, _LinkFactory(link))


def pack(value: object) -> int:
    """A descriptor of a memfd that holds C{value}.

    @raise ConfigError: it has something in it that cannot be handed to another process, such as a configuration value of a plugin.
    """
    try:
        data = pickle.dumps(value, pickle.HIGHEST_PROTOCOL)
    except Exception as error:
        raise ConfigError(f"the configuration cannot be handed to workers: {type(error).__name__}: {error}") from error
    return memfd(data)


def memfd(data: bytes) -> int:
    """A descriptor of a memfd that holds C{data}."""
    descriptor = os.memfd_create("g3-message", os.MFD_CLOEXEC)
    with os.fdopen(descriptor, "wb", closefd=False) as stream:
        stream.write(data)
    return descriptor


def contents(descriptor: int) -> bytes:
    """What a memfd holds; it is closed."""
    with os.fdopen(descriptor, "rb") as stream:
        stream.seek(0)
        return stream.read()


def unpack(descriptor: int) -> Any:
    """The value in a memfd of L{pack}; it is closed."""
    return pickle.loads(contents(descriptor))


class Slate:
    """A memfd that holds JSON, for what came from outside: whoever has it can read and replace it. Use as a context manager; at the end our
    descriptor of it is closed."""

    def __init__(self, descriptor: int | None = None) -> None:
        self.descriptor = memfd(b"") if descriptor is None else descriptor

    def __enter__(self) -> Slate:
        return self

    def __exit__(self, *_: object) -> None:
        os.close(self.descriptor)

    def read(self) -> Any:
        """What stands there."""
        return json.loads(contents(os.dup(self.descriptor)))

    def write(self, value: object) -> None:
        """Have this stand there, and nothing else."""
        with os.fdopen(self.descriptor, "wb", closefd=False) as stream:
            stream.seek(0)
            stream.truncate()
            stream.write(json.dumps(value).encode())


def cut(text: str) -> str:
    """As much of a text as a value may have, and what is no Unicode text in it (bytes of a file name) escaped."""
    text = text.encode(errors="backslashreplace").decode()
    return text if len(text) <= MAX_TEXT else text[:MAX_TEXT] + "..."
