# SPDX-License-Identifier: Apache-2.0
"""Addresses, hosts, upstreams and ports as upstream's files write them."""

from __future__ import annotations

import socket
from ipaddress import ip_address, ip_network

from twisted.trial.unittest import SynchronousTestCase

from g3.acl.match import Fact, FactKind
from g3.config.document import Node, read_text
from g3.config.problems import Problems
from g3.config.value import ParseContext, Reported
from g3.config.values import net
from g3.config.values.net import (
    Domain,
    FactValue,
    HostValue,
    Interface,
    IPList,
    IPNet,
    IPValue,
    PickPolicyValue,
    PortRangeValue,
    Ports,
    ProxyProtocolVersion,
    SocketAddr,
    SocketBufferValue,
    UpstreamAddr,
    WeightedUpstream,
)
from g3.net.options import PortRange, SocketBuffer
from g3.pick import PickPolicy, Weighted
from g3.task import Upstream
from tests.unit.config.samples import parse, refusal


class AddressTests(SynchronousTestCase):
    def test_an_address_is_a_string(self) -> None:
        """A v4-mapped one is IPv4; zones, ports and leading zeros are refused."""
        for text in ("192.0.2.1", "'2001:db8::1'", "'::ffff:192.0.2.1'"):
            self.assertEqual(str(parse(IPValue(), text)), text.strip("'").removeprefix("::ffff:"))
        for text in ("localhost", "192.0.2.1:80", "192.0.2.01", "'fe80::1%lo'", "''", "192.0.2.0/24"):
            self.assertIn("is not an IP address", refusal(IPValue(), text))
        for text in ("1", "~", "[]", "{}", "true"):
            self.assertIn("expected an IP address", refusal(IPValue(), text))

    def test_a_family_may_be_demanded(self) -> None:
        """And is named."""
        self.assertEqual(refusal(IPValue(4), "'::1'"), '"::1" is not an IPv4 address')
        self.assertEqual(parse(IPList(), "[192.0.2.1, '::1']"), (ip_address("192.0.2.1"), ip_address("::1")))
        self.assertEqual(parse(IPList(), "192.0.2.1"), (ip_address("192.0.2.1"),))

    def test_a_network_has_no_bits_right_of_its_prefix(self) -> None:
        """An address is a network of one; the message says what was probably meant."""
        self.assertEqual(parse(IPNet(), "10.0.0.0/8"), ip_network("10.0.0.0/8"))
        self.assertEqual(parse(IPNet(), "10.0.0.1"), ip_network("10.0.0.1/32"))
        self.assertEqual(parse(IPNet(), "'::ffff:10.0.0.0/104'"), ip_network("10.0.0.0/8"))
        self.assertEqual(refusal(IPNet(), "10.0.0.1/8"), '"10.0.0.1/8" has bits set right of its prefix; did you mean "10.0.0.0/8"?')
        for text in ("10.0.0.0/33", "10.0.0.0/255.0.0.0", "10/8", "10.0.0.0/", "a/8", "'fe80::%lo/10'", "10.0.0.0/-1"):
            self.assertIn("is not an IP network", refusal(IPNet(), text), text)


class SocketAddressTests(SynchronousTestCase):
    def test_it_is_an_address_with_a_port(self) -> None:
        """IPv6 in brackets."""
        self.assertEqual(parse(SocketAddr(), "127.0.0.1:80"), ("127.0.0.1", 80))
        self.assertEqual(parse(SocketAddr(), "'[::1]:80'"), ("::1", 80))
        self.assertEqual(parse(SocketAddr(), "'[::ffff:127.0.0.1]:80'"), ("127.0.0.1", 80))
        self.assertEqual(parse(SocketAddr(default_port=53), "127.0.0.1"), ("127.0.0.1", 53))
        for text in (
            "localhost:80",
            "'::1:80'",
            "127.0.0.1",
            "'[::1]'",
            "127.0.0.1:65536",
            "127.0.0.1:",
            "127.0.0.1:+1",
            "'[::1:80'",
            "':80'",
            "$A",
            "'@a'",
        ):
            refusal(SocketAddr(), text)

    def test_a_dollar_names_an_environment_variable(self) -> None:
        """Whose problems are told with its name."""
        value = SocketAddr(indirect=True)
        self.assertEqual(parse(value, "$LISTEN", env={"LISTEN": "127.0.0.1:80"}), ("127.0.0.1", 80))
        self.assertEqual(refusal(value, "$LISTEN"), 'environment variable "LISTEN" is not set')
        self.assertEqual(refusal(value, "$"), 'environment variable "" is not set')
        with self.assertRaises(Exception) as caught:
            parse(value, "$LISTEN", env={"LISTEN": "nonsense"})
        self.assertIn('in environment variable "LISTEN"', str(caught.exception))

    def test_an_at_sign_names_a_domain_with_one_address(self) -> None:
        """More or none is refused."""

        def answers(*addresses: str) -> None:
            found = [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (address, 80)) for address in addresses]
            self.patch(net.socket, "getaddrinfo", lambda *_, **__: found)

        value = SocketAddr(indirect=True)
        answers("192.0.2.1")
        self.assertEqual(parse(value, "'@example.net:80'"), ("192.0.2.1", 80))
        answers("192.0.2.1", "192.0.2.2")
        self.assertIn("must have exactly one address, it has 192.0.2.1, 192.0.2.2", refusal(value, "'@example.net:80'"))
        self.assertIn("has no port", refusal(value, "'@example.net'"))

        def fails(*_: object, **__: object) -> None:
            raise socket.gaierror(-2, "Name or service not known")

        self.patch(net.socket, "getaddrinfo", fails)
        self.assertEqual(refusal(value, "'@x.invalid:80'"), '"x.invalid:80" cannot be resolved: Name or service not known')


