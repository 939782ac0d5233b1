# SPDX-License-Identifier: Apache-2.0
"""TLS streams: every promise kept on a socket and over another stream alike."""

from __future__ import annotations

import os
import socket
import ssl
import tempfile
from typing import Any, ClassVar

from twisted.internet.defer import CancelledError, Deferred, gatherResults
from twisted.internet.error import ConnectionAborted, ConnectionDone, ConnectionLost
from twisted.internet.task import deferLater
from twisted.internet.threads import deferToThread
from twisted.trial.unittest import TestCase
from zope.interface.verify import verifyObject

from g3.interfaces import IStream
from g3.limit.stream import StreamLimiter
from g3.net.tls.bio import TLSOverStream
from g3.net.tls.context import client_context, server_context
from g3.net.tls.errors import TLSHandshakeFailed, TLSHandshakeTimeout
from g3.net.tls.handshake import accept, connect
from g3.net.tls.options import ClientTLSOptions, ServerTLSOptions, SessionCache, TLSProtocol, TLSVersion
from g3.net.tls.stream import TLSStream
from g3.net.transport import HIGH_MARK, Stream
from g3.testing.streams import HalfCloseRecorder, Recorder, memory_stream_pair
from tests.hellos import openssl_hello, record, split_records
from tests.unit.net.tls.certs import authority, pair

NAME = "a.test"
BIG = os.urandom(4 << 20)


def client_options(**more: Any) -> ClientTLSOptions:
    return ClientTLSOptions(**{"ca_certificate": (authority().pem,), "no_default_ca_certificate": True, **more})


def server_options(*names: str, **more: Any) -> ServerTLSOptions:
    return ServerTLSOptions(**{"cert_pairs": (pair(*(names or (NAME, "127.0.0.1"))),), **more})


class Producer:
    """Writes pieces while it may."""

    def __init__(self, stream: Any, data: bytes, piece: int = 50000) -> None:
        self.stream, self.left, self.piece = stream, memoryview(data), piece
        self.pauses = 0
        self.most_queued = 0
        self.stopped = self.paused = False
        stream.registerProducer(self, True)

    def resumeProducing(self) -> None:
        self.paused = False
        while self.left and not self.paused and not self.stopped:
            piece, self.left = self.left[: self.piece], self.left[self.piece :]
            self.stream.write(bytes(piece))
            self.most_queued = max(self.most_queued, self.stream.queued)
        if not self.left:
            self.stream.unregisterProducer()

    def pauseProducing(self) -> None:
        self.pauses += 1
        self.paused = True

    def stopProducing(self) -> None:
        self.stopped = True


class TLSTestCase(TestCase):
    def setUp(self) -> None:
        from twisted.internet import reactor

        self.reactor: Any = reactor
        self.streams: list[Any] = []

    def tearDown(self) -> Any:
        for stream in self.streams:
            stream.abortConnection()
        return self.wait(0.01)

    def wait(self, seconds: float = 0.03) -> Any:
        return deferLater(self.reactor, seconds)

    async def until(self, true: Any, seconds: float = 5) -> None:
        """Wait for something, not for a time."""
        end = self.reactor.seconds() + seconds
        while not true():
            if self.reactor.seconds() > end:
                self.fail("it did not happen")
            await self.wait(0.002)

    def socket_pair(self) -> tuple[socket.socket, socket.socket]:
        with socket.create_server(("127.0.0.1", 0)) as server:
            one = socket.create_connection(server.getsockname())
            two, _ = server.accept()
        for sock in (one, two):
            sock.setblocking(False)
            # Else the kernel takes megabytes, more or fewer as it likes.
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 131072)
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 131072)
        return one, two

    def pair(self) -> tuple[Any, Any]:
        """Two connected streams."""
        raise NotImplementedError

    def provide(self, options: ServerTLSOptions, alpn: tuple[str, ...] = ()) -> Any:
        """The server's side."""
        return server_context(options, alpn)

    def begin(self, client: Any, server: Any, name: str = NAME, *, alpn: Any = ((), ()), **more: Any) -> tuple[Deferred[Any], Deferred[Any]]:
        left, right = self.pair()
        self.streams += [left, right]
        one = Deferred.fromCoroutine(connect(left, client_context(client, alpn[0]), name, **more))
        two = Deferred.fromCoroutine(accept(right, self.provide(server, alpn[1])))
        return one, two

    async def shake(self, client: Any = None, server: Any = None, name: str = NAME, **more: Any) -> tuple[Any, Any]:
        """A client's and a server's stream, after a handshake."""
        one, two = self.begin(client or client_options(), server or server_options(), name, **more)
        streams = await gatherResults([one, two])
        self.streams += streams
        return streams[0], streams[1]

    async def refused(self, client: Any = None, server: Any = None, name: str = NAME, **more: Any) -> tuple[str, str]:
        """What a client and a server say of a handshake that failed; "" where it did not."""
        says = []
        for outcome in self.begin(client or client_options(), server or server_options(), name, **more):
            try:
                stream = await outcome
                self.streams.append(stream)
                says.append("")
            except TLSHandshakeFailed as error:
                says.append(str(error))
        return says[0], says[1]

    async def talk(self, **more: Any) -> tuple[Any, Any, Any, Any]:
        """Streams with protocols that hear half closes."""
        client, server = await self.shake(**more)
        heard_by_client, heard_by_server = HalfCloseRecorder(), HalfCloseRecorder()
        client.start(heard_by_client)
        server.start(heard_by_server)
        return client, server, heard_by_client, heard_by_server


