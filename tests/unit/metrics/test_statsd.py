# SPDX-License-Identifier: Apache-2.0
"""The statsd exporter, into real datagram sockets."""

from __future__ import annotations

import socket
from pathlib import Path

from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from g3.metrics import MetricRegistry
from g3.metrics.options import StatsdOptions
from g3.metrics.server import ServerStats
from g3.metrics.statsd import StatsdExporter

TAGS = (("daemon_group", "blue"), ("stat_id", "3"))


def received(sock: socket.socket) -> list[bytes]:
    """All datagrams that wait."""
    found = []
    while True:
        try:
            found.append(sock.recv(65536))
        except BlockingIOError:
            return found


def lines(datagrams: list[bytes]) -> dict[str, tuple[str, dict[str, str]]]:
    """name to (value and kind, tags); written from the DogStatsD datagram format, not from ours."""
    result = {}
    for line in b"".join(datagrams).decode().splitlines():
        head, _, tags = line.partition("|#")
        name, _, value = head.partition(":")
        result[name] = value, dict(tag.split(":", 1) for tag in tags.split(",")) if tags else {}
    return result


class ExporterTest(SynchronousTestCase):
    """What goes out, and when."""

    def setUp(self) -> None:
        self.server = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.server.bind(("127.0.0.1", 0))
        self.server.setblocking(False)
        self.addCleanup(self.server.close)
        self.clock = Clock()
        self.registry = MetricRegistry()
        self.stats = ServerStats("s")
        self.registry.add(self.stats)

    def exporter(self, **options: object) -> StatsdExporter:
        made = StatsdExporter(self.clock, self.registry, StatsdOptions(udp=self.server.getsockname(), **options), TAGS)  # type: ignore[arg-type]
        made.start()
        self.addCleanup(made.stop)
        return made

    def tick(self, times: int = 1) -> dict[str, tuple[str, dict[str, str]]]:
        for _ in range(times):
            self.clock.advance(0.2)
        return lines(received(self.server))

    def test_a_line_has_prefix_value_kind_and_all_tags(self) -> None:
        """As DogStatsD has them."""
        self.exporter()
        self.stats.total_tasks = 7
        found = self.tick()
        self.assertEqual(found["g3proxy.server.task.total"], ("7|c", {"daemon_group": "blue", "stat_id": "3", "server": "s", "online": "y"}))
        self.assertEqual(found["g3proxy.server.task.alive"][0], "0|g")

    def test_nothing_goes_out_before_the_interval(self) -> None:
        """The first sending is one interval after the start."""
        self.exporter(emit_interval=2.0)
        self.stats.total_tasks = 7
        self.clock.advance(1.9)
        self.assertEqual(received(self.server), [])
        self.clock.advance(0.2)
        self.assertNotEqual(received(self.server), [])

    def test_a_counter_is_sent_as_difference_and_never_as_zero(self) -> None:
        """7, then nothing, then 5."""
        self.exporter()
        self.stats.total_tasks = 7
        self.assertEqual(self.tick()["g3proxy.server.task.total"][0], "7|c")
        self.assertNotIn("g3proxy.server.task.total", self.tick())
        self.stats.total_tasks = 12
        self.assertEqual(self.tick()["g3proxy.server.task.total"][0], "5|c")

    def test_a_gauge_is_sent_each_time(self) -> None:
        """Also when it did not change."""
        self.exporter()
        self.stats.alive_tasks = 4
        self.assertEqual([self.tick()["g3proxy.server.task.alive"][0] for _ in range(3)], ["4|g"] * 3)

    def test_going_offline_does_not_count_again(self) -> None:
        """The tag changes, the counter goes on."""
        self.exporter()
        self.stats.total_tasks = 7
        self.tick()
        self.stats.online = False
        self.stats.total_tasks = 9
        self.assertEqual(self.tick()["g3proxy.server.task.total"][:1], ("2|c",))

    def test_a_removed_source_is_sent_a_last_time_and_forgotten(self) -> None:
        """Its last counts are not lost; a later source of that name begins anew."""
        self.exporter()
        self.stats.total_tasks = 7
        self.tick()
        self.stats.total_tasks = 10
        self.registry.remove(self.stats)
        self.assertEqual(self.tick()["g3proxy.server.task.total"][0], "3|c")
        self.assertEqual(self.tick(), {})
        fresh = ServerStats("s")
        fresh.total_tasks = 2
        self.registry.add(fresh)
        self.assertEqual(self.tick()["g3proxy.server.task.total"][0], "2|c")

    def test_stopping_sends_what_is_left(self) -> None:
        """Counts of the last interval."""
        exporter = self.exporter()
        self.stats.total_tasks = 7
        exporter.stop()
        self.assertIn("g3proxy.server.task.total", lines(received(self.server)))
        exporter.stop()

    def test_datagrams_hold_whole_lines_within_the_segment_size(self) -> None:
        """Nothing is lost and nothing is cut."""
        self.exporter(max_segment_size=300)
        for number in range(40):
            self.registry.add(ServerStats(f"server-{number}"))
        self.clock.advance(0.2)
        datagrams = received(self.server)
        self.assertGreater(len(datagrams), 5)
        self.assertTrue(all(len(datagram) <= 300 and datagram.endswith(b"\n") for datagram in datagrams))
        self.assertEqual(b"".join(datagrams).count(b"server.task.alive"), 41)

    def test_what_comes_from_outside_cannot_end_a_tag_or_a_line(self) -> None:
        """A hostile name stays one value."""
        self.registry.add(ServerStats("a,b|c\nd#e f:g"))
        self.exporter()
        self.clock.advance(0.2)
        text = b"".join(received(self.server)).decode()
        self.assertIn(",server:a_b_c_d_e_f:g,", text)
        self.assertEqual(len(text.splitlines()), 2)

    def test_counts_that_could_not_be_sent_go_out_later(self) -> None:
        """No server at first, over a unix socket: failures are counted, counts are kept."""
        path = Path(self.mktemp())
        exporter = StatsdExporter(self.clock, self.registry, StatsdOptions(unix=str(path)), TAGS)
        exporter.start()
        self.addCleanup(exporter.stop)
        self.stats.total_tasks = 7
        self.clock.advance(0.2)
        self.assertEqual((exporter.sent, exporter.failed), (0, 1))
        server = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.addCleanup(server.close)
        server.bind(str(path))
        server.setblocking(False)
        self.stats.total_tasks = 8
        self.clock.advance(0.2)
        self.assertEqual(lines(received(server))["g3proxy.server.task.total"][0], "8|c")
        self.assertEqual((exporter.sent, exporter.failed), (1, 1))

    def test_a_full_server_does_not_block(self) -> None:
        """Its queue is full: the exporter counts failures and goes on."""
        path = Path(self.mktemp())
        server = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.addCleanup(server.close)
        server.bind(str(path))
        exporter = StatsdExporter(self.clock, self.registry, StatsdOptions(unix=str(path)), TAGS)
        exporter.start()
        self.addCleanup(exporter.stop)
        for _ in range(2000):
            exporter.emit()
        self.assertGreater(exporter.failed, 0)

    def test_a_source_address_that_is_not_ours_is_a_failure_and_no_crash(self) -> None:
        """bind_ip of another machine."""
        exporter = self.exporter(bind_ip="192.0.2.1")
        self.clock.advance(0.2)
        self.assertEqual((exporter.sent, exporter.failed), (0, 1))

    def test_without_a_prefix_names_stand_alone(self) -> None:
        """An empty prefix has no dot."""
        self.exporter(prefix="")
        self.assertIn("server.task.alive", self.tick())
