# SPDX-License-Identifier: Apache-2.0
"""Tests of g3.servers.http_proxy.target."""

from __future__ import annotations

from types import SimpleNamespace

from twisted.trial.unittest import SynchronousTestCase

from g3.errors import ProtocolError
from g3.proto.http1.request import parse_request
from g3.proto.http1.uri import AUTHORITY
from g3.servers.http_proxy.target import Target, Targets


class TargetsTests(SynchronousTestCase):
    """Where requests go, and the head that goes there."""

    def resolve(self, head: bytes, **config: object) -> tuple[Target, bytes]:
        """The target, and the head sent to its origin."""
        given = {
            "local_server_name": (),
            "allow_custom_host": True,
            "drop_default_port_in_host": False,
            "steal_forwarded_for": False,
            "enable_masque_udp": False,
            "egress_path_selection_header": None,
            "escaper": "e",
            **config,
        }
        request = parse_request(head)
        target = Targets(SimpleNamespace(**given), None).resolve(request)  # type: ignore[arg-type]
        return target, b"" if target.uri.form == AUTHORITY else target.head(request, False, b"", True)

    def refused(self, status: int, head: bytes, **config: object) -> None:
        error = self.assertRaises(ProtocolError, self.resolve, head, **config)
        self.assertEqual(error.status, status)

    def test_absolute_form_becomes_origin_form(self) -> None:
        target, head = self.resolve(b"GET http://A.test:8080/x?y HTTP/1.1\r\nHost: a.test\r\n\r\n")
        self.assertEqual(str(target.upstream), "a.test:8080")
        self.assertEqual(head, b"GET /x?y HTTP/1.1\r\nHost: a.test\r\n\r\n")

    def test_a_next_proxy_gets_absolute_form_and_its_own_lines(self) -> None:
        request = parse_request(b"GET http://a.test/x HTTP/1.1\r\nHost: a.test\r\n\r\n")
        target, _ = self.resolve(b"GET http://a.test/x HTTP/1.1\r\nHost: a.test\r\n\r\n")
        head = target.head(request, True, b"Proxy-Authorization: x\r\n", False)
        self.assertEqual(head, b"GET http://a.test:80/x HTTP/1.1\r\nHost: a.test\r\nProxy-Authorization: x\r\nConnection: close\r\n\r\n")

    def test_te_is_named_in_connection(self) -> None:
        _, head = self.resolve(b"GET http://a.test/ HTTP/1.1\r\nHost: a.test\r\nTE: trailers\r\nConnection: TE\r\n\r\n")
        self.assertTrue(head.endswith(b"TE: trailers\r\nConnection: TE\r\n\r\n"), head)

    def test_a_missing_host_of_http_1_0_is_added(self) -> None:
        _, head = self.resolve(b"GET http://a.test/ HTTP/1.0\r\n\r\n")
        self.assertIn(b"\r\nHost: a.test\r\n", head)

    def test_connect_defaults_to_port_443(self) -> None:
        target, _ = self.resolve(b"CONNECT a.test HTTP/1.1\r\nHost: a.test\r\n\r\n")
        self.assertEqual(target.uri.form, AUTHORITY)
        self.assertEqual(target.upstream.port, 443)

    def test_tls_asks_for_the_name_in_host(self) -> None:
        target, _ = self.resolve(b"GET https://1.2.3.4/ HTTP/1.1\r\nHost: a.test:443\r\n\r\n")
        self.assertEqual((target.tls_name, target.upstream.port), ("a.test", 443))

    def test_default_ports_can_be_dropped_others_stay(self) -> None:
        for port, host in ((b"80", b"a.test"), (b"81", b"a.test:81")):
            _, head = self.resolve(b"GET http://a.test:%b/ HTTP/1.1\r\nHost: a.test:%b\r\n\r\n" % (port, port), drop_default_port_in_host=True)
            self.assertIn(b"\r\nHost: %b\r\n" % host, head)

    def test_local_names_serve_well_known_uris_only(self) -> None:
        names = {"local_server_name": ("proxy.test",)}
        target, head = self.resolve(b"GET /.well-known/easy-proxy/http/a.test/80/x HTTP/1.1\r\nHost: proxy.test\r\n\r\n", **names)
        self.assertEqual(str(target.upstream), "a.test:80")
        self.assertEqual(head, b"GET /x HTTP/1.1\r\nHost: a.test:80\r\n\r\n")
        self.refused(501, b"GET /x HTTP/1.1\r\nHost: proxy.test\r\n\r\n", **names)
        self.refused(501, b"GET /.well-known/easy-proxy/http/a.test/80/x HTTP/1.1\r\nHost: other.test\r\n\r\n", **names)
        self.refused(501, b"GET http://proxy.test/x HTTP/1.1\r\nHost: proxy.test\r\n\r\n", **names)

    def test_the_path_header_selects_and_is_taken_off(self) -> None:
        config = {"egress_path_selection_header": "X-Path"}
        target, head = self.resolve(b"GET http://a.test/ HTTP/1.1\r\nHost: a.test\r\nx-path: 3\r\n\r\n", **config)
        self.assertEqual(target.path and target.path.number, 3)
        self.assertNotIn(b"x-path", head)
        self.refused(400, b"GET http://a.test/ HTTP/1.1\r\nHost: a.test\r\nX-Path: three\r\n\r\n", **config)

    def test_what_is_not_served_is_501(self) -> None:
        self.refused(501, b"GET gopher://a.test/ HTTP/1.1\r\nHost: a.test\r\n\r\n")
        self.refused(501, b"GET http://a.test/ HTTP/1.1\r\nHost: a.test\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n")
        self.refused(501, b"GET / HTTP/1.1\r\nHost: a.test\r\n\r\n")

    def test_another_host_is_409_where_that_is_refused(self) -> None:
        self.refused(409, b"GET http://a.test/ HTTP/1.1\r\nHost: b.test\r\n\r\n", allow_custom_host=False)
        self.resolve(b"GET http://a.test/ HTTP/1.1\r\nHost: A.test:80\r\n\r\n", allow_custom_host=False)