class HostTests(SynchronousTestCase):
    def test_a_host_has_one_spelling(self) -> None:
        """Lower case, A-labels, no root dot; addresses as the kernel prints them."""
        for text, host in {
            "Example.NET": "example.net",
            "example.net.": "example.net",
            "bücher.example": "xn--bcher-kva.example",
            "BÜCHER.example": "xn--bcher-kva.example",
            "例え。テスト": "xn--r8jz45g.xn--zckzah",
            "_dmarc.my_host.example": "_dmarc.my_host.example",
            "192.0.2.1": "192.0.2.1",
            "2001:DB8:0::1": "2001:db8::1",
            "[2001:db8::1]": "2001:db8::1",
            "::ffff:192.0.2.1": "192.0.2.1",
        }.items():
            self.assertEqual(parse(HostValue(), f"'{text}'"), host)

    def test_what_can_be_no_host_is_refused(self) -> None:
        """Whatever it is."""
        for text in ("", ".", "a b", "a/b", "a:80", "http://a", "[192.0.2.1]", "[::1", "a@b", "a%b", "x" * 64, "a." * 130, "a\\b", "\u2488.example"):
            self.assertTrue(refusal(HostValue(), f"'{text}'"), text)
        for text in ("a..b", "..a", "...", "a.."):
            self.assertTrue(refusal(Domain(), f"'{text}'"), text)
            self.assertTrue(refusal(HostValue(), f"'{text}'"), text)

    def test_a_domain_may_begin_with_a_dot(self) -> None:
        """Which means nothing more."""
        self.assertEqual(parse(Domain(), ".Example.net"), "example.net")

    def test_an_upstream_is_a_host_with_a_port(self) -> None:
        """Where no default is, a port must be given."""
        for text, upstream in {
            "Example.net:80": ("example.net", 80),
            "192.0.2.1:80": ("192.0.2.1", 80),
            "[2001:db8::1]:80": ("2001:db8::1", 80),
            "[::ffff:192.0.2.1]:80": ("192.0.2.1", 80),
            "3com.example:80": ("3com.example", 80),
            "bücher.example:80": ("xn--bcher-kva.example", 80),
        }.items():
            self.assertEqual(parse(UpstreamAddr(), f"'{text}'"), Upstream(*upstream))
        for text, upstream in {
            "example.net": ("example.net", 3128),
            "example.net:0": ("example.net", 3128),
            "2001:db8::1": ("2001:db8::1", 3128),
            "[2001:db8::1]": ("2001:db8::1", 3128),
            "::1": ("::1", 3128),
            "fe80::1": ("fe80::1", 3128),
        }.items():
            self.assertEqual(parse(UpstreamAddr(3128), f"'{text}'"), Upstream(*upstream))
        self.assertEqual(parse(UpstreamAddr(0), "example.net"), Upstream("example.net", 0))
        for text in ("example.net", "[::1]", "::1", "", ":80", "example.net:", "example.net:65536", "example.net:8o", "[::1]80", "[a]:80", "a:1:2"):
            self.assertTrue(refusal(UpstreamAddr(), f"'{text}'"), text)

    def test_a_weighted_upstream_is_one_or_a_map_of_one(self) -> None:
        """The weight is 1 unless given, finite and not negative."""
        value, upstream = WeightedUpstream(80), Upstream("a", 80)
        self.assertEqual(parse(value, "a"), Weighted(upstream, 1.0))
        self.assertEqual(parse(value, "{addr: a, weight: 2.5}"), Weighted(upstream, 2.5))
        self.assertEqual(parse(value, "{Address: 'a:80', weight: '2'}"), Weighted(upstream, 2.0))
        self.assertEqual(parse(value, "{addr: b, address: a}"), Weighted(upstream, 1.0))
        for text in ("{weight: 1}", "{addr: a, weight: -1}", "{addr: a, weight: .inf}", "{addr: a, wait: 1}", "{addr: a, 1: 1}", "~", "[]"):
            self.assertTrue(refusal(value, text), text)
        for text in ("{addr: 5, address: a}", "{addr: a, weight: x, Weight: 1}"):
            self.assertTrue(refusal(value, text), text)


