# SPDX-License-Identifier: Apache-2.0
"""The C{libssl} provider of TLS servers: the host's OpenSSL, for what pyOpenSSL does not offer, the keys of session tickets.

What it does is what g3.net.tls.context does for the same options.
"""

from __future__ import annotations

import os
from functools import cache, lru_cache
from typing import TYPE_CHECKING, Any, Final

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from g3.errors import ConfigError
from g3.net.libssl.connection import LibsslConnection, live
from g3.net.libssl.keys import load_private_key
from g3.net.libssl.library import LibraryError, library
from g3.net.tls.check import server_problems
from g3.net.tls.errors import reason_of
from g3.net.tls.options import TLSVersion
from g3.net.tls.policy import Choice, authorities_in, load_chain, server_ciphers, session_id_context, staple_for
from g3.net.tls.provider import TLSInfo
from g3.net.tls.tickets import NAME

if TYPE_CHECKING:
    import socket
    from collections.abc import Callable

    from g3.net.libssl.library import Library
    from g3.net.tls.options import CertificatePair, ServerTLSOptions
    from g3.net.tls.tickets import TicketKey, TicketKeys

#: Contexts kept for equal options.
CACHED_CONTEXTS: Final = 128

_VERSIONS: Final = {TLSVersion.TLS1_0: 0x301, TLSVersion.TLS1_1: 0x302, TLSVersion.TLS1_2: 0x303, TLSVersion.TLS1_3: 0x304}
_MODE, _SESSION_CACHE, _CHAIN_CERT, _GROUPS, _MIN, _MAX = 33, 44, 89, 92, 123, 124
_STATUS_CALLBACK, _STATUS_RESPONSE, _NAME_CALLBACK = 63, 71, 53
_MOVING_BUFFERS_AND_RELEASE: Final = 0x2 | 0x10
_OP_NO_TICKET: Final = 1 << 14
_OP_NO_COMPRESSION, _OP_NO_RENEGOTIATION = 1 << 17, 1 << 30
_VERIFY_PEER, _VERIFY_FAIL_WITHOUT = 1, 2
_UTF8, _OCTETS = 4, 5
_FATAL, _OK, _NOACK = 2, 0, 3
#: Answers about a ticket: nobody knows its key, so a full handshake; it is good, and replaced.
_UNKNOWN, _RENEW = 0, 2
_IV: Final = 16
_MAC_KEY, _MAC_DIGEST = b"key\0", b"digest\0"


def libssl_server(options: ServerTLSOptions, alpn: tuple[str, ...], tickets: TicketKeys | None) -> LibsslServer:
    """TLS as a server whose tickets have the keys C{tickets}; the same object for equal arguments.

    @raise ConfigError: something in C{options} cannot be honoured, or there is no OpenSSL 3 on this host.
    """
    keys: Any = tickets
    return _server(options, alpn, keys)


@lru_cache(maxsize=CACHED_CONTEXTS)
def _server(options: ServerTLSOptions, alpn: tuple[str, ...], tickets: Any) -> LibsslServer:
    return LibsslServer(options, alpn, tickets)


