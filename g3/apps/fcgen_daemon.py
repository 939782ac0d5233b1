# SPDX-License-Identifier: Apache-2.0
"""g3fcgen as a service."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from g3.apps.helper import HelperDaemon
from g3.fcgen.config import PROGRAM
from g3.fcgen.frontend import Frontend
from g3.fcgen.workshop import Workshop

if TYPE_CHECKING:
    import socket
    from collections.abc import Callable

    from g3.config.runtime import WorkerConfig


class FcgenDaemon(HelperDaemon):
    """Makes certificates in as many threads as the section C{worker} says, else in one."""

    program = PROGRAM
    default_address = ("127.0.0.1", 2999)

    frontend: Frontend

    def make_frontend(self, sock: socket.socket) -> Frontend:
        self.workshop = Workshop(self.reactor, self._main.sections["backend"], threads_of(self._main.worker))
        self.root.context.metrics.add(self.workshop)
        return Frontend(self.reactor, sock, self.workshop)

    def _begin(self) -> None:
        self.workshop.start()
        super()._begin()

    def drain(self, when_idle: Callable[[], None]) -> None:
        self.frontend.drain(when_idle)

    async def _stop(self) -> None:
        await super()._stop()
        if getattr(self, "workshop", None) is not None:
            self.workshop.stop()


def threads_of(worker: WorkerConfig | None) -> int:
    """How many threads the section asks for: one without it, one for each CPU where it gives no number."""
    if worker is None:
        return 1
    return worker.thread_number_total or len(os.sched_getaffinity(0))
