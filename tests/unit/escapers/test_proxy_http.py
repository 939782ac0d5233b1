# SPDX-License-Identifier: Apache-2.0
"""proxy_http: its configuration, and what a scripted next proxy on loopback is asked."""

from __future__ import annotations

from base64 import b64encode
from typing import Any

from twisted.internet.defer import CancelledError, Deferred, fail, succeed
from twisted.internet.protocol import Factory, Protocol
from twisted.internet.task import Clock, deferLater
from twisted.trial.unittest import SynchronousTestCase, TestCase
from zope.interface.verify import verifyObject

from g3.config.document import read_text
from g3.config.problems import Problems
from g3.config.schema import dump_map, keys_of, parse_map
from g3.config.value import ParseContext
from g3.errors import (
    ConnectFailed,
    ForbiddenAddressFamily,
    NegotiationPeerTimeout,
    NegotiationProtocolErr,
    NegotiationReadFailed,
    NegotiationRejected,
    ProxyProtocolEncodeError,
    ResolveError,
    ResolveFailed,
    UpstreamTlsHandshakeFailed,
)
from g3.escapers.proxy_http import ProxyHTTPConfig, ProxyHTTPEscaper
from g3.interfaces import IEscaper, IHTTPForward, IHTTPForwardConnection, ITCPConnect, ITLSConnect
from g3.net.options import HTTPForwardCapability
from g3.net.timers import TimerWheel
from g3.net.tls.context import client_context, server_context
from g3.net.tls.handshake import accept
from g3.net.tls.options import ClientTLSOptions, ServerTLSOptions
from g3.net.transport import Stream
from g3.pick import PickPolicy, Weighted
from g3.proto.proxyproto import encode
from g3.task import ClientInfo, PathSelection, PathUpstream, Task, Upstream
from g3.testing.streams import Recorder
from g3.tree.node import NodeContext
from g3.tree.slots import Slots
from tests.unit.net.tls.certs import authority, pair

CLIENT, SERVER = ("192.0.2.7", 40000), ("198.51.100.1", 3128)
OK = b"HTTP/1.1 200 Connection established\r\n\r\n"


def parse(text: str) -> tuple[ProxyHTTPConfig | None, Problems]:
    problems = Problems()
    node = read_text(f"{{name: next, type: proxy_http, {text}}}", "test.yaml", problems)[0]
    return parse_map(ProxyHTTPConfig, node, ParseContext(problems)), problems


