# SPDX-License-Identifier: Apache-2.0
"""Receiving datagrams: bound as asked, read in bounded batches, left to the kernel while paused."""

from __future__ import annotations

import socket
from typing import Any

from twisted.internet.task import deferLater
from twisted.trial.unittest import TestCase

from g3.errors import ConfigError
from g3.net.options import SocketBuffer, UDPListen
from g3.net.udp_listen import BATCH, DatagramListener, bind_udp


class UDPTests(TestCase):
    def setUp(self) -> None:
        from twisted.internet import reactor

        self.reactor = reactor
        self.received: list[bytes] = []
        self.listener = self.listen()
        self.client = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.addCleanup(self.client.close)
        self.client.settimeout(2)
        self.client.connect(self.listener.address)

    def listen(self, **options: Any) -> DatagramListener:
        sock = bind_udp(UDPListen(**{"address": ("127.0.0.1", 0), **options}))
        listener = DatagramListener(self.reactor, sock, self.on_datagram, 100)
        self.addCleanup(listener.stop)
        return listener

    def on_datagram(self, data: bytes, peer: Any) -> None:
        self.received.append(data)
        if data == b"bad":
            raise RuntimeError("a fault of whoever reads")
        self.listener.send(data.upper(), peer)

    async def wait(self, seconds: float = 0.1) -> None:
        await deferLater(self.reactor, seconds, lambda: None)

    async def test_a_datagram_is_answered(self) -> None:
        self.listener.start()
        self.client.send(b"hello")
        await self.wait()
        self.assertEqual(self.client.recv(100), b"HELLO")

    async def test_while_paused_the_kernel_keeps_them(self) -> None:
        self.listener.start()
        self.listener.pause()
        for _ in range(BATCH + 5):
            self.client.send(b"x")
        await self.wait()
        self.assertEqual(self.received, [])
        self.listener.start()
        await self.wait()
        self.assertEqual(len(self.received), BATCH + 5)

    async def test_a_fault_while_reading_one_does_not_lose_the_next(self) -> None:
        self.listener.start()
        self.client.send(b"bad")
        self.client.send(b"good")
        await self.wait()
        self.assertEqual(self.received, [b"bad", b"good"])
        self.assertEqual(len(self.flushLoggedErrors(RuntimeError)), 1)

    async def test_a_peer_that_is_gone_is_no_error(self) -> None:
        self.listener.start()
        self.client.send(b"bye")
        self.client.close()
        await self.wait()
        other = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.addCleanup(other.close)
        other.connect(self.listener.address)
        other.send(b"next")
        await self.wait()
        self.assertEqual(self.received, [b"bye", b"next"])

    async def test_datagrams_over_the_limit_are_cut(self) -> None:
        self.listener.start()
        self.client.send(bytes(300))
        await self.wait()
        self.assertEqual(self.received, [bytes(100)])

    def test_both_families_are_served_on_the_unspecified_address(self) -> None:
        listener = self.listen(address=("::", 0))
        listener.start()
        assert listener.socket is not None
        self.assertEqual(listener.socket.getsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY), 0)

    def test_buffers_are_set(self) -> None:
        sock = bind_udp(UDPListen(address=("127.0.0.1", 0), socket_buffer=SocketBuffer(recv=32768)))
        self.addCleanup(sock.close)
        self.assertEqual(sock.getsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF), 65536)

    def test_an_address_taken_is_an_error_that_names_it(self) -> None:
        host, port = self.listener.address
        error = self.assertRaises(ConfigError, bind_udp, UDPListen(address=(host, port)))
        self.assertEqual(str(error), f"cannot receive datagrams on {host}:{port}: Address already in use (another program receives there)")

    def test_after_stop_nothing_is_sent(self) -> None:
        address = self.listener.address
        self.listener.stop()
        self.listener.stop()
        self.assertFalse(self.listener.send(b"x", address))
