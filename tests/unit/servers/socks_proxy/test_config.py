# SPDX-License-Identifier: Apache-2.0
"""Tests of g3.servers.socks_proxy.config."""

from __future__ import annotations

from ipaddress import ip_address
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from g3.config.document import read_text
from g3.config.problems import Problems
from g3.config.schema import dump_map, keys_of, parse_map
from g3.config.value import ParseContext
from g3.limit.options import DatagramSpeed
from g3.net.options import PortRange, SocketBuffer
from g3.servers.socks_proxy.config import SocksProxyConfig

#: upstream: configuration/servers/socks_proxy, and the keys its source accepts beside them.
KEYS = """escaper auditor user_group shared_logger listen listen_in_worker use_udp_associate udp_bind_ipv4 udp_bind_ipv6 udp_bind_port_range
udp_socket_buffer ingress_network_filter dst_host_filter_set dst_port_filter tcp_sock_speed_limit tcp_conn_speed_limit udp_sock_speed_limit
udp_relay_speed_limit tcp_copy_buffer_size tcp_copy_yield_size udp_relay_packet_size udp_relay_yield_size udp_relay_batch_size tcp_misc_opts
udp_misc_opts negotiation_timeout udp_client_initial_timeout task_idle_check_interval task_idle_check_duration task_idle_max_count
flush_task_log_on_created flush_task_log_on_connected task_log_flush_interval transmute_udp_echo_ip auto_reply_local_ip_map username_params
extra_metrics_tags"""
ALIASES = """enable_udp_associate udp_associate_enabled ingress_net_filter tcp_conn_limit conn_limit udp_relay_limit relay_limit
username_params_to_escaper_addr"""


def parse(text: str) -> tuple[SocksProxyConfig | None, list[str]]:
    """The configuration of the lines of a server, and what was said about it."""
    problems = Problems()
    (node,) = read_text("name: s\nescaper: e\n" + text, "server.yaml", problems)
    made = parse_map(SocksProxyConfig, node, ParseContext(problems, Path()))
    return made, [str(problem) for problem in (*problems.errors, *problems.warnings)]


class SocksProxyConfigTests(SynchronousTestCase):
    def good(self, text: str) -> SocksProxyConfig:
        made, said = parse(text)
        self.assertEqual(said, [])
        assert made is not None
        return made

    def test_its_keys_are_upstreams(self) -> None:
        words = {word for key in keys_of(SocksProxyConfig) for word in key.words}
        self.assertEqual(words - {"name"}, {*KEYS.split(), *ALIASES.split()})

    def test_defaults(self) -> None:
        made = self.good("")
        self.assertEqual((made.negotiation_timeout, made.udp_client_initial_timeout, made.use_udp_associate), (4.0, 30.0, False))
        self.assertEqual((made.packet_size, made.batch_size, made.echo_ip(ip_address("192.0.2.1"))), (4096, 8, ip_address("192.0.2.1")))

    def test_values(self) -> None:
        made = self.good(
            "enable-udp-associate: yes\nudp_bind_ipv4: [192.0.2.1, 192.0.2.2]\nudp_bind_ipv6: 2001:db8::1\nudp_bind_port_range: 2000-3000\n"
            "udp_socket_buffer: 1M\nudp_sock_speed_limit: 10K"
        )
        self.assertTrue(made.use_udp_associate)
        self.assertEqual((len(made.udp_bind_ipv4), len(made.udp_bind_ipv6), made.udp_bind_port_range), (2, 1, PortRange(2000, 3000)))
        self.assertEqual(made.datagram_relay.socket_buffer, SocketBuffer(recv=1000000, send=1000000))
        self.assertEqual(made.udp_sock_speed_limit, DatagramSpeed(shift=10, upload_bytes=10000, download_bytes=10000))

    def test_what_a_client_is_told_in_place_of_a_local_address(self) -> None:
        """No map: the address. A map: what it says, else unspecified; true is an empty map, false none."""
        here, other, six = ip_address("192.0.2.1"), ip_address("192.0.2.9"), ip_address("2001:db8::1")
        mapped = self.good("transmute_udp_echo_ip: {192.0.2.1: 198.51.100.1}")
        self.assertEqual([str(mapped.echo_ip(ip)) for ip in (here, other, six)], ["198.51.100.1", "0.0.0.0", "::"])
        self.assertEqual(str(self.good("transmute_udp_echo_ip: true").echo_ip(here)), "0.0.0.0")
        self.assertEqual(self.good("transmute_udp_echo_ip: false").echo_ip(here), here)
        old, said = parse("auto_reply_local_ip_map: {192.0.2.1: 198.51.100.1}")
        self.assertEqual((str(old and old.echo_ip(here)), len(said)), ("198.51.100.1", 1))
        self.assertEqual(dump_map(mapped)["transmute_udp_echo_ip"], {"192.0.2.1": "198.51.100.1"})
        self.assertEqual(hash(mapped), hash(self.good("transmute_udp_echo_ip: {192.0.2.1: 198.51.100.1}")))

    def test_sizes_beyond_the_bounds_are_taken_as_the_bound(self) -> None:
        made, said = parse("udp_relay_packet_size: 1M\nudp_relay_batch_size: 100000")
        assert made is not None
        self.assertEqual((made.packet_size, made.batch_size, len(said)), (65536, 16, 1))
        made, said = parse("udp_relay_packet_size: 1")
        assert made is not None
        self.assertEqual((made.packet_size, len(said)), (512, 1))

    def test_what_is_wrong(self) -> None:
        for text in (
            "udp_bind_ipv4: ::1",
            "udp_bind_ipv6: 192.0.2.1",
            "udp_bind_port_range: 3000-2000",
            "udp_bind_port_range: 0-5",
            "transmute_udp_echo_ip: {a: 192.0.2.1}",
            "transmute_udp_echo_ip: [192.0.2.1]",
            "negotiation_timeout: soon",
            "udp_relay_batch_size: 0",
            "username_params: {keys_for_host: [a]}",
            "tls_server: {}",
        ):
            made, said = parse(text)
            self.assertIsNone(made, text)
            self.assertEqual(len(said), 1, text)
