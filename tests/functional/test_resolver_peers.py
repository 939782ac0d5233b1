# SPDX-License-Identifier: Apache-2.0
"""The c_ares and fail_over resolvers against real name servers: dnsmasq and unbound on high ports of loopback."""

from __future__ import annotations

import tempfile
from ipaddress import IPv4Address
from pathlib import Path
from typing import Any

from twisted.internet.defer import Deferred, gatherResults
from twisted.trial.unittest import TestCase

from g3.errors import ResolveError
from g3.resolvers.c_ares import CAresConfig, CAresResolver
from g3.resolvers.fail_over import FailOverConfig, FailOverResolver
from g3.tree.node import NodeContext
from g3.tree.slots import Slots
from tests.functional.needs import need
from tests.functional.processes import Process, free_port

UNBOUND = """
server:
  interface: 127.0.0.1
  port: {port}
  do-daemonize: no
  use-syslog: no
  chroot: ""
  username: ""
  pidfile: ""
  directory: "{directory}"
  module-config: "iterator"
  do-not-query-localhost: no
  access-control: 127.0.0.0/8 allow
  local-zone: "u.test." static
  local-data: "u.test. 120 IN A 198.51.100.1"
  local-data: "u.test. 120 IN AAAA 2001:db8::1"
  local-data: "v4.u.test. 120 IN A 198.51.100.4"
{many}
  local-zone: "refused.test." refuse
  local-zone: "denied.test." deny
  access-control-view: 127.0.0.9/32 other
view:
  name: other
  local-zone: "u.test." static
  local-data: "u.test. 120 IN A 198.51.100.9"
remote-control:
  control-enable: no
"""