class Configuration(SynchronousTestCase):
    def good(self, text: str) -> ProxyHTTPConfig:
        config, problems = parse(text)
        assert config is not None, list(problems)
        return config

    def bad(self, text: str, *words: str) -> None:
        config, problems = parse(text)
        self.assertIsNone(config, text)
        self.assertEqual(len(problems.errors), 1, [str(problem) for problem in problems])
        for word in words:
            self.assertIn(word, str(problems.errors[0]))

    def test_every_key_of_upstream(self) -> None:
        keys = {word for known in keys_of(ProxyHTTPConfig) for word in known.words}
        upstream = """bind_interface bind_ipv4 bind_ipv6 extra_metrics_tags happy_eyeballs http_connect_rsp_header_max_size http_forward_capability
        no_ipv4 no_ipv6 pass_proxy_userid peer_negotiation_timeout proxy_addr proxy_addr_pick_policy proxy_password proxy_passwd proxy_username
        proxy_user resolve_strategy resolver shared_logger tcp_conn_speed_limit tcp_conn_limit conn_limit tcp_connect tcp_keepalive tcp_misc_opts
        tcp_sock_speed_limit use_proxy_protocol name"""
        self.assertEqual(keys, set(upstream.split()))

    def test_defaults(self) -> None:
        config = self.good("proxy_addr: 192.0.2.1")
        self.assertEqual(config.proxy_addr, (Weighted(Upstream("192.0.2.1", 3128)),))
        self.assertEqual((config.peer_negotiation_timeout, config.http_connect_rsp_header_max_size), (10.0, 4096))
        self.assertEqual(config.http_forward_capability, HTTPForwardCapability())
        self.assertEqual(config.families, {4})

    def test_several_proxies_with_weights(self) -> None:
        config = self.good("resolver: r, proxy_addr: [{addr: 'a:1', weight: 2}, '[2001:db8::1]:2', b], proxy_addr_pick_policy: ketama")
        self.assertEqual(config.proxy_addr, (Weighted(Upstream("a", 1), 2.0), Weighted(Upstream("2001:db8::1", 2)), Weighted(Upstream("b", 3128))))
        self.assertIs(config.proxy_addr_pick_policy, PickPolicy.KETAMA)
        self.assertEqual(config.families, {4, 6})
        self.assertEqual(dump_map(config)["proxy_addr"], [{"addr": "a:1", "weight": 2.0}, "[2001:db8::1]:2", "b:3128"])

    def test_older_names(self) -> None:
        config, problems = parse("proxy_addr: 192.0.2.1, conn_limit: 10K, proxy_user: a, proxy_passwd: b")
        assert config is not None
        self.assertEqual(config.tcp_sock_speed_limit.upload, 10000)
        self.assertEqual((config.proxy_username, config.proxy_password), ("a", "b"))
        self.assertEqual(len(problems.warnings), 1)

    def test_capability(self) -> None:
        config = self.good("proxy_addr: 192.0.2.1, http_forward_capability: {forward_https: true, forward_ftp: true, forward_ftp_put: false}")
        self.assertEqual(config.http_forward_capability, HTTPForwardCapability(forward_https=True, forward_ftp_get=True, forward_ftp_del=True))

    def test_what_cannot_work(self) -> None:
        self.bad("proxy_addr: []", "proxy_addr")
        self.bad("resolver: r", "proxy_addr")
        self.bad("proxy_addr: proxy.example", "resolver")
        self.bad("proxy_addr: 192.0.2.1, no_ipv4: true", "192.0.2.1")
        self.bad("proxy_addr: '[::1]:80', no_ipv6: true", "[::1]:80")
        self.bad("proxy_addr: 192.0.2.1, no_ipv4: true, no_ipv6: true".replace("192.0.2.1", "a, resolver: r"), "both")
        self.bad("proxy_addr: a, resolver: r, no_ipv4: true, resolve_strategy: Ipv4Only", "Ipv4Only")
        self.bad("proxy_addr: 192.0.2.1, proxy_username: 'a:b', proxy_password: c", "colon")
        self.bad("proxy_addr: 192.0.2.1, proxy_username: a, proxy_password: b, pass_proxy_userid: true", "proxy_username")
        self.bad("proxy_addr: 192.0.2.1, bind_ipv4: '::1'", "IPv4")
        self.bad("proxy_addr: 192.0.2.1, use_proxy_protocol: 3", "version 3")


class NextProxy(Protocol):
    """A peer that answers C{answer} once it has an empty line, and keeps what it is told."""

    def __init__(self, peer: Peer) -> None:
        self.peer = peer
        self.data = b""
        self.answered = False
        self.lost = False

    def dataReceived(self, data: bytes) -> None:
        self.data += data
        if not self.answered and b"\r\n\r\n" in self.data.replace(b"\r\n\r\n\0", b"", 1):
            self.answered = True
            assert self.transport is not None
            if self.peer.answer is None:
                self.transport.loseConnection()
            else:
                self.transport.write(self.peer.answer)

    def connectionLost(self, reason: Any = None) -> None:
        self.lost = True


class Peer(Factory):
    """The next proxy."""

    noisy = False

    def __init__(self, answer: bytes | None = OK) -> None:
        self.answer = answer
        self.connections: list[NextProxy] = []

    def buildProtocol(self, addr: Any) -> NextProxy:
        self.connections.append(NextProxy(self))
        return self.connections[-1]

    @property
    def data(self) -> bytes:
        return self.connections[-1].data


