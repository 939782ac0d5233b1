# SPDX-License-Identifier: Apache-2.0
"""One worker as its supervisor sees it: a process, a link to it, and what it serves."""

from __future__ import annotations

import contextlib
import os
import signal
from typing import TYPE_CHECKING, Any

from twisted.internet.defer import Deferred, DeferredList
from twisted.internet.interfaces import IReadDescriptor
from twisted.logger import Logger, LogLevel
from zope.interface import implementer

from g3.errors import ConfigError
from g3.workers import link as words

if TYPE_CHECKING:
    import socket
    from collections.abc import Callable, Mapping

log = Logger()


@implementer(IReadDescriptor)
class ProcessEnd:
    """Watches a process by its pidfd, and can kill it: never another one that got its number."""

    def __init__(self, reactor: Any, descriptor: int, ended: Callable[[], None]) -> None:
        self._reactor = reactor
        self._descriptor = descriptor
        self._ended = ended
        reactor.addReader(self)

    def kill(self, number: int = signal.SIGKILL) -> None:
        """Send a signal; one that is gone already is no error."""
        if self._descriptor >= 0:
            with contextlib.suppress(OSError):
                signal.pidfd_send_signal(self._descriptor, number)

    def close(self) -> None:
        """Watch no more."""
        descriptor, self._descriptor = self._descriptor, -1
        if descriptor >= 0:
            os.close(descriptor)

    def fileno(self) -> int:
        return self._descriptor

    def logPrefix(self) -> str:
        return "worker"

    def doRead(self) -> None:
        self._reactor.removeReader(self)
        self.close()
        self._ended()

    def connectionLost(self, reason: object) -> None:
        """The reactor stops."""
        self.close()


class WorkerLink(words.Link):
    """The supervisor's end."""

    slot = 0

    @words.Say.responder
    def say(self, level: str, namespace: str, text: str) -> dict[str, Any]:
        """A line of a worker in our process log."""
        Logger(namespace=namespace).emit(LogLevel.levelWithName(level), "worker {slot}: {text}", slot=self.slot, text=text)
        return {}


class Member:
    """A worker process. C{generation} is that of the configuration it serves, 0 until it serves; C{staged} that of one it has prepared; C{rising}
    that it is being brought to what is committed, by itself."""

    def __init__(self, slot: int, link: WorkerLink) -> None:
        self.slot = slot
        self.link = link
        self.pid = 0
        self.process: ProcessEnd | None = None
        self.linked = True
        self.generation = 0
        self.staged = 0
        self.rising = False
        #: What the watch saw last, and how often since.
        self.beat = -1
        self.missed = 0

    def __repr__(self) -> str:
        return f"worker {self.slot} (pid {self.pid})"

    def kill(self) -> None:
        """End it now."""
        if self.process is not None:
            self.process.kill()

    async def stage(self, generation: int, snapshot: object, sockets: Mapping[str, socket.socket], known: Mapping[str, socket.socket]) -> None:
        """Hand it the sockets that it does not know and have it prepare.

        @raise ConfigError: it cannot.
        @raise Exception: the link is gone.
        """
        new = {key: sock.fileno() for key, sock in sockets.items() if known.get(key) is not sock}
        # What comes after them fails when they did.
        await DeferredList([self.link.ask(words.Socket, key=key, descriptor=number) for key, number in new.items()], consumeErrors=True)
        descriptor = words.pack(snapshot)
        try:
            report = (await self.link.ask(words.Stage, generation=generation, snapshot=descriptor))["report"]
        finally:
            os.close(descriptor)
        if report:
            raise ConfigError(report.splitlines())
        self.staged = generation

    async def commit(self) -> None:
        """Have it go over to what it prepared. Raises as C{stage}; then it is where it was."""
        report = (await self.link.ask(words.Commit))["report"]
        if report:
            self.staged = 0
            raise ConfigError(report.splitlines())
        self.generation, self.staged = self.staged, 0

    async def roll_back(self) -> None:
        """Have it forget what it prepared. Raises when the link is gone."""
        self.staged = 0
        with contextlib.suppress(words.Failed):  # it serves what it served, though something may be left behind
            await self.link.ask(words.RollBack)

    async def ask(self, request: dict[str, Any]) -> dict[str, Any]:
        """The answer to a control request. Raises when the link is gone."""
        with words.Slate() as slate:
            slate.write(request)
            try:
                await self.link.ask(words.Control, slate=slate.descriptor)
            except words.Failed as error:
                return {"error": f"internal error: {error}"}
            result: dict[str, Any] = slate.read()
            return result

    async def close_servers(self) -> None:
        """Have it take no new clients."""
        await self.link.ask(words.CloseServers)

    def drained(self) -> Deferred[Any]:
        """Fires when its last task has ended, or it is gone."""
        waiting: Deferred[Any] = self.link.ask(words.Drained)
        return waiting.addErrback(lambda _: None)

    def leave(self) -> None:
        """Have it end."""
        if self.linked:
            self.link.tell(words.Leave)
