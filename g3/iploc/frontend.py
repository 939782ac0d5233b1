# SPDX-License-Identifier: Apache-2.0
"""The datagram side of g3iploc: addresses in, locations out, and nothing at all where nobody knows."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from twisted.logger import Logger

from g3.errors import G3Error
from g3.metrics.frontend import FrontendStats
from g3.net.udp_listen import DatagramListener
from g3.proto.iplocate import MAX_REQUEST, decode_request, encode_reply

if TYPE_CHECKING:
    import socket

    from g3.iploc.database import Locator

log = Logger()

#: Seconds that every answer is good for.
TTL: Final = 300


class Frontend:
    """Answers on C{sock} from C{locator}."""

    def __init__(self, reactor: Any, sock: socket.socket, locator: Locator) -> None:
        self.stats = FrontendStats()
        self._locator = locator
        self._listener = DatagramListener(reactor, sock, self._received, MAX_REQUEST)

    @property
    def address(self) -> tuple[str, int]:
        """(ip, port) it is bound to."""
        return self._listener.address

    def start(self) -> None:
        """Begin."""
        self._listener.start()

    def stop(self) -> None:
        """Close."""
        self._listener.stop()

    def _received(self, data: bytes, peer: Any) -> None:
        stats = self.stats
        stats.requests += 1
        try:
            ip = decode_request(data)
        except G3Error as error:
            stats.invalid += 1
            log.warn("invalid request from {peer}: {error}", peer=peer[:2], error=error)
            return
        location = self._locator.locate(ip)
        if location is None:
            return
        stats.responses += 1
        if not self._listener.send(encode_reply(ip, location, TTL), peer):
            stats.failed += 1
