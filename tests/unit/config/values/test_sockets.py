# SPDX-License-Identifier: Apache-2.0
"""How to listen, connect, set up sockets and speak HTTP, as upstream's files write it."""

from __future__ import annotations

import os
import socket

from twisted.trial.unittest import SynchronousTestCase

from g3.config.document import read_text
from g3.config.problems import Problems
from g3.config.value import ParseContext, Reported, Value
from g3.config.values.http import (
    ConnectionPoolValue,
    ForwardedHeaderValue,
    HeaderName,
    HeaderValue,
    HTTPForwardCapabilityValue,
    HTTPKeepaliveValue,
    PathAndQuery,
    ServerID,
    UpstreamKeepaliveValue,
)
from g3.config.values.tcp import HappyEyeballsValue, KeepaliveValue, TCPConnectValue, TCPListenValue, TCPMiscValue
from g3.config.values.udp import QUICTransportValue, UDPListenValue, UDPMiscValue
from g3.net.options import (
    ConnectionPool,
    ForwardedHeader,
    HappyEyeballs,
    HTTPForwardCapability,
    HTTPKeepalive,
    Keepalive,
    QUICTransport,
    SocketBuffer,
    TCPConnect,
    TCPListen,
    TCPMisc,
    UDPListen,
    UDPMisc,
    UpstreamKeepalive,
)
from g3.net.sockopts import set_keepalive, set_tcp_misc
from tests.unit.config.samples import parse, refusal, told


def reported(value: Value[object], text: str) -> list[str]:
    """Every problem of a value, located."""
    problems = Problems()
    value.attempt(read_text(text, "t", problems)[0], ParseContext(problems))
    return told(problems)


class ListenTests(SynchronousTestCase):
    def test_a_port_means_all_addresses_of_both_families(self) -> None:
        """Port 0 and ports that are none are refused."""
        self.assertEqual(parse(TCPListenValue(), "8080"), TCPListen(address=("::", 8080)))
        self.assertEqual(parse(UDPListenValue(), "8080"), UDPListen(address=("::", 8080)))
        for text in ("0", "65536", "-1", "~", "true", "1.5", "[]", "'8080'", "127.0.0.1", "127.0.0.1:0"):
            self.assertTrue(refusal(TCPListenValue(), text), text)
            self.assertTrue(refusal(UDPListenValue(), text), text)

    def test_an_address_may_come_from_the_environment(self) -> None:
        """Alone or in a map."""
        for text in ("$AT", "{address: $AT}", "{addr: '127.0.0.1:80'}", "127.0.0.1:80"):
            self.assertEqual(parse(TCPListenValue(), text, env={"AT": "127.0.0.1:80"}).address, ("127.0.0.1", 80))

    def test_a_map_says_everything(self) -> None:
        """Under the names and aliases of upstream."""
        text = """{address: "[::]:80", interface: lo, keepalive: 30s, mss: 1400, backlog: 100, fwmark: 7, ipv6only: yes,
                   instance: 3, follow-cpu-affinity: true}"""
        wanted = TCPListen(
            address=("::", 80),
            interface="lo",
            keepalive=Keepalive(enable=True, idle_time=30),
            max_segment_size=1400,
            backlog=100,
            netfilter_mark=7,
            ipv6_only=True,
            instance=3,
            follow_cpu_affinity=True,
        )
        self.assertEqual(parse(TCPListenValue(), text), wanted)
        udp = """{address: "[::]:80", ipv6_only: true, socket_buffer: 64K, socket_misc_opts: {ttl: 9}, instance: 0}"""
        self.assertEqual(
            parse(UDPListenValue(), udp),
            UDPListen(
                address=("::", 80), ipv6_only=True, socket_buffer=SocketBuffer(recv=64000, send=64000), socket_misc_opts=UDPMisc(time_to_live=9)
            ),
        )

    def test_a_map_needs_a_port(self) -> None:
        """There is no default."""
        self.assertEqual(refusal(TCPListenValue(), "{backlog: 9}"), "no port to listen on is set")
        self.assertEqual(refusal(UDPListenValue(), "{address: '127.0.0.1:0'}"), "no port to listen on is set")

    def test_a_backlog_below_8_is_the_default(self) -> None:
        """As upstream."""
        self.assertEqual([parse(TCPListenValue(), f"{{address: '127.0.0.1:80', backlog: {n}}}").backlog for n in (7, 8)], [4096, 8])

    def test_ipv6_only_is_for_the_unspecified_address_of_udp(self) -> None:
        """Elsewhere it is dropped."""
        self.assertIsNone(parse(UDPListenValue(), "{address: '[::1]:80', ipv6_only: true}").ipv6_only)

    def test_scale_counts_by_the_cpus_we_may_use(self) -> None:
        """The larger of instance and scale holds."""
        self.patch(os, "sched_getaffinity", lambda _: set(range(6)))
        for scale, instances in {"1": 6, "0.5": 3, "50%": 3, "'1/3'": 2, "'5/12'": 2, "0.25": 2, "0": 1, "'1.5'": 9}.items():
            self.assertEqual(parse(TCPListenValue(), f"{{address: '127.0.0.1:80', scale: {scale}}}").instance, instances, scale)
        self.assertEqual(parse(TCPListenValue(), "{address: '127.0.0.1:80', scale: 1, instance: 8}").instance, 8)
        for scale in ("-1", "a", "'1/0'", "'1/x'", "~", "[]", ".nan", "'nan'", "1e9", "'1e400%'", "%"):
            self.assertRaises(Reported, parse, TCPListenValue(), f"{{address: '127.0.0.1:80', scale: {scale!s}}}" if scale != "%" else "{scale: '%'}")

    def test_every_problem_of_a_map_is_told(self) -> None:
        """With its place."""
        self.assertEqual(
            reported(TCPListenValue(), "{adress: x, backlog: no,\n keepalive: {idle_tim: 3}}"),
            [
                '1:2: unknown key "adress"; did you mean "address"?',
                '1:22: backlog: expected an integer, not "no"',
                '2:14: unknown key "idle_tim"; did you mean "idle_time"?',
            ],
        )


