# SPDX-License-Identifier: Apache-2.0
"""C{direct_fixed}: reaches the upstream from this host, from the addresses the configuration names (upstream:
configuration/escapers/direct_fixed)."""

from __future__ import annotations

from g3.escapers.direct_fixed.config import DirectFixedConfig
from g3.escapers.direct_fixed.escaper import DirectFixedEscaper

__all__ = ["DirectFixedConfig", "DirectFixedEscaper"]
