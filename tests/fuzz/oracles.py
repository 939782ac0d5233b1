# SPDX-License-Identifier: Apache-2.0
"""Other people's HTTP/1 parsers, as oracles: h11 (pure Python, strict) and httptools (llhttp, what Node.js runs)."""

from __future__ import annotations

from dataclasses import dataclass, field

import h11
import httptools


@dataclass
class Message:
    """What an oracle read: the start line, the body, and what it left behind it."""

    start: tuple[object, ...] = ()
    headers: list[tuple[bytes, bytes]] = field(default_factory=list)
    body: bytes = b""
    complete: bool = False
    rest: bytes = b""


class Refused(Exception):
    """The oracle takes no such message."""


_LAST = (h11.EndOfMessage, h11.ConnectionClosed, h11.InformationalResponse)


def _read_h11(connection: h11.Connection) -> Message:
    message = Message()
    try:
        while True:
            event = connection.next_event()
            if isinstance(event, h11.Request):
                message.start = (event.method, event.target, event.http_version)
            elif isinstance(event, h11.Response | h11.InformationalResponse):
                message.start = (event.status_code, event.http_version)
                message.complete = isinstance(event, h11.InformationalResponse)
            elif isinstance(event, h11.Data):
                message.body += bytes(event.data)
            elif isinstance(event, h11.EndOfMessage):
                message.complete = True
            if event is h11.PAUSED and not message.complete:
                message.complete = True  # a tunnel begins
            if event is h11.NEED_DATA or event is h11.PAUSED or isinstance(event, _LAST):
                message.rest = bytes(connection.trailing_data[0])
                return message
            if isinstance(event, h11.Request | h11.Response):
                message.headers = list(event.headers)
    except h11.ProtocolError as error:
        raise Refused(str(error)) from error


def h11_request(data: bytes) -> Message:
    """C{data} as h11's server side reads it: its first message."""
    connection = h11.Connection(h11.SERVER, max_incomplete_event_size=1 << 20)
    connection.receive_data(data)
    return _read_h11(connection)


def h11_response(data: bytes, method: bytes, closed: bool) -> Message:
    """C{data} as h11's client side reads it after a request of C{method}; C{closed}: the connection ended behind it."""
    connection = h11.Connection(h11.CLIENT, max_incomplete_event_size=1 << 20)
    connection.send(h11.Request(method=method, target="/", headers=[("Host", "a")]))
    connection.send(h11.EndOfMessage())
    connection.receive_data(data)
    if closed:
        connection.receive_data(b"")
    return _read_h11(connection)


class _Sink:
    def __init__(self) -> None:
        self.messages: list[Message] = []

    def on_message_begin(self) -> None:
        self.messages.append(Message())

    def on_url(self, url: bytes) -> None:
        self.messages[-1].start += (url,)

    def on_header(self, name: bytes, value: bytes) -> None:
        self.messages[-1].headers.append((name, value))

    def on_body(self, body: bytes) -> None:
        self.messages[-1].body += body

    def on_message_complete(self) -> None:
        self.messages[-1].complete = True


def httptools_messages(data: bytes, response: bool = False) -> list[Message]:
    """Every message llhttp finds in C{data}."""
    sink = _Sink()
    parser = httptools.HttpResponseParser(sink) if response else httptools.HttpRequestParser(sink)
    try:
        parser.feed_data(data)
    except httptools.HttpParserUpgrade:
        pass
    except httptools.HttpParserError as error:
        raise Refused(str(error)) from error
    return sink.messages