class StreamRules:
    """Tests of both kinds of TLS stream."""

    kind: ClassVar[type]

    async def test_it_is_a_stream(self: Any) -> None:
        client, server = await self.shake()
        for stream in (client, server):
            self.assertIsInstance(stream, self.kind)
            verifyObject(IStream, stream)

    async def test_it_tells_what_was_agreed_on(self: Any) -> None:
        client, server = await self.shake(alpn=(("h2", "http/1.1"), ("http/1.1",)))
        for stream in (client, server):
            self.assertEqual((stream.tls_version, stream.alpn, stream.server_name), ("TLSv1.3", "http/1.1", NAME))
        self.assertIn(NAME, client.peer_certificate.subject.rfc4514_string())
        self.assertIsNone(server.peer_certificate)

    async def test_bytes_travel_both_ways_and_are_counted(self: Any) -> None:
        client, server, by_client, by_server = await self.talk()
        client.write(b"ping")
        server.writeSequence([b"po", b"ng"])
        await self.until(lambda: by_server.data and by_client.data)
        self.assertEqual((by_server.data, by_client.data), (b"ping", b"pong"))
        self.assertEqual((client.bytes_in, client.bytes_out, server.bytes_in, server.bytes_out), (4, 4, 4, 4))

    async def test_much_travels_both_ways_at_once(self: Any) -> None:
        client, server, by_client, by_server = await self.talk()
        for stream in (client, server):
            Producer(stream, BIG).resumeProducing()
        await self.until(lambda: len(by_client.data) == len(by_server.data) == len(BIG), 20)
        self.assertTrue(by_client.data == by_server.data == BIG)

    async def test_one_large_write_arrives_whole(self: Any) -> None:
        client, server, _, by_server = await self.talk()
        client.write(BIG)
        client.loseConnection()
        await self.until(lambda: by_server.read_closed, 20)
        self.assertTrue(by_server.data == BIG)

    async def test_a_reader_that_rests_stops_the_writer(self: Any) -> None:
        """Memory is bounded: the producer is paused, and goes on when the reader does."""
        client, server, _, by_server = await self.talk()
        server.pauseProducing()
        producer = Producer(client, BIG * 3)
        producer.resumeProducing()
        await self.until(lambda: producer.paused)
        await self.wait()
        self.assertTrue(producer.paused)
        self.assertLessEqual(producer.most_queued, HIGH_MARK * 2 + producer.piece)
        heard = len(by_server.data)
        server.resumeProducing()
        await self.until(lambda: len(by_server.data) == 3 * len(BIG), 30)
        self.assertLess(heard, len(BIG))
        self.assertGreater(producer.pauses, 1)

    async def test_a_pause_holds_everything_back(self: Any) -> None:
        client, server, _, by_server = await self.talk()
        server.pauseProducing()
        client.write(b"one")
        client.loseWriteConnection()
        await self.wait()
        self.assertEqual((by_server.data, by_server.read_closed), (b"", False))
        server.resumeProducing()
        await self.until(lambda: by_server.read_closed)
        self.assertEqual(by_server.data, b"one")

    async def test_a_pause_within_a_delivery_loses_nothing(self: Any) -> None:
        """What was decrypted and not wanted is delivered after the pause, although no event announces it."""
        client, server, _, by_server = await self.talk()
        pieces = []

        def received(data: bytes) -> None:
            pieces.append(data)
            server.pauseProducing()

        by_server.dataReceived = received
        for number in range(5):
            client.write(b"%d" % number * 20000)
        client.loseWriteConnection()
        for _ in range(200):
            await self.wait(0.002)
            server.resumeProducing()
            if by_server.read_closed:
                break
        self.assertEqual(b"".join(pieces), b"".join(b"%d" % number * 20000 for number in range(5)))
        self.assertTrue(by_server.read_closed)

    async def test_a_half_close_ends_one_direction(self: Any) -> None:
        client, server, by_client, by_server = await self.talk()
        client.write(b"question")
        client.loseWriteConnection()
        await self.until(lambda: by_server.read_closed)
        self.assertEqual(by_server.data, b"question")
        server.write(BIG)
        await self.until(lambda: len(by_client.data) == len(BIG), 20)
        self.assertEqual((by_client.read_closed, by_server.reason, by_client.write_closed), (False, None, True))
        server.loseConnection()
        await self.until(lambda: by_client.read_closed and by_server.reason)
        by_server.reason.trap(ConnectionDone)
        client.loseConnection()
        await self.until(lambda: by_client.reason)
        by_client.reason.trap(ConnectionDone)

    async def test_nothing_is_written_after_the_half_close(self: Any) -> None:
        client, server, _, by_server = await self.talk()
        client.loseWriteConnection()
        client.write(b"late")
        await self.until(lambda: by_server.read_closed)
        self.assertEqual((by_server.data, client.write_closed, server.eof), (b"", True, True))

    async def test_a_protocol_without_half_close_closes(self: Any) -> None:
        client, server = await self.shake()
        heard, other = Recorder(), HalfCloseRecorder()
        server.start(heard)
        client.start(other)
        client.loseWriteConnection()
        await self.until(lambda: heard.reason and other.read_closed)
        heard.reason.trap(ConnectionDone)

    async def test_closing_flushes_first(self: Any) -> None:
        client, server, by_client, by_server = await self.talk()
        server.pauseProducing()
        client.write(BIG)
        client.loseConnection()
        await self.wait()
        self.assertIsNone(by_client.reason)
        server.resumeProducing()
        await self.until(lambda: by_server.read_closed and by_client.reason, 20)
        self.assertTrue(by_server.data == BIG)
        self.assertFalse(server.truncated)

    async def test_closing_waits_for_the_producer(self: Any) -> None:
        client, server, by_client, by_server = await self.talk()
        producer = Producer(client, BIG)
        client.loseConnection()
        await self.wait(0.01)
        self.assertIsNone(by_client.reason)
        producer.stream.unregisterProducer()
        await self.until(lambda: by_client.reason and by_server.read_closed)

    async def test_an_abort_is_heard_as_a_loss(self: Any) -> None:
        client, server, by_client, by_server = await self.talk()
        client.abortConnection()
        await self.until(lambda: by_client.reason and by_server.reason)
        by_client.reason.trap(ConnectionAborted)
        by_server.reason.trap(ConnectionLost)
        self.assertFalse(by_server.read_closed)

    async def test_an_end_without_close_notify_is_a_loss(self: Any) -> None:
        """Whoever cuts a connection cannot make the reader believe it has everything (RFC 8446 section 6.1)."""
        client, server, by_client, by_server = await self.talk()
        client.write(b"half of it")
        await self.until(lambda: by_server.data)
        self.cut(client)
        await self.until(lambda: by_server.reason)
        by_server.reason.trap(ConnectionLost)
        self.assertEqual((by_server.data, by_server.read_closed, server.truncated), (b"half of it", False, True))

    async def test_it_moves_to_another_protocol_with_what_was_put_back(self: Any) -> None:
        client, server, by_client, _ = await self.talk()
        client.pauseProducing()
        other = HalfCloseRecorder()
        client.unread(b"put ")
        client.unread(b"back, ")
        self.assertEqual(client.ahead, 10)
        client.start(other)
        server.write(b"then new")
        await self.until(lambda: len(other.data) == 18)
        self.assertEqual((other.data, by_client.data, by_client.reason), (b"back, put then new", b"", None))

    async def test_an_end_is_told_to_the_next_protocol_too(self: Any) -> None:
        client, server, _, by_server = await self.talk()
        client.loseWriteConnection()
        await self.until(lambda: by_server.read_closed)
        after = HalfCloseRecorder()
        server.start(after)
        await self.until(lambda: after.read_closed)

    async def test_who_gets_it_once_it_is_lost_is_told(self: Any) -> None:
        """It broke while nobody had it."""
        client, server = await self.shake()
        server.abortConnection()
        client.write(BIG)
        await self.until(lambda: client.disconnected or client.write(BIG))
        heard = HalfCloseRecorder()
        client.start(heard)
        self.assertIsNone(heard.reason)
        await self.until(lambda: heard.reason)

    async def test_it_has_no_socket_to_give_away(self: Any) -> None:
        client, _ = await self.shake()
        self.assertRaises(RuntimeError, client.detach)

    async def test_bytes_sent_with_the_handshake_are_not_lost(self: Any) -> None:
        """The client's last flight and its first request come in one read."""
        client, server = await self.shake()
        client.write(b"early")
        await self.wait()
        heard = HalfCloseRecorder()
        server.start(heard)
        await self.until(lambda: heard.data)
        self.assertEqual(heard.data, b"early")

    async def test_the_hang_up_of_a_client_that_waits_is_noticed(self: Any) -> None:
        client, server, by_client, by_server = await self.talk()
        told: list[bool] = []
        server.pauseProducing()
        server.watch_hangup(told.append)
        client.abortConnection()
        await self.until(lambda: told)
        self.assertEqual(told, [True])

    # -- sessions

    async def resumed(self: Any, client: Any, server: Any) -> list[bool]:
        """Whether each of three connections, one after another, was resumed."""
        seen = []
        for _ in range(3):
            one, two = await self.shake(client, server)
            heard = HalfCloseRecorder()
            one.start(heard)
            two.start(HalfCloseRecorder())
            two.write(b"x")
            await self.until(lambda heard=heard: heard.data)
            self.assertEqual(one.tls.resumed, two.tls.resumed)
            seen.append(one.tls.resumed)
            one.loseConnection()
        return seen

    async def test_sessions_are_resumed(self: Any) -> None:
        for cache in (SessionCache.MANY, SessionCache.ONE, SessionCache.BUILTIN):
            for protocol in (TLSProtocol.TLS1_2, TLSProtocol.TLS1_3):
                options = client_options(session_cache=cache, protocol=protocol, handshake_timeout=self.own)
                self.assertEqual(await self.resumed(options, server_options()), [False, True, True], (cache, protocol))

    async def test_sessions_with_client_certificates_are_resumed(self: Any) -> None:
        client = client_options(cert_pair=pair("client.test"), session_cache=SessionCache.MANY, handshake_timeout=self.own)
        server = server_options(enable_client_auth=True, ca_certificate=(authority().pem,))
        self.assertEqual(await self.resumed(client, server), [False, True, True])

    async def test_sessions_are_not_resumed_where_they_are_off(self: Any) -> None:
        self.assertEqual(await self.resumed(client_options(session_cache=SessionCache.OFF), server_options()), [False] * 3)
        server = server_options(no_session_cache=True, no_session_ticket=True)
        options = client_options(session_cache=SessionCache.MANY, handshake_timeout=self.own + 1)
        self.assertEqual(await self.resumed(options, server), [False] * 3)

    async def test_sessions_are_resumed_without_tickets(self: Any) -> None:
        options = client_options(session_cache=SessionCache.MANY, handshake_timeout=self.own + 2)
        self.assertEqual(await self.resumed(options, server_options(no_session_ticket=True)), [False, True, True])

    # -- who the peer is

    async def test_a_wrong_name_is_refused(self: Any) -> None:
        client, server = await self.refused(name="b.test")
        self.assertIn("hostname mismatch", client)
        self.assertIn("bad certificate", server)

    async def test_an_address_is_verified_as_an_address(self: Any) -> None:
        one, two = await self.shake(name="127.0.0.1")
        self.assertEqual((one.server_name, two.server_name), ("", ""))
        client, _ = await self.refused(name="127.0.0.2")
        self.assertIn("IP address mismatch", client)

    async def test_an_authority_nobody_trusts_is_refused(self: Any) -> None:
        client, server = await self.refused(client=client_options(ca_certificate=(authority("another").pem,)))
        self.assertRegex(client, "verify failed.*(issuer|self-signed)")
        self.assertIn("unknown ca", server)

    async def test_an_expired_certificate_is_refused(self: Any) -> None:
        client, _ = await self.refused(server=server_options(cert_pairs=(authority().pair(NAME, days=-1),)))
        self.assertIn("certificate has expired", client)

    async def test_insecure_goes_on_and_tells(self: Any) -> None:
        one, _ = await self.shake(client_options(insecure=True, ca_certificate=()), name="other.test")
        self.assertTrue(one.tls.verify_error)

    async def test_a_client_certificate_is_required_where_it_is_asked_for(self: Any) -> None:
        server = server_options(enable_client_auth=True, ca_certificate=(authority().pem,))
        _, says = await self.refused(server=server)
        self.assertIn("peer did not return a certificate", says)
        _, says = await self.refused(client_options(cert_pair=authority("another").pair("evil.test")), server)
        self.assertIn("verify failed", says)
        _, stream = await self.shake(client_options(cert_pair=pair("client.test")), server)
        self.assertIn("client.test", stream.peer_certificate.subject.rfc4514_string())

    async def test_a_client_without_certificate_hears_why(self: Any) -> None:
        """In TLS 1.3 the client's handshake is done before the server looks at its certificate: it hears the alert as a loss."""
        server = server_options(enable_client_auth=True, ca_certificate=(authority().pem,))
        one, two = self.begin(client_options(), server)
        stream = await one
        await self.assertFailure(two, TLSHandshakeFailed)
        heard = HalfCloseRecorder()
        stream.start(heard)
        await self.until(lambda: heard.reason)
        self.assertIn("certificate required", str(heard.reason.value))

    async def test_chains_and_several_certificates_are_served(self: Any) -> None:
        pairs = (authority().pair(NAME, kind="rsa", chain=True), authority().pair(NAME, kind="ec", chain=True))
        for ciphers, expected in (("ECDHE-RSA-AES128-GCM-SHA256", "RSAPublicKey"), ("ECDHE-ECDSA-AES128-GCM-SHA256", "ECPublicKey")):
            one, _ = await self.shake(client_options(protocol=TLSProtocol.TLS1_2, ciphers=(ciphers,)), server_options(cert_pairs=pairs))
            self.assertIn(expected, type(one.peer_certificate.public_key()).__name__)

    async def test_the_certificate_is_that_of_the_name_asked_for(self: Any) -> None:
        """Of two of one kind; under client authentication too, and sessions are resumed under either name."""
        pairs = (pair("first.test"), pair("b.test"), pair("*.c.test"))
        server = server_options(cert_pairs=pairs, enable_client_auth=True, ca_certificate=(authority().pem,))
        client = client_options(cert_pair=pair("client.test"), session_cache=SessionCache.MANY, handshake_timeout=self.own + 3)
        for name in ("b.test", "x.c.test", "first.test"):
            seen = []
            for _ in range(2):
                one, two = await self.shake(client, server, name)
                self.assertEqual(two.server_name, name)
                self.assertIn("client.test", two.peer_certificate.subject.rfc4514_string())
                seen.append(two.tls.resumed)
                heard = HalfCloseRecorder()
                one.start(heard)
                two.start(HalfCloseRecorder())
                two.write(b"x")
                await self.until(lambda heard=heard: heard.data)
                one.loseConnection()
            self.assertEqual(seen, [False, True], name)

    async def test_without_sni_the_name_is_still_verified(self: Any) -> None:
        _, two = await self.shake(client_options(disable_sni=True))
        self.assertEqual(two.server_name, "")
        client, _ = await self.refused(client_options(disable_sni=True), name="b.test")
        self.assertIn("hostname mismatch", client)

    # -- what is spoken

    async def test_no_common_application_protocol_is_refused(self: Any) -> None:
        client, server = await self.refused(alpn=(("h2",), ("http/1.1",)))
        self.assertIn("no application protocol", client)
        self.assertIn("application protocol", server)

    async def test_no_common_version_is_refused(self: Any) -> None:
        client, _ = await self.refused(client_options(max_tls_version=TLSVersion.TLS1_1, min_tls_version=TLSVersion.TLS1_1))
        self.assertTrue(client)

    async def test_versions_and_groups_can_be_fixed(self: Any) -> None:
        for options, version in (
            ({"protocol": TLSProtocol.TLS1_2}, "TLSv1.2"),
            ({"max_tls_version": TLSVersion.TLS1_2}, "TLSv1.2"),
            ({"min_tls_version": TLSVersion.TLS1_3, "supported_groups": "P-256"}, "TLSv1.3"),
            ({"protocol": TLSProtocol.TLS1_3, "ciphers": ("TLS_CHACHA20_POLY1305_SHA256",)}, "TLSv1.3"),
        ):
            one, _ = await self.shake(client_options(**options))
            self.assertEqual(one.tls_version, version)
        self.assertEqual(one.tls.cipher, "TLS_CHACHA20_POLY1305_SHA256")

    async def test_stapling_is_asked_for_and_not_required(self: Any) -> None:
        await self.shake(client_options(use_ocsp_stapling=True))

    # -- handshakes that go wrong

    async def raw(self: Any) -> tuple[Any, HalfCloseRecorder, Any]:
        """A stream that speaks no TLS, what it hears, and the other end of it."""
        left, right = self.pair()
        self.streams += [left, right]
        heard = HalfCloseRecorder()
        left.start(heard)
        return left, heard, right

    async def test_garbage_is_refused(self: Any) -> None:
        left, heard, right = await self.raw()
        outcome = Deferred.fromCoroutine(accept(right, self.provide(server_options())))
        left.write(b"GET / HTTP/1.1\r\n\r\n")
        error = await self.assertFailure(outcome, TLSHandshakeFailed)
        self.assertIn("http request", str(error))
        left, heard, right = await self.raw()
        outcome = Deferred.fromCoroutine(connect(right, client_context(client_options()), NAME))
        left.write(b"\0" * 100)
        await self.assertFailure(outcome, TLSHandshakeFailed)
        await self.until(lambda: heard.read_closed or heard.reason)

    async def test_a_silent_peer_times_out_and_is_closed(self: Any) -> None:
        for begin in (
            lambda stream: accept(stream, self.provide(server_options()), timeout=0.05),
            lambda stream: connect(stream, client_context(client_options()), NAME, timeout=0.05),
        ):
            _, heard, right = await self.raw()
            await self.assertFailure(Deferred.fromCoroutine(begin(right)), TLSHandshakeTimeout)
            await self.until(lambda heard=heard: heard.read_closed or heard.reason)

    async def test_the_configured_timeout_holds(self: Any) -> None:
        _, _, right = await self.raw()
        outcome = accept(right, self.provide(server_options(handshake_timeout=0.1)))
        await self.assertFailure(Deferred.fromCoroutine(outcome), TLSHandshakeTimeout)

    async def test_a_peer_that_leaves_is_an_error(self: Any) -> None:
        for leave in ("loseConnection", "abortConnection", "loseWriteConnection"):
            left, _, right = await self.raw()
            outcome = Deferred.fromCoroutine(accept(right, self.provide(server_options())))
            getattr(left, leave)()
            error = await self.assertFailure(outcome, TLSHandshakeFailed)
            self.assertRegex(str(error), "closed the connection|connection lost")

    async def test_cancelling_closes(self: Any) -> None:
        _, heard, right = await self.raw()
        outcome = Deferred.fromCoroutine(accept(right, self.provide(server_options())))
        await self.wait(0.01)
        outcome.cancel()
        await self.assertFailure(outcome, CancelledError)
        await self.until(lambda: heard.read_closed or heard.reason)

    async def test_a_handshake_may_come_byte_by_byte(self: Any) -> None:
        left, heard, right = await self.raw()
        outcome = Deferred.fromCoroutine(accept(right, self.provide(server_options())))
        hello = _client_hello()
        for at in range(len(hello)):
            left.write(hello[at : at + 1])
            if not at % 50:
                await self.wait(0.001)
        await self.until(lambda: len(heard.data) > 500)
        outcome.cancel()
        await self.assertFailure(outcome, CancelledError)


