# SPDX-License-Identifier: Apache-2.0
"""The keys of every server that speaks HTTP/1 with its clients."""

from __future__ import annotations

from typing import Any

from g3.config.schema import config_class, key
from g3.config.values.basic import Ascii, Bool, Int
from g3.config.values.duration import Duration
from g3.config.values.http import ServerID, UpstreamKeepaliveValue
from g3.config.values.limit import StreamSpeedValue
from g3.config.values.size import Size
from g3.net.options import UpstreamKeepalive
from g3.servers.config import KIB, TaskServerConfig


@config_class
class HTTPServerConfig(TaskServerConfig):
    """Reading requests, and carrying them to upstreams."""

    server_id: str | None = key(ServerID(), default=None, doc="Names this proxy in the X-BD-* response headers, which are off without it.")
    req_header_recv_timeout: float = key(
        Duration(), default=30.0, unit="seconds", doc="From the first byte of a request to the end of its head; then the connection closes."
    )
    rsp_header_recv_timeout: float = key(
        Duration(), default=60.0, unit="seconds", doc="From the end of the request to the end of the response head; then 504."
    )
    req_header_max_size: int = key(Size(1, 1 << 30), default=64 * KIB, unit="bytes", doc="Largest request head; larger ones get 431.")
    rsp_header_max_size: int = key(Size(1, 1 << 30), default=64 * KIB, unit="bytes", doc="Largest response head; larger ones are a 502.")
    log_uri_max_chars: int = key(Int(0, 1 << 30), default=1024, aliases=("uri_log_max_chars",), doc="Characters of a URI in the log.")
    pipeline_size: int = key(Int(1, 1 << 20), default=10, doc="Requests of one connection that may wait for their turn.")
    pipeline_read_idle_timeout: float = key(Duration(), default=300.0, unit="seconds", doc="How long a connection may wait for its next request.")
    auth_realm: str = key(Ascii(), default="proxy", doc="Realm of the answer that asks who a client is.")
    no_early_error_reply: bool = key(Bool(), default=False, doc="Close without an answer what is no valid request.")
    body_line_max_length: int = key(Int(1, 1 << 20), default=8192, unit="bytes", doc="Longest line of a chunked body.")
    http_forward_upstream_keepalive: UpstreamKeepalive = key(
        UpstreamKeepaliveValue(), default=UpstreamKeepalive(), doc="Upstream connections between two requests: kept at all, how long, for whom."
    )
    untrusted_read_speed_limit: Any = key(StreamSpeedValue(), default=None, doc="Speed at which the body of an unauthenticated request is read.")
    untrusted_read_limit: Any = key(StreamSpeedValue(), default=None, deprecated_for="untrusted_read_speed_limit")
