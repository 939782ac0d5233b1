# SPDX-License-Identifier: Apache-2.0
"""Every error of the suite: what went wrong, for whom, and what to answer.

One root, four families. A L{ConfigError} is the operator's, a L{ProtocolError} a peer's that broke its protocol, a L{ResolveError} a
name server's, a L{TaskError} ends a task and carries the label its log record gets and the reply its client gets.
"""

from __future__ import annotations

import errno
from typing import TYPE_CHECKING, ClassVar

if TYPE_CHECKING:
    from collections.abc import Sequence

#: In place of an HTTP status: close the connection without a reply.
CLOSE = 0


class G3Error(Exception):
    """The root: catches everything the suite raises on purpose."""


class ConfigError(G3Error):
    """A configuration cannot be used. C{problems} has them all, each printable as C{file:line:col: what}."""

    def __init__(self, problems: Sequence[object] | str) -> None:
        self.problems: tuple[object, ...] = (problems,) if isinstance(problems, str) else tuple(problems)
        super().__init__("\n".join(str(problem) for problem in self.problems))


class ProtocolError(G3Error):
    """A peer sent what its protocol forbids. C{status} is the HTTP status that answers it, where HTTP is spoken."""

    status: int = 400

    def __init__(self, message: str, status: int | None = None) -> None:
        super().__init__(message)
        if status is not None:
            self.status = status


class ResolveError(G3Error):
    """A name has no usable answer. C{type} and C{subtype} are the words of the resolve log."""

    def __init__(self, type: str, subtype: str = "") -> None:  # noqa: A002 - the log field
        self.type, self.subtype = type, subtype
        super().__init__(f"{type}: {subtype}" if subtype else type)

    @property
    def from_server(self) -> bool:
        """Whether a name server answered, and its answer was no."""
        return self.type == "ServerError"


class TaskError(G3Error):
    """Ends a task. C{reason} is the task log's label; C{http_status} and C{socks5_reply} are what the client is told.

    C{closes} says whether the client connection ends with the HTTP reply, or may carry another request.
    """

    reason: str = "UnclassifiedError"
    http_status: int = 500
    socks5_reply: int = 1
    closes: bool = True

    def __init__(self, message: str = "", *, reason: str = "", http_status: int | None = None, socks5_reply: int | None = None) -> None:
        super().__init__(message or self.__doc__ or "")
        if reason:
            self.reason = reason
        if http_status is not None:
            self.http_status = http_status
        if socks5_reply is not None:
            self.socks5_reply = socks5_reply


class Finished(TaskError):
    """finished"""

    reason, http_status = "Finished", CLOSE


class ClosedByClient(TaskError):
    """closed by client"""

    reason, http_status = "ClosedByClient", CLOSE


class ClosedEarlyByClient(TaskError):
    """closed early by client"""

    reason, http_status = "ClosedEarlyByClient", CLOSE


class ClientReadFailed(TaskError):
    """tcp read from client failed"""

    reason, http_status = "ClientTcpReadFailed", CLOSE


class ClientWriteFailed(TaskError):
    """tcp write to client failed"""

    reason, http_status = "ClientTcpWriteFailed", CLOSE


class ClientUDPRecvFailed(TaskError):
    """udp recv from client failed"""

    reason, http_status = "ClientUdpRecvFailed", CLOSE


class ClientUDPSendFailed(TaskError):
    """udp send to client failed"""

    reason, http_status = "ClientUdpSendFailed", CLOSE


class InvalidClientProtocol(TaskError):
    """invalid client protocol"""

    reason, http_status = "InvalidClientProtocol", 400


class UnimplementedProtocol(TaskError):
    """unimplemented protocol"""

    reason, http_status, socks5_reply = "UnimplementedProtocol", 501, 7


class ClientAppTimeout(TaskError):
    """client timed out while sending"""

    reason, http_status = "ClientAppTimeout", 408


class ClientAuthFailed(TaskError):
    """client auth failed"""

    reason, http_status, socks5_reply = "ClientAuthFailed", 407, 2


class ForbiddenByRule(TaskError):
    """forbidden by rule"""

    reason, http_status, socks5_reply = "ForbiddenByRule", 403, 2


class DestDenied(ForbiddenByRule):
    """forbidden by rule: target dest denied"""


class UserBlocked(ForbiddenByRule):
    """forbidden by rule: user blocked"""


class ProtoBanned(ForbiddenByRule):
    """forbidden by rule: proxy request type banned"""

    http_status = 405


class RateLimited(ForbiddenByRule):
    """forbidden by rule: request rate limited"""

    http_status = 429


class FullyLoaded(ForbiddenByRule):
    """forbidden by rule: fully loaded"""

    http_status = 429


class UserAgentBlocked(ForbiddenByRule):
    """forbidden by rule: http ua blocked"""


class UpstreamReadFailed(TaskError):
    """read from upstream failed"""

    reason, http_status = "UpstreamReadFailed", 502


class UpstreamWriteFailed(TaskError):
    """write to upstream failed"""

    reason, http_status = "UpstreamWriteFailed", 502


class ClosedByUpstream(TaskError):
    """closed by upstream"""

    reason, http_status = "ClosedByUpstream", 502


class InvalidUpstreamProtocol(TaskError):
    """invalid upstream protocol"""

    reason, http_status = "InvalidUpstreamProtocol", 502


class UpstreamAppTimeout(TaskError):
    """upstream took too long to answer"""

    reason, http_status, socks5_reply = "UpstreamAppTimeout", 504, 9


class UpstreamAppError(TaskError):
    """upstream app error"""

    reason, http_status = "UpstreamAppError", 502


class UpstreamNotNegotiated(TaskError):
    """upstream not negotiated"""

    reason, http_status = "UpstreamNotNegotiated", 502