class LibsslServer:
    """TLS as a server (g3.net.tls.provider.ServerTLS)."""

    def __init__(self, options: ServerTLSOptions, alpn: tuple[str, ...], tickets: TicketKeys | None, pairs: tuple[CertificatePair, ...] = ()) -> None:
        problems = server_problems(options)
        if problems:
            raise ConfigError(problems)
        self.options = options
        self.handshake_timeout = options.handshake_timeout
        self.tickets = tickets
        self.alpn = tuple(word.encode("ascii") for word in alpn)
        self._lib = library()
        self._by_name = Choice(options.cert_pairs, lambda some: LibsslServer(options, alpn, tickets, some))
        pairs = pairs or self._by_name.default
        self.staple = staple_for(options, pairs)
        self.context = _context(self._lib, self, pairs)

    def open(self, sock: socket.socket | None) -> LibsslConnection:
        """ServerTLS."""
        return LibsslConnection(self._lib, self.context, self, sock)

    def by_name(self, name: str) -> LibsslServer | None:
        """Whose certificates fit the name a client asks for; None: ours."""
        return self._by_name.of(name) if self._by_name.needed else None

    def info(self, connection: LibsslConnection) -> TLSInfo:
        """Side."""
        lib, tls, ssl = self._lib, self._lib.tls, connection.handle
        out, length = lib.ffi.new("const unsigned char **"), lib.ffi.new("unsigned int *")
        tls.SSL_get0_alpn_selected(ssl, out, length)
        alpn = bytes(lib.ffi.buffer(out[0], length[0])) if length[0] else b""
        return TLSInfo(
            lib.text(tls.SSL_get_version(ssl)),
            lib.text(tls.SSL_CIPHER_get_name(tls.SSL_get_current_cipher(ssl))),
            alpn.decode("ascii", "replace"),
            lib.text(tls.SSL_get_servername(ssl, 0)),
            bool(tls.SSL_session_reused(ssl)),
            self._verify_error(connection),
        )

    def _verify_error(self, connection: LibsslConnection) -> str:
        number = self._lib.tls.SSL_get_verify_result(connection.handle)
        return self._lib.text(self._lib.crypto.X509_verify_cert_error_string(number)) if number else ""

    def reason(self, connection: LibsslConnection, error: Exception) -> str:
        """Side."""
        return reason_of(error, self._verify_error(connection))

    def peer_certificate(self, connection: LibsslConnection) -> x509.Certificate | None:
        """Side."""
        lib = self._lib
        handle = lib.tls.SSL_get1_peer_certificate(connection.handle)
        if handle == lib.ffi.NULL:
            return None
        try:
            size = lib.crypto.i2d_X509(handle, lib.ffi.NULL)
            buffer = lib.ffi.new("unsigned char[]", size)
            lib.crypto.i2d_X509(handle, lib.ffi.new("unsigned char **", buffer))
            return x509.load_der_x509_certificate(bytes(lib.ffi.buffer(buffer, size)))
        finally:
            lib.crypto.X509_free(handle)

    def notice(self, connection: LibsslConnection) -> None:
        """Side: nothing."""

    def ended(self, connection: LibsslConnection) -> None:
        """Nothing was kept."""

    def remember(self, connection: LibsslConnection) -> None:
        """Side: nothing to keep; a client does."""


# -- contexts


def _context(lib: Library, server: LibsslServer, pairs: tuple[CertificatePair, ...]) -> Any:
    tls, null, options = lib.tls, lib.ffi.NULL, server.options
    context = lib.ffi.gc(tls.SSL_CTX_new(tls.TLS_server_method()), tls.SSL_CTX_free)
    tls.SSL_CTX_ctrl(context, _MODE, _MOVING_BUFFERS_AND_RELEASE, null)
    tls.SSL_CTX_set_options(context, _OP_NO_COMPRESSION | _OP_NO_RENEGOTIATION | (_OP_NO_TICKET if options.no_session_ticket else 0))
    tls.SSL_CTX_ctrl(context, _MIN, _VERSIONS[options.min_tls_version or TLSVersion.TLS1_2], null)
    if options.max_tls_version is not None:
        tls.SSL_CTX_ctrl(context, _MAX, _VERSIONS[options.max_tls_version], null)
    _set_ciphers(lib, context, options)
    if options.supported_groups and tls.SSL_CTX_ctrl(context, _GROUPS, 0, lib.ffi.from_buffer(options.supported_groups.encode() + b"\0")) != 1:
        lib.crypto.ERR_clear_error()
        raise ConfigError(f"supported_groups: not a list of groups that {lib.version} knows: {options.supported_groups}")
    for pair in pairs:
        _use_pair(lib, context, pair)
    tls.SSL_CTX_ctrl(context, _SESSION_CACHE, 0 if options.no_session_cache else 2, null)
    authorities = _ask_client_certificate(lib, context, options) if options.enable_client_auth else []
    identity = session_id_context(options, authorities)
    tls.SSL_CTX_set_session_id_context(context, identity, len(identity))
    _set_callbacks(lib, context, server)
    return context


