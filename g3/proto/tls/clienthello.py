# SPDX-License-Identifier: Apache-2.0
"""The ClientHello: put together from records, and what it says of the server that is wanted (RFC 8446 sections 4.1.2 and 5.1, RFC 6066 section 3).

Read strictly: where a TLS library would refuse a hello, or two readers could see two names in it, so is it here.
"""

from __future__ import annotations

from typing import Final

from g3.errors import ProtocolError
from g3.proto.http1.uri import parse_host

HANDSHAKE: Final = 22
CLIENT_HELLO: Final = 1

SERVER_NAME: Final = 0
ALPN: Final = 16
SUPPORTED_VERSIONS: Final = 43

#: Bytes of a record before its content, and the most it may carry.
_HEAD: Final = 5
_MAX_RECORD: Final = 1 << 14
#: Handshake messages are as long at most as three bytes can say; a hello needs far less.
MAX_HELLO: Final = 65536
_MAX_NAME: Final = 255


class TLSError(ProtocolError):
    """What came is no ClientHello, or not one that anybody should answer."""


class ClientHello:
    """A parsed ClientHello.

    @ivar version: the legacy_version field, 0x0303 since TLS 1.2. @ivar extensions: each type with its content, in order.
    """

    __slots__ = ("cipher_suites", "compression", "extensions", "random", "session_id", "version")

    def __init__(self, body: bytes) -> None:
        """@param body: the handshake message without its head of four bytes.

        @raise TLSError: it is malformed, or names an extension twice.
        """
        if len(body) < 35:
            raise TLSError("ClientHello is cut off")
        self.version = int.from_bytes(body[:2], "big")
        self.random = body[2:34]
        self.session_id, at = _vector(body, 34, 1)
        suites, at = _vector(body, at, 2)
        self.compression, at = _vector(body, at, 1)
        if len(self.session_id) > 32 or not suites or len(suites) % 2 or not self.compression:
            raise TLSError("bad ClientHello")
        self.cipher_suites = tuple(int.from_bytes(suites[i : i + 2], "big") for i in range(0, len(suites), 2))
        self.extensions = _extensions(body, at)

    def extension(self, kind: int) -> bytes | None:
        """The content of an extension, None when there is none of that type."""
        return self.extensions.get(kind)

    @property
    def server_name(self) -> str:
        """The host name asked for: a lower-case A-label name, without a last dot. "" when there is none.

        @raise TLSError: it is none, or there are several; addresses are no names (RFC 6066 section 3).
        """
        data = self.extension(SERVER_NAME)
        return "" if data is None else parse_server_name(data)

    @property
    def alpn(self) -> tuple[bytes, ...]:
        """The application protocols offered (RFC 7301). @raise TLSError: the list is malformed."""
        data = self.extension(ALPN)
        return () if data is None else tuple(_names(data))

    @property
    def supported_versions(self) -> tuple[int, ...]:
        """The versions offered, from the extension or, without it, C{version} alone. @raise TLSError: the list is malformed."""
        data = self.extension(SUPPORTED_VERSIONS)
        if data is None:
            return (self.version,)
        versions, end = _vector(data, 0, 1)
        if end != len(data) or not versions or len(versions) % 2:
            raise TLSError("bad supported_versions")
        return tuple(int.from_bytes(versions[i : i + 2], "big") for i in range(0, len(versions), 2))


def parse_server_name(data: bytes) -> str:
    """The one host name in the content of a server_name extension.

    @raise TLSError: as L{ClientHello.server_name}.
    """
    names, end = _vector(data, 0, 2)
    if end != len(data) or len(names) < 3 or names[0] != 0:
        raise TLSError("bad server_name")
    name, end = _vector(names, 1, 2)
    if end != len(names) or not name or len(name) > _MAX_NAME or not name.isascii():
        raise TLSError("bad server_name")
    try:
        host = parse_host(name)
    except ProtocolError:
        raise TLSError("server_name is not a host name") from None
    if ":" in host or host.rpartition(".")[2].isdigit():
        raise TLSError("server_name is an address")
    return host


def _vector(data: bytes, at: int, size: int) -> tuple[bytes, int]:
    """The content of a vector whose length takes C{size} bytes, and where it ends."""
    start = at + size
    end = start + int.from_bytes(data[at:start], "big")
    if start > len(data) or end > len(data):
        raise TLSError("ClientHello is cut off")
    return data[start:end], end


def _extensions(body: bytes, at: int) -> dict[int, bytes]:
    if at == len(body):  # before TLS 1.2 there were none
        return {}
    block, end = _vector(body, at, 2)
    if end != len(body):
        raise TLSError("bytes behind the ClientHello")
    found: dict[int, bytes] = {}
    at = 0
    while at < len(block):
        kind = int.from_bytes(block[at : at + 2], "big")
        content, at = _vector(block, at + 2, 2)
        if kind in found:
            raise TLSError("an extension is there twice")
        found[kind] = content
    return found


def _names(data: bytes) -> list[bytes]:
    block, end = _vector(data, 0, 2)
    if end != len(data) or not block:
        raise TLSError("bad list of application protocols")
    names = []
    at = 0
    while at < len(block):
        name, at = _vector(block, at, 1)
        if not name:
            raise TLSError("bad list of application protocols")
        names.append(name)
    return names


class HelloReader:
    """Puts a ClientHello together, whatever records and pieces it comes in. The message is at most C{limit} bytes.

    What is no hello is refused at its first wrong byte. A byte is looked at once, so that single ones cost no more than whole records.
    """

    __slots__ = ("_head", "_limit", "_message", "_need", "_record")

    def __init__(self, limit: int = MAX_HELLO) -> None:
        self._limit = limit
        #: The head of a record as far as it is there.
        self._head = b""
        #: Bytes of the record's content that are still to come; 0 between two records.
        self._record = 0
        self._message = bytearray()
        #: Bytes of the whole message, 4 of its own head included; 0 until that is there.
        self._need = 0

    def feed(self, data: bytes) -> ClientHello | None:
        """Take bytes; the hello once it is there (do not feed any more then).

        @raise TLSError: it is none, is too long, or is followed by something else in its last record.
        """
        at = 0
        while at < len(data):
            if not self._record:
                taken = data[at : at + _HEAD - len(self._head)]
                at += len(taken)
                self._begin_record(self._head + taken)
                continue
            taken = data[at : at + self._record]
            at += len(taken)
            self._record -= len(taken)
            self._message += taken
            if self._complete():
                return ClientHello(bytes(self._message[4:]))
        return None

    def _begin_record(self, head: bytes) -> None:
        if head[0] != HANDSHAKE:
            raise TLSError("not a TLS handshake")
        if len(head) > 1 and head[1] != 3:
            raise TLSError("not a version of TLS")
        if len(head) < _HEAD:
            self._head = head
            return
        self._head = b""
        self._record = int.from_bytes(head[3:], "big")
        if not 0 < self._record <= _MAX_RECORD or head[2] > 4:
            raise TLSError("bad TLS record")

    def _complete(self) -> bool:
        message = self._message
        if message[0] != CLIENT_HELLO:
            raise TLSError("not a ClientHello")
        if not self._need:
            if len(message) < 4:
                return False
            self._need = 4 + int.from_bytes(message[1:4], "big")
            if self._need - 4 > self._limit:
                raise TLSError("ClientHello is too long")
        if len(message) + self._record > self._need:
            raise TLSError("something else in the record of a ClientHello")
        return len(message) == self._need