class UpstreamAppUnavailable(TaskError):
    """upstream app unavailable"""

    reason, http_status = "UpstreamAppUnavailable", 503


class Idle(TaskError):
    """idle for too long"""

    reason, http_status = "Idle", CLOSE


class CanceledAsUserBlocked(TaskError):
    """canceled as user blocked"""

    reason, http_status, socks5_reply = "CanceledAsUserBlocked", 403, 2


class CanceledAsServerQuit(TaskError):
    """canceled as server quit"""

    reason, http_status = "CanceledAsServerQuit", 500


class InternalServerError(TaskError):
    """internal server error"""

    reason = "InternalServerError"


class ConnectError(TaskError):
    """An escaper could not reach the upstream. The class name is the escape log's C{reason}."""

    reason, http_status = "UpstreamNotConnected", 502
    escape_reason: ClassVar[str] = "InternalServerError"

    def __init_subclass__(cls) -> None:
        super().__init_subclass__()
        cls.escape_reason = cls.__name__


class MethodUnavailable(ConnectError):
    """the escaper does not offer this method"""

    reason, http_status, socks5_reply = "ForbiddenByRule", 403, 2


class EscaperNotUsable(ConnectError):
    """escaper not usable"""

    reason, http_status = "EscaperNotUsable", 503


class ResolveFailed(ConnectError):
    """The upstream's name did not resolve; C{error} says why."""

    closes = False
    http_status, socks5_reply = 530, 4

    def __init__(self, error: ResolveError) -> None:
        self.error = error
        super().__init__(f"resolve failed: {error}", reason="UpstreamNotResolved" if error.from_server else "InternalResolverError")


class SetupSocketFailed(ConnectError):
    """setup of the local socket failed"""

    reason, http_status = "InternalServerError", 500


class ConnectFailed(ConnectError):
    """The operating system refused the connection; C{errno} says why."""

    closes = False
    _BY_ERRNO: ClassVar[dict[int, tuple[str, int, int]]] = {
        errno.ECONNREFUSED: ("connection refused", 521, 5),
        errno.ECONNRESET: ("connection reset", 521, 5),
        errno.ETIMEDOUT: ("connection timed out", 522, 9),
        errno.ENETUNREACH: ("network unreachable", 523, 3),
        errno.EHOSTUNREACH: ("host unreachable", 523, 4),
    }

    def __init__(self, number: int, message: str = "") -> None:
        self.errno = number
        text, status, reply = self._BY_ERRNO.get(number, (message or f"errno {number}", 502, 1))
        super().__init__(f"connect failed: {text}", http_status=status, socks5_reply=reply)


class TimeoutByRule(ConnectError):
    """connect timed out by rule"""

    closes = False
    http_status, socks5_reply = 504, 9


class NoAddressConnected(ConnectError):
    """no address connected"""

    closes = False
    reason, http_status, socks5_reply = "UpstreamNotAvailable", 502, 4


class ForbiddenAddressFamily(ConnectError):
    """forbidden address family"""

    closes = False
    reason, http_status, socks5_reply = "ForbiddenByRule", 403, 2


class ForbiddenRemoteAddress(ConnectError):
    """forbidden remote address"""

    closes = False
    reason, http_status, socks5_reply = "ForbiddenByRule", 403, 2


class SendFailed(ConnectError):
    """a datagram could not be sent"""

    reason = "UpstreamWriteFailed"


class RecvFailed(ConnectError):
    """receiving datagrams failed"""

    reason = "UpstreamReadFailed"


class AddressNotSupported(ConnectError):
    """a datagram to an address family that is disabled"""

    reason, http_status, socks5_reply = "UnimplementedProtocol", 403, 2


class DomainNotResolved(ResolveFailed):
    """The host of a datagram did not resolve; C{error} says why."""


class ForbiddenTargetIpAddress(ConnectError):
    """a datagram to a forbidden address"""

    reason, http_status, socks5_reply = "ForbiddenByRule", 403, 2


class ProxyProtocolEncodeError(ConnectError):
    """proxy protocol encode error"""

    reason, http_status = "InternalServerError", 500


class ProxyProtocolWriteFailed(ConnectError):
    """proxy protocol write failed"""

    reason = "UpstreamWriteFailed"


class NegotiationReadFailed(ConnectError):
    """negotiation read failed"""

    reason = "UpstreamReadFailed"


class NegotiationWriteFailed(ConnectError):
    """negotiation write failed"""

    reason = "UpstreamWriteFailed"


class NegotiationRejected(ConnectError):
    """negotiation rejected by the next proxy"""

    reason, socks5_reply = "UpstreamNotNegotiated", 5


class NegotiationPeerTimeout(ConnectError):
    """negotiation timed out"""

    closes = False
    reason, http_status, socks5_reply = "UpstreamAppTimeout", 504, 9


class NegotiationProtocolErr(ConnectError):
    """negotiation protocol error"""

    reason = "InvalidUpstreamProtocol"


class InternalTlsClientError(ConnectError):
    """internal tls client error"""

    reason, http_status = "InternalTlsClientError", 500


class PeerTlsHandshakeTimeout(ConnectError):
    """tls handshake with the next proxy timed out"""

    reason, http_status = "InternalServerError", 500


class PeerTlsHandshakeFailed(ConnectError):
    """tls handshake with the next proxy failed"""

    reason, http_status = "InternalServerError", 500


class UpstreamTlsHandshakeTimeout(ConnectError):
    """tls handshake with the upstream timed out"""

    closes = False
    reason, http_status = "UpstreamTlsHandshakeTimeout", 525


class UpstreamTlsHandshakeFailed(ConnectError):
    """tls handshake with the upstream failed"""

    closes = False
    reason, http_status = "UpstreamTlsHandshakeFailed", 525
