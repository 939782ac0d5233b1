# SPDX-License-Identifier: Apache-2.0
"""proxy_http with a real squid as the next proxy: the escaper by itself with an origin that keeps what it was sent, and in a daemon with curl."""

from __future__ import annotations

import shutil
import subprocess
import tempfile
from pathlib import Path
from typing import Any

from twisted.internet.task import deferLater
from twisted.internet.threads import deferToThread
from twisted.trial.unittest import TestCase

from g3.errors import NegotiationRejected
from g3.escapers.proxy_http import ProxyHTTPConfig, ProxyHTTPEscaper
from g3.net.timers import TimerWheel
from g3.pick import Weighted
from g3.task import ClientInfo, Task, Upstream
from g3.testing.streams import Recorder
from g3.tree.node import NodeContext
from g3.tree.slots import Slots
from tests.functional.peers import RecordingOrigin, start_squid
from tests.functional.processes import free_port
from tests.functional.stage import HELLO, StageTestCase

CLIENT = ("192.0.2.7", 40000)


class ThroughSquid(TestCase):
    """Squid listens behind PROXY protocol on one port and without on the other, and knows one user."""

    timeout = 60

    async def setUp(self) -> None:
        from twisted.internet import reactor

        self.reactor: Any = reactor
        self.directory = Path(self.mktemp()).resolve()
        self.directory.mkdir(parents=True)
        self.origin = RecordingOrigin()
        self.addCleanup(self.origin.close)
        self.number, self.guarded = free_port(), free_port()
        more = f"http_port 127.0.0.1:{self.guarded} require-proxy-header\nproxy_protocol_access allow all\nlogformat who %>a %rm %ru %>Hs\n"
        # Squid writes as a user of its own.
        self.logs = Path(tempfile.mkdtemp(prefix="g3who"))
        self.logs.chmod(0o777)
        self.addCleanup(shutil.rmtree, self.logs)
        more += f"access_log stdio:{self.logs}/who.log who"
        self.squid = await deferToThread(start_squid, self.directory, self.number, more)
        self.addCleanup(self.squid.kill)
        self.timers = TimerWheel(reactor, 0.02)
        self.addCleanup(self.timers.stop)

    def escaper(self, port: int, **keys: Any) -> ProxyHTTPEscaper:
        context = NodeContext(reactor=self.reactor, timers=self.timers)
        context.slots = Slots(lambda _kind, name: f"stand-in for {name}")
        return ProxyHTTPEscaper(ProxyHTTPConfig(name="next", proxy_addr=(Weighted(Upstream("127.0.0.1", port)),), **keys), context)

    def task(self, port: int) -> Task:
        return Task("HttpConnect", "http_proxy", "test", ClientInfo(CLIENT, ("192.0.2.8", 3128), CLIENT), Upstream("127.0.0.1", port), 0.0)

    async def answered(self, stream: Any, request: bytes) -> bytes:
        """What comes back for a request, once the origin's body is there."""
        recorder = Recorder()
        stream.start(recorder)
        stream.write(request)
        end = self.reactor.seconds() + 10
        while b"\r\n\r\nok" not in recorder.data:
            self.assertLess(self.reactor.seconds(), end, recorder.data)
            await deferLater(self.reactor, 0.01)
        stream.abortConnection()
        await deferLater(self.reactor, 0.02)
        return recorder.data

    async def test_a_tunnel(self) -> None:
        stream = await self.escaper(self.number).tcp_connect(self.task(self.origin.port))
        answer = await self.answered(stream, b"GET /tunnelled HTTP/1.1\r\nHost: a\r\n\r\n")
        self.assertTrue(answer.startswith(b"HTTP/1.1 200 OK"))
        self.assertEqual(self.origin.everything, b"GET /tunnelled HTTP/1.1\r\nHost: a\r\n\r\n")
        self.assertIn("CONNECT", self.squid.access_log())

    async def test_a_request_in_absolute_form_behind_a_proxy_protocol_header(self) -> None:
        for version in (1, 2):
            task = self.task(self.origin.port)
            connection = await self.escaper(self.guarded, use_proxy_protocol=version).http_forward(task)
            self.assertTrue(connection.absolute_form)
            request = f"GET http://{task.upstream}/v{version} HTTP/1.1\r\nHost: {task.upstream}\r\n\r\n".encode()
            await self.answered(connection.stream, request)
            self.assertIn(f"GET /v{version} HTTP/1.1\r\n".encode(), self.origin.everything)
        self.assertEqual((self.logs / "who.log").read_text().count(CLIENT[0]), 2)

    async def test_an_upstream_that_squid_cannot_reach(self) -> None:
        try:
            await self.escaper(self.number).tcp_connect(self.task(free_port()))
        except NegotiationRejected as error:
            self.assertIn("503", str(error))
        else:
            self.fail("squid should have said no")


