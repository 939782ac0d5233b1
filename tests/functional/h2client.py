# SPDX-License-Identifier: Apache-2.0
"""A client of HTTP/2 over TLS, by the h2 library, that a test drives step by step."""

from __future__ import annotations

import contextlib
import socket
import ssl
from typing import TYPE_CHECKING, Any

from h2 import events
from h2.config import H2Configuration
from h2.connection import H2Connection
from h2.settings import SettingCodes, Settings

if TYPE_CHECKING:
    from pathlib import Path


class Stream:
    """What came of one stream so far. C{reset} is the code it was reset with."""

    def __init__(self) -> None:
        self.interim: list[int] = []
        self.fields: dict[bytes, bytes] = {}
        self.body = b""
        self.trailers: dict[bytes, bytes] = {}
        self.ended = False
        self.reset: int | None = None

    @property
    def status(self) -> int:
        return int(self.fields.get(b":status", b"0"))

    @property
    def over(self) -> bool:
        return self.ended or self.reset is not None


class H2Client:
    """One connection. With C{lenient} it sends what the protocol forbids. With C{read} off it opens no window by itself."""

    def __init__(self, port: int, ca: Path, *, name: str = "g3proxy.local", lenient: bool = False, window: int = 65535) -> None:
        context = ssl.create_default_context(cafile=str(ca))
        context.set_alpn_protocols(["h2"])
        self.sock = context.wrap_socket(socket.create_connection(("127.0.0.1", port), 10), server_hostname=name)
        self.alpn = self.sock.selected_alpn_protocol()
        self.sock.settimeout(20)
        config = H2Configuration(client_side=True, header_encoding=None)
        if lenient:
            config.validate_outbound_headers = config.normalize_outbound_headers = False
        self.h2 = H2Connection(config)
        self.h2.local_settings = Settings(client=True, initial_values={SettingCodes.INITIAL_WINDOW_SIZE: window, SettingCodes.ENABLE_PUSH: 0})
        self.h2.initiate_connection()
        self.streams: dict[int, Stream] = {}
        #: Of GOAWAY, None while there was none.
        self.goaway: int | None = None
        self.closed = False
        #: Whether a reset closed it: what the server had said last may be lost with it, since we were still sending.
        self.was_reset = False
        self.reads = True
        self.flush()

    def close(self) -> None:
        self.sock.close()

    def flush(self) -> None:
        data = self.h2.data_to_send()
        if data:
            self.sock.sendall(data)

    def raw(self, data: bytes) -> None:
        """Send frames of one's own."""
        self.flush()
        self.sock.sendall(data)

    def request(self, method: str, url: str, *fields: tuple[str, str], end: bool = True, ahead: bytes = b"") -> int:
        """Begin a stream with a request as a proxy is asked; its number. C{ahead} goes with the head."""
        if method == "CONNECT":
            head = [(":method", method), (":authority", url)]
        else:
            scheme, _, rest = url.partition("://")
            authority, slash, path = rest.partition("/")
            head = [(":method", method), (":scheme", scheme), (":authority", authority), (":path", slash + path or "/")]
        return self.send_head([*head, *fields], end=end, ahead=ahead)

    def send_head(self, fields: Any, *, end: bool = True, ahead: bytes = b"") -> int:
        number = self.h2.get_next_available_stream_id()
        self.h2.send_headers(number, fields, end_stream=end)
        if ahead:
            self.h2.send_data(number, ahead)
        self.streams[number] = Stream()
        self.flush()
        return int(number)

    def send(self, number: int, data: bytes, *, end: bool = False) -> None:
        """Send a body, waiting for windows."""
        while data:
            room = min(self.h2.local_flow_control_window(number), self.h2.max_outbound_frame_size)
            if room <= 0:
                self.step()
                continue
            self.h2.send_data(number, data[:room])
            data = data[room:]
            self.flush()
        if end:
            self.h2.end_stream(number)
            self.flush()

    def step(self) -> bool:
        """Take what comes next; whether there may be more."""
        try:
            data = self.sock.recv(65536)
        except (ConnectionResetError, ssl.SSLError):
            self.was_reset = True
            data = b""
        if not data:
            self.closed = True
            return False
        for event in self.h2.receive_data(data):
            self._heard(event)
        if self.goaway is None:
            with contextlib.suppress(OSError):
                self.flush()
        return True

    def _heard(self, event: Any) -> None:
        if isinstance(event, events.ConnectionTerminated):
            self.goaway = int(event.error_code or 0)
            return
        stream = self.streams.get(getattr(event, "stream_id", 0) or 0)
        if stream is None:
            return
        if isinstance(event, events.InformationalResponseReceived):
            stream.interim.append(int(dict(event.headers)[b":status"]))
        elif isinstance(event, events.ResponseReceived):
            stream.fields = dict(event.headers)
        elif isinstance(event, events.DataReceived):
            stream.body += event.data
            if self.reads and event.flow_controlled_length:
                self.h2.acknowledge_received_data(event.flow_controlled_length, event.stream_id)
        elif isinstance(event, events.TrailersReceived):
            stream.trailers = dict(event.headers)
        elif isinstance(event, events.StreamEnded):
            stream.ended = True
        elif isinstance(event, events.StreamReset):
            stream.reset = int(event.error_code)

    def wait(self, number: int) -> Stream:
        """The stream once it is over, or the connection is."""
        stream = self.streams[number]
        while not stream.over and self.step():
            pass
        return stream

    def wait_head(self, number: int) -> Stream:
        """The stream once its response has begun."""
        stream = self.streams[number]
        while not (stream.fields or stream.over) and self.step():
            pass
        return stream

    def wait_body(self, number: int, size: int) -> Stream:
        """The stream once so many bytes have come."""
        stream = self.streams[number]
        while len(stream.body) < size and not stream.over and self.step():
            pass
        return stream

    def wait_closed(self) -> None:
        """Until the server has closed the connection."""
        while self.step():
            pass