def _set_ciphers(lib: Library, context: Any, options: ServerTLSOptions) -> None:
    old, new = server_ciphers(options)
    good = lib.tls.SSL_CTX_set_cipher_list(context, old.encode()) == 1
    if good and new:
        good = lib.tls.SSL_CTX_set_ciphersuites(context, new.encode()) == 1
    if not good:
        lib.crypto.ERR_clear_error()
        raise ConfigError(f"ciphers: not what {lib.version} knows: {':'.join(options.ciphers)}")


def _certificate(lib: Library, found: x509.Certificate) -> Any:
    der = found.public_bytes(Encoding.DER)
    position = lib.ffi.new("const unsigned char **", buffer := lib.ffi.new("unsigned char[]", der))
    handle = lib.crypto.d2i_X509(lib.ffi.NULL, position, len(der))
    del buffer
    if handle == lib.ffi.NULL:
        raise lib.error("a certificate")
    return lib.ffi.gc(handle, lib.crypto.X509_free)


def _use_pair(lib: Library, context: Any, pair: CertificatePair) -> None:
    """Our certificate for one kind of key, with its chain."""
    tls = lib.tls
    try:
        leaf, *chain = load_chain(pair)
        key = load_private_key(pair.private_key.data)
        if tls.SSL_CTX_use_certificate(context, _certificate(lib, leaf)) != 1:
            raise lib.error("the certificate")
        for each in chain:
            # OpenSSL counts one more user of it.
            tls.SSL_CTX_ctrl(context, _CHAIN_CERT, 1, _certificate(lib, each))
        if tls.SSL_CTX_use_PrivateKey(context, key.handle) != 1 or tls.SSL_CTX_check_private_key(context) != 1:
            raise lib.error("the private key")
    except (LibraryError, ValueError) as error:
        raise ConfigError(f"certificate: cannot use {pair.certificate.path or 'the certificate'}: {error}") from error


def _ask_client_certificate(lib: Library, context: Any, options: ServerTLSOptions) -> list[bytes]:
    """Require a certificate of the clients; returns the authorities they may have it from, in DER."""
    tls = lib.tls
    tls.SSL_CTX_set_verify(context, _VERIFY_PEER | _VERIFY_FAIL_WITHOUT, lib.ffi.NULL)
    if not options.ca_certificate:
        tls.SSL_CTX_set_default_verify_paths(context)
        return []
    store = tls.SSL_CTX_get_cert_store(context)
    authorities = authorities_in(options.ca_certificate)
    for found in authorities:
        handle = _certificate(lib, found)
        lib.crypto.X509_STORE_add_cert(store, handle)
        tls.SSL_CTX_add_client_CA(context, handle)
    return [found.public_bytes(Encoding.DER) for found in authorities]


# -- callbacks: of the whole library, each finds its connection in L{live}


def _set_callbacks(lib: Library, context: Any, server: LibsslServer) -> None:
    ffi, tls, calls = lib.ffi, lib.tls, _callbacks()
    tls.SSL_CTX_callback_ctrl(context, _NAME_CALLBACK, ffi.cast("void (*)(void)", calls.named))
    if server.alpn:
        tls.SSL_CTX_set_alpn_select_cb(context, calls.alpn, ffi.NULL)
    if server.tickets is not None:
        tls.SSL_CTX_set_tlsext_ticket_key_evp_cb(context, calls.ticket)
    if server.staple:
        tls.SSL_CTX_callback_ctrl(context, _STATUS_CALLBACK, ffi.cast("void (*)(void)", calls.status))


@cache
def _callbacks() -> _Callbacks:
    return _Callbacks(library())


