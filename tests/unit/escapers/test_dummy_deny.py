# SPDX-License-Identifier: Apache-2.0
"""dummy_deny: every way is offered, and none is open."""

from __future__ import annotations

from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase
from zope.interface.verify import verifyObject

from g3.config.schema import keys_of
from g3.errors import MethodUnavailable
from g3.escapers.dummy_deny import DummyDenyConfig, DummyDenyEscaper
from g3.interfaces import IEscaper, IFTPConnect, IHTTPForward, ITCPConnect, ITLSConnect, IUDPConnect, IUDPRelay
from g3.testing.nodes import make_context, make_task


class DummyDenyTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.escaper = DummyDenyEscaper(DummyDenyConfig(name="nothing"), make_context(Clock()))

    def test_its_keys_are_upstreams(self) -> None:
        self.assertEqual([key.name for key in keys_of(DummyDenyConfig)], ["name", "extra_metrics_tags"])

    def test_it_offers_every_way(self) -> None:
        for interface in (IEscaper, ITCPConnect, ITLSConnect, IHTTPForward, IFTPConnect, IUDPConnect, IUDPRelay):
            verifyObject(interface, self.escaper)

    def test_every_way_is_refused_as_forbidden(self) -> None:
        escaper, task = self.escaper, make_task("up.test", 80)
        ways = (
            escaper.tcp_connect(task),
            escaper.tls_connect(task, None, ""),  # type: ignore[arg-type]
            escaper.http_forward(task),
            escaper.https_forward(task, None, ""),  # type: ignore[arg-type]
            escaper.ftp_control(task),
            escaper.ftp_data(task, None, 20),
            escaper.udp_connect(task),
            escaper.udp_relay(task),
        )
        for way in ways:
            error = self.failureResultOf(Deferred.fromCoroutine(way), MethodUnavailable).value
            self.assertEqual((error.http_status, error.socks5_reply, error.reason), (403, 2, "ForbiddenByRule"))
        self.assertEqual((escaper.stats.task_total, task.connect.escaper), (len(ways), "nothing"))

    def test_it_is_measured_and_not_logged(self) -> None:
        self.escaper.start()
        self.assertIn(self.escaper.traffic, self.escaper.context.metrics)
        self.escaper.stop()
        self.assertNotIn(self.escaper.traffic, self.escaper.context.metrics)
