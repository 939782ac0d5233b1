# SPDX-License-Identifier: Apache-2.0
"""The c-ares driver: one question becomes a look into the hosts file, then queries over channels that are renewed from time to time."""

from __future__ import annotations

import math
import socket
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pycares
from pycares import errno as ares
from twisted.internet.defer import Deferred
from twisted.logger import Logger

from g3.errors import ResolveError
from g3.resolvers.c_ares.channel import AresChannel
from g3.resolvers.c_ares.config import EACH_TIMEOUT, EACH_TRIES
from g3.resolvers.cache import Record

if TYPE_CHECKING:
    from collections.abc import Callable

    from g3.resolvers.c_ares.config import CAresConfig

_log = Logger()

#: A channel is renewed after so many queries: c-ares keeps answers for itself, without a limit of their number.
MAX_QUERIES = 16384
#: And before anything that it has asked is asked anew by our rules: it would answer that from what it keeps, which goes by TTLs alone. But it
#: gets so old at least, seconds.
MIN_AGE = 0.5
#: Seconds between two looks at whether resolv.conf has changed.
RECHECK_INTERVAL = 5.0
#: Addresses kept of one answer.
MAX_ADDRESSES = 128

RESOLV_CONF = "/etc/resolv.conf"

_QUERY_TYPES = {4: pycares.QUERY_TYPE_A, 6: pycares.QUERY_TYPE_AAAA}
_FAMILIES = {4: socket.AF_INET, 6: socket.AF_INET6}

#: The words of the resolve log. What is not here is an InternalError of the driver.
ERRORS = {
    ares.ARES_EFORMERR: ("ServerError", "FORMERR"),
    ares.ARES_ESERVFAIL: ("ServerError", "SERVFAIL"),
    ares.ARES_ENOTFOUND: ("ServerError", "NOTFOUND"),
    ares.ARES_ENOTIMP: ("ServerError", "NOTIMP"),
    ares.ARES_EREFUSED: ("ServerError", "REFUSED"),
    ares.ARES_EBADQUERY: ("DriverError", "BadQuery"),
    ares.ARES_EBADNAME: ("DriverError", "BadName"),
    ares.ARES_EBADFAMILY: ("DriverError", "BadFamily"),
    ares.ARES_EBADRESP: ("DriverError", "BadResp"),
    ares.ARES_ECONNREFUSED: ("DriverError", "ConnRefused"),
    ares.ARES_ETIMEOUT: ("DriverError", "Timeout"),
    ares.ARES_ECANCELLED: ("LocalError", "NoResolverRunning"),
    ares.ARES_EDESTRUCTION: ("LocalError", "NoResolverRunning"),
}


def resolve_error(number: int) -> ResolveError:
    """What an error number of c-ares is for us."""
    return ResolveError(*ERRORS.get(number, ("DriverError", "InternalError")))


def timeouts(each: int, tries: int, longest: int) -> list[tuple[int, int]]:
    """(timeout, tries) of the channels to ask one after the other, in milliseconds.

    c-ares doubles its timeout with each round. Where that would pass C{longest}, the rounds are asked one by one; 0 is no such limit.
    """
    each, tries = each or EACH_TIMEOUT, tries or EACH_TRIES
    if longest <= 0 or (tries == 1 and each <= longest):
        return [(each, tries)]
    if longest <= each:
        return [(longest, 1)] * tries
    return [(min(each << turn, longest) if turn < 31 else longest, 1) for turn in range(tries)]


class RenewedChannel:
    """A channel that is replaced when it has asked C{limit} queries, when it is C{age} seconds old by C{clock}, or when C{stale} says so; the
    old one ends when its last query has."""

    def __init__(self, make: Callable[[], AresChannel], limit: int, age: float, clock: Callable[[], float], stale: Callable[[], bool]) -> None:
        self._make = make
        self._limit = limit
        self._age = age
        self._clock = clock
        self._stale = stale
        self._until = 0.0
        self._channel: AresChannel | None = None
        self._old: set[AresChannel] = set()

    def current(self) -> AresChannel:
        """The channel to ask now.

        @raise pycares.AresError: a new one cannot be made.
        """
        channel = self._channel
        if channel is None or channel.asked >= self._limit or self._clock() >= self._until or self._stale():
            self._channel = self._make()
            self._until = self._clock() + self._age
            if channel is not None:
                self._retire(channel)
        return self._channel  # type: ignore[return-value]

    def _retire(self, channel: AresChannel) -> None:
        if channel.pending:
            self._old.add(channel)
            channel.idle = lambda: self._end(channel)
        else:
            channel.close()

    def _end(self, channel: AresChannel) -> None:
        self._old.discard(channel)
        channel.close()

    def close(self) -> None:
        """End all; what is pending is answered as cancelled."""
        channels, self._old = list(self._old), set()
        if self._channel is not None:
            channels.append(self._channel)
            self._channel = None
        for channel in channels:
            channel.close()


