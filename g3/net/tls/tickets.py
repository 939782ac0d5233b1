# SPDX-License-Identifier: Apache-2.0
"""Keys of TLS session tickets (RFC 5077 section 4): which one encrypts now, which ones may still decrypt, and how they are made.

A ticket that was issued by one process resumes at another when both have its key. L{LocalSecrets} is what the processes of one daemon have
in common; keys of a fleet come from elsewhere, as records (upstream: configuration/values/tls, tls ticket remote source).
"""

from __future__ import annotations

import hmac
import json
import os
import struct
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from datetime import datetime
from typing import TYPE_CHECKING, Any, Final, Protocol

if TYPE_CHECKING:
    from collections.abc import Callable

#: Bytes of a key's parts, as upstream's: its name in clear at the start of each ticket, the key of AES-256-CBC, that of HMAC-SHA-256.
NAME: Final = 16
AES: Final = 32
HMAC: Final = 16
#: Seconds that a key of somebody else is good for when it does not say.
DEFAULT_LIFETIME: Final = 86400
#: Bytes of one record, decryption keys of a source.
MAX_RECORD: Final = 4096
MOST_KEYS: Final = 256


@dataclass(frozen=True, slots=True)
class TicketKey:
    """One key. C{lifetime}: seconds from its first use to encrypt to the last moment at which its tickets are accepted."""

    name: bytes
    aes: bytes = field(repr=False)
    hmac: bytes = field(repr=False)
    lifetime: int = DEFAULT_LIFETIME


class TicketKeys(Protocol):
    """The keys of one TLS server. Asked in every handshake, so it answers from memory."""

    def current(self) -> TicketKey:
        """The key to encrypt with."""

    def find(self, name: bytes) -> TicketKey | None:
        """The key of that name while its tickets are accepted."""


# -- keys of this daemon

#: A row: lifetime of the keys, then three secrets by number of their period modulo three, each behind that number.
_ROW: Final = struct.Struct("=Q" + 3 * "Q32s")
_SLOT: Final = struct.Struct("=Q32s")
ROWS: Final = 16
#: Bytes that L{LocalSecrets} needs.
SIZE: Final = ROWS * _ROW.size


