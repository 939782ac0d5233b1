# SPDX-License-Identifier: Apache-2.0
"""direct_fixed: every upstream key, the way out it takes, and what it notes of it."""

from __future__ import annotations

import errno
import socket
from ipaddress import ip_address, ip_network
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.task import Clock, deferLater
from twisted.trial.unittest import SynchronousTestCase, TestCase
from zope.interface.verify import verifyObject

from g3.acl import Action, egress_filter
from g3.config.document import read_text
from g3.config.problems import Problems
from g3.config.schema import parse_map
from g3.config.value import ParseContext
from g3.errors import (
    ConnectFailed,
    ForbiddenAddressFamily,
    ForbiddenRemoteAddress,
    NoAddressConnected,
    ProxyProtocolEncodeError,
    ResolveFailed,
    SetupSocketFailed,
    TimeoutByRule,
    UpstreamTlsHandshakeFailed,
    UpstreamTlsHandshakeTimeout,
)
from g3.escapers import base
from g3.escapers.direct_fixed import DirectFixedConfig, DirectFixedEscaper
from g3.interfaces import IEscaper, IMetricSource
from g3.limit.options import StreamSpeed
from g3.net.egress import UserEgress
from g3.net.options import Keepalive, Pick, Query, ResolveStrategy, TCPConnect, TCPMisc
from g3.net.redirection import ResolveRedirection
from g3.net.tls.context import client_context
from g3.net.tls.options import ClientTLSOptions, ServerTLSOptions
from g3.task import PathSelection
from g3.testing.escapers import NAME, EscaperConformance, descriptors, silent_upstream, unused_port
from g3.testing.nodes import StaticResolver, make_context, make_task
from tests.unit.net.tls.certs import authority, pair

#: Loopback is forbidden by default; these tests live there.
OPEN = egress_filter([(ip_network("127.0.0.0/8"), Action.PERMIT), (ip_network("::1/128"), Action.PERMIT)], Action.PERMIT)


def config(**keys: Any) -> DirectFixedConfig:
    return DirectFixedConfig(**{"name": "direct", "resolver": "resolver", "egress_network_filter": OPEN, **keys})


def parse(text: str) -> tuple[DirectFixedConfig | None, list[str]]:
    """The configuration of a YAML text, and what was said about it."""
    problems = Problems()
    (node,) = read_text(text, "escaper.yaml", problems)
    made = parse_map(DirectFixedConfig, node, ParseContext(problems, Path()))
    return made, [str(problem) for problem in problems]


