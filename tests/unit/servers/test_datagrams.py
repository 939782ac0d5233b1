# SPDX-License-Identifier: Apache-2.0
"""The way of datagrams from its opening to its end, with doubles of the escaper, the path and the exchange."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase
from zope.interface import implementer

from g3.errors import InternalServerError, MethodUnavailable, RecvFailed, TaskError
from g3.interfaces import IUDPConnect
from g3.net.timers import TimerWheel
from g3.relay.idle import IdleWatch
from g3.servers.datagrams import Way
from g3.task import Stage, Upstream


class Path:
    def __init__(self) -> None:
        self.receiver: Any = None
        self.closed = 0

    def start(self, receiver: Any) -> None:
        self.receiver = receiver

    def send(self, data: Any, upstream: Any) -> float:
        return 0.5

    def close(self) -> None:
        self.closed += 1


@implementer(IUDPConnect)
class Escaper:
    """Answers when it is told to; C{stubborn} answers a cancellation too, with an error or a path of its own."""

    def __init__(self, stubborn: Any = None) -> None:
        self.waiting: Deferred[Any] = Deferred()
        self.stubborn = stubborn

    async def udp_connect(self, task: Any) -> Any:
        try:
            return await self.waiting
        except CancelledError:
            if self.stubborn is None:
                raise
            if isinstance(self.stubborn, Exception):
                raise self.stubborn from None
            return self.stubborn


class Double:
    """An exchange."""

    def __init__(self, escaper: Any, clock: Clock) -> None:
        self.crashes: list[BaseException] = []
        config = SimpleNamespace(task_idle_max_count=2, flush_task_log_on_connected=True)
        watch = IdleWatch(TimerWheel(clock), 10)
        server = SimpleNamespace(escaper=escaper, config=config, clock=clock.seconds, idle=watch, failed=self.crashes.append)
        self.client = SimpleNamespace(server=server)
        self.task: Any = SimpleNamespace(stage=Stage.CREATED, created=0.0, ready=0.0)
        self.heard: list[str] = []
        self.way = Way(self)

    def way_found(self) -> None:
        self.heard.append("found")

    def relaying(self) -> None:
        self.heard.append("relaying")

    def note(self, event: Any) -> None:
        self.heard.append(event.name)

    def fail(self, error: TaskError) -> None:
        self.heard.append(type(error).__name__)
        self.way.close()


class WayTests(SynchronousTestCase):
    def begun(self, escaper: Any) -> Double:
        self.clock = Clock()
        exchange = Double(escaper, self.clock)
        exchange.way.open(many=False)
        return exchange

    def test_it_is_opened_and_watched_until_it_is_closed(self) -> None:
        """In this order; one that moves nothing is idle."""
        escaper, path = Escaper(), Path()
        exchange = self.begun(escaper)
        self.assertEqual((exchange.heard, exchange.task.stage), ([], Stage.CONNECTING))
        self.clock.advance(1)
        escaper.waiting.callback(path)
        self.assertEqual(exchange.heard, ["CONNECTED", "found", "relaying"])
        self.assertEqual((exchange.task.stage, exchange.task.ready, path.receiver), (Stage.RELAYING, 1.0, exchange))
        self.assertEqual((exchange.way.send(b"abc", Upstream("a", 1)), exchange.way.remote_out, exchange.way.activity), (0.5, 3, 1))
        exchange.way.periodic()
        self.clock.pump([10] * 4)
        self.assertEqual(exchange.heard[3:], ["PERIODIC", "Idle"])
        self.assertEqual((path.closed, len(exchange.client.server.idle)), (1, 0))

    def test_without_a_path_the_exchange_fails(self) -> None:
        """Also where the escaper knows none, or breaks."""
        for error, name in ((RecvFailed(), RecvFailed.__name__), (OSError(), InternalServerError.__name__)):
            escaper = Escaper()
            exchange = self.begun(escaper)
            escaper.waiting.errback(error)
            self.assertEqual((exchange.heard, len(exchange.crashes)), ([name], int(isinstance(error, OSError))))
        self.assertEqual(self.begun(object()).heard, [MethodUnavailable.__name__])

    def test_once_closed_nothing_is_heard(self) -> None:
        """Whatever becomes of the opening; a path that comes nevertheless is closed."""
        late = Path()
        for stubborn in (None, RecvFailed(), OSError(), late):
            escaper = Escaper(stubborn)
            exchange = self.begun(escaper)
            exchange.way.close()
            exchange.way.close()
            exchange.way.periodic()
            self.assertEqual((exchange.heard, escaper.waiting.called), ([], True))
        self.assertEqual((late.closed, late.receiver), (1, None))
