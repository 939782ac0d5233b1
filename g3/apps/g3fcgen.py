# SPDX-License-Identifier: Apache-2.0
"""C{g3fcgen}: upstream's command line on the same daemon as C{twistd g3fcgen}."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

from g3.apps.g3proxy import run
from g3.apps.helper_command import parser

if TYPE_CHECKING:
    from collections.abc import Sequence


def main(argv: Sequence[str] | None = None) -> int:
    """The command; its exit status."""
    return run(parser("g3fcgen", "A generator of certificates for TLS interception."), argv)


if __name__ == "__main__":
    sys.exit(main())
