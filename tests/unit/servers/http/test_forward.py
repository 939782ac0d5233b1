# SPDX-License-Identifier: Apache-2.0
"""Tests of g3.servers.http.forward: routes that take their time."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

from twisted.internet.defer import Deferred
from twisted.trial.unittest import SynchronousTestCase
from zope.interface import implementer

from g3.errors import EscaperNotUsable, TaskError
from g3.interfaces import IRoute
from g3.proto.http1.request import parse_request
from g3.servers.http.exchange import NEVER
from g3.servers.http.forward import Forward
from g3.servers.http_proxy.config import HTTPProxyConfig
from g3.servers.http_proxy.target import Targets
from g3.task import ClientInfo

HERE = ("127.0.0.1", 1)


@implementer(IRoute)
class SlowRoute:
    """Decides when told."""

    def __init__(self) -> None:
        self.canceled: list[object] = []
        self.decision: Deferred[Any] = Deferred(self.canceled.append)

    def pick(self, task: object) -> Deferred[Any]:
        return self.decision


class Client:
    """As much of a client connection as a forward needs before it has an upstream."""

    def __init__(self, escaper: object) -> None:
        config = HTTPProxyConfig(name="s", escaper="e")
        self.failures: list[BaseException] = []
        self.server = SimpleNamespace(
            config=config,
            type_word="http_proxy",
            task_log=None,
            custom_headers=None,
            proxy_status=None,
            escaper=escaper,
            destination=SimpleNamespace(forbids=lambda _upstream: False),
            adopt=lambda _task: None,
            clock=lambda: 1.0,
            failed=self.failures.append,
        )
        self.written = b""
        self.stream = SimpleNamespace(write=self.write)
        self.take_kept = lambda _key, _now: None
        self.info = ClientInfo(HERE, HERE, HERE)
        self.lost = False
        self.deadline = 1.5
        self.ends: list[bool] = []
        self.tasks_ended = 0

    def write(self, data: bytes) -> None:
        self.written += data

    def take(self) -> bytes:
        return b""

    def exchange_ended(self, closes: bool) -> None:
        self.ends.append(closes)

    def task_ended(self) -> None:
        self.tasks_ended += 1


class SlowRouteTests(SynchronousTestCase):
    """A route may ask somebody before it decides; however that ends, the task ends once."""

    def setUp(self) -> None:
        self.route = SlowRoute()
        self.client: Any = Client(self.route)
        request = parse_request(b"GET http://a.test/ HTTP/1.1\r\nHost: a.test\r\n\r\n")
        self.forward = Forward(self.client, request, Targets(self.client.server.config, None).resolve(request), 1.0)
        self.forward.start()

    def ended(self, status: int) -> None:
        self.assertTrue(self.client.written.startswith(b"HTTP/1.1 %d " % status), self.client.written[:40])
        self.assertEqual((len(self.client.ends), self.client.tasks_ended), (1, 1))

    def test_no_deadline_of_the_head_holds_meanwhile(self) -> None:
        self.assertEqual(self.client.deadline, NEVER)
        self.route.decision.errback(EscaperNotUsable())

    def test_a_route_that_knows_no_way(self) -> None:
        self.route.decision.errback(EscaperNotUsable())
        self.ended(503)

    def test_a_route_to_an_escaper_that_cannot_forward(self) -> None:
        self.route.decision.callback(object())
        self.ended(403)

    def test_a_route_with_a_defect(self) -> None:
        """It is logged, and a 500."""
        self.route.decision.errback(ZeroDivisionError())
        self.ended(500)
        self.assertEqual([type(error) for error in self.client.failures], [ZeroDivisionError])

    def test_a_client_that_goes_meanwhile(self) -> None:
        """The route is told, and nothing is written."""
        self.client.lost = True
        self.forward.fail(TaskError(http_status=0))
        self.assertEqual(len(self.route.canceled), 1)
        self.assertEqual((self.client.written, self.client.tasks_ended), (b"", 1))
