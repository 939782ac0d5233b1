# SPDX-License-Identifier: Apache-2.0
"""Tests of g3.servers.socks_proxy over in-memory streams: the negotiation byte by byte, users, and what each error is told as."""

from __future__ import annotations

import socket
from types import SimpleNamespace
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase
from zope.interface import implementer

from g3 import errors
from g3.acl import Action, PortFilter
from g3.auth.name_params import UsernameParams
from g3.errors import ClientAuthFailed, ConnectFailed, ResolveError, ResolveFailed, TaskError, UserBlocked
from g3.interfaces import ITCPConnect, IUDPConnect, IUDPRelay, IUser, IUserGroup
from g3.proto.socks import v4, v5
from g3.servers.socks_proxy import SocksProxyServer
from g3.servers.socks_proxy.config import SocksProxyConfig
from g3.servers.socks_proxy.connection import LINGER_SECONDS, READ_AHEAD
from g3.task import ClientInfo, PathUpstream, Upstream
from g3.testing.nodes import make_context
from g3.testing.streams import HalfCloseRecorder, memory_stream_pair, pump

CLIENT = ClientInfo(("192.0.2.7", 4000), ("192.0.2.1", 1080), ("192.0.2.7", 4000))
HELLO = b"\5\1\0"
CONNECT = v5.request(v5.CONNECT, "a.test", 443)


@implementer(ITCPConnect, IUDPConnect, IUDPRelay)
class Escaper:
    """Gives the streams a test puts there; an error in its place is raised."""

    name = "out"

    def __init__(self) -> None:
        self.answer: Any = None
        self.tasks: list[Any] = []

    async def tcp_connect(self, task: Any) -> Any:
        self.tasks.append(task)
        task.connect.escaper = self.name
        task.connect.local = ("198.51.100.2", 5555)
        answer = self.answer
        if isinstance(answer, Deferred):
            answer = await answer
        if isinstance(answer, Exception):
            raise answer
        return answer

    udp_connect = udp_relay = tcp_connect


@implementer(IUser)
class User:
    name = "root"

    def __init__(self) -> None:
        self.refusal: TaskError | None = None
        self.alive = 0
        self.allowed: Any = None

    def admit(self, task: Any) -> Any:
        if self.refusal is not None:
            raise self.refusal
        self.alive += 1
        return self.left

    def left(self) -> None:
        self.alive -= 1

    def permit(self, task: Any, upstream: Any) -> None:
        if self.allowed is not None and upstream.host not in self.allowed:
            raise errors.DestDenied

    def egress(self, task: Any) -> None:
        return None

    def ip_blocked(self, escaper: Any) -> None:
        """Counted."""


@implementer(IUserGroup)
class Group:
    """Knows root and its password; C{anonymous} whether others may be nobody."""

    def __init__(self) -> None:
        self.user = User()
        self.anonymous = False
        self.error: TaskError = ClientAuthFailed()
        self.later: Deferred[Any] | None = None

    def authenticate(self, credentials: Any, client: Any) -> Any:
        if self.later is not None:
            return self.later
        if credentials == ("root", "toor") or (credentials is None and self.anonymous):
            return self.user
        raise self.error


class Log:
    """A task log that keeps its records."""

    def __init__(self) -> None:
        self.records: list[dict[str, Any]] = []

    def log(self, message: str, fields: Any) -> None:
        self.records.append({"message": message, **{name: value for name, value in fields if value is not None}})


class ServerCase(SynchronousTestCase):
    """A server under a fake clock, and one client of it."""

    def make(self, **keys: Any) -> None:
        self.clock = Clock()
        self.far: Any = None
        self.escaper, self.group, self.log = Escaper(), Group(), Log()
        context = make_context(self.clock, {("escaper", "out"): self.escaper, ("user_group", "users"): self.group})
        context.logs = SimpleNamespace(logger=lambda *_, **__: self.log)
        self.server = SocksProxyServer(SocksProxyConfig(**{"name": "socks", "escaper": "out", **keys}), context)
        self.server.prepare()
        self.server.start()
        self.addCleanup(context.timers.stop)

    def client(self, **keys: Any) -> None:
        self.make(**keys)
        self.ours, self.theirs = memory_stream_pair(self.clock, left=CLIENT.server, right=CLIENT.client)
        self.heard = HalfCloseRecorder()
        self.theirs.start(self.heard)
        self.server.accept(self.ours, CLIENT)
        pump(self.clock)

    def say(self, data: bytes) -> bytes:
        """What the client hears when it says this."""
        before = len(self.heard.data)
        self.theirs.write(data)
        pump(self.clock)
        return bytes(self.heard.data[before:])

    def upstream(self) -> Any:
        """An upstream that the next connect gets; its own end."""
        near, far = memory_stream_pair(self.clock)
        self.escaper.answer = near
        heard = HalfCloseRecorder()
        far.start(heard)
        far.heard = heard  # type: ignore[attr-defined]
        self.far = far
        return far

    def closed(self) -> None:
        """The connection is over, and the server has forgotten it."""
        self.theirs.loseConnection()
        if self.far is not None:
            pump(self.clock)
            self.far.loseConnection()
        pump(self.clock)
        self.assertTrue(self.ours.disconnected)
        self.assertEqual(self.server.connections, set())
        self.assertEqual(self.server.stats.alive_tasks, 0)


