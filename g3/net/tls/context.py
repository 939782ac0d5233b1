# SPDX-License-Identifier: Apache-2.0
"""The C{pyopenssl} provider: TLS options made into OpenSSL contexts, and the sessions they keep for resumption.

pyOpenSSL wraps most but not all that its OpenSSL offers. Four calls go to the binding below it (C{_lib}): verifying a host name inside the
handshake, so that the peer gets the right alert and upstream's rules of matching hold; the list of groups; whether a session was resumed;
and why verification failed. The interface is the one Twisted uses too.
"""

from __future__ import annotations

import os
from collections import OrderedDict, deque
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Final

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding, load_pem_private_key
from cryptography.x509 import ocsp
from OpenSSL import SSL
from OpenSSL._util import ffi as _ffi
from OpenSSL._util import lib as _lib
from OpenSSL.crypto import X509
from twisted.logger import Logger

from g3.errors import ConfigError
from g3.net.tls.check import client_problems, server_problems
from g3.net.tls.errors import reason_of
from g3.net.tls.options import SessionCache, TLSProtocol, TLSVersion
from g3.net.tls.policy import Choice, authorities_in, server_ciphers, session_id_context, staple_for
from g3.net.tls.provider import TLSInfo
from g3.task import parse_ip

if TYPE_CHECKING:
    import socket
    from collections.abc import Callable, Sequence

    from g3.net.tls.options import PEM, CertificatePair, ClientTLSOptions, ServerTLSOptions

log = Logger()

#: Contexts kept for equal options; each trusts about 150 certificates, 1 MB.
CACHED_CONTEXTS: Final = 128

_VERSIONS: Final = {
    TLSVersion.TLS1_0: SSL.TLS1_VERSION,
    TLSVersion.TLS1_1: SSL.TLS1_1_VERSION,
    TLSVersion.TLS1_2: SSL.TLS1_2_VERSION,
    TLSVersion.TLS1_3: SSL.TLS1_3_VERSION,
    TLSProtocol.SSL3: SSL.SSL3_VERSION,
    TLSProtocol.TLS1_0: SSL.TLS1_VERSION,
    TLSProtocol.TLS1_1: SSL.TLS1_1_VERSION,
    TLSProtocol.TLS1_2: SSL.TLS1_2_VERSION,
    TLSProtocol.TLS1_3: SSL.TLS1_3_VERSION,
}
#: pyOpenSSL turns partial writes on; without them one call takes a whole buffer of many records.
_PARTIAL_WRITE: Final = 0x1
_NO_PARTIAL_WILDCARDS: Final = 0x4
#: Bytes of a record's header: max_fragment_size counts them.
_OVERHEAD: Final = 5
_MOST_TOLD: Final = 1024
_X509_V_OK: Final = 0


class _NoALPNOverlap(Exception):
    """the client offers no application protocol of ours"""


# -- contexts


def client_context(options: ClientTLSOptions, alpn: tuple[str, ...] = ()) -> PyOpenSSLClient:
    """TLS as a client; the same object for equal arguments, so that they share sessions. C{alpn}: protocols to offer, best first.

    @raise ConfigError: something in C{options} cannot be honoured.
    """
    return _client(options, alpn)


def server_context(options: ServerTLSOptions, alpn: tuple[str, ...] = ()) -> PyOpenSSLServer:
    """TLS as a server; the same object for equal arguments. C{alpn}: protocols to accept, best first; a client that offers others only is
    refused (RFC 7301 section 3.2), one that offers none is served.

    @raise ConfigError: something in C{options} cannot be honoured.
    """
    return _server(options, alpn)


@lru_cache(maxsize=CACHED_CONTEXTS)
def _client(options: ClientTLSOptions, alpn: tuple[str, ...]) -> PyOpenSSLClient:
    return PyOpenSSLClient(options, alpn)