class ConfigTests(SynchronousTestCase):
    def test_every_upstream_key_is_read(self) -> None:
        made, said = parse(
            """
            name: direct
            type: direct_fixed
            shared_logger: shared
            extra_metrics_tags: {site: one}
            bind_interface: lo
            bind_foreign: false
            bind_foreign_port: false
            bind_ip: [127.0.0.1, "::1", 127.0.0.2]
            resolver: r
            resolve_strategy: {query: IPv6First, pick: First}
            resolve_redirection: {a.test: b.test}
            enable_path_selection: yes
            egress_network_filter: {default: allow, allow: 127.0.0.1}
            tcp_sock_speed_limit: 1M
            udp_sock_speed_limit: 2M
            tcp_keepalive: 30s
            tcp_misc_opts: {no_delay: false, mss: 1000}
            udp_misc_opts: {ttl: 9}
            no_ipv4: false
            no_ipv6: false
            tcp_connect: {max_retry: 1, each_timeout: 5s}
            happy_eyeballs: {connection_attempt_delay: 200ms}
            use_proxy_protocol: 2
        """.replace("yes", "true")
        )
        self.assertEqual(said, [])
        assert made is not None
        self.assertEqual((made.resolver, made.shared_logger, made.extra_metrics_tags), ("r", "shared", (("site", "one"),)))
        self.assertEqual(made.bind_ip, tuple(map(ip_address, ("127.0.0.1", "::1", "127.0.0.2"))))
        self.assertEqual(made.resolve_strategy, ResolveStrategy(Query.IPV6_FIRST, Pick.SERIAL))
        self.assertEqual((made.tcp_connect, made.use_proxy_protocol), (TCPConnect(max_retry=1, each_timeout=5), 2))
        self.assertEqual((made.tcp_misc_opts.no_delay, made.udp_misc_opts.time_to_live), (False, 9))
        self.assertEqual((made.tcp_keepalive, made.happy_eyeballs.connection_attempt_delay), (Keepalive(enable=True, idle_time=30), 0.2))
        self.assertEqual((made.tcp_sock_speed_limit.upload, made.udp_sock_speed_limit.upload_bytes), (1000000, 2000000))

    def test_other_words_and_old_keys_are_read(self) -> None:
        for old in ("tcp_conn_speed_limit", "tcp_conn_limit", "tcp-conn-limit"):
            made, said = parse(f"{{name: d, resolver: r, {old}: 1K}}")
            assert made is not None
            self.assertEqual((made.tcp_sock_speed_limit.download, len(said)), (1000, 1))
            self.assertIn("deprecated", said[0])
        for old in ("udp_relay_speed_limit", "udp_relay_limit"):
            made, said = parse(f"{{name: d, resolver: r, {old}: 1K}}")
            assert made is not None
            self.assertEqual((made.udp_sock_speed_limit.upload_bytes, len(said)), (1000, 1))
        made, said = parse("{name: d, resolver: r, egress_net_filter: {allow: 127.0.0.1}}")
        assert made is not None
        self.assertTrue(made.egress_network_filter.check(ip_address("192.0.2.1"))[1].forbids)

    def test_by_default_the_world_is_open_and_this_host_is_not(self) -> None:
        made, _ = parse("{name: d, resolver: r}")
        assert made is not None
        rule = made.egress_network_filter
        self.assertFalse(rule.check(ip_address("192.0.2.1"))[1].forbids)
        for ip in ("127.0.0.1", "::1", "169.254.1.1", "0.0.0.0", "fe80::1"):
            self.assertTrue(rule.check(ip_address(ip))[1].forbids, ip)

    def test_a_resolver_is_required(self) -> None:
        self.assertIn('"resolver" is missing', parse("{name: d}")[1][0])

    def test_families_that_exclude_each_other_are_an_error(self) -> None:
        for keys in ("no_ipv4: true, no_ipv6: true", "no_ipv4: true, resolve_strategy: Ipv4Only", "no_ipv6: true, resolve_strategy: Ipv6Only"):
            made, said = parse(f"{{name: d, resolver: r, {keys}}}")
            self.assertEqual((made, len(said)), (None, 1), keys)

    def test_what_has_no_effect_is_told(self) -> None:
        for keys in ("bind_foreign_port: true", "bind_foreign: true, bind_ip: 127.0.0.1"):
            made, said = parse(f"{{name: d, resolver: r, {keys}}}")
            self.assertTrue(made and len(said) == 1, keys)

    def test_equal_configurations_are_equal(self) -> None:
        text = "{name: d, resolver: r, bind_ip: 127.0.0.1, egress_network_filter: {allow: 127.0.0.1}, resolve_redirection: {a.test: b.test}}"
        self.assertEqual(parse(text)[0], parse(text)[0])


class ConformanceTests(EscaperConformance, TestCase):
    """The suite every escaper has to pass."""

    def make_escaper(self, context: Any) -> DirectFixedEscaper:
        return DirectFixedEscaper(config(), context)

    def tls_server(self) -> tuple[ServerTLSOptions, ClientTLSOptions]:
        return ServerTLSOptions(cert_pairs=(pair(NAME),)), ClientTLSOptions(ca_certificate=(authority().pem,), no_default_ca_certificate=True)


class User:
    """A user with something to say about connections."""

    name = "somebody"

    def __init__(self, **egress: Any) -> None:
        self.said = UserEgress(**egress)
        self.blocked: list[Any] = []

    def egress(self, task: Any) -> UserEgress:
        return self.said

    def ip_blocked(self, escaper: Any) -> None:
        self.blocked.append(escaper)


class Log:
    def __init__(self) -> None:
        self.records: list[tuple[str, dict[str, Any]]] = []

    def log(self, message: str, fields: list[tuple[str, Any]]) -> None:
        self.records.append((message, {key: value for key, value in fields if value is not None}))


