# SPDX-License-Identifier: Apache-2.0
"""Tests of g3.servers.http.auth, in both servers that have it: who gets in, and what the others are told."""

from __future__ import annotations

from base64 import b64encode
from types import SimpleNamespace
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase
from zope.interface import implementer

from g3.acl.match import HostMatch
from g3.auth.name_params import UsernameParams
from g3.errors import ClientAuthFailed, RateLimited, TaskError, UserBlocked
from g3.interfaces import IHTTPForward, ITCPConnect, IUser, IUserGroup
from g3.limit.options import StreamSpeed
from g3.servers.http import auth
from g3.servers.http_proxy import HTTPProxyServer
from g3.servers.http_proxy.config import HTTPProxyConfig
from g3.servers.http_rproxy import HTTPRProxyServer
from g3.servers.http_rproxy.config import HTTPHost, HTTPRProxyConfig
from g3.task import ClientInfo, ConnectNotes, PathSelection, PathUpstream, Upstream
from g3.testing.nodes import make_context
from g3.testing.streams import HalfCloseRecorder, memory_stream_pair, pump

CLIENT = ClientInfo(("192.0.2.7", 4000), ("192.0.2.1", 3128), ("192.0.2.7", 4000))
GOOD, BAD = (b64encode(text) for text in (b"root:toor", b"root:root"))
OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"


@implementer(IHTTPForward, ITCPConnect)
class Escaper:
    """Leads to an origin that answers every head."""

    name = "out"
    http_capability = SimpleNamespace(forward_https=False, forwards_ftp=lambda _method: False)

    def __init__(self, clock: Clock) -> None:
        self.clock = clock
        self.tasks: list[Any] = []
        self.heard: list[bytes] = []

    async def http_forward(self, task: Any) -> Any:
        self.tasks.append(task)
        near, far = memory_stream_pair(self.clock)
        origin = HalfCloseRecorder()

        def answer(data: bytes) -> None:
            self.heard.append(data)
            far.write(OK)

        origin.dataReceived = answer  # type: ignore[method-assign]
        far.start(origin)
        return SimpleNamespace(stream=near, absolute_form=False, header_lines=b"", notes=ConnectNotes(), private=False)

    async def tcp_connect(self, task: Any) -> Any:
        self.tasks.append(task)
        return memory_stream_pair(self.clock)[0]

    def http_reuse(self, task: Any) -> None:
        self.tasks.append(task)


@implementer(IUser)
class User:
    """Counts what is alive."""

    name = "root"

    def __init__(self) -> None:
        self.refusal: TaskError | None = None
        self.alive = 0

    def admit(self, task: Any) -> Any:
        if self.refusal is not None:
            raise self.refusal
        self.alive += 1
        return self.left

    def left(self) -> None:
        self.alive -= 1

    def permit(self, task: Any, upstream: Any) -> None:
        """Anywhere."""

    def egress(self, task: Any) -> None:
        return None

    def ip_blocked(self, escaper: Any) -> None:
        """Counted."""


@implementer(IUserGroup)
class Group:
    """Knows root and its password."""

    def __init__(self) -> None:
        self.user = User()
        self.error: Exception = ClientAuthFailed()
        self.later: Deferred[Any] | None = None

    def authenticate(self, credentials: Any, client: Any) -> Any:
        if self.later is not None:
            return self.later
        if credentials == ("root", "toor"):
            return self.user
        raise self.error


class Proxy:
    """An http_proxy under a fake clock, and one client of it."""

    status, asks, field = 407, b"Proxy-Authenticate", b"Proxy-Authorization"
    target = b"http://a.test/"

    def server(self, context: Any, **keys: Any) -> Any:
        return HTTPProxyServer(HTTPProxyConfig(**keys), context)


class RProxy:
    """The same of an http_rproxy."""

    status, asks, field = 401, b"WWW-Authenticate", b"Authorization"
    target = b"/"

    def server(self, context: Any, **keys: Any) -> Any:
        hosts = HostMatch((("a.test", HTTPHost(upstream=Upstream("192.0.2.9", 80))),))
        return HTTPRProxyServer(HTTPRProxyConfig(hosts=hosts, **keys), context)