class Resolver:
    """Answers from a table of (name, family)."""

    def __init__(self, **names: tuple[str, ...]) -> None:
        self.names = names
        self.asked: list[tuple[str, int]] = []

    def query(self, name: str, family: int) -> Any:
        self.asked.append((name, family))
        found = tuple(ip for ip in self.names.get(name, ()) if (":" in ip) == (family == 6))
        if found:
            return succeed(found) if name.startswith("slow") else found
        return fail(ResolveError("ServerError", "NotFound"))


class User:
    """Just a name."""

    name = "ada"


class EscaperTestCase(TestCase):
    """With the reactor of the test run, and a peer on loopback."""

    def setUp(self) -> None:
        from twisted.internet import reactor

        self.reactor: Any = reactor
        self.peer = Peer()
        self.port = self.reactor.listenTCP(0, self.peer, interface="127.0.0.1")
        self.addCleanup(self.port.stopListening)
        self.peers = [self.peer]
        self.streams: list[Any] = []
        self.timers = TimerWheel(reactor, 0.02)
        self.addCleanup(self.timers.stop)
        self.addCleanup(self.close)
        self.resolver = Resolver()
        self.context = NodeContext(reactor=reactor, timers=self.timers)
        self.context.slots = Slots(lambda _kind, name: f"stand-in for {name}")
        self.context.slots.put("resolver", "r", self.resolver)

    def escaper(self, **keys: Any) -> ProxyHTTPEscaper:
        keys.setdefault("proxy_addr", (Weighted(Upstream("127.0.0.1", self.number)),))
        return ProxyHTTPEscaper(ProxyHTTPConfig(name="next", **keys), self.context)

    @property
    def number(self) -> int:
        return int(self.port.getHost().port)

    def task(self, host: str = "origin.example", port: int = 443) -> Task:
        return Task("HttpConnect", "http_proxy", "test", ClientInfo(CLIENT, SERVER, CLIENT), Upstream(host, port), 0.0)

    async def until(self, true: Any, seconds: float = 5.0) -> None:
        end = self.reactor.seconds() + seconds
        while not true():
            if self.reactor.seconds() > end:
                self.fail("it did not happen")
            await deferLater(self.reactor, 0.002)

    def keep(self, stream: Any) -> Any:
        """Close it when the test ends."""
        self.streams.append(stream)
        return stream

    async def close(self, *streams: Any) -> None:
        """Close them and wait until the peer knows."""
        for stream in (*streams, *self.streams):
            stream.abortConnection()
        self.streams.clear()
        await self.until(lambda: all(connection.lost for peer in self.peers for connection in peer.connections))

    async def refused(self, doing: Any, error: type[Exception]) -> Any:
        """The error of a way out that fails, with every connection closed."""
        try:
            await doing
        except error as caught:
            await self.until(lambda: all(connection.lost for connection in self.peer.connections))
            return caught
        return self.fail(f"no {error.__name__}")