class NegotiationTests(ServerCase):
    """Without users."""

    def test_socks_5_in_one_piece_and_byte_by_byte(self) -> None:
        for size in (1, 2, 1000):
            self.client()
            far = self.upstream()
            said = b"".join(self.say((HELLO + CONNECT)[at : at + size]) for at in range(0, len(HELLO + CONNECT), size))
            self.assertEqual(said, b"\5\0" + v5.reply(0, ("198.51.100.2", 5555)))
            self.assertEqual((self.say(b"ping"), bytes(far.heard.data)), (b"", b"ping"))
            far.write(b"pong")
            pump(self.clock)
            self.assertTrue(bytes(self.heard.data).endswith(b"pong"))
            self.closed()

    def test_socks_4_and_4a_byte_by_byte(self) -> None:
        for host, expected in (("192.0.2.9", "192.0.2.9"), ("A.test", "a.test")):
            self.client()
            far = self.upstream()
            message = v4.request(v4.CONNECT, host, 80, "me")
            said = b"".join(self.say(message[at : at + 1]) for at in range(len(message)))
            self.assertEqual(said, v4.reply(v4.GRANTED))
            self.assertEqual(self.escaper.tasks[0].upstream.host, expected)
            self.say(b"x")
            self.assertEqual(bytes(far.heard.data), b"x")
            self.closed()

    def test_what_comes_before_the_reply_goes_upstream(self) -> None:
        self.client()
        far = self.upstream()
        self.say(HELLO + CONNECT + b"early")
        self.say(b" data")
        self.assertEqual(bytes(far.heard.data), b"early data")
        self.closed()
        record = self.log.records[-1]
        self.assertEqual((record["c_rd_bytes"], record["c_wr_bytes"], record["r_rd_bytes"], record["r_wr_bytes"]), (10, 0, 0, 10))
        self.assertEqual((record["task_type"], record["reason"], record["upstream"]), ("TcpConnect", "ClosedByClient", "a.test:443"))

    def test_a_client_that_only_ended_its_direction_gets_its_tunnel(self) -> None:
        """While the upstream is being connected; the end is passed on. One that is reset ends the connect."""
        for leave in ("loseWriteConnection", "abortConnection"):
            self.client()
            given_up: list[object] = []
            waiting: Deferred[Any] = Deferred(given_up.append)
            far = self.upstream()
            near, self.escaper.answer = self.escaper.answer, waiting
            self.say(HELLO + CONNECT + b"all of it")
            getattr(self.theirs, leave)()
            pump(self.clock)
            if leave == "abortConnection":
                self.assertEqual(given_up, [waiting])
                self.assertEqual(self.server.stats.alive_tasks, 0)
                continue
            waiting.callback(near)
            pump(self.clock)
            self.assertEqual((given_up, bytes(far.heard.data), far.heard.read_closed), ([], b"all of it", True))
            far.write(b"the answer")
            pump(self.clock)
            self.assertTrue(bytes(self.heard.data).endswith(b"the answer"))
            self.closed()

    def test_read_ahead_is_bounded_and_nothing_is_lost(self) -> None:
        self.client()
        waiting: Deferred[Any] = Deferred()
        far = self.upstream()
        near, self.escaper.answer = self.escaper.answer, waiting
        self.say(HELLO + CONNECT)
        self.say(b"x" * 200000)
        connection = next(iter(self.server.connections))
        self.assertLessEqual(len(connection.buffer), READ_AHEAD + 65536)  # type: ignore[attr-defined]
        waiting.callback(near)
        pump(self.clock)
        self.assertEqual(len(far.heard.data), 200000)

    def test_what_is_no_socks_is_closed_without_an_answer(self) -> None:
        for data in (b"GET / HTTP/1.1\r\n\r\n", b"\x16\3\1", b"\0", b"\6", b"\4\3", HELLO + b"\4", HELLO + b"\5\1\0\3\0"):
            self.client()
            self.assertEqual(self.say(data), b"\5\0" if data.startswith(HELLO) else b"")
            self.assertTrue(self.ours.disconnecting)
            self.closed()
            self.assertEqual(self.log.records, [])

    def test_commands_and_address_types_that_are_not_served(self) -> None:
        for data, reply in (
            (HELLO + v5.request(v5.BIND, "a.test", 1), b"\5\0" + v5.reply(7)),
            (HELLO + v5.request(9, "a.test", 1), b"\5\0" + v5.reply(7)),
            (HELLO + b"\5\1\0\2", b"\5\0" + v5.reply(8)),
            (v4.request(v4.BIND, "1.2.3.4", 1), v4.reply(91)),
            (b"\5\1\2", b"\5\xff"),
            (b"\5\0", b"\5\xff"),
            (b"\5\1\xff", b"\5\xff"),
            (b"\5\2\1\3", b"\5\xff"),
        ):
            self.client()
            self.assertEqual(self.say(data), reply)
            self.closed()

    def test_a_refusal_is_read_before_the_reset_that_unread_bytes_would_bring(self) -> None:
        """More bytes than were read: half closed first, and closed in the end."""
        self.client()
        self.assertEqual(self.say(b"\5\1\2" + b"more"), b"\5\xff")
        self.assertFalse(self.ours.disconnected)
        self.assertTrue(self.ours.write_closed)
        self.clock.advance(LINGER_SECONDS + 1)
        pump(self.clock)
        self.assertTrue(self.ours.aborted)

    def test_an_unterminated_user_id_of_a_megabyte_is_closed_early(self) -> None:
        self.client()
        self.assertEqual(self.say(b"\4\1\0\x50\1\2\3\4" + b"u" * (1 << 20)), b"")
        self.assertTrue(self.ours.disconnecting or self.ours.disconnected)
        self.assertLess(self.ours.bytes_in, 200000)

    def test_the_whole_negotiation_has_one_deadline(self) -> None:
        self.client(negotiation_timeout=4.0)
        for byte in HELLO + CONNECT:
            self.theirs.write(bytes((byte,)))
            self.clock.advance(1)
            pump(self.clock)
        self.assertTrue(self.ours.disconnecting)
        self.assertEqual(bytes(self.heard.data), b"\5\0")
        self.closed()

    def test_a_client_that_leaves_ends_the_connect(self) -> None:
        self.client()
        waiting: Deferred[Any] = Deferred()
        self.escaper.answer = waiting
        self.say(HELLO + CONNECT)
        self.theirs.abortConnection()
        pump(self.clock)
        self.assertTrue(waiting.called)
        self.assertEqual(self.log.records[-1]["reason"], "ClosedByClient")
        self.closed()