class Rules:
    """What holds in both."""

    def setUp(self: Any) -> None:
        self.start()

    def start(self: Any, **keys: Any) -> None:
        self.clock = Clock()
        self.escaper, self.group = Escaper(self.clock), Group()
        nodes = {("escaper", "out"): self.escaper, ("user_group", "users"): self.group}
        context = make_context(self.clock, nodes)
        context.logs = SimpleNamespace(logger=lambda *_, **__: None)
        self.daemon = self.server(context, **{"name": "http", "escaper": "out", "user_group": "users", "auth_realm": 'a "b"', **keys})
        self.daemon.prepare()
        self.daemon.start()
        self.addCleanup(context.timers.stop)
        self.connect()

    def connect(self: Any) -> None:
        self.ours, self.theirs = memory_stream_pair(self.clock, left=CLIENT.server, right=CLIENT.client)
        self.heard = HalfCloseRecorder()
        self.theirs.start(self.heard)
        self.daemon.accept(self.ours, CLIENT)
        pump(self.clock)

    def say(self: Any, data: bytes) -> bytes:
        """What the client hears when it says this."""
        before = len(self.heard.data)
        self.theirs.write(data)
        pump(self.clock)
        return bytes(self.heard.data[before:])

    def head(self: Any, credentials: bytes | None = None, *lines: bytes, method: bytes = b"GET") -> bytes:
        given = () if credentials is None else (b"%b: Basic %b" % (self.field, credentials),)
        return b"\r\n".join([b"%b %b HTTP/1.1" % (method, self.target), b"Host: a.test", *given, *lines, b"", b""])

    @property
    def closed(self: Any) -> bool:
        """Whether the server has said its last."""
        return bool(self.heard.read_closed or self.heard.reason is not None)

    def asked(self: Any, answer: bytes, *, closes: bool) -> None:
        """An answer that asks for credentials."""
        self.assertTrue(answer.startswith(b"HTTP/1.1 %d " % self.status), answer)
        self.assertIn(self.asks + b': Basic realm="a \\"b\\""\r\n', answer)
        self.assertIn(b"Connection: Close" if closes else b"Connection: Keep-Alive", answer)
        self.assertEqual(self.closed, closes)

    def test_a_user_gets_in_and_the_upstream_hears_nothing_of_it(self: Any) -> None:
        """The task is the user's, and counts as alive until it ends."""
        for _ in range(2):
            self.assertTrue(self.say(self.head(GOOD)).startswith(b"HTTP/1.1 200 "))
        self.assertEqual([task.user.name for task in self.escaper.tasks], ["root", "root"])
        self.assertNotIn(GOOD, b"".join(self.escaper.heard))
        self.assertEqual((self.group.user.alive, self.daemon.stats.total_tasks, self.daemon.stats.alive_tasks), (0, 2, 0))

    def test_the_first_refusal_leaves_the_connection_open_the_second_closes_it(self: Any) -> None:
        """In a row: who got in between has another try. None is a task."""
        self.asked(self.say(self.head()), closes=False)
        self.assertTrue(self.say(self.head(GOOD)).startswith(b"HTTP/1.1 200 "))
        self.asked(self.say(self.head(BAD)), closes=False)
        self.asked(self.say(self.head(BAD)), closes=True)
        self.assertEqual((self.daemon.stats.forbidden_auth_failed, self.daemon.stats.total_tasks), (3, 1))

    def test_what_is_no_basic_credential_is_a_400(self: Any) -> None:
        """Another scheme, no base64, no colon, no UTF-8, a control character, two fields."""
        for value in (b"Bearer x", b"Basic ?", b"Basic " + b64encode(b"root"), b"Basic " + b64encode(b"\xff:"), b"Basic " + b64encode(b"a\n:b")):
            self.connect()
            self.assertTrue(self.say(self.head(None, self.field + b": " + value)).startswith(b"HTTP/1.1 400 "), value)
        self.connect()
        self.assertTrue(self.say(self.head(GOOD, self.field + b": Basic " + BAD)).startswith(b"HTTP/1.1 400 "))
        self.assertEqual(self.escaper.tasks, [])

    def test_a_body_of_nobody_closes(self: Any) -> None:
        """Since it would have to be read."""
        self.asked(self.say(self.head(None, b"Content-Length: 5", method=b"POST")), closes=True)
        self.say(b"hello")
        self.assertEqual(self.escaper.tasks, [])

    def test_a_body_of_nobody_is_read_where_that_is_configured(self: Any) -> None:
        """And counted; then the connection is as good as new. Wrong credentials are no reason to read it."""
        self.start(untrusted_read_speed_limit=StreamSpeed(shift=10, upload=1000, download=1000))
        self.assertEqual(self.say(self.head(None, b"Transfer-Encoding: chunked", method=b"POST")), b"")
        self.assertEqual(self.daemon.stats.untrusted_alive, 1)
        self.asked(self.say(b"5\r\nhello\r\n0\r\n\r\n"), closes=False)
        stats = self.daemon.stats
        self.assertEqual((stats.untrusted_total, stats.untrusted_alive, stats.untrusted_in_bytes), (1, 0, 15))
        self.assertTrue(self.say(self.head(GOOD)).startswith(b"HTTP/1.1 200 "))
        self.asked(self.say(self.head(BAD, b"Content-Length: 5", method=b"POST")), closes=True)

    def test_a_body_of_nobody_ends_by_size_by_time_and_with_its_client(self: Any) -> None:
        limit = StreamSpeed(shift=10, upload=1000, download=1000)
        self.patch(auth, "UNTRUSTED_BYTES", 10)
        self.start(untrusted_read_speed_limit=limit, task_idle_max_count=1, task_idle_check_interval=2)
        head = self.head(None, b"Content-Length: 50", method=b"POST")
        self.asked(self.say(head + b"x" * 20), closes=True)
        for end in (lambda: self.clock.pump([1] * 6), self.theirs_ends, self.daemon_quits, self.theirs_breaks):
            self.connect()
            self.assertEqual(self.say(head), b"")
            end()
            pump(self.clock)
            self.assertTrue(self.ours.disconnecting or self.ours.disconnected)
            self.assertEqual(self.daemon.stats.untrusted_alive, 0)

    def theirs_ends(self: Any) -> None:
        self.theirs.loseWriteConnection()

    def theirs_breaks(self: Any) -> None:
        self.theirs.abortConnection()

    def daemon_quits(self: Any) -> None:
        self.daemon.force_quit()

    def test_a_blocked_user_is_told_so_and_closed(self: Any) -> None:
        """The group has let it wait."""
        self.group.error = UserBlocked()
        self.assertTrue(self.say(self.head(BAD)).startswith(b"HTTP/1.1 403 "))
        self.assertTrue(self.closed)
        self.assertEqual((self.daemon.stats.forbidden_user_blocked, self.daemon.stats.forbidden_auth_failed), (1, 0))

    def test_nobody_is_told_anything_where_that_is_configured(self: Any) -> None:
        self.start(no_early_error_reply=True)
        for error in (ClientAuthFailed(), UserBlocked()):
            self.group.error = error
            self.connect()
            self.assertEqual(self.say(self.head(BAD)), b"")
            self.assertTrue(self.closed)
        self.assertEqual((self.daemon.stats.forbidden_user_blocked, self.daemon.stats.forbidden_auth_failed), (1, 1))

    def test_a_gate_that_is_shut_is_the_answer_of_the_task(self: Any) -> None:
        """Its status; the connection closes."""
        self.group.user.refusal = RateLimited()
        self.assertTrue(self.say(self.head(GOOD)).startswith(b"HTTP/1.1 429 "))
        self.assertEqual((self.daemon.stats.total_tasks, self.daemon.stats.alive_tasks, self.escaper.tasks), (1, 0, []))

    def test_a_group_may_take_its_time(self: Any) -> None:
        """What comes meanwhile waits; the order stays."""
        self.group.later = Deferred()
        self.assertEqual(self.say(self.head(GOOD) + self.head(GOOD)), b"")
        later, self.group.later = self.group.later, None
        later.callback(self.group.user)
        pump(self.clock)
        self.assertEqual(bytes(self.heard.data).count(b"HTTP/1.1 200 "), 2)
        self.group.later = Deferred()
        self.say(self.head(BAD))
        self.group.later.errback(ClientAuthFailed())
        pump(self.clock)
        self.assertEqual(bytes(self.heard.data).count(self.asks), 1)

    def test_a_client_that_ends_while_it_waits_still_gets_its_answer(self: Any) -> None:
        """One that breaks off is not asked for any more."""
        later = self.group.later = Deferred()
        self.say(self.head(GOOD))
        self.theirs.loseWriteConnection()
        pump(self.clock)
        later.callback(self.group.user)
        pump(self.clock)
        self.assertIn(b"HTTP/1.1 200 ", bytes(self.heard.data))
        for end in (self.theirs_breaks, self.daemon_quits, lambda: self.clock.pump([1] * 32)):
            canceled: list[object] = []
            self.group.later = Deferred(canceled.append)
            self.connect()
            self.say(self.head(GOOD))
            end()
            pump(self.clock)
            self.assertEqual(len(canceled), 1)
            self.assertTrue(self.ours.disconnecting or self.ours.disconnected)

    def test_a_group_with_a_defect_is_a_500(self: Any) -> None:
        """Logged."""
        self.group.error = ZeroDivisionError()
        self.daemon.failed = (failures := []).append
        self.assertTrue(self.say(self.head(BAD)).startswith(b"HTTP/1.1 500 "))
        self.assertEqual(failures, [self.group.error])


