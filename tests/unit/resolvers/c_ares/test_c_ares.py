# SPDX-License-Identifier: Apache-2.0
"""The c_ares resolver against name servers that misbehave as a test says."""

from __future__ import annotations

import threading
from ipaddress import IPv4Address
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pycares
from twisted.internet.defer import Deferred, gatherResults, maybeDeferred
from twisted.internet.task import deferLater
from twisted.trial.unittest import SynchronousTestCase, TestCase

from g3.config.document import read_text
from g3.config.problems import Problems
from g3.config.schema import parse_map
from g3.config.value import ParseContext
from g3.errors import ResolveError
from g3.resolvers.c_ares import CAresConfig, CAresResolver
from g3.resolvers.c_ares import driver as driver_module
from g3.resolvers.c_ares.channel import AresChannel
from g3.resolvers.c_ares.driver import ERRORS, CAresDriver, resolve_error, timeouts
from g3.tree.node import NodeContext
from tests.unit.resolvers.c_ares.scripted import NameServer, bare_reply, reply

if TYPE_CHECKING:
    from twisted.names import dns


class LazyReactor:
    """The reactor, whichever it is; importing this module installs none."""

    def __getattr__(self, name: str) -> Any:
        from twisted.internet import reactor as installed

        return getattr(installed, name)


reactor: Any = LazyReactor()


class Case(TestCase):
    """A resolver with a scripted name server."""

    timeout = 20

    def setUp(self) -> None:
        self.server = NameServer()
        self.address = self.server.start(reactor)
        self.addCleanup(lambda: Deferred.fromCoroutine(self.server.stop()))

    def resolver(self, *addresses: str, **options: Any) -> CAresResolver:
        config = CAresConfig(name="r", server=addresses or (self.address,), **{"each_timeout": 300, "each_tries": 2, **options})
        made = CAresResolver(config, NodeContext(reactor=reactor))
        made.start()
        self.addCleanup(made.stop)
        return made

    async def failure(self, resolver: CAresResolver, name: str, found: Any = None) -> str:
        with self.assertRaises(ResolveError) as caught:
            found = found or resolver.query(name, 4)
            if isinstance(found, Deferred):
                await found
        return str(caught.exception)


