# SPDX-License-Identifier: Apache-2.0
"""The route_select escaper: one of several weighted escapers."""

from __future__ import annotations

from g3.escapers.route_select.escaper import RouteSelectEscaper

__all__ = ["RouteSelectEscaper"]
