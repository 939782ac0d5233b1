# SPDX-License-Identifier: Apache-2.0
"""Tests of g3.net.coroutine."""

from __future__ import annotations

from twisted.internet.defer import CancelledError, Deferred
from twisted.trial.unittest import SynchronousTestCase

from g3.net.coroutine import begin


class BeginTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.seen: list[object] = []

    async def note(self, *waits: Deferred[object]) -> None:
        self.seen.append("begun")
        for wait in waits:
            try:
                self.seen.append(await wait)
            except (ZeroDivisionError, CancelledError) as error:
                self.seen.append(type(error))

    def test_one_that_does_not_wait_is_over_at_once(self) -> None:
        self.assertIsNone(begin(self.note()))
        ready: Deferred[object] = Deferred()
        ready.callback("there")
        self.assertIsNone(begin(self.note(ready)))
        self.assertEqual(self.seen, ["begun", "begun", "there"])

    def test_one_that_waits_goes_on_with_each_result(self) -> None:
        first: Deferred[object] = Deferred()
        second: Deferred[object] = Deferred()
        third: Deferred[object] = Deferred()
        done = begin(self.note(first, second, third))
        assert done is not None
        first.callback(1)
        second.errback(ZeroDivisionError())
        self.assertNoResult(done)
        third.callback(3)
        self.assertIsNone(self.successResultOf(done))
        self.assertEqual(self.seen, ["begun", 1, ZeroDivisionError, 3])

    def test_cancelling_cancels_what_it_waits_for(self) -> None:
        cancelled: list[object] = []
        waiting: Deferred[object] = Deferred(cancelled.append)
        done = begin(self.note(waiting))
        assert done is not None
        done.cancel()
        self.assertEqual((cancelled, self.seen), ([waiting], ["begun", CancelledError]))
        self.assertIsNone(self.successResultOf(done))

    def test_errors_come_where_they_happen(self) -> None:
        """Before the first wait out of the call, after it out of the Deferred."""

        async def fail(*waits: Deferred[object]) -> None:
            for wait in waits:
                await wait
            raise ZeroDivisionError

        self.assertRaises(ZeroDivisionError, begin, fail())
        waiting: Deferred[object] = Deferred()
        done = begin(fail(waiting))
        assert done is not None
        waiting.callback(None)
        self.failureResultOf(done, ZeroDivisionError)