class Tunnels(EscaperTestCase):
    async def test_a_tunnel_is_asked_for_and_carries_bytes(self) -> None:
        escaper = self.escaper()
        for interface in (IEscaper, ITCPConnect, ITLSConnect, IHTTPForward):
            verifyObject(interface, escaper)
        task = self.task()
        stream = self.keep(await escaper.tcp_connect(task))
        self.assertEqual(self.peer.data, b"CONNECT origin.example:443 HTTP/1.1\r\nHost: origin.example:443\r\nConnection: keep-alive\r\n\r\n")
        recorder = Recorder()
        stream.start(recorder)
        stream.write(b"to the origin")
        await self.until(lambda: self.peer.data.endswith(b"to the origin"))
        self.peer.connections[0].transport.write(b"and back")
        await self.until(lambda: recorder.data == b"and back")
        notes = task.connect
        self.assertEqual((notes.escaper, notes.peer, notes.tries), ("next", ("127.0.0.1", self.number), 1))
        self.assertIsNotNone(notes.local)

    async def test_what_comes_with_the_answer_is_the_tunnels(self) -> None:
        self.peer.answer = OK + b"SSH-2.0-early\r\n"
        stream = self.keep(await self.escaper().tcp_connect(self.task()))
        recorder = Recorder()
        stream.start(recorder)
        await self.until(lambda: recorder.data == b"SSH-2.0-early\r\n")

    async def test_an_ipv6_upstream_is_in_brackets(self) -> None:
        self.keep(await self.escaper().tcp_connect(self.task("2001:db8::1", 22)))
        self.assertTrue(self.peer.data.startswith(b"CONNECT [2001:db8::1]:22 HTTP/1.1\r\nHost: [2001:db8::1]:22\r\n"))

    async def test_a_login(self) -> None:
        self.keep(await self.escaper(proxy_username="us\u00e9r", proxy_password="p:w").tcp_connect(self.task()))
        self.assertIn(b"\r\nProxy-Authorization: Basic " + b64encode("us\u00e9r:p:w".encode()) + b"\r\n\r\n", self.peer.data)

    async def test_the_clients_user_is_passed_on(self) -> None:
        escaper = self.escaper(pass_proxy_userid=True)
        task = self.task()
        task.user = User()
        self.keep(await escaper.tcp_connect(task))
        self.assertIn(b"\r\nProxy-Authorization: Basic " + b64encode(b"ada:g3proxy") + b"\r\n", self.peer.data)
        self.keep(await escaper.tcp_connect(self.task()))
        self.assertNotIn(b"Proxy-Authorization", self.peer.data)

    async def test_a_proxy_protocol_header_goes_first(self) -> None:
        for version in (1, 2):
            self.keep(await self.escaper(use_proxy_protocol=version).tcp_connect(self.task()))
            self.assertTrue(self.peer.data.startswith(encode(version, CLIENT, SERVER) + b"CONNECT "))

    async def test_addresses_a_proxy_protocol_header_cannot_say(self) -> None:
        task = self.task()
        task.client = ClientInfo(("2001:db8::1", 1), SERVER, CLIENT)
        await self.refused(self.escaper(use_proxy_protocol=2).tcp_connect(task), ProxyProtocolEncodeError)

    async def test_a_no(self) -> None:
        for status in (b"403 Forbidden", b"407 Proxy Authentication Required", b"301 Moved", b"502 Bad Gateway"):
            self.peer.answer = b"HTTP/1.1 " + status + b"\r\nContent-Length: 5\r\n\r\nsorry"
            error = await self.refused(self.escaper().tcp_connect(self.task()), NegotiationRejected)
            self.assertIn(status[:3].decode(), str(error))
            self.assertEqual((error.http_status, error.reason), (502, "UpstreamNotNegotiated"))

    async def test_a_next_proxy_whose_upstream_was_too_slow(self) -> None:
        for status in (504, 522, 524):
            self.peer.answer = b"HTTP/1.1 %d x\r\n\r\n" % status
            error = await self.refused(self.escaper().tcp_connect(self.task()), NegotiationPeerTimeout)
            self.assertEqual(error.http_status, 504)

    async def test_what_is_no_answer(self) -> None:
        self.peer.answer = b"HTTP/1.1 200 OK\r\nbad line\r\n\r\n"
        await self.refused(self.escaper().tcp_connect(self.task()), NegotiationProtocolErr)

    async def test_an_answer_that_is_too_long(self) -> None:
        self.peer.answer = b"HTTP/1.1 200 OK\r\nA: " + b"b" * 5000
        await self.refused(self.escaper().tcp_connect(self.task()), NegotiationProtocolErr)
        self.keep(await self.escaper(http_connect_rsp_header_max_size=len(OK)).tcp_connect(self.answer_ok()))

    def answer_ok(self) -> Task:
        self.peer.answer = OK
        return self.task()

    async def test_an_end_in_place_of_an_answer(self) -> None:
        self.peer.answer = None
        error = await self.refused(self.escaper().tcp_connect(self.task()), NegotiationReadFailed)
        self.assertEqual(error.http_status, 502)

    async def test_silence(self) -> None:
        self.peer.answer = b""
        error = await self.refused(self.escaper(peer_negotiation_timeout=0.1).tcp_connect(self.task()), NegotiationPeerTimeout)
        self.assertEqual(error.http_status, 504)

    async def test_a_client_that_leaves_ends_it(self) -> None:
        self.peer.answer = b""
        doing = Deferred.fromCoroutine(self.escaper().tcp_connect(self.task()))
        await self.until(lambda: self.peer.connections and self.peer.data)
        doing.cancel()
        await self.refused(doing, CancelledError)

    async def test_a_proxy_that_is_not_there(self) -> None:
        escaper = self.escaper()
        await self.port.stopListening()
        error = await self.refused(escaper.tcp_connect(self.task()), ConnectFailed)
        self.assertEqual(error.http_status, 521)
        self.assertEqual((escaper.stats.tcp_connect_error, escaper.stats.task_total), (1, 1))

    async def test_bytes_are_counted_above_tcp_with_those_of_the_negotiation(self) -> None:
        escaper = self.escaper()
        stream = await escaper.tcp_connect(self.task())
        stream.start(Recorder())
        stream.write(b"four")
        await self.until(lambda: self.peer.data.endswith(b"four"))
        await self.close(stream)
        self.assertEqual((escaper.stats.out_bytes, escaper.stats.in_bytes), (len(self.peer.data), len(OK)))
        self.assertEqual(len(escaper.traffic), 0)

    async def test_a_failed_negotiation_is_counted_and_forgotten(self) -> None:
        self.peer.answer = b"HTTP/1.1 403 x\r\n\r\n"
        escaper = self.escaper()
        await self.refused(escaper.tcp_connect(self.task()), NegotiationRejected)
        self.assertEqual((escaper.stats.out_bytes, escaper.stats.in_bytes), (len(self.peer.data), 18))
        self.assertEqual(len(escaper.traffic), 0)