class RefusalTests(ServerCase):
    """What the client is told."""

    def test_each_error_has_its_reply(self) -> None:
        for error, reply in (
            (errors.ForbiddenRemoteAddress(), 2),
            (errors.MethodUnavailable(), 2),
            (ConnectFailed(101), 3),
            (ConnectFailed(113), 4),
            (ResolveFailed(ResolveError("ServerError", "NOTFOUND")), 4),
            (errors.NoAddressConnected(), 4),
            (ConnectFailed(111), 5),
            (ConnectFailed(104), 5),
            (errors.NegotiationRejected(), 5),
            (ConnectFailed(110), 9),
            (errors.TimeoutByRule(), 9),
            (errors.NegotiationPeerTimeout(), 9),
            (errors.EscaperNotUsable(), 1),
            (errors.SetupSocketFailed(), 1),
        ):
            self.client()
            self.escaper.answer = error
            self.assertEqual(self.say(HELLO + CONNECT), b"\5\0" + v5.reply(reply), error)
            self.closed()
            self.assertEqual(self.log.records[-1]["reason"], error.reason)
            self.client()
            self.escaper.answer = error
            self.assertEqual(self.say(v4.request(1, "a.test", 1)), v4.reply(91))

    def test_a_defect_is_a_failure_here(self) -> None:
        """An escaper that raises anything, or brings no stream."""
        for answer in (ZeroDivisionError(), None):
            self.client()
            self.escaper.answer = answer
            self.assertEqual(self.say(HELLO + CONNECT), b"\5\0" + v5.reply(1))
            self.assertEqual(self.log.records[-1]["reason"], "InternalServerError")
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 0)

    def test_destination_rules(self) -> None:
        self.client(dst_port_filter=PortFilter([(80, Action.PERMIT)], Action.FORBID))
        self.assertEqual(self.say(HELLO + CONNECT), b"\5\0" + v5.reply(2))
        self.assertEqual(self.server.stats.forbidden_dest_denied, 1)
        self.closed()


