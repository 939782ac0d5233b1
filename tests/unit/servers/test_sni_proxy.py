# SPDX-License-Identifier: Apache-2.0
"""sni_proxy in memory: its keys, whom first bytes name, and as whose user a client comes in."""

from __future__ import annotations

from typing import Any

from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase
from zope.interface import implementer

from g3.config.document import read_text
from g3.config.problems import Problems
from g3.config.schema import parse_map
from g3.config.value import ParseContext
from g3.errors import DestDenied, ProtocolError, TaskError
from g3.interfaces import IFactUsers
from g3.servers.sni_proxy import SNIProxyConfig, SNIProxyServer
from g3.servers.sni_proxy.first import FirstBytes
from g3.task import ClientInfo, Upstream, parse_ip
from g3.testing.nodes import make_context
from g3.testing.streams import HalfCloseRecorder, memory_stream_pair, pump
from tests.hellos import openssl_hello
from tests.unit.servers.test_stream import Discard, LaterEscaper, User

CLIENT = ("203.0.113.7", 4711)
INFO = ClientInfo(CLIENT, ("198.51.100.9", 8443), CLIENT)
BOTH = "auth_by_client_ip: true, auth_by_server_name: true, user_group: g"


def parse(text: str = "") -> tuple[SNIProxyConfig | None, list[str]]:
    problems = Problems()
    node = read_text(f"{{name: s, type: sni_proxy, escaper: e, {text}}}", "test.yaml", problems)[0]
    config = parse_map(SNIProxyConfig, node, ParseContext(problems))
    return config, [str(problem) for problem in problems.errors]


class KeyTests(SynchronousTestCase):
    def test_users_are_made_out_in_one_way(self) -> None:
        """By address or by name, of a group."""
        self.assertEqual(len(parse(BOTH)[1]), 1)
        self.assertEqual(len(parse("auth_by_server_name: true")[1]), 1)
        self.assertEqual(parse("auth_by_server_name: true, user_group: g")[1], [])

    def test_hosts_lead_elsewhere(self) -> None:
        """Either part, both or none."""
        hosts = "[{exact_match: a.test, redirect_port: 1}, {child_match: b.test, redirect_host: c.test}, {set_default: true}]"
        config, problems = parse(f"allowed_hosts: {hosts}")
        self.assertEqual(problems, [])
        assert config is not None and config.allowed_hosts is not None
        for asked, led in (("a.test", "a.test:1"), ("x.b.test", "c.test:443"), ("other.test", "other.test:443")):
            host = config.allowed_hosts.get(asked)
            assert host is not None
            self.assertEqual(str(host.redirect(Upstream(asked, 443))), led)
        self.assertEqual(len(parse("allowed_hosts: {exact_match: a.test, redirect: b.test}")[1]), 1)


class FirstBytesTests(SynchronousTestCase):
    def named(self, data: bytes) -> str:
        first = FirstBytes(8443, 65536, 4096)
        upstream = first.feed(data)
        assert upstream is not None
        self.assertEqual(bytes(first.data), data)
        return str(upstream)

    def test_a_hello_or_a_head(self) -> None:
        """The port of the listener where none is given."""
        self.assertEqual(self.named(openssl_hello("A.test")), "a.test:8443")
        self.assertEqual(self.named(b"GET / HTTP/1.1\r\nHost: a.test\r\n\r\n"), "a.test:8443")
        self.assertEqual(self.named(b"GET http://user@b.test:81/x HTTP/1.1\r\nHost: a.test\r\n\r\n"), "b.test:81")
        self.assertEqual(self.named(b"GET HTTPS://[2001:db8::1]?x HTTP/1.1\r\nHost: a.test\r\n\r\n"), "[2001:db8::1]:8443")

    def test_a_target_without_end_is_refused_early(self) -> None:
        """Not only at the end of a head."""
        first = FirstBytes(80, 65536, 100)
        with self.assertRaises(ProtocolError):
            for _ in range(200):
                self.assertIs(first.feed(b"x"), None)
        self.assertLess(len(first.data), 200)


