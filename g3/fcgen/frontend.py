# SPDX-License-Identifier: Apache-2.0
"""The datagram side of g3fcgen: requests in, replies out, and nothing at all where there is no certificate."""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING, Any

from cryptography import x509
from twisted.logger import Logger

from g3.errors import G3Error
from g3.fcgen.forge import read_mimic
from g3.metrics.frontend import FrontendStats
from g3.net.udp_listen import DatagramListener
from g3.proto.certgen import MAX_REQUEST, decode_request, encode_reply

if TYPE_CHECKING:
    import socket
    from collections.abc import Callable

    from g3.fcgen.workshop import Workshop
    from g3.proto.certgen import CertificateReply, CertificateRequest

log = Logger()


class Frontend:
    """Answers on C{sock} with certificates from C{workshop}. While no request more can be taken, the kernel keeps what comes."""

    def __init__(self, reactor: Any, sock: socket.socket, workshop: Workshop) -> None:
        self.stats = FrontendStats()
        self._clock: Callable[[], float] = reactor.seconds
        self._workshop = workshop
        self._listener = DatagramListener(reactor, sock, self._received, MAX_REQUEST)
        self._closing = False
        self._when_idle: Callable[[], None] | None = None
        self.pending = 0

    @property
    def address(self) -> tuple[str, int]:
        """(ip, port) it is bound to."""
        return self._listener.address

    def start(self) -> None:
        """Begin."""
        self._listener.start()

    def drain(self, when_idle: Callable[[], None]) -> None:
        """Take no more requests; C{when_idle()} is called, once, when the last one is answered."""
        self._closing = True
        self._listener.pause()
        if self.pending:
            self._when_idle = when_idle
        else:
            when_idle()

    def stop(self) -> None:
        """Close."""
        self._closing = True
        self._listener.stop()

    def _received(self, data: bytes, peer: Any) -> None:
        begun = self._clock()
        self.stats.requests += 1
        try:
            request = decode_request(data)
        except G3Error as error:
            self.stats.invalid += 1
            log.warn("invalid request from {peer}: {error}", peer=peer[:2], error=error)
            return
        if request.mimic is not None:
            log.info("{host}: a certificate like {certificate}", host=request.key.host, certificate=Dump(request))
        self.pending += 1
        if not self._workshop.submit(request, lambda reply: self._finished(reply, peer, begun)):
            self.pending -= 1
        if self._workshop.full:
            self._listener.pause()

    def _finished(self, reply: CertificateReply | None, peer: Any, begun: float) -> None:
        self.pending -= 1
        if reply is not None:
            self.stats.responses += 1
            if self._listener.send(encode_reply(reply), peer):
                self._workshop.durations.record(max(int((self._clock() - begun) * 1e9), 0))
            else:
                self.stats.failed += 1
                log.warn("the reply for {host} to {peer} could not be sent", host=reply.key.host, peer=peer[:2])
        if not self._closing:
            if not self._workshop.full:
                self._listener.start()
        elif not self.pending and self._when_idle is not None:
            when_idle, self._when_idle = self._when_idle, None
            when_idle()


class Dump:
    """All there is to say of the certificate in a request; worked out only when somebody reads the log at that level."""

    __slots__ = ("_request",)

    def __init__(self, request: CertificateRequest) -> None:
        self._request = request

    def __str__(self) -> str:
        try:
            data = read_mimic(self._request).der
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                return _describe(x509.load_der_x509_certificate(data))
        except (G3Error, ValueError) as error:
            return f"one that cannot be read ({error})"


def _describe(certificate: x509.Certificate) -> str:
    parts = {
        "serial": certificate.serial_number,
        "subject": certificate.subject.rfc4514_string(),
        "issuer": certificate.issuer.rfc4514_string(),
        "version": certificate.version.value + 1,
        "not before": certificate.not_valid_before_utc,
        "not after": certificate.not_valid_after_utc,
        "signature": certificate.signature_algorithm_oid.dotted_string,
        "public key": certificate.public_key_algorithm_oid.dotted_string,
    }
    for name, kind in (("key usage", x509.KeyUsage), ("alternative names", x509.SubjectAlternativeName)):
        try:
            parts[name] = certificate.extensions.get_extension_for_class(kind).value
        except (x509.ExtensionNotFound, ValueError):
            continue
    return ", ".join(f"{name}: {value}" for name, value in parts.items())
