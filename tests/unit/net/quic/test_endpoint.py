# SPDX-License-Identifier: Apache-2.0
"""QUIC connections over a wire of memory, with aioquic as the client: windows, streams, limits and ends."""

from __future__ import annotations

import socket
from typing import Any

from aioquic.quic import events
from aioquic.quic.configuration import QuicConfiguration
from aioquic.quic.connection import QuicConnection
from hypothesis import given
from hypothesis import strategies as st
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from g3.errors import ConfigError
from g3.net.quic import endpoint as endpoint_module
from g3.net.quic.connection import SEND_BUFFER
from g3.net.quic.endpoint import QUICEndpoint
from g3.net.quic.settings import IDLE_TIMEOUT, MOST_STREAMS, STREAM_WINDOW, WINDOW, quic_problems, quic_settings, quic_warnings
from g3.net.quic.tickets import TicketOffice
from g3.net.tls.options import OCSPResponse, ServerTLSOptions, TLSVersion
from g3.net.tls.tickets import LocalKeys, LocalSecrets
from g3.testing.streams import HalfCloseRecorder, pump
from tests.unit.net.tls.certs import authority, pair

SERVER = ("192.0.2.1", 443)
OPTIONS = ServerTLSOptions(cert_pairs=(pair("a.test"),))


class Wire:
    """In place of a socket."""

    def __init__(self, _reactor: Any, _sock: Any, received: Any) -> None:
        self.received = received
        self.sent: list[tuple[bytes, Any]] = []
        self.stopped = False

    def start(self) -> None:
        """There is nothing to read from."""

    def stop(self) -> None:
        self.stopped = True

    def send(self, data: bytes, peer: Any) -> bool:
        self.sent.append((data, peer[0]))
        return True


class Sock:
    def getsockname(self) -> Any:
        return SERVER


class Owner:
    """Keeps what it is told."""

    def __init__(self) -> None:
        self.streams: list[Any] = []
        self.over: list[bool] = []
        self.welcome = True
        self.protocol: Any = HalfCloseRecorder
        self.heard: list[Any] = []

    def admits(self, peer: Any, local: Any) -> bool:
        return self.welcome

    def opened(self, peer: Any, stream: Any) -> None:
        self.streams.append(stream)
        self.heard.append(self.protocol())
        stream.start(self.heard[-1])

    def ended(self, peer: Any) -> None:
        self.over.append(peer.established)


class Client:
    """A client of aioquic."""

    def __init__(self, case: QUICCase, port: int, ticket: Any = None) -> None:
        configuration = QuicConfiguration(is_client=True, server_name="a.test", session_ticket=ticket)
        configuration.load_verify_locations(cadata=authority().pem.data)
        self.case = case
        self.address = ("198.51.100.1", port)
        self.tickets: list[Any] = []
        self.quic = QuicConnection(configuration=configuration, session_ticket_handler=self.tickets.append)
        self.resumed = False
        self.data: dict[int, bytes] = {}
        self.ended: set[int] = set()
        self.resets: list[int] = []
        self.stops: list[int] = []
        self.terminated: Any = None
        self.connected = False
        self.quic.connect(SERVER, case.clock.seconds())

    def events(self) -> None:
        while (event := self.quic.next_event()) is not None:
            if isinstance(event, events.StreamDataReceived):
                self.data[event.stream_id] = self.data.get(event.stream_id, b"") + event.data
                if event.end_stream:
                    self.ended.add(event.stream_id)
            elif isinstance(event, events.StreamReset):
                self.resets.append(event.stream_id)
            elif isinstance(event, events.StopSendingReceived):
                self.stops.append(event.stream_id)
            elif isinstance(event, events.ConnectionTerminated):
                self.terminated = event
            elif isinstance(event, events.HandshakeCompleted):
                self.connected = True
                self.resumed = event.session_resumed

    def stream(self, number: int) -> Any:
        return self.quic._streams[number]


