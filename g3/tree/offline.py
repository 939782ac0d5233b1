# SPDX-License-Identifier: Apache-2.0
"""How a daemon ends: slowly, so that tasks finish and a successor can take over, or at once.

Asked to go offline it first waits: an init system that restarts us looks the same as one that stops us, until the new process asks for
the control socket. No news means stop. After the wait the listeners close, tasks get time, then they are cancelled.
"""

from __future__ import annotations

from enum import Enum
from typing import TYPE_CHECKING, Any, Protocol

from twisted.internet.defer import Deferred
from twisted.logger import Logger

if TYPE_CHECKING:
    from twisted.internet.interfaces import IDelayedCall

    from g3.tree.node import Timeouts

log = Logger()


#: Seconds that a successor which took our control socket has at least to say that it serves.
CONFIRM = 4.0


class Phase(Enum):
    """Where a daemon is on its way out."""

    SERVING = "serving"
    WAITING = "waiting"
    LEAVING = "leaving"


class IEnding(Protocol):
    """What a shutdown does to a daemon."""

    def release_controller(self) -> None:
        """Give the shared control socket up."""

    def resume_controller(self) -> None:
        """Take it back. Raises ConfigError."""

    def close_servers(self) -> None:
        """Take no new clients. The shared control socket is given up as the ports are closed, if not before: a daemon that starts meanwhile
        gets them by it, and could not bind them."""

    def closed(self) -> Deferred[None]:
        """Fires when that is done; each call a new one."""

    def drained(self) -> Deferred[None]:
        """Fires when the last task has ended; each call a new one."""

    def force_quit_all(self) -> object:
        """End the tasks of servers that are offline."""

    def leave(self) -> None:
        """The process may end now."""


def sleep(clock: Any, seconds: float) -> Deferred[None]:
    """Fires after C{seconds}."""
    waiting: Deferred[None] = Deferred()
    clock.callLater(seconds, waiting.callback, None)
    return waiting


def within(clock: Any, event: Deferred[Any], seconds: float) -> Deferred[bool]:
    """True when C{event} fired (or failed) in time, False after C{seconds}. The event goes on either way."""
    result: Deferred[bool] = Deferred()
    timer: IDelayedCall = clock.callLater(seconds, result.callback, False)

    def fired(value: object) -> object:
        if timer.active():
            timer.cancel()
            result.callback(True)
        return value

    event.addBoth(fired)
    return result


class Shutdown:
    """The way out of one daemon (upstream: configuration/runtime, the wait and quit keys)."""

    def __init__(self, clock: Any, timeouts: Timeouts, ending: IEnding) -> None:
        self._clock = clock
        self._timeouts = timeouts
        self._ending = ending
        self._timer: IDelayedCall | None = None
        self._restart = False
        self._released = False
        self.phase = Phase.SERVING

    def offline(self) -> None:
        """Begin to leave. Asked again while a successor is known, leave now; else again is nothing."""
        if self.phase is Phase.SERVING:
            self._wait()
        elif self.phase is Phase.WAITING and self._restart:
            self._leave()

    def release(self) -> bool:
        """A successor wants the control socket. Whether it may have it: not when we are leaving already."""
        if self.phase is Phase.LEAVING:
            return False
        self._release()
        self._restart = True
        self._wait()
        return True

    def cancel(self) -> bool:
        """Go on serving. False when it is too late, or the control socket cannot be had back."""
        if self.phase is Phase.LEAVING:
            return False
        self._stop_timer()
        self.phase, self._restart = Phase.SERVING, False
        return self._resume()

    def quit(self) -> None:
        """Leave at once: no listener, no task."""
        self._stop_timer()
        self.phase = Phase.LEAVING
        self._release()
        self._ending.close_servers()
        self._ending.force_quit_all()
        self._ending.leave()

    def _wait(self) -> None:
        self._stop_timer()
        self.phase = Phase.WAITING
        delay = self._timeouts.server_offline_delay
        if self._restart:
            delay = max(delay, CONFIRM)
            log.info("a new process takes over; it has {delay} s to confirm", delay=delay)
        else:
            log.info("going offline in {delay} s", delay=delay)
        self._timer = self._clock.callLater(delay, self._no_news)

    def _no_news(self) -> None:
        self._timer = None
        if self._restart:
            log.warn("the new process did not confirm in time, serving on")
            self.cancel()
        else:
            self._leave()

    def _leave(self) -> None:
        self._stop_timer()
        self.phase = Phase.LEAVING
        log.info("offline: no new clients, waiting for tasks to end")
        self._ending.close_servers()
        done = Deferred.fromCoroutine(self._drain())
        done.addErrback(lambda failure: log.failure("shutdown failed, leaving now", failure))
        done.addBoth(lambda _: self._ending.leave())

    async def _drain(self) -> None:
        await within(self._clock, self._ending.closed(), self._timeouts.task_wait_timeout)
        # Who keeps a connection has that long for a last request.
        await sleep(self._clock, self._timeouts.task_wait_delay)
        if await within(self._clock, self._ending.drained(), self._timeouts.task_wait_timeout):
            return
        log.warn("tasks are still alive after {seconds} s, they are cancelled", seconds=self._timeouts.task_wait_timeout)
        self._ending.force_quit_all()
        if not await within(self._clock, self._ending.drained(), self._timeouts.task_quit_timeout):
            log.error("tasks are still alive {seconds} s after they were cancelled", seconds=self._timeouts.task_quit_timeout)

    def _stop_timer(self) -> None:
        timer, self._timer = self._timer, None
        if timer is not None and timer.active():
            timer.cancel()

    def _release(self) -> None:
        if not self._released:
            self._released = True
            self._ending.release_controller()

    def _resume(self) -> bool:
        if self._released:
            try:
                self._ending.resume_controller()
            except Exception:
                log.failure("the control socket cannot be resumed")
                return False
            self._released = False
        return True
