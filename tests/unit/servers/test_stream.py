# SPDX-License-Identifier: Apache-2.0
"""Streams in memory: the keys, the gate of users, and what becomes of the client when something fails."""

from __future__ import annotations

from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase
from zope.interface import implementer

from g3.config.document import read_text
from g3.config.problems import Problems
from g3.config.schema import key_index, parse_map
from g3.config.value import ParseContext
from g3.errors import RateLimited, TaskError
from g3.interfaces import IEscaper, IFactUsers, ITCPConnect
from g3.keyless.config import KeyServerConfig
from g3.net.tls.options import SessionCache
from g3.servers.config import StreamServerConfig
from g3.servers.tcp_stream import TCPStreamConfig, TCPStreamServer
from g3.task import ClientInfo, parse_ip
from g3.testing.nodes import make_context
from g3.testing.streams import HalfCloseRecorder, memory_stream_pair, pump
from tests.unit.config.samples import refusal

CLIENT = ("203.0.113.7", 4711)
INFO = ClientInfo(CLIENT, ("198.51.100.9", 3128), CLIENT)


def parse(text: str) -> tuple[TCPStreamConfig | None, list[str]]:
    problems = Problems()
    node = read_text(f"{{name: s, type: tcp_stream, escaper: e, {text}}}", "test.yaml", problems)[0]
    config = parse_map(TCPStreamConfig, node, ParseContext(problems))
    return config, [str(problem) for problem in problems.errors]


class KeyTests(SynchronousTestCase):
    def test_no_read_is_larger_than_can_be_had(self) -> None:
        """Else each would fail, and the connection with it."""
        for cls in (StreamServerConfig, KeyServerConfig):
            size = key_index(cls)["tcp_copy_buffer_size"].value
            self.assertIn("is not from", refusal(size, "2GiB"))

    def test_one_upstream_or_several(self) -> None:
        """A string, a map with a weight, a list of both; proxy_pass is the same key."""
        for text, expected in (
            ("upstream: 'a.test:80'", [("a.test:80", 1)]),
            ("proxy_pass: [{addr: '192.0.2.1:80', weight: 2.5}, 'b.test:81']", [("192.0.2.1:80", 2.5), ("b.test:81", 1)]),
        ):
            config, problems = parse(text)
            self.assertEqual(problems, [])
            assert config is not None
            self.assertEqual([(str(one.value), one.weight) for one in config.upstream], expected)

    def test_an_upstream_needs_a_port(self) -> None:
        """And there must be one."""
        for text in ("upstream: a.test", "upstream: []", ""):
            self.assertEqual(len(parse(text)[1]), 1, text)

    def test_tls_client_is_a_bool_or_a_map(self) -> None:
        """True keeps sessions of the one site; a number is neither."""
        upstream = "upstream: 'a.test:80'"
        for text, cache in (("true", SessionCache.ONE), ("{no_session_cache: true}", SessionCache.OFF), ("{}", SessionCache.ONE)):
            config, problems = parse(f"{upstream}, tls_client: {text}")
            self.assertEqual(problems, [])
            assert config is not None and config.tls_client is not None
            self.assertEqual(config.tls_client.session_cache, cache)
        config, _ = parse(f"{upstream}, tls_client: false")
        assert config is not None
        self.assertIs(config.tls_client, None)
        self.assertEqual(len(parse(f"{upstream}, tls_client: 1")[1]), 1)

    def test_auth_by_client_ip_needs_a_group(self) -> None:
        """Else everybody would come in."""
        self.assertEqual(len(parse("upstream: 'a.test:80', auth_by_client_ip: true")[1]), 1)
        self.assertEqual(parse("upstream: 'a.test:80', auth_by_client_ip: true, user_group: g")[1], [])


@implementer(IEscaper, ITCPConnect)
class LaterEscaper:
    """Connects when told to."""

    name = "e"

    def __init__(self) -> None:
        self.tasks: list[Any] = []
        self.cancelled = 0
        self.waiting: list[Deferred[Any]] = []

    async def tcp_connect(self, task: Any) -> Any:
        self.tasks.append(task)
        waiting: Deferred[Any] = Deferred(self._cancel)
        self.waiting.append(waiting)
        return await waiting

    def _cancel(self, _: object) -> None:
        self.cancelled += 1


class User:
    """Lets a number of tasks in."""

    name = "alice"

    def __init__(self, most: int = 1 << 30) -> None:
        self.most = most
        self.inside = 0

    def admit(self, task: Any) -> Any:
        if self.inside >= self.most:
            raise RateLimited
        self.inside += 1
        return self.leave

    def leave(self) -> None:
        self.inside -= 1


