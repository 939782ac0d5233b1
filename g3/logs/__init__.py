# SPDX-License-Identifier: Apache-2.0
"""Event logs (task, escape, resolve, inspect, intercept) and the process log. A record never blocks and never fails what it reports."""

from __future__ import annotations

from g3.logs.hub import LogHub
from g3.logs.logger import Logger

__all__ = ["LogHub", "Logger"]