@lru_cache(maxsize=CACHED_CONTEXTS)
def _server(options: ServerTLSOptions, alpn: tuple[str, ...]) -> PyOpenSSLServer:
    return PyOpenSSLServer(options, alpn)


class _Side:
    """What both ends share; see g3.net.tls.provider."""

    context: SSL.Context
    handshake_timeout: float

    def info(self, connection: SSL.Connection) -> TLSInfo:
        server_name = connection.get_servername() or b""
        return TLSInfo(
            connection.get_protocol_version_name(),
            connection.get_cipher_name() or "",
            connection.get_alpn_proto_negotiated().decode("ascii", "replace"),
            server_name.decode("ascii", "replace"),
            bool(_lib.SSL_session_reused(connection._ssl)),
            _verify_error(connection),
        )

    def reason(self, connection: SSL.Connection, error: Exception) -> str:
        """The certificate's fault, else the alert or what OpenSSL says."""
        return reason_of(error, _verify_error(connection))

    def peer_certificate(self, connection: SSL.Connection) -> x509.Certificate | None:
        return connection.get_peer_certificate(as_cryptography=True)

    def notice(self, connection: SSL.Connection) -> None:
        """Nothing."""

    def remember(self, connection: SSL.Connection) -> None:
        """Nothing to keep; a client does."""

    def ended(self, connection: SSL.Connection) -> None:
        """Nothing was kept."""


class PyOpenSSLClient(_Side):
    """TLS as a client, with the sessions of the sites it was at."""

    def __init__(self, options: ClientTLSOptions, alpn: tuple[str, ...] = ()) -> None:
        _refuse(client_problems(options))
        self.options = options
        self.handshake_timeout = options.handshake_timeout
        self.context = _client_context(options, alpn)
        self.sessions: SessionStore | None = None
        if options.session_cache is not SessionCache.OFF:
            sites = 1 if options.session_cache is SessionCache.ONE else options.session_cache_lru_max_sites
            self.sessions = SessionStore(sites, options.session_cache_each_capacity)

        self._told: set[tuple[str, str]] = set()

    def open(self, sock: socket.socket | None, name: str, port: int = 0) -> SSL.Connection:
        most = self.options.max_fragment_size
        connection = SSL.Connection(self.context, sock) if most is None else _SmallRecords(self.context, sock, most - _OVERHEAD)
        connection.set_connect_state()
        _expect(connection, name, sni=not self.options.disable_sni)
        if self.options.use_ocsp_stapling:
            connection.request_ocsp()
        if self.sessions is not None:
            site = (name, port)
            connection.set_app_data(site)
            session = self.sessions.take(site)
            if session is not None:
                connection.set_session(session)
        return connection

    def notice(self, connection: SSL.Connection) -> None:
        """What C{insecure} lets pass is logged, once for each name and fault."""
        fault = _verify_error(connection) if self.options.insecure else ""
        if fault:
            name = (connection.get_servername() or b"").decode("ascii", "replace")
            if (name, fault) not in self._told and len(self._told) < _MOST_TOLD:
                self._told.add((name, fault))
                log.warn("tls_client is insecure: the certificate of {name} does not verify: {fault}", name=name or "a server", fault=fault)

    def remember(self, connection: SSL.Connection) -> None:
        if self.sessions is not None:
            session = connection.get_session()
            if session is not None:
                self.sessions.put(connection.get_app_data(), session)

    def ended(self, connection: SSL.Connection) -> None:
        """OpenSSL spoils the session of a connection that it thinks was cut off, as TLS 1.0 wanted it; RFC 8446 does not, and most of ours end
        with a reset once nobody needs them any more. After a fatal alert it has done so already."""
        if self.sessions is not None:
            connection.set_shutdown(SSL.SENT_SHUTDOWN)


