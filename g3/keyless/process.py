# SPDX-License-Identifier: Apache-2.0
"""Keeping keys inside the process: no core dump, no look into its memory."""

from __future__ import annotations

import ctypes
import os
from typing import Final

from g3.errors import ConfigError

_PR_GET_DUMPABLE: Final = 3
_PR_SET_DUMPABLE: Final = 4

_libc = ctypes.CDLL(None, use_errno=True)


def make_undumpable() -> None:
    """From now on nobody but root may attach to us or read our memory, and a crash leaves no core (prctl(2)). A change of user undoes it
    where C{fs.suid_dumpable} says so: call it again then.

    @raise ConfigError: the kernel refuses.
    """
    if _libc.prctl(_PR_SET_DUMPABLE, 0, 0, 0, 0) != 0 or is_dumpable():
        raise ConfigError(f"cannot keep keys out of core dumps: {os.strerror(ctypes.get_errno())}")


def is_dumpable() -> bool:
    """Whether others of our user may look into us."""
    return bool(_libc.prctl(_PR_GET_DUMPABLE, 0, 0, 0, 0))