class AnswerTest(Case):
    """What a server says."""

    async def test_addresses_of_both_families(self) -> None:
        """All that were told, each once."""

        def script(query: dns.Message) -> list[bytes]:
            if query.queries[0].type == 1:
                return [reply(query, "a.test 60 A 192.0.2.1", "a.test 60 A 192.0.2.2", "a.test 60 A 192.0.2.1")]
            return [reply(query, "a.test 60 AAAA 2001:db8::1")]

        self.server.script = script
        resolver = self.resolver()
        self.assertEqual(await resolver.query("a.test", 4), ("192.0.2.1", "192.0.2.2"))
        self.assertEqual(await resolver.query("a.test", 6), ("2001:db8::1",))
        self.assertEqual(self.server.queries, [("udp", "a.test", "A"), ("udp", "a.test", "AAAA")])

    async def test_the_shortest_ttl_of_a_chain_counts(self) -> None:
        """An alias that is good for less than its target."""
        self.server.script = lambda query: [reply(query, "a.test 100 CNAME b.test", "b.test 5000 A 192.0.2.1")]
        resolver = self.resolver()
        await resolver.query("a.test", 4)
        record, _ = resolver.lookup("a.test", 4)  # type: ignore[misc]
        self.assertLess(abs(record.expire - reactor.seconds() - 70), 2)
        self.assertLess(abs(record.vanish - reactor.seconds() - 100), 2)

    async def test_errors_of_the_server_have_its_words(self) -> None:
        """Each code of RFC 1035."""
        words = {"FORMERR": "FORMERR", "SERVFAIL": "SERVFAIL", "NXDOMAIN": "NOTFOUND", "NOTIMP": "NOTIMP", "REFUSED": "REFUSED"}
        resolver = self.resolver()
        for number, (rcode, word) in enumerate(words.items()):
            self.server.script = lambda query, rcode=rcode: [reply(query, rcode=rcode)]
            self.assertEqual(await self.failure(resolver, f"n{number}.test"), f"ServerError: {word}")

    async def test_an_error_of_one_server_is_not_tried_at_the_next(self) -> None:
        """An answer is an answer, as upstream has it."""
        other = NameServer(lambda query: [reply(query, "a.test 60 A 192.0.2.2")])
        address = other.start(reactor)
        self.addCleanup(lambda: Deferred.fromCoroutine(other.stop()))
        self.server.script = lambda query: [reply(query, rcode="SERVFAIL")]
        self.assertEqual(await self.failure(self.resolver(self.address, address), "a.test"), "ServerError: SERVFAIL")
        self.assertEqual(other.queries, [])

    async def test_no_address_of_this_type(self) -> None:
        """NODATA is no error of the server."""
        self.server.script = lambda query: [reply(query)]
        self.assertEqual(await self.failure(self.resolver(), "a.test"), "EmptyResult")

    async def test_an_alias_without_addresses_is_empty(self) -> None:
        """A chain that ends nowhere."""
        self.server.script = lambda query: [reply(query, "a.test 60 CNAME b.test")]
        self.assertEqual(await self.failure(self.resolver(), "a.test"), "EmptyResult")

    async def test_many_addresses_are_bounded(self) -> None:
        """A server does not fill our memory with one name."""
        many = [f"a.test 60 A 10.0.{number // 250}.{number % 250 + 1}" for number in range(1000)]
        self.server.script = lambda query: [
            reply(query, *many[: 1 if len(self.server.queries) == 1 else 1000], truncated=len(self.server.queries) == 1)
        ]
        self.assertEqual(len(await self.resolver().query("a.test", 4)), driver_module.MAX_ADDRESSES)

    async def test_a_truncated_answer_is_asked_over_tcp(self) -> None:
        """RFC 7766."""
        self.server.script = lambda query: [
            reply(query, truncated=True) if self.server.queries[-1][0] == "udp" else reply(query, "a.test 60 A 192.0.2.7")
        ]
        self.assertEqual(await self.resolver().query("a.test", 4), ("192.0.2.7",))
        self.assertEqual([how for how, _, _ in self.server.queries], ["udp", "tcp"])


class HostileTest(Case):
    """What somebody else says."""

    async def test_an_answer_with_another_id_is_not_believed(self) -> None:
        """A spoofed answer comes first; the true one wins."""
        self.server.script = lambda query: [
            reply(query, "a.test 60 A 203.0.113.66", add=1),
            reply(query, "a.test 60 A 192.0.2.1"),
        ]
        self.assertEqual(await self.resolver().query("a.test", 4), ("192.0.2.1",))

    async def test_an_answer_to_another_question_is_not_believed(self) -> None:
        """The right id and the wrong name."""

        def script(query: dns.Message) -> list[bytes]:
            true = reply(query, "a.test 60 A 192.0.2.1")
            query.queries[0].name.name = b"b.test"
            return [reply(query, "b.test 60 A 203.0.113.66"), true]

        self.server.script = script
        self.assertEqual(await self.resolver().query("a.test", 4), ("192.0.2.1",))

    async def test_garbage_is_not_an_answer(self) -> None:
        """Whatever it is, the question ends with an error, and the resolver goes on."""

        def script(query: dns.Message) -> list[bytes]:
            head = query.id.to_bytes(2, "big")
            good = reply(query, "a.test 60 A 192.0.2.1")
            loop = head + b"\x81\x80\0\1\0\1\0\0\0\0\xc0\x0c\0\1\0\1\xc0\x0c\0\1\0\1\0\0\0\x3c\0\4\1\2\3\4"
            return [b"", b"\0", head, b"\xff" * 512, loop, good[:-2]]

        self.server.script = script
        resolver = self.resolver(each_tries=1)
        self.assertIn(await self.failure(resolver, "a.test"), ("DriverError: BadResp", "DriverError: Timeout"))
        self.server.script = lambda query: [reply(query, "b.test 60 A 192.0.2.1")]
        self.assertEqual(await resolver.query("b.test", 4), ("192.0.2.1",))

    async def test_a_name_full_of_dots_and_bytes_does_no_harm(self) -> None:
        """Names as clients may send them."""
        self.server.script = lambda _: [bare_reply(self.server.last, 3)]
        resolver = self.resolver()
        for name in ("a\\.b.test", "*.test", "_sip._tcp.test", "a b.test", "a\0b.test", "\\255.test", "a'\"%s.test", "1.2.3.4.test"):
            self.assertRegex(await self.failure(resolver, name), "^(ServerError: NOTFOUND|DriverError: BadName)$")


