# SPDX-License-Identifier: Apache-2.0
"""Limits over all workers."""

from __future__ import annotations

import os
import signal
import struct
import time
from typing import TYPE_CHECKING, Any

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from g3.limit.gauge import Gauge
from g3.limit.options import GlobalStreamSpeed, RateQuota
from g3.limit.rate import RateLimiter
from g3.limit.stream import GlobalStreamLimiter
from g3.tree.node import Lasting
from g3.workers import limits
from g3.workers.memory import Memory

if TYPE_CHECKING:
    from collections.abc import Callable

KEY = ("user_group", "staff", "static", "requests")


#: Who, after how many seconds, how many bytes.
STEPS = st.lists(st.tuples(st.integers(0, 2), st.floats(0, 0.7), st.integers(1, 10**6)), max_size=60)


def shared(memory: Memory, slot: int, plain: object, key: tuple[str, str, str, str] = KEY) -> Any:
    """What the worker in a slot uses in place of C{plain}."""
    return Lasting(memory.desk_of(slot)).get(*key, lambda: plain)


def in_children(number: int, work: Callable[[int], int]) -> int:
    """The sum of what C{work(slot)} returns in so many processes at once."""
    reading, writing = os.pipe()
    pids = []
    for slot in range(number):
        pid = os.fork()
        if not pid:
            try:
                os.write(writing, struct.pack("q", work(slot)))
            finally:
                os._exit(0)
        pids.append(pid)
    for pid in pids:
        os.waitpid(pid, 0)
    os.close(writing)
    with os.fdopen(reading, "rb") as file:
        return sum(number for (number,) in struct.iter_unpack("q", file.read()))


class GaugeTests(SynchronousTestCase):
    """How many at once."""

    def setUp(self) -> None:
        self.memory = Memory(3)
        self.gauges = [shared(self.memory, slot, Gauge(4)) for slot in range(3)]

    def test_permits_are_those_of_all_workers(self) -> None:
        """One released anywhere makes room everywhere."""
        self.assertEqual([self.gauges[slot % 3].acquire() for slot in range(6)], [True] * 4 + [False] * 2)
        self.assertEqual([(gauge.alive, gauge.available) for gauge in self.gauges], [(4, 0)] * 3)
        self.gauges[0].release()
        self.assertTrue(self.gauges[2].acquire())
        self.assertFalse(self.gauges[0].acquire())

    def test_what_a_dead_worker_had_is_given_back(self) -> None:
        """And nothing else; its replacement begins with none."""
        for slot in (0, 1, 1, 1):
            self.gauges[slot].acquire()
        self.memory.clear(1)
        self.assertEqual(self.gauges[0].alive, 1)
        gauge = shared(self.memory, 1, Gauge(4))
        self.assertEqual([gauge.acquire() for _ in range(4)], [True, True, True, False])

    def test_each_gives_back_only_what_it_has(self) -> None:
        """Releasing too often is a mistake that shows."""
        self.gauges[0].acquire()
        self.assertRaises(RuntimeError, self.gauges[1].release)
        self.assertEqual(self.gauges[1].alive, 1)

    def test_permits_may_change(self) -> None:
        """In the worker that was told."""
        for _ in range(4):
            self.gauges[0].acquire()
        self.gauges[1].permits = 0
        self.assertEqual((self.gauges[0].acquire(), self.gauges[1].acquire()), (False, True))

    def test_it_overshoots_by_the_other_workers_at_most(self) -> None:
        """Four processes that ask as fast as they can."""
        memory = Memory(4)

        def work(slot: int) -> int:
            gauge = shared(memory, slot, Gauge(1000))
            while gauge.acquire():
                pass
            return int(memory.desk_of(slot).share(KEY, Gauge()).alive >= 1000)  # type: ignore[attr-defined]

        self.assertEqual(in_children(4, work), 4)
        self.assertTrue(1000 <= shared(memory, 0, Gauge()).alive <= 1003)


