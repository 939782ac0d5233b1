# SPDX-License-Identifier: Apache-2.0
"""What the nodes of one g3keymess process have in common: the keys, and what works with them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from g3.keyless.keys import KeyRing
from g3.keyless.signing import SigningThreads
from g3.net.libssl.keys import Engine

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from g3.keyless.config import Backend


class Common:
    """The ring of keys; the main thread's engine; the signing threads, None when C{threads} is 0.

    @ivar spread: fires when all who sign have the keys that the ring has.
    @param place: our number among how many processes that do the same.
    @raise ConfigError: the host's OpenSSL cannot be used.
    """

    def __init__(self, reactor: Any, threads: int, backend: Backend, place: tuple[int, int] = (0, 1)) -> None:
        self.ring = KeyRing()
        self.spread: Callable[[], Awaitable[None]] = _at_once
        self._place = place
        self.engine = Engine()
        self.threads: SigningThreads | None = None
        if threads:
            self.threads = SigningThreads(reactor, threads, backend.dispatch_channel_size, 1 << backend.dispatch_counter_shift)

    def part(self, limit: int) -> int:
        """Our part of a limit that all processes together have; one at least, of 0 (no limit) 0."""
        number, processes = self._place
        return limit and max(1, limit // processes + (number < limit % processes))

    def stop(self) -> None:
        """The process ends."""
        if self.threads is not None:
            self.threads.stop()


async def _at_once() -> None:
    """We are the only one."""
