# SPDX-License-Identifier: Apache-2.0
"""The conversation with an FTP server on its control connection (RFC 959; upstream: protocol/server/ftp_over_http)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IHalfCloseableProtocol
from zope.interface import implementer

from g3.errors import ConnectError, TaskError, UpstreamAppError, UpstreamAppTimeout, UpstreamAppUnavailable, UpstreamNotNegotiated
from g3.net.timers import within
from g3.proto.ftp import answers
from g3.proto.ftp.answers import Facts
from g3.proto.ftp.reply import FTPError, Reply, ReplyReader, command

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine

    from twisted.python.failure import Failure

    from g3.net.timers import TimerWheel
    from g3.proto.ftp.path import Login
    from g3.servers.http_proxy.ftp import FTPClient
    from g3.servers.http_proxy.ftp_data import Mover

#: Who logs in when nobody said.
ANONYMOUS = b"anonymous"
ANONYMOUS_PASSWORD = b"xxx"
_UNKNOWN_COMMAND = frozenset({500, 501, 502, 504})
_STARTED = frozenset({125, 150})
_ENDED = frozenset({226, 250})
_UNAVAILABLE = 421


class FileUnavailable(Exception):
    """The server has no such file or directory: 404."""


class LoginRefused(UpstreamNotNegotiated):
    """login refused by the ftp server"""

    http_status, closes = 401, False


@implementer(IHalfCloseableProtocol)
class Control:
    """The control stream: a line out, a reply in. Nothing is read while nobody waits for a reply and a line's worth of bytes is there."""

    __slots__ = ("_lost", "_reader", "_waiting", "stream")

    def __init__(self, stream: Any, reader: ReplyReader) -> None:
        self.stream = stream
        self._reader = reader
        self._waiting: Deferred[Reply] | None = None
        self._lost = False
        stream.start(self)

    def send(self, word: bytes, argument: bytes | None = None) -> None:
        """@raise FTPError: the argument cannot be sent."""
        self.stream.write(command(word, argument))

    def reply(self) -> Deferred[Reply]:
        """The next one; fails with FTPError when there will be none. One waits at a time."""
        waiting = self._waiting = Deferred(self._forget)
        self._look()
        if self._waiting is not None:
            self.stream.resumeProducing()
        return waiting

    def close(self) -> None:
        """Say goodbye and close; nobody is told anything after this."""
        self._waiting = None
        if not self._lost:
            self._lost = True
            self.stream.write(command(b"QUIT"))
            self.stream.loseConnection()

    def _forget(self, _waiting: Deferred[Reply]) -> None:
        self._waiting = None

    def _look(self) -> None:
        """Give what there is to who waits for it."""
        waiting = self._waiting
        if waiting is None:
            if self._reader.waiting > self._reader.max_line:
                self.stream.pauseProducing()
            return
        try:
            found = self._reader.next()
            if found is None and self._lost:
                raise FTPError("closed by the ftp server")
        except FTPError as error:
            self._waiting = None
            waiting.errback(error)
        else:
            if found is not None:
                self._waiting = None
                waiting.callback(found)

    def makeConnection(self, transport: object) -> None:
        """The stream is known already."""

    def dataReceived(self, data: bytes) -> None:
        self._reader.feed(data)
        self._look()

    def readConnectionLost(self) -> None:
        self.connectionLost()
        self.stream.loseConnection()

    def writeConnectionLost(self) -> None:
        """We never half close."""

    def connectionLost(self, reason: Failure | None = None) -> None:
        if not self._lost:
            self._lost = True
            self._look()


