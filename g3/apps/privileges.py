# SPDX-License-Identifier: Apache-2.0
"""What a daemon that was started by root keeps when it becomes another user: enough to listen on a port below 1024 that a reload adds
(capabilities(7)). Workers keep nothing: they get their sockets from the supervisor."""

from __future__ import annotations

import ctypes
import os

_PR_SET_KEEPCAPS = 8
_VERSION_3 = 0x20080522
_NET_BIND_SERVICE = 1 << 10
#: CAP_NET_ADMIN and CAP_NET_RAW: marks and interfaces of listening sockets.
_NET_ADMIN = 1 << 12 | 1 << 13


def keep() -> None:
    """The next change from root to another user leaves the capabilities permitted, though not in effect."""
    if os.geteuid() == 0:
        ctypes.CDLL(None).prctl(_PR_SET_KEEPCAPS, 1, 0, 0, 0)


def settle(*, admin: bool) -> None:
    """Give up all capabilities but those of binding; C{admin} keeps those of marks and interfaces too. As root nothing happens."""
    if os.geteuid() == 0:
        return
    libc = ctypes.CDLL(None)
    header = (ctypes.c_uint32 * 2)(_VERSION_3, 0)
    # Effective, permitted, inheritable; once for the low, once for the high 32.
    sets = (ctypes.c_uint32 * 6)()
    if libc.capget(header, sets) != 0:
        return
    wanted = sets[1] & (_NET_BIND_SERVICE | (_NET_ADMIN if admin else 0))
    libc.capset(header, (ctypes.c_uint32 * 6)(wanted, wanted, 0, 0, 0, 0))
