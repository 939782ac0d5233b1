# SPDX-License-Identifier: Apache-2.0
"""Every key and alias of upstream's servers is known here (upstream: configuration/servers, and what its source accepts beside that)."""

from __future__ import annotations

from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from g3.config.schema import keys_of
from g3.servers.http_proxy import HTTPProxyServer
from g3.servers.http_rproxy import HTTPRProxyServer
from g3.servers.intelli_proxy import IntelliProxyServer
from g3.servers.native_tls_port import NativeTLSPortServer
from g3.servers.plain_quic_port import PlainQUICPortServer
from g3.servers.plain_tcp_port import PlainTCPPortServer
from g3.servers.plain_tls_port import PlainTLSPortServer
from g3.servers.sni_proxy import SNIProxyServer
from g3.servers.tcp_stream import TCPStreamServer
from g3.servers.tcp_tproxy import TCPTproxyServer
from g3.servers.tls_stream import TLSStreamServer

LISTEN = "listen listen_in_worker ingress_network_filter ingress_net_filter"
PORT = f"{LISTEN} proxy_protocol proxy_protocol_read_timeout"
TLS = "tls tls_server tls_ticketer"
TASKS = f"""{LISTEN} escaper user_group extra_metrics_tags shared_logger flush_task_log_on_connected flush_task_log_on_created
task_log_flush_interval task_idle_check_duration task_idle_check_interval task_idle_max_count tcp_conn_speed_limit tcp_conn_limit conn_limit
tcp_sock_speed_limit tcp_copy_buffer_size tcp_copy_yield_size tcp_misc_opts"""
FACTS = f"{TASKS} auditor auth_by_client_ip"
STREAM = f"{FACTS} tls_client upstream proxy_pass upstream_pick_policy upstream_tls_name"
HTTP = f"""{TASKS} auth_realm body_line_max_length http_forward_upstream_keepalive log_uri_max_chars uri_log_max_chars no_early_error_reply
pipeline_read_idle_timeout pipeline_size req_header_max_size req_header_recv_timeout rsp_header_max_size rsp_header_recv_timeout server_id
tls_ticketer untrusted_read_limit untrusted_read_speed_limit"""

SERVERS: tuple[tuple[Any, str], ...] = (
    (
        HTTPProxyServer,
        f"""{HTTP} auditor allow_custom_host drop_default_port_in_host dst_host_filter_set dst_port_filter echo_chained_info
        egress_path_selection_header path_selection_header ftp_client http_forward_mark_upstream local_server_name steal_forwarded_for tls
        tls_server tls_client username_params username_params_to_escaper_addr""",
    ),
    (
        HTTPRProxyServer,
        f"{HTTP} append_forwarded_for client_hello_recv_timeout enable_tls_server global_tls_server hosts sites",
    ),
    (PlainTCPPortServer, f"{PORT} server"),
    (PlainQUICPortServer, f"{LISTEN} server quic_server tls_ticketer offline_rebind_port"),
    (PlainTLSPortServer, f"{PORT} server {TLS}"),
    (NativeTLSPortServer, f"{PORT} server {TLS}"),
    (
        IntelliProxyServer,
        f"{PORT} http_server socks_server protocol_detection_timeout protocol_detection_channel_size protocol_detection_max_jobs",
    ),
    (TCPStreamServer, STREAM),
    (TLSStreamServer, f"{STREAM} {TLS}"),
    (TCPTproxyServer, f"{FACTS} auth_by_server_ip"),
    (
        SNIProxyServer,
        f"""{FACTS} auth_by_server_name allowed_hosts allowed_sites listen_transparent protocol_inspection request_recv_timeout
        request_wait_timeout server_tcp_portmap client_tcp_portmap tls_max_client_hello_size""",
    ),
)

#: What upstream does not have.
NEW = {"name", "enable_http2", "enable_masque_udp", "proxy_status"}


class KeyTests(SynchronousTestCase):
    def test_the_keys_of_a_server_are_upstreams(self) -> None:
        for server, keys in SERVERS:
            words = {word for key in keys_of(server.schema) for word in key.words}
            self.assertEqual(words - NEW, set(keys.split()), server)
