# SPDX-License-Identifier: Apache-2.0
"""The ring: every private key of this process by its identifier, whichever store or command brought it."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from g3.net.libssl.keys import PrivateKey

#: Keys of one process; each has some 4 KiB.
MOST_KEYS = 1 << 20


class KeyRing:
    """Keys by identifier (SKI), shared by all servers. Servers read C{by_ski} themselves."""

    def __init__(self) -> None:
        self.by_ski: dict[bytes, PrivateKey] = {}
        self._sources: dict[bytes, set[str]] = {}

    def __len__(self) -> int:
        return len(self.by_ski)

    def add(self, key: PrivateKey, source: str) -> bool:
        """Have a key, as C{source} has it. False when it was there already.

        @raise OverflowError: there are L{MOST_KEYS}.
        """
        known = key.ski in self.by_ski
        if not known:
            if len(self.by_ski) >= MOST_KEYS:
                raise OverflowError(f"{MOST_KEYS} keys are loaded, there is no room for more")
            self.by_ski[key.ski] = key
        self._sources.setdefault(key.ski, set()).add(source)
        return not known

    def forget(self, ski: bytes, source: str) -> bool:
        """C{source} has the key no more. Whether it is gone: not while another source has it."""
        sources = self._sources.get(ski)
        if sources is None or source not in sources:
            return False
        sources.discard(source)
        if sources:
            return False
        del self._sources[ski], self.by_ski[ski]
        return True

    def identifiers(self) -> list[str]:
        """The identifiers in hexadecimal, sorted."""
        return sorted(ski.hex() for ski in self.by_ski)
