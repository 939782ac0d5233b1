# SPDX-License-Identifier: Apache-2.0
"""tcp_tproxy in memory: its keys, as whose user a client comes in, and what is not carried out."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any, ClassVar

from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase
from zope.interface import implementer

from g3.config.document import read_text
from g3.config.problems import Problems
from g3.config.schema import parse_map
from g3.config.value import ParseContext
from g3.errors import TaskError
from g3.interfaces import IFactUsers
from g3.servers.tcp_tproxy import TCPTproxyConfig, TCPTproxyServer
from g3.servers.tcp_tproxy.server import with_zone
from g3.task import ClientInfo, parse_ip
from g3.testing.nodes import make_context
from g3.testing.streams import HalfCloseRecorder, memory_stream_pair, pump
from tests.unit.servers.test_stream import Discard, LaterEscaper, User

CLIENT, WANTED = ("203.0.113.7", 4711), ("198.51.100.9", 80)


def parse(text: str = "listen: '127.0.0.1:4001'") -> tuple[TCPTproxyConfig | None, list[str]]:
    problems = Problems()
    node = read_text(f"{{name: s, type: tcp_tproxy, escaper: e, {text}}}", "test.yaml", problems)[0]
    config = parse_map(TCPTproxyConfig, node, ParseContext(problems))
    return config, [str(problem) for problem in problems.errors]


@implementer(IFactUsers)
class Facts:
    """Knows one fact."""

    def __init__(self, fact: object, user: User) -> None:
        self.fact, self.user = fact, user

    def user_of(self, fact: object) -> User:
        if fact != self.fact:
            raise TaskError("nobody's")
        return self.user


class KeyTests(SynchronousTestCase):
    def test_it_listens(self) -> None:
        """Nobody can hand it a client whom the system diverted."""
        self.assertEqual(parse("")[1], ['test.yaml:1:1: required key "listen" is missing'])

    def test_users_are_made_out_in_one_way(self) -> None:
        """By the address of the client or the one it wants, of a group."""
        listen = "listen: '127.0.0.1:4001'"
        self.assertEqual(len(parse(f"{listen}, auth_by_client_ip: true, auth_by_server_ip: true, user_group: g")[1]), 1)
        self.assertEqual(len(parse(f"{listen}, auth_by_server_ip: true")[1]), 1)
        self.assertEqual(parse(f"{listen}, auth_by_server_ip: true, user_group: g")[1], [])


class GateTests(SynchronousTestCase):
    facts: ClassVar[dict[str, str]] = {"auth_by_client_ip": CLIENT[0], "auth_by_server_ip": WANTED[0]}

    def server(self, key: str) -> TCPTproxyServer:
        self.clock = Clock()
        self.escaper, self.user = LaterEscaper(), User()
        nodes = {("escaper", "e"): self.escaper, ("user_group", "g"): Facts(parse_ip(self.facts[key]), self.user)}
        context = make_context(self.clock, nodes)
        context.logs = Discard()
        self.addCleanup(context.timers.stop)
        config, problems = parse(f"listen: '127.0.0.1:4001', {key}: true, user_group: g")
        assert config is not None, problems
        return TCPTproxyServer(config, context)

    def arrive(self, server: TCPTproxyServer, client: tuple[str, int] = CLIENT, wanted: tuple[str, int] = WANTED) -> tuple[Any, HalfCloseRecorder]:
        ours, theirs = memory_stream_pair(self.clock)
        heard = HalfCloseRecorder()
        theirs.start(heard)
        server.accept(ours, ClientInfo(client, wanted, client))
        pump(self.clock)
        return theirs, heard

    def test_a_client_is_the_user_who_has_its_address_or_the_one_it_wants(self) -> None:
        for key, other in (("auth_by_client_ip", ("203.0.113.8", 1)), ("auth_by_server_ip", None)):
            server = self.server(key)
            self.arrive(server)
            self.assertEqual([(str(task.upstream), task.user_name) for task in self.escaper.tasks], [("198.51.100.9:80", "alice")])
            _, heard = self.arrive(server, other or CLIENT, WANTED if other else ("198.51.100.10", 80))
            self.assertTrue(heard.read_closed)
            self.assertEqual((len(self.escaper.tasks), server.stats.forbidden_auth_failed), (1, 1))

    def test_a_link_local_address_is_of_the_link_it_was_wanted_on(self) -> None:
        """Where it is not this host's it is a neighbour's (RFC 4007 section 6)."""
        names = {"fe80::9": ("fe80::9", 4001, 0, 1), "2001:db8::9": ("2001:db8::9", 4001, 0, 0)}
        for ip, zoned in (("fe80::9", "fe80::9%1"), ("2001:db8::9", "2001:db8::9"), ("198.51.100.9", "198.51.100.9")):
            stream = SimpleNamespace(socket=SimpleNamespace(getsockname=lambda ip=ip: names[ip]))
            self.assertEqual(with_zone(stream, (ip, 4001)), (zoned, 4001))
        self.assertEqual(str(self.server("auth_by_client_ip").upstream_for(("fe80::9%1", 4001))), "[fe80::9%1]:4001")

    def test_who_wants_the_server_itself_is_closed(self) -> None:
        """Its port on an address of this host; the same port elsewhere is somebody else."""
        server = self.server("auth_by_client_ip")
        for ip in ("127.0.0.1", "127.0.0.9", "::1"):
            _, heard = self.arrive(server, wanted=(ip, 4001))
            self.assertTrue(heard.read_closed, ip)
        self.assertEqual(self.escaper.tasks, [])
        _, heard = self.arrive(server, wanted=("fe80::1", 4001))  # on which link?
        self.assertTrue(heard.read_closed)
        self.arrive(server, wanted=("198.51.100.9", 4001))
        self.arrive(server, wanted=("127.0.0.1", 4002))
        self.assertEqual([str(task.upstream) for task in self.escaper.tasks], ["198.51.100.9:4001", "127.0.0.1:4002"])