class _SmallRecords(SSL.Connection):
    """A connection whose records carry at most C{most} bytes each. C{send} may take less than all."""

    def __init__(self, context: SSL.Context, sock: socket.socket | None, most: int) -> None:
        super().__init__(context, sock)
        self._most = most

    def send(self, buf: Any, flags: int = 0) -> int:
        view, sent = memoryview(buf), 0
        try:
            while sent < len(view):
                sent += super().send(view[sent : sent + self._most], flags)
        except SSL.WantWriteError:
            if not sent:
                raise
        return sent


class PyOpenSSLServer(_Side):
    """TLS as a server."""

    def __init__(self, options: ServerTLSOptions, alpn: tuple[str, ...] = (), pairs: tuple[CertificatePair, ...] = ()) -> None:
        _refuse(server_problems(options))
        self.options = options
        self.handshake_timeout = options.handshake_timeout
        self._by_name = Choice(options.cert_pairs, lambda some: PyOpenSSLServer(options, alpn, some))
        self.context = _server_context(options, alpn, pairs or self._by_name.default)

    def by_name(self, name: str) -> PyOpenSSLServer | None:
        """Whose certificates fit the name a client asks for; None: ours."""
        return self._by_name.of(name) if self._by_name.needed else None

    def open(self, sock: socket.socket | None) -> SSL.Connection:
        connection = SSL.Connection(self.context, sock)
        connection.set_accept_state()
        connection.set_app_data(self)
        return connection


def _refuse(problems: list[str]) -> None:
    if problems:
        raise ConfigError(problems)


def _new_context(method: int) -> SSL.Context:
    context = SSL.Context(method)
    # Idle connections give their 35 KiB of buffers back.
    context.set_mode(SSL.MODE_RELEASE_BUFFERS)
    context.clear_mode(_PARTIAL_WRITE)
    context.set_options(SSL.OP_NO_COMPRESSION | SSL.OP_NO_RENEGOTIATION)
    return context


def _client_context(options: ClientTLSOptions, alpn: tuple[str, ...]) -> SSL.Context:
    context = _new_context(SSL.TLS_CLIENT_METHOD)
    _limit_versions(context, options.protocol or options.min_tls_version, options.protocol or options.max_tls_version)
    if options.ciphers:
        _set_ciphers(context, options.ciphers, tls13=options.protocol is TLSProtocol.TLS1_3)
    elif options.protocol in (TLSProtocol.TLS1_0, TLSProtocol.TLS1_1):
        # OpenSSL 3 speaks these only at its lowest security level, and the operator asked for one by name.
        _set_ciphers(context, ("DEFAULT", "@SECLEVEL=0"), tls13=False)
    if options.supported_groups:
        _set_groups(context, options.supported_groups)
    if options.cert_pair is not None:
        _use_pairs(context, (options.cert_pair,))
    if not options.no_default_ca_certificate:
        if options.use_builtin_ca_certificate:
            context.load_verify_locations(_mozillas())
        else:
            context.set_default_verify_paths()
    _trust(context, options.ca_certificate)
    context.set_verify(SSL.VERIFY_NONE if options.insecure else SSL.VERIFY_PEER)
    context.set_session_cache_mode(SSL.SESS_CACHE_OFF)
    if options.use_ocsp_stapling:
        context.set_ocsp_client_callback(_not_revoked)
    if alpn:
        context.set_alpn_protos([word.encode("ascii") for word in alpn])
    return context


def _server_context(options: ServerTLSOptions, alpn: tuple[str, ...], pairs: tuple[CertificatePair, ...]) -> SSL.Context:
    context = _new_context(SSL.TLS_SERVER_METHOD)
    _limit_versions(context, options.min_tls_version or TLSVersion.TLS1_2, options.max_tls_version)
    old, new = server_ciphers(options)
    _set_ciphers(context, (old,), tls13=False)
    if new:
        _set_ciphers(context, (new,), tls13=True)
    if options.supported_groups:
        _set_groups(context, options.supported_groups)
    _use_pairs(context, pairs)
    context.set_session_cache_mode(SSL.SESS_CACHE_OFF if options.no_session_cache else SSL.SESS_CACHE_SERVER)
    if options.no_session_ticket:
        context.set_options(SSL.OP_NO_TICKET)
    authorities: list[bytes] = []
    if options.enable_client_auth:
        authorities = _ask_client_certificate(context, options)
    # Without one OpenSSL refuses every resumption with a client certificate; and it keeps sessions from crossing configurations.
    context.set_session_id(session_id_context(options, authorities))
    staple = staple_for(options, pairs)
    if staple:
        context.set_ocsp_server_callback(lambda _connection, _data: staple)
    if alpn:
        context.set_alpn_select_callback(_alpn_chooser(alpn))
    context.set_tlsext_servername_callback(_choose_by_name)
    return context


