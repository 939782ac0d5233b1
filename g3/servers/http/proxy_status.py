# SPDX-License-Identifier: Apache-2.0
"""The Proxy-Status field (RFC 9209) of an error answer that is made here: who made it, and why."""

from __future__ import annotations

import errno
from typing import Final

from g3 import errors
from g3.errors import ConnectFailed, ProtocolError, ResolveFailed

#: Error types of RFC 9209 section 2.3; a class stands for those below it, too.
_TYPES: Final[dict[type[BaseException], str]] = {
    errors.TaskError: "proxy_internal_error",
    errors.ProtocolError: "http_request_error",
    errors.InvalidClientProtocol: "http_request_error",
    errors.ClientAppTimeout: "http_request_error",
    errors.UnimplementedProtocol: "proxy_internal_response",
    errors.ClientAuthFailed: "http_request_denied",
    errors.ForbiddenByRule: "http_request_denied",
    errors.CanceledAsUserBlocked: "http_request_denied",
    errors.FullyLoaded: "connection_limit_reached",
    errors.MethodUnavailable: "http_request_denied",
    errors.EscaperNotUsable: "destination_unavailable",
    errors.NoAddressConnected: "destination_unavailable",
    errors.UpstreamAppUnavailable: "destination_unavailable",
    errors.UpstreamNotNegotiated: "destination_unavailable",
    errors.UpstreamAppError: "destination_unavailable",
    errors.NegotiationRejected: "destination_unavailable",
    errors.NegotiationProtocolErr: "http_protocol_error",
    errors.NegotiationReadFailed: "connection_terminated",
    errors.NegotiationWriteFailed: "connection_terminated",
    errors.NegotiationPeerTimeout: "connection_timeout",
    errors.ProxyProtocolWriteFailed: "connection_terminated",
    errors.ConnectFailed: "destination_unavailable",
    errors.TimeoutByRule: "connection_timeout",
    errors.ForbiddenAddressFamily: "destination_ip_prohibited",
    errors.ForbiddenRemoteAddress: "destination_ip_prohibited",
    errors.ResolveFailed: "dns_error",
    errors.PeerTlsHandshakeFailed: "tls_protocol_error",
    errors.PeerTlsHandshakeTimeout: "connection_timeout",
    errors.UpstreamTlsHandshakeFailed: "tls_protocol_error",
    errors.UpstreamTlsHandshakeTimeout: "connection_timeout",
    errors.UpstreamReadFailed: "connection_terminated",
    errors.UpstreamWriteFailed: "connection_terminated",
    errors.ClosedByUpstream: "connection_terminated",
    errors.InvalidUpstreamProtocol: "http_protocol_error",
    errors.UpstreamAppTimeout: "http_response_timeout",
}
_BY_ERRNO: Final = {
    errno.ECONNREFUSED: "connection_refused",
    errno.ECONNRESET: "connection_terminated",
    errno.ETIMEDOUT: "connection_timeout",
    errno.ENETUNREACH: "destination_ip_unroutable",
    errno.EHOSTUNREACH: "destination_ip_unroutable",
}
_RCODES: Final = {"NOTFOUND": "NXDOMAIN", "FORMERR": "FORMERR", "SERVFAIL": "SERVFAIL", "NOTIMP": "NOTIMP", "REFUSED": "REFUSED"}
_LOOP: Final = 508
#: Characters of C{details}.
_MOST: Final = 200


def error_type(error: BaseException) -> str:
    """The type of RFC 9209 that an error is of."""
    if isinstance(error, ConnectFailed) and error.errno in _BY_ERRNO:
        return _BY_ERRNO[error.errno]
    if isinstance(error, ResolveFailed) and "time" in error.error.subtype.lower():
        return "dns_timeout"
    if isinstance(error, ProtocolError) and error.status == _LOOP:
        return "proxy_loop_detected"
    return next((_TYPES[each] for each in type(error).__mro__ if each in _TYPES), "proxy_internal_error")


def _string(text: str) -> str:
    """A string of structured fields (RFC 8941 section 3.3.3)."""
    printable = "".join(char if " " <= char <= "~" else "?" for char in text[:_MOST])
    return '"' + printable.replace("\\", "\\\\").replace('"', '\\"') + '"'


class ProxyStatus:
    """Makes the field for one server, which calls itself C{name}."""

    __slots__ = ("_name",)

    def __init__(self, name: str) -> None:
        self._name = _string(name)

    def line(self, error: BaseException) -> bytes:
        """The field about C{error}, without CRLF."""
        parameters = [f"error={error_type(error)}"]
        rcode = _RCODES.get(error.error.subtype) if isinstance(error, ResolveFailed) else None
        if rcode is not None:
            parameters.append(f"rcode={_string(rcode)}")
        parameters.append(f"details={_string(str(error))}")
        return f"Proxy-Status: {self._name}; {'; '.join(parameters)}".encode("ascii")
