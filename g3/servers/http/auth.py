# SPDX-License-Identifier: Apache-2.0
"""Who a request is from: asked of the user group before the request becomes anything."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, Protocol

from twisted.internet.defer import CancelledError, Deferred

from g3.errors import CLOSE, ClientAuthFailed, InternalServerError, ProtocolError, TaskError
from g3.limit.stream import StreamLimiter
from g3.proto.http1.basic import challenge, parse_basic
from g3.proto.http1.body import request_reader
from g3.proto.http1.headers import NONE
from g3.proto.http1.reply import reply

if TYPE_CHECKING:
    from g3.proto.http1.request import Request
    from g3.servers.http.client import Client
    from g3.task import PathUpstream

NEVER: Final = float("inf")
#: Bytes of one body that are read for nobody.
UNTRUSTED_BYTES: Final = 1 << 28


class Asked(Protocol):
    """What it needs of the server beside what exchanges do."""

    config: Any
    stats: Any
    users: Any

    def limit_reading(self, stream: Any, *more: StreamLimiter) -> None: ...


class Authentication:
    """Stands where the exchange of a request will be, until the group has said whom it is from; after a refusal, while its body is read.

    The first refusal leaves the connection open for another try, where no body is in the way; the second closes it. So does a user that is
    blocked, whom the group has let wait.
    """

    __slots__ = ("_asking", "_body", "_credentials", "_idle_count", "_read", "_seen", "_since", "_upstreams", "client", "request", "wants_body")

    def __init__(self, client: Client, request: Request, since: float | None) -> None:
        """@param since: when the request came, if it had to wait."""
        self.client = client
        self.request = request
        self.wants_body = False
        self._since = since
        self._asking: Deferred[None] | None = None
        self._credentials: tuple[str, str] | None = None
        self._upstreams: dict[str, PathUpstream] = {}
        self._body: Any = None
        self._read = self._idle_count = 0
        self._seen = -1

    def start(self) -> None:
        """Ask."""
        client, server = self.client, self.client.server
        try:
            given = client.credentials_of(self.request)
            self._credentials = None if given is None else self._split(*parse_basic(given))
        except ProtocolError as error:
            client.exchange = None
            client.refuse(error)
            return
        client.deadline = server.clock() + server.config.req_header_recv_timeout
        asking = Deferred.fromCoroutine(self._ask())
        if not asking.called:
            self._asking = asking

    def _split(self, name: str, password: str) -> tuple[str, str]:
        """The credentials without the parameters of C{username_params}, which choose the way.

        @raise ProtocolError: they are wrong.
        """
        config: Any = self.client.server.config
        params = getattr(config, "username_params", None)
        if params is None:
            return name, password
        chosen = params.next_proxy(name, params.http_port)
        self._upstreams = {} if chosen is None else {config.escaper: chosen}
        return params.user_name(name), password

    async def _ask(self) -> None:
        server: Any = self.client.server
        try:
            answer = server.users.authenticate(self._credentials, self.client.info)
            user = await answer if isinstance(answer, Deferred) else answer
        except CancelledError:
            return
        except TaskError as error:
            self._asking = None
            self._refused(error)
        except Exception as error:
            self._asking = None
            server.failed(error)
            self._answer(InternalServerError(), closes=True)
        else:
            if self._asking is not None:
                self._asking = None
                self._since = server.clock() if self._since is None else self._since
            self.client.auth_failures = 0
            self.client.begin(self.request, self._since, user, self._upstreams)

    # -- refusals

    def _refused(self, error: TaskError) -> None:
        client = self.client
        stats, config = client.server.stats, client.server.config
        if not isinstance(error, ClientAuthFailed):
            stats.forbidden_user_blocked += 1
            self._answer(error, closes=True)
            return
        stats.forbidden_auth_failed += 1
        client.auth_failures += 1
        untrusted = config.untrusted_read_speed_limit
        with_body = self.request.body != NONE
        if with_body and untrusted is not None and self._credentials is None and client.auth_failures == 1 and not config.no_early_error_reply:
            self._read_body(untrusted)
        else:
            self._challenge(closes=with_body or client.auth_failures > 1)

    def _challenge(self, *, closes: bool) -> None:
        client = self.client
        extra = challenge(client.challenge, client.server.config.auth_realm)
        self._answer(ClientAuthFailed(http_status=client.auth_status), extra, closes=closes)

    def _answer(self, error: TaskError, *extra: bytes, closes: bool) -> None:
        client, request, status = self.client, self.request, error.http_status
        if client.server.proxy_status is not None:
            extra = (*extra, client.server.proxy_status.line(error))
        closes = closes or client.closes_after(request)
        if client.server.config.no_early_error_reply or status == CLOSE:
            closes = True
        elif not client.lost:
            client.stream.write(reply(status, request.version, close=closes, extra=extra, head=request.method == b"HEAD"))
        self.wants_body = self._body is None and request.body != NONE  # it may be on its way
        client.exchange_ended(closes)

    # -- the body of a request of nobody

    def _read_body(self, speed: Any) -> None:
        """Some clients look for an answer only when they have sent everything: take it, slowly, and forget it."""
        client: Any = self.client
        stats = client.server.stats
        stats.untrusted_total += 1
        stats.untrusted_alive += 1
        self._body = request_reader(self.request, client.server.config.body_line_max_length)
        self.wants_body = True
        client.deadline = NEVER
        if speed.shift:
            client.server.limit_reading(client.stream, StreamLimiter(speed.shift, speed.upload))
        data = client.take()
        if data:
            self.body_received(data)
        if self.wants_body:
            client.resume()

    def body_received(self, data: bytes) -> None:
        client = self.client
        try:
            used = self._body.feed(data)
        except ProtocolError as error:
            self._stop()
            client.exchange = None
            client.refuse(error)
            return
        self._read += used
        client.server.stats.untrusted_in_bytes += used
        if used < len(data):
            client.give_back(data[used:])
        if self._body.done or self._read > UNTRUSTED_BYTES:
            self._stop()
            self._challenge(closes=not self._body.done)

    # -- ends

    def _stop(self) -> None:
        """Ask and read no more."""
        if self._asking is not None:
            asking, self._asking = self._asking, None
            asking.cancel()
        if self.wants_body:
            self.wants_body = False
            client: Any = self.client
            client.server.stats.untrusted_alive -= 1
            if not client.lost:
                client.server.limit_reading(client.stream)

    def _close(self) -> None:
        self._stop()
        self.client.exchange_ended(True)

    def expired(self) -> None:
        """The group took too long."""
        self._close()

    def client_ended(self) -> None:
        """The client closed its sending side: it may wait for its answer, but a body has no end now."""
        if self.wants_body:
            self._close()

    client_lost = quit = _close

    def periodic(self) -> None:
        """There is no task to log."""

    def idle_tick(self) -> None:
        """Another C{task_idle_check_interval} has passed."""
        if self._read != self._seen:
            self._seen, self._idle_count = self._read, 0
            return
        self._idle_count += 1
        if self.wants_body and self._idle_count >= self.client.server.config.task_idle_max_count:
            self._close()
