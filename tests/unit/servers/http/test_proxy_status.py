# SPDX-License-Identifier: Apache-2.0
"""What the Proxy-Status field says."""

from __future__ import annotations

import errno
import re

from twisted.trial.unittest import SynchronousTestCase

from g3 import errors
from g3.errors import CLOSE, ConnectFailed, ProtocolError, ResolveError, ResolveFailed, TaskError
from g3.servers.http.proxy_status import ProxyStatus, error_type

#: RFC 9209 section 2.3.
REGISTERED = """
dns_timeout dns_error destination_not_found destination_unavailable destination_ip_prohibited destination_ip_unroutable connection_refused
connection_terminated connection_timeout connection_read_timeout connection_write_timeout connection_limit_reached tls_protocol_error
tls_certificate_error tls_alert_received http_request_error http_request_denied http_response_incomplete
http_response_header_section_size http_response_header_size http_response_body_size http_response_trailer_section_size
http_response_trailer_size http_response_transfer_coding http_response_content_coding http_response_timeout http_upgrade_failed
http_protocol_error proxy_internal_response proxy_internal_error proxy_configuration_error proxy_loop_detected"""
FIELD = re.compile(r'Proxy-Status: "(?:[^"\\]|\\["\\])*"(?:; error=[a-z_]+)(?:; rcode="[A-Z]+")?; details="(?:[^"\\]|\\["\\])*"')


def every(base: type) -> list[type]:
    return [base, *(each for below in base.__subclasses__() for each in every(below))]


class ErrorTypeTests(SynchronousTestCase):
    def test_every_error_has_a_registered_type(self) -> None:
        """Each TaskError that is answered, and bad requests."""
        for each in every(TaskError):
            if each.__module__ != "g3.errors" or each.http_status == CLOSE:  # type: ignore[attr-defined]
                continue
            error = each(ResolveError("x")) if issubclass(each, ResolveFailed) else each(1) if issubclass(each, ConnectFailed) else each()
            self.assertIn(error_type(error), REGISTERED.split(), each)
        self.assertEqual(error_type(ProtocolError("bad")), "http_request_error")

    def test_what_the_system_or_a_name_server_said_counts(self) -> None:
        for error, word in (
            (ConnectFailed(errno.ECONNREFUSED), "connection_refused"),
            (ConnectFailed(errno.EHOSTUNREACH), "destination_ip_unroutable"),
            (ConnectFailed(errno.EPERM), "destination_unavailable"),
            (ResolveFailed(ResolveError("ServerError", "NOTFOUND")), "dns_error"),
            (ResolveFailed(ResolveError("DriverError", "Timeout")), "dns_timeout"),
            (ResolveFailed(ResolveError("LocalError", "DriverTimedOut")), "dns_timeout"),
            (ProtocolError("again", 508), "proxy_loop_detected"),
            (errors.DestDenied(), "http_request_denied"),
            (errors.ForbiddenRemoteAddress(), "destination_ip_prohibited"),
            (errors.UpstreamAppTimeout(), "http_response_timeout"),
            (errors.InternalServerError(), "proxy_internal_error"),
        ):
            self.assertEqual(error_type(error), word, error)


class LineTests(SynchronousTestCase):
    def test_the_field(self) -> None:
        """With the answer of the name server where there was one."""
        line = ProxyStatus("edge 1").line(ResolveFailed(ResolveError("ServerError", "NOTFOUND")))
        self.assertEqual(line, b'Proxy-Status: "edge 1"; error=dns_error; rcode="NXDOMAIN"; details="resolve failed: ServerError: NOTFOUND"')

    def test_it_is_one_well_formed_line_whatever_there_is_to_say(self) -> None:
        """RFC 8941: printable ASCII, quotes and backslashes escaped; and no longer than it should be."""
        for text in ('a "quoted" \\ name', "line\r\nSet-Cookie: a=b", "\u00fcml\u00e4ut\0", "x" * 1000, "\\" * 300):
            line = ProxyStatus(text).line(errors.InternalServerError(text)).decode("ascii")
            self.assertRegex(line, FIELD)
            self.assertEqual(FIELD.fullmatch(line) and len(line) < 900, True, line)
