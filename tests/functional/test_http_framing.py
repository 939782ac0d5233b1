# SPDX-License-Identifier: Apache-2.0
"""http_proxy refuses every message whose end two parsers could see in two places, and its origin never sees a byte of one."""

from __future__ import annotations

import contextlib
import socket
import threading
import time

from tests.functional import framing
from tests.functional.peers import answer_ok
from tests.functional.rawhttp import RawClient


class RequestFramingTests(framing.BadRequests):
    """A bad request is answered, the connection closes, and the origin stays clean."""

    def test_a_fault_found_later_ends_the_upstream_connection_without_a_last_chunk(self) -> None:
        """What was relayed before can never be taken for a whole request, also where the fault is in what follows the last chunk."""
        for bad in (b"bad chunk line\r\n", b"0\r\nContent-Length: 5\r\n", b"0\r\nfolded\r\n", b"0\r\n\r\r\n", b"0;a\x00\r\n\r\n"):
            for pieces in ([bad], [bad[:3], bad[3:]]):
                origin = self.recording(None)
                with RawClient(self.port) as client:
                    client.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                    client.send(self.head(b"Transfer-Encoding: chunked", origin=origin) + b"5\r\nhello\r\n")
                    self.assertTrue(origin.wait_for(lambda origin=origin: b"hello" in origin.everything))
                    for piece in pieces:
                        client.send(piece)
                        time.sleep(0.05)
                    client.send(framing.SMUGGLED)
                    got = client.everything()
                self.assertTrue(got.startswith(b"HTTP/1.1 400 "), (bad, got[:80]))
                self.assertTrue(origin.wait_for(lambda origin=origin: bool(origin.ended)), "the upstream connection is open")
                self.assertNotIn(b"\r\n0\r\n", origin.everything, (bad, pieces))
                self.assertNotIn(b"smuggled", origin.everything)

    def test_a_good_end_of_a_chunked_body_arrives_however_it_is_cut(self) -> None:
        """The last chunk waits for the trailers behind it, and then goes on with them."""
        end = b"5\r\nhello\r\n0;x=y\r\nTrailing: yes\r\n\r\n"
        for at in range(1, len(end)):
            with RawClient(self.port) as client:
                client.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                origin = self.recording(lambda request: answer_ok(request) if request.endswith(b"yes\r\n\r\n") else b"")
                client.send(self.head(b"Transfer-Encoding: chunked", origin=origin) + end[:at])
                time.sleep(0.01)
                self.assertEqual(client.ask(end[at:]).status, 200, at)
                self.assertTrue(origin.everything.endswith(b"\r\n\r\n" + end))

    def test_transfer_encoding_wins_over_content_length(self) -> None:
        """The length is dropped, and the connection closes after the answer."""
        with RawClient(self.port) as client:
            answer = client.ask(self.head(b"Content-Length: 3", b"Transfer-Encoding: chunked") + b"5\r\nhello\r\n0\r\n\r\n")
            self.assertEqual(answer.status, 200)
            self.assertTrue(client.ended())
        sent = self.origin.everything.lower()
        self.assertNotIn(b"content-length", sent)
        self.assertIn(b"transfer-encoding: chunked", sent)
        self.assertIn(b"5\r\nhello\r\n0\r\n\r\n", sent)


class ResponseFramingTests(framing.FramingCase):
    """A bad response is a 502; one that turns bad after its head is cut, never ended."""

    responses = b""

    def answer(self, _request: bytes) -> bytes:
        return type(self).responses

    def setUp(self) -> None:
        self.answer = lambda _request: self.responses  # type: ignore[method-assign]
        super().setUp()

    def respond(self, data: bytes) -> bytes:
        self.responses = data  # type: ignore[misc]
        with RawClient(self.port) as client:
            client.send(self.head(method=b"GET"))
            return client.everything()

    def test_bad_response_heads_are_a_502(self) -> None:
        for data in (
            b"HTTP/1.1 200 OK\r\nContent-Length : 5\r\n\r\nhello",
            b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\nhello!",
            b"HTTP/1.1 200 OK\r\nContent-Length: +5\r\n\r\nhello",
            b"HTTP/1.1 200 OK\nContent-Length: 5\n\nhello",
            b"HTTP/1.1 200 OK\r\nX: a\r\n folded\r\nContent-Length: 5\r\n\r\nhello",
            b"HTTP/1.1 2xx OK\r\n\r\n",
            b"HTTP/2 200 OK\r\n\r\n",
            b"nonsense",
            b"HTTP/1.1 200 OK\r\nX: " + b"a" * 20000 + b"\r\n\r\n",
            b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\n\r\n",
            b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked, chunked\r\n\r\n0\r\n\r\n",
        ):
            if data == b"nonsense":
                data += b"\r\n\r\n"
            got = self.respond(data)
            self.assertTrue(got.startswith(b"HTTP/1.1 502 "), (data[:80], got[:80]))

    def cut(self, *parts: bytes) -> bytes:
        """What the client got of a response in C{parts}, after which the origin closes; it must not have ended in order."""
        origin = SlowOrigin(parts)
        self.addCleanup(origin.close)
        with RawClient(self.port) as client:
            client.send(b"GET http://127.0.0.1:%d/ HTTP/1.1\r\nHost: 127.0.0.1:%d\r\n\r\n" % (origin.port, origin.port))
            got = b""
            with self.assertRaises(ConnectionResetError):
                while data := client.sock.recv(65536):
                    got += data
                self.fail(f"a clean end after {got!r}")
        return got

    def test_a_chunk_fault_after_the_head_resets_the_client(self) -> None:
        """The client gets what came before, and a reset in place of an end."""
        got = self.cut(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n", b"no size\r\n", b"0\r\n\r\n")
        self.assertTrue(got.endswith(b"5\r\nhello\r\n"), got)

    def test_a_chunked_body_without_its_last_chunk_resets_the_client(self) -> None:
        """An origin that closes in the middle."""
        self.cut(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n")

    def test_a_short_body_resets_the_client(self) -> None:
        """Fewer bytes than Content-Length said, also of a body large enough to be piped."""
        self.cut(b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\n", b"hello")
        self.cut(b"HTTP/1.1 200 OK\r\nContent-Length: 10000000\r\n\r\n", b"x" * 1000000)


class SlowOrigin:
    """Answers every request with some parts, a moment apart, and closes."""

    def __init__(self, parts: tuple[bytes, ...]) -> None:
        self._parts = parts
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = self._listener.getsockname()[1]
        threading.Thread(target=self._serve, daemon=True).start()

    def _serve(self) -> None:
        while True:
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            with connection, contextlib.suppress(OSError):
                connection.recv(65536)
                for part in self._parts:
                    connection.sendall(part)
                    time.sleep(0.2)

    def close(self) -> None:
        # Who waits in accept is woken by this, and not by close: the wait would go on with whatever has the number of our descriptor next.
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
