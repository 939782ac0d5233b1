# SPDX-License-Identifier: Apache-2.0
"""Making the certificates that are asked for (upstream: g3fcgen). One forge is for one thread."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Final

from g3.config.values.net import to_host
from g3.mkcert.certificate import LEAF_DAYS, Certificate, Subject, load_certificates, validity
from g3.mkcert.issue import Use, Window, algorithm_of, leaf, mimic, usage_of
from g3.mkcert.keys import Algorithm, CertificateError, Key, generate
from g3.proto.certgen import CertificateReply, Usage

if TYPE_CHECKING:
    from collections.abc import Callable

    from g3.fcgen.config import Backend
    from g3.mkcert.certificate import Extension
    from g3.proto.certgen import CertificateRequest

#: Seconds that keys and validity are used for before there are new ones.
REFRESH_INTERVAL: Final = 300.0
#: A certificate that ended longer ago, seconds, is not made again.
GRACE: Final = 86400.0
#: Characters a common name may have.
LONGEST_NAME: Final = 64

_USES: Final = {Usage.TLCP_SERVER_SIGNATURE: Use.TLCP_SERVER_SIGN, Usage.TLCP_SERVER_ENCRYPTION: Use.TLCP_SERVER_ENC}


class Forge:
    """Makes certificates under the authority of C{backend}.

    A key of each kind serves for L{REFRESH_INTERVAL} seconds, since an RSA key takes a hundred times as long to make as a certificate.

    @param monotonic: seconds.
    """

    __slots__ = ("_backend", "_keys", "_monotonic", "_until", "_window", "refresh_ok", "refresh_total", "request_ok", "request_total")

    def __init__(self, backend: Backend, monotonic: Callable[[], float]) -> None:
        self._backend = backend
        self._monotonic = monotonic
        self._keys: dict[Algorithm, Key] = {}
        self._until = float("-inf")
        self._window = Window(datetime.now(UTC), datetime.now(UTC))
        self.refresh_total = self.refresh_ok = self.request_total = self.request_ok = 0

    def make(self, request: CertificateRequest) -> CertificateReply:
        """The reply to a request. Raises CertificateError: then there is to be none."""
        self.request_total += 1
        if self._monotonic() >= self._until:
            self._refresh()
        certificate, key = self._fake(request.key.host) if request.mimic is None else self._mimic(request)
        left = (certificate.not_after - datetime.now(UTC)).total_seconds()
        if left <= -GRACE:
            raise CertificateError("the certificate has ended")
        ttl = min(max(int(left), 0), self._backend.max_ttl)
        reply = CertificateReply(request.key, certificate.pem().decode() + self._backend.chain, key.der(), ttl)
        self.request_ok += 1
        return reply

    def _refresh(self) -> None:
        self.refresh_total += 1
        self._keys = {Algorithm.EC256: generate(Algorithm.EC256)}
        self._window = Window(*validity(LEAF_DAYS))
        self._until = self._monotonic() + REFRESH_INTERVAL
        self.refresh_ok += 1

    def _key(self, algorithm: Algorithm) -> Key:
        found = self._keys.get(algorithm)
        if found is None:
            found = self._keys[algorithm] = generate(algorithm)
        return found

    def _fake(self, name: str) -> tuple[Certificate, Key]:
        """For a name alone."""
        try:
            host = to_host(name)
        except ValueError as error:
            raise CertificateError(f"host: {error}") from None
        key = self._keys[Algorithm.EC256]
        subject = Subject(common_name=host if len(host) <= LONGEST_NAME else "")
        usage = usage_of(Algorithm.EC256, Use.TLS_SERVER)
        return leaf(subject, [host], key, usage, client=False, authority=self._backend.authority, window=self._window), key

    def _mimic(self, request: CertificateRequest) -> tuple[Certificate, Key]:
        """Like another certificate."""
        original = read_mimic(request)
        algorithm = algorithm_of(original)
        key = self._key(algorithm)
        usage = self._usage(request.key.usage, algorithm)
        return mimic(original, key, self._backend.authority, usage, keep_serial=self._backend.keep_serial), key

    @staticmethod
    def _usage(usage: Usage, algorithm: Algorithm) -> Extension | None:
        """The key usage to have; None is the original's."""
        if usage is Usage.TLS_SERVER:
            return None
        return usage_of(algorithm, _USES.get(usage, Use.TLS_SERVER))


def read_mimic(request: CertificateRequest) -> Certificate:
    """The certificate that a request brings. Raises CertificateError."""
    data = request.mimic
    if isinstance(data, str):
        return load_certificates(data.encode())[0]
    return Certificate(data or b"")
