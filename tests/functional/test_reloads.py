# SPDX-License-Identifier: Apache-2.0
"""Twenty reloads of every kind, by signal and by the control tool, under clients that notice everything."""

from __future__ import annotations

import os
import signal
import time
from typing import TYPE_CHECKING, Any

from tests.functional.leftover import NAME, WITNESS, holdings, sockets, wait_until_as_before
from tests.functional.processes import free_port
from tests.functional.test_upgrade import UpgradeCase
from tests.functional.test_workers import wait_for, workers
from tests.functional.traffic import Traffic

if TYPE_CHECKING:
    from tests.functional.harness import Daemon

ACL = "egress_network_filter: {default: allow, allow: 127.0.0.1}"


class ReloadTests(UpgradeCase):
    """Nobody is refused, cut off or given less than all."""

    def reload(self, daemon: Daemon, text: str, *, by_signal: bool, good: bool = True) -> None:
        """It is done when this returns, or refused."""
        self.rewrite(text)
        if not by_signal:
            self.assertEqual(daemon.ctl("reload").returncode, 0 if good else 1)
            return
        word = "reloaded: " if good else "reload refused, nothing was changed"
        before = daemon.output().count(word)
        daemon.send_signal(signal.SIGHUP)
        wait_for(lambda: daemon.output().count(word) > before, word)

    def config(self, **options: Any) -> str:
        """With timers that are soon over."""
        text = super().config(**options) + "    task_idle_check_interval: 2s\n"
        return text.replace("escaper:\n", f"escaper:\n  - {{name: {NAME}, type: witness}}\n", 1)

    def twenty(self) -> None:
        first, second = free_port(), free_port()
        plain = self.config()
        changed = plain.replace(ACL, "egress_network_filter: {default: forbid, allow: 127.0.0.1}").replace(
            "escaper: out\n", "escaper: out\n    ingress_network_filter: {default: forbid, allow: 127.0.0.1}\n"
        )
        more = "  - {{name: more, type: http_proxy, listen: '127.0.0.1:{}', escaper: out, task_idle_check_interval: 2s}}\n"
        daemon = self.daemon(arguments=("-m",), packages=[WITNESS])
        self.waits_for(daemon, "is ready")
        before = self.held(daemon)
        began = time.monotonic()
        with Traffic(self.port, rate=200, kept=8, tunnels=8) as traffic:
            for number in range(2):
                self.reload(daemon, plain, by_signal=not number)
                self.reload(daemon, changed, by_signal=not number)
                self.reload(daemon, changed + more.format(first), by_signal=bool(number))
                self.assertEqual(self.get(port=first), (200, b"hello"))
                with Traffic(first, rate=200, kept=2, tunnels=2) as others:
                    self.reload(daemon, "server: [", by_signal=not number, good=False)
                    self.reload(daemon, plain + more.format(first), by_signal=bool(number))
                    self.reload(daemon, changed + more.format(first), by_signal=not number)
                    others.more(10)
                    self.assertEqual(others.failed, {})
                    self.reload(daemon, changed + more.format(second), by_signal=not number)
                    others.more(4, "tunnel")
                # Whoever was let in at the port that is gone was served.
                self.assertEqual(set(others.failed) - {"fresh refused", "kept refused"}, set())
                self.assertEqual(self.get(port=second), (200, b"hello"))
                self.reload(daemon, changed + more.format(first), by_signal=bool(number))
                self.assertEqual(self.get(port=first), (200, b"hello"))
                self.reload(daemon, "nonsense: 1\n" + plain, by_signal=bool(number), good=False)
                self.reload(daemon, plain, by_signal=not number)
                traffic.more(20)
            # Where others work, too, it takes as much longer.
            self.assertLess(time.monotonic() - began, 30 * max(1.0, os.getloadavg()[0] / len(os.sched_getaffinity(0))))
        self.assertEqual(traffic.failed, {})
        self.assertGreater(traffic.done["kept"], 50)
        self.assertEqual(daemon.ctl("list", "server").stdout, "web\n")
        self.as_before(daemon, before)

    def held(self, daemon: Daemon) -> dict[str, int]:
        """What its processes hold; of workers, the sockets."""
        if not self.number:
            return holdings(daemon)
        return {str(pid): sockets(pid) for pid in (daemon.pid, *workers(daemon))}

    def as_before(self, daemon: Daemon, before: dict[str, int]) -> None:
        """The same processes hold no more than they did."""
        if not self.number:
            wait_until_as_before(daemon, before)
            return
        self.assertEqual(set(self.held(daemon)), set(before))
        wait_for(lambda: all(number <= before[pid] for pid, number in self.held(daemon).items()), f"as many sockets as before: {before}")

    def test_one_process(self) -> None:
        """That serves itself."""
        self.twenty()

    def test_workers(self) -> None:
        """All of them."""
        self.number = 2
        self.twenty()
