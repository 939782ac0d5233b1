# SPDX-License-Identifier: Apache-2.0
"""Following routes to the escaper that does the work."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from twisted.internet.defer import Deferred, fail

from g3.errors import EscaperNotUsable, TaskError
from g3.interfaces import IRoute

if TYPE_CHECKING:
    from g3.task import Task

#: Routes after one another. A configuration has no cycles; while a reload swaps one route after the other there might be one.
MAX_HOPS = 32


def final_escaper(escaper: Any, task: Task) -> Any:
    """The escaper that carries C{task}: C{escaper} itself, or what routes lead to from it.

    The escaper at once when every route on the way decides at once, else a Deferred of it. Never raises: a failure is a Deferred that failed
    with EscaperNotUsable. So: C{if isinstance(picked, Deferred): picked = await picked}.
    """
    hops = 0
    while IRoute.providedBy(escaper):
        hops += 1
        if hops > MAX_HOPS:
            return fail(EscaperNotUsable("routes lead in a circle"))
        try:
            escaper = escaper.pick(task)
        except TaskError as error:
            return fail(error)
        if isinstance(escaper, Deferred):
            return escaper.addCallback(final_escaper, task)
    return escaper