@implementer(IFactUsers)
class Users:
    """Knows one address."""

    def __init__(self, user: User) -> None:
        self.user = user

    def user_of(self, fact: object) -> User:
        if fact != parse_ip(CLIENT[0]):
            raise TaskError("nobody's")
        return self.user


class Discard:
    """No logs."""

    def logger(self, *_: object, **__: object) -> None:
        return None


class GateTests(SynchronousTestCase):
    """A server, its escaper and its users as doubles."""

    def setUp(self) -> None:
        self.clock = Clock()
        self.escaper, self.user = LaterEscaper(), User()
        nodes = {("escaper", "e"): self.escaper, ("user_group", "g"): Users(self.user)}
        self.context = make_context(self.clock, nodes)
        self.context.logs = Discard()
        self.addCleanup(self.context.timers.stop)
        self.serve("")

    def serve(self, more: str) -> None:
        config, problems = parse(f"upstream: 'a.test:80', auth_by_client_ip: true, user_group: g{more}")
        assert config is not None, problems
        self.server = TCPStreamServer(config, self.context)
        self.server.prepare()
        self.server.start()

    def arrive(self, info: ClientInfo = INFO) -> tuple[Any, HalfCloseRecorder]:
        """A client: our stream, and what its own end hears."""
        ours, theirs = memory_stream_pair(self.clock)
        heard = HalfCloseRecorder()
        theirs.start(heard)
        self.server.accept(ours, info)
        pump(self.clock)
        return theirs, heard

    def counts(self) -> tuple[int, int, int]:
        stats = self.server.stats
        return stats.total_tasks, stats.alive_tasks, len(self.server.connections)

    def test_a_client_of_a_user_is_joined_and_the_user_is_left_at_the_end(self) -> None:
        """What it sends ahead waits."""
        theirs, heard = self.arrive()
        theirs.write(b"early")
        pump(self.clock)
        self.assertEqual((self.counts(), self.user.inside), ((1, 1, 1), 1))
        self.assertEqual([(str(task.upstream), task.user_name) for task in self.escaper.tasks], [("a.test:80", "alice")])
        upstream, far = memory_stream_pair(self.clock)
        got = HalfCloseRecorder()
        far.start(got)
        self.escaper.waiting[0].callback(upstream)
        far.write(b"answer")
        pump(self.clock)
        self.assertEqual((got.data, heard.data), (b"early", b"answer"))
        theirs.loseConnection()
        pump(self.clock)
        far.loseConnection()
        pump(self.clock)
        self.assertEqual((self.counts(), self.user.inside), ((1, 0, 0), 0))

    def test_what_is_read_and_relayed_in_one_go(self) -> None:
        """tcp_copy_buffer_size on both sides, tcp_copy_yield_size in both directions."""
        self.serve(", tcp_copy_buffer_size: 8KiB, tcp_copy_yield_size: 512KiB")
        self.arrive()
        upstream, _ = memory_stream_pair(self.clock)
        self.escaper.waiting[0].callback(upstream)
        relay = next(iter(self.server.connections)).relay  # type: ignore[attr-defined]
        self.assertEqual((relay.left.read_size, relay.right.read_size), (8192, 8192))
        self.assertEqual((relay.up._turn, relay.down._turn), (524288, 524288))

    def test_a_client_of_nobody_is_closed_and_costs_no_task(self) -> None:
        """Counted as auth_failed."""
        _, heard = self.arrive(ClientInfo(("203.0.113.8", 1), INFO.server, ("203.0.113.8", 1)))
        self.assertTrue(heard.read_closed)
        self.assertEqual((self.counts(), self.server.stats.forbidden_auth_failed), ((0, 0, 0), 1))

    def test_a_user_who_is_full_has_the_client_closed(self) -> None:
        """It was a task, and nobody is left twice."""
        self.user.most = 0
        _, heard = self.arrive()
        self.assertTrue(heard.read_closed)
        self.assertEqual((self.counts(), self.user.inside, self.escaper.tasks), ((1, 0, 0), 0, []))

    def test_a_client_that_is_gone_is_connected_for_no_more(self) -> None:
        """The connect is cancelled."""
        theirs, _ = self.arrive()
        theirs.abortConnection()
        pump(self.clock)
        self.assertEqual((self.counts(), self.escaper.cancelled, self.user.inside), ((1, 0, 0), 1, 0))

    def test_quitting_ends_what_connects(self) -> None:
        """force_quit."""
        _, heard = self.arrive()
        stopped = self.server.stop()
        self.server.force_quit()
        pump(self.clock)
        self.assertTrue(heard.read_closed)
        self.assertEqual((self.counts(), self.escaper.cancelled), ((1, 0, 0), 1))
        self.successResultOf(stopped)