class QUICCase(SynchronousTestCase):
    def setUp(self) -> None:
        self.clock = Clock()
        self.clock.advance(1000)
        self.patch(endpoint_module, "PacketSocket", Wire)
        self.forgotten: list[bool] = []
        sock: Any = Sock()
        self.endpoint = QUICEndpoint(self.clock, sock, lambda: self.forgotten.append(True))
        self.owner = Owner()
        self.offer = self.endpoint.offer(self.owner, quic_settings(OPTIONS))
        self.clients: list[Client] = []

    @property
    def wire(self) -> Any:
        return self.endpoint._socket

    def client(self, ticket: Any = None) -> Client:
        client = Client(self, 40000 + len(self.clients), ticket)
        self.clients.append(client)
        return client

    def connected(self, ticket: Any = None) -> Client:
        client = self.client(ticket)
        self.exchange()
        self.assertTrue(client.connected)
        return client

    def exchange(self, rounds: int = 400) -> None:
        """Let everything travel; timers run as they are due."""
        for _ in range(rounds):
            moved = False
            pump(self.clock)
            for client in self.clients:
                now = self.clock.seconds()
                for data, _ in client.quic.datagrams_to_send(now):
                    moved = True
                    self.wire.received(data, (client.address, None))
                pump(self.clock)
            sent, self.wire.sent[:] = list(self.wire.sent), []
            for data, address in sent:
                moved = True
                for client in self.clients:
                    if client.address == address:
                        client.quic.receive_datagram(data, SERVER, self.clock.seconds())
            for client in self.clients:
                client.events()
            if not moved:
                # Acknowledgements that wait, and pacing.
                soonest = min([client.quic.get_timer() or 1e9 for client in self.clients] + [call.getTime() for call in self.clock.getDelayedCalls()])
                if soonest - self.clock.seconds() > 0.3:
                    return
                self.advance(max(0.0, soonest - self.clock.seconds()) + 0.001)

    def advance(self, seconds: float) -> None:
        self.clock.advance(seconds)
        for client in self.clients:
            timer = client.quic.get_timer()
            if timer is not None and timer <= self.clock.seconds():
                client.quic.handle_timer(self.clock.seconds())
                client.events()


