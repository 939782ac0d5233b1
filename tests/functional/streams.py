# SPDX-License-Identifier: Apache-2.0
"""Upstreams for servers that pass streams on, and what clients of such servers do."""

from __future__ import annotations

import hashlib
import socket
import threading


class DigestUpstream:
    """Says hello, reads until the client ends its direction, answers with the SHA-256 of all it got, and closes."""

    def __init__(self, hello: bytes = b"", address: tuple[str, int] = ("127.0.0.1", 0)) -> None:
        self._hello = hello
        self._listener = socket.create_server(address, backlog=256)
        self.port: int = self._listener.getsockname()[1]
        self.connections = 0
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        while True:
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            self.connections += 1
            threading.Thread(target=self._serve, args=(connection,), daemon=True).start()

    def _serve(self, connection: socket.socket) -> None:
        digest = hashlib.sha256()
        try:
            with connection:
                connection.sendall(self._hello)
                while data := connection.recv(65536):
                    digest.update(data)
                connection.sendall(digest.hexdigest().encode())
        except OSError:
            pass

    def close(self) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()


def exchange(sock: socket.socket, data: bytes) -> bytes:
    """Send, end our direction, and return all that comes until the other one ends."""
    sock.settimeout(20)
    sender = threading.Thread(target=_send, args=(sock, data))
    sender.start()
    got = bytearray()
    while part := sock.recv(65536):
        got += part
    sender.join()
    return bytes(got)


def _send(sock: socket.socket, data: bytes) -> None:
    sock.sendall(data)
    sock.shutdown(socket.SHUT_WR)


def digest(data: bytes) -> bytes:
    """What a L{DigestUpstream} answers."""
    return hashlib.sha256(data).hexdigest().encode()
