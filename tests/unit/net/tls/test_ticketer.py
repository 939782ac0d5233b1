# SPDX-License-Identifier: Apache-2.0
"""The ticket keys of a process: who shares them, and that TLS goes on whatever their source does."""

from __future__ import annotations

import json
from typing import Any
from unittest import mock

from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from g3.errors import ConfigError
from g3.net.libssl.server import LibsslServer
from g3.net.options import RedisOptions, RedisTicketSource, Ticketer
from g3.net.redis import RedisFailed
from g3.net.tls import ticketer
from g3.net.tls.context import PyOpenSSLServer
from g3.net.tls.options import ServerTLSOptions
from g3.net.tls.ticketer import Follower, Ticketing
from g3.net.tls.tickets import MAX_RECORD, MOST_KEYS, FleetKeys, LocalKeys, LocalSecrets
from g3.task import Upstream
from tests.unit.net.tls.certs import pair

SOURCE = RedisTicketSource(redis=RedisOptions(addr=Upstream("redis.test", 6379)), enc_key="enc", dec_set="dec")
KEY = {"name": "ab" * 16, "aes": "cd" * 32, "hmac": "ef" * 16}


class FakeRedis:
    """Answers from a dictionary; an exception in it is raised."""

    def __init__(self, _options: Any = None) -> None:
        self.content: dict[str, Any] = {"enc": json.dumps(KEY).encode(), "dec": []}
        self.asked = self.closed = 0

    async def command(self, word: str, name: str) -> Any:
        self.asked += 1
        value = self.content.get(name)
        if isinstance(value, Exception):
            raise value
        return len(value or b"") if word in ("STRLEN", "SCARD") else value

    async def close(self) -> None:
        self.closed += 1


class TicketerCase(SynchronousTestCase):
    def setUp(self) -> None:
        self.clock = Clock()
        self.patch(ticketer, "Redis", FakeRedis)
        self.log = mock.Mock()
        self.patch(ticketer, "log", self.log)

    def lines(self, level: str = "error") -> list[str]:
        return [call.args[0].format(**call.kwargs) for call in getattr(self.log, level).call_args_list]


class SharingTests(TicketerCase):
    """Who gets which keys."""

    def ticketing(self, **more: Any) -> Ticketing:
        return Ticketing(self.clock, LocalSecrets(self.clock.seconds), self.clock.seconds, **more)

    def options(self, **more: Any) -> ServerTLSOptions:
        return ServerTLSOptions(cert_pairs=(pair("a.test"),), **more)

    def test_one_process_alone_needs_no_keys_of_ours(self) -> None:
        self.assertIsInstance(self.ticketing().serve(self.options()).tls, PyOpenSSLServer)

    def test_several_processes_do(self) -> None:
        self.assertIsInstance(self.ticketing(shared=True).serve(self.options()).tls, LibsslServer)

    def test_nobody_needs_keys_without_tickets(self) -> None:
        served = self.ticketing(shared=True).serve(self.options(no_session_ticket=True), (), Ticketer(source=SOURCE))
        self.assertIsInstance(served.tls, PyOpenSSLServer)

    def test_equal_ticketers_are_one_and_are_asked_for_once(self) -> None:
        ticketing = self.ticketing()
        one, two = (ticketing.serve(self.options(), alpn, Ticketer(source=SOURCE)) for alpn in ((), ("h2",)))
        for served in (one, one, two):
            served.start()
        keys: Any = one.tls.tickets  # type: ignore[attr-defined]
        self.assertIs(keys, two.tls.tickets)  # type: ignore[attr-defined]
        self.assertEqual(keys.current().name.hex(), KEY["name"])
        one.release()
        one.release()
        self.assertEqual(len(self.clock.getDelayedCalls()), 1)
        two.release()
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_what_is_never_started_asks_nobody(self) -> None:
        self.ticketing().serve(self.options(), (), Ticketer(source=SOURCE)).release()
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_a_library_that_cannot_is_told_of(self) -> None:
        """Where a ticketer is asked for it is an error; where not, sessions are worth less, once in the log."""
        self.patch(ticketer, "libssl_server", mock.Mock(side_effect=ConfigError("no libssl.so.3")))
        ticketing = self.ticketing(shared=True)
        error = self.assertRaises(ConfigError, ticketing.serve, self.options(), (), Ticketer())
        self.assertEqual(str(error), "with tls_ticketer: no libssl.so.3")
        for _ in range(2):
            self.assertIsInstance(ticketing.serve(self.options()).tls, PyOpenSSLServer)
        self.assertEqual(len(self.lines("warn")), 1)
        self.assertIn("only by the worker that began them: no libssl.so.3", self.lines("warn")[0])


class FollowerTests(TicketerCase):
    """A source that fails."""

    def setUp(self) -> None:
        super().setUp()
        self.keys = FleetKeys(LocalKeys(LocalSecrets(self.clock.seconds), 100), self.clock.seconds)
        self.follower = Follower(self.clock, SOURCE, 10.0, self.keys)
        self.redis: Any = self.follower._redis
        self.content = self.redis.content

    def look(self) -> None:
        self.clock.advance(10)

    def test_it_asks_at_once_and_then_at_each_interval(self) -> None:
        self.follower.start()
        self.assertEqual(self.keys.current().name.hex(), KEY["name"])
        asked = self.redis.asked
        self.look()
        self.assertEqual(self.redis.asked, 2 * asked)
        self.assertEqual(self.redis.closed, 2)
        self.follower.stop()
        self.look()
        self.assertEqual(self.redis.asked, 2 * asked)

    def test_a_failure_is_told_once_and_its_end_too(self) -> None:
        good = dict(self.content)
        self.content["enc"] = RedisFailed("connection refused")
        self.follower.start()
        self.look()
        self.content["enc"] = RedisFailed("timed out")
        self.look()
        self.assertEqual(len(self.lines()), 2)
        self.assertIn("redis.test:6379: connection refused; TLS goes on", self.lines()[0])
        self.content.update(good)
        self.look()
        self.look()
        self.assertEqual(len(self.lines("info")), 1)

    def test_what_is_no_key_changes_nothing(self) -> None:
        self.follower.start()
        for content in (None, b"{}", b" " * (MAX_RECORD + 1)):
            self.content["enc"] = content
            self.look()
            self.assertEqual(self.keys.current().name.hex(), KEY["name"])
        self.content["enc"], self.content["dec"] = json.dumps(KEY).encode(), [b"x"] * (MOST_KEYS + 1)
        self.look()
        self.assertIn(f"dec: more than {MOST_KEYS} keys", self.lines()[-1])

    def test_a_bad_member_leaves_the_others(self) -> None:
        other = {**KEY, "name": "12" * 16, "expire": "2999-01-01T00:00:00Z"}
        self.content["dec"] = [b"junk", json.dumps(other).encode()]
        self.follower.start()
        self.look()
        self.assertIsNotNone(self.keys.find(bytes.fromhex("12" * 16)))
        self.assertEqual(len(self.lines("warn")), 1)
        self.assertEqual(self.lines(), [])

    def test_a_defect_does_not_end_the_following(self) -> None:
        self.content["enc"] = ValueError("what is this?")
        self.follower.start()
        self.look()
        self.assertEqual(self.log.failure.call_count, 2)
