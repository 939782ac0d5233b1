# SPDX-License-Identifier: Apache-2.0
"""Where addresses are, asked from a locator and kept by the networks it names. What nobody asked for is kept, too."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, NamedTuple

from zope.interface import implementer

from g3.errors import G3Error
from g3.interfaces import ILocator
from g3.lookup.cache import Waiters
from g3.lookup.datagram import DatagramPeer
from g3.lookup.networks import NetworkMap
from g3.proto.iplocate import MAX_REPLY, Location, decode_reply, encode_request

if TYPE_CHECKING:
    from ipaddress import IPv4Address, IPv6Address

    from twisted.internet.defer import Deferred

    from g3.lookup.options import IPLocateOptions
    from g3.net.timers import TimerWheel

#: Networks kept, and addresses of which it is known that nobody knows them.
MOST_NETWORKS: Final = 65536
MOST_UNKNOWN: Final = 16384


class _Kept(NamedTuple):
    location: Location
    expires: float


@implementer(ILocator)
class LocationAgent:
    """ILocator over datagrams. What has expired is asked for again; where no answer comes, it is good enough."""

    def __init__(self, reactor: Any, timers: TimerWheel, options: IPLocateOptions) -> None:
        self._clock = reactor
        self._options = options
        self._networks: NetworkMap[_Kept] = NetworkMap(MOST_NETWORKS)
        self._unknown: dict[IPv4Address | IPv6Address, float] = {}
        self._peer = DatagramPeer(reactor, options, self._received, MAX_REPLY)
        self._open: Waiters[IPv4Address | IPv6Address, Location] = Waiters(
            timers, options.query_wait_timeout, options.cache_request_timeout, self._ask, self._unanswered
        )

    def locate(self, ip: IPv4Address | IPv6Address) -> Location | Deferred[Location | None] | None:
        """ILocator."""
        now = self._clock.seconds()
        found = self._networks.get(ip)
        if found is not None and found[0].expires >= now:
            return found[0].location
        if self._unknown.get(ip, 0.0) > now or not self._open.question(ip):
            return None if found is None else found[0].location
        return self._open.wait(ip) or self._known(ip)

    def _known(self, ip: IPv4Address | IPv6Address) -> Location | None:
        """What was known, expired or not."""
        found = self._networks.get(ip)
        return None if found is None else found[0].location

    def _ask(self, ip: IPv4Address | IPv6Address, _: object) -> bool:
        return self._peer.send(encode_request(ip))

    def _unanswered(self, ip: IPv4Address | IPv6Address) -> None:
        # A locator that knows nothing of an address does not answer: for a while it is not asked again.
        self._unknown.pop(ip, None)
        if len(self._unknown) >= MOST_UNKNOWN:
            del self._unknown[next(iter(self._unknown))]
        self._unknown[ip] = self._clock.seconds() + self._options.default_expire_ttl
        self._open.answer(ip, self._known(ip))

    def _received(self, data: bytes) -> None:
        try:
            ip, location, ttl = decode_reply(data)
        except G3Error as error:
            self._peer.warn(f"gave an answer that is none: {error}")
            return
        if location is None:
            if ip is not None and ip in self._open:
                self._unanswered(ip)
            return
        options = self._options
        seconds = min(options.default_expire_ttl if ttl is None else ttl, options.maximum_expire_ttl)
        self._networks.put(location.network, _Kept(location, self._clock.seconds() + seconds))
        if ip is not None:
            self._unknown.pop(ip, None)
            self._open.answer(ip, location)

    def stop(self) -> None:
        """ILocator."""
        self._open.stop()
        self._peer.close()
