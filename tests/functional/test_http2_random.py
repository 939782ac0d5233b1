# SPDX-License-Identifier: Apache-2.0
"""HTTP/2 clients of an http_proxy that send any frames in any order: the daemon neither hangs nor complains, and keeps nothing of them."""

from __future__ import annotations

import contextlib
import os
import socket
import threading
from typing import TYPE_CHECKING

from hpack import Encoder
from hyperframe.exceptions import HyperframeError
from hyperframe.frame import (
    ContinuationFrame,
    DataFrame,
    GoAwayFrame,
    HeadersFrame,
    PingFrame,
    PriorityFrame,
    RstStreamFrame,
    SettingsFrame,
    WindowUpdateFrame,
)
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.functional.leftover import NAME, WITNESS, holdings, wait_until_as_before
from tests.functional.peers import ScriptedOrigin
from tests.functional.test_http2 import HTTP2Case

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from tests.functional.harness import Daemon

SOME = settings(
    max_examples=int(os.environ.get("G3_HTTP2_EXAMPLES", "80")),
    deadline=None,
    database=None,
    derandomize="G3_HTTP2_EXAMPLES" not in os.environ,
    suppress_health_check=list(HealthCheck),
)
STREAMS = st.sampled_from([1, 3, 5, 7, 9, 11, 0, 2])
SIZES = st.sampled_from([0, 1, 100, 16384])
HEADS = st.sampled_from(["GET", "POST", "CONNECT", "HEAD", "trailers", "bad"])
WAITS = st.sampled_from([0.0, 0.0, 0.0, 0.01])
FRAMES = st.one_of(
    st.tuples(st.just("head"), STREAMS, HEADS, st.booleans()),
    st.tuples(st.just("head"), STREAMS, HEADS, st.booleans()),
    st.tuples(st.just("data"), STREAMS, SIZES, st.sampled_from([0, 0, 7, 255]), st.booleans()),
    st.tuples(st.just("data"), STREAMS, SIZES, st.sampled_from([0, 0, 7, 255]), st.booleans()),
    st.tuples(st.just("reset"), STREAMS, st.integers(0, 20)),
    st.tuples(st.just("window"), STREAMS, st.sampled_from([1, 1000, 65535, (1 << 31) - 1])),
    st.tuples(st.just("settings"), st.sampled_from([1, 2, 3, 4, 5, 6, 8, 99]), st.sampled_from([0, 1, 100, 65535, 1 << 20, (1 << 31) - 1])),
    st.tuples(st.just("ping"), st.booleans()),
    st.tuples(st.just("priority"), STREAMS, STREAMS),
    st.tuples(st.just("goaway"), st.sampled_from([0, 0, 1, 11])),
    st.tuples(st.just("continuation"), STREAMS),
    st.tuples(st.just("raw"), st.binary(max_size=40)),
)
ENDS = st.sampled_from(["close", "reset", "half", "read"])