class _Watched:
    """Whether a file changed since the last time it was asked; looks at most every few seconds."""

    def __init__(self, reactor: Any, path: str) -> None:
        self.reactor = reactor
        self._path = Path(path)
        self._next = 0.0
        self._seen = self._stamp()

    def _stamp(self) -> tuple[int, int] | None:
        try:
            status = self._path.stat()
        except OSError:
            return None
        return status.st_mtime_ns, status.st_ino

    def changed(self) -> bool:
        now = self.reactor.seconds()
        if now < self._next:
            return False
        self._next = now + RECHECK_INTERVAL
        seen, self._seen = self._seen, self._stamp()
        return seen != self._seen


class CAresDriver:
    """See g3.resolvers.base.Driver.

    @param resolv_conf: where the name servers stand when the configuration has none. C{lookups}: whether the hosts file is read.
    """

    def __init__(self, reactor: Any, config: CAresConfig, *, resolv_conf: str = RESOLV_CONF, hosts: bool = True) -> None:
        self.reactor = reactor
        self._config = config
        self._resolv_conf = resolv_conf
        self._closed = False
        self._waiting: dict[_Question, None] = {}
        limit = min(config.udp_max_quires, MAX_QUERIES) if config.udp_max_quires > 0 else MAX_QUERIES
        plan = timeouts(config.each_timeout, config.each_tries, config.max_timeout)
        rungs = {rung: self._renewed(rung, limit) for rung in dict.fromkeys(plan)}
        self._rungs = rungs
        self.plan = [rungs[rung] for rung in plan]
        #: Seconds that one server may be waited for, 0: what c-ares thinks.
        self.longest = max(config.max_timeout, 0) / 1000
        self._hosts = self._renewed_hosts() if hosts else None

    def _renewed(self, rung: tuple[int, int], limit: int) -> RenewedChannel:
        watched = None if self._config.server else _Watched(self.reactor, self._resolv_conf)
        stale = _never if watched is None else watched.changed
        return RenewedChannel(lambda: self._make(*rung), limit, max(self._config.shortest_ttl, MIN_AGE), self.reactor.seconds, stale)

    def _make(self, timeout: int, tries: int) -> AresChannel:
        config = self._config
        options: dict[str, Any] = {
            "flags": pycares.ARES_FLAG_NOCHECKRESP,
            "timeout": timeout / 1000,
            "tries": tries,
            "rotate": config.round_robin,
        }
        if config.server:
            options["servers"] = list(config.server)
        else:
            options["resolvconf_path"] = self._resolv_conf
        if config.socket_send_buffer_size is not None:
            options["socket_send_buffer_size"] = min(config.socket_send_buffer_size, 0x7FFF_FFFF)
        if config.socket_recv_buffer_size is not None:
            options["socket_receive_buffer_size"] = min(config.socket_recv_buffer_size, 0x7FFF_FFFF)
        channel = AresChannel(self.reactor, options)
        channel.bind(*[str(address) for address in (config.bind_ipv4, config.bind_ipv6) if address is not None])
        return channel

    def _renewed_hosts(self) -> RenewedChannel:
        options = {"flags": pycares.ARES_FLAG_NOSEARCH, "lookups": "f", "servers": ["127.0.0.1"]}
        return RenewedChannel(lambda: AresChannel(self.reactor, options), MAX_QUERIES, math.inf, self.reactor.seconds, _never)

    def ask(self, name: str, family: int) -> Record | Deferred[Record]:
        """One question; at once when the hosts file knows."""
        if self._closed:
            return self._failed(ares.ARES_ECANCELLED)
        known = self._known(name, family)
        if known:
            return self._resolved(0, known)
        question = _Question(self, name, family)
        self._waiting[question] = None
        question.next()
        return question.answer

    def _known(self, name: str, family: int) -> tuple[str, ...]:
        """What the hosts file says. The library looks at the file's time, and reads it again when it changed."""
        if self._hosts is None:
            return ()
        found: list[tuple[str, ...]] = []

        def done(result: Any, error: int | None) -> None:
            if error is None:
                found.append(tuple(dict.fromkeys(_text(node.addr[0]) for node in result.nodes))[:MAX_ADDRESSES])

        try:
            self._hosts.current().hosts(name, _FAMILIES[family], done)
        except pycares.AresError as error:
            _log.warn("the hosts file cannot be looked into: {error}", error=error)
        return found[0] if found else ()

    def _resolved(self, ttl: int, addresses: tuple[str, ...]) -> Record:
        config = self._config
        return Record.resolved(self.reactor.seconds(), ttl, config.positive_min_ttl, config.max_ttl, addresses)

    def _failed(self, number: int) -> Record:
        ttl = self._config.negative_min_ttl
        if number == ares.ARES_ENODATA:
            return Record.empty(self.reactor.seconds(), ttl)
        return Record.failed(self.reactor.seconds(), ttl, resolve_error(number))

    def record(self, result: Any, error: int | None, family: int) -> Record:
        """An answer of pycares as a record: the addresses of the wanted type, and the shortest TTL on the way to them."""
        if error is not None:
            return self._failed(error)
        wanted = _QUERY_TYPES[family]
        on_the_way = (wanted, pycares.QUERY_TYPE_CNAME)
        addresses = tuple(dict.fromkeys(record.data.addr for record in result.answer if record.type == wanted))[:MAX_ADDRESSES]
        if not addresses:
            return self._failed(ares.ARES_ENODATA)
        ttl = min(record.ttl for record in result.answer if record.type in on_the_way)
        return self._resolved(min(ttl, 0x7FFF_FFFF), addresses)

    def done(self, question: _Question) -> None:
        """A question is over."""
        self._waiting.pop(question, None)

    def close(self) -> None:
        """End: what is asked fails with LocalError NoResolverRunning."""
        self._closed = True
        for channel in self._rungs.values():
            channel.close()
        if self._hosts is not None:
            self._hosts.close()
        for question in list(self._waiting):
            question.finish(None, ares.ARES_ECANCELLED)


