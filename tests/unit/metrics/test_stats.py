# SPDX-License-Identifier: Apache-2.0
"""Statistics: ints with the metric names and tags that upstream gives them."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase
from zope.interface.verify import verifyObject

from g3.errors import ResolveError
from g3.interfaces import IMetricSource
from g3.metrics.escaper import EscaperStats, RouteStats
from g3.metrics.listen import ListenStats
from g3.metrics.logger import LoggerStats
from g3.metrics.resolver import ResolverStats
from g3.metrics.sample import Sample
from g3.metrics.server import ServerStats

#: Every metric name of upstream's pages server, escaper, resolver and logger.
UPSTREAM = """
listen.instance.count listen.accepted listen.dropped listen.timeout listen.failed server.connection.total server.task.total
server.task.alive server.forbidden.auth_failed server.forbidden.dest_denied server.forbidden.user_blocked server.traffic.in.bytes
server.traffic.in.packets server.traffic.out.bytes server.traffic.out.packets server.task.untrusted_total server.task.untrusted_alive
server.traffic.untrusted_in.bytes escaper.task.total escaper.connection.attempt escaper.connection.establish escaper.tcp.connect.attempt
escaper.tcp.connect.establish escaper.tcp.connect.success escaper.tcp.connect.error escaper.tcp.connect.timeout
escaper.tls.handshake.success escaper.tls.handshake.error escaper.tls.handshake.timeout escaper.tls.peer.closure.orderly
escaper.tls.peer.closure.abortive escaper.forbidden.ip_blocked escaper.traffic.in.bytes escaper.traffic.in.packets escaper.traffic.out.bytes
escaper.traffic.out.packets route.request.passed route.request.failed resolver.query.total resolver.query.cached resolver.query.trashed
resolver.query.driver.total resolver.query.driver.timeout resolver.query.driver.refused resolver.query.driver.malformed
resolver.query.server.refused resolver.query.server.malformed resolver.query.server.not_found resolver.query.server.serv_fail
resolver.memory.cache.capacity resolver.memory.cache.length resolver.memory.doing.capacity resolver.memory.doing.length
resolver.memory.trash.capacity resolver.memory.trash.length logger.message.total logger.message.pass logger.message.drop logger.traffic.pass
"""


def touched(stats: object) -> object:
    """All ints of a statistics object set to one."""
    for table in ("counters", "gauges", "quiet_gauges"):
        for attribute, _, _ in getattr(stats, table):
            setattr(stats, attribute, 1)
    return stats


class NamesTest(SynchronousTestCase):
    """Names and tags."""

    def test_every_metric_of_upstream_is_there_and_no_other(self) -> None:
        """The names are upstream's."""
        resolver = ResolverStats("r")
        touched(resolver.a), touched(resolver.aaaa)
        sources = [touched(stats) for stats in (ServerStats("s"), ListenStats("s"), EscaperStats("e"), RouteStats("e"), LoggerStats("l"))]
        names = {sample.name for source in [*sources, resolver.a, resolver.aaaa] for sample in source.samples()}  # type: ignore[attr-defined]
        self.assertEqual(names, set(UPSTREAM.split()))

    def test_sources_provide_the_interface(self) -> None:
        """Each is an IMetricSource."""
        for source in (ServerStats("s"), ListenStats("s"), EscaperStats("e"), RouteStats("e"), LoggerStats("l"), ResolverStats("r").a):
            verifyObject(IMetricSource, source)

    def test_a_counter_that_never_counted_says_nothing(self) -> None:
        """Only the gauge of a fresh server is exported."""
        self.assertEqual([sample.name for sample in ServerStats("s").samples()], ["server.task.alive"])

    def test_traffic_of_tcp_and_udp_is_told_apart_by_a_tag(self) -> None:
        """One name, two series."""
        stats = EscaperStats("e")
        stats.in_bytes, stats.udp_in_bytes = 10, 20
        self.assertEqual(
            sorted(stats.samples()),
            [
                Sample("escaper.traffic.in.bytes", "c", 10, (("escaper", "e"), ("transport", "tcp"))),
                Sample("escaper.traffic.in.bytes", "c", 20, (("escaper", "e"), ("transport", "udp"))),
            ],
        )

    def test_extra_tags_go_to_every_sample(self) -> None:
        """C{extra_metrics_tags} of a node."""
        stats = EscaperStats("e", {"zone": "a", "dc": "b"})
        stats.task_total = 1
        self.assertEqual(next(iter(stats.samples())).tags, (("escaper", "e"), ("dc", "b"), ("zone", "a")))

    def test_offline_is_a_state_and_not_another_series(self) -> None:
        """The tag changes and the identity of the counter does not."""
        stats = ServerStats("s")
        stats.total_tasks = 3
        online = next(sample for sample in stats.samples() if sample.kind == "c")
        stats.online = False
        offline = next(sample for sample in stats.samples() if sample.kind == "c")
        self.assertEqual((online.tags, online.state), ((("server", "s"),), (("online", "y"),)))
        self.assertEqual((offline.tags, offline.state), ((("server", "s"),), (("online", "n"),)))

    def test_a_quiet_gauge_goes_on_once_it_was_not_zero(self) -> None:
        """Back at zero it is still exported, or the last value would stand for ever."""
        stats = ServerStats("s")
        stats.untrusted_alive = 1
        self.assertIn(1, [sample.value for sample in stats.samples() if sample.name == "server.task.untrusted_alive"])
        stats.untrusted_alive = 0
        self.assertIn(0, [sample.value for sample in stats.samples() if sample.name == "server.task.untrusted_alive"])

    def test_drops_of_a_logger_have_their_reason(self) -> None:
        """One name, four reasons."""
        stats = LoggerStats("lt-a")
        stats.format_failed, stats.channel_closed, stats.channel_overflow, stats.peer_unreachable = 1, 2, 3, 4
        found = {dict(sample.tags)["drop_type"]: sample.value for sample in stats.samples()}
        self.assertEqual(found, {"FormatFailed": 1, "ChannelClosed": 2, "ChannelOverflow": 3, "PeerUnreachable": 4})
        self.assertEqual(stats.dropped, 10)


class ResolverErrorTest(SynchronousTestCase):
    """Which error counts as what."""

    def test_errors_are_counted_by_kind(self) -> None:
        """Name server's and driver's words map to upstream's metrics; others are not counted."""
        table = {
            ("ServerError", "REFUSED"): "server_refused",
            ("ServerError", "FORMERR"): "server_malformed",
            ("ServerError", "NOTFOUND"): "server_not_found",
            ("ServerError", "SERVFAIL"): "server_serv_fail",
            ("DriverError", "ConnRefused"): "driver_refused",
            ("DriverError", "Timeout"): "driver_timeout",
            ("LocalError", "DriverTimedOut"): "driver_timeout",
            ("DriverError", "BadName"): "driver_malformed",
            ("DriverError", "BadQuery"): "driver_malformed",
            ("DriverError", "BadResp"): "driver_malformed",
            ("ServerError", "NOTIMP"): "",
            ("DriverError", "InternalError"): "",
        }
        for (kind, subtype), attribute in table.items():
            stats = ResolverStats("r").a
            stats.add_error(ResolveError(kind, subtype))
            counted = [name for name, _, _ in stats.counters if getattr(stats, name)]
            self.assertEqual(counted, [attribute] if attribute else [], (kind, subtype))
