# SPDX-License-Identifier: Apache-2.0
"""C{dummy_deny}: no way out. It stands in for an escaper that is not defined (upstream: configuration/escapers/dummy_deny)."""

from __future__ import annotations

from g3.escapers.dummy_deny.config import DummyDenyConfig
from g3.escapers.dummy_deny.escaper import DummyDenyEscaper

__all__ = ["DummyDenyConfig", "DummyDenyEscaper"]