class Session:
    """One login. Every method waits for the server for at most as long as C{config} says.

    What goes wrong is a TaskError (503 for a service that is not available, else 502, before a transfer has begun), or FileUnavailable.
    """

    __slots__ = ("_ascii", "config", "control", "features", "timers")

    def __init__(self, stream: Any, config: FTPClient, timers: TimerWheel) -> None:
        self.config, self.timers = config, timers
        self.control = Control(stream, ReplyReader(config.control.max_line_len, config.control.max_multi_lines))
        #: What the server says it can; None where it does not say.
        self.features: frozenset[bytes] | None = None
        self._ascii = True

    # -- one command

    async def _reply(self, what: str) -> Reply:
        """The next reply.

        @raise UpstreamNotNegotiated: there is none.
        """
        try:
            reply: Reply = await within(self.timers, self.config.control.command_timeout, _of(self.control.reply()), _TimedOut)
        except (FTPError, _TimedOut) as error:
            raise UpstreamNotNegotiated(f"{what}: {error}") from None
        if reply.code == _UNAVAILABLE:
            raise UpstreamAppUnavailable(f"{what}: {reply.code} {reply.text}")
        return reply

    async def _ask(self, word: bytes, argument: bytes | None = None) -> Reply:
        self.control.send(word, argument)
        return await self._reply(word.decode())

    # -- the beginning

    async def greet(self) -> None:
        """Be welcomed, and learn what the server can.

        @raise UpstreamAppTimeout: no greeting in C{greeting_timeout}.
        """

        def late() -> UpstreamAppTimeout:
            return UpstreamAppTimeout("ftp greeting timed out")

        reply = await within(self.timers, self.config.greeting_timeout, self._greeting(), late)
        if reply.code != 220:
            raise UpstreamNotNegotiated(f"greeting: {reply.code} {reply.text}", http_status=503 if reply.code == _UNAVAILABLE else 502)
        reply = await self._ask(b"FEAT")
        if reply.code == 211:
            self.features = answers.features(reply)
        elif reply.code not in _UNKNOWN_COMMAND and reply.code != 530:
            raise _unexpected("FEAT", reply)
        if self.tells(b"UTF8"):
            await self._ask(b"OPTS", b"UTF8 ON")

    async def _greeting(self) -> Reply:
        try:
            while True:
                reply = await self.control.reply()
                if reply.code != 120:
                    return reply
        except FTPError as error:
            raise UpstreamNotNegotiated(f"greeting: {error}") from None

    async def login(self, login: Login) -> None:
        """@raise LoginRefused: with this login."""
        reply = await self._ask(b"USER", login.name or ANONYMOUS)
        if reply.code == 331:
            password = login.password if login.name else ANONYMOUS_PASSWORD
            reply = await self._ask(b"PASS", password if password is not None else ANONYMOUS_PASSWORD)
        if reply.code in {530, 331, 332}:
            raise LoginRefused(f"login refused: {reply.code} {reply.text}")
        if reply.code != 230:
            raise _unexpected("login", reply)

    # -- what is there

    def tells(self, feature: bytes) -> bool:
        """Whether the server says that it has a feature."""
        return self.features is not None and feature in self.features

    def _may(self, feature: bytes) -> bool:
        """Whether it is worth asking."""
        return self.features is None or feature in self.features

    async def binary(self) -> None:
        """Bytes as they are from now on."""
        if self._ascii:
            await self._type(b"I")

    async def ascii(self) -> None:
        """Lines from now on, as a listing is."""
        if not self._ascii:
            await self._type(b"A")

    async def _type(self, letter: bytes) -> None:
        reply = await self._ask(b"TYPE", letter)
        if reply.code != 200:
            raise _unexpected("TYPE", reply)
        self._ascii = letter == b"A"

    async def facts(self, name: bytes) -> Facts:
        """What the server tells of a path: by MLST, then by SIZE, in binary.

        @raise FileUnavailable: MLST knows no such path.
        """
        await self.binary()
        found = Facts()
        if self.tells(b"MLST"):
            reply = await self._ask(b"MLST", name)
            if reply.code == 550:
                raise FileUnavailable
            if reply.code == 250:
                found = answers.facts(reply)
            elif reply.code not in _UNKNOWN_COMMAND:
                raise _unexpected("MLST", reply)
        if found.size is None and not found.directory and self._may(b"SIZE"):
            found = found._replace(size=await self._size(name))
        return found

    async def _size(self, name: bytes) -> int | None:
        reply = await self._ask(b"SIZE", name)
        if reply.code == 213:
            try:
                return answers.size(reply)
            except FTPError as error:
                raise UpstreamNotNegotiated(str(error)) from None
        if reply.code == 550 or reply.code in _UNKNOWN_COMMAND:
            return None
        raise _unexpected("SIZE", reply)

    async def is_directory(self, name: bytes) -> bool:
        """Whether one can go there."""
        return (await self._ask(b"CWD", name)).code == 250

    async def remove(self, word: bytes, name: bytes) -> None:
        """DELE a file, RMD a directory.

        @raise FileUnavailable: there is none, or it is not for us.
        """
        reply = await self._ask(word, name)
        if reply.code in {450, 550}:
            raise FileUnavailable
        if reply.code != 250:
            raise _unexpected(word.decode(), reply)

    # -- transfers

    async def open(self, word: bytes, name: bytes, connect: Callable[[int], Coroutine[Any, Any, Any]]) -> Any:
        """A data stream for C{word}, made by C{connect} to a port of the server's host: by EPSV, else by PASV."""
        if self.tells(b"PRET"):
            await self._ask(b"PRET", word + b" " + name)
        fault = "no data connection"
        for asking, code, port in self._ways():
            reply = await self._ask(asking)
            if reply.code != code:
                fault = f"{asking.decode()}: {reply.code} {reply.text}"
                continue
            try:
                return await connect(port(reply))
            except (ConnectError, FTPError) as error:
                fault = f"{asking.decode()}: {error}"
        raise UpstreamNotNegotiated(fault)

    def _ways(self) -> list[tuple[bytes, int, Callable[[Reply], int]]]:
        passive: list[tuple[bytes, int, Callable[[Reply], int]]] = [(b"PASV", 227, answers.passive_port)]
        if self.config.always_try_epsv or self.tells(b"EPSV"):
            passive.insert(0, (b"EPSV", 229, answers.extended_passive_port))
        return passive

    async def restart(self, offset: int) -> bool:
        """Let the next RETR begin at a byte; whether the server can."""
        return self._may(b"REST STREAM") and (await self._ask(b"REST", b"%d" % offset)).code == 350

    async def begin(self, word: bytes, name: bytes, *missing: int) -> None:
        """The command that uses the data stream.

        @raise FileUnavailable: a reply code of C{missing}.
        """
        reply = await self._ask(word, name)
        if reply.code in missing:
            raise FileUnavailable
        if reply.code not in _STARTED:
            raise _unexpected(word.decode(), reply)

    async def transfer(self, mover: Mover, confirmed: bool) -> None:
        """Until C{mover} has moved everything and, where it has to be C{confirmed}, the server has said that it was all.

        @raise TaskError: it was not; the mover has stopped.
        """
        reply = Deferred.fromCoroutine(self._end())
        reply.addCallbacks(lambda _: mover.confirmed(), self._broken, errbackArgs=(mover,))
        try:
            await mover.done
            if confirmed:
                error = await within(self.timers, self.config.transfer.end_wait_timeout, _of(reply), _no_end)
                if error is not None:
                    raise error
        finally:
            mover.stop()
            reply.cancel()

    async def _end(self) -> TaskError | None:
        try:
            reply = await self.control.reply()
        except FTPError as error:
            raise UpstreamAppError(f"transfer: {error}") from None
        if reply.code not in _ENDED:
            raise UpstreamAppError(f"transfer: {reply.code} {reply.text}")
        return None

    @staticmethod
    def _broken(failure: Failure, mover: Mover) -> TaskError:
        """The server gave up, maybe in the middle."""
        error = failure.value if isinstance(failure.value, TaskError) else _no_end()
        mover.fail(error)
        return error


class _TimedOut(Exception):
    def __str__(self) -> str:
        return "no reply in time"


def _no_end() -> UpstreamAppTimeout:
    return UpstreamAppTimeout("no reply at the end of the transfer")


def _unexpected(what: str, reply: Reply) -> UpstreamNotNegotiated:
    return UpstreamNotNegotiated(f"{what}: {reply.code} {reply.text}")


async def _of(waiting: Deferred[Any]) -> Any:
    return await waiting
