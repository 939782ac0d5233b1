# SPDX-License-Identifier: Apache-2.0
"""What every resolver does: names checked, errors raised and logged, configuration changed in place, an end in good order."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase
from zope.interface.verify import verifyObject

from g3.errors import ResolveError
from g3.interfaces import IReloadable, IResolver
from g3.metrics import MetricRegistry
from g3.resolvers.base import CachingResolver, name_error
from g3.resolvers.cache import Record
from g3.resolvers.config import RuntimeConfig
from g3.resolvers.deny_all import DenyAllConfig, DenyAllResolver
from g3.tree.node import NodeContext


class FakeDriver:
    """Questions that the test answers."""

    def __init__(self) -> None:
        self.asked: list[tuple[str, int, Deferred[Record]]] = []
        self.closed = False

    def ask(self, name: str, family: int) -> Deferred[Record]:
        answer: Deferred[Record] = Deferred()
        self.asked.append((name, family, answer))
        return answer

    def close(self) -> None:
        self.closed = True


class FakeResolver(CachingResolver):
    """A resolver over fake drivers."""

    schema = RuntimeConfig

    def __init__(self, config: RuntimeConfig, context: NodeContext) -> None:
        self.drivers: list[FakeDriver] = []
        super().__init__(config, context)

    def make_driver(self) -> FakeDriver:
        self.drivers.append(FakeDriver())
        return self.drivers[-1]

    def log_details(self) -> tuple[tuple[str, str], ...]:
        return (("server", "s"),)


class FakeLogs:
    """One logger that keeps its records."""

    def __init__(self) -> None:
        self.records: list[tuple[str, dict[str, Any]]] = []

    def logger(self, *_: object) -> FakeLogs:
        return self

    def log(self, message: str, fields: Any) -> None:
        self.records.append((message, {name: value for name, value in fields if value is not None}))


class NameTest(SynchronousTestCase):
    """Names nobody is asked for."""

    def test_bounds_of_rfc_1035(self) -> None:
        """Labels of 1 to 63, 253 in all; one last dot is allowed."""
        label = "a" * 63
        good = ["a", "a.b", "xn--p1ai", label, f"{label}.{label}.{label}.{'a' * 61}", "a.", "_x.a-b"]
        self.assertEqual([name_error(name) for name in good], [None] * len(good))
        bad = ["a" * 64, ".", "..", "a..b", ".a", f"{label}.{label}.{label}.{'a' * 62}", "é", "a" * 100000, "a b", "a\\.b", "a\0b", "a\nb", "a%b"]
        self.assertEqual([str(name_error(name)) for name in bad], ["DriverError: BadName"] * len(bad))
        self.assertEqual(str(name_error("")), "EmptyDomain")


class ResolverTest(SynchronousTestCase):
    """A resolver over a driver."""

    def setUp(self) -> None:
        self.clock, self.logs, self.metrics = Clock(), FakeLogs(), MetricRegistry()
        self.context = NodeContext(reactor=self.clock, logs=self.logs, metrics=self.metrics)
        self.config = RuntimeConfig(name="r")
        self.resolver = FakeResolver(self.config, self.context)

    def start(self) -> FakeDriver:
        self.resolver.start()
        return self.resolver.drivers[-1]

    def query(self, name: str = "a.test", family: int = 4) -> Deferred[tuple[str, ...]]:
        found = self.resolver.query(name, family)
        assert isinstance(found, Deferred)
        self.addCleanup(found.addErrback, lambda _: None)
        return found

    def good(self, *addresses: str) -> Record:
        return Record.resolved(self.clock.seconds(), 100, 30, 3600, addresses)

    def test_it_provides_its_interfaces(self) -> None:
        """IResolver and IReloadable."""
        verifyObject(IResolver, self.resolver)
        verifyObject(IReloadable, self.resolver)

    def test_making_and_preparing_it_does_nothing(self) -> None:
        """Channels are made when it starts: a prepared node may be discarded, a process may fork."""
        self.resolver.prepare()
        self.assertEqual((self.resolver.drivers, len(self.metrics)), ([], 0))
        self.assertEqual(str(self.assertRaises(ResolveError, self.resolver.query, "a.test", 4)), "LocalError: NoResolverRunning")

    def test_addresses_come_once_asked_and_then_at_once(self) -> None:
        """A and AAAA apart."""
        driver = self.start()
        asked = self.query()
        driver.asked.pop()[2].callback(self.good("192.0.2.1"))
        self.assertEqual(self.successResultOf(asked), ("192.0.2.1",))
        self.assertEqual(self.resolver.query("a.test", 4), ("192.0.2.1",))
        self.query("a.test", 6)
        self.assertEqual([(name, family) for name, family, _ in driver.asked], [("a.test", 6)])

    def test_an_error_is_raised_and_logged_each_time(self) -> None:
        """With its source, and how long it took."""
        driver = self.start()
        asked = self.query()
        self.clock.advance(0.25)
        driver.asked.pop()[2].callback(Record.failed(0.25, 30, ResolveError("ServerError", "SERVFAIL")))
        self.assertEqual(str(self.failureResultOf(asked, ResolveError).value), "ServerError: SERVFAIL")
        one = self.assertRaises(ResolveError, self.resolver.query, "a.test", 4)
        two = self.assertRaises(ResolveError, self.resolver.query, "a.test", 4)
        self.assertIsNot(one, two, "a traceback would grow with each use of one exception")
        common = {"server": "s", "query_type": "A", "error_type": "ServerError", "error_subtype": "SERVFAIL", "domain": "a.test"}
        self.assertEqual(
            self.logs.records,
            [("ServerError: SERVFAIL", {**common, "duration": "250.000ms", "rr_source": "query"})]
            + [("ServerError: SERVFAIL", {**common, "rr_source": "cache"})] * 2,
        )

    def test_an_empty_answer_is_an_error_that_is_not_logged(self) -> None:
        """The name exists: happy eyeballs asks for two types and often has one."""
        driver = self.start()
        asked = self.query()
        driver.asked.pop()[2].callback(Record.empty(0, 30))
        self.assertEqual(str(self.failureResultOf(asked, ResolveError).value), "EmptyResult")
        self.assertEqual(self.logs.records, [])

    def test_a_bad_name_is_refused_without_asking(self) -> None:
        """Not remembered either."""
        driver = self.start()
        self.assertRaises(ResolveError, self.resolver.query, "a" * 64, 4)
        self.assertEqual((driver.asked, self.resolver.stats.a.total), ([], 0))

    def test_metrics_come_and_go_with_it(self) -> None:
        """A name server's answers count under its name."""
        self.start()
        self.query()
        found = {sample.name: sample for sample in self.metrics.samples() if sample.kind == "c"}
        self.assertEqual(found["resolver.query.total"].tags, (("resolver", "r"), ("rr_type", "A")))
        self.assertIn(1, [sample.value for sample in self.metrics.samples() if sample.name == "resolver.memory.doing.length"])
        self.resolver.stop()
        self.clock.advance(30)
        self.assertEqual(len(self.metrics), 0)

    def test_a_changed_configuration_keeps_what_is_known(self) -> None:
        """And asks by a new driver; the old one ends its questions."""
        old = self.start()
        asked, late = self.query(), self.query("late.test")
        old.asked.pop(0)[2].callback(self.good("192.0.2.1"))
        self.successResultOf(asked)
        changed = replace(self.config, protective_query_timeout=5.0)
        self.assertTrue(self.resolver.accepts(changed))
        self.resolver.reconfigure(changed)
        self.assertEqual(self.resolver.query("a.test", 4), ("192.0.2.1",))
        self.query("b.test")
        self.assertEqual([name for name, _, _ in self.resolver.drivers[1].asked], ["b.test"])
        old.asked.pop()[2].callback(self.good("192.0.2.2"))
        self.assertEqual(self.successResultOf(late), ("192.0.2.2",))
        self.assertFalse(old.closed)
        self.clock.advance(10)
        self.assertTrue(old.closed)

    def test_another_name_or_type_is_not_taken(self) -> None:
        """That is another node."""
        self.assertFalse(self.resolver.accepts(RuntimeConfig(name="other")))
        self.assertFalse(self.resolver.accepts(DenyAllConfig(name="r")))

    def test_without_questions_it_stops_at_once(self) -> None:
        """None says so."""
        driver = self.start()
        self.assertIsNone(self.resolver.stop())
        self.assertTrue(driver.closed)
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_it_stops_when_the_last_question_is_answered(self) -> None:
        """Meanwhile it answers what it knows and asks nobody."""
        driver = self.start()
        one, two = self.query("a.test"), self.query("b.test", 6)
        stopped = self.resolver.stop()
        assert stopped is not None
        self.assertRaises(ResolveError, self.resolver.query, "c.test", 4)
        driver.asked.pop(0)[2].callback(self.good("192.0.2.1"))
        self.assertEqual(self.successResultOf(one), ("192.0.2.1",))
        self.assertEqual(self.resolver.query("a.test", 4), ("192.0.2.1",))
        self.assertNoResult(stopped)
        driver.asked.pop(0)[2].callback(self.good("192.0.2.2"))
        self.successResultOf(two)
        self.successResultOf(stopped)
        self.assertTrue(driver.closed)
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_it_stops_after_graceful_stop_wait_at_the_latest(self) -> None:
        """Who waits still is told that no resolver runs."""
        self.start()
        asked = self.query()
        stopped = self.resolver.stop()
        assert stopped is not None
        self.clock.advance(30)
        self.successResultOf(stopped)
        self.assertEqual(str(self.failureResultOf(asked, ResolveError).value), "LocalError: NoResolverRunning")
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_stopping_also_ends_replaced_drivers(self) -> None:
        """No timer of theirs stays."""
        old = self.start()
        self.resolver.reconfigure(replace(self.config, protective_query_timeout=5.0))
        self.resolver.stop()
        self.assertTrue(old.closed and self.resolver.drivers[1].closed)
        self.assertEqual(self.clock.getDelayedCalls(), [])


class DenyAllTest(SynchronousTestCase):
    """The stand-in."""

    def test_every_name_is_a_local_error(self) -> None:
        """Raised at once; nothing is logged."""
        logs = FakeLogs()
        resolver = DenyAllResolver(DenyAllConfig(name="d"), NodeContext(reactor=Clock(), logs=logs))
        verifyObject(IResolver, resolver)
        resolver.start()
        self.assertEqual(str(self.assertRaises(ResolveError, resolver.query, "a.test", 4)), "LocalError: NoResolverSet")
        self.assertEqual(str(resolver.lookup("a.test", 6)[0].error), "LocalError: NoResolverSet")
        self.assertIsNone(resolver.stop())
        self.assertEqual(logs.records, [])
