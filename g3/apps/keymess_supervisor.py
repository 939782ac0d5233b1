# SPDX-License-Identifier: Apache-2.0
"""g3keymess with workers: this process has the stores and all keys, its workers sign.

So there is one connection to Redis and one watch of a directory, key files are read before a change of user only once, and what was
published, or loaded from a file that is gone since, is there for the replacement of a worker, too.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from twisted.internet.defer import Deferred
from twisted.logger import Logger

from g3.apps.keymess_daemon import KeymessDaemon, pinned_core
from g3.apps.supervisor import Supervising, worker_count
from g3.workers.memory import MAX_SLOTS

if TYPE_CHECKING:
    from g3.config.main import MainConfig
    from g3.keyless.common import Common
    from g3.net.libssl.keys import PrivateKey

log = Logger()


def process_count(main: MainConfig, group: str) -> int:
    """How many workers are asked for; 0: serve in the process itself. C{runtime.thread_number} decides; where it says nothing, a group that is
    pinned to a CPU has none, and any other those of C{worker}, or one for each CPU. Never more than the lowest C{concurrency_limit}."""
    number = main.runtime.thread_number
    if number is None:
        number = 0 if pinned_core(group) is not None else worker_count(main)
    limits = [limit for config in main.configs("server") if (limit := getattr(config, "concurrency_limit", 0))]
    return min(number, MAX_SLOTS, *limits)


class KeymessSupervisor(Supervising, KeymessDaemon):
    """Tells all workers of each key that comes or goes."""

    entry = "g3.apps.keymess_worker.main"
    worker = "g3.apps.keymess_worker.KeymessWorker"
    kept = frozenset({"store"})

    def number(self) -> int:
        return process_count(self._main, self.settings.group)

    def threads(self) -> int:
        """None: nothing is signed here."""
        return 0

    def make_common(self) -> Common:
        common = super().make_common()
        common.ring.changed = self._key_changed
        common.spread = self._spread
        self._news: dict[bytes, PrivateKey | None] = {}
        self._call: Any = None
        return common

    def brought(self) -> Any:
        return self._common.ring

    def _key_changed(self, ski: bytes, key: PrivateKey | None) -> None:
        if not self.root.ready:
            # There is no worker yet: they begin with what we have then.
            return
        self._news[ski] = key
        if self._call is None:
            self._call = self.reactor.callLater(0, self._spread_soon)

    def _spread_soon(self) -> None:
        self._call = None
        Deferred.fromCoroutine(self._spread()).addErrback(lambda failure: log.failure("keys could not be told to workers", failure))

    async def _spread(self) -> None:
        """Who is not prepared yet refuses, and gets all keys with its brief, which is written after that."""
        news, self._news = self._news, {}
        if news:
            came = [key.der().hex() for key in news.values() if key is not None]
            gone = [ski.hex() for ski, key in news.items() if key is None]
            await self._crew.tell({"command": "take_keys", "arguments": {"keys": came, "gone": gone}})