@implementer(IFactUsers)
class Users:
    """Remembers what it was asked, and knows some of it."""

    def __init__(self) -> None:
        self.asked: list[object] = []

    def user_of(self, fact: object) -> User:
        self.asked.append(fact)
        if fact == "nobody.test":
            raise TaskError("nobody's")
        return User()


class ServerTests(SynchronousTestCase):
    def make(self, text: str) -> SNIProxyServer:
        self.clock = Clock()
        self.users, self.escaper = Users(), LaterEscaper()
        context = make_context(self.clock, {("escaper", "e"): self.escaper, ("user_group", "g"): self.users})
        context.logs = Discard()
        self.addCleanup(context.timers.stop)
        config, problems = parse(text)
        assert config is not None, problems
        server = SNIProxyServer(config, context)
        server.prepare()
        server.start()
        self.addCleanup(server.stop)
        return server

    def test_the_user_is_looked_up_after_redirection(self) -> None:
        """By the host clients are led to, an address as such; or by their own address."""
        hosts = "[{exact_match: a.test, redirect_host: b.test}, {set_default: true}]"
        server = self.make(f"auth_by_server_name: true, user_group: g, allowed_hosts: {hosts}")
        for host in ("a.test", "192.0.2.1"):
            server.admit(Upstream(host, 443), INFO)
        self.assertEqual(self.users.asked, ["b.test", parse_ip("192.0.2.1")])
        with self.assertRaises(TaskError):
            server.admit(Upstream("nobody.test", 443), INFO)
        self.assertEqual(server.stats.forbidden_auth_failed, 1)
        server = self.make("auth_by_client_ip: true, user_group: g, allowed_hosts: {exact_match: a.test}")
        server.admit(Upstream("a.test", 443), INFO)
        self.assertEqual(self.users.asked, [parse_ip(CLIENT[0])])
        with self.assertRaises(DestDenied):
            server.admit(Upstream("b.test", 443), INFO)

    def test_a_transparent_listener_is_asked_for(self) -> None:
        """listen_transparent, and only then."""
        bound: list[bool] = []

        class Pool:
            def claim(self, options: Any, _owner: object) -> Any:
                bound.append(options.transparent)

        server = self.make("")
        server.context.listeners = Pool()  # type: ignore[assignment]
        for more in ("", "listen_transparent: true, "):
            config, _ = parse(f"{more}listen: '127.0.0.1:1'")
            assert config is not None
            SNIProxyServer(config, server.context).prepare()
        self.assertEqual(bound, [False, True])

    def arrive(self, server: Any) -> tuple[Any, HalfCloseRecorder]:
        ours, theirs = memory_stream_pair(self.clock)
        heard = HalfCloseRecorder()
        theirs.start(heard)
        server.accept(ours, INFO)
        pump(self.clock)
        return theirs, heard

    def test_what_comes_while_it_connects_goes_behind_the_hello(self) -> None:
        """In order, each byte once."""
        server = self.make("")
        theirs, _ = self.arrive(server)
        hello = openssl_hello("a.test")
        for piece in (hello[:50], hello[50:] + b"early", b"later"):
            theirs.write(piece)
            pump(self.clock)
        upstream, far = memory_stream_pair(self.clock)
        got = HalfCloseRecorder()
        far.start(got)
        self.escaper.waiting[0].callback(upstream)
        pump(self.clock)
        self.assertEqual(got.data, hello + b"earlylater")

    def test_time_is_up_to_a_second_late(self) -> None:
        """First for the first byte, then for the rest; then the task has its own."""
        server = self.make("request_wait_timeout: 10s, request_recv_timeout: 3s")
        _, heard = self.arrive(server)
        self.clock.pump([1] * 9)
        self.assertFalse(heard.read_closed)
        self.clock.pump([1] * 2)
        self.assertTrue(heard.read_closed)
        theirs, heard = self.arrive(server)
        theirs.write(b"\x16")
        self.clock.pump([1] * 5)
        self.assertTrue(heard.read_closed)
        theirs, heard = self.arrive(server)
        theirs.write(openssl_hello("a.test"))
        self.clock.pump([1] * 30)
        self.assertFalse(heard.read_closed)
        self.assertEqual((server.stats.total_connections, server.stats.total_tasks, len(server.connections)), (3, 1, 1))