class Forwarding(EscaperTestCase):
    async def test_requests_are_for_absolute_form_and_carry_the_login(self) -> None:
        escaper = self.escaper(proxy_username="a", proxy_password="b", http_forward_capability=HTTPForwardCapability(forward_https=True))
        self.assertTrue(escaper.http_capability.forward_https)
        task = self.task(port=80)
        connection = await escaper.http_forward(task)
        self.keep(connection.stream)
        verifyObject(IHTTPForwardConnection, connection)
        self.assertTrue(connection.absolute_form)
        self.assertEqual(connection.header_lines, b"Proxy-Authorization: Basic YTpi\r\n")
        self.assertIs(connection.notes, task.connect)
        connection.stream.write(b"GET http://origin.example:80/ HTTP/1.1\r\n")
        await self.until(lambda: self.peer.connections and self.peer.data == b"GET http://origin.example:80/ HTTP/1.1\r\n")

    async def test_without_a_login_nothing_is_added(self) -> None:
        connection = await self.escaper().http_forward(self.task(port=80))
        self.keep(connection.stream)
        self.assertEqual(connection.header_lines, b"")

    async def test_a_proxy_protocol_header_goes_first(self) -> None:
        connection = await self.escaper(use_proxy_protocol=1).http_forward(self.task(port=80))
        self.keep(connection.stream)
        await self.until(lambda: self.peer.connections and self.peer.data == encode(1, CLIENT, SERVER))


