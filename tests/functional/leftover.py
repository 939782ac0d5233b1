# SPDX-License-Identifier: Apache-2.0
"""What a daemon holds: whatever its clients did, it is as much afterwards as before."""

from __future__ import annotations

import contextlib
import time
from pathlib import Path
from typing import TYPE_CHECKING

from g3.control.client import ControlClient
from tests.functional.needs import ROOT

if TYPE_CHECKING:
    from tests.functional.harness import Daemon

#: Brings the escaper type C{witness}, which tells what a daemon holds.
WITNESS = ROOT / "tests" / "packages" / "witness"
#: Put it into a configuration under this name.
NAME = "witness"


def descriptors(pid: int) -> list[str]:
    """What the descriptors of a process are of."""
    found = []
    for each in Path(f"/proc/{pid}/fd").iterdir():
        with contextlib.suppress(FileNotFoundError):  # closed meanwhile
            found.append(str(each.readlink()))
    return found


def sockets(pid: int) -> int:
    """Descriptors of a process but for pipes, of which it keeps some for later."""
    return sum(not each.startswith("pipe:") for each in descriptors(pid))


def holdings(daemon: Daemon, *, looks: bool = False) -> dict[str, int]:
    """Sockets, timers, watched descriptors and tasks of a daemon that serves by itself; C{looks} too that will find nobody to look at."""
    with ControlClient(daemon.control_socket, 20) as control:
        return _holdings(daemon, control, looks=looks)


def _holdings(daemon: Daemon, control: ControlClient, *, looks: bool) -> dict[str, int]:
    found: dict[str, int] = control.call("escaper_get", name=NAME)
    found["tasks"] = sum(control.call("server_status", name=name)["alive_tasks"] for name in control.call("list", kind="server"))
    # Last: by now our own connection is among them.
    found["sockets"] = sockets(daemon.pid)
    if not looks:
        del found["looks"]
    return found


def wait_until_as_before(daemon: Daemon, before: dict[str, int], seconds: float = 30.0) -> None:
    """Wait until a daemon holds no more than it did.

    @raise AssertionError: something is left.
    """
    deadline = time.monotonic() + seconds
    with ControlClient(daemon.control_socket, 20) as control:
        while True:
            now = _holdings(daemon, control, looks="looks" in before)
            if all(now[what] <= number for what, number in before.items()):
                return
            if time.monotonic() > deadline:
                raise daemon.fail(f"held {before} before and holds {now}")
            time.sleep(0.02)
