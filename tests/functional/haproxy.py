# SPDX-License-Identifier: Apache-2.0
"""HAProxy as a peer: what sends PROXY protocol headers that are not of our making."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tests.functional.needs import need
from tests.functional.processes import Process

if TYPE_CHECKING:
    from pathlib import Path

HAPROXY_CONFIG = """
global
    maxconn 256
defaults
    mode tcp
    timeout connect 5s
    timeout client 30s
    timeout server 30s
frontend in
    bind 127.0.0.1:{port}
    default_backend out
backend out
    server next 127.0.0.1:{to} {how}
"""


def start_haproxy(directory: Path, port: int, to: int, how: str = "send-proxy-v2") -> Process:
    """HAProxy that passes what comes to a port of 127.0.0.1 on to another one; C{how} are the options of its server line."""
    need("haproxy")
    config = directory / f"haproxy-{port}.cfg"
    config.write_text(HAPROXY_CONFIG.format(port=port, to=to, how=how))
    process = Process("haproxy", ["haproxy", "-db", "-f", str(config)], directory / f"haproxy-{port}.log")
    process.wait_listening(port)
    return process