class DirectFixedTestCase(TestCase):
    def setUp(self) -> Any:
        from twisted.internet import reactor

        self.reactor: Any = reactor
        self.resolver = StaticResolver({"up.test": ("127.0.0.1",), "both.test": ("::1", "127.0.0.1"), "far.test": ("192.0.2.1",)})
        self.context = make_context(reactor, {("resolver", "resolver"): self.resolver})
        self.addCleanup(self.context.timers.stop)
        return deferLater(reactor, 0)  # a running reactor has descriptors of its own

    def escaper(self, **keys: Any) -> DirectFixedEscaper:
        escaper = DirectFixedEscaper(config(**keys), self.context)
        escaper.start()
        self.addCleanup(escaper.stop)
        return escaper

    def listen(self, host: str = "127.0.0.1", **options: Any) -> socket.socket:
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        server = socket.create_server((host, 0), family=family, **options)
        server.settimeout(5)
        self.addCleanup(server.close)
        return server

    async def connect(self, escaper: DirectFixedEscaper, host: str, port: int, **task: Any) -> tuple[Any, Any]:
        """A stream and its task."""
        user, path = task.pop("user", None), task.pop("path", None)
        made = make_task(host, port, **task)
        made.user, made.path = user, path
        stream = await escaper.tcp_connect(made)
        self.addCleanup(stream.abortConnection)
        return stream, made

    def accept(self, server: socket.socket) -> tuple[socket.socket, Any]:
        sock, peer = server.accept()
        sock.settimeout(5)
        self.addCleanup(sock.close)
        return sock, peer