class ConnectTests(SynchronousTestCase):
    def test_keepalive_is_a_bool_a_duration_or_a_map(self) -> None:
        """A duration enables it, a map does not by itself."""
        for text, keepalive in {
            "true": Keepalive(enable=True),
            "false": Keepalive(),
            "90s": Keepalive(enable=True, idle_time=90),
            "5": Keepalive(enable=True, idle_time=5),
            "{idle_time: 5}": Keepalive(idle_time=5),
            "{enable: on, probe_interval: 1s, probe_count: 3}": Keepalive(enable=True, probe_interval=1, probe_count=3),
        }.items():
            self.assertEqual(parse(KeepaliveValue(), text), keepalive)
        for text in ("yess", "~", "[]"):
            self.assertTrue(refusal(KeepaliveValue(), text), text)

    def test_what_no_kernel_takes_is_refused_and_what_is_taken_can_be_set(self) -> None:
        """Else a start, or every connection, would fail by it."""
        limits = {"{enable: true, idle_time: 32767, probe_interval: 32767, probe_count: 127}": "{mss: 32767, ttl: 255, hop_limit: 255}"}
        limits["{enable: true, idle_time: 0, probe_interval: 0, probe_count: 1}"] = "{mss: 88, ttl: 1, hop_limit: 0}"
        limits["true"] = "{mss: 0, mark: 4294967295}" if os.geteuid() == 0 else "{mss: 0}"
        for keepalive, misc in limits.items():
            for family in (socket.AF_INET, socket.AF_INET6):
                with socket.socket(family) as sock:
                    set_keepalive(sock, parse(KeepaliveValue(), keepalive))
                    set_tcp_misc(sock, parse(TCPMiscValue(), misc))
        for text in ("40000", "10h"):
            self.assertTrue(refusal(KeepaliveValue(), text), text)
        for text in ("{idle_time: 40000}", "{probe_interval: 40000}", "{probe_count: 0}", "{probe_count: 128}"):
            self.assertTrue(reported(KeepaliveValue(), text), text)
        self.assertEqual(reported(TCPMiscValue(), "{mss: 87}"), ["1:7: max_segment_size: 87 is not from 88 to 32767, or 0 for the kernel's choice"])
        for text in ("{mss: 32768}", "{ttl: 0}"):
            self.assertTrue(reported(TCPMiscValue(), text), text)
        self.assertTrue(reported(TCPListenValue(), "{address: '127.0.0.1:1', mss: 87}"))

    def test_connecting_takes_a_map(self) -> None:
        """With upstream's defaults."""
        self.assertEqual(parse(TCPConnectValue(), "{}"), TCPConnect(max_retry=2, each_timeout=30))
        self.assertEqual(parse(TCPConnectValue(), "{max_retry: 0, each_timeout: 500ms}"), TCPConnect(max_retry=0, each_timeout=0.5))
        self.assertEqual(parse(TCPConnectValue(), "{each_timeout: 0}").each_timeout, 30, "no time at all would forbid every connection")
        self.assertEqual(refusal(TCPConnectValue(), "3"), "expected a map, not the number 3")

    def test_the_delay_between_attempts_is_brought_into_its_range(self) -> None:
        """100ms to 2s."""
        self.assertEqual(parse(HappyEyeballsValue(), "{}"), HappyEyeballs())
        for given, taken in {"1ms": 0.1, "300ms": 0.3, "5s": 2.0}.items():
            self.assertEqual(parse(HappyEyeballsValue(), f"{{connection_attempt_delay: {given}}}").connection_attempt_delay, taken)
        self.assertEqual(parse(HappyEyeballsValue(), "{first_resolution_delay: 1}").resolution_delay, 1)

    def test_socket_options_have_short_names(self) -> None:
        """A UDP socket has no no_delay."""
        self.assertEqual(
            parse(TCPMiscValue(), "{no_delay: false, mss: 900, ttl: 1, hop_limit: 2, tos: 3, traffic_class: 4, congestion_control: bbr, mark: 5}"),
            TCPMisc(
                no_delay=False,
                max_segment_size=900,
                time_to_live=1,
                hop_limit=2,
                type_of_service=3,
                traffic_class=4,
                congestion_control="bbr",
                netfilter_mark=5,
            ),
        )
        self.assertEqual(parse(UDPMiscValue(), "{}"), UDPMisc())
        self.assertEqual(reported(UDPMiscValue(), "{no_delay: true}"), ['1:2: unknown key "no_delay"'])
        self.assertEqual(reported(TCPMiscValue(), "{ttl: 256}"), ["1:7: time_to_live: 256 is not from 1 to 255"])

    def test_quic_takes_windows_and_times(self) -> None:
        """With upstream's defaults."""
        self.assertEqual(parse(QUICTransportValue(), "{}"), QUICTransport())
        self.assertEqual(
            parse(QUICTransportValue(), "{max_idle_timeout: 5, send_window: 1MiB}"), QUICTransport(max_idle_timeout=5, send_window=1 << 20)
        )


