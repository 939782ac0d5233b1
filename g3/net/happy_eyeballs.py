# SPDX-License-Identifier: Apache-2.0
"""Happy Eyeballs: connect to a name of several addresses without waiting for the broken ones (RFC 8305).

A host may have IPv6 and IPv4 addresses of which some do not work from here, and a dead one answers with silence. Trying one after the
other costs the user a whole connect timeout for each; trying all at once loads everybody for nothing. So, in order:

- Ask for the preferred and the other family at once. If the other one answers first, give the preferred one C{resolution_delay} (50 ms)
  more: a name server that is faster at A than at AAAA shall not decide the family.
- Take the addresses of the preferred family, and after the first C{first_address_family_count} (1) of them mix in the other family by
  turns: when one family is broken, the second attempt is already in the other.
- Start the next attempt when the last one failed, or C{connection_attempt_delay} (250 ms) after it began. An attempt that fails at once
  (refused) costs nothing; one that is silent costs a quarter of a second. 250 ms is longer than most round trips, so a host that works is
  rarely tried twice.
- The first connection wins, the others are cancelled and closed.
- When every address known so far has failed and the other family's answer is still out, wait C{second_resolution_timeout} (2 s) for it.

Each address is tried once; of each family at most C{max_tries} are (upstream: configuration/values/base, tcp connect). What is cheap stays
cheap: one address, or a first attempt that succeeds at once, sets up no timer and no race.
"""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from twisted.internet.defer import Deferred

from g3.errors import ConnectFailed, NoAddressConnected, ResolveError, SetupSocketFailed, TimeoutByRule

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Sequence

    from twisted.internet.interfaces import IDelayedCall, IReactorTime
    from twisted.python.failure import Failure

    from g3.net.options import HappyEyeballs

T = TypeVar("T")
#: One address's trouble: the next address may do. Any other error ends the whole connect (a forbidden address forbids the name).
_NEXT = (ConnectFailed, TimeoutByRule, SetupSocketFailed)


async def happy_connect(
    clock: IReactorTime,
    first: Sequence[str] | Deferred[Sequence[str]] | ResolveError,
    second: Sequence[str] | Deferred[Sequence[str]] | ResolveError | None,
    attempt: Callable[[str], Coroutine[Any, Any, T]],
    options: HappyEyeballs,
    *,
    max_tries: int,
    pick: Callable[[Sequence[str], int], Sequence[str]] | None = None,
    discard: Callable[[T], object] = lambda won: won.close(),  # type: ignore[attr-defined]
) -> T:
    """What the first successful C{attempt(ip)} returned.

    @param first: addresses of the preferred family; C{second}: of the other one, None when it was not asked for.
    @param attempt: raises ConnectFailed, TimeoutByRule or SetupSocketFailed for this address's trouble, and closes what it opened then
        and when it is cancelled.
    @param pick: chooses and orders at most so many addresses of one family; the first ones by default.
    @param discard: closes what a cancelled attempt returned after all.
    @raise ResolveError: neither family has an address.
    @raise ConnectError: the last attempt's error when all failed, or at once any that is not one address's trouble. Nothing is left open.
    """
    if second is None and isinstance(first, (tuple, list)) and len(first) == 1:
        return await attempt(first[0])
    race: _Race[T] = _Race(clock, attempt, options, max_tries, pick or _first_ones, discard)
    return await race.run(first, second)


def _first_ones(addresses: Sequence[str], count: int) -> Sequence[str]:
    return addresses[:count]


