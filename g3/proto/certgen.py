# SPDX-License-Identifier: Apache-2.0
"""The protocol of the certificate generator: one MessagePack object in each datagram, request and reply (upstream: protocol/helper/cert_generator).

The usage has key 4 in a request and key 6 in a reply. A request that cannot be met gets no reply at all.
"""

from __future__ import annotations

from enum import IntEnum
from typing import Any, Final, NamedTuple

from g3.proto.packed import PackedError, Pairs, decode, encode, fields, number, text

#: The largest request that is read, and where a reply stops being one.
MAX_REQUEST: Final = 16384
MAX_REPLY: Final = 65535
#: Bytes of a host; a DNS name has 253, a textual address less.
MAX_HOST: Final = 255
#: Certificates of a reply.
MAX_CHAIN: Final = 16

HOST, SERVICE, CERT, USAGE = 1, 2, 3, 4
KEY, TTL, REPLY_USAGE = 4, 5, 6

_REQUEST_NAMES: Final = {"host": HOST, "service": SERVICE, "cert": CERT, "usage": USAGE}
_REPLY_NAMES: Final = {"host": HOST, "service": SERVICE, "cert": CERT, "key": KEY, "ttl": TTL, "usage": REPLY_USAGE}


class Service(IntEnum):
    """What is spoken inside TLS."""

    HTTP = 0
    SMTP = 1
    IMAP = 2


class Usage(IntEnum):
    """Who will use the certificate."""

    TLS_SERVER = 0
    TLS_SERVER_TONGSUO = 1
    TLCP_SERVER_SIGNATURE = 11
    TLCP_SERVER_ENCRYPTION = 12


_SERVICES: Final = {service.name.lower(): service for service in Service}
_USAGES: Final = {
    **{usage.name.lower(): usage for usage in Usage},
    "tlcp_server_sign": Usage.TLCP_SERVER_SIGNATURE,
    "tlcp_server_enc": Usage.TLCP_SERVER_ENCRYPTION,
}


class CertificateKey(NamedTuple):
    """What a certificate is cached by, and a reply belongs to a request by."""

    service: Service
    usage: Usage
    host: str


class CertificateRequest(NamedTuple):
    """C{mimic} is the certificate to be like: PEM as str, DER as bytes, or None for a made-up one."""

    key: CertificateKey
    mimic: str | bytes | None = None


class CertificateReply(NamedTuple):
    """C{chain} is PEM, the leaf first. C{private_key} is PEM as str or DER as bytes. C{ttl} is seconds, None where it was not said."""

    key: CertificateKey
    chain: str
    private_key: str | bytes
    ttl: int | None


def encode_request(request: CertificateRequest) -> bytes:
    """A request as g3proxy sends it."""
    service, usage, host = request.key
    message: dict[int, Any] = {HOST: host, SERVICE: int(service), USAGE: int(usage)}
    if request.mimic is not None:
        message[CERT] = request.mimic
    return encode(message)


def decode_request(data: bytes) -> CertificateRequest:
    """A request; a bare string is one for that host. Raises PackedError."""
    message = decode(data)
    if not isinstance(message, Pairs):
        return CertificateRequest(CertificateKey(Service.HTTP, Usage.TLS_SERVER, _host(message)))
    found = fields(message, _REQUEST_NAMES, strict=True)
    mimic = found.get(CERT)
    if CERT in found and not isinstance(mimic, (str, bytes)):
        raise PackedError("the certificate is neither PEM text nor DER bytes")
    if isinstance(mimic, str):
        mimic = text(mimic, "the certificate")
    key = CertificateKey(_service(found.get(SERVICE, 0)), _usage(found.get(USAGE, 0)), _host(found.get(HOST, "")))
    return CertificateRequest(key, mimic)


def encode_reply(reply: CertificateReply) -> bytes:
    """A reply, its keys in upstream's order."""
    service, usage, host = reply.key
    message: dict[int, Any] = {HOST: host, SERVICE: int(service), REPLY_USAGE: int(usage), CERT: reply.chain, KEY: reply.private_key}
    if reply.ttl is not None:
        message[TTL] = reply.ttl
    return encode(message)


def decode_reply(data: bytes) -> CertificateReply:
    """A reply; keys that are not known are ignored. Raises PackedError, also when certificate or key is missing."""
    message = decode(data)
    if not isinstance(message, Pairs):
        raise PackedError("a reply must be a map")
    found = fields(message, _REPLY_NAMES, strict=False)
    if CERT not in found or KEY not in found:
        raise PackedError("a reply must have a certificate and its key")
    private_key = found[KEY]
    if not isinstance(private_key, (str, bytes)):
        raise PackedError("the key is neither PEM text nor DER bytes")
    host = text(found.get(HOST, ""), "the host")
    key = CertificateKey(_service(found.get(SERVICE, 0)), _usage(found.get(REPLY_USAGE, 0)), host)
    ttl = number(found[TTL], "the ttl") if TTL in found else None
    return CertificateReply(key, _chain(found[CERT]), private_key if isinstance(private_key, bytes) else text(private_key, "the key"), ttl)


def _chain(value: Any) -> str:
    """PEM text or bytes, or a list of them."""
    parts = value if isinstance(value, tuple) else (value,)
    if not 0 < len(parts) <= MAX_CHAIN or not all(isinstance(part, (str, bytes)) for part in parts):
        raise PackedError("the certificate is no PEM text")
    return "\n".join(text(part, "the certificate") for part in parts)


def _host(value: Any) -> str:
    host = text(value, "the host")
    if not host or len(host) > MAX_HOST:
        raise PackedError("there is no host" if not host else "the host is too long")
    return host


def _service(value: Any) -> Service:
    if isinstance(value, (str, bytes)):
        found = _SERVICES.get(_word(value, "the service"))
        if found is None:
            raise PackedError("unknown service")
        return found
    try:
        return Service(number(value, "the service"))
    except ValueError:
        raise PackedError("unknown service") from None


def _usage(value: Any) -> Usage:
    if isinstance(value, (str, bytes)):
        found = _USAGES.get(_word(value, "the usage"))
        if found is None:
            raise PackedError("unknown usage")
        return found
    try:
        return Usage(number(value, "the usage"))
    except ValueError:
        raise PackedError("unknown usage") from None


def _word(value: str | bytes, what: str) -> str:
    return text(value, what).lower().replace("-", "_")
