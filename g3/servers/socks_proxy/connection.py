# SPDX-License-Identifier: Apache-2.0
"""A client connection of a socks_proxy: the negotiation, then the one exchange that it is for."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.interfaces import IHalfCloseableProtocol
from zope.interface import implementer

from g3.errors import ClientAuthFailed, ProtocolError, TaskError
from g3.proto.socks import v4, v5
from g3.proto.socks.address import SocksError
from g3.servers.socks_proxy.connect import SocksConnect
from g3.servers.socks_proxy.exchange import NEVER
from g3.servers.socks_proxy.udp import UDPSession
from g3.task import PathSelection

if TYPE_CHECKING:
    from twisted.python.failure import Failure

    from g3.net.transport import Stream
    from g3.servers.socks_proxy.client import Server
    from g3.servers.socks_proxy.exchange import Exchange
    from g3.task import ClientInfo

#: Bytes read ahead while the upstream is being connected; then the client is not read any more.
READ_AHEAD: Final = 16384
#: After a refusal a client that has sent more is read, and what it sends thrown away, for this long (seconds) and this much (bytes): closing
#: at once would reset the connection and take the reply with it.
LINGER_SECONDS: Final = 2.0
LINGER_BYTES: Final = 65536

#: What is read next.
_VERSION, _METHODS, _CREDENTIALS, _REQUEST, _V4, _WAITING, _OVER = range(7)

_NOTHING_NEEDED: Final = v5.greeting((v5.NO_AUTH,))
_HTTP_METHODS: Final = b"GPHDCOT"
_TLS_HANDSHAKE: Final = 0x16


@implementer(IHalfCloseableProtocol)
class SocksConnection:
    """Until there is an C{exchange} its C{deadline} (monotonic seconds) bounds the whole negotiation.

    @ivar buffer: bytes of a message that is not all there, or what came ahead of the upstream; bounded by the longest message and
        L{READ_AHEAD}, and one read.
    """

    __slots__ = (
        "_authenticating",
        "_state",
        "accepted",
        "buffer",
        "counted_in",
        "counted_out",
        "deadline",
        "exchange",
        "info",
        "lost",
        "path",
        "server",
        "stream",
        "user",
    )

    def __init__(self, server: Server, stream: Stream, info: ClientInfo) -> None:
        self.server = server
        self.stream = stream
        self.info = info
        self.exchange: Exchange | None = None
        self.user: Any = None
        self.path: PathSelection | None = None
        self.buffer = b""
        self.lost = False
        self.counted_in = self.counted_out = 0
        self._state = _VERSION
        self._authenticating: Deferred[None] | None = None
        self.accepted = server.clock()
        self.deadline = self.accepted + server.config.negotiation_timeout

    def makeConnection(self, transport: object) -> None:
        """The stream is known already."""

    # -- from the client

    def dataReceived(self, data: bytes) -> None:
        if self.exchange is not None:
            self.exchange.client_data(data)
        elif self._state == _OVER:
            self._linger()
        elif self._state == _WAITING:
            self.read_ahead(data)
        else:
            self.buffer = self.buffer + data if self.buffer else data
            self._negotiate()

    def read_ahead(self, data: bytes) -> None:
        """Keep bytes for later, up to a bound."""
        self.buffer += data
        if len(self.buffer) > READ_AHEAD:
            self.stream.pauseProducing()
            self.stream.watch_hangup(self._hung_up)

    def _hung_up(self, gone: bool) -> None:
        """A client that is C{gone} is told of by connectionLost; one that only ended its direction still wants its upstream."""

    def take(self) -> bytes:
        """What came ahead of the upstream."""
        data, self.buffer = self.buffer, b""
        return data

    def _negotiate(self) -> None:
        """Read as many messages as there are."""
        try:
            while self.buffer and self._read_message(self.buffer):
                pass
        except SocksError as error:
            self._say_no(v5.reply(error.reply) if error.reply else b"", str(error))

    def _read_message(self, data: bytes) -> bool:
        """Read one if it is all there, and act on it; whether there may be another to read.

        @raise SocksError: the client broke the protocol.
        """
        state = self._state
        if state == _REQUEST:
            return self._read_request(data)
        if state == _VERSION:
            return self._read_version(data)
        if state == _METHODS:
            return self._read_methods(data)
        if state == _V4:
            return self._read_v4(data)
        return state == _CREDENTIALS and self._read_credentials(data)

    def _read_version(self, data: bytes) -> bool:
        if data == _NOTHING_NEEDED and self.server.users is None:
            self.buffer = b""
            self._choose(v5.NO_AUTH, _REQUEST)
            return False
        version = data[0]
        if version == v5.VERSION:
            self._state = _METHODS
        elif version == v4.VERSION:
            self._state = _V4
        else:
            raise SocksError(_what_is(version))
        return True

    # -- SOCKS 5

    def _read_methods(self, data: bytes) -> bool:
        found = v5.parse_methods(data)
        if found is None:
            return False
        methods, end = found
        self.buffer = data[end:]
        with_users = self.server.users is not None
        if with_users and v5.USER in methods:
            self._choose(v5.USER, _CREDENTIALS)
        elif v5.NO_AUTH not in methods:
            self.server.stats.forbidden_auth_failed += 1
            self._say_no(v5.method_reply(v5.NO_METHOD), "no authentication method fits")
        elif with_users:
            self._authenticate(None, v5.VERSION)
        else:
            self._choose(v5.NO_AUTH, _REQUEST)
        return True

    def _choose(self, method: int, state: int) -> None:
        self._state = state
        self.stream.write(v5.method_reply(method))

    def _read_credentials(self, data: bytes) -> bool:
        found = v5.parse_credentials(data)
        if found is None:
            return False
        name, password, end = found
        self.buffer = data[end:]
        config = self.server.config
        params = config.username_params
        if params is not None:
            try:
                chosen = params.next_proxy(name, params.socks5_port)
            except ProtocolError as error:
                self.server.stats.forbidden_dest_denied += 1
                self._say_no(v5.reply(v5.NOT_ALLOWED), str(error))
                return False
            self.path = None if chosen is None else PathSelection(upstreams={config.escaper: chosen})
            name = params.user_name(name)
        self._authenticate((name, password), v5.VERSION)
        return True

    def _read_request(self, data: bytes) -> bool:
        found = v5.parse_request(data)
        if found is None:
            return False
        request, end = found
        self.buffer = data[end:]
        if request.command == v5.CONNECT:
            self._begin(SocksConnect(self, v5.VERSION, request.host, request.port))
        elif request.command == v5.UDP_ASSOCIATE:
            self._begin(UDPSession(self, (request.host, request.port) if request.host else None))
        else:
            self._say_no(v5.reply(v5.NO_COMMAND), f"command {request.command} is not served")
        return False

    # -- SOCKS 4

    def _read_v4(self, data: bytes) -> bool:
        if self.server.users is not None and self.user is None:
            self._authenticate(None, v4.VERSION)
            return True
        found = v4.parse_request(data)
        if found is None:
            return False
        request, end = found
        self.buffer = data[end:]
        if request.command == v4.CONNECT:
            self._begin(SocksConnect(self, v4.VERSION, request.host, request.port))
        else:
            self._say_no(v4.reply(v4.REJECTED), "BIND is not served")
        return False

    # -- users

    def _authenticate(self, credentials: tuple[str, str] | None, version: int) -> None:
        self._state = _WAITING
        authenticating = Deferred.fromCoroutine(self._admit(credentials, version))
        if not authenticating.called:
            self._authenticating = authenticating

    async def _admit(self, credentials: tuple[str, str] | None, version: int) -> None:
        try:
            answer = self.server.users.authenticate(credentials, self.info)
            self.user = await answer if isinstance(answer, Deferred) else answer
        except TaskError as error:
            self._not_admitted(error, credentials, version)
        except CancelledError:
            return
        except Exception as error:
            self.server.failed(error)
            self._say_no(b"", "authentication failed here")
        else:
            self._admitted(credentials, version)

    def _admitted(self, credentials: tuple[str, str] | None, version: int) -> None:
        if version == v4.VERSION:
            self._state = _V4
        else:
            self._state = _REQUEST
            self.stream.write(v5.method_reply(v5.NO_AUTH) if credentials is None else v5.auth_reply(True))
        if self._authenticating is not None:  # else who asked goes on reading
            self._authenticating = None
            self._negotiate()
            if self.exchange is None:
                self.stream.resumeProducing()

    def _not_admitted(self, error: TaskError, credentials: tuple[str, str] | None, version: int) -> None:
        """A user that is blocked is told so by a reply, whatever was asked; the group has let it wait."""
        self._authenticating = None
        stats = self.server.stats
        if not isinstance(error, ClientAuthFailed):
            stats.forbidden_user_blocked += 1
            answer = v5.reply(error.socks5_reply)
        else:
            stats.forbidden_auth_failed += 1
            answer = v5.method_reply(v5.NO_METHOD) if credentials is None else v5.auth_reply(False)
        self._say_no(answer if version == v5.VERSION else b"", str(error))

    # -- the exchange

    def _begin(self, exchange: Exchange) -> None:
        """The negotiation is over."""
        self._state = _WAITING
        self.deadline = NEVER
        self.exchange = exchange
        exchange.start()

    def exchange_ended(self, answer: bytes) -> None:
        """It ended with the client's stream still ours: C{answer} it and close."""
        self.exchange = None
        self._close(answer)

    # -- ends

    def _say_no(self, answer: bytes, why: str) -> None:
        """Close a connection that gets no exchange, with one line for the operator who looks closely."""
        self.server.refused(self.info, SocksError(why))
        self._close(answer)

    def _close(self, answer: bytes) -> None:
        more = bool(self.buffer)
        self.buffer = b""
        self._state = _OVER
        if self.lost:
            return
        if answer:
            self.stream.write(answer)
        if answer and more:
            self.deadline = self.server.clock() + LINGER_SECONDS
            self.stream.loseWriteConnection()
            self.stream.resumeProducing()
        else:
            self.deadline = NEVER
            self.stream.loseConnection()

    def _linger(self) -> None:
        if self.stream.bytes_in > LINGER_BYTES:
            self.stream.abortConnection()

    @property
    def fresh(self) -> bool:
        """Whether it is still negotiating."""
        return self.exchange is None and self._state != _OVER and not self.lost

    def tick(self, now: float) -> None:
        """Every second: what has waited too long ends."""
        if self.deadline > now:
            return
        if self.exchange is not None:
            self.exchange.expired(now)
        elif self._state == _OVER:
            self.stream.abortConnection()
        else:
            self._stop_authenticating()
            self._say_no(b"", "the negotiation took too long")

    def _stop_authenticating(self) -> None:
        if self._authenticating is not None:
            authenticating, self._authenticating = self._authenticating, None
            authenticating.cancel()

    def quit(self) -> None:
        """The server quits."""
        self._stop_authenticating()
        if self.exchange is not None:
            self.exchange.quit()
        if not self.lost:
            self.stream.abortConnection()

    def readConnectionLost(self) -> None:
        if self.exchange is not None:
            self.exchange.client_ended()
        else:
            self._stop_authenticating()
            self._state = _OVER
            self.stream.loseConnection()

    def writeConnectionLost(self) -> None:
        """Our side is closed; the client's end is waited for."""

    def connectionLost(self, reason: Failure | None = None) -> None:
        self.lost = True
        self._stop_authenticating()
        if self.exchange is not None:
            self.exchange.client_lost()
        self.server.gone(self)


def _what_is(version: int) -> str:
    """What a first byte that is no version of SOCKS may mean."""
    if version in _HTTP_METHODS:
        return "the client speaks HTTP, not SOCKS"
    if version == _TLS_HANDSHAKE:
        return "the client speaks TLS, not SOCKS"
    return f"version {version} is not of SOCKS"
