# SPDX-License-Identifier: Apache-2.0
"""Registering at a place that wants to know of us: before servers listen, and again whenever the connection was lost.

HTTP/1.1 on one connection that is kept: a POST of JSON, then a GET at an interval.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from twisted.internet.defer import Deferred
from twisted.internet.endpoints import HostnameEndpoint, connectProtocol
from twisted.internet.protocol import Protocol
from twisted.logger import Logger

from g3.errors import ConfigError, G3Error
from g3.proto.http1.body import response_reader
from g3.proto.http1.response import find_end, parse_response

if TYPE_CHECKING:
    from collections.abc import Callable

    from twisted.python.failure import Failure

    from g3.keyless.config import PreRegister

log = Logger()

#: Seconds to connect, and for one answer.
TIMEOUT = 10.0
#: Seconds before a lost connection is made anew.
RECONNECT = 10.0
MOST_HEAD = 4096
MOST_BODY = 1 << 20


class RegisterError(G3Error):
    """The other side did not take it."""


class _Connection(Protocol):
    """One request at a time, each answered by a status. C{lost} fires when the connection is gone."""

    def __init__(self) -> None:
        self.lost: Deferred[None] = Deferred()
        self._data = b""
        self._method = b""
        self._answer: Deferred[None] | None = None
        self._gone = False

    def ask(self, method: bytes, request: bytes) -> Deferred[None]:
        """Fires when the answer was 200 and all of it is here. Fails with RegisterError."""
        answer: Deferred[None] = Deferred()
        if self._gone or self.transport is None:
            answer.errback(RegisterError("the connection was closed"))
            return answer
        self._method, self._answer = method, answer
        self.transport.write(request)
        return answer

    def dataReceived(self, data: bytes) -> None:
        self._data += data
        try:
            done = self._answer is not None and self._whole()
        except G3Error as error:
            self._tell(RegisterError(str(error)))
            self._abort()
            return
        if done:
            self._data = b""
            self._tell(None)
        elif self._answer is None or len(self._data) > MOST_HEAD + MOST_BODY:
            self._abort()

    def _whole(self) -> bool:
        """Whether a whole answer of status 200 is here."""
        end = find_end(self._data, limit=MOST_HEAD)
        if end < 0:
            return False
        response = parse_response(self._data[:end], self._method)
        if response.status != 200:
            raise RegisterError(f"unexpected response: {response.status} {response.reason.decode('latin-1')}")
        reader = response_reader(response, MOST_HEAD)
        reader.feed(self._data[end:])
        return bool(reader.done)

    def _tell(self, error: Exception | None) -> None:
        answer, self._answer = self._answer, None
        if answer is None:
            return
        if error is None:
            answer.callback(None)
        else:
            answer.errback(error)

    def _abort(self) -> None:
        if self.transport is not None:
            self.transport.abortConnection()  # type: ignore[attr-defined]

    def connectionLost(self, reason: Failure | None = None) -> None:
        self._gone = True
        self._tell(RegisterError("the connection was closed"))
        self.lost.callback(None)

    def close(self) -> None:
        """Leave."""
        if self.transport is not None:
            self.transport.loseConnection()


class Registration:
    """Us at that place."""

    def __init__(self, reactor: Any, options: PreRegister, control_socket: str, pid: int) -> None:
        self._reactor = reactor
        self._options = options
        content = {"ctl_local": control_socket, "pid": str(pid), **dict(options.extra_data)}
        self._body = json.dumps(content).encode()
        self._connection: _Connection | None = None
        self._awake: Callable[[], None] | None = None
        self._stopped = False

    async def startup(self) -> None:
        """Register, trying again as configured; then stay registered, in the background.

        @raise ConfigError: it was tried often enough.
        """
        for attempt in range(self._options.startup_retry + 1):
            try:
                connection = await self._register()
            except Exception as error:
                if attempt == self._options.startup_retry:
                    raise ConfigError(f"pre_register: {self._options.upstream}: {error}") from error
                log.warn("{attempt} process register failed: {error}", attempt=attempt, error=error)
                await self._sleep(self._options.retry_interval)
            else:
                break
        log.info("process register ok")
        Deferred.fromCoroutine(self._stay(connection)).addErrback(lambda failure: log.failure("registration failed", failure))

    async def _stay(self, connection: _Connection) -> None:
        while not self._stopped:
            await self._ping_until_lost(connection)
            log.warn("lost connection with register upstream")
            while not self._stopped:
                await self._sleep(RECONNECT)
                try:
                    connection = await self._register()
                except Exception as error:
                    log.warn("register failed: {error}", error=error)
                else:
                    log.info("process register ok")
                    break

    async def _ping_until_lost(self, connection: _Connection) -> None:
        """The first ping at once, as upstream."""
        host, path = self._options.upstream.host, self._options.ping_path
        request = f"GET {path} HTTP/1.1\r\nHost: {host}\r\nContent-Length: 0\r\nConnection: Keep-Alive\r\n\r\n".encode()
        lost = connection.lost
        while not self._stopped and not lost.called:
            try:
                await connection.ask(b"GET", request).addTimeout(TIMEOUT, self._reactor)
            except Exception as error:
                log.warn("ping failed: {error}", error=error)
                connection._abort()
                return
            await self._sleep(self._options.ping_interval, lost)

    async def _register(self) -> _Connection:
        upstream = self._options.upstream
        endpoint = HostnameEndpoint(self._reactor, upstream.host, upstream.port, timeout=TIMEOUT)
        connection: _Connection = await connectProtocol(endpoint, _Connection())  # type: ignore[no-untyped-call]
        self._connection = connection
        head = (
            f"POST {self._options.register_path} HTTP/1.1\r\nHost: {upstream.host}\r\nContent-Type: application/json\r\n"
            f"Content-Length: {len(self._body)}\r\nConnection: Keep-Alive\r\n\r\n"
        )
        try:
            await connection.ask(b"POST", head.encode() + self._body).addTimeout(TIMEOUT, self._reactor)
        except Exception:
            connection._abort()
            raise
        return connection

    def _sleep(self, seconds: float, interrupt: Deferred[None] | None = None) -> Deferred[None]:
        """Fires after C{seconds}, or with C{interrupt}, or when we stop."""
        sleeping: Deferred[None] = Deferred()
        timer = self._reactor.callLater(seconds, sleeping.callback, None)

        def awake(_: object = None) -> None:
            if timer.active():
                timer.cancel()
                sleeping.callback(None)

        self._awake = awake
        if interrupt is not None:
            interrupt.addCallback(awake)
        return sleeping

    def stop(self) -> None:
        """Leave that place."""
        self._stopped = True
        if self._connection is not None:
            self._connection.close()
        if self._awake is not None:
            self._awake()
