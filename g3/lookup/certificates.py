# SPDX-License-Identifier: Apache-2.0
"""Certificates for names that are intercepted, asked from a generator and kept by (service, usage, host)."""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING, Any, Protocol

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.serialization import load_der_private_key, load_pem_private_key
from zope.interface import implementer

from g3.errors import G3Error
from g3.interfaces import ICertificateAgent
from g3.lookup.cache import QueryCache
from g3.lookup.datagram import DatagramPeer
from g3.proto.certgen import MAX_REPLY, CertificateKey, CertificateReply, CertificateRequest, decode_reply, encode_request

if TYPE_CHECKING:
    from collections.abc import Callable

    from twisted.internet.defer import Deferred

    from g3.lookup.options import CertAgentOptions
    from g3.net.timers import TimerWheel
    from g3.proto.certgen import Service, Usage

    Answered = Callable[[CertificateReply], None]


class CertificatePair:
    """A certificate that was made for us: C{chain} is PEM with the leaf first, C{private_key} PEM as str or DER as bytes.

    @ivar certificates: the chain, parsed.
    @raise G3Error: the chain cannot be read.
    """

    __slots__ = ("_loaded", "certificates", "chain", "private_key")

    def __init__(self, chain: str, private_key: str | bytes) -> None:
        self.chain, self.private_key = chain, private_key
        self._loaded: Any = None
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                self.certificates = tuple(x509.load_pem_x509_certificates(chain.encode()))
        except ValueError as error:
            raise G3Error(f"the certificate cannot be read: {error}") from None

    def load_key(self) -> Any:
        """The key as C{cryptography} has it. @raise G3Error: it has no such key (SM2), or it is none."""
        if self._loaded is None:
            try:
                key = self.private_key
                self._loaded = load_der_private_key(key, None) if isinstance(key, bytes) else load_pem_private_key(key.encode(), None)
            except (ValueError, TypeError, UnsupportedAlgorithm) as error:
                raise G3Error(f"the private key cannot be read: {error}") from None
        return self._loaded

    def __repr__(self) -> str:
        return f"<CertificatePair of {len(self.certificates)}>"


class Generator(Protocol):
    """What makes certificates: over datagrams, or in this process."""

    def request(self, request: CertificateRequest) -> bool:
        """Ask for one; False when that is not possible. What comes of it goes to whom C{start} named."""

    def start(self, answered: Answered) -> None:
        """Whom to give replies to."""

    def stop(self) -> None:
        """No more of it."""


class DatagramGenerator:
    """A generator such as g3fcgen at the address of C{options}."""

    def __init__(self, reactor: Any, options: CertAgentOptions) -> None:
        self._peer = DatagramPeer(reactor, options, self._received, MAX_REPLY)
        self._answered: Answered | None = None

    def start(self, answered: Answered) -> None:
        """Generator."""
        self._answered = answered

    def request(self, request: CertificateRequest) -> bool:
        """Generator."""
        return self._peer.send(encode_request(request))

    def _received(self, data: bytes) -> None:
        try:
            reply = decode_reply(data)
        except G3Error as error:
            self._peer.warn(f"gave an answer that is none: {error}")
            return
        if self._answered is not None:
            self._answered(reply)

    def stop(self) -> None:
        """Generator."""
        self._peer.close()


@implementer(ICertificateAgent)
class CertificateAgent:
    """ICertificateAgent over a generator. What may fail is answered by None, and asked again after a while."""

    def __init__(self, clock: Any, timers: TimerWheel, options: CertAgentOptions, generator: Generator) -> None:
        self._options = options
        self._generator = generator
        self._cache: QueryCache[CertificateKey, CertificatePair] = QueryCache(
            clock,
            timers,
            ask=self._ask,
            query_wait=options.query_wait_timeout,
            patience=options.cache_request_timeout,
            vanish_wait=options.cache_vanish_wait,
            protective_ttl=options.protective_cache_ttl,
        )
        generator.start(self._answered)

    def cached(self, service: Service, usage: Usage, host: str) -> CertificatePair | None:
        """ICertificateAgent."""
        return self._cache.cached(CertificateKey(service, usage, host))

    def fetch(
        self, service: Service, usage: Usage, host: str, mimic: bytes | None = None
    ) -> CertificatePair | Deferred[CertificatePair | None] | None:
        """ICertificateAgent."""
        return self._cache.fetch(CertificateKey(service, usage, host), mimic)

    def _ask(self, key: CertificateKey, mimic: bytes | None) -> bool:
        return self._generator.request(CertificateRequest(key, mimic))

    def _answered(self, reply: CertificateReply) -> None:
        if reply.key not in self._cache.open:
            return
        try:
            pair = CertificatePair(reply.chain, reply.private_key)
        except G3Error:
            # As if it had not come: the question ends by its time.
            return
        options = self._options
        self._cache.answer(reply.key, pair, min(reply.ttl or options.protective_cache_ttl, options.maximum_cache_ttl))

    def stop(self) -> None:
        """ICertificateAgent."""
        self._cache.stop()
        self._generator.stop()


def certificate_agent(reactor: Any, timers: TimerWheel, options: CertAgentOptions) -> CertificateAgent:
    """An agent that asks a generator over datagrams."""
    return CertificateAgent(reactor, timers, options, DatagramGenerator(reactor, options))
