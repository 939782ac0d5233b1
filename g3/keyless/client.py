# SPDX-License-Identifier: Apache-2.0
"""A client of key servers: many requests at a time over one connection, each answer found by its id."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from twisted.internet.defer import Deferred
from twisted.internet.error import ConnectionDone
from twisted.internet.protocol import Protocol, connectionDone
from twisted.python.failure import Failure

from g3.errors import G3Error
from g3.net.connect import connect_tcp
from g3.net.tls.handshake import connect as tls_connect
from g3.net.transport import Stream
from g3.proto.keyless import ERROR_TEXTS, PADDED, KeylessError, Opcode, Splitter, encode_request, parse_response

if TYPE_CHECKING:
    from g3.net.timers import TimerWheel
    from g3.net.tls.provider import ClientTLS
    from g3.proto.keyless import Response
    from g3.task import SocketAddress

#: Requests without an answer that one connection may have.
MOST_WAITING = 65536
_IDS = 1 << 32


class KeylessRefused(G3Error):
    """The server answered with an error. C{code} is a g3.proto.keyless.ErrorCode, or a number that has no name."""

    def __init__(self, code: int) -> None:
        self.code = code
        super().__init__(f"key server: {ERROR_TEXTS.get(code, f'error {code}')}")


class KeylessClient(Protocol):
    """One connection. Answers may come in any order.

    @ivar first_id: the id of the first request; ids go up and begin again after 2**32, over those still in use.
    """

    def __init__(self, first_id: int = 1, *, padded: int = PADDED) -> None:
        self._next = first_id % _IDS
        self._padded = padded
        self._waiting: dict[int, Deferred[bytes]] = {}
        self._splitter = Splitter()
        self._reason: Failure | None = None
        #: Fires when the connection is gone.
        self.lost: Deferred[None] = Deferred()

    @property
    def waiting(self) -> int:
        """Requests without an answer."""
        return len(self._waiting)

    def ask(self, opcode: int, ski: bytes = b"", payload: bytes = b"") -> Deferred[bytes]:
        """What the server answers. To give up, cancel the Deferred: a late answer is dropped.

        The Deferred fails with L{KeylessRefused}, or with what ended the connection.

        @raise ValueError: too long for a message. @raise RuntimeError: L{MOST_WAITING} requests have no answer yet.
        """
        if self._reason is not None or self.transport is None:
            gone: Deferred[bytes] = Deferred()
            gone.errback(self._reason or Failure(ConnectionDone()))  # type: ignore[no-untyped-call]
            return gone
        number = self._new_id()
        message = encode_request(number, opcode, ski, payload, padded=self._padded)
        # The id stays taken until its answer is here: it would be mistaken for another's.
        answer: Deferred[bytes] = Deferred(lambda _: None)
        self._waiting[number] = answer
        self.transport.write(message)
        return answer

    def ping(self, payload: bytes = b"") -> Deferred[bytes]:
        """The server gives back what it is sent."""
        return self.ask(Opcode.PING, payload=payload)

    def _new_id(self) -> int:
        if len(self._waiting) >= MOST_WAITING:
            raise RuntimeError(f"{MOST_WAITING} requests wait for their answers")
        while self._next in self._waiting:
            self._next = (self._next + 1) % _IDS
        number = self._next
        self._next = (number + 1) % _IDS
        return number

    def dataReceived(self, data: bytes) -> None:
        self._splitter.feed(data)
        try:
            while (message := self._splitter.take()) is not None:
                self._answered(parse_response(*message))
        except KeylessError as error:
            self._fail(Failure(error))  # type: ignore[no-untyped-call]
            if self.transport is not None:
                self.transport.abortConnection()  # type: ignore[attr-defined]

    def _answered(self, response: Response) -> None:
        answer = self._waiting.pop(response.id, None)
        if answer is None:
            raise KeylessError(f"an answer to no request: id {response.id}")
        if answer.called:
            return
        if response.opcode == Opcode.ERROR:
            answer.errback(KeylessRefused(response.error))
        else:
            answer.callback(response.payload)

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        self._fail(reason)
        lost, self.lost = self.lost, Deferred()
        lost.callback(None)

    def _fail(self, reason: Failure) -> None:
        if self._reason is None:
            self._reason = reason
        waiting, self._waiting = self._waiting, {}
        for answer in waiting.values():
            if not answer.called:
                answer.errback(self._reason)

    def close(self) -> None:
        """End the connection once what was asked is sent."""
        if self.transport is not None:
            self.transport.loseConnection()


async def connect(
    reactor: Any, timers: TimerWheel, address: SocketAddress, *, tls: ClientTLS | None = None, name: str = "", timeout: float = 10.0
) -> KeylessClient:
    """A connected client. C{tls} as of g3.net.tls.context.client_context, with the C{name} to verify.

    @raise g3.errors.ConnectError: or a TLS error; nothing is left open.
    """
    sock = await connect_tcp(reactor, timers, address, timeout=timeout)
    stream: Any = Stream(reactor, sock, peer=address)
    if tls is not None:
        stream = await tls_connect(stream, tls, name or address[0], port=address[1], timeout=timeout)
    client = KeylessClient()
    stream.start(client)
    return client