class SilenceTest(Case):
    """Servers that say nothing."""

    async def test_a_silent_server_is_a_timeout_after_all_tries(self) -> None:
        """Each try is sent."""
        self.assertEqual(await self.failure(self.resolver(), "a.test"), "DriverError: Timeout")
        self.assertEqual(len(self.server.queries), 2)

    async def test_the_next_server_answers_for_a_silent_one(self) -> None:
        """After the timeout of one try."""
        other = NameServer(lambda query: [reply(query, "a.test 60 A 192.0.2.2")])
        address = other.start(reactor)
        self.addCleanup(lambda: Deferred.fromCoroutine(other.stop()))
        self.assertEqual(await self.resolver(self.address, address).query("a.test", 4), ("192.0.2.2",))
        self.assertEqual(len(self.server.queries), 1)

    async def test_nobody_listens(self) -> None:
        """The kernel says so: no timeout is waited for."""
        await self.server.stop()
        self.assertEqual(await self.failure(self.resolver(each_timeout=10000), "a.test"), "DriverError: ConnRefused")

    async def test_both_families_where_nobody_listens(self) -> None:
        """The second question fails while it is sent: that is an answer like any other, not a library that cannot be set up."""
        await self.server.stop()
        resolver = self.resolver(each_tries=1)
        asked = [maybeDeferred(resolver.query, "a.test", family) for family in (4, 6)]
        self.assertEqual([await self.failure(resolver, "", found) for found in asked], ["DriverError: ConnRefused"] * 2)

    async def test_max_timeout_bounds_later_tries(self) -> None:
        """Three tries of 300 to 400 ms, where doubling would take 300 + 600 + 1200."""
        began = reactor.seconds()
        resolver = self.resolver(each_timeout=300, each_tries=3, max_timeout=400)
        self.assertEqual(await self.failure(resolver, "a.test"), "DriverError: Timeout")
        self.assertLess(reactor.seconds() - began, 1.7)
        self.assertEqual(len(self.server.queries), 3)

    async def test_max_timeout_bounds_what_the_library_makes_of_slow_answers(self) -> None:
        """c-ares waits five times as long as answers took of late, whatever it was told."""
        later = self.server.answers

        def slow(data: bytes, how: str) -> list[bytes]:
            return [] if b"silent" in data else later(data, how)

        self.server.answers = slow  # type: ignore[method-assign]
        self.server.delay = 0.2
        self.server.script = lambda query: [reply(query, f"{query.queries[0].name.name.decode()} 60 A 192.0.2.1")]
        resolver = self.resolver(each_timeout=500, each_tries=2, max_timeout=500)
        for number in range(5):
            self.assertEqual(await resolver.query(f"n{number}.test", 4), ("192.0.2.1",))
        began = reactor.seconds()
        self.assertEqual(await self.failure(resolver, "silent.test"), "DriverError: Timeout")
        self.assertLess(reactor.seconds() - began, 1.7, "two tries of half a second, not of a whole one")
        self.assertEqual(await resolver.query("last.test", 4), ("192.0.2.1",))  # and trial finds no timer left

    async def test_the_protective_timeout_ends_what_the_library_would_not(self) -> None:
        """Sooner than its own tries."""
        resolver = self.resolver(each_timeout=10000, protective_query_timeout=0.2)
        self.assertEqual(await self.failure(resolver, "a.test"), "LocalError: DriverTimedOut")

    async def test_stopping_ends_questions_and_leaves_nothing_in_the_reactor(self) -> None:
        """No socket, no timer; trial would find them."""
        resolver = self.resolver(each_timeout=10000, graceful_stop_wait=0.05)
        asked = resolver.query("a.test", 4)
        await resolver.stop()  # type: ignore[misc]
        self.assertEqual(await self.failure(resolver, "", asked), "LocalError: NoResolverRunning")
        self.assertEqual([one for one in reactor.getReaders() if type(one).__name__ == "_Socket"], [])


