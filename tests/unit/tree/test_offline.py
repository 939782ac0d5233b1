# SPDX-License-Identifier: Apache-2.0
"""The way out of a daemon."""

from __future__ import annotations

from twisted.internet.defer import Deferred, succeed
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from g3.errors import ConfigError
from g3.tree.node import Timeouts
from g3.tree.offline import Phase, Shutdown


class Ending:
    """Notes what is asked of it."""

    def __init__(self) -> None:
        self.calls: list[str] = []
        self.alive = True
        self.closing: Deferred[None] = succeed(None)
        self.waiting: list[Deferred[None]] = []
        self.resumes = True

    def release_controller(self) -> None:
        self.calls.append("release")

    def resume_controller(self) -> None:
        if not self.resumes:
            raise ConfigError("taken")
        self.calls.append("resume")

    def close_servers(self) -> None:
        self.calls.append("close")

    def closed(self) -> Deferred[None]:
        return self.closing

    def drained(self) -> Deferred[None]:
        event: Deferred[None] = Deferred()
        if self.alive:
            self.waiting.append(event)
        else:
            event.callback(None)
        return event

    def drain(self) -> None:
        self.alive = False
        for event in self.waiting:
            event.callback(None)

    def force_quit_all(self) -> None:
        self.calls.append("force")

    def leave(self) -> None:
        self.calls.append("leave")


class ShutdownTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.clock = Clock()
        self.ending = Ending()
        self.shutdown = Shutdown(self.clock, Timeouts(4, 2, 100, 50), self.ending)

    def go(self, seconds: float) -> list[str]:
        self.clock.advance(seconds)
        calls, self.ending.calls = self.ending.calls, []
        return calls

    def test_offline_waits_then_closes_then_lets_tasks_end(self) -> None:
        """4 s for news of a successor, 2 s before the first look, then until the last task ended."""
        self.shutdown.offline()
        self.assertEqual(self.go(3.9), [])
        self.assertEqual(self.go(0.1), ["close"])
        self.ending.drain()
        self.assertEqual(self.go(1.9), [])
        self.assertEqual(self.go(0.1), ["leave"])

    def test_the_wait_for_tasks_begins_when_the_ports_are_closed(self) -> None:
        """However long that takes: until then nobody with a kept connection was told that his next request is the last."""
        self.ending.closing = Deferred()
        self.ending.drain()
        self.shutdown.offline()
        self.assertEqual(self.go(4 + 3), ["close"])
        self.ending.closing.callback(None)
        self.assertEqual(self.go(1.9), [])
        self.assertEqual(self.go(0.1), ["leave"])

    def test_ports_that_are_never_closed_hold_up_no_end(self) -> None:
        """No longer than tasks may."""
        self.ending.closing = Deferred()
        self.ending.drain()
        self.shutdown.offline()
        self.go(4)
        self.go(100)
        self.assertEqual(self.go(2), ["leave"])

    def test_tasks_that_do_not_end_are_cancelled_then_left(self) -> None:
        """After the wait timeout they are told, after the quit timeout we go."""
        self.shutdown.offline()
        self.go(4)
        self.assertEqual(self.go(2), [])
        self.assertEqual(self.go(100), ["force"])
        self.assertEqual(self.go(50), ["leave"])
        self.assertEqual(self.clock.getDelayedCalls(), [])
        self.flushLoggedErrors()

    def test_a_second_offline_is_nothing_while_nobody_took_over(self) -> None:
        """Neither sooner nor later."""
        self.shutdown.offline()
        self.go(3)
        self.shutdown.offline()
        self.assertEqual(self.go(1), ["close"])
        self.shutdown.offline()

    def test_it_can_be_cancelled_while_it_waits(self) -> None:
        """Serving as before."""
        self.shutdown.offline()
        self.assertTrue(self.shutdown.cancel())
        self.assertEqual(self.go(1000), [])
        self.assertIs(self.shutdown.phase, Phase.SERVING)

    def test_it_cannot_be_cancelled_once_the_listeners_are_closed(self) -> None:
        """The caller is told."""
        self.shutdown.offline()
        self.go(4)
        self.assertFalse(self.shutdown.cancel())
        self.assertFalse(self.shutdown.release())

    def test_a_successor_that_confirms_ends_us_at_once(self) -> None:
        """Release, then offline: no more waiting."""
        self.assertTrue(self.shutdown.release())
        self.assertEqual(self.go(1), ["release"])
        self.shutdown.offline()
        self.assertEqual(self.go(0), ["close"])

    def test_a_successor_that_never_confirms_leaves_us_serving(self) -> None:
        """After the delay the control socket is taken back."""
        self.shutdown.offline()
        self.shutdown.release()
        self.assertEqual(self.go(4), ["release", "resume"])
        self.assertIs(self.shutdown.phase, Phase.SERVING)

    def test_a_control_socket_that_cannot_be_had_back_is_told(self) -> None:
        """cancel says no, and we serve on."""
        self.shutdown.release()
        self.ending.resumes = False
        self.assertFalse(self.shutdown.cancel())
        self.flushLoggedErrors()
        self.assertIs(self.shutdown.phase, Phase.SERVING)

    def test_quit_is_at_once(self) -> None:
        """Also out of the middle of a wait."""
        self.shutdown.offline()
        self.shutdown.quit()
        self.assertEqual(self.go(0), ["release", "close", "force", "leave"])
        self.assertEqual(self.clock.getDelayedCalls(), [])
