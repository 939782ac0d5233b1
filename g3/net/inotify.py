# SPDX-License-Identifier: Apache-2.0
"""Being told of files that are written to a directory (inotify(7))."""

from __future__ import annotations

import ctypes
import os
import struct
from typing import TYPE_CHECKING, Any, Final

from twisted.internet.interfaces import IReadDescriptor
from zope.interface import implementer

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from twisted.python.failure import Failure

CLOSE_WRITE: Final = 0x8
MOVED_TO: Final = 0x80
CREATE: Final = 0x100
_GONE: Final = 0x400 | 0x800 | 0x2000 | 0x8000  # deleted, moved, unmounted, no longer watched
_OVERFLOW: Final = 0x4000
_ONLY_DIRECTORIES: Final = 0x0100_0000
_EVENT: Final = struct.Struct("iIII")

_libc = ctypes.CDLL(None, use_errno=True)


def _check(number: int, path: Path) -> int:
    if number < 0:
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code), str(path))
    return number


@implementer(IReadDescriptor)
class DirectoryWatch:
    """Watches one directory from the moment it is made; tells from L{start} on, what happened before too.

    C{on_name(name, mask)}: something was written (CLOSE_WRITE), moved in (MOVED_TO) or made (CREATE). C{on_lost(gone)}: more happened than
    could be kept; or the directory itself is gone, and nothing more will be told.
    """

    def __init__(self, reactor: Any, path: Path, on_name: Callable[[str, int], object], on_lost: Callable[[bool], object]) -> None:
        """@raise OSError: the directory cannot be watched."""
        self._reactor = reactor
        self._on_name = on_name
        self._on_lost = on_lost
        self._fd = _check(_libc.inotify_init1(os.O_NONBLOCK | os.O_CLOEXEC), path)
        try:
            mask = CLOSE_WRITE | MOVED_TO | CREATE | 0x400 | 0x800 | _ONLY_DIRECTORIES
            _check(_libc.inotify_add_watch(self._fd, os.fsencode(path), mask), path)
        except OSError:
            self.stop()
            raise

    def start(self) -> None:
        """Tell from now on."""
        self._reactor.addReader(self)

    def stop(self) -> None:
        """Tell no more. Again: nothing."""
        if self._fd >= 0:
            self._reactor.removeReader(self)
            os.close(self._fd)
            self._fd = -1

    def fileno(self) -> int:
        return self._fd

    def logPrefix(self) -> str:
        return "inotify"

    def doRead(self) -> None:
        try:
            data = os.read(self._fd, 65536)
        except BlockingIOError:
            return
        at = 0
        while at < len(data) and self._fd >= 0:
            _, mask, _, length = _EVENT.unpack_from(data, at)
            at += _EVENT.size
            name = data[at : at + length].rstrip(b"\0")
            at += length
            self._told(mask, name)

    def _told(self, mask: int, name: bytes) -> None:
        if mask & _OVERFLOW:
            self._on_lost(False)
        elif mask & _GONE:
            self.stop()
            self._on_lost(True)
        elif name:
            self._on_name(os.fsdecode(name), mask)

    def connectionLost(self, reason: Failure) -> None:
        """The reactor is at its end."""
        self.stop()