class ChannelTest(Case):
    """Renewal, hosts, threads."""

    def setUp(self) -> None:
        super().setUp()
        self.server.script = lambda query: [reply(query, f"{query.queries[0].name.name.decode()} 60 A 192.0.2.1")]

    async def test_many_names_at_once(self) -> None:
        """Each gets its answer, over few sockets."""
        resolver = self.resolver(each_timeout=5000)
        found = await gatherResults([resolver.query(f"n{number}.test", 4) for number in range(500)])
        self.assertEqual(found, [("192.0.2.1",)] * 500)

    async def test_udp_max_quires_renews_the_local_port(self) -> None:
        """Ten queries from one port, then another one; questions on the way still end."""
        resolver = self.resolver(udp_max_quires=10, each_timeout=5000)
        await gatherResults([resolver.query(f"n{number}.test", 4) for number in range(50)])
        counts = [self.server.ports.count(port) for port in set(self.server.ports)]
        self.assertEqual((len(counts), max(counts)), (5, 10))

    async def test_the_channel_is_renewed_so_that_the_librarys_own_cache_stays_small(self) -> None:
        """c-ares keeps answers without a limit of their number."""
        self.patch(driver_module, "MAX_QUERIES", 20)
        made: list[Any] = []
        self.patch(driver_module, "AresChannel", lambda *given: made.append(AresChannel(*given)) or made[-1])
        resolver = self.resolver()
        for number in range(45):
            await resolver.query(f"n{number}.test", 4)
        self.assertLessEqual(resolver._driver.plan[0].current().asked, 20)  # type: ignore[union-attr]
        self.assertLessEqual(sum(not channel._closed for channel in made), 2, "one to ask, one for the hosts file")

    async def test_what_is_asked_anew_reaches_a_server(self) -> None:
        """Not the cache that c-ares has for itself, which would keep an answer for as long as its TTL is, whatever our keys say."""
        addresses = iter(("192.0.2.1", "192.0.2.2"))
        self.server.script = lambda query: [reply(query, f"a.test 300 A {next(addresses)}")]
        resolver = self.resolver(positive_min_ttl=1, positive_max_ttl=1)
        self.assertEqual(await resolver.query("a.test", 4), ("192.0.2.1",))
        await deferLater(reactor, 1.1)
        self.assertEqual(resolver.query("a.test", 4), ("192.0.2.1",), "the old one meanwhile")
        await deferLater(reactor, 0.3)
        self.assertEqual(resolver.query("a.test", 4), ("192.0.2.2",))

    async def test_an_error_is_kept_no_longer_than_we_say(self) -> None:
        """Although the server says how long a name will not be there (RFC 2308)."""
        self.server.script = lambda query: [reply(query, rcode="NXDOMAIN", absent=300)]
        resolver = self.resolver(negative_min_ttl=1)
        self.assertEqual(await self.failure(resolver, "a.test"), "ServerError: NOTFOUND")
        self.server.script = lambda query: [reply(query, "a.test 60 A 192.0.2.1")]
        await deferLater(reactor, 1.1)
        self.assertEqual(await resolver.query("a.test", 4), ("192.0.2.1",))

    async def test_no_thread_resolves(self) -> None:
        """The library's only thread frees channels that were closed."""
        before = set(threading.enumerate())
        resolver = self.resolver()
        seen: list[int] = []
        found = resolver.query("a.test", 4)
        found.addCallback(lambda result: (seen.append(threading.get_ident()), result)[1])  # type: ignore[union-attr]
        await found
        self.assertEqual(seen, [threading.get_ident()])
        names = {thread.name for thread in set(threading.enumerate()) - before if not thread.name.startswith("PoolThread")}
        self.assertTrue(all("shutdown" in name for name in names), names)

    async def test_the_hosts_file_answers_first(self) -> None:
        """At once, and no name server hears of it."""
        resolver = self.resolver()
        self.assertEqual(resolver.query("localhost", 4), ("127.0.0.1",))
        self.assertEqual(self.server.queries, [])

    async def test_servers_come_from_resolv_conf_and_its_changes_are_seen(self) -> None:
        """Without a server in the configuration."""
        path = Path(self.mktemp())
        path.write_text("nameserver 192.0.2.53\n", encoding="ascii")
        self.patch(driver_module, "RECHECK_INTERVAL", 0)
        config = CAresConfig(name="r", each_timeout=200, each_tries=1)
        driver = CAresDriver(reactor, config, resolv_conf=str(path), hosts=False)
        self.addCleanup(driver.close)
        self.assertEqual(driver.plan[0].current()._channel.servers, ["192.0.2.53:53"])
        path.write_text("nameserver 192.0.2.54\nnameserver 192.0.2.55\n", encoding="ascii")
        self.assertEqual(driver.plan[0].current()._channel.servers, ["192.0.2.54:53", "192.0.2.55:53"])

    async def test_the_local_address_can_be_chosen(self) -> None:
        """bind_ipv4."""
        await self.resolver(bind_ipv4=IPv4Address("127.0.0.77")).query("a.test", 4)
        self.assertEqual(self.server.peers, ["127.0.0.77"])

    async def test_a_waiter_that_goes_does_not_disturb(self) -> None:
        """Its answer is still kept for the next one."""
        resolver = self.resolver()
        found = resolver.query("a.test", 4)
        found.addErrback(lambda _: None)  # type: ignore[union-attr]
        found.cancel()  # type: ignore[union-attr]
        await deferLater(reactor, 0.2, lambda: None)
        self.assertEqual(resolver.query("a.test", 4), ("192.0.2.1",))

    async def test_a_new_configuration_takes_effect_without_losing_the_cache(self) -> None:
        """Another server is asked for what is not known."""
        other = NameServer(lambda query: [reply(query, "b.test 60 A 192.0.2.9")])
        address = other.start(reactor)
        self.addCleanup(lambda: Deferred.fromCoroutine(other.stop()))
        resolver = self.resolver()
        await resolver.query("a.test", 4)
        resolver.reconfigure(CAresConfig(name="r", server=(address,)))
        self.assertEqual(resolver.query("a.test", 4), ("192.0.2.1",))
        self.assertEqual(await resolver.query("b.test", 4), ("192.0.2.9",))


