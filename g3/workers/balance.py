# SPDX-License-Identifier: Apache-2.0
"""Accepting from a socket that several workers share, so that each gets its share of long-lived clients.

The kernel wakes whoever it likes, and mostly the same one. A worker that has clearly more live connections than the others looks away from
the socket for a moment and lets them take the client. Nobody looks away for long: when nobody else has taken any client for L{YIELDS} moments
(they hang, or are busy) all are taken until somebody does, and where they cannot keep up, a batch after L{PATIENCE} moments.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from g3.net.listen import BATCH, TCPListener

if TYPE_CHECKING:
    import socket
    from collections.abc import Callable

    from g3.net.listen import Room
    from g3.task import SocketAddress
    from g3.workers.memory import Memory

#: Seconds for which to look away.
MOMENT: Final = 0.002
#: How often in a row while nobody else takes a client; and while they do.
YIELDS: Final = 8
PATIENCE: Final = 25
#: What is clear: this many connections, where a daemon does not say another number, and this part of the mean above the mean.
ABOVE: Final = 2
_PART: Final = 16


class Share:
    """How one worker compares with all."""

    __slots__ = ("_live", "_serving", "_slot", "_taken", "above_by")

    def __init__(self, memory: Memory, slot: int) -> None:
        self._live = memory.live
        self._serving = memory.serving
        self._taken = memory.taken
        self._slot = slot
        #: Connections above the mean that are not yet clearly more.
        self.above_by = ABOVE

    @property
    def others(self) -> int:
        """Clients the others ever took: whoever moves it is awake."""
        return sum(self._taken) - self._taken[self._slot]

    def took(self, number: int) -> None:
        """We took so many."""
        self._taken[self._slot] += number

    @property
    def above(self) -> bool:
        """Whether we have clearly more live connections than the mean of those that serve."""
        workers = sum(self._serving)
        if workers < 2:
            return False
        total = sum(self._live)
        return self._live[self._slot] * workers > total + total // _PART + self.above_by * workers


class SharedListener(TCPListener):
    """A listener that looks away while its worker has more than its share."""

    __slots__ = ("_in_a_row", "_in_vain", "_others", "_share")

    def __init__(
        self,
        reactor: Any,
        sock: socket.socket,
        on_accept: Callable[[socket.socket, SocketAddress], None],
        share: Share,
        *,
        room: Room | None = None,
    ) -> None:
        super().__init__(reactor, sock, on_accept, room=room)
        self._share = share
        self._others = share.others
        #: Looks away since the last client we took, and since the last that another took.
        self._in_a_row = self._in_vain = 0

    def doRead(self) -> None:
        sock = self.socket
        if not self._reading or sock is None:
            return
        above = self._share.above
        if above and self._leaves_it():
            self._look_away()
            return
        self._in_a_row = 0
        taken = 0
        while taken < BATCH and self._accept_many(sock, 1):
            self._share.took(1)
            taken += 1
            # Who began with its share stops there, who takes since others do not goes on.
            if self.socket is None or (not above and self._share.above):
                return

    def _leaves_it(self) -> bool:
        """Whether to let others take who waits now."""
        others = self._share.others
        if others != self._others:
            self._others = others
            self._in_vain = 0
        if self._in_vain >= YIELDS or self._in_a_row >= PATIENCE:
            return False
        self._in_vain += 1
        self._in_a_row += 1
        return True

    def _look_away(self) -> None:
        if self._retry is None:
            self._retry = self._reactor.callLater(MOMENT, self._try_again)
            self._update()