class OtherTests(SynchronousTestCase):
    def test_pick_policies_have_several_words(self) -> None:
        """In any case."""
        for text, policy in {
            "Random": "RANDOM",
            "sequence": "SERIAL",
            "rr": "ROUND_ROBIN",
            "round-robin": "ROUND_ROBIN",
            "jump": "JUMP_HASH",
        }.items():
            self.assertEqual(parse(PickPolicyValue(), text), PickPolicy[policy])
        self.assertIn("unknown word", refusal(PickPolicyValue(), "best"))

    def test_ports_are_numbers_ranges_and_lists_of_them(self) -> None:
        """Spaces do not matter; a range must not end before it starts."""
        for text, ports in {
            "80": [80],
            "'80'": [80],
            "1-3": [1, 2, 3],
            "'1, 2,5 - 7'": [1, 2, 5, 6, 7],
            "[80, '443,8000-8001']": [80, 443, 8000, 8001],
        }.items():
            self.assertEqual(parse(Ports(), text), frozenset(ports))
        for text in ("65536", "-1", "3-1", "1-2-3", "a", "''", "','", "~", "{}", "1.5", "[[80]]", "80-"):
            self.assertTrue(refusal(Ports(), text), text)
        self.assertEqual(Ports().dump(frozenset([1, 2, 3, 9])), "1-3,9")

    def test_a_range_of_ports_has_a_start_above_0_and_an_end_above_it(self) -> None:
        """As text or map."""
        for text in ("1000-1001", "'1000 - 1001'", "{start: 1000, end: 1001}", "{from: 1000, to: 1001}"):
            self.assertEqual(parse(PortRangeValue(), text), PortRange(1000, 1001))
        for text in ("0-5", "5-5", "6-5", "5", "'5'", "5-65536", "a-b", "{start: 5, end: 5}"):
            self.assertTrue(refusal(PortRangeValue(), text), text)
        for text in ("{start: 5}", "{end: 5}", "{start: 0, end: 5}", "{}"):
            self.assertRaises(Reported, parse, PortRangeValue(), text)

    def test_a_socket_buffer_is_one_size_or_two(self) -> None:
        """recv and send have other names."""
        self.assertEqual(parse(SocketBufferValue(), "64KiB"), SocketBuffer(recv=65536, send=65536))
        self.assertEqual(parse(SocketBufferValue(), "{read: 1K}"), SocketBuffer(recv=1000))
        self.assertEqual(parse(SocketBufferValue(), "{write: 1, receive: 2}"), SocketBuffer(recv=2, send=1))

    def test_the_proxy_protocol_has_two_versions(self) -> None:
        """As number or text."""
        self.assertEqual([parse(ProxyProtocolVersion(), text) for text in ("1", "'2'")], [1, 2])
        for text in ("0", "3", "v1", "true", "~"):
            self.assertTrue(refusal(ProxyProtocolVersion(), text), text)

    def test_an_interface_that_is_not_there_gets_a_warning(self) -> None:
        """It may come; a name that cannot be one, or a number of none, is refused."""
        self.assertEqual(parse(Interface(), "lo"), "lo")
        self.assertEqual(parse(Interface(), str(socket.if_nametoindex("lo"))), "lo")
        problems = Problems()
        node = net_node("nosuch0")
        self.assertEqual(Interface().parse(node, ParseContext(problems)), "nosuch0")
        self.assertEqual([str(problem) for problem in problems.warnings], ['t:1:1: warning: there is no network interface "nosuch0"'])
        for text in ("'a/b'", "''", "'a b'", "abcdefghijklmnop", "99999999", "-1", "0", "~"):
            self.assertTrue(refusal(Interface(), text), text)

    def test_a_fact_is_a_kind_with_a_value(self) -> None:
        """A network of one address is that address."""
        for text, fact in {
            "ip:192.0.2.1": Fact(FactKind.IP, ip_address("192.0.2.1")),
            "'IP: ::1'": Fact(FactKind.IP, ip_address("::1")),
            "net:10.0.0.0/8": Fact(FactKind.NETWORK, ip_network("10.0.0.0/8")),
            "net:10.0.0.1/32": Fact(FactKind.IP, ip_address("10.0.0.1")),
            "'net:::1/128'": Fact(FactKind.IP, ip_address("::1")),
            "domain:A.example": Fact(FactKind.EXACT_DOMAIN, "a.example"),
            "exact-domain:a.example": Fact(FactKind.EXACT_DOMAIN, "a.example"),
            "{child_domain: example}": Fact(FactKind.CHILD_DOMAIN, "example"),
        }.items():
            self.assertEqual(parse(FactValue(), text), fact)
        for text in ("a", "ip:a", "net:10.0.0.1/8", "user:a", "{}", "{ip: 1.2.3.4, net: 1.2.3.4}", "{ip: 1}", "~", "domain:"):
            self.assertTrue(refusal(FactValue(), text), text)


def net_node(text: str) -> Node:
    return read_text(text, "t", Problems())[0]
