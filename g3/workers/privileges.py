# SPDX-License-Identifier: Apache-2.0
"""What a daemon that was started by root keeps when it becomes another user (capabilities(7)): enough to listen on a port below 1024 that a
reload adds, and what the sockets of its configuration need. Workers get their listening sockets from the supervisor and keep less."""

from __future__ import annotations

import ctypes
import os
import pwd
from typing import Final

_PR_SET_KEEPCAPS: Final = 8
_PR_CAP_AMBIENT: Final = 47
_PR_CAP_AMBIENT_RAISE: Final = 2
_VERSION_3: Final = 0x20080522
_CAP_NET_ADMIN: Final = 12
_NET_BIND_SERVICE: Final = 1 << 10
#: Marks and foreign addresses.
_NET_ADMIN: Final = 1 << _CAP_NET_ADMIN
#: The interfaces of listening sockets.
_NET_RAW: Final = 1 << 13


def keep() -> None:
    """The next change from root to another user leaves the capabilities permitted, though not in effect."""
    if os.geteuid() == 0:
        ctypes.CDLL(None).prctl(_PR_SET_KEEPCAPS, 1, 0, 0, 0)


def take_groups(uid: int, gid: int) -> None:
    """As root: be of the groups of a user and of C{gid}, and of no others (initgroups(3)); of a user that has no name, of C{gid} alone."""
    try:
        os.initgroups(pwd.getpwuid(uid).pw_name, gid)
    except KeyError:
        os.setgroups([gid])


def settle(*, listening: bool, serving: bool, hands_on: bool) -> None:
    """Give up all capabilities but those of binding; as root nothing happens.

    @param listening: keep what marks, interfaces and foreign addresses of listening sockets need. @param serving: the sockets that are made to
        serve need CAP_NET_ADMIN; C{hands_on}: not here, but in the programs we start, which have it from now on.
    """
    kept = _NET_BIND_SERVICE
    if listening:
        kept |= _NET_ADMIN | _NET_RAW
    if serving:
        kept |= _NET_ADMIN
    _only(kept, _NET_ADMIN if serving and hands_on else 0)


def settle_to_serve(*, admin: bool) -> None:
    """Give up all capabilities; C{admin} keeps CAP_NET_ADMIN, for sockets that are made to serve. As root nothing happens."""
    _only(_NET_ADMIN if admin else 0, 0)


def _only(kept: int, inherited: int) -> None:
    """Have those of C{kept} that we may have in effect, and no others; programs that we start have C{inherited}."""
    if os.geteuid() == 0:
        return
    libc = ctypes.CDLL(None)
    header = (ctypes.c_uint32 * 2)(_VERSION_3, 0)
    # Effective, permitted, inheritable; once for the low, once for the high 32.
    sets = (ctypes.c_uint32 * 6)()
    if libc.capget(header, sets) != 0:
        return
    kept &= sets[1]
    inherited &= kept
    libc.capset(header, (ctypes.c_uint32 * 6)(kept, kept, inherited, 0, 0, 0))
    if inherited:
        libc.prctl(_PR_CAP_AMBIENT, _PR_CAP_AMBIENT_RAISE, _CAP_NET_ADMIN, 0, 0)
