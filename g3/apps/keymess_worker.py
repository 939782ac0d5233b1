# SPDX-License-Identifier: Apache-2.0
"""A worker of g3keymess: it serves with the keys that its supervisor has, and has no store of its own."""

from __future__ import annotations

from typing import TYPE_CHECKING

from g3.apps import worker
from g3.apps.keymess_daemon import KeymessDaemon
from g3.control.keys import PUBLISHED, WorkerKeyCommands
from g3.keyless.config import PROGRAM
from g3.keyless.process import make_undumpable

if TYPE_CHECKING:
    import socket

    from g3.keyless.common import Common
    from g3.workers.memory import Memory


class KeymessWorker(KeymessDaemon):
    """Its keys come in the brief, and later by command."""

    kinds = ("server",)
    commands = WorkerKeyCommands

    def build(self) -> None:
        """Make everything. Raises ConfigError."""
        self._common = self.make_common()
        super().build()

    def make_common(self) -> Common:
        common = super().make_common()
        if self._seat is not None:
            common.ring.unpack(self._seat.brought.keys, PUBLISHED)
        return common


def warm() -> None:
    """As L{g3.apps.worker.warm}."""
    worker.warm(PROGRAM)


def main(sock: socket.socket, memory: Memory, slot: int, reactor_module: str) -> int:
    """As L{g3.apps.worker.main}, undumpable before a key comes: a change of user and a new program have undone what our supervisor did."""
    make_undumpable()
    return worker.main(sock, memory, slot, reactor_module)
