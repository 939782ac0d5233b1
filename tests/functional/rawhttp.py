# SPDX-License-Identifier: Apache-2.0
"""An HTTP client that sends exactly the bytes it is given."""

from __future__ import annotations

import http.client
import socket
from typing import NamedTuple


class Answer(NamedTuple):
    """A response as a client sees it."""

    status: int
    headers: http.client.HTTPMessage
    body: bytes


class RawClient:
    """One connection. Responses are parsed by the standard library, which shares nothing with the proxy."""

    def __init__(self, port: int, *, host: str = "127.0.0.1", timeout: float = 10.0, sock: socket.socket | None = None) -> None:
        self.sock = sock or socket.create_connection((host, port), timeout)
        self.file = self.sock.makefile("rb")

    def __enter__(self) -> RawClient:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        self.file.close()
        self.sock.close()

    def send(self, data: bytes) -> None:
        self.sock.sendall(data)

    def answer(self, method: str = "GET") -> Answer:
        """Read one response, interim ones skipped."""
        response = self._head(method)
        while response.status < 200:
            response = self._head(method)
        body = b"" if method == "CONNECT" and response.status == 200 else response.read()
        return Answer(response.status, response.headers, body)

    def _head(self, method: str) -> http.client.HTTPResponse:
        response = http.client.HTTPResponse(_Keeper(self.file), method=method)  # type: ignore[arg-type]
        response.begin()
        return response

    def ask(self, data: bytes, method: str = "GET") -> Answer:
        """Send and read the response."""
        self.send(data)
        return self.answer(method)

    def ended(self) -> bool:
        """Whether the proxy closes the connection, in order or by reset, without another byte."""
        try:
            return self.file.read(1) == b""
        except ConnectionResetError:
            return True

    def everything(self) -> bytes:
        """All bytes until the connection ends."""
        try:
            return self.file.read()
        except ConnectionResetError:
            return b""


class _Keeper:
    """Stands for a socket whose file is not closed after one response."""

    def __init__(self, file: object) -> None:
        self._file = file

    def makefile(self, _mode: str) -> object:
        return _Unclosed(self._file)


class _Unclosed:
    def __init__(self, file: object) -> None:
        self._file = file

    def __getattr__(self, name: str) -> object:
        return getattr(self._file, name)

    def close(self) -> None:
        """The connection goes on."""

    def flush(self) -> None:
        """Nothing is written."""