def _client_hello() -> bytes:
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    side = ssl.create_default_context().wrap_bio(incoming, outgoing, server_hostname=NAME)
    try:
        side.do_handshake()
    except ssl.SSLWantReadError:
        pass
    return outgoing.read()


class OnSocketTests(StreamRules, TLSTestCase):
    """TLS directly on the socket."""

    kind = TLSStream
    #: Makes the options of one kind's tests unequal to the other's, so that they share no sessions.
    own = 11.0

    def pair(self) -> tuple[Any, Any]:
        one, two = self.socket_pair()
        return Stream(self.reactor, one), Stream(self.reactor, two)

    def cut(self, stream: Any) -> None:
        stream.socket.shutdown(socket.SHUT_WR)

    async def test_bytes_on_the_wire_include_tls(self) -> None:
        """What the escaper's traffic counts: handshake, records and all."""
        client, server, by_client, by_server = await self.talk()
        client.write(b"x" * 100000)
        await self.until(lambda: len(by_server.data) == 100000)
        self.assertGreater(server.wire_bytes()[0], 100500)
        self.assertGreater(client.wire_bytes()[1], 100500)
        closing: list[Any] = []
        client.on_close = lambda stream: closing.append(stream.wire_bytes())
        client.loseConnection()
        await self.until(lambda: closing)
        self.assertGreater(closing[0][1], 100500)

    async def test_a_speed_limit_below_a_record_delivers_everything(self) -> None:
        """What OpenSSL has decrypted and the limit left is fetched without an event."""
        client, server, _, by_server = await self.talk()
        server.set_read_limit((StreamLimiter(3, 3000),))
        client.write(b"z" * 40000)
        client.loseWriteConnection()
        await self.until(lambda: by_server.read_closed)
        self.assertEqual(len(by_server.data), 40000)

    async def test_a_speed_limit_on_writing_sends_everything(self) -> None:
        client, server, _, by_server = await self.talk()
        client.set_write_limit((StreamLimiter(3, 7000),))
        client.write(BIG[:100000])
        client.loseWriteConnection()
        await self.until(lambda: by_server.read_closed)
        self.assertEqual(by_server.data, BIG[:100000])

    async def test_a_limit_set_while_a_write_is_pending_does_not_break_it(self) -> None:
        """OpenSSL refuses to go on with less than it was given: the retry is not cut to the limit."""
        client, server, _, by_server = await self.talk()
        server.pauseProducing()
        client.write(BIG)
        self.assertTrue(client.queued)
        client.set_write_limit((StreamLimiter(0, 100),))
        await self.wait()
        server.resumeProducing()
        await self.until(lambda: len(by_server.data) == len(BIG), 20)
        self.assertTrue(by_server.data == BIG)

    async def test_small_writes_behind_a_pending_one_keep_their_order(self) -> None:
        client, server, _, by_server = await self.talk()
        server.pauseProducing()
        client.write(BIG)
        for number in range(3000):
            client.write(b"%d," % number)
        client.loseWriteConnection()
        server.resumeProducing()
        await self.until(lambda: by_server.read_closed, 20)
        self.assertTrue(by_server.data == BIG + b"".join(b"%d," % number for number in range(3000)))

    async def test_its_socket_is_lent_to_nobody(self) -> None:
        client, _ = await self.shake()
        self.assertRaises(RuntimeError, client.borrow_read, object())
        self.assertRaises(RuntimeError, client.borrow_write, object())

    async def test_renegotiation_is_refused(self) -> None:
        """A client cannot make the server sign again and again within one connection."""
        left, right = self.socket_pair()
        accepted = Deferred.fromCoroutine(accept(Stream(self.reactor, right), self.provide(server_options())))
        left.setblocking(True)
        left.settimeout(5)

        def client() -> str:
            from OpenSSL import SSL

            context = SSL.Context(SSL.TLS_CLIENT_METHOD)
            context.set_max_proto_version(SSL.TLS1_2_VERSION)
            left.setblocking(True)
            connection = SSL.Connection(context, left)
            connection.set_connect_state()
            connection.do_handshake()
            connection.send(b"first")
            connection.renegotiate()
            try:
                connection.do_handshake()
            except SSL.Error as error:
                return str(error)
            return ""

        said = deferToThread(client)
        server = await accepted
        heard = HalfCloseRecorder()
        server.start(heard)
        self.assertIn("no renegotiation", await said)
        self.assertEqual(heard.data, b"first")
        server.abortConnection()
        left.close()

    async def test_another_implementation_understands_us(self) -> None:
        """Python's ssl, on another OpenSSL: data, our close_notify, theirs."""
        with tempfile.NamedTemporaryFile(suffix=".pem") as trusted:
            trusted.write(authority().pem.data)
            trusted.flush()
            context = ssl.create_default_context(cafile=trusted.name)
        context.set_alpn_protocols(["http/1.1"])
        left, right = self.socket_pair()
        left.setblocking(True)
        left.settimeout(5)
        accepted = Deferred.fromCoroutine(accept(Stream(self.reactor, right), self.provide(server_options(), ("http/1.1",))))

        def client() -> tuple[bytes, Any]:
            with context.wrap_socket(left, server_hostname=NAME, suppress_ragged_eofs=False) as secure:
                secure.sendall(b"to you")
                data, alpn = b"", secure.selected_alpn_protocol()
                while piece := secure.recv(65536):
                    data += piece
                secure.unwrap()
                return data, alpn

        said = deferToThread(client)
        server = await accepted
        heard = HalfCloseRecorder()
        server.start(heard)
        server.write(BIG)
        server.loseWriteConnection()
        data, alpn = await said
        await self.until(lambda: heard.read_closed)
        self.assertEqual((data == BIG, alpn, heard.data), (True, "http/1.1", b"to you"))
        server.loseConnection()

    async def test_tls_can_run_inside_tls(self) -> None:
        """As with an https proxy: the inner handshake and its data inside the outer stream."""
        outer_client, outer_server = await self.shake()
        one = Deferred.fromCoroutine(connect(outer_client, client_context(client_options()), "b.test"))
        two = Deferred.fromCoroutine(accept(outer_server, self.provide(server_options("b.test"))))
        inner = await gatherResults([one, two])
        self.assertTrue(all(isinstance(stream, TLSOverStream) for stream in inner))
        heard = HalfCloseRecorder()
        inner[1].start(heard)
        inner[0].start(HalfCloseRecorder())
        inner[0].write(BIG)
        inner[0].loseWriteConnection()
        await self.until(lambda: heard.read_closed, 20)
        self.assertTrue(heard.data == BIG)

    async def test_bytes_read_ahead_are_part_of_the_handshake(self) -> None:
        """A stream that has read some of the ClientHello is served over memory, with nothing lost."""
        left, right = self.pair()
        self.streams += [left, right]
        hello = Deferred.fromCoroutine(connect(left, client_context(client_options()), NAME))
        heard = Recorder()
        right.start(heard)
        await self.until(lambda: heard.data)
        right.pauseProducing()
        right.unread(heard.data)
        server = await accept(right, self.provide(server_options()))
        client = await hello
        self.assertIsInstance(server, TLSOverStream)
        self.streams += [client, server]
        heard = Recorder()
        server.start(heard)
        client.write(b"there")
        await self.until(lambda: heard.data)
        self.assertEqual(heard.data, b"there")


