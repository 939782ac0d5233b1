# SPDX-License-Identifier: Apache-2.0
"""TLS servers of the host's OpenSSL: all that holds for the other provider's, and tickets with keys of ours."""

from __future__ import annotations

import os
from itertools import count
from typing import Any

from g3.errors import ConfigError
from g3.net.libssl.connection import live
from g3.net.libssl.server import libssl_server
from g3.net.tls.options import ServerTLSOptions, SessionCache, TLSProtocol
from g3.net.tls.tickets import TicketKey
from tests.unit.net.tls import test_streams


def key(name: str) -> TicketKey:
    return TicketKey(name.encode().ljust(16), os.urandom(32), os.urandom(16))


class Keys:
    """Those given, the first encrypts."""

    def __init__(self, *keys: TicketKey) -> None:
        self.keys = list(keys)

    def current(self) -> TicketKey:
        return self.keys[0]

    def find(self, name: bytes) -> TicketKey | None:
        return next((key for key in self.keys if key.name == name), None)


KEYS = Keys(key("one"))
_numbers = count()


class Provide:
    """Serve by libssl."""

    keys: Any = KEYS

    def provide(self, options: ServerTLSOptions, alpn: tuple[str, ...] = ()) -> Any:
        return libssl_server(options, alpn, self.keys)


class OnSocketTests(Provide, test_streams.OnSocketTests):
    """On a socket."""

    own = 51.0


class OverStreamTests(Provide, test_streams.OverStreamTests):
    """Over another stream."""

    own = 61.0


class TicketTests(Provide, test_streams.TLSTestCase):
    """Sessions by tickets."""

    pair = test_streams.OnSocketTests.pair

    def client(self, **more: Any) -> Any:
        """A client that shares sessions with no other test's."""
        own = 100.0 + next(_numbers)
        return test_streams.client_options(session_cache=SessionCache.MANY, handshake_timeout=own, **more)

    async def resumed(self, client: Any, server: ServerTLSOptions, keys: Any, name: str = test_streams.NAME) -> bool:
        """Whether a connection is resumed, which leaves its session to the next."""
        self.keys = keys
        one, two = await self.shake(client, server, name)
        by_client, by_server = test_streams.HalfCloseRecorder(), test_streams.HalfCloseRecorder()
        one.start(by_client)
        two.start(by_server)
        two.write(b"hello")
        await self.until(lambda: by_client.data)
        self.assertEqual(one.tls.resumed, two.tls.resumed)
        one.loseConnection()
        return bool(two.tls.resumed)

    async def test_a_ticket_is_good_wherever_its_key_is(self) -> None:
        """Two contexts that share nothing but the key."""
        for version in (TLSProtocol.TLS1_2, TLSProtocol.TLS1_3):
            client, server = self.client(protocol=version), test_streams.server_options(no_session_cache=True)
            one = key("one")
            self.assertEqual([await self.resumed(client, server, Keys(one)) for _ in range(3)], [False, True, True])

    async def test_a_rolled_key_still_decrypts_and_an_unknown_one_does_not(self) -> None:
        client, server = self.client(), test_streams.server_options()
        old, new = key("old"), key("new")
        self.assertFalse(await self.resumed(client, server, Keys(old)))
        self.assertTrue(await self.resumed(client, server, Keys(new, old)))
        self.assertTrue(await self.resumed(client, server, Keys(new)), "the ticket was replaced by one of the new key")
        self.assertFalse(await self.resumed(client, server, Keys(key("another"))))

    async def test_a_key_of_the_same_name_with_other_bytes_is_a_full_handshake(self) -> None:
        client, server = self.client(), test_streams.server_options()
        self.assertFalse(await self.resumed(client, server, Keys(key("one"))))
        self.assertFalse(await self.resumed(client, server, Keys(key("one"))))

    async def test_other_sessions_are_other_sessions(self) -> None:
        """session_id_context keeps sessions from crossing."""
        client, keys = self.client(), Keys(key("one"))
        self.assertFalse(await self.resumed(client, test_streams.server_options(session_id_context="a"), keys))
        self.assertFalse(await self.resumed(client, test_streams.server_options(session_id_context="b"), keys))
        self.assertTrue(await self.resumed(client, test_streams.server_options(session_id_context="b"), keys))

    async def test_no_tickets_where_there_are_to_be_none(self) -> None:
        client, server = self.client(), test_streams.server_options(no_session_ticket=True, no_session_cache=True)
        self.assertEqual([await self.resumed(client, server, Keys(key("one"))) for _ in range(2)], [False, False])

    async def test_keys_that_cannot_be_had_fail_the_handshake_and_are_told(self) -> None:
        class Broken(Keys):
            def current(self) -> TicketKey:
                raise RuntimeError("no keys today")

        self.keys = Broken()
        _, says = await self.refused(test_streams.client_options(protocol=TLSProtocol.TLS1_2))
        self.assertIn("no keys today", says)

    async def test_nothing_is_left_of_a_connection(self) -> None:
        before = len(live)
        self.assertFalse(await self.resumed(self.client(), test_streams.server_options(), KEYS))
        for stream in self.streams:
            stream.abortConnection()
        self.streams.clear()
        await self.until(lambda: len(live) <= before)


class OptionTests(Provide, test_streams.TLSTestCase):
    """What only a server has."""

    pair = test_streams.OnSocketTests.pair

    def test_what_cannot_be_honoured_is_named(self) -> None:
        for options, words in (({"supported_groups": "P-1"}, "supported_groups: .*P-1"), ({"ciphers": ("NOSUCH",)}, "ciphers: .*NOSUCH")):
            error = self.assertRaises(ConfigError, libssl_server, test_streams.server_options(**options), (), KEYS)
            self.assertRegex(str(error), words)