class Choosing(EscaperTestCase):
    async def test_names_are_resolved(self) -> None:
        self.resolver.names["proxy.example"] = ("127.0.0.1",)
        escaper = self.escaper(resolver="r", proxy_addr=(Weighted(Upstream("proxy.example", self.number)),))
        task = self.task()
        self.keep(await escaper.tcp_connect(task))
        self.assertEqual(task.connect.peer, ("127.0.0.1", self.number))
        self.assertEqual(self.resolver.asked, [("proxy.example", 4), ("proxy.example", 6)])

    async def test_a_name_without_an_address(self) -> None:
        escaper = self.escaper(resolver="r", proxy_addr=(Weighted(Upstream("nowhere.example", self.number)),))
        error = await self.refused(escaper.tcp_connect(self.task()), ResolveFailed)
        self.assertEqual((error.http_status, error.reason), (530, "UpstreamNotResolved"))

    async def test_the_local_address(self) -> None:
        from ipaddress import IPv4Address

        task = self.task()
        self.keep(await self.escaper(bind_ipv4=IPv4Address("127.0.0.3")).tcp_connect(task))
        local = task.connect.local
        assert local is not None
        self.assertEqual((local[0], str(task.connect.bind_ip)), ("127.0.0.3", "127.0.0.3"))

    async def test_a_path_selection_names_another_proxy(self) -> None:
        escaper = self.escaper(proxy_addr=(Weighted(Upstream("192.0.2.1", 1)),))
        task = self.task()
        task.path = PathSelection(upstreams={"next": PathUpstream(Upstream("127.0.0.1", self.number)), "other": PathUpstream(Upstream("x", 1))})
        self.keep(await escaper.tcp_connect(task))
        self.assertEqual(task.connect.override_peer, f"127.0.0.1:{self.number}")

    async def test_a_family_that_no_configured_proxy_has_is_forbidden(self) -> None:
        task = self.task()
        task.path = PathSelection(upstreams={"next": PathUpstream(Upstream("::1", self.number))})
        error = await self.refused(self.escaper().tcp_connect(task), ForbiddenAddressFamily)
        self.assertEqual(error.http_status, 403)

    async def test_a_name_in_a_path_selection_needs_a_resolver(self) -> None:
        task = self.task()
        for sticky in ("", "key"):
            task.path = PathSelection(upstreams={"next": PathUpstream(Upstream("proxy.example", 1), sticky)})
            await self.refused(self.escaper().tcp_connect(task), ResolveFailed)

    async def test_a_sticky_key_leads_to_the_same_address(self) -> None:
        addresses = tuple(f"127.0.0.{number}" for number in range(1, 9))
        port = self.reactor.listenTCP(0, self.peer, interface="")
        self.addCleanup(port.stopListening)
        escaper = self.escaper(resolver="r", proxy_addr=(Weighted(Upstream("127.0.0.1", 1)), Weighted(Upstream("named", 1))))
        reached: dict[str, set[str]] = {}
        for name in ("slow.example", "quick.example"):
            for turn in range(3):
                self.resolver.names[name] = addresses[turn:] + addresses[:turn]
                for key in ("a", "b", "c", "d", "e", "f"):
                    task = self.task()
                    task.path = PathSelection(upstreams={"next": PathUpstream(Upstream(name, port.getHost().port), key)})
                    self.keep(await escaper.tcp_connect(task))
                    assert task.connect.peer is not None
                    reached.setdefault(key, set()).add(task.connect.peer[0])
        self.assertEqual({len(peers) for peers in reached.values()}, {1})
        self.assertGreater(len(set.union(*reached.values())), 1)

    async def test_a_sticky_key_falls_back_to_the_other_family(self) -> None:
        escaper = self.escaper(resolver="r", proxy_addr=(Weighted(Upstream("named", 1)),))
        self.resolver.names["six.example"] = ("::1",)
        port = self.reactor.listenTCP(0, self.peer, interface="::1")
        self.addCleanup(port.stopListening)
        task = self.task()
        task.path = PathSelection(upstreams={"next": PathUpstream(Upstream("six.example", port.getHost().port), "key")})
        self.keep(await escaper.tcp_connect(task))
        self.assertEqual(task.connect.peer, ("::1", port.getHost().port))

    async def test_weights_and_policy_choose(self) -> None:
        other = Peer()
        self.peers.append(other)
        port = self.reactor.listenTCP(0, other, interface="127.0.0.1")
        self.addCleanup(port.stopListening)
        nodes = (Weighted(Upstream("127.0.0.1", self.number)), Weighted(Upstream("127.0.0.1", port.getHost().port)))
        escaper = self.escaper(proxy_addr=nodes, proxy_addr_pick_policy=PickPolicy.ROUND_ROBIN)
        for _ in range(4):
            self.keep(await escaper.tcp_connect(self.task()))
        self.assertEqual((len(self.peer.connections), len(other.connections)), (2, 2))