def _never() -> bool:
    return False


def _text(address: str | bytes) -> str:
    return address.decode("ascii") if isinstance(address, bytes) else address


class _Question:
    """One name on its way through the plan.

    c-ares waits for a server as long as its recent answers suggest, up to five seconds. Where C{max_timeout} is less, we go on in its place;
    what comes later counts all the same.
    """

    def __init__(self, driver: CAresDriver, name: str, family: int) -> None:
        self._driver = driver
        self._name = name
        self._family = family
        self._turn = 0
        self._timer: Any = None
        self.answer: Deferred[Record] = Deferred(self._cancelled)

    def next(self) -> None:
        """Ask the next channel of the plan."""
        driver, turn = self._driver, self._turn
        self._turn += 1
        try:
            channel = driver.plan[turn].current()
            channel.query(self._name, _QUERY_TYPES[self._family], lambda result, error: self._answered(turn, result, error))
        except pycares.AresError as error:
            _log.warn("c-ares cannot be set up: {error}", error=error)
            self.finish(None, ares.ARES_ENOTINITIALIZED)
        else:
            if driver.longest and not self.answer.called and self._turn == turn + 1:
                seconds = driver.longest * max(channel.servers, 1)
                self._timer = driver.reactor.callLater(seconds, self._answered, turn, None, ares.ARES_ETIMEOUT)

    def _answered(self, turn: int, result: Any, error: int | None) -> None:
        if self.answer.called or (error is not None and turn + 1 != self._turn):  # an earlier turn's error is no news
            return
        self._stop_timer()
        if error == ares.ARES_ETIMEOUT and self._turn < len(self._driver.plan):
            self.next()
        else:
            self.finish(result, error)

    def _stop_timer(self) -> None:
        if self._timer is not None and self._timer.active():
            self._timer.cancel()
        self._timer = None

    def finish(self, result: Any, error: int | None) -> None:
        """Answer, if that was not done."""
        self._stop_timer()
        self._driver.done(self)
        if not self.answer.called:
            self.answer.callback(self._driver.record(result, error, self._family))

    def _cancelled(self, answer: Deferred[Record]) -> None:
        """Nobody waits; the library goes on until its timeout and its answer is dropped."""
        self._stop_timer()
        self._driver.done(self)
