# SPDX-License-Identifier: Apache-2.0
"""C{g3iploc}: upstream's command line on the same daemon as C{twistd g3iploc}."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

from g3.apps.g3proxy import run
from g3.apps.helper_command import parser

if TYPE_CHECKING:
    from collections.abc import Sequence


def main(argv: Sequence[str] | None = None) -> int:
    """The command; its exit status."""
    return run(parser("g3iploc", "A service that knows where IP addresses are."), argv)


if __name__ == "__main__":
    sys.exit(main())