class WayOutTests(DirectFixedTestCase):
    async def test_the_connection_is_noted(self) -> None:
        server = self.listen()
        port = server.getsockname()[1]
        stream, task = await self.connect(self.escaper(bind_ip=(ip_address("127.0.0.5"),)), "127.0.0.1", port)
        notes = task.connect
        self.assertEqual((notes.escaper, notes.peer, notes.bind_ip, notes.tries), ("direct", ("127.0.0.1", port), ip_address("127.0.0.5"), 1))
        _, peer = self.accept(server)
        self.assertEqual((notes.local, stream.local, stream.peer), (peer, peer, notes.peer))

    async def test_what_was_done_is_counted(self) -> None:
        escaper = self.escaper()
        server = self.listen()
        await self.connect(escaper, "127.0.0.1", server.getsockname()[1])
        await self.assertFailure(Deferred.fromCoroutine(escaper.tcp_connect(make_task("127.0.0.1", unused_port()))), ConnectFailed)
        stats = escaper.stats
        self.assertEqual((stats.task_total, stats.connection_attempt, stats.connection_establish), (2, 2, 1))
        names = ("attempt", "success", "establish", "error", "timeout")
        self.assertEqual([getattr(stats, f"tcp_connect_{name}") for name in names], [2, 1, 1, 1, 0])

    async def test_bytes_are_counted_while_they_travel_and_at_the_end(self) -> None:
        escaper = self.escaper()
        server = self.listen()
        stream, _ = await self.connect(escaper, "127.0.0.1", server.getsockname()[1])
        sock, _ = self.accept(server)
        from g3.testing.streams import HalfCloseRecorder

        heard = HalfCloseRecorder()
        stream.start(heard)
        stream.write(b"12345")
        sock.sendall(b"abc")
        while heard.data != b"abc":
            await deferLater(self.reactor, 0.002)
        verifyObject(IMetricSource, escaper.traffic)
        samples = {sample.name: sample.value for sample in escaper.traffic.samples()}
        self.assertEqual((samples["escaper.traffic.in.bytes"], samples["escaper.traffic.out.bytes"]), (3, 5))
        stream.write(b"6789")
        stream.loseConnection()
        while heard.reason is None:
            await deferLater(self.reactor, 0.002)
        self.assertEqual((escaper.stats.in_bytes, escaper.stats.out_bytes, len(escaper.traffic)), (3, 9, 0))

    async def test_statistics_are_kept_over_a_reload(self) -> None:
        self.assertIs(self.escaper().stats, self.escaper(no_ipv6=True).stats)
        self.assertEqual(len(self.context.metrics), 1)

    async def test_a_refused_connect_is_logged(self) -> None:
        escaper, log = self.escaper(), Log()
        escaper.logger = log  # type: ignore[assignment]
        port = unused_port()
        await self.assertFailure(Deferred.fromCoroutine(escaper.tcp_connect(make_task("127.0.0.1", port))), ConnectFailed)
        ((message, fields),) = log.records
        self.assertEqual(message, "connect failed: connection refused")
        expected = {"escape_type": "TcpConnect", "reason": "ConnectFailed", "next_peer_addr": f"127.0.0.1:{port}", "tcp_connect_tries": 1}
        self.assertEqual({key: fields[key] for key in expected}, expected)

    async def test_the_time_of_each_try_is_bounded(self) -> None:
        silent, filling = silent_upstream()
        escaper = self.escaper(tcp_connect=TCPConnect(max_retry=0, each_timeout=0.05))
        before = descriptors()
        await self.assertFailure(Deferred.fromCoroutine(escaper.tcp_connect(make_task("127.0.0.1", silent.getsockname()[1]))), TimeoutByRule)
        self.assertEqual((escaper.stats.tcp_connect_timeout, escaper.stats.tcp_connect_error, descriptors()), (1, 0, before))
        for sock in (silent, *filling):
            sock.close()

    async def test_options_are_on_the_socket(self) -> None:
        server = self.listen()
        escaper = self.escaper(tcp_misc_opts=TCPMisc(time_to_live=44), tcp_keepalive=Keepalive(enable=True, idle_time=77))
        stream, _ = await self.connect(escaper, "127.0.0.1", server.getsockname()[1])
        self.assertEqual(stream.socket.getsockopt(socket.IPPROTO_IP, socket.IP_TTL), 44)
        self.assertEqual(stream.socket.getsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE), 77)
        self.assertTrue(stream.getTcpNoDelay())

    async def test_a_speed_limit_is_on_the_stream(self) -> None:
        server = self.listen()
        made, _ = parse("{name: d, resolver: r, tcp_sock_speed_limit: {shift: 5, upload: 1000, download: 3000}}")
        assert made is not None
        stream, _ = await self.connect(self.escaper(tcp_sock_speed_limit=made.tcp_sock_speed_limit), "127.0.0.1", server.getsockname()[1])
        self.assertEqual([limiter.size for limiter in (*stream.write_limits, *stream.read_limits)], [1000, 3000])