class OverStreamTests(StreamRules, TLSTestCase):
    """TLS over a stream that is no socket."""

    kind = TLSOverStream
    own = 21.0

    def pair(self) -> tuple[Any, Any]:
        return memory_stream_pair(self.reactor)

    def cut(self, stream: Any) -> None:
        stream.below.loseWriteConnection()

    async def test_the_half_close_of_the_stream_below_follows_close_notify(self) -> None:
        client, _ = await self.shake()
        client.start(HalfCloseRecorder())
        client.loseWriteConnection()
        self.assertTrue(client.below.write_closed)
        self.assertFalse(client.below.disconnecting)

    async def test_an_endless_handshake_is_ended(self) -> None:
        """The client is told, as OpenSSL tells it of one that is too long for it."""
        # In records of a byte, a hello just short enough for OpenSSL; and one that is not.
        endless = split_records(record(b"\x01\x01\xff\xff") + record(bytes(16384)) * 7, 1)
        for hello, what in ((endless, "too long"), (record(b"\x01\x0a\x00\x00" + bytes(16380)) * 45, "")):
            left, heard, right = await self.raw()
            outcome = Deferred.fromCoroutine(accept(right, self.provide(server_options())))
            left.write(hello)
            self.assertIn(what, str(await self.assertFailure(outcome, TLSHandshakeFailed)))
            await self.until(lambda heard=heard: heard.data)
            self.assertEqual((heard.data[:1], heard.data[3:]), (b"\x15", b"\x00\x02\x02\x2f"), "a fatal alert, illegal_parameter")

    async def test_a_long_hello_in_records_of_a_byte_is_answered(self) -> None:
        """One that fits where hellos are looked at fits here."""
        hello = split_records(openssl_hello(NAME, tuple(f"{number:03}" * 80 for number in range(250))), 1)
        self.assertGreater(len(hello), 6 * 60000)
        left, heard, right = await self.raw()
        outcome = Deferred.fromCoroutine(accept(right, self.provide(server_options())))
        left.write(hello)
        await self.until(lambda: heard.data)
        self.assertEqual(heard.data[:1], b"\x16", "a ServerHello")
        left.abortConnection()
        await self.assertFailure(outcome, TLSHandshakeFailed)

    async def test_an_announced_giant_is_ended(self) -> None:
        left, _, right = await self.raw()
        outcome = Deferred.fromCoroutine(accept(right, self.provide(server_options())))
        # Records of a handshake message that announces 16 MB.
        left.write(b"\x16\x03\x01\x40\x00\x01\xff\xff\xff" + b"\0" * 16380 + b"\x16\x03\x01\x40\x00" + b"\0" * 16384)
        await self.assertFailure(outcome, TLSHandshakeFailed)