class RateTests(SynchronousTestCase):
    """How often."""

    def test_a_rate_is_that_of_all_workers(self) -> None:
        """30 at once, then one each thirtieth of a second."""
        memory = Memory(2)
        one, other = (shared(memory, slot, RateLimiter(RateQuota(replenish_interval=1 / 30, max_burst=30))) for slot in range(2))
        self.assertEqual(sum(limiter.admit(100.0) for _ in range(50) for limiter in (one, other)), 30)
        self.assertAlmostEqual(other.delay(100.0), 1 / 30)
        self.assertEqual([other.admit(100.034), one.admit(100.034)], [True, False])

    def test_processes_that_ask_at_the_same_moment_do_not_get_more(self) -> None:
        """Four of them, 3000 admitted."""
        memory = Memory(4)

        def work(slot: int) -> int:
            limiter = shared(memory, slot, RateLimiter(RateQuota(replenish_interval=1.0, max_burst=3000)))
            return sum(limiter.admit(100.0) for _ in range(2000))

        self.assertTrue(3000 <= in_children(4, work) <= 3003)

    def test_what_was_used_outlives_its_worker(self) -> None:
        """The replacement goes on from there."""
        memory = Memory(2)
        quota = RateQuota(replenish_interval=1.0, max_burst=3)
        first = shared(memory, 0, RateLimiter(quota))
        self.assertEqual([first.admit(5.0) for _ in range(2)], [True, True])
        memory.clear(0)
        second = shared(memory, 0, RateLimiter(quota))
        self.assertEqual([second.admit(5.0) for _ in range(2)], [True, False])
        second.reload(RateQuota(replenish_interval=1.0, max_burst=4))
        self.assertEqual([second.admit(5.0) for _ in range(2)], [True, False])


class HolderTests(SynchronousTestCase):
    """Whoever holds the lock."""

    def held(self, number: signal.Signals) -> tuple[Any, int]:
        """A limiter whose lock was taken by a process that then sent itself a signal."""
        memory = Memory(2)
        limiter = shared(memory, 0, RateLimiter(RateQuota(replenish_interval=1.0, max_burst=2)))
        pid = os.fork()
        if not pid:
            with limiter._numbers:
                os.kill(os.getpid(), number)
            os._exit(0)
        os.waitpid(pid, os.WUNTRACED)
        return limiter, pid

    def test_it_may_be_killed(self) -> None:
        """The lock goes with it."""
        limiter, _ = self.held(signal.SIGKILL)
        self.assertEqual([limiter.admit(5.0) for _ in range(3)], [True, True, False])

    def test_it_may_hang(self) -> None:
        """Nobody waits for it, and the limit holds all the same."""
        limiter, pid = self.held(signal.SIGSTOP)
        start = time.monotonic()
        self.assertEqual([limiter.admit(5.0) for _ in range(3)], [True, True, False])
        self.assertLess(time.monotonic() - start, 0.5)
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)