class BindTests(DirectFixedTestCase):
    async def local_ips(self, escaper: DirectFixedEscaper, times: int = 1, host: str = "127.0.0.1", **task: Any) -> set[str]:
        server = self.listen(host)
        found = set()
        for _ in range(times):
            await self.connect(escaper, host, server.getsockname()[1], **task)
            found.add(self.accept(server)[1][0])
        return found

    async def test_one_of_the_addresses_is_picked_at_random(self) -> None:
        escaper = self.escaper(bind_ip=tuple(map(ip_address, ("127.0.0.7", "127.0.0.8", "::1"))))
        self.assertEqual(await self.local_ips(escaper, 40), {"127.0.0.7", "127.0.0.8"})
        self.assertEqual(await self.local_ips(escaper, 1, "::1"), {"::1"})

    async def test_an_address_of_the_other_family_alone_binds_nothing(self) -> None:
        self.assertEqual(await self.local_ips(self.escaper(bind_ip=(ip_address("::1"),))), {"127.0.0.1"})

    async def test_a_number_of_the_path_selection_picks_the_address(self) -> None:
        """1 is the first, 0 the last, and more than there are begin anew."""
        ips = ["127.0.0.7", "127.0.0.8", "127.0.0.9"]
        escaper = self.escaper(bind_ip=tuple(map(ip_address, ips)), enable_path_selection=True)
        for number, ip in ((1, ips[0]), (2, ips[1]), (3, ips[2]), (4, ips[0]), (0, ips[2]), (300, ips[2])):
            self.assertEqual(await self.local_ips(escaper, 5, path=PathSelection(number=number)), {ip}, number)

    async def test_path_selection_must_be_enabled(self) -> None:
        escaper = self.escaper(bind_ip=tuple(map(ip_address, ("127.0.0.7", "127.0.0.8"))))
        self.assertEqual(len(await self.local_ips(escaper, 40, path=PathSelection(number=1))), 2)

    async def test_the_foreign_address_is_the_clients(self) -> None:
        escaper = self.escaper(bind_foreign=True)
        self.assertEqual(await self.local_ips(escaper, client=("127.0.0.66", 1234)), {"127.0.0.66"})

    async def test_the_foreign_port_is_the_clients_too(self) -> None:
        server = self.listen()
        port = unused_port()
        await self.connect(self.escaper(bind_foreign=True, bind_foreign_port=True), "127.0.0.1", server.getsockname()[1], client=("127.0.0.66", port))
        self.assertEqual(self.accept(server)[1], ("127.0.0.66", port))

    async def test_a_foreign_address_of_the_other_family_is_a_set_up_error(self) -> None:
        task = make_task("127.0.0.1", 9, client=("2001:db8::1", 1))
        await self.assertFailure(Deferred.fromCoroutine(self.escaper(bind_foreign=True).tcp_connect(task)), SetupSocketFailed)

    async def test_the_interface_is_bound_where_no_address_is(self) -> None:
        server = self.listen()
        stream, _ = await self.connect(self.escaper(bind_interface="lo"), "127.0.0.1", server.getsockname()[1])
        self.assertEqual(stream.socket.getsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, 16).rstrip(b"\0"), b"lo")