def _ask_client_certificate(context: SSL.Context, options: ServerTLSOptions) -> list[bytes]:
    """Require a certificate of the clients; returns the authorities they may have it from, in DER."""
    context.set_verify(SSL.VERIFY_PEER | SSL.VERIFY_FAIL_IF_NO_PEER_CERT)
    if not options.ca_certificate:
        context.set_default_verify_paths()
        return []
    authorities = _trust(context, options.ca_certificate)
    for authority in authorities:
        context.add_client_ca(authority)
    return [authority.public_bytes(Encoding.DER) for authority in authorities]


def _limit_versions(context: SSL.Context, least: TLSVersion | TLSProtocol | None, most: TLSVersion | TLSProtocol | None) -> None:
    try:
        if least is not None:
            context.set_min_proto_version(_VERSIONS[least])
        if most is not None:
            context.set_max_proto_version(_VERSIONS[most])
    except SSL.Error as error:
        raise ConfigError(f"protocol: this TLS library does not speak it ({_words(error)})") from error


def _set_ciphers(context: SSL.Context, ciphers: Sequence[str], *, tls13: bool) -> None:
    text = ":".join(ciphers).encode()
    try:
        if tls13:
            context.set_tls13_ciphersuites(text)
        else:
            context.set_cipher_list(text)
    except SSL.Error as error:
        raise ConfigError(f"ciphers: {_words(error)}: {':'.join(ciphers)}") from error


def _set_groups(context: SSL.Context, groups: str) -> None:
    if _lib.SSL_CTX_set1_curves_list(context._context, groups.encode()) != 1:
        _lib.ERR_clear_error()
        raise ConfigError(f"supported_groups: not a list of groups this TLS library knows: {groups}")


def _use_pairs(context: SSL.Context, pairs: tuple[CertificatePair, ...]) -> None:
    """Load certificates and keys; of several the one that fits the client's algorithms is used."""
    for pair in pairs:
        try:
            if len(pairs) == 1:
                leaf, *chain = x509.load_pem_x509_certificates(pair.certificate.data)
                context.use_certificate(leaf)
                for certificate in chain:
                    context.add_extra_chain_cert(certificate)
            else:
                _use_chain(context, pair.certificate.data)
            key: Any = load_pem_private_key(pair.private_key.data, None)
            context.use_privatekey(key)
            context.check_privatekey()
        except (SSL.Error, ValueError, TypeError) as error:
            where = pair.certificate.path or "the certificate"
            raise ConfigError(f"certificate: cannot use {where}: {_words(error)}") from error


def _use_chain(context: SSL.Context, pem: bytes) -> None:
    """The chain of one certificate among several; only reading it from a file ties it to that certificate."""
    number = os.memfd_create("chain")
    try:
        os.write(number, pem)
        context.use_certificate_chain_file(f"/proc/self/fd/{number}")
    finally:
        os.close(number)


def _trust(context: SSL.Context, pems: tuple[PEM, ...]) -> list[x509.Certificate]:
    """Trust every certificate in C{pems}."""
    store, authorities = context.get_cert_store(), authorities_in(pems)
    for found in authorities:
        if store is not None:
            store.add_cert(X509.from_cryptography(found))
    return authorities


