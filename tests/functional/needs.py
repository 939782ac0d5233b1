# SPDX-License-Identifier: Apache-2.0
"""What a functional test cannot do without: each missing part is a skip that names it."""

from __future__ import annotations

import os
import shutil
import subprocess
from functools import cache
from pathlib import Path

from twisted.trial.unittest import SkipTest

ROOT = Path(__file__).resolve().parent.parent.parent
#: Debian keeps daemons where an ordinary user's PATH does not look.
os.environ["PATH"] = os.pathsep.join(dict.fromkeys([*os.environ.get("PATH", "").split(os.pathsep), "/usr/sbin", "/sbin"]))


@cache
def packages() -> dict[str, str]:
    """The Debian package that brings each command the tests use."""
    lines = (ROOT / "tools" / "debian-packages.txt").read_text().splitlines()
    words = [line.split("#")[0].split() for line in lines]
    return {pair[1]: pair[0] for pair in words if pair}


def need(*commands: str) -> None:
    """Go on only with these commands. Skips, naming the Debian packages that bring the missing ones."""
    missing = sorted({packages().get(command, command) for command in commands if shutil.which(command) is None})
    if missing:
        raise SkipTest(f"needs the Debian package {', '.join(missing)}")


@cache
def _namespace_fault() -> str:
    if os.geteuid() != 0:
        return "needs root, to make network namespaces"
    tried = subprocess.run(["unshare", "--net", "--mount", "true"], capture_output=True, text=True, check=False)
    return "" if tried.returncode == 0 else f"this machine makes no network namespaces: {tried.stderr.strip()}"


def need_namespaces() -> None:
    """Go on only where network namespaces can be made."""
    need("unshare", "nsenter", "ip")
    fault = _namespace_fault()
    if fault:
        raise SkipTest(fault)
