# SPDX-License-Identifier: Apache-2.0
"""What the keys of a UDP session do: its socket, its limits, its batches and its records, over a path that is a double."""

from __future__ import annotations

import socket
from ipaddress import ip_address, ip_network
from typing import Any

from g3.acl import Action
from g3.acl.network import ingress_filter
from g3.limit.options import DatagramSpeed
from g3.net.options import SocketBuffer, UDPMisc
from g3.proto.socks import v5
from tests.unit.servers.socks_proxy.test_connection import UDPSessionCase


class UDPKeyTests(UDPSessionCase):
    @property
    def exchange(self) -> Any:
        return next(iter(self.server.connections)).exchange  # type: ignore[attr-defined]

    def read(self) -> None:
        self.exchange._socket.doRead()

    def test_the_options_of_its_socket(self) -> None:
        """udp_misc_opts and udp_socket_buffer; the kernel doubles the latter."""
        self.session(udp_misc_opts=UDPMisc(type_of_service=16, time_to_live=9), udp_socket_buffer=SocketBuffer(recv=30000, send=40000))
        raw = self.exchange._socket.socket
        found = [raw.getsockopt(socket.IPPROTO_IP, name) for name in (socket.IP_TOS, socket.IP_TTL)]
        found += [raw.getsockopt(socket.SOL_SOCKET, name) for name in (socket.SO_RCVBUF, socket.SO_SNDBUF)]
        self.assertEqual(found, [16, 9, 60000, 80000])

    def test_an_address_of_either_family_to_bind(self) -> None:
        """udp_bind_ipv4 and udp_bind_ipv6, each for the clients that name an address of its family."""
        binds = {"udp_bind_ipv4": (ip_address("127.0.0.2"),), "udp_bind_ipv6": (ip_address("::1"),)}
        for claim, bound in (("0.0.0.0", "127.0.0.2"), ("127.0.0.1", "127.0.0.2"), ("::1", "::1"), ("::", "::1")):
            self.session(claim, **binds)
            self.assertEqual(self.exchange._socket.socket.getsockname()[0], bound, claim)
            self.assertEqual(self.relay[0], bound)

    def test_a_batch_is_as_long_as_it_says(self) -> None:
        """udp_relay_batch_size; what is left waits in the kernel."""
        client = self.session(udp_relay_batch_size=2)
        self.datagram(client, "a.test")
        for _ in range(3):
            client.sendto(v5.datagram_header("a.test", 53) + b"x", self.relay)
        self.read()
        self.assertEqual(len(self.path.sent), 3)
        self.read()
        self.assertEqual(len(self.path.sent), 4)

    def test_a_speed_limit_of_each_direction(self) -> None:
        """udp_sock_speed_limit: the client's socket is read no more, and the path is held."""
        client = self.session(udp_sock_speed_limit=DatagramSpeed(shift=10, upload_packets=3, download_packets=2))
        self.datagram(client, "a.test")
        for _ in range(4):
            client.sendto(v5.datagram_header("a.test", 53) + b"x", self.relay)
        self.read()
        self.assertEqual(len(self.path.sent), 3)
        for _ in range(2):
            self.path.receiver.datagram_received(b"y", None)
        self.assertEqual(len(self.path.held), 1)
        self.clock.advance(1.1)
        self.read()
        self.assertEqual(len(self.path.sent), 5)

    def test_who_may_send_is_asked_of_the_ingress_rules(self) -> None:
        """ingress_network_filter holds for the sender of the first datagram as it does for the TCP connection."""
        rules = ingress_filter([(ip_network("127.0.0.2"), Action.FORBID)], Action.PERMIT)
        client = self.session("127.0.0.2", ingress_network_filter=rules)
        client.bind(("127.0.0.2", 0))
        client.sendto(v5.datagram_header("a.test", 53) + b"x", self.relay)
        self.read()
        self.closed()
        self.assertEqual((self.escaper.tasks, self.log.records[-1]["reason"]), ([], "ForbiddenByRule"))

    def test_its_records(self) -> None:
        """flush_task_log_on_created, flush_task_log_on_connected, task_log_flush_interval."""
        client = self.session(flush_task_log_on_created=True, flush_task_log_on_connected=True, task_log_flush_interval=1.0)
        self.datagram(client, "a.test")
        self.clock.advance(1.5)
        self.theirs.loseConnection()
        self.closed()
        self.assertEqual([record["task_event"] for record in self.log.records], ["Created", "Connected", "Periodic", "Finished"])
