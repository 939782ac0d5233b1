# SPDX-License-Identifier: Apache-2.0
"""The Redis store: a hash of key identifier (hexadecimal) to key (PEM), loaded before servers listen and followed by difference."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from twisted.internet.defer import Deferred
from twisted.internet.task import LoopingCall

from g3.errors import ConfigError
from g3.keyless.config import RedisStoreConfig
from g3.keyless.keys import MOST_KEYS
from g3.keyless.store import KeyStore
from g3.net.libssl.keys import load_private_key
from g3.net.libssl.library import LibraryError
from g3.net.options import RedisOptions
from g3.net.redis import Redis
from g3.net.tls.options import ClientTLSOptions
from g3.task import Upstream

if TYPE_CHECKING:
    from g3.keyless.config import RedisURL
    from g3.tree.node import NodeContext

#: Keys asked for at once.
BATCH = 64
#: Seconds to connect, and for one answer.
CONNECT_TIMEOUT, REPLY_TIMEOUT = 5.0, 5.0
_LONGEST_FIELD = 40


class LookFailed(Exception):
    """Redis answered, but not with keys."""


class RedisStore(KeyStore):
    """Follows one hash. Whatever fails, what was loaded stays, and what failed is logged once."""

    schema: ClassVar[type[RedisStoreConfig]] = RedisStoreConfig
    config: RedisStoreConfig

    def __init__(self, config: RedisStoreConfig, context: NodeContext) -> None:
        super().__init__(config, context)
        self._redis = Redis(_options(config.url))
        #: Key identifier by the field it came from.
        self._ours: dict[str, bytes] = {}
        self._refused: set[str] = set()
        self._failure = ""
        self._loop = LoopingCall(self._follow)
        self._loop.clock = context.reactor

    def prepare(self) -> Deferred[None]:
        """The first look. Raises ConfigError when there is nothing to be had."""
        return Deferred.fromCoroutine(self._first_look())

    async def _first_look(self) -> None:
        try:
            await self._look()
        except Exception as error:
            await self._redis.close()
            raise ConfigError(f'store "{self.name}": cannot load keys from {self.config.url}: {_words(error)}') from error
        self.log.info("store {store}: {count} keys are loaded from {url}", store=self.name, count=len(self._ours), url=self.config.url)

    def start(self) -> None:
        """Follow."""
        super().start()
        self._loop.start(self.config.refresh_interval, now=False)

    def discard(self) -> None:
        """Give back."""
        super().discard()
        Deferred.fromCoroutine(self._redis.close())

    def stop(self) -> Deferred[None]:
        """What was loaded stays."""
        if self._loop.running:
            self._loop.stop()
        return Deferred.fromCoroutine(self._redis.close())

    def rescan(self) -> Deferred[None] | None:
        """IKeyStore: the loop does."""
        return None

    def _follow(self) -> Deferred[None]:
        return Deferred.fromCoroutine(self._look_again())

    async def _look_again(self) -> None:
        try:
            await self._look()
        except Exception as error:
            await self._redis.close()
            if self._failure != _words(error):
                self._failure = _words(error)
                self.log.error(
                    "store {store}: {url}: {error}; the {count} keys that are loaded stay",
                    store=self.name,
                    url=self.config.url,
                    error=self._failure,
                    count=len(self._ours),
                )
        else:
            if self._failure:
                self._failure = ""
                self.log.info("store {store}: {url} answers again", store=self.name, url=self.config.url)

    async def _look(self) -> None:
        """Go over to what is in the hash now."""
        ask = self._redis.command
        number = await ask("HLEN", self.config.key)
        if not number:
            raise LookFailed(f"there is no hash {self.config.key} with keys")
        if number > MOST_KEYS:
            raise LookFailed(f"the hash {self.config.key} has {number} keys")
        there = {name.decode("ascii", "replace") for name in await ask("HKEYS", self.config.key)}
        new = sorted(there - self._ours.keys() - self._refused)
        for start in range(0, len(new), BATCH):
            names = new[start : start + BATCH]
            values = await ask("HMGET", self.config.key, *names)
            for name, value in zip(names, values, strict=True):
                if value is not None:
                    self._load(name, value)
        self._refused &= there
        for name in self._ours.keys() - there:
            ski = self._ours.pop(name)
            if ski not in self._ours.values() and self.ring.forget(ski, self.source):
                self.log.info("store {store}: key {ski} is gone from Redis and was forgotten", store=self.name, ski=ski.hex())

    def _load(self, name: str, pem: bytes) -> None:
        try:
            key = load_private_key(pem)
        except LibraryError as error:
            self._refuse(name, str(error))
            return
        if name.lower() != key.ski.hex():
            self._refuse(name, f"its key is {key.ski.hex()}")
        else:
            self._ours[name] = key.ski
            self.add(key)

    def _refuse(self, name: str, why: str) -> None:
        """Told once for as long as the field is there."""
        self._refused.add(name)
        self.log.warn("store {store}: field {name} was not loaded: {why}", store=self.name, name=name[: _LONGEST_FIELD * 2], why=why)


def _options(url: RedisURL) -> RedisOptions:
    return RedisOptions(
        addr=Upstream(url.host, url.port),
        tls_client=ClientTLSOptions() if url.tls else None,
        db=url.database,
        username=url.username,
        password=url.password,
        connect_timeout=CONNECT_TIMEOUT,
        response_timeout=REPLY_TIMEOUT,
    )


def _words(error: Exception) -> str:
    return str(error) or type(error).__name__