class StreamTests(QUICCase):
    """Streams and their windows."""

    def test_each_stream_is_a_stream_of_its_own(self) -> None:
        client = self.connected()
        for number in (0, 4):
            client.quic.send_stream_data(number, b"hello %d" % number, end_stream=True)
        self.exchange()
        self.assertEqual([heard.data for heard in self.owner.heard], [b"hello 0", b"hello 4"])
        self.assertEqual([stream.peer for stream in self.owner.streams], [client.address] * 2)
        self.assertEqual(self.owner.streams[0].tls.version, "TLSv1.3")
        for stream in self.owner.streams:
            stream.write(b"answer")
            stream.loseConnection()
        self.exchange()
        self.assertEqual((client.data, client.ended), ({0: b"answer", 4: b"answer"}, {0, 4}))
        self.assertEqual([str(heard.reason.value) for heard in self.owner.heard], ["Connection was closed cleanly."] * 2)

    def test_streams_may_arrive_in_any_order(self) -> None:
        """The later one first, as after a loss."""
        client = self.connected()
        client.quic.send_stream_data(0, b"first")
        lost = client.quic.datagrams_to_send(self.clock.seconds())
        client.quic.send_stream_data(4, b"second")
        self.exchange(3)
        self.assertEqual([heard.data for heard in self.owner.heard], [b"second"])
        for data, _ in lost:
            self.wire.received(data, (client.address, None))
        self.exchange()
        self.assertEqual(sorted(heard.data for heard in self.owner.heard), [b"first", b"second"])

    def test_a_reader_that_rests_stops_its_client(self) -> None:
        """What it has not read is at most the window; when it goes on everything arrives."""
        client = self.connected()
        client.quic.send_stream_data(0, b"x")
        self.exchange()
        stream, heard = self.owner.streams[0], self.owner.heard[0]
        stream.pauseProducing()
        data = bytes(range(256)) * (STREAM_WINDOW // 64)
        client.quic.send_stream_data(0, data, end_stream=True)
        self.exchange()
        self.assertEqual((len(heard.data), stream.ahead), (1, STREAM_WINDOW - 1))
        stream.resumeProducing()
        self.exchange(3000)
        self.assertEqual(len(heard.data), 1 + len(data))
        self.assertTrue(heard.data[1:] == data)
        self.assertTrue(heard.read_closed)

    def test_all_streams_together_are_bounded_too(self) -> None:
        client = self.connected()
        self.owner.protocol = Pausing
        count = 2 * WINDOW // STREAM_WINDOW
        for number in range(0, 4 * count, 4):
            client.quic.send_stream_data(number, bytes(STREAM_WINDOW))
        self.exchange(3000)
        self.assertLessEqual(sum(stream.ahead for stream in self.owner.streams), WINDOW)
        self.assertGreater(sum(stream.ahead for stream in self.owner.streams), WINDOW // 2)
        for _ in range(5):
            for stream in self.owner.streams:
                stream.resumeProducing()
            self.exchange(3000)
        self.assertEqual(sum(len(heard.data) for heard in self.owner.heard), count * STREAM_WINDOW)

    def test_what_a_client_does_not_take_stays_with_the_writer(self) -> None:
        client = self.connected()
        client.quic._write_stream_limits = lambda **_: None  # type: ignore[method-assign]
        client.quic._write_connection_limits = lambda **_: None  # type: ignore[method-assign]
        client.quic.send_stream_data(0, b"x")
        self.exchange()
        stream = self.owner.streams[0]
        stream.write(bytes(3 << 20))
        self.exchange(3000)
        self.assertEqual(len(client.data[0]), 1 << 20)
        self.assertEqual(stream.queued, (3 << 20) - (1 << 20) - SEND_BUFFER)

    def test_a_client_that_breaks_off_is_heard(self) -> None:
        client = self.connected()
        for number in (0, 4):
            client.quic.send_stream_data(number, b"x")
        self.exchange()
        client.quic.reset_stream(0, 9)
        client.quic.stop_stream(4, 9)
        self.exchange()
        for heard in self.owner.heard:
            self.assertIn("broke the stream off", str(heard.reason.value))
        self.assertEqual((client.resets, client.stops), ([0, 4], [4]), "both directions of both end")
        self.owner.streams[1].write(b"ignored")
        self.exchange()
        self.assertIsNone(client.terminated)

    def test_an_answer_is_whole_though_nothing_more_is_read(self) -> None:
        """The client resets what it sends when it is told so: what it gets has nothing to do with that."""
        client = self.connected()
        client.quic.send_stream_data(0, b"x")
        self.exchange()
        stream = self.owner.streams[0]
        stream.write(bytes(1 << 20))
        stream.loseConnection()
        self.exchange(3000)
        self.assertEqual((client.stops, len(client.data[0]), client.ended), ([0], 1 << 20, {0}))

    def test_an_abort_breaks_off_both_directions(self) -> None:
        client = self.connected()
        client.quic.send_stream_data(0, b"x")
        self.exchange()
        self.owner.streams[0].abortConnection()
        self.exchange()
        self.assertEqual((client.resets, client.stops), ([0], [0]))

    def test_what_nobody_reads_any_more_opens_the_window_of_the_others(self) -> None:
        client = self.connected()
        self.owner.protocol = Pausing
        for number in range(0, 64, 4):
            client.quic.send_stream_data(number, bytes(STREAM_WINDOW))
            self.exchange(600)
            self.owner.streams[-1].abortConnection()
            self.exchange(600)
        self.owner.protocol = HalfCloseRecorder
        client.quic.send_stream_data(64, bytes(100_000), end_stream=True)
        self.exchange(2000)
        self.assertEqual(len(self.owner.heard[-1].data), 100_000)

    def test_the_number_of_streams_is_bounded(self) -> None:
        """And a stream that ends makes place for another."""
        client = self.connected()
        for number in range(0, 4 * (MOST_STREAMS + 1), 4):
            client.quic.send_stream_data(number, b"x", end_stream=True)
        self.exchange()
        self.assertEqual(len(self.owner.streams), MOST_STREAMS)
        for stream in self.owner.streams:
            stream.loseConnection()
        self.exchange()
        self.assertEqual(len(self.owner.streams), MOST_STREAMS + 1)

    def test_a_client_that_sends_more_than_it_may_is_closed(self) -> None:
        client = self.connected()
        client.quic.send_stream_data(0, b"x")
        self.exchange()
        self.owner.streams[0].pauseProducing()
        client.stream(0).max_stream_data_remote = 1 << 30
        client.quic._remote_max_data = 1 << 30
        client.quic.send_stream_data(0, bytes(2 * WINDOW))
        self.exchange(3000)
        self.assertIn("stream data limit", client.terminated.reason_phrase)
        self.assertEqual(self.owner.over, [True])

    def test_unidirectional_streams_are_not_for_us(self) -> None:
        client = self.connected()
        client.quic._remote_max_streams_uni = 10
        client.quic._remote_max_stream_data_uni = 10
        client.quic.send_stream_data(2, b"x")
        self.exchange()
        self.assertEqual(self.owner.streams, [])
        self.assertIn("Too many streams", client.terminated.reason_phrase)


class Pausing(HalfCloseRecorder):
    """Reads nothing by itself."""

    def makeConnection(self, transport: Any) -> None:
        super().makeConnection(transport)
        transport.pauseProducing()


class EndTests(QUICCase):
    """How connections end, and who may come."""

    def test_a_closed_connection_takes_its_streams_along(self) -> None:
        client = self.connected()
        client.quic.send_stream_data(0, b"x")
        self.exchange()
        client.quic.close(reason_phrase="bye")
        self.exchange()
        self.assertEqual(str(self.owner.heard[0].reason.value), "Connection to the other side was lost in a non-clean fashion: bye.")
        self.assertEqual((self.owner.over, len(self.endpoint)), ([True], 0))

    def test_one_that_is_silent_ends_by_time(self) -> None:
        client = self.connected()
        client.quic.send_stream_data(0, b"x")
        self.exchange()
        self.clients.clear()
        for _ in range(40):
            self.clock.advance(1)
        self.assertEqual((self.owner.over, len(self.endpoint)), ([True], 0))
        self.assertIsNotNone(self.owner.heard[0].reason)
        self.assertEqual(self.clock.getDelayedCalls(), [])
        self.assertLess(IDLE_TIMEOUT, 40)

    def test_a_handshake_that_stalls_ends_by_time(self) -> None:
        client = self.client()
        for data, _ in client.quic.datagrams_to_send(self.clock.seconds()):
            self.wire.received(data, (client.address, None))
        self.clients.clear()
        self.assertEqual(len(self.endpoint), 1)
        for _ in range(11):
            self.clock.advance(1)
        self.assertEqual((self.owner.over, len(self.endpoint)), ([False], 0))

    def test_who_goes_lets_streams_finish(self) -> None:
        """Withdrawn: nobody new, connections end with their last stream, then the socket is closed."""
        client, idle = self.connected(), self.connected()
        client.quic.send_stream_data(0, b"x")
        self.exchange()
        done: list[Any] = []
        self.offer.withdraw().addCallback(done.append)
        self.exchange()
        self.assertIsNotNone(idle.terminated)
        late = self.client()
        self.exchange(20)
        self.assertFalse(late.connected)
        self.assertEqual(done, [])
        stream = self.owner.streams[0]
        stream.write(bytes(100_000))
        stream.loseConnection()
        self.exchange(2000)
        self.assertEqual(len(client.data[0]), 100_000)
        self.assertEqual(client.terminated.reason_phrase, "going offline")
        self.assertEqual((len(done), self.forgotten, self.wire.stopped), (1, [True], True))

    def test_who_comes_after_gets_what_is_offered_last(self) -> None:
        """And who is there stays with whom let it in."""
        client = self.connected()
        other = Owner()
        self.endpoint.offer(other, quic_settings(OPTIONS))
        late = self.connected()
        for each in (client, late):
            each.quic.send_stream_data(0, b"x", end_stream=True)
        self.exchange()
        self.assertEqual((len(self.owner.streams), len(other.streams)), (1, 1))

    def test_it_goes_on_at_another_socket(self) -> None:
        client = self.connected()
        old = self.wire
        sock: Any = Sock()
        self.endpoint.move(sock)
        pump(self.clock)
        self.assertTrue(old.stopped)
        self.assertTrue(self.wire.sent, "the client hears from there")
        client.quic.send_stream_data(0, b"x", end_stream=True)
        self.exchange()
        self.assertEqual(self.owner.heard[0].data, b"x")

    def test_who_may_not_come_hears_nothing(self) -> None:
        self.owner.welcome = False
        client = self.client()
        self.exchange(20)
        self.assertFalse(client.connected)
        self.assertEqual((len(self.endpoint), self.wire.sent), (0, []))

    def test_with_many_handshakes_an_address_must_be_proved(self) -> None:
        """By a Retry: another packet before anything is kept of the client."""
        self.patch(endpoint_module, "RETRY_ABOVE", 0)
        client = self.client()
        (data, _), *_ = client.quic.datagrams_to_send(self.clock.seconds())
        self.wire.received(data, (client.address, None))
        self.assertEqual(len(self.endpoint), 0)
        self.exchange()
        self.assertTrue(client.connected)
        self.assertEqual(client.quic._retry_count, 1)

    def test_a_token_of_somebody_else_is_as_good_as_none(self) -> None:
        client = self.client()
        client.quic._peer_token = b"x" * 60
        self.exchange()
        self.assertTrue(client.connected)
        self.assertEqual(client.quic._retry_count, 1)

    def test_their_number_is_bounded(self) -> None:
        self.patch(endpoint_module, "MOST_CONNECTIONS", 1)
        self.connected()
        late = self.client()
        self.exchange(20)
        self.assertFalse(late.connected)
        self.assertEqual(len(self.endpoint), 1)

    def test_another_version_is_told_ours(self) -> None:
        client = self.client()
        (data, _), *_ = client.quic.datagrams_to_send(self.clock.seconds())
        self.wire.received(data[:1] + b"\x1a\x2a\x3a\x4a" + data[5:], (client.address, None))
        ((answer, _),) = self.wire.sent
        self.assertEqual((answer[1:5], len(answer) < len(data)), (bytes(4), True))

    @given(st.binary(max_size=1500))
    def test_anything_may_arrive(self, data: bytes) -> None:
        self.wire.received(data, (("198.51.100.9", 9), None))
        self.wire.received(b"\xc3\x00\x00\x00\x01\x08" + data.ljust(1300, b"\0"), (("198.51.100.9", 9), None))
        self.assertEqual(self.flushLoggedErrors(), [])


class TicketTests(QUICCase):
    """Sessions that are resumed."""

    def offered(self, keys: Any, **more: Any) -> None:
        """What clients find from now on."""
        self.endpoint.offer(self.owner, quic_settings(ServerTLSOptions(cert_pairs=(pair("a.test"),), **more), keys))

    def test_a_session_is_resumed_wherever_the_keys_are(self) -> None:
        """And the resumed connection brings the next ticket."""
        keys = LocalKeys(LocalSecrets(self.clock.seconds), 100)
        self.offered(keys)
        (ticket,) = self.connected().tickets
        self.offered(keys)
        client = self.connected(ticket)
        self.assertTrue(client.resumed)
        client.quic.send_stream_data(0, b"x", end_stream=True)
        self.exchange()
        self.assertEqual((self.owner.heard[0].data, self.owner.streams[0].tls.resumed), (b"x", True))
        self.assertEqual(len(client.tickets), 1)
        self.offered(LocalKeys(LocalSecrets(self.clock.seconds), 100))
        self.assertFalse(self.connected(ticket).resumed, "another's keys")
        self.offered(keys, session_id_context="other")
        self.assertFalse(self.connected(ticket).resumed, "another configuration's")

    def test_without_keys_there_are_no_tickets(self) -> None:
        self.assertEqual(self.connected().tickets, [])

    def test_early_data_is_not_accepted(self) -> None:
        """Also of a client that was not offered it."""
        self.offered(LocalKeys(LocalSecrets(self.clock.seconds), 100))
        (ticket,) = self.connected().tickets
        self.assertIsNone(ticket.max_early_data_size)
        ticket.max_early_data_size = 0xFFFFFFFF
        client = self.client(ticket)
        client.quic.send_stream_data(0, b"once more")
        self.exchange()
        self.assertEqual((self.owner.streams, self.owner.over, client.connected), ([], [False], False))

    @given(st.binary(max_size=300))
    def test_what_is_no_ticket_opens_nothing(self, data: bytes) -> None:
        keys = LocalKeys(LocalSecrets(self.clock.seconds), 100)
        office = TicketOffice(keys, b"context")
        self.assertIsNone(office.open(data))
        self.assertIsNone(office.open(keys.current().name + data))


class SettingsTests(SynchronousTestCase):
    """What QUIC cannot do is told."""

    def test_what_is_refused(self) -> None:
        for more, word in (({"enable_client_auth": True}, "enable_client_auth"), ({"max_tls_version": TLSVersion.TLS1_2}, "max_tls_version")):
            options = ServerTLSOptions(cert_pairs=(pair("a.test"),), **more)  # type: ignore[arg-type]
            self.assertEqual([line.split(":")[0] for line in quic_problems(options)], [word])
            self.assertRaises(ConfigError, quic_settings, options)
        self.assertEqual(quic_problems(OPTIONS), [])

    def test_what_has_no_effect(self) -> None:
        options = ServerTLSOptions(cert_pairs=(pair("a.test"),), ciphers=("x",), supported_groups="x", ocsp_response=OCSPResponse(b"x"))
        self.assertEqual([line.split(":")[0] for line in quic_warnings(options)], ["ciphers", "supported_groups", "ocsp_response"])


class SocketTests(SynchronousTestCase):
    """Answers leave from the address that was asked."""

    def test_the_address_that_was_asked_answers(self) -> None:
        from twisted.internet import reactor

        for family, wild, client in ((socket.AF_INET, "0.0.0.0", "127.0.0.5"), (socket.AF_INET6, "::", "127.0.0.5"), (socket.AF_INET6, "::", "::1")):
            sock = socket.socket(family, socket.SOCK_DGRAM)
            if wild == "::":
                sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
            sock.setblocking(False)
            sock.bind((wild, 0))
            got: list[Any] = []
            packets = endpoint_module.PacketSocket(reactor, sock, lambda data, source, got=got: got.append((data, source)))
            with socket.socket(socket.AF_INET6 if ":" in client else socket.AF_INET, socket.SOCK_DGRAM) as end:
                end.settimeout(5)
                end.sendto(b"ping", (client, sock.getsockname()[1]))
                while not got:
                    packets.doRead()
                data, source = got[0]
                self.assertEqual(endpoint_module._our_address(source[1], (wild, 99)), (client, 99))
                packets.send(b"pong", source)
                answer, address = end.recvfrom(100)
                self.assertEqual((data, answer, address[0]), (b"ping", b"pong", client))
            packets.stop()
