# SPDX-License-Identifier: Apache-2.0
"""A Redis server: one connection, made when it is first needed, by txredisapi (the extra C{redis})."""

from __future__ import annotations

from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

from twisted.internet.interfaces import IOpenSSLClientConnectionCreator
from twisted.logger import Logger
from zope.interface import implementer

from g3.net.tls.context import client_context

if TYPE_CHECKING:
    from OpenSSL import SSL

    from g3.net.options import RedisOptions

log = Logger()

#: What is said where the library is missing.
MISSING = 'redis needs the "redis" extra: pip install g3[redis]'


def redis_available() -> bool:
    """Whether the library is installed."""
    return find_spec("txredisapi") is not None


class RedisFailed(Exception):
    """Redis cannot be reached, refused or did not answer in time; the message says which, without the password."""


@implementer(IOpenSSLClientConnectionCreator)
class _TLS:
    """TLS with all that its options say."""

    def __init__(self, options: RedisOptions) -> None:
        assert options.tls_client is not None
        self._tls = client_context(options.tls_client)
        self._name = options.tls_name or options.addr.host
        self._port = options.addr.port

    def clientConnectionForTLS(self, protocol: Any) -> SSL.Connection:
        """IOpenSSLClientConnectionCreator."""
        return self._tls.open(None, self._name, self._port)


class Redis:
    """Runs commands, one after another. After a failure the next one connects anew.

    @raise ConfigError: (at once) what C{options} say of TLS cannot be honoured.
    """

    def __init__(self, options: RedisOptions) -> None:
        self.options = options
        self._tls = None if options.tls_client is None else _TLS(options)
        self._connection: Any = None

    async def command(self, *words: bytes | str | int) -> Any:
        """The reply: bytes, int, list or None.

        @raise RedisFailed: there is none; the connection is closed.
        """
        try:
            if self._connection is None:
                self._connection = await self._connect()
            return await self._connection.execute_command(*words)
        except Exception as error:
            await self.close()
            raise RedisFailed(str(error) or type(error).__name__) from error

    async def _connect(self) -> Any:
        # Here, since importing it needs a reactor that is installed.
        try:
            import txredisapi
        except ImportError:
            raise RedisFailed(MISSING) from None
        options = self.options
        return await txredisapi.makeConnection(
            options.addr.host,
            options.addr.port,
            options.db,
            1,
            False,
            False,
            None,
            options.password,
            self._tls,
            options.connect_timeout,
            options.response_timeout,
            False,
            options.username,
        )

    async def close(self) -> None:
        """Close the connection, if there is one."""
        connection, self._connection = self._connection, None
        if connection is not None:
            try:
                await connection.disconnect()
            except Exception as error:
                log.debug("redis at {addr}: disconnecting: {error}", addr=self.options.addr, error=error)