class AddressTests(DirectFixedTestCase):
    async def fails(self, escaper: DirectFixedEscaper, host: str, error: type[Exception], port: int = 9, user: Any = None) -> Any:
        task = make_task(host, port)
        task.user = user
        before = descriptors()
        found = await self.assertFailure(Deferred.fromCoroutine(escaper.tcp_connect(task)), error)
        self.assertEqual(descriptors(), before)
        return found

    async def test_forbidden_addresses_are_refused_literal_or_resolved(self) -> None:
        escaper = self.escaper(egress_network_filter=egress_filter(missed=Action.PERMIT))
        user = User()
        for host in ("127.0.0.1", "up.test"):
            error = await self.fails(escaper, host, ForbiddenRemoteAddress, user=user)
            self.assertEqual((error.http_status, error.socks5_reply, error.reason), (403, 2, "ForbiddenByRule"))
        self.assertEqual((escaper.stats.forbidden_ip_blocked, user.blocked), (2, [escaper, escaper]))
        self.assertEqual(escaper.stats.tcp_connect_attempt, 0)

    async def test_a_disabled_family_is_refused_also_for_literals(self) -> None:
        for keys, host in (
            ({"no_ipv4": True}, "127.0.0.1"),
            ({"no_ipv6": True}, "::1"),
            ({"resolve_strategy": ResolveStrategy(Query.IPV4_ONLY)}, "::1"),
            ({"resolve_strategy": ResolveStrategy(Query.IPV6_ONLY)}, "127.0.0.1"),
        ):
            await self.fails(self.escaper(**keys), host, ForbiddenAddressFamily)

    async def test_only_allowed_families_are_asked_for(self) -> None:
        for keys, families in (
            ({}, [4, 6]),
            ({"no_ipv6": True}, [4]),
            ({"no_ipv4": True}, [6]),
            ({"resolve_strategy": ResolveStrategy(Query.IPV6_FIRST)}, [6, 4]),
        ):
            self.resolver.asked.clear()
            await self.fails(self.escaper(**keys), "nosuch.test", ResolveFailed)
            self.assertEqual(self.resolver.asked, [("nosuch.test", family) for family in families])

    async def test_an_unknown_name_is_told_as_such(self) -> None:
        error = await self.fails(self.escaper(), "nosuch.test", ResolveFailed)
        self.assertEqual((error.http_status, error.reason), (530, "UpstreamNotResolved"))

    async def test_an_answer_that_comes_later_is_waited_for(self) -> None:
        self.resolver.later = True
        server = self.listen()
        connecting = Deferred.fromCoroutine(self.connect(self.escaper(), "up.test", server.getsockname()[1]))
        self.assertEqual(len(self.resolver.waiting), 2)
        self.resolver.answer()
        _, task = await connecting
        self.assertEqual(task.connect.peer[0], "127.0.0.1")

    async def test_the_other_family_is_tried_when_the_first_is_refused(self) -> None:
        """Both addresses of a name, the refused one counted and logged, the other one used."""
        server = self.listen("127.0.0.1")
        escaper, log = self.escaper(resolve_strategy=ResolveStrategy(Query.IPV6_FIRST)), Log()
        escaper.logger = log  # type: ignore[assignment]
        _, task = await self.connect(escaper, "both.test", server.getsockname()[1])
        self.assertEqual((task.connect.peer[0], task.connect.tries), ("127.0.0.1", 2))
        self.assertEqual((escaper.stats.tcp_connect_error, escaper.stats.tcp_connect_establish, len(log.records)), (1, 1, 1))

    async def test_at_most_max_retry_more_addresses_are_tried(self) -> None:
        self.resolver.names["many.test"] = tuple(f"127.0.1.{number}" for number in range(1, 9))
        escaper = self.escaper(tcp_connect=TCPConnect(max_retry=3))
        await self.fails(escaper, "many.test", ConnectFailed, unused_port())
        self.assertEqual(escaper.stats.tcp_connect_attempt, 4)

    async def test_serial_picks_in_order_and_random_does_not(self) -> None:
        self.resolver.names["many.test"] = tuple(f"127.0.1.{number}" for number in range(1, 9))
        server = self.listen("0.0.0.0")
        for pick, expected in ((Pick.SERIAL, 1), (Pick.RANDOM, 2)):
            escaper = self.escaper(resolve_strategy=ResolveStrategy(Query.IPV4_ONLY, pick))
            used = {(await self.connect(escaper, "many.test", server.getsockname()[1]))[1].connect.peer[0] for _ in range(30)}
            self.assertGreaterEqual(len(used), expected)
            if expected == 1:
                self.assertEqual(used, {"127.0.1.1"})

    async def test_a_name_is_redirected(self) -> None:
        server = self.listen()
        ips = (ip_address("::1"), ip_address("127.0.0.1"))
        rules = ResolveRedirection(exact=[("a.test", "up.test"), ("ip.test", ips)], parents=[("old", "test")])
        escaper = self.escaper(resolve_redirection=rules, no_ipv6=True)
        for host in ("a.test", "ip.test", "up.old"):
            _, task = await self.connect(escaper, host, server.getsockname()[1])
            self.assertEqual(task.connect.peer[0], "127.0.0.1", host)

    async def test_a_redirection_to_addresses_of_no_allowed_family_reaches_nothing(self) -> None:
        rules = ResolveRedirection(exact=[("ip.test", (ip_address("::1"),))])
        await self.fails(self.escaper(resolve_redirection=rules, no_ipv6=True), "ip.test", NoAddressConnected)

    async def test_redirected_addresses_are_filtered_too(self) -> None:
        rules = ResolveRedirection(exact=[("ip.test", (ip_address("169.254.1.1"),))])
        await self.fails(self.escaper(resolve_redirection=rules), "ip.test", ForbiddenRemoteAddress)


