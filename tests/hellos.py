# SPDX-License-Identifier: Apache-2.0
"""Client hellos: OpenSSL's own, through the standard library, and ones built byte by byte; and what an OpenSSL server reads in one."""

from __future__ import annotations

import ssl
from functools import cache

from g3.proto.tls.clienthello import CLIENT_HELLO, HANDSHAKE, SERVER_NAME
from tests.functional.certificates import Authority


def openssl_hello(name: str | None = "example.net", alpn: tuple[str, ...] = (), *, maximum: ssl.TLSVersion | None = None) -> bytes:
    """The first flight of an OpenSSL client."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    if maximum is not None:
        context.minimum_version, context.maximum_version = ssl.TLSVersion.TLSv1, maximum
        context.set_ciphers("ALL:@SECLEVEL=0")
    if alpn:
        context.set_alpn_protocols(list(alpn))
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    tls = context.wrap_bio(incoming, outgoing, server_hostname=name)
    try:
        tls.do_handshake()
    except ssl.SSLWantReadError:
        pass
    return outgoing.read()


@cache
def _server() -> tuple[ssl.SSLContext, list[str]]:
    """A server, and the names that clients asked it for."""
    import tempfile
    from pathlib import Path

    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    with tempfile.TemporaryDirectory() as place:
        certificate, key = Path(place, "c.pem"), Path(place, "k.pem")
        Authority().write(certificate, key, "example.net")
        context.load_cert_chain(certificate, key)
    names: list[str] = []
    context.sni_callback = lambda _tls, name, _context: names.append(name or "")  # type: ignore[assignment,func-returns-value]
    return context, names


def openssl_reads(data: bytes) -> str | None:
    """The name an OpenSSL server sees in a first flight, "" for none; None when it answers with an alert or waits for more."""
    context, names = _server()
    names.clear()
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    incoming.write(data)
    tls = context.wrap_bio(incoming, outgoing, server_side=True)
    try:
        tls.do_handshake()
    except ssl.SSLWantReadError:
        pass
    except ssl.SSLError:
        return None
    return names[0] if names and outgoing.read() else None


def record(content: bytes, *, kind: int = HANDSHAKE, version: bytes = b"\x03\x01") -> bytes:
    """One TLS record."""
    return bytes([kind]) + version + len(content).to_bytes(2, "big") + content


def split_records(hello: bytes, *sizes: int) -> bytes:
    """The same hello in records of these sizes, the last size again and again."""
    message = b""
    while hello:
        end = 5 + int.from_bytes(hello[3:5], "big")
        message, hello = message + hello[5:end], hello[end:]
    parts = []
    at = 0
    for size in sizes:
        parts.append(record(message[at : at + size]))
        at += size
    while at < len(message):
        parts.append(record(message[at : at + sizes[-1]]))
        at += sizes[-1]
    return b"".join(part for part in parts if len(part) > 5)


def hello_with(*extensions: tuple[int, bytes], version: int = 0x0303, session_id: bytes = b"", padding: int = 0) -> bytes:
    """A hello of our own in one record (or as many as it takes), with these extensions and a padding one of so many bytes."""
    block = b"".join(kind.to_bytes(2, "big") + len(data).to_bytes(2, "big") + data for kind, data in extensions)
    if padding:
        block += b"\0\x15" + padding.to_bytes(2, "big") + bytes(padding)
    body = version.to_bytes(2, "big") + bytes(range(32)) + bytes([len(session_id)]) + session_id + b"\0\x02\x13\x01\x01\0"
    body += len(block).to_bytes(2, "big") + block
    message = bytes([CLIENT_HELLO]) + len(body).to_bytes(3, "big") + body
    return b"".join(record(message[at : at + 16384]) for at in range(0, len(message), 16384))


def server_name(*names: bytes, kind: int = 0) -> tuple[int, bytes]:
    """A server_name extension with these names."""
    listed = b"".join(bytes([kind]) + len(name).to_bytes(2, "big") + name for name in names)
    return SERVER_NAME, len(listed).to_bytes(2, "big") + listed
