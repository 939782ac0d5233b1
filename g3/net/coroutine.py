# SPDX-License-Identifier: Apache-2.0
"""Running a coroutine that most often never waits: a connect on loopback or to a cached address is done before it would have to.

Twisted's driver copies the context and makes a Deferred before the first step. Here the first step is taken at once, and only a coroutine
that waits is handed to it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from twisted.internet.defer import Deferred

if TYPE_CHECKING:
    from collections.abc import Coroutine, Generator


def begin(coroutine: Coroutine[Any, Any, None]) -> Deferred[None] | None:
    """Run C{coroutine} until it waits or ends. None when it has ended; else the Deferred of its end, whose C{cancel} cancels what it waits for.

    What it raises before it waits is raised here, what it raises later is the Deferred's failure.
    """
    try:
        awaited = coroutine.send(None)
    except StopIteration:
        return None
    return Deferred.fromCoroutine(_go_on(coroutine, awaited))


def _go_on(coroutine: Coroutine[Any, Any, None], awaited: Any) -> Generator[Any, Any, None]:
    """The rest of C{coroutine}, which has just yielded C{awaited}."""
    try:
        while True:
            try:
                value = yield awaited
            except GeneratorExit:
                coroutine.close()
                raise
            except BaseException as error:
                awaited = coroutine.throw(error)
            else:
                awaited = coroutine.send(value)
    except StopIteration as end:
        return end.value  # type: ignore[no-any-return]