class UserTests(DirectFixedTestCase):
    async def test_a_users_redirection_comes_first(self) -> None:
        server = self.listen()
        user = User(resolve_redirection=ResolveRedirection(exact=[("a.test", "up.test")]))
        escaper = self.escaper(resolve_redirection=ResolveRedirection(exact=[("a.test", "nosuch.test"), ("b.test", "up.test")]))
        for host in ("a.test", "b.test"):
            _, task = await self.connect(escaper, host, server.getsockname()[1], user=user)
            self.assertEqual(task.connect.peer[0], "127.0.0.1", host)

    async def test_a_users_strategy_holds_within_the_escapers_families(self) -> None:
        user = User(resolve_strategy=ResolveStrategy(Query.IPV6_FIRST))
        for keys, families in (({}, [6, 4]), ({"no_ipv6": True}, [4])):
            self.resolver.asked.clear()
            task = make_task("nosuch.test", 9)
            task.user = user
            await self.assertFailure(Deferred.fromCoroutine(self.escaper(**keys).tcp_connect(task)), ResolveFailed)
            self.assertEqual([family for _, family in self.resolver.asked], families)

    async def test_the_lower_limits_and_both_options_hold(self) -> None:
        server = self.listen()
        user = User(
            tcp_connect=TCPConnect(max_retry=0, each_timeout=99),
            tcp_remote_keepalive=Keepalive(enable=True, idle_time=50),
            tcp_remote_misc_opts=TCPMisc(time_to_live=22),
        )
        escaper = self.escaper(tcp_misc_opts=TCPMisc(time_to_live=44), tcp_connect=TCPConnect(max_retry=5, each_timeout=9))
        seen: list[Any] = []
        real = base.begin_connect

        def watching(*args: Any, **options: Any) -> Any:
            seen.append(options["timeout"])
            return real(*args, **options)

        self.patch(base, "begin_connect", watching)
        stream, _ = await self.connect(escaper, "127.0.0.1", server.getsockname()[1], user=user)
        self.assertEqual(stream.socket.getsockopt(socket.IPPROTO_IP, socket.IP_TTL), 22)
        self.assertEqual(stream.socket.getsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE), 50)
        self.assertEqual(seen, [9])
        self.resolver.names["many.test"] = ("127.0.1.1", "127.0.1.2")
        task = make_task("many.test", unused_port())
        task.user = user
        await self.assertFailure(Deferred.fromCoroutine(escaper.tcp_connect(task)), ConnectFailed)
        self.assertEqual(task.connect.tries, 1)