class UserTests(ServerCase):
    """The gate, with a double in place of the group."""

    OFFER = b"\5\2\0\2"

    def users(self, **keys: Any) -> None:
        self.client(user_group="users", **keys)

    def test_a_user_name_is_preferred_to_none(self) -> None:
        self.users()
        self.upstream()
        self.assertEqual(self.say(self.OFFER), b"\5\2")
        self.assertEqual(self.say(v5.credentials("root", "toor")), b"\1\0")
        self.assertEqual(self.say(CONNECT)[:2], b"\5\0")
        self.assertEqual(self.group.user.alive, 1)
        self.closed()
        self.assertEqual((self.group.user.alive, self.log.records[-1]["user"]), (0, "root"))

    def test_everything_at_once(self) -> None:
        self.users()
        self.upstream()
        self.assertEqual(self.say(self.OFFER + v5.credentials("root", "toor") + CONNECT)[:6], b"\5\2\1\0\5\0")
        self.closed()

    def test_parameters_of_a_name_choose_the_next_proxy(self) -> None:
        """The group hears of the name alone; without parameters nothing is chosen."""
        for name, chosen in (("root+a=one+b=two", {"out": PathUpstream(Upstream("one-two.proxy.test", 10001))}), ("root", {})):
            self.users(username_params=UsernameParams(keys_for_host=("a", "b"), domain_suffix="proxy.test"))
            self.upstream()
            self.assertEqual(self.say(self.OFFER + v5.credentials(name, "toor") + CONNECT)[:6], b"\5\2\1\0\5\0")
            path = self.escaper.tasks[0].path
            self.assertEqual({} if path is None else path.upstreams, chosen)
            self.closed()

    def test_wrong_parameters_are_a_forbidden_destination(self) -> None:
        self.users(username_params=UsernameParams(keys_for_host=("a", "b")))
        self.assertEqual(self.say(self.OFFER + v5.credentials("root+b=two", "toor"))[:4], b"\5\2\5\2")
        self.assertEqual((self.server.stats.forbidden_dest_denied, self.server.stats.forbidden_auth_failed), (1, 0))
        self.closed()

    def test_wrong_credentials_end_it(self) -> None:
        self.users()
        self.assertEqual(self.say(self.OFFER + v5.credentials("root", "x")), b"\5\2\1\1")
        self.assertEqual(self.server.stats.forbidden_auth_failed, 1)
        self.closed()

    def test_a_blocked_user_gets_a_reply(self) -> None:
        self.users()
        self.group.error = UserBlocked()
        self.assertEqual(self.say(self.OFFER + v5.credentials("root", "x")), b"\5\2" + v5.reply(2))
        self.assertEqual((self.server.stats.forbidden_user_blocked, self.server.stats.forbidden_auth_failed), (1, 0))
        self.closed()

    def test_without_a_name_only_where_that_is_allowed(self) -> None:
        for anonymous, answer in ((True, b"\5\0"), (False, b"\5\xff")):
            self.make(user_group="users")
            self.ours, self.theirs = memory_stream_pair(self.clock)
            self.heard = HalfCloseRecorder()
            self.theirs.start(self.heard)
            self.group.anonymous = anonymous
            self.server.accept(self.ours, CLIENT)
            self.assertEqual(self.say(HELLO), answer)
            self.assertEqual(self.server.stats.forbidden_auth_failed, int(not anonymous))
            self.closed()

    def test_socks_4_needs_an_anonymous_user(self) -> None:
        self.users()
        self.assertEqual(self.say(v4.request(1, "a.test", 1)), b"")
        self.assertEqual(self.server.stats.forbidden_auth_failed, 1)
        self.closed()
        self.users()
        self.group.anonymous = True
        self.upstream()
        self.assertEqual(self.say(v4.request(1, "a.test", 1)), v4.reply(90))
        self.closed()

    def test_a_slow_group_and_a_client_that_does_not_wait(self) -> None:
        self.users()
        self.group.later = Deferred()
        self.upstream()
        self.assertEqual(self.say(self.OFFER + v5.credentials("root", "toor") + CONNECT), b"\5\2")
        self.group.later.callback(self.group.user)
        pump(self.clock)
        self.assertEqual(bytes(self.heard.data)[2:6], b"\1\0\5\0")
        self.closed()

    def test_a_group_that_never_answers_is_not_waited_for(self) -> None:
        self.users(negotiation_timeout=2.0)
        self.group.later = cancelled = Deferred()
        self.say(self.OFFER + v5.credentials("root", "toor"))
        self.clock.advance(3)
        pump(self.clock)
        self.assertTrue(cancelled.called)
        self.closed()

    def test_the_users_limits_are_told_as_2(self) -> None:
        self.users()
        self.group.user.refusal = errors.FullyLoaded()
        self.assertEqual(self.say(self.OFFER + v5.credentials("root", "toor") + CONNECT), b"\5\2\1\0" + v5.reply(2))
        self.assertEqual(self.log.records[-1]["reason"], "ForbiddenByRule")
        self.closed()