class WordsTest(SynchronousTestCase):
    """Tables."""

    def test_every_error_of_the_library_has_words(self) -> None:
        """Upstream's, or InternalError."""
        errors = {name: value for name, value in vars(pycares.errno).items() if name.startswith("ARES_E") and isinstance(value, int)}
        internal = {name for name, value in errors.items() if str(resolve_error(value)) == "DriverError: InternalError"}
        self.assertEqual(len(ERRORS), 13)
        self.assertNotIn("ARES_ETIMEOUT", internal)
        self.assertIn("ARES_ENOMEM", internal)
        self.assertEqual(str(resolve_error(99999)), "DriverError: InternalError")

    def test_tries_are_planned(self) -> None:
        """One channel doubles by itself; a limit makes rounds of our own."""
        self.assertEqual(timeouts(2000, 3, 0), [(2000, 3)])
        self.assertEqual(timeouts(0, 0, 0), [(2000, 3)], "0 is the default")
        self.assertEqual(timeouts(2000, 3, -1), [(2000, 3)])
        self.assertEqual(timeouts(2000, 1, 5000), [(2000, 1)])
        self.assertEqual(timeouts(2000, 4, 5000), [(2000, 1), (4000, 1), (5000, 1), (5000, 1)])
        self.assertEqual(timeouts(2000, 3, 500), [(500, 1)] * 3)
        self.assertEqual(timeouts(1, 40, 1000)[-1], (1000, 1))