class _Callbacks:
    """What OpenSSL calls. A Python exception in one is a refusal, which the call that led there raises."""

    def __init__(self, lib: Library) -> None:
        self._lib = lib
        self._ffi = lib.ffi
        self.named = self._call("int (*)(SSL *, int *, void *)", self._named, _FATAL)
        self.alpn = self._call("alpn_select", self._select_alpn, _FATAL)
        self.ticket = self._call("ticket_key", self._ticket, -1)
        self.status = self._call("int (*)(SSL *, void *)", self._status, _NOACK)

    def _call(self, kind: str, function: Callable[..., int], refusal: int) -> Any:
        address, pointer = self._ffi.cast, self._ffi.typeof("uintptr_t")

        def call(ssl: Any, *arguments: Any) -> int:
            connection = live[int(address(pointer, ssl))]
            try:
                return function(connection, *arguments)
            except Exception as error:
                connection.problem = error
                return refusal

        return self._ffi.callback(kind, call, error=refusal)

    def _named(self, connection: LibsslConnection, _alert: Any, _argument: Any) -> int:
        tls, ssl = self._lib.tls, connection.handle
        side = connection.side.by_name(self._lib.text(tls.SSL_get_servername(ssl, 0)))
        if side is not None:
            connection.side = side
            tls.SSL_set_SSL_CTX(ssl, side.context)
        # The answer that makes OpenSSL keep the name with the session.
        return _OK

    def _select_alpn(self, connection: LibsslConnection, out: Any, length: Any, offered: Any, size: int, _argument: Any) -> int:
        words = bytes(self._ffi.buffer(offered, size))
        at = _find_protocol(words, connection.side.alpn)
        if at is None:
            return _FATAL
        out[0] = offered + at + 1
        length[0] = words[at]
        return _OK

    def _ticket(self, connection: LibsslConnection, name: Any, iv: Any, cipher: Any, mac: Any, encrypt: int) -> int:
        tickets = connection.side.tickets
        if encrypt:
            key = tickets.current()
            self._ffi.memmove(name, key.name, len(key.name))
            self._ffi.memmove(iv, os.urandom(_IV), _IV)
            return self._begin(self._lib.crypto.EVP_EncryptInit_ex, key, iv, cipher, mac)
        key = tickets.find(bytes(self._ffi.buffer(name, NAME)))
        if key is None:
            return _UNKNOWN
        # One that was used is replaced, as TLS 1.3 wants it (RFC 8446 appendix C.4) and as upstream.
        return self._begin(self._lib.crypto.EVP_DecryptInit_ex, key, iv, cipher, mac) and _RENEW

    def _begin(self, initialise: Any, key: TicketKey, iv: Any, cipher: Any, mac: Any) -> int:
        ffi, crypto = self._ffi, self._lib.crypto
        secret, digest = ffi.from_buffer(key.hmac), ffi.from_buffer(b"SHA256\0")
        parameters = ffi.new("OSSL_PARAM[3]")
        for parameter, (word, kind, data, size) in zip(
            parameters, ((_MAC_KEY, _OCTETS, secret, len(key.hmac)), (_MAC_DIGEST, _UTF8, digest, 6)), strict=False
        ):
            parameter.key, parameter.data_type, parameter.data, parameter.data_size = ffi.from_buffer("char[]", word), kind, data, size
        if crypto.EVP_MAC_CTX_set_params(mac, parameters) != 1 or initialise(cipher, crypto.EVP_aes_256_cbc(), ffi.NULL, key.aes, iv) != 1:
            raise self._lib.error("session ticket")
        return 1

    def _status(self, connection: LibsslConnection, _argument: Any) -> int:
        staple = connection.side.staple
        if not staple:
            return _NOACK
        # OpenSSL frees it.
        copy = self._lib.crypto.CRYPTO_malloc(len(staple), b"", 0)
        self._ffi.memmove(copy, staple, len(staple))
        self._lib.tls.SSL_ctrl(connection.handle, _STATUS_RESPONSE, len(staple), copy)
        return _OK


def _find_protocol(offered: bytes, ours: tuple[bytes, ...]) -> int | None:
    """Where in a list of length-prefixed words the first of ours stands that is there."""
    places: dict[bytes, int] = {}
    at = 0
    while at < len(offered):
        end = at + 1 + offered[at]
        places.setdefault(offered[at + 1 : end], at)
        at = end
    return next((places[word] for word in ours if word in places), None)