class Path:
    """A datagram path that keeps what it is sent."""

    def __init__(self) -> None:
        self.sent: list[tuple[bytes, Any]] = []
        self.held: list[float] = []
        self.receiver: Any = None
        self.closed = False

    def start(self, receiver: Any) -> None:
        self.receiver = receiver

    def send(self, data: Any, upstream: Any) -> float:
        self.sent.append((bytes(data), upstream))
        return 0.0

    def hold(self, seconds: float) -> None:
        self.held.append(seconds)

    def close(self) -> None:
        self.closed = True


class UDPSessionCase(ServerCase):
    """A session for datagrams."""

    def session(self, claim: str = "0.0.0.0", **keys: Any) -> socket.socket:
        """A client's socket, its session open; its TCP ends are on loopback. C{claim} is the address it names."""
        self.make(user_group="users", **keys)
        self.clock.addReader = self.clock.removeReader = lambda _: None  # type: ignore[attr-defined]
        here = ClientInfo(("127.0.0.1", 4000), ("127.0.0.1", 1080), ("127.0.0.1", 4000))
        self.ours, self.theirs = memory_stream_pair(self.clock, left=here.server, right=here.client)
        self.heard = HalfCloseRecorder()
        self.theirs.start(self.heard)
        self.server.accept(self.ours, here)
        self.escaper.answer = self.path = Path()
        reply = self.say(b"\5\1\2" + v5.credentials("root", "toor") + v5.request(v5.UDP_ASSOCIATE, claim, 0))[4:]
        self.assertEqual(reply[:2], b"\5\0")
        self.relay = v5.parse_reply(reply)[1:3]  # type: ignore[index]
        client = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.addCleanup(client.close)
        return client

    def datagram(self, client: socket.socket, host: str) -> None:
        client.sendto(v5.datagram_header(host, 53) + b"x", self.relay)
        exchange: Any = next(iter(self.server.connections)).exchange  # type: ignore[attr-defined]
        exchange._socket.doRead()
        pump(self.clock)


class UDPUserTests(UDPSessionCase):
    """The gate of datagrams, with a double in place of the user."""

    def test_every_upstream_is_asked_for(self) -> None:
        client = self.session(use_udp_associate=True)
        self.group.user.allowed = {"a.test", "b.test"}
        for host in ("a.test", "b.test", "a.test"):
            self.datagram(client, host)
        self.assertEqual([upstream.host for _, upstream in self.path.sent], ["a.test", "b.test", "a.test"])
        self.assertEqual(self.group.user.alive, 1)
        self.datagram(client, "c.test")
        self.assertTrue(self.path.closed)
        self.closed()
        self.assertEqual((self.log.records[-1]["reason"], self.group.user.alive), ("ForbiddenByRule", 0))

    def test_the_first_is_asked_for_before_a_way_is_made(self) -> None:
        client = self.session()
        self.group.user.allowed = set()
        self.datagram(client, "a.test")
        self.assertEqual(self.escaper.tasks, [])
        self.closed()

    def test_the_end_of_the_path_ends_the_session(self) -> None:
        client = self.session()
        self.datagram(client, "a.test")
        self.path.receiver.path_closed(errors.RecvFailed())
        pump(self.clock)
        self.closed()
        self.assertEqual((self.log.records[-1]["task_type"], self.log.records[-1]["reason"]), ("UdpConnect", "UpstreamReadFailed"))

    def test_a_client_that_leaves_while_the_way_is_made(self) -> None:
        client = self.session()
        self.escaper.answer = waiting = Deferred()
        self.datagram(client, "a.test")
        self.theirs.loseConnection()
        pump(self.clock)
        self.assertTrue(waiting.called)
        self.closed()

    def test_the_server_quits(self) -> None:
        client = self.session()
        self.datagram(client, "a.test")
        self.server.force_quit()
        pump(self.clock)
        self.assertTrue(self.path.closed)
        self.closed()
        self.assertEqual(self.log.records[-1]["reason"], "CanceledAsServerQuit")
