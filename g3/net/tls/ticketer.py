# SPDX-License-Identifier: Apache-2.0
"""The ticket keys of a process's TLS servers: made for who asks, shared by who asks for the same, followed in Redis, dropped with the last.

Whatever happens to Redis, TLS goes on: with the keys that came from it while they are good, then with keys made here.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from twisted.internet.defer import Deferred
from twisted.internet.task import LoopingCall
from twisted.logger import Logger

from g3.errors import ConfigError
from g3.net.libssl.server import libssl_server
from g3.net.options import Ticketer
from g3.net.redis import Redis, RedisFailed
from g3.net.tls.context import server_context
from g3.net.tls.tickets import MAX_RECORD, MOST_KEYS, BadRecord, FleetKeys, LocalKeys, decryption_key, encryption_key

if TYPE_CHECKING:
    from collections.abc import Callable

    from g3.net.options import RedisTicketSource
    from g3.net.tls.options import ServerTLSOptions
    from g3.net.tls.provider import ServerTLS
    from g3.net.tls.tickets import LocalSecrets, TicketKeys

log = Logger()

_LOCAL: Final = Ticketer()


class Ticketing:
    """All ticket keys of a process.

    @param secrets: what local keys are made of. C{shared}: whether other processes serve the same clients and have the same secrets, so that
        tickets must have keys of ours even where nobody asked for a ticketer. C{wall}: UNIX time.
    """

    def __init__(self, reactor: Any, secrets: LocalSecrets, wall: Callable[[], float], *, shared: bool = False) -> None:
        self._reactor = reactor
        self._secrets = secrets
        self._wall = wall
        self._shared = shared
        self._entries: dict[Ticketer, _Entry] = {}
        self._told = False

    def serve(self, options: ServerTLSOptions, alpn: tuple[str, ...] = (), ticketer: Ticketer | None = None) -> TicketedTLS:
        """TLS as a server. Start it when the server starts, release it when it stops or is discarded.

        @raise ConfigError: something in C{options} cannot be honoured, or a C{ticketer} is set and no library here can use its keys.
        """
        entry = None
        if not options.no_session_ticket and (ticketer is not None or self._shared):
            entry = self._entry(ticketer or _LOCAL)
        if entry is None:
            return TicketedTLS(server_context(options, alpn), None)
        try:
            return TicketedTLS(libssl_server(options, alpn, entry.keys), entry)
        except ConfigError as error:
            entry.release()
            if ticketer is not None:
                raise ConfigError([f"with tls_ticketer: {problem}" for problem in error.problems]) from error
            tls = server_context(options, alpn)
            if not self._told:
                self._told = True
                log.warn("TLS sessions are resumed only by the worker that began them: {error}", error=error)
            return TicketedTLS(tls, None)

    def keys(self, ticketer: Ticketer | None = None) -> TicketedKeys:
        """Keys alone. Start and release them as L{serve} says."""
        return TicketedKeys(self._entry(ticketer or _LOCAL))

    def _entry(self, ticketer: Ticketer) -> _Entry:
        entry = self._entries.get(ticketer)
        if entry is None:
            local = LocalKeys(self._secrets, ticketer.local_lifetime)
            keys: TicketKeys = local
            follower = None
            if ticketer.source is not None:
                keys = fleet = FleetKeys(local, self._wall)
                follower = Follower(self._reactor, ticketer.source, ticketer.check_interval, fleet)
            entry = self._entries[ticketer] = _Entry(keys, follower, lambda: self._entries.pop(ticketer, None))
        entry.users += 1
        return entry


class _Entry:
    """Keys, who follows them, and how many servers use them."""

    def __init__(self, keys: TicketKeys, follower: Follower | None, forget: Callable[[], object]) -> None:
        self.keys = keys
        self.users = 0
        self._follower = follower
        self._forget = forget

    def start(self) -> None:
        if self._follower is not None:
            self._follower.start()

    def release(self) -> None:
        self.users -= 1
        if not self.users:
            self._forget()
            if self._follower is not None:
                self._follower.stop()


class TicketClaim:
    """One server's claim on ticket keys."""

    def __init__(self, entry: _Entry | None) -> None:
        self._entry = entry

    def start(self) -> None:
        """Follow the keys from now on. Again: nothing."""
        if self._entry is not None:
            self._entry.start()

    def release(self) -> None:
        """Need them no more. Again: nothing."""
        entry, self._entry = self._entry, None
        if entry is not None:
            entry.release()


class TicketedTLS(TicketClaim):
    """One server's TLS, C{tls}, and its claim on the keys of its tickets."""

    def __init__(self, tls: ServerTLS, entry: _Entry | None) -> None:
        super().__init__(entry)
        self.tls = tls


class TicketedKeys(TicketClaim):
    """The keys themselves, C{keys}, for who seals tickets without OpenSSL."""

    def __init__(self, entry: _Entry) -> None:
        super().__init__(entry)
        self.keys = entry.keys


class Follower:
    """Brings the keys of a source into C{keys}, at once and every C{interval} seconds. What fails is logged once, and again when it fails in
    another way."""

    def __init__(self, reactor: Any, source: RedisTicketSource, interval: float, keys: FleetKeys) -> None:
        self._source = source
        self._interval = interval
        self._keys = keys
        self._redis = Redis(source.redis)
        self._failure = ""
        self._bad: set[str] = set()
        self._loop = LoopingCall(lambda: Deferred.fromCoroutine(self.look()))
        self._loop.clock = reactor

    def start(self) -> None:
        """Begin. Again: nothing."""
        if not self._loop.running:
            self._loop.start(self._interval)

    def stop(self) -> None:
        """Ask no more."""
        if self._loop.running:
            self._loop.stop()
        Deferred.fromCoroutine(self._redis.close())

    async def look(self) -> None:
        """Ask once; never raises."""
        where = self._source.redis.addr
        try:
            await self._take()
        except (RedisFailed, BadRecord) as error:
            if self._failure != str(error):
                self._failure = str(error)
                log.error("ticket keys from redis at {where}: {error}; TLS goes on without new ones", where=where, error=error)
        except Exception:
            log.failure("ticket keys from redis at {where}", where=where)
        else:
            if self._failure:
                self._failure = ""
                log.info("ticket keys from redis at {where}: it answers again", where=where)
        finally:
            await self._redis.close()

    async def _take(self) -> None:
        redis, source = self._redis, self._source
        if await redis.command("STRLEN", source.enc_key) > MAX_RECORD:
            raise BadRecord(f"{source.enc_key}: more than {MAX_RECORD} bytes")
        record = await redis.command("GET", source.enc_key)
        if not isinstance(record, bytes):
            raise BadRecord(f"{source.enc_key}: there is no key to encrypt with")
        try:
            encrypts = encryption_key(record)
        except BadRecord as error:
            raise BadRecord(f"{source.enc_key}: {error}") from None
        if await redis.command("SCARD", source.dec_set) > MOST_KEYS:
            raise BadRecord(f"{source.dec_set}: more than {MOST_KEYS} keys")
        decrypts, bad = [], set()
        for record in await redis.command("SMEMBERS", source.dec_set):
            try:
                decrypts.append(decryption_key(record))
            except BadRecord as error:
                bad.add(str(error))
        self._keys.take(encrypts, decrypts)
        for words in bad - self._bad:
            where = source.redis.addr
            log.warn("ticket keys from redis at {where}: a member of {set} is none: {error}", where=where, set=source.dec_set, error=words)
        self._bad = bad