class LocalSecrets:
    """Random secrets that roll, in memory that all processes of a daemon may share: whoever needs that of a new period first makes it.

    A key lives C{lifetime} seconds, of which it encrypts during the first half; then its secret is overwritten, so that who reads the memory
    later cannot decrypt what was recorded earlier.

    @param memory: L{SIZE} writable bytes, zero at first; None: only this process. C{lock} keeps other processes out. C{clock}: seconds that
        all processes agree on.
    """

    def __init__(self, clock: Callable[[], float], memory: Any = None, lock: Callable[[], AbstractContextManager[object]] = nullcontext) -> None:
        self._clock = clock
        self._memory = bytearray(SIZE) if memory is None else memory
        self._lock = lock
        #: Secrets by lifetime and period, as far as they were asked for.
        self._known: dict[tuple[int, int], bytes] = {}

    def period(self, lifetime: int) -> int:
        """The number of the period we are in; it counts from 1 and is as long as half of C{lifetime}."""
        return int(self._clock() // max(1, lifetime // 2)) + 1

    def secret(self, lifetime: int, period: int) -> bytes | None:
        """The secret of the period that we are in or the one before; None where there never was one, or is none any more."""
        found = self._known.get((lifetime, period))
        if found is None:
            now = self.period(lifetime)
            if not now - 1 <= period <= now:
                return None
            found = self._look(lifetime, period, now)
            if found is not None:
                self._known = {key: value for key, value in self._known.items() if key[0] != lifetime or key[1] >= now - 1}
                self._known[lifetime, period] = found
        return found

    def _look(self, lifetime: int, period: int, now: int) -> bytes | None:
        with self._lock():
            row = self._row(lifetime)
            if row is None:
                return os.urandom(AES) if period == now else None
            at = row + 8 + period % 3 * _SLOT.size
            number, secret = _SLOT.unpack_from(self._memory, at)
            if number != period:
                if period != now:
                    return None
                secret = os.urandom(AES)
                _SLOT.pack_into(self._memory, at, period, secret)
            for other in range(3):
                # What is older than the last period is forgotten.
                place = row + 8 + other * _SLOT.size
                if _SLOT.unpack_from(self._memory, place)[0] < now - 1:
                    _SLOT.pack_into(self._memory, place, 0, bytes(AES))
            return bytes(secret)

    def _row(self, lifetime: int) -> int | None:
        """Where the row of keys with that lifetime is; None when all rows are taken."""
        for row in range(0, SIZE, _ROW.size):
            (there,) = struct.unpack_from("=Q", self._memory, row)
            if there == lifetime:
                return row
            if there == 0:
                struct.pack_into("=Q", self._memory, row, lifetime)
                return row
        return None


class LocalKeys:
    """Keys made of L{LocalSecrets}; the same in every process that has the secrets."""

    def __init__(self, secrets: LocalSecrets, lifetime: int) -> None:
        self._secrets = secrets
        self._lifetime = lifetime
        self._period = 0
        self._current: TicketKey | None = None
        self._previous: TicketKey | None = None

    def current(self) -> TicketKey:
        """TicketKeys."""
        self._roll()
        assert self._current is not None
        return self._current

    def find(self, name: bytes) -> TicketKey | None:
        """TicketKeys."""
        self._roll()
        for key in (self._current, self._previous):
            if key is not None and hmac.compare_digest(key.name, name):
                return key
        return None

    def _roll(self) -> None:
        period = self._secrets.period(self._lifetime)
        if period != self._period or self._current is None:
            self._period = period
            self._previous = self._key(period - 1)
            self._current = self._key(period)

    def _key(self, period: int) -> TicketKey | None:
        secret = self._secrets.secret(self._lifetime, period)
        if secret is None:
            return None
        # Three blocks of HKDF-Expand with HMAC-SHA-256 (RFC 5869 section 2.3).
        block, out = b"", b""
        for number in range(1, 4):
            block = hmac.digest(secret, block + b"g3 ticket key" + bytes([number]), "sha256")
            out += block
        return TicketKey(out[:NAME], out[NAME : NAME + AES], out[NAME + AES : NAME + AES + HMAC], self._lifetime)


# -- keys of a fleet


class BadRecord(Exception):
    """A record that holds no key; the message says why, without the key."""


def _part(record: dict[str, Any], words: tuple[str, ...], size: int) -> bytes:
    value = next((record[word] for word in words if word in record), None)
    if value is None:
        raise BadRecord(f"{words[0]} is missing")
    try:
        part = bytes.fromhex(value) if isinstance(value, str) else b""
    except ValueError:
        part = b""
    if len(part) != size:
        raise BadRecord(f"{words[0]} must be {size} bytes in hexadecimal")
    return part


def _fields(data: bytes) -> dict[str, Any]:
    if len(data) > MAX_RECORD:
        raise BadRecord(f"more than {MAX_RECORD} bytes")
    try:
        record = json.loads(data)
    except (ValueError, RecursionError):
        record = None
    if not isinstance(record, dict):
        raise BadRecord("no JSON map")
    return {str(word).lower().replace("-", "_"): value for word, value in record.items()}


def _key(record: dict[str, Any], lifetime: int = DEFAULT_LIFETIME) -> TicketKey:
    return TicketKey(_part(record, ("name",), NAME), _part(record, ("aes", "aes_key"), AES), _part(record, ("hmac", "hmac_key"), HMAC), lifetime)


def encryption_key(data: bytes) -> TicketKey:
    """The key of an encryption record: a JSON map with name, aes, hmac and maybe lifetime. Raises BadRecord."""
    record = _fields(data)
    lifetime = record.get("lifetime", DEFAULT_LIFETIME)
    if not isinstance(lifetime, int) or isinstance(lifetime, bool) or not 0 < lifetime < 1 << 32:
        raise BadRecord("lifetime must be a number of seconds")
    return _key(record, lifetime)


def decryption_key(data: bytes) -> tuple[TicketKey, float]:
    """The key of a decryption record, and the UNIX time at which it expires (C{expire}, RFC 3339). Raises BadRecord."""
    record = _fields(data)
    expire = record.get("expire")
    try:
        moment = datetime.fromisoformat(expire) if isinstance(expire, str) else None
    except ValueError:
        moment = None
    if moment is None or moment.tzinfo is None:
        raise BadRecord("expire must be a date and time with its offset (RFC 3339)")
    return _key(record), moment.timestamp()


class FleetKeys:
    """Keys that come from elsewhere; those made here until the first came, and again when the last has expired.

    @param local: what to use without any. C{clock}: UNIX time.
    """

    def __init__(self, local: LocalKeys, clock: Callable[[], float]) -> None:
        self._local = local
        self._clock = clock
        self._encrypts: TicketKey | None = None
        #: When it ceases to encrypt unless it is told again.
        self._until = 0.0
        #: With the time at which each expires, by name.
        self._decrypts: dict[bytes, tuple[TicketKey, float]] = {}

    def current(self) -> TicketKey:
        """TicketKeys."""
        if self._encrypts is None or self._clock() >= self._until:
            return self._local.current()
        return self._encrypts

    def find(self, name: bytes) -> TicketKey | None:
        """TicketKeys."""
        found = self._decrypts.get(name)
        if found is None:
            return self._local.find(name)
        key, expires = found
        return key if self._clock() < expires else None

    def take(self, encrypts: TicketKey, decrypts: list[tuple[TicketKey, float]]) -> None:
        """What the source has now. A key that is not in it any more is accepted until it expires; the one that encrypted until now, for its
        lifetime from now on."""
        now = self._clock()
        kept = {name: entry for name, entry in self._decrypts.items() if entry[1] > now}
        for key, expires in decrypts:
            if expires > now:
                kept[key.name] = (key, expires)
        kept[encrypts.name] = (encrypts, max(now + encrypts.lifetime, kept.get(encrypts.name, (encrypts, 0.0))[1]))
        newest = sorted(kept.items(), key=lambda item: item[1][1])[-MOST_KEYS:]
        self._decrypts = dict(newest)
        # It encrypts for half of its lifetime without news of it: its tickets are of use for as long.
        self._encrypts, self._until = encrypts, now + encrypts.lifetime / 2

    def __len__(self) -> int:
        return len(self._decrypts)
