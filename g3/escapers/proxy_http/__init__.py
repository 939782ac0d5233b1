# SPDX-License-Identifier: Apache-2.0
"""C{proxy_http}: reaches the upstream through another HTTP proxy (upstream: configuration/escapers/proxy_http)."""

from __future__ import annotations

from g3.escapers.proxy_http.config import ProxyHTTPConfig
from g3.escapers.proxy_http.escaper import ProxyHTTPEscaper

__all__ = ["ProxyHTTPConfig", "ProxyHTTPEscaper"]