class StreamTests(SynchronousTestCase):
    """How fast."""

    options = GlobalStreamSpeed(replenish_bytes=1_000_000, max_burst=2_000_000)

    def limiters(self, number: int = 2, options: GlobalStreamSpeed | None = None) -> list[Any]:
        memory = Memory(number)
        self.memory = memory
        return [shared(memory, slot, GlobalStreamLimiter(options or self.options, 0.0)) for slot in range(number)]

    def spend(self, limiter: Any, now: float, most: int = 1 << 40) -> int:
        """As much as it may, at most C{most}."""
        spent = 0
        while spent < most and (n := min(limiter.allowance(now), most - spent, 65536)):
            limiter.spend(n)
            spent += n
        return spent

    def test_all_workers_together_get_what_there_is(self) -> None:
        """The first replenishment, and then one each second."""
        one, other = self.limiters()
        self.assertEqual(self.spend(one, 0.0, 300_000) + self.spend(other, 0.0) + self.spend(one, 0.5), 1_000_000)
        self.assertTrue(0 < other.delay(0.5) <= 0.5)
        self.assertEqual(self.spend(other, 1.0) + self.spend(one, 1.0), 1_000_000)

    def test_nobody_takes_all_at_once(self) -> None:
        """What one may spend without asking again is less than half of its share."""
        one, other = self.limiters()
        for _ in range(5):
            n = one.allowance(0.0)
            self.assertLessEqual(n, 250_000)
            one.spend(n)
        self.assertGreater(self.spend(other, 0.0), 0)

    def test_what_a_slow_worker_does_not_need_others_get(self) -> None:
        """One uses 1000 bytes a second: over ten seconds no more than a hundredth is lost."""
        slow, fast = self.limiters()
        total = 0
        for step in range(100):
            now = step / 10
            total += self.spend(slow, now, 100)
            total += self.spend(fast, now)
        self.assertTrue(9_900_000 <= total <= 10_000_000, total)

    def test_a_little_is_shared_as_well(self) -> None:
        """100 bytes a second for three workers."""
        limiters = self.limiters(3, GlobalStreamSpeed(replenish_bytes=100, max_burst=100))
        total = sum(self.spend(limiter, now, 40) for now in (0.0, 1.0, 2.0) for limiter in limiters)
        self.assertTrue(280 <= total <= 300, total)

    def test_spending_too_much_is_paid_later(self) -> None:
        """Two streams of one worker may have been told the same allowance."""
        one, other = self.limiters()
        n = one.allowance(0.0)
        one.spend(n)
        one.spend(n)
        self.assertEqual(2 * n + self.spend(one, 0.0) + self.spend(other, 0.0), 1_000_000)

    def test_processes_together_get_no_more(self) -> None:
        """Four that spend as fast as they can."""
        memory = Memory(4)

        def work(slot: int) -> int:
            return self.spend(shared(memory, slot, GlobalStreamLimiter(self.options, 0.0)), 0.5)

        self.assertEqual(in_children(4, work), 1_000_000)

    def test_a_killed_worker_takes_its_lease_with_it_and_nothing_else(self) -> None:
        """Never more than there is, and little less."""
        one, other = self.limiters()
        one.spend(one.allowance(0.0) - 1)
        self.memory.clear(0)
        self.assertTrue(900_000 < self.spend(other, 0.0) < 1_000_000)
        self.assertEqual(self.spend(other, 1.0), 1_000_000)

    def test_other_options_hold_from_the_next_replenishment(self) -> None:
        """In both workers, once both are told."""
        one, other = self.limiters()
        for limiter in (one, other):
            limiter.update(GlobalStreamSpeed(replenish_bytes=1000, max_burst=1000))
        self.spend(one, 0.0)
        self.assertEqual(self.spend(one, 1.0) + self.spend(other, 1.0), 1000)

    @settings(max_examples=100, deadline=None)
    @given(st.integers(1, 10**6), st.integers(1, 10**6), STEPS)
    def test_over_any_time_no_more_than_a_burst_and_what_came(self, size: int, burst: int, steps: list[tuple[int, float, int]]) -> None:
        """And where one is told to wait, there is something afterwards."""
        limiters = self.limiters(3, GlobalStreamSpeed(replenish_bytes=size, max_burst=burst))
        now, spent = 0.0, 0
        for which, wait, want in steps:
            now += wait
            spent += self.spend(limiters[which], now, want)
            self.assertLessEqual(spent, burst + int(now) * size)
            if not limiters[which].allowance(now):
                self.assertGreater(limiters[which].delay(now), 0)
        later = now + limiters[0].delay(now) + 1e-6
        self.assertGreater(limiters[0].allowance(later), 0)


class TableTests(SynchronousTestCase):
    """Which limit is which."""

    def test_others_of_another_name_type_or_kind_are_others(self) -> None:
        """What one counts the other does not."""
        memory = Memory(1)
        first = shared(memory, 0, Gauge(1))
        for key in (("server", *KEY[1:]), (KEY[0], "guests", *KEY[2:]), (*KEY[:3], "tunnels")):
            self.assertTrue(shared(memory, 0, Gauge(1), key).acquire())
        self.assertEqual(first.alive, 0)
        self.assertTrue(shared(memory, 0, RateLimiter(RateQuota(replenish_interval=1.0))).admit(0.0))

    def test_a_row_is_free_when_no_worker_has_it_any_more(self) -> None:
        """Then it is another's, from its beginning."""
        self.patch(limits, "ROWS", limits.WINDOW + 1)
        memory = Memory(2)
        tables = [memory._limits_of(slot) for slot in range(2)]
        keys = [("user", str(number), "", "") for number in range(limits.WINDOW)]
        for key in keys:
            for table in tables:
                table.share(key, Gauge()).acquire()  # type: ignore[attr-defined]
        plain = Gauge()
        self.assertIs(tables[0].share(KEY, plain), plain)
        tables[0].forget(keys[0])
        self.assertIs(tables[0].share(KEY, plain), plain)
        tables[1].forget(keys[0])
        gauge: Any = tables[0].share(KEY, plain)
        self.assertIsNot(gauge, plain)
        self.assertEqual(gauge.alive, 0)

    def test_what_is_no_limit_is_left_alone(self) -> None:
        """Such as the traffic of an escaper."""
        thing = object()
        self.assertIs(Memory(1).desk_of(0).share(KEY, thing), thing)