class ProxyProtocolTests(DirectFixedTestCase):
    async def test_the_header_is_the_first_thing_sent(self) -> None:
        server = self.listen()
        for version, start in ((1, b"PROXY TCP4 192.0.2.9 198.51.100.9 1111 2222\r\n"), (2, b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x0c")):
            escaper = self.escaper(use_proxy_protocol=version)
            task = make_task("127.0.0.1", server.getsockname()[1], client=("192.0.2.9", 1111), server=("198.51.100.9", 2222))
            connection = await escaper.http_forward(task)
            self.addCleanup(connection.stream.abortConnection)
            connection.stream.write(b"GET")
            sock, _ = self.accept(server)
            data = b""
            while not data.endswith(b"GET"):
                data += sock.recv(1000)
            self.assertTrue(data.startswith(start), data)

    async def test_addresses_of_two_families_are_an_error_and_nothing_is_left_open(self) -> None:
        server = self.listen()
        task = make_task("127.0.0.1", server.getsockname()[1], client=("192.0.2.9", 1), server=("2001:db8::1", 2))
        before = descriptors()
        await self.assertFailure(Deferred.fromCoroutine(self.escaper(use_proxy_protocol=2).tcp_connect(task)), ProxyProtocolEncodeError)
        self.assertEqual(descriptors(), before)


class FTPTests(DirectFixedTestCase):
    """A control connection to one listener, data connections to another."""

    async def both(self, times: int, **keys: Any) -> tuple[Any, list[Any], list[socket.socket]]:
        """The control stream, the data streams, and the far ends of all of them."""
        escaper = self.escaper(**keys)
        server, other = self.listen(), self.listen()
        task = make_task("up.test", server.getsockname()[1], client=("192.0.2.9", 1111), server=("198.51.100.9", 2222))
        control = await escaper.ftp_control(task)
        data = [await escaper.ftp_data(task, control, other.getsockname()[1]) for _ in range(times)]
        for stream in (control, *data):
            self.addCleanup(stream.abortConnection)
        far = [self.accept(server)[0], *(self.accept(other)[0] for _ in data)]
        self.assertEqual((escaper.stats.task_total, escaper.stats.connection_establish), (1, 1 + times))
        return control, data, far

    async def test_data_comes_from_the_address_that_the_control_connection_comes_from(self) -> None:
        """Though there is a choice of them."""
        control, data, _ = await self.both(20, bind_ip=tuple(map(ip_address, ("127.0.0.7", "127.0.0.8"))))
        self.assertEqual({stream.local[0] for stream in data}, {control.local[0]})

    async def test_only_the_control_connection_says_who_the_client_is(self) -> None:
        control, data, far = await self.both(1, use_proxy_protocol=1)
        for stream in (control, *data):
            stream.write(b"hello")
        self.assertTrue(far[0].recv(1000).startswith(b"PROXY TCP4 192.0.2.9 "))
        self.assertEqual(far[1].recv(1000), b"hello")

    async def test_both_are_limited(self) -> None:
        """Each for itself, as upstream."""
        control, data, _ = await self.both(1, tcp_sock_speed_limit=StreamSpeed(shift=10, upload=1000, download=2000))
        for stream in (control, *data):
            self.assertEqual((len(stream.read_limits), len(stream.write_limits)), (1, 1))


class TLSTests(DirectFixedTestCase):
    async def test_a_failed_handshake_is_logged_and_says_why(self) -> None:
        server = self.listen()
        escaper, log = self.escaper(), Log()
        escaper.logger = log  # type: ignore[assignment]
        tls = client_context(ClientTLSOptions(no_default_ca_certificate=True))
        task = make_task("127.0.0.1", server.getsockname()[1])
        handshake = Deferred.fromCoroutine(escaper.tls_connect(task, tls, "up.test"))
        sock, _ = self.accept(server)
        sock.sendall(b"HTTP/1.1 400 no TLS here\r\n\r\n")
        error = await self.assertFailure(handshake, UpstreamTlsHandshakeFailed)
        ((message, fields),) = log.records
        self.assertEqual((message, error.http_status), (str(error), 525))
        self.assertEqual((fields["escape_type"], fields["tls_name"], fields["tls_application"]), ("TlsHandshake", "up.test", "TcpStream"))

    async def test_a_silent_upstream_times_out(self) -> None:
        server = self.listen()
        tls = client_context(ClientTLSOptions(no_default_ca_certificate=True, handshake_timeout=0.1))
        task = make_task("127.0.0.1", server.getsockname()[1])
        before = descriptors()
        error = await self.assertFailure(Deferred.fromCoroutine(self.escaper().https_forward(task, tls, "up.test")), UpstreamTlsHandshakeTimeout)
        self.assertEqual((error.http_status, descriptors()), (525, before))


class LifeTests(SynchronousTestCase):
    def test_it_logs_and_measures_while_it_runs(self) -> None:
        asked: list[Any] = []
        context = make_context(Clock(), {("resolver", "resolver"): StaticResolver()})
        context.logs = SimpleNamespace(logger=lambda *args, **more: asked.append((args, more)))
        escaper = DirectFixedEscaper(config(shared_logger="shared", extra_metrics_tags=(("k", "v"),)), context)
        self.assertNotIn(escaper.traffic, context.metrics)
        escaper.start()
        self.assertEqual(asked, [(("escape", "direct", "DirectFixed"), {"shared": "shared"})])
        self.assertEqual((escaper.stats.extra_tags, escaper.traffic in context.metrics), ((("k", "v"),), True))
        escaper.stop()
        self.assertNotIn(escaper.traffic, context.metrics)
        verifyObject(IEscaper, escaper)

    def test_a_bug_in_a_resolver_is_no_hang(self) -> None:
        resolver = StaticResolver({"up.test": ("not an address",)})
        context = make_context(Clock(), {("resolver", "resolver"): resolver})
        escaper = DirectFixedEscaper(config(no_ipv6=True), context)
        failure = self.failureResultOf(Deferred.fromCoroutine(escaper.tcp_connect(make_task("up.test", 9))))
        self.assertIsInstance(failure.value, ResolveFailed)

    def test_errors_have_numbers(self) -> None:
        """What a client hears of each errno."""
        replies = {number: ConnectFailed(number).http_status for number in (errno.ECONNREFUSED, errno.ETIMEDOUT, errno.ENETUNREACH)}
        self.assertEqual(list(replies.values()), [521, 522, 523])