class ProxyTests(Rules, Proxy, SynchronousTestCase):
    """Proxy-Authorization and 407."""

    def test_a_tunnel_and_ftp_are_gated_too(self) -> None:
        for target in (b"CONNECT a.test:443", b"GET ftp://a.test/"):
            rest = b" HTTP/1.1\r\nHost: a.test\r\n"
            self.connect()
            self.asked(self.say(target + rest + b"\r\n"), closes=False)
            self.group.user.refusal = RateLimited()
            refused = self.say(target + rest + b"Proxy-Authorization: Basic " + GOOD + b"\r\n\r\n")
            self.assertTrue(refused.startswith(b"HTTP/1.1 429 "), refused)
            self.group.user.refusal = None
        self.connect()
        self.say(b"CONNECT a.test:443 HTTP/1.1\r\nHost: a.test\r\nProxy-Authorization: Basic " + GOOD + b"\r\n\r\n")
        self.assertEqual(self.group.user.alive, 1)
        self.theirs_breaks()
        pump(self.clock)
        self.assertEqual(self.group.user.alive, 0)

    def test_what_follows_a_refused_connect_is_no_request(self) -> None:
        """It was for the tunnel: one answer, then it is thrown away, also what comes later, and the connection closes."""
        connect = b"CONNECT a.test:443 HTTP/1.1\r\nHost: a.test\r\n\r\n"
        for ahead in (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", self.head(GOOD)):
            self.connect()
            self.asked(self.say(connect + ahead), closes=True)
            self.assertEqual(self.say(self.head(GOOD)), b"")
            self.connect()
            self.group.later = Deferred()
            self.say(connect)
            self.say(ahead)
            later, self.group.later = self.group.later, None
            later.errback(ClientAuthFailed())
            pump(self.clock)
            self.asked(bytes(self.heard.data), closes=True)
            self.assertEqual(bytes(self.heard.data).count(b"HTTP/1.1"), 1)
        self.assertEqual(self.escaper.tasks, [])

    def test_parameters_of_a_name_choose_the_next_proxy(self) -> None:
        """For their request alone, beside the way that a header selects; the group hears of the name alone; wrong ones are a 400."""
        self.start(username_params=UsernameParams(keys_for_host=("a", "b")), egress_path_selection_header="x-path")
        chosen = b64encode(b"root+a=one:toor")
        for credentials, lines in ((chosen, (b"X-Path: 3",)), (GOOD, ()), (chosen, ()), (chosen, ())):
            self.assertTrue(self.say(self.head(credentials, *lines)).startswith(b"HTTP/1.1 200 "))
        proxy = {"out": PathUpstream(Upstream("one", 10000))}
        paths = [task.path for task in self.escaper.tasks]
        self.assertEqual(paths, [PathSelection(number=3, upstreams=proxy), None, *2 * [PathSelection(upstreams=proxy)]])
        self.assertTrue(self.say(self.head(b64encode(b"root+b=two:toor"))).startswith(b"HTTP/1.1 400 "))
        self.assertTrue(self.closed)

    def test_what_is_for_the_upstream_goes_there(self) -> None:
        self.say(self.head(GOOD, b"Authorization: Bearer x"))
        self.assertIn(b"Authorization: Bearer x\r\n", self.escaper.heard[0])


class RProxyTests(Rules, RProxy, SynchronousTestCase):
    """Authorization and 401."""

    def test_who_is_nobody_learns_nothing_of_the_hosts(self) -> None:
        """An unknown one is a 400 only to users."""
        self.asked(self.say(self.head().replace(b"a.test", b"b.test")), closes=False)
        self.assertTrue(self.say(self.head(GOOD).replace(b"a.test", b"b.test")).startswith(b"HTTP/1.1 400 "))


del Rules
