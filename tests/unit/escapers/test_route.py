# SPDX-License-Identifier: Apache-2.0
"""Following routes to the escaper that does the work."""

from __future__ import annotations

from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase
from zope.interface import implementer

from g3.config.node import EscaperConfig
from g3.errors import EscaperNotUsable
from g3.escapers.route import Route, consistent_key
from g3.interfaces import IEscaper
from g3.route import final_escaper
from g3.task import ClientInfo, Task, Upstream
from g3.tree.node import NodeContext


def make_task(host: str = "origin.example", client: str = "192.0.2.1") -> Task:
    return Task("HttpConnect", "http_proxy", "test", ClientInfo((client, 4), ("192.0.2.2", 80), (client, 4)), Upstream(host, 443), 0.0)


@implementer(IEscaper)
class Worker:
    """An escaper that is no route."""


class To(Route):
    """A route to what it is told."""

    def __init__(self, next_one: Any, name: str = "route") -> None:
        super().__init__(EscaperConfig(name=name), NodeContext(reactor=Clock()))
        self.next_one = next_one

    def choose(self, task: Task) -> Any:
        if self.next_one is None:
            raise EscaperNotUsable("none")
        return self.next_one


class FinalEscaper(SynchronousTestCase):
    def test_an_escaper_is_its_own_end(self) -> None:
        worker = Worker()
        self.assertIs(final_escaper(worker, make_task()), worker)

    def test_routes_that_decide_at_once_need_no_deferred(self) -> None:
        worker = Worker()
        inner = To(worker, "inner")
        outer = To(inner, "outer")
        task = make_task()
        self.assertIs(final_escaper(outer, task), worker)
        self.assertEqual((inner.stats.passed, outer.stats.passed), (1, 1))
        self.assertEqual(task.connect.escaper, "inner")

    def test_a_route_may_take_its_time(self) -> None:
        worker = Worker()
        waiting: Deferred[Any] = Deferred()
        route = To(waiting)
        found = final_escaper(To(route), make_task())
        self.assertNoResult(found)
        self.assertEqual(route.stats.passed, 0)
        waiting.callback(To(worker))
        self.assertIs(self.successResultOf(found), worker)
        self.assertEqual((route.stats.passed, route.stats.failed), (1, 0))

    def test_a_refusal_is_a_failed_deferred_and_counted(self) -> None:
        route = To(None, "closed")
        task = make_task()
        self.failureResultOf(final_escaper(To(route), task), EscaperNotUsable)
        self.assertEqual((route.stats.passed, route.stats.failed), (0, 1))
        self.assertEqual(task.connect.escaper, "closed")

    def test_a_late_refusal_is_counted_too(self) -> None:
        waiting: Deferred[Any] = Deferred()
        route = To(waiting)
        found = final_escaper(route, make_task())
        waiting.errback(EscaperNotUsable("late"))
        self.failureResultOf(found, EscaperNotUsable)
        self.assertEqual((route.stats.passed, route.stats.failed), (0, 1))

    def test_a_circle_ends(self) -> None:
        one = To(None)
        one.next_one = To(one)
        self.failureResultOf(final_escaper(one, make_task()), EscaperNotUsable)

    def test_metrics_are_there_while_it_runs(self) -> None:
        route = To(Worker(), "metered")
        route.startService()
        final_escaper(route, make_task())
        self.assertEqual([(s.name, s.value) for s in route.context.metrics.samples()], [("route.request.passed", 1)])
        route.stopService()
        self.assertEqual(list(route.context.metrics.samples()), [])


class ConsistentKey(SynchronousTestCase):
    def test_it_is_of_client_user_and_host(self) -> None:
        """The client's port and the upstream's do not count."""
        task = make_task()
        self.assertEqual(consistent_key(task), consistent_key(make_task()))
        others = [make_task(host="other.example"), make_task(client="192.0.2.9"), make_task()]
        others[2].user = type("User", (), {"name": "root"})()
        self.assertEqual(len({consistent_key(task), *map(consistent_key, others)}), 4)