def fickle(connection: socket.socket, number: int) -> None:
    """An origin that does something else each time."""
    first = connection.recv(65536)
    kind = number % 6
    if kind == 0:
        connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello")
        connection.recv(65536)
    elif kind == 1:
        connection.sendall(b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\nx-t: 1\r\n\r\n")
    elif kind == 2:
        connection.sendall(b"HTTP/1.1 200 OK\r\n\r\n" + bytes(300000))
    elif kind == 3:
        connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nshort")
    elif kind == 4:
        connection.sendall(first[:100])


class RandomTests(HTTP2Case):
    """One daemon for all of them."""

    def start_daemon(self, config: str, **options: object) -> Daemon:  # type: ignore[override]
        return super().start_daemon(config.replace("\nserver:", f"\n  - {{name: {NAME}, type: {NAME}}}\nserver:"), packages=[WITNESS], **options)

    def test_any_frames_in_any_order(self) -> None:
        """Afterwards it serves as before, and holds what it held."""
        self.proxy()
        origin = ScriptedOrigin(fickle)
        self.addCleanup(origin.close)
        client = self.client()
        self.assertEqual(client.wait(client.request("GET", "http://127.0.0.9/")).status, 403)
        client.close()
        self.finished()
        self.counted("server.connection.total")  # its logs and metrics have their sockets
        before = holdings(self.daemon)
        upstream = f"127.0.0.1:{origin.port}"

        @SOME
        @given(st.lists(FRAMES, min_size=1, max_size=25), st.lists(WAITS, min_size=25, max_size=25), ENDS)
        def run(frames: list[tuple[object, ...]], waits: list[float], end: str) -> None:
            client = self.client()
            encoder = Encoder()
            with contextlib.suppress(OSError):
                for frame, wait in zip(frames, waits, strict=False):
                    client.sock.sendall(self.made(frame, encoder, upstream))
                    if wait:
                        client.sock.settimeout(wait)
                        with contextlib.suppress(TimeoutError):
                            client.sock.recv(65536)
                self.leave(client.sock, end)
            client.close()

        with self.records_are_read():
            run()
            origin.close()
            wait_until_as_before(self.daemon, before, 30)
        client = self.client()
        self.assertEqual(client.wait(client.request("GET", "http://127.0.0.9/")).status, 403)
        self.daemon.check_log()

    @contextlib.contextmanager
    def records_are_read(self) -> Iterator[None]:
        """Or those that wait for their reader keep a timer of the daemon's."""
        done = threading.Event()
        reader = threading.Thread(target=self.syslog.wait, args=(lambda _: done.is_set(), 600.0))
        reader.start()
        try:
            yield
        finally:
            done.set()
            reader.join()

    @staticmethod
    def leave(sock: socket.socket, end: str) -> None:
        """One of the ways to go."""
        sock.settimeout(0.2)
        if end == "read":
            with contextlib.suppress(TimeoutError):
                while sock.recv(65536):
                    pass
        elif end == "half":
            sock.shutdown(socket.SHUT_WR)
        elif end == "reset":
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")

    def made(self, frame: tuple[object, ...], encoder: Encoder, upstream: str) -> bytes:
        """The bytes of a frame, or none where there cannot be such a one."""
        kind, words = str(frame[0]), frame[1:]
        make: Callable[..., bytes] = getattr(self, "frame_" + kind)
        with contextlib.suppress(HyperframeError):  # hyperframe does not make all that can be sent
            return make(encoder, upstream, *words) if kind == "head" else make(*words)
        return b""

    @staticmethod
    def frame_head(encoder: Encoder, upstream: str, stream: int, method: str, end: bool) -> bytes:
        fields = [(":method", method), (":scheme", "http"), (":authority", upstream), (":path", "/")]
        if method == "CONNECT":
            fields = [(":method", method), (":authority", upstream)]
        elif method == "trailers":
            fields = [("x-trailer", "1")]
        elif method == "bad":
            fields.append(("connection", "close"))
        return HeadersFrame(stream, encoder.encode(fields), flags=["END_HEADERS", *(["END_STREAM"] if end else [])]).serialize()

    @staticmethod
    def frame_data(stream: int, size: int, padding: int, end: bool) -> bytes:
        flags = [*(["END_STREAM"] if end else []), *(["PADDED"] if padding else [])]
        return DataFrame(stream, bytes(max(0, size - padding - 1)), pad_length=padding, flags=flags).serialize()

    @staticmethod
    def frame_reset(stream: int, code: int) -> bytes:
        return RstStreamFrame(stream, code).serialize()

    @staticmethod
    def frame_window(stream: int, by: int) -> bytes:
        return WindowUpdateFrame(stream, by).serialize()

    @staticmethod
    def frame_settings(name: int, value: int) -> bytes:
        return SettingsFrame(0, {name: value}).serialize()

    @staticmethod
    def frame_ping(acknowledges: bool) -> bytes:
        return PingFrame(0, b"12345678", flags=["ACK"] if acknowledges else []).serialize()

    @staticmethod
    def frame_priority(stream: int, on: int) -> bytes:
        return PriorityFrame(stream, depends_on=on, stream_weight=3).serialize()

    @staticmethod
    def frame_goaway(code: int) -> bytes:
        return GoAwayFrame(0, 0, code).serialize()

    @staticmethod
    def frame_continuation(stream: int) -> bytes:
        return ContinuationFrame(stream, b"\x82", flags=["END_HEADERS"]).serialize()

    @staticmethod
    def frame_raw(data: bytes) -> bytes:
        return data
