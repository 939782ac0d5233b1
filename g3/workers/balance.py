# SPDX-License-Identifier: Apache-2.0
"""Accepting from a socket that several workers share, so that each gets its share of long-lived clients.

The kernel wakes whoever it likes, and mostly the same one. A worker that has clearly more live connections than the others looks away from
the socket for a moment and lets them take the client. Nobody looks away for long: when nobody else takes it (they hang, or are busy), it
is taken after L{YIELDS} moments.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from g3.net.listen import BATCH, TCPListener

if TYPE_CHECKING:
    import socket
    from collections.abc import Callable

    from g3.task import SocketAddress
    from g3.workers.memory import Memory

#: Seconds for which to look away.
MOMENT: Final = 0.002
#: How often in a row.
YIELDS: Final = 8
#: What is clear: this many connections and this part of the mean above the mean.
_ABOVE: Final = 2
_PART: Final = 16


class Share:
    """How one worker compares with all."""

    __slots__ = ("_live", "_serving", "_slot")

    def __init__(self, memory: Memory, slot: int) -> None:
        self._live = memory.live
        self._serving = memory.serving
        self._slot = slot

    @property
    def above(self) -> bool:
        """Whether we have clearly more live connections than the mean of those that serve."""
        workers = sum(self._serving)
        if workers < 2:
            return False
        total = sum(self._live)
        return self._live[self._slot] * workers > total + total // _PART + _ABOVE * workers


class SharedListener(TCPListener):
    """A listener that looks away while its worker has more than its share."""

    __slots__ = ("_share", "_yielded")

    def __init__(self, reactor: Any, sock: socket.socket, on_accept: Callable[[socket.socket, SocketAddress], None], share: Share) -> None:
        super().__init__(reactor, sock, on_accept)
        self._share = share
        self._yielded = 0

    def doRead(self) -> None:
        sock = self.socket
        if not self._reading or sock is None:
            return
        taken = 0
        if self._share.above and self._yielded < YIELDS:
            self._yielded += 1
            self._look_away()
            return
        self._yielded = 0
        while taken < BATCH and self._accept_many(sock, 1) and self.socket is not None:
            taken += 1
            if self._share.above:
                return

    def _look_away(self) -> None:
        if self._retry is None:
            self._retry = self._reactor.callLater(MOMENT, self._try_again)
            self._update()
