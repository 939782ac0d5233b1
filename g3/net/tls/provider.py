# SPDX-License-Identifier: Apache-2.0
"""What a TLS library must offer to carry our streams.

The streams talk to the library's connection object itself, since a layer between costs a call per read and write. So the interface is the
shape of pyOpenSSL's C{Connection}, with its exceptions (C{WantReadError}, C{WantWriteError}, C{ZeroReturnError}, C{SysCallError},
C{Error}); another provider raises these same classes.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    import socket

    from cryptography.x509 import Certificate


@dataclass(frozen=True, slots=True)
class TLSInfo:
    """What a handshake agreed on. C{version} as OpenSSL names it (C{TLSv1.3}); C{server_name} is the SNI asked for; C{verify_error} says
    what is wrong with the peer's certificate where that was not enforced, "" else."""

    version: str
    cipher: str
    alpn: str
    server_name: str
    resumed: bool
    verify_error: str = ""


class Connection(Protocol):
    """One TLS connection: on a socket, or over two memory buffers (C{bio_*})."""

    def do_handshake(self) -> None: ...
    def recv(self, bufsiz: int) -> bytes: ...
    def send(self, buf: bytes) -> int: ...
    def shutdown(self) -> bool: ...
    def pending(self) -> int: ...
    def bio_read(self, bufsiz: int) -> bytes: ...
    def bio_write(self, buf: bytes) -> int: ...


class Side(Protocol):
    """What the two ends have in common: made once per configuration, used by many connections."""

    handshake_timeout: float

    def info(self, connection: Any) -> TLSInfo:
        """What was agreed on; after the handshake."""

    def reason(self, connection: Any, error: Exception) -> str:
        """Why a handshake failed, in words."""

    def peer_certificate(self, connection: Any) -> Certificate | None:
        """The peer's own certificate."""

    def notice(self, connection: Any) -> None:
        """The handshake succeeded: log what is odd about it."""

    def remember(self, connection: Any) -> None:
        """Keep the session, for a later connection to resume. Called once application data came, since tickets come before it."""

    def ended(self, connection: Any) -> None:
        """The connection is at its end, however it came to it: what was remembered of it stays good."""


class ClientTLS(Side, Protocol):
    """TLS as a client."""

    def open(self, sock: socket.socket | None, name: str, port: int = 0) -> Any:
        """A connection in client state that asks for and verifies C{name} (a DNS name or an IP address); over memory without a socket."""


class ServerTLS(Side, Protocol):
    """TLS as a server."""

    def open(self, sock: socket.socket | None) -> Any:
        """A connection in server state; over memory without a socket."""