def _mozillas() -> str:
    """The file of the package certifi with the authorities that Mozilla trusts."""
    from certifi import where

    return where()


def _words(error: Exception) -> str:
    if isinstance(error, SSL.Error) and error.args and error.args[0]:
        return ", ".join(str(entry[-1]) for entry in error.args[0])
    return str(error)


# -- per connection


def _expect(connection: SSL.Connection, name: str, *, sni: bool) -> None:
    """Verify the peer's certificate for C{name} within the handshake, and ask for it by SNI unless it is an address (RFC 6066 section 3)."""
    parameters = _lib.SSL_get0_param(connection._ssl)
    address = parse_ip(name)
    if address is not None:
        packed = address.packed
        _lib.X509_VERIFY_PARAM_set1_ip(parameters, packed, len(packed))
        return
    host = name.rstrip(".").encode("ascii")
    _lib.X509_VERIFY_PARAM_set_hostflags(parameters, _NO_PARTIAL_WILDCARDS)
    _lib.X509_VERIFY_PARAM_set1_host(parameters, host, len(host))
    if sni and host:
        connection.set_tlsext_host_name(host)


def _verify_error(connection: SSL.Connection) -> str:
    number = _lib.SSL_get_verify_result(connection._ssl)
    if number == _X509_V_OK:
        return ""
    return bytes(_ffi.string(_lib.X509_verify_cert_error_string(number))).decode("ascii", "replace")


def _alpn_chooser(ours: tuple[str, ...]) -> Callable[[SSL.Connection, list[bytes]], bytes]:
    words = tuple(word.encode("ascii") for word in ours)

    def choose(_connection: SSL.Connection, offered: list[bytes]) -> bytes:
        for word in words:
            if word in offered:
                return word
        raise _NoALPNOverlap(_NoALPNOverlap.__doc__)

    return choose


def _choose_by_name(connection: SSL.Connection) -> None:
    """The client said whom it wants: take the certificate for the name."""
    side = connection.get_app_data().by_name((connection.get_servername() or b"").decode("ascii", "replace"))
    if side is not None:
        connection.set_context(side.context)


def _not_revoked(_connection: SSL.Connection, staple: bytes, _data: object) -> bool:
    """Whether a stapled answer lets the connection go on. It is asked for, not required (as upstream); one that says revoked is heeded
    without its signature being checked: who forges it could have broken the connection anyway."""
    if not staple:
        return True
    try:
        response = ocsp.load_der_ocsp_response(staple)
        if response.response_status is not ocsp.OCSPResponseStatus.SUCCESSFUL:
            return True
        return all(single.certificate_status is not ocsp.OCSPCertStatus.REVOKED for single in response.responses)
    except ValueError:
        return True


class SessionStore:
    """Client sessions by site, at most C{each} for each of the C{sites} used last.

    A session is given out once (RFC 8446 appendix C.4: reuse lets an observer link connections); the resumed connection brings a new one.
    """

    __slots__ = ("_each", "_kept", "_sites")

    def __init__(self, sites: int, each: int) -> None:
        self._sites = max(1, sites)
        self._each = max(1, each)
        self._kept: OrderedDict[tuple[str, int], deque[SSL.Session]] = OrderedDict()

    def __len__(self) -> int:
        return sum(map(len, self._kept.values()))

    def take(self, site: tuple[str, int]) -> SSL.Session | None:
        """The newest session of C{site}, or None."""
        kept = self._kept.get(site)
        if not kept:
            return None
        self._kept.move_to_end(site)
        return kept.pop()

    def put(self, site: tuple[str, int], session: SSL.Session) -> None:
        """Keep a session; the oldest of the site, then of the site unused for longest, goes."""
        kept = self._kept.get(site)
        if kept is None:
            kept = self._kept[site] = deque(maxlen=self._each)
            if len(self._kept) > self._sites:
                self._kept.popitem(last=False)
        self._kept.move_to_end(site)
        kept.append(session)
