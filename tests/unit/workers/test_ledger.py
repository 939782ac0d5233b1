# SPDX-License-Identifier: Apache-2.0
"""Statistics that outlive their process."""

from __future__ import annotations

import os
from typing import Any

from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase
from zope.interface.verify import verifyObject

from g3.escapers.traffic import Traffic
from g3.interfaces import IMetricSource
from g3.logs import LogHub
from g3.logs.options import LoggerOptions, LogOptions, Stdout
from g3.metrics.escaper import EscaperStats
from g3.metrics.listen import ListenStats
from g3.metrics.options import StatsdOptions
from g3.metrics.registry import MetricRegistry
from g3.metrics.resolver import ResolverStats
from g3.metrics.server import ServerStats
from g3.metrics.statsd import StatsdExporter
from g3.tree.node import Lasting
from g3.workers.ledger import LINES, Ledger
from g3.workers.memory import Memory

KEY = ("server", "web", "http_proxy", "stats")


class LedgerTests(SynchronousTestCase):
    """Two workers, one after the other, in the same slot."""

    def setUp(self) -> None:
        self.memory = Memory(2)
        self.first: Any = self.memory.ledger_of(0).share(KEY, ServerStats("web"))

    def second(self, plain: Any = None) -> Any:
        return self.memory.ledger_of(0).share(KEY, plain or ServerStats("web"))

    def test_a_shared_object_does_all_that_a_plain_one_does(self) -> None:
        """Samples, tags, states."""
        plain = ServerStats("web")
        for stats in (self.first, plain):
            stats.set_extra_tags({"a": "b"})
            stats.total_tasks += 3
            stats.in_bytes += 1 << 40
            stats.online = False
        self.assertEqual(list(self.first.samples()), list(plain.samples()))
        verifyObject(IMetricSource, self.first)

    def test_every_class_can_be_shared(self) -> None:
        """Those of servers, listeners and escapers."""
        ledger = self.memory.ledger_of(1)
        for plain in (ListenStats("web"), EscaperStats("out")):
            shared: Any = ledger.share(("x", "y", "z", type(plain).__name__), plain)
            self.assertIsNot(shared, plain)
            self.assertEqual(list(shared.samples()), list(plain.samples()))

    def test_counters_go_on_and_gauges_begin_anew(self) -> None:
        """When the supervisor has cleared the slot."""
        self.first.total_tasks, self.first.alive_tasks = 7, 3
        self.memory.clear(0)
        second = self.second()
        self.assertEqual((second.total_tasks, second.alive_tasks), (7, 0))

    def test_resolvers_and_loggers_count_on_as_well(self) -> None:
        """Both record types of a resolver; a logger, which is no node's and outlives a reload of all nodes."""
        null = os.open(os.devnull, os.O_WRONLY)
        self.addCleanup(os.close, null)

        def worker() -> tuple[Lasting, ResolverStats, Any]:
            lasting = Lasting(self.memory.desk_of(0))
            node = ("resolver", "names", "deny_all")
            stats = lasting.get(*node, "stats", lambda: ResolverStats("names", lambda what, new: lasting.get(*node, what, lambda: new)))
            registry = MetricRegistry()
            LogHub(
                Clock(),
                LogOptions(LoggerOptions(Stdout())),
                metrics=registry,
                stdout=null,
                kept=lambda log_type, new: lasting.of_process(log_type, new.tags[0][1], lambda: new),
            ).logger("task", "web", "http_proxy")
            (logger,) = registry.sources()
            return lasting, stats, logger

        lasting, stats, logger = worker()
        stats.a.total, stats.aaaa.total, logger.total = 3, 4, 6
        lasting.prune([])
        logger.total += 1
        _, stats, logger = worker()
        self.assertEqual((stats.a.total, stats.aaaa.total, logger.total), (0, 0, 7))
        stats.a.total, stats.aaaa.total, stats.a.cache_length = 3, 4, 5
        self.memory.clear(0)
        _, stats, logger = worker()
        self.assertEqual((stats.a.total, stats.aaaa.total, stats.a.cache_length, logger.total), (3, 4, 0, 7))

    def test_what_a_source_wraps_is_sent_once_too(self) -> None:
        """The bytes of an escaper; the sizes of a resolver's cache are looked up when they are sent."""
        key = ("escaper", "out", "direct_fixed", "stats")
        stats: Any = self.memory.ledger_of(0).share(key, EscaperStats("out"))
        self.assertIs(Traffic(stats).sent, stats.sent)
        self.assertIsNone(Traffic(EscaperStats("out")).sent)
        queries: Any = self.memory.ledger_of(0).share(("resolver", "r", "c_ares", "A"), ResolverStats("r").a)
        queries.refresh = lambda: setattr(queries, "cache_length", 9)
        self.assertIn(9, [sample.value for sample in queries.samples()])

    def test_others_read_what_is_in_a_line(self) -> None:
        """Of a slot with nobody in it, too; of another slot nothing."""
        self.first.total_tasks = 7
        self.assertEqual(self.memory.ledger_of(0).read(KEY, ServerStats)["total_tasks"], 7)
        self.assertEqual(self.memory.ledger_of(1).read(KEY, ServerStats), {})

    def test_a_forgotten_line_is_used_again_from_zero(self) -> None:
        """By another node."""
        ledger = self.memory.ledger_of(1)
        shared: Any = ledger.share(KEY, ServerStats("web"))
        shared.total_tasks = 5
        ledger.forget(KEY, shared)
        self.assertEqual(ledger.read(KEY, ServerStats), {})
        for number in range(LINES):
            other: Any = ledger.share(("server", str(number), "t", "stats"), ServerStats("web"))
            self.assertEqual(other.total_tasks, 0)

    def test_without_a_free_line_an_object_counts_for_itself(self) -> None:
        """And is not shared."""
        ledger = self.memory.ledger_of(1)
        for number in range(LINES):
            ledger.share(("server", str(number), "t", "stats"), ServerStats("web"))
        plain = ServerStats("web")
        self.assertIs(ledger.share(KEY, plain), plain)

    def test_what_is_no_statistics_is_left_alone(self) -> None:
        """Such as the traffic of an escaper."""
        thing = object()
        self.assertIs(self.memory.ledger_of(1).share(KEY, thing), thing)

    def test_an_exporter_goes_on_where_the_one_before_stopped(self) -> None:
        """What it had sent is not sent again; what it had not is."""
        sent: list[str] = []

        def export(stats: Any) -> None:
            registry = MetricRegistry()
            registry.add(stats)
            exporter = StatsdExporter(Clock(), registry, StatsdOptions())
            self.patch(exporter, "_send_one", lambda datagram: sent.extend(datagram.decode().splitlines()) or True)
            exporter.emit()

        self.first.total_tasks = 5
        export(self.first)
        self.first.total_tasks = 8
        self.memory.clear(0)
        export(self.second())
        totals = [line.partition("|")[0] for line in sent if "server.task.total:" in line]
        self.assertEqual([line.partition(":")[2] for line in totals], ["5", "3"])

    def test_a_ledger_is_as_long_as_it_says(self) -> None:
        """The last slot's last line can be written."""
        ledger: Ledger = self.memory.ledger_of(1)
        lines: list[Any] = [ledger.share(("e", str(number), "t", "s"), EscaperStats("e")) for number in range(LINES)]
        for line in lines:
            line.task_total += 1
        self.assertEqual(sum(line.task_total for line in lines), LINES)