CONFIG = """
runtime: {thread_number: 0}
log: discard
resolver:
  - {name: dns, type: c_ares, server: 127.0.0.1}
escaper:
  - {name: direct, type: direct_fixed, resolver: dns}
  - {name: nowhere, type: dummy_deny}
  - {name: login, type: proxy_http, proxy_addr: "127.0.0.1:3128", proxy_username: user, proxy_password: secret}
  - {name: stranger, type: proxy_http, proxy_addr: "127.0.0.1:3128", proxy_username: user, proxy_password: wrong}
  - {name: whole, type: proxy_http, proxy_addr: "127.0.0.1:8100", http_forward_capability: {forward_https: true}}
  - {name: parts, type: proxy_http, proxy_addr: "127.0.0.1:8100"}
  - {name: chosen, type: route_select, next_nodes: [nowhere, {name: login, weight: 2}, {name: stranger, weight: 0}], next_pick_policy: serial}
server:
"""
SERVER = """
  - {{name: {name}, type: http_proxy, listen: "127.0.0.1:{port}", escaper: {name}, server_id: {name}, tls_client: {{ca_certificate: ca.pem}}}}
"""
SERVERS = ("direct", "login", "stranger", "whole", "parts", "chosen")
GUARD = """
auth_param basic program /usr/lib/squid/basic_ncsa_auth {users}
acl known proxy_auth REQUIRED
http_access deny !known
"""


class InADaemon(StageTestCase):
    """One http_proxy for each escaper; the one called direct is a next proxy too, and squid wants a login."""

    def setUp(self) -> None:
        super().setUp()
        self.ca = self.start_web()
        hashed = subprocess.run(["openssl", "passwd", "-apr1", "secret"], capture_output=True, text=True, check=True).stdout
        users = Path(tempfile.mkdtemp(prefix="g3users")) / "users"
        self.addCleanup(shutil.rmtree, users.parent)
        users.parent.chmod(0o755)
        users.write_text(f"user:{hashed}")
        self.squid = start_squid(self.directory, 3128, GUARD.format(users=users), namespace=self.namespace)
        self.keep(self.squid)
        self.ports = {name: 8100 + number for number, name in enumerate(SERVERS)}
        config = CONFIG + "".join(SERVER.format(name=name, port=port) for name, port in self.ports.items())
        self.start_daemon(config, ports=list(self.ports.values()), namespace=self.namespace)

    def through(self, server: str, *arguments: str) -> str:
        """What curl prints, heads included, of a request through a server."""
        return self.curl("-i", "--cacert", str(self.ca), "-x", f"http://127.0.0.1:{self.ports[server]}", *arguments)

    def test_a_login_opens_the_next_proxy_and_a_wrong_one_does_not(self) -> None:
        """Requests, tunnels, and https:// URIs with our TLS inside a tunnel; by a route too."""
        for server in ("login", "chosen"):
            self.assertIn(HELLO, self.through(server, "http://example.com/"))
            self.assertIn(HELLO, self.through(server, "-p", "http://example.com/"))
            self.assertIn(HELLO, self.through(server, "https://example.com/"))
            self.assertIn(HELLO, self.through(server, "--request-target", "https://example.com/", "http://example.com/"))
        # What a next proxy answers to a request is the answer; to our CONNECT it is our affair.
        self.assertIn(" 407 ", self.through("stranger", "http://example.com/"))
        self.assertIn(" 502 ", self.through("stranger", "--request-target", "https://example.com/", "http://example.com/"))
        log = [line for line in self.squid.access_log().splitlines() if " user " in line]
        self.assertEqual((len(log), sum("DENIED/407" in line for line in log)), (10, 2))

    def test_https_is_forwarded_whole_only_to_who_can(self) -> None:
        """http_forward_capability: with it the next proxy speaks TLS with the origin, and says so in its header; else we do, in a tunnel."""
        target = ("--request-target", "https://example.com/", "http://example.com/")
        for server, told in (("whole", 2), ("parts", 1)):
            answer = self.through(server, *target)
            self.assertIn(HELLO, answer)
            self.assertEqual(answer.count("X-BD-Remote-Connection-Info"), told, answer)
            self.assertIn(HELLO, self.through(server, "https://example.com/"))
            self.assertIn(HELLO, self.through(server, "http://example.com/"))
