# SPDX-License-Identifier: Apache-2.0
"""An origin that speaks HTTP/3 with what is not ours: aioquic, in a thread of its own."""

from __future__ import annotations

import asyncio
import hashlib
import threading
from typing import TYPE_CHECKING, Any

from aioquic.asyncio.protocol import QuicConnectionProtocol
from aioquic.asyncio.server import serve
from aioquic.h3.connection import H3_ALPN, H3Connection
from aioquic.h3.events import DataReceived, HeadersReceived
from aioquic.quic.configuration import QuicConfiguration
from aioquic.quic.events import ProtocolNegotiated

from tests.functional.processes import free_port

if TYPE_CHECKING:
    from pathlib import Path

    from aioquic.quic.events import QuicEvent


class _Connection(QuicConnectionProtocol):
    """Answers each request with the SHA-256 of its body and C{answer}."""

    answer = b""

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self._http: H3Connection | None = None
        self._bodies: dict[int, Any] = {}

    def quic_event_received(self, event: QuicEvent) -> None:
        if isinstance(event, ProtocolNegotiated):
            self._http = H3Connection(self._quic)
        if self._http is not None:
            for seen in self._http.handle_event(event):
                if isinstance(seen, HeadersReceived | DataReceived):
                    self._seen(self._http, seen)

    def _seen(self, http: H3Connection, seen: HeadersReceived | DataReceived) -> None:
        body = self._bodies.setdefault(seen.stream_id, hashlib.sha256())
        if isinstance(seen, DataReceived):
            body.update(seen.data)
        if seen.stream_ended:
            http.send_headers(seen.stream_id, [(b":status", b"200")])
            http.send_data(seen.stream_id, body.digest() + self.answer, end_stream=True)
            self.transmit()


class HTTP3Origin:
    """Serves C{port} of 127.0.0.1 until C{close}."""

    def __init__(self, directory: Path, name: str, answer: bytes) -> None:
        """C{name} is that of a certificate in C{directory}."""
        self.port = free_port()
        configuration = QuicConfiguration(is_client=False, alpn_protocols=H3_ALPN)
        configuration.load_cert_chain(directory / f"{name}.pem", directory / f"{name}-key.pem")
        made = type("Connection", (_Connection,), {"answer": answer})
        self._loop = asyncio.new_event_loop()
        starting = serve("127.0.0.1", self.port, configuration=configuration, create_protocol=made)
        self._server = self._loop.run_until_complete(starting)
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._thread.start()

    def close(self) -> None:
        self._loop.call_soon_threadsafe(self._server.close)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(10)
        self._loop.close()
