# SPDX-License-Identifier: Apache-2.0
"""The nursery: a small process without reactor and threads that forks the workers.

A fork of the supervisor would inherit its reactor, and a new interpreter takes a second to import everything. The nursery has imported it
once, when the daemon started: a worker is there at once, and runs the code of its supervisor even when the files have changed since.

It is a guard, too: when the supervisor is gone, it sees to it that the workers end, also one that hangs.

Messages are JSON, one a packet, over a C{SOCK_SEQPACKET} pair. To us: C{{"slot": n}} with a socket for the worker. From us: C{{"ready": true}} once;
C{{"slot": n, "pid": p}} with a pidfd, later C{{"pid": p, "status": s}} (wait status); or C{{"slot": n, "error": "why"}}.
"""

from __future__ import annotations

import contextlib
import ctypes
import importlib
import json
import os
import select
import signal
import socket
import sys
import time
from typing import TYPE_CHECKING, Any

from g3.workers import privileges
from g3.workers.memory import Memory

if TYPE_CHECKING:
    from collections.abc import Callable

#: Bytes of a message.
MAX_MESSAGE = 4096
#: Seconds without a beat after which a worker without a supervisor is killed; and while it does what is known to take long.
HANG = 5.0
BUSY_HANG = 120.0
_PR_SET_NAME = 15
_IGNORED = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT)


class Nursery:
    """The process. C{entry(socket, memory, slot, reactor)} is what a worker runs; it returns its exit status."""

    def __init__(self, control: socket.socket, memory: Memory, entry: Callable[[socket.socket, Memory, int, str], int], reactor: str) -> None:
        self._control = control
        self._memory = memory
        self._entry = entry
        self._reactor = reactor
        self._slots: dict[int, int] = {}
        self._wake, self._waker = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)

    def run(self) -> None:
        """Until the supervisor is gone, and then the workers."""
        for number in _IGNORED:
            signal.signal(number, signal.SIG_IGN)
        signal.signal(signal.SIGCHLD, lambda *_: None)
        signal.set_wakeup_fd(self._waker, warn_on_full_buffer=False)
        self._tell({"ready": True})
        while True:
            ready, _, _ = select.select([self._control.fileno(), self._wake], [], [])
            if self._wake in ready:
                self._reap()
            if self._control.fileno() in ready and not self._serve():
                self._guard()
                return

    def _serve(self) -> bool:
        """Do as told; False when the supervisor is gone."""
        try:
            data, descriptors, _, _ = socket.recv_fds(self._control, MAX_MESSAGE, 1)
        except OSError:
            return False
        if not data:
            return False
        slot = int(json.loads(data)["slot"])
        with socket.socket(fileno=descriptors[0]) as sock:
            try:
                self._fork(slot, sock)
            except OSError as error:  # too many processes, no memory
                self._tell({"slot": slot, "error": error.strerror})
        return True

    def _fork(self, slot: int, sock: socket.socket) -> None:
        pid = os.fork()
        if not pid:
            self._child(slot, sock)
        self._slots[pid] = slot
        # It cannot be reaped, nor its number be used again, before we ask for it.
        try:
            pidfd = os.pidfd_open(pid)
        except OSError:
            os.kill(pid, signal.SIGKILL)  # nobody could watch it
            raise
        try:
            self._tell({"slot": slot, "pid": pid}, [pidfd])
        finally:
            os.close(pidfd)

    def _child(self, slot: int, sock: socket.socket) -> None:
        status = 70
        try:
            signal.set_wakeup_fd(-1)
            signal.signal(signal.SIGCHLD, signal.SIG_DFL)
            self._control.close()
            os.close(self._wake)
            os.close(self._waker)
            status = self._entry(sock, self._memory, slot, self._reactor)
        except BaseException:
            import traceback

            traceback.print_exc()
        finally:
            for stream in (sys.stdout, sys.stderr):
                with contextlib.suppress(Exception):
                    stream.flush()
            os._exit(status)

    def _reap(self) -> None:
        with contextlib.suppress(BlockingIOError):
            os.read(self._wake, 4096)
        while self._slots:
            try:
                pid, status = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                return
            if not pid:
                return
            self._slots.pop(pid, None)
            self._tell({"pid": pid, "status": status})

    def _tell(self, message: dict[str, Any], descriptors: list[int] | None = None) -> None:
        with contextlib.suppress(OSError):
            socket.send_fds(self._control, [json.dumps(message).encode()], descriptors or [])

    def _guard(self) -> None:
        """Workers finish what they have; one that does not turn any more is killed."""
        seen: dict[int, tuple[int, float]] = {}
        while self._slots:
            select.select([self._wake], [], [], 0.5)
            self._reap()
            now = time.monotonic()
            for pid, slot in list(self._slots.items()):
                row = self._memory.rows[slot]
                beat, since = seen.get(pid, (-1, now))
                if row.beat != beat:
                    seen[pid] = (row.beat, now)
                elif now - since > (BUSY_HANG if row.busy else HANG):
                    os.kill(pid, signal.SIGKILL)


def call_itself(name: str) -> None:
    """Have this process shown under a name, of which 15 bytes count (prctl(2), PR_SET_NAME)."""
    ctypes.CDLL(None).prctl(_PR_SET_NAME, name.encode()[:15], 0, 0, 0)


def become(uid: int, gid: int, admin: int) -> None:
    """Be that user for good, with its groups alone, and without capabilities, but for CAP_NET_ADMIN if C{admin}; root keeps its own. Who is not
    root stays what it is."""
    if os.geteuid() != 0:
        return
    privileges.keep()
    privileges.take_groups(uid, gid)
    os.setresgid(gid, gid, gid)
    os.setresuid(uid, uid, uid)
    privileges.settle_to_serve(admin=bool(admin))


def main(argv: list[str]) -> None:
    """C{python -m g3.workers.nursery CONTROL MEMORY SLOTS ENTRY REACTOR USER [MODULE ...]}: two descriptors, how many slots, what a worker runs and
    the module of its reactor, C{uid:gid:admin} to change to (L{become}) or nothing, and what to import. The module of the entry may have
    C{warm()}, which is called before privileges are given up."""
    control, descriptor, slots = (int(word) for word in argv[:3])
    module, _, name = argv[3].rpartition(".")
    for each in (module, *argv[6:]):
        importlib.import_module(each)
        if "twisted.internet.reactor" in sys.modules and argv[6:]:
            # It cannot be shared by those we fork: start again without.
            os.execv(sys.executable, [sys.executable, "-m", "g3.workers.nursery", *argv[:6]])
    call_itself("g3-nursery")
    entrance = importlib.import_module(module)
    getattr(entrance, "warm", lambda: None)()
    os.set_inheritable(control, False)
    os.set_inheritable(descriptor, False)
    if argv[5]:
        become(*map(int, argv[5].split(":")))
    import gc

    gc.collect()
    gc.freeze()
    entry = getattr(entrance, name)
    Nursery(socket.socket(fileno=control), Memory(slots, descriptor), entry, argv[4]).run()


if __name__ == "__main__":
    main(sys.argv[1:])
