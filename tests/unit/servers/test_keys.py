# SPDX-License-Identifier: Apache-2.0
"""Every key and alias of upstream's servers is known here (upstream: configuration/servers, and what its source accepts beside that)."""

from __future__ import annotations

from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from g3.config.schema import keys_of
from g3.servers.intelli_proxy import IntelliProxyServer
from g3.servers.native_tls_port import NativeTLSPortServer
from g3.servers.plain_tcp_port import PlainTCPPortServer
from g3.servers.plain_tls_port import PlainTLSPortServer
from g3.servers.sni_proxy import SNIProxyServer
from g3.servers.tcp_stream import TCPStreamServer
from g3.servers.tcp_tproxy import TCPTproxyServer
from g3.servers.tls_stream import TLSStreamServer

LISTEN = "listen listen_in_worker ingress_network_filter ingress_net_filter"
PORT = f"{LISTEN} proxy_protocol proxy_protocol_read_timeout"
TLS = "tls tls_server tls_ticketer"
TASKS = f"""{LISTEN} auditor escaper user_group auth_by_client_ip extra_metrics_tags shared_logger flush_task_log_on_connected
flush_task_log_on_created task_log_flush_interval task_idle_check_duration task_idle_check_interval task_idle_max_count tcp_conn_speed_limit
tcp_conn_limit conn_limit tcp_sock_speed_limit tcp_copy_buffer_size tcp_copy_yield_size tcp_misc_opts"""
STREAM = f"{TASKS} tls_client upstream proxy_pass upstream_pick_policy upstream_tls_name"

SERVERS: tuple[tuple[Any, str], ...] = (
    (PlainTCPPortServer, f"{PORT} server"),
    (PlainTLSPortServer, f"{PORT} server {TLS}"),
    (NativeTLSPortServer, f"{PORT} server {TLS}"),
    (
        IntelliProxyServer,
        f"{PORT} http_server socks_server protocol_detection_timeout protocol_detection_channel_size protocol_detection_max_jobs",
    ),
    (TCPStreamServer, STREAM),
    (TLSStreamServer, f"{STREAM} {TLS}"),
    (TCPTproxyServer, f"{TASKS} auth_by_server_ip"),
    (
        SNIProxyServer,
        f"""{TASKS} auth_by_server_name allowed_hosts allowed_sites listen_transparent protocol_inspection request_recv_timeout
        request_wait_timeout server_tcp_portmap client_tcp_portmap tls_max_client_hello_size""",
    ),
)


class KeyTests(SynchronousTestCase):
    def test_the_keys_of_a_server_are_upstreams(self) -> None:
        for server, keys in SERVERS:
            words = {word for key in keys_of(server.schema) for word in key.words}
            self.assertEqual(words - {"name"}, set(keys.split()), server)
