# SPDX-License-Identifier: Apache-2.0
"""The auditor of a server goes along with each of its tasks, with a double in its place."""

from __future__ import annotations

from typing import Any

from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from g3.config.document import read_text
from g3.config.problems import Problems
from g3.config.schema import parse_map
from g3.config.value import ParseContext
from g3.proto.socks import v5
from g3.servers.http_proxy import HTTPProxyServer
from g3.servers.sni_proxy import SNIProxyServer
from g3.servers.socks_proxy import SocksProxyServer
from g3.servers.tcp_stream import TCPStreamServer
from g3.servers.tcp_tproxy import TCPTproxyServer
from g3.testing.nodes import make_context
from g3.testing.streams import HalfCloseRecorder, memory_stream_pair, pump
from tests.unit.servers.test_stream import INFO, Discard, LaterEscaper

#: Each type of server with the keys it needs and what makes its client a task; a tls_stream is a tcp_stream.
SERVERS: tuple[tuple[Any, str, bytes], ...] = (
    (HTTPProxyServer, "", b"CONNECT 192.0.2.1:443 HTTP/1.1\r\nHost: 192.0.2.1:443\r\n\r\n"),
    (SocksProxyServer, "", v5.greeting((v5.NO_AUTH,)) + v5.request(v5.CONNECT, "192.0.2.1", 443)),
    (SNIProxyServer, "", b"GET / HTTP/1.1\r\nHost: a.test\r\n\r\n"),
    (TCPStreamServer, "upstream: '192.0.2.1:443'", b""),
    (TCPTproxyServer, "listen: '127.0.0.1:4001'", b""),
)


class AuditorTests(SynchronousTestCase):
    def task(self, made: Any, keys: str, says: bytes, auditor: object) -> Any:
        """The task that the escaper of such a server is given."""
        clock, escaper, problems = Clock(), LaterEscaper(), Problems()
        context = make_context(clock, {("escaper", "e"): escaper, ("auditor", "a"): auditor})
        context.logs = Discard()
        self.addCleanup(context.timers.stop)
        (node,) = read_text(f"{{name: s, escaper: e, {keys}}}", "test.yaml", problems)
        config = parse_map(made.schema, node, ParseContext(problems))
        self.assertEqual(problems.errors, [])
        ours, theirs = memory_stream_pair(clock)
        theirs.start(HalfCloseRecorder())
        server = made(config, context)
        if isinstance(server, HTTPProxyServer):
            server.prepare()
        server.accept(ours, INFO)
        pump(clock)
        theirs.write(says)
        pump(clock)
        return escaper.tasks[0]

    def test_a_task_takes_its_server_s_auditor_along(self) -> None:
        auditor = object()
        for made, keys, says in SERVERS:
            self.assertIs(self.task(made, f"auditor: a, {keys}", says, auditor).auditor, auditor, made)
            self.assertIs(self.task(made, keys, says, auditor).auditor, None, made)
