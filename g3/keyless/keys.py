# SPDX-License-Identifier: Apache-2.0
"""The ring: every private key of this process by its identifier, whichever store or command brought it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from g3.net.libssl.keys import load_private_key

if TYPE_CHECKING:
    from collections.abc import Callable

    from g3.net.libssl.keys import PrivateKey

#: Keys of one process; each has some 4 KiB.
MOST_KEYS = 1 << 20


class Parcel:
    """The keys of a ring on their way to another process: in DER, for L{KeyRing.unpack}."""

    __slots__ = ("keys",)

    def __init__(self, keys: list[bytes]) -> None:
        self.keys = keys

    def __reduce__(self) -> Any:
        return Parcel, (self.keys,)


class KeyRing:
    """Keys by identifier (SKI), shared by all servers. Servers read C{by_ski} themselves. Pickled it is a L{Parcel}.

    @ivar changed: called with the identifier of a key that came or went, and the key or None.
    """

    def __init__(self) -> None:
        self.by_ski: dict[bytes, PrivateKey] = {}
        self._sources: dict[bytes, set[str]] = {}
        self.changed: Callable[[bytes, PrivateKey | None], None] = _nobody_cares

    def __reduce__(self) -> Any:
        return Parcel, ([key.der() for key in self.by_ski.values()],)

    def unpack(self, keys: list[bytes], source: str) -> None:
        """Have these keys, in DER, as C{source} has them."""
        for der in keys:
            self.add(load_private_key(der), source)

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
            self.changed(key.ski, key)
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
        self.changed(ski, None)
        return True

    def identifiers(self) -> list[str]:
        """The identifiers in hexadecimal, sorted."""
        return sorted(ski.hex() for ski in self.by_ski)


def _nobody_cares(_ski: bytes, _key: PrivateKey | None) -> None:
    """What a change means to a process that is alone."""