class InsideTunnels(EscaperTestCase):
    """TLS with the upstream, through the tunnel."""

    def trusting(self) -> Any:
        return client_context(ClientTLSOptions(ca_certificate=(authority().pem,), no_default_ca_certificate=True))

    async def serve(self, names: tuple[str, ...]) -> Any:
        """The TLS side of one connection, which answers CONNECT first. Port 0 of a listening socket of our own."""
        import socket

        listener = socket.create_server(("127.0.0.1", 0))
        self.addCleanup(listener.close)
        return listener, server_context(ServerTLSOptions(cert_pairs=(pair(*names),)))

    async def answer(self, listener: Any, context: Any) -> Any:
        sock, _ = listener.accept()
        sock.settimeout(5)
        head = b""
        while b"\r\n\r\n" not in head:
            head += sock.recv(1000)
        sock.sendall(OK)
        sock.setblocking(False)
        self.head = head
        return await accept(Stream(self.reactor, sock), context)

    async def both(self, way: str, names: tuple[str, ...] = ("origin.example",)) -> tuple[ProxyHTTPEscaper, Any, Any]:
        listener, context = await self.serve(names)
        escaper = self.escaper(proxy_addr=(Weighted(Upstream("127.0.0.1", listener.getsockname()[1])),))
        ours = Deferred.fromCoroutine(getattr(escaper, way)(self.task(), self.trusting(), "origin.example"))
        theirs = Deferred.fromCoroutine(self.answer(listener, context))
        return escaper, ours, theirs

    async def check(self, escaper: ProxyHTTPEscaper, stream: Any, origin: Any) -> None:
        self.addCleanup(origin.abortConnection)
        recorder = Recorder()
        origin.start(recorder)
        stream.start(Recorder())
        stream.write(b"secret")
        await self.until(lambda: recorder.data == b"secret")
        self.assertTrue(self.head.startswith(b"CONNECT origin.example:443 "))
        stream.abortConnection()
        self.assertGreater(escaper.stats.out_bytes, len(self.head) + 300)
        self.assertEqual(len(escaper.traffic), 0)

    async def test_tls_connect(self) -> None:
        escaper, ours, theirs = await self.both("tls_connect")
        stream = await ours
        await self.check(escaper, stream, await theirs)

    async def test_https_forward_is_for_an_origin(self) -> None:
        escaper, ours, theirs = await self.both("https_forward")
        connection = await ours
        self.assertEqual((connection.absolute_form, connection.header_lines), (False, b""))
        await self.check(escaper, connection.stream, await theirs)

    async def test_a_certificate_of_somebody_else(self) -> None:
        escaper, ours, theirs = await self.both("tls_connect", ("other.example",))
        theirs.addErrback(lambda _failure: None)
        error = await self.refused(ours, UpstreamTlsHandshakeFailed)
        self.assertEqual(error.http_status, 525)
        self.assertEqual(len(escaper.traffic), 0)
        await theirs


class Life(SynchronousTestCase):
    def test_metrics_are_there_while_it_runs_and_outlive_a_reload(self) -> None:
        context = NodeContext(reactor=Clock())
        context.slots = Slots(lambda _kind, name: f"stand-in for {name}")
        config = ProxyHTTPConfig(name="next", proxy_addr=(Weighted(Upstream("192.0.2.1", 1)),))
        first = ProxyHTTPEscaper(config, context)
        first.startService()
        first.stats.task_total += 1
        second = ProxyHTTPEscaper(config, context)
        second.startService()
        first.stopService()
        self.assertEqual([(sample.name, sample.value) for sample in context.metrics.samples()], [("escaper.task.total", 1)])
