# SPDX-License-Identifier: Apache-2.0
"""The command line that C{g3fcgen} and C{g3iploc} have in common. Imports nothing that imports a reactor."""

from __future__ import annotations

from typing import TYPE_CHECKING

from g3.apps import g3proxy

if TYPE_CHECKING:
    import argparse


def parser(program: str, about: str) -> argparse.ArgumentParser:
    """Upstream's options, and ours that only print."""
    top = g3proxy.parser(program, about, nodes=False)
    top.add_argument("--recv-buf-size", metavar="BYTES", help="kernel buffer for received datagrams")
    top.add_argument("--send-buf-size", metavar="BYTES", help="kernel buffer for sent datagrams")
    return top