class ConfigTest(SynchronousTestCase):
    """Its keys."""

    def parse(self, text: str) -> tuple[CAresConfig | None, list[str]]:
        problems = Problems()
        made = parse_map(CAresConfig, read_text(text, "f", problems)[0], ParseContext(problems))
        return made, [str(problem) for problem in problems]

    def test_servers_in_all_their_forms(self) -> None:
        """A string of several, a list, with and without ports; each once."""
        table = {
            "192.0.2.1": ("192.0.2.1:53",),
            "'192.0.2.1  [2001:db8::1]:5353 2001:db8::2 192.0.2.1'": ("192.0.2.1:53", "[2001:db8::1]:5353", "[2001:db8::2]:53"),
            "[192.0.2.1, '192.0.2.2:54']": ("192.0.2.1:53", "192.0.2.2:54"),
        }
        for text, wanted in table.items():
            made, problems = self.parse(f"{{name: r, type: c-ares, server: {text}}}")
            assert made is not None, problems
            self.assertEqual(made.server, wanted)

    def test_every_bad_server_is_reported(self) -> None:
        """All in one go."""
        bad = ["0.0.0.0", "224.0.0.1", "dns.example", "192.0.2.1:0", "192.0.2.1:x", "'[::1'", "7", "'::'"]
        made, problems = self.parse(f"{{name: r, server: [{', '.join(bad)}]}}")
        self.assertIsNone(made)
        self.assertEqual(len(problems), len(bad))

    def test_defaults_and_aliases_are_upstreams(self) -> None:
        """Also the misspelt key."""
        made, _ = self.parse("{name: r}")
        assert made is not None
        self.assertEqual((made.each_timeout, made.each_tries, made.max_timeout, made.udp_max_quires, made.round_robin), (2000, 3, 0, 0, False))
        self.assertEqual((made.positive_min_ttl, made.positive_max_ttl, made.negative_min_ttl), (30, 3600, 30))
        self.assertEqual((made.graceful_stop_wait, made.protective_query_timeout), (30.0, 60.0))
        made, problems = self.parse(
            "{name: r, negative_ttl: 5, max_cache_ttl: 10, positive_min_ttl: 20, udp_max_quires: 9, round_robin: true, socket_send_buffer_size: 4096,"
            " socket-recv-buffer-size: 8192, bind_ipv4: 127.0.0.1, bind_ipv6: '::1', protective_query_timeout: 1m}"
        )
        assert made is not None, problems
        self.assertEqual((made.negative_min_ttl, made.positive_max_ttl, made.max_ttl), (5, 10, 20))
        self.assertEqual((str(made.bind_ipv4), str(made.bind_ipv6), made.protective_query_timeout), ("127.0.0.1", "::1", 60.0))

    def test_addresses_of_the_wrong_family_are_refused(self) -> None:
        """With their place."""
        _, problems = self.parse("{name: r, bind_ipv4: '::1', bind_ipv6: 127.0.0.1}")
        self.assertEqual(len(problems), 2)