class HTTPTests(SynchronousTestCase):
    def test_http_keepalive_is_on_unless_it_is_said_to_be_off(self) -> None:
        """A bool, a duration or a map."""
        for text, keepalive in {
            "true": HTTPKeepalive(),
            "false": HTTPKeepalive(enable=False),
            "30": HTTPKeepalive(idle_expire=30),
            "{}": HTTPKeepalive(),
            "{enable: 0, idle_expire: 1m}": HTTPKeepalive(enable=False, idle_expire=60),
        }.items():
            self.assertEqual(parse(HTTPKeepaliveValue(), text), keepalive)

    def test_connections_to_upstreams_may_be_shared(self) -> None:
        """Only if it is said."""
        self.assertEqual(parse(UpstreamKeepaliveValue(), "20s"), UpstreamKeepalive(idle_expire=20, shared=False))
        self.assertEqual(parse(UpstreamKeepaliveValue(), "{shared: true}"), UpstreamKeepalive(shared=True))
        self.assertEqual(reported(HTTPKeepaliveValue(), "{shared: true}"), ['1:2: unknown key "shared"'])

    def test_a_pool_has_more_at_most_than_at_least(self) -> None:
        """Else there is a warning."""
        self.assertEqual(parse(ConnectionPoolValue(), "{max_idle_count: 5, min_idle_count: 1}"), ConnectionPool(max_idle_count=5, min_idle_count=1))
        self.assertEqual(reported(ConnectionPoolValue(), "{max_idle_count: 5}"), ["1:1: min_idle_count is above max_idle_count, 5"])

    def test_forwarded_headers_are_words_or_a_bool(self) -> None:
        """true is classic."""
        words = {
            "none": "DISABLE",
            "false": "DISABLE",
            "off": "DISABLE",
            "true": "CLASSIC",
            "Classic": "CLASSIC",
            "RFC7239": "STANDARD",
            "1": "CLASSIC",
        }
        for text, member in words.items():
            self.assertIs(parse(ForwardedHeaderValue(), text), ForwardedHeader[member], text)
        self.assertTrue(refusal(ForwardedHeaderValue(), "modern"))

    def test_forwarding_of_ftp_is_said_at_once_or_by_method(self) -> None:
        """The method's word counts."""
        got = parse(HTTPForwardCapabilityValue(), "{forward_ftp: true, forward_ftp_del: false, forward_https: true}")
        self.assertEqual(got, HTTPForwardCapability(forward_https=True, forward_ftp_get=True, forward_ftp_put=True))
        self.assertEqual(parse(HTTPForwardCapabilityValue(), "{}"), HTTPForwardCapability())

    def test_a_server_id_is_printable_ascii_without_separators(self) -> None:
        """It stands in headers."""
        self.assertEqual(parse(ServerID(), "'proxy 1 (x)'"), "proxy 1 (x)")
        for text in ("'a;b'", "'a,b'", '"a\\nb"', "ü", "''", "5", '"a\\x7f"'):
            self.assertTrue(refusal(ServerID(), text), text)

    def test_headers_cannot_break_lines(self) -> None:
        """Neither by name nor by value."""
        self.assertEqual(parse(HeaderName(), "X-Id"), "x-id")
        self.assertEqual(parse(HeaderValue(), "1.10"), "1.10")
        for text in ('"a b"', "''", '"a\\r"', '"a:"', "é"):
            self.assertTrue(refusal(HeaderName(), text), text)
        for text in ('"a\\r\\nb: c"', '"\\0"', "日本"):
            self.assertTrue(refusal(HeaderValue(), text), text)
        self.assertEqual(parse(PathAndQuery(), "/a?b=c"), "/a?b=c")
        for text in ("a", "'/a b'", "'/a#b'", '"/a\\n"', "/é"):
            self.assertTrue(refusal(PathAndQuery(), text), text)