class PeersTest(TestCase):
    """One of each server, a resolver for the test."""

    timeout = 60

    def setUp(self) -> None:
        need("dnsmasq", "unbound", "setpriv")
        self.directory = Path(tempfile.mkdtemp(prefix="g3dns"))
        self.unbound, self.dnsmasq = free_port(), free_port()
        many = "\n".join(f'  local-data: "many.u.test. 120 IN A 10.0.{number // 200}.{number % 200 + 1}"' for number in range(60))
        config = self.directory / "unbound.conf"
        config.write_text(UNBOUND.format(port=self.unbound, directory=self.directory, many=many), encoding="ascii")
        options = ["--no-resolv", "--no-hosts", "--bind-interfaces", "--listen-address=127.0.0.1", "--conf-file=/dev/null", "--log-facility=-"]
        options += ["--local-ttl=90", "--address=/d.test/192.0.2.1", "--address=/d.test/2001:db8::2", "--local=/test/", "--user=root"]
        self.start("unbound", ["unbound", "-d", "-c", str(config)], self.unbound)
        self.start("dnsmasq", ["dnsmasq", "--keep-in-foreground", "--pid-file", *options, f"--port={self.dnsmasq}"], self.dnsmasq)

    def start(self, name: str, argv: list[str], port: int) -> Process:
        process = Process(name, argv, self.directory / f"{name}.log")
        self.addCleanup(process.kill)
        process.wait_listening(port, kind="udp")
        return process

    def resolver(self, *ports: int, **options: Any) -> CAresResolver:
        from twisted.internet import reactor

        servers = tuple(f"127.0.0.1:{port}" for port in ports)
        config = CAresConfig(name="r", server=servers, **{"each_timeout": 500, "each_tries": 2, **options})
        made = CAresResolver(config, NodeContext(reactor=reactor))
        made.start()
        self.addCleanup(made.stop)
        return made

    async def failure(self, resolver: Any, name: str, family: int = 4) -> str:
        with self.assertRaises(ResolveError) as caught:
            found = resolver.query(name, family)
            if isinstance(found, Deferred):
                await found
        return str(caught.exception)

    async def test_unbound(self) -> None:
        """Addresses of both types; no such type; no such name; refused."""
        resolver = self.resolver(self.unbound)
        self.assertEqual(await resolver.query("u.test", 4), ("198.51.100.1",))
        self.assertEqual(await resolver.query("u.test", 6), ("2001:db8::1",))
        self.assertEqual(await self.failure(resolver, "v4.u.test", 6), "EmptyResult")
        self.assertEqual(await self.failure(resolver, "no.u.test"), "ServerError: NOTFOUND")
        self.assertEqual(await self.failure(resolver, "refused.test"), "ServerError: REFUSED")

    async def test_dnsmasq(self) -> None:
        """The same from another server, with its TTL."""
        resolver = self.resolver(self.dnsmasq)
        self.assertEqual(await resolver.query("www.d.test", 4), ("192.0.2.1",))
        self.assertEqual(await resolver.query("www.d.test", 6), ("2001:db8::2",))
        self.assertEqual(await self.failure(resolver, "no.test"), "ServerError: NOTFOUND")
        record, source = resolver.lookup("www.d.test", 4)  # type: ignore[misc]
        self.assertEqual((source.value, round(record.vanish - record.expire)), ("cache", 30))

    async def test_an_answer_too_big_for_a_datagram_comes_over_tcp(self) -> None:
        """Sixty addresses do not fit into 512 bytes."""
        self.assertEqual(len(await self.resolver(self.unbound).query("many.u.test", 4)), 60)

    async def test_a_server_that_drops_is_a_timeout(self) -> None:
        """unbound's deny."""
        self.assertEqual(await self.failure(self.resolver(self.unbound), "denied.test"), "DriverError: Timeout")

    async def test_the_local_address_decides_what_the_server_says(self) -> None:
        """bind_ipv4: unbound has another view for this one."""
        resolver = self.resolver(self.unbound, bind_ipv4=IPv4Address("127.0.0.9"))
        self.assertEqual(await resolver.query("u.test", 4), ("198.51.100.9",))

    async def test_a_server_that_goes_away_and_comes_back(self) -> None:
        """Refused meanwhile; what was known stays known."""
        port = free_port()
        options = ["--no-resolv", "--no-hosts", "--bind-interfaces", "--listen-address=127.0.0.1", "--conf-file=/dev/null", "--user=root"]
        argv = ["dnsmasq", "--keep-in-foreground", "--pid-file", *options, f"--port={port}", "--address=/x.test/192.0.2.7"]
        server = self.start("other", argv, port)
        resolver = self.resolver(port, negative_min_ttl=0)
        self.assertEqual(await resolver.query("a.x.test", 4), ("192.0.2.7",))
        server.kill()
        self.assertEqual(await self.failure(resolver, "b.x.test"), "DriverError: ConnRefused")
        self.assertEqual(resolver.query("a.x.test", 4), ("192.0.2.7",))
        self.start("again", argv, port)
        self.assertEqual(await resolver.query("b.x.test", 4), ("192.0.2.7",))

    async def test_many_at_once_over_both_families(self) -> None:
        """Two hundred queries in one go: as many as the name server's socket holds for sure."""
        resolver = self.resolver(self.dnsmasq, each_timeout=5000)
        found = await gatherResults([resolver.query(f"n{number}.d.test", family) for number in range(100) for family in (4, 6)])
        self.assertEqual(set(found), {("192.0.2.1",), ("2001:db8::2",)})

    async def test_fail_over_between_two_servers(self) -> None:
        """The primary refuses, the standby answers; then the other way round."""
        from twisted.internet import reactor

        for primary, standby in ((self.unbound, self.dnsmasq), (self.dnsmasq, self.unbound)):
            slots = Slots(lambda kind, name: None)  # noqa: ARG005 - all are defined
            slots.put("resolver", "p", self.resolver(primary))
            slots.put("resolver", "s", self.resolver(standby))
            context = NodeContext(reactor=reactor, slots=slots)
            both = FailOverResolver(FailOverConfig(name="f", primary="p", standby="s"), context)
            both.start()
            self.addCleanup(both.stop)
            self.assertEqual(await both.query("u.test", 4), ("198.51.100.1",))
            self.assertEqual(await both.query("www.d.test", 4), ("192.0.2.1",))
            self.assertEqual(both.query("u.test", 4), ("198.51.100.1",))