class _Race(Generic[T]):
    """One connect. C{tried} attempts began, C{running} are under way, C{untried} wait, C{asked} answers are still out."""

    __slots__ = (
        "asked",
        "attempt",
        "clock",
        "discard",
        "done",
        "error",
        "held",
        "max_tries",
        "options",
        "pick",
        "resolved",
        "result",
        "running",
        "seen",
        "timer",
        "tried",
        "untried",
    )

    def __init__(
        self,
        clock: IReactorTime,
        attempt: Callable[[str], Coroutine[Any, Any, T]],
        options: HappyEyeballs,
        max_tries: int,
        pick: Callable[[Sequence[str], int], Sequence[str]],
        discard: Callable[[T], object],
    ) -> None:
        self.clock = clock
        self.attempt = attempt
        self.options = options
        self.max_tries = max_tries
        self.pick = pick
        self.discard = discard
        self.result: Deferred[T] = Deferred(self._cancelled)
        self.running: list[Deferred[T]] = []
        self.untried: deque[str] = deque()
        self.seen: set[str] = set()
        self.held: Sequence[str] | None = None
        self.timer: IDelayedCall | None = None
        self.error: Exception = NoAddressConnected()
        self.resolved = False
        self.done = False
        self.asked = 0
        self.tried = 0

    def run(
        self,
        first: Sequence[str] | Deferred[Sequence[str]] | ResolveError,
        second: Sequence[str] | Deferred[Sequence[str]] | ResolveError | None,
    ) -> Deferred[T]:
        self.asked = 1 if second is None else 2
        # The preferred answer first, so that one at hand is not held back.
        self._listen(first, self._preferred)
        if second is not None:
            self._listen(second, self._other)
        return self.result

    # -- answers

    def _listen(self, answer: Sequence[str] | Deferred[Sequence[str]] | ResolveError, heard: Callable[[Sequence[str]], None]) -> None:
        if isinstance(answer, Deferred):
            # Never cancelled: another client may wait for the same answer, and the cache gains from it.
            answer.addCallbacks(heard, self._unresolved).addErrback(self._broken)
        elif isinstance(answer, ResolveError):
            self._no_answer(answer)
        else:
            heard(answer)

    def _preferred(self, addresses: Sequence[str]) -> None:
        self.asked -= 1
        if not self.done:
            held, self.held = self.held, None
            self._learn(addresses)
            if held is not None:
                self._learn(held)
            self._go()

    def _other(self, addresses: Sequence[str]) -> None:
        self.asked -= 1
        if self.done:
            return
        if self.asked and not self.resolved:
            self.held = addresses
            self._set_timer(self.options.resolution_delay, self._waited_for_preferred)
            return
        self._learn(addresses)
        self._go()

    def _waited_for_preferred(self) -> None:
        self.timer = None
        self._release()

    def _release(self) -> None:
        """Begin with the other family."""
        held, self.held = self.held, None
        if held is not None:
            self._learn(held)
        self._go()

    def _unresolved(self, failure: Failure) -> None:
        error = failure.value
        if isinstance(error, ResolveError):
            self._no_answer(error)
        else:
            self._broken(failure)

    def _no_answer(self, error: ResolveError) -> None:
        self.asked -= 1
        if self.done:
            return
        if not self.resolved and self.held is None:
            self.error = error
        self._release()

    def _broken(self, failure: Failure) -> None:
        """A bug in a resolver, or in us: the task ends, it does not hang."""
        self._end(failure.value)

    def _learn(self, addresses: Sequence[str]) -> None:
        """Put one family's addresses among the untried: by turns, after the first few of the family that came first."""
        fresh = [ip for ip in self.pick(addresses, self.max_tries) if ip not in self.seen]
        self.seen.update(fresh)
        if fresh and not self.resolved:
            self.resolved = True
            self.error = NoAddressConnected()
        at = max(0, self.options.first_address_family_count - self.tried)
        for ip in fresh:
            if at < len(self.untried):
                self.untried.insert(at, ip)
                at += 2
            else:
                self.untried.append(ip)
                at += 1

    # -- attempts

    def _go(self) -> None:
        """Something changed: begin an attempt if none is under way, or see that all is lost."""
        if self.done:
            return
        if self.running:
            # Without a timer the last attempt's delay is over, and only an address was missing.
            if self.timer is None and self.untried:
                self._begin()
            return
        self._clear_timer()
        if self.untried:
            self._begin()
        elif not self.asked:
            self._end(self.error)
        elif self.resolved:
            self._set_timer(self.options.second_resolution_timeout, self._waited_for_second)

    def _waited_for_second(self) -> None:
        self.timer = None
        self._end(TimeoutByRule())

    def _begin(self) -> None:
        self._clear_timer()
        self.tried += 1
        running = Deferred.fromCoroutine(self.attempt(self.untried.popleft()))
        self.running.append(running)
        running.addCallbacks(self._won, self._lost, callbackArgs=(running,), errbackArgs=(running,)).addErrback(self._broken)
        if self.running and self.timer is None:
            self._set_timer(self.options.connection_attempt_delay, self._waited_for_attempt)

    def _waited_for_attempt(self) -> None:
        self.timer = None
        if self.untried:
            self._begin()

    def _won(self, won: T, running: Deferred[T]) -> None:
        if self.done:
            self.discard(won)
            return
        self.running.remove(running)
        self._stop()
        self.result.callback(won)

    def _lost(self, failure: Failure, running: Deferred[T]) -> None:
        if self.done:
            return
        self.running.remove(running)
        error = failure.value
        if not isinstance(error, _NEXT):
            self._end(error)
            return
        self.error = error
        if self.untried:
            self._begin()
        else:
            self._go()

    # -- the end

    def _end(self, error: BaseException | None) -> None:
        if not self.done:
            self._stop()
            self.result.errback(error)

    def _stop(self) -> None:
        self.done = True
        self._clear_timer()
        running, self.running = self.running, []
        for attempt in running:
            attempt.cancel()

    def _cancelled(self, _result: Deferred[T]) -> None:
        self._stop()

    def _set_timer(self, seconds: float, call: Callable[[], None]) -> None:
        self._clear_timer()
        self.timer = self.clock.callLater(seconds, call)

    def _clear_timer(self) -> None:
        timer, self.timer = self.timer, None
        if timer is not None:
            timer.cancel()
