# SPDX-License-Identifier: Apache-2.0
"""http_proxy where one side does not behave: answers before requests end, peers that vanish, read nothing, say too much or too little."""

from __future__ import annotations

import contextlib
import hashlib
import http.client
import signal
import socket
import ssl
import struct
import subprocess
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING

from OpenSSL import SSL

from g3.control.client import ControlClient
from tests.functional.certificates import Authority, pem
from tests.functional.needs import need
from tests.functional.peers import ScriptedOrigin, read_exactly, read_head
from tests.functional.processes import free_port
from tests.functional.rawhttp import RawClient
from tests.functional.test_http_proxy import BASE, ProxyCase, get

if TYPE_CHECKING:
    from collections.abc import Callable

OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"
MB = 1 << 20
#: SO_LINGER that makes a close a reset.
RESET = struct.pack("ii", 1, 0)


class ExchangeCase(ProxyCase):
    """Scripted origins."""

    def scripted(self, script: Callable[[socket.socket, int], None]) -> ScriptedOrigin:
        origin = ScriptedOrigin(script)
        self.addCleanup(origin.close)
        self.peers.append(origin)
        return origin

    def grown(self, work: Callable[[], object]) -> int:
        """MiB by which the daemon grew meanwhile."""
        before = self.daemon.memory()
        work()
        return (self.daemon.memory() - before) // MB

    def tasks_alive(self) -> int:
        """What the daemon says of its one server."""
        with ControlClient(self.daemon.control_socket, 20) as control:
            return int(control.call("server_status", name="http")["alive_tasks"])


def listener_tls(case: ProxyCase) -> tuple[str, ssl.SSLContext]:
    """The keys of an http_proxy that speaks TLS as g3proxy.local, and a client's context for it."""
    authority = Authority()
    (case.directory / "rootCA.pem").write_bytes(pem(authority.certificate))
    authority.write(case.directory / "g3proxy.local.pem", case.directory / "g3proxy.local-key.pem", "g3proxy.local")
    keys = "    tls_server:\n      cert_pairs: {certificate: g3proxy.local.pem, private_key: g3proxy.local-key.pem}"
    return keys, ssl.create_default_context(cafile=str(case.directory / "rootCA.pem"))


def upload(client: RawClient, request: bytes, size: int) -> None:
    """A request and so many bytes of body, whatever is answered meanwhile."""
    client.sock.settimeout(20)
    client.send(request)
    for _ in range(size // MB):
        client.send(b"u" * MB)


class EarlyAnswerTests(ExchangeCase):
    """The answer comes before the request has ended, and reaches a client that only reads when it has sent all."""

    size = 50 * MB

    def test_a_refusal_of_the_origin_reaches_a_client_that_is_still_uploading(self) -> None:
        """413 and closed by the origin, 50 MB on their way, by length and in chunks; the client is told that the connection ends."""

        def refuse(connection: socket.socket, _number: int) -> None:
            read_head(connection)
            connection.sendall(b"HTTP/1.1 413 Content Too Large\r\nConnection: close\r\nContent-Length: 4\r\n\r\nmuch")
            time.sleep(1)

        origin = self.scripted(refuse)
        port = self.proxy()
        for framing in (f"Content-Length: {self.size}", "Transfer-Encoding: chunked"):
            client = self.client(port)
            head = get(origin.port, "/", framing, method="POST")
            upload(client, head if "Length" in framing else head + b"%x\r\n" % self.size, self.size)
            answer = client.answer()
            self.assertEqual((answer.status, answer.body, answer.headers["Connection"].lower()), (413, b"much", "close"), framing)

    def test_a_refusal_of_ours_reaches_a_client_that_is_still_uploading(self) -> None:
        """521, 403 and 400, and their reason is all the client gets."""
        port = self.proxy()
        length = f"Content-Length: {self.size}"
        for request, status in (
            (get(free_port(), "/", length, method="PUT"), 521),
            (get(80, "/", length, method="PUT", host="127.0.0.2"), 403),
            (get(free_port(), "/", length, "Content-Length: 1", method="PUT"), 400),
        ):
            client = self.client(port)
            upload(client, request, self.size)
            self.assertEqual(client.answer().status, status)
            self.assertTrue(client.ended())

    def test_a_client_that_never_stops_is_cut(self) -> None:
        """It was refused and told so; what it goes on sending is read for so many bytes and no more."""
        client = self.client(self.proxy())
        client.sock.settimeout(20)
        client.send(get(80, "/", f"Content-Length: {1 << 40}", method="PUT", host="127.0.0.2"))
        sent = 0
        with contextlib.suppress(ConnectionError):
            while sent < 400 * MB:
                client.sock.sendall(b"u" * MB)
                sent += MB
        self.assertTrue(200 * MB < sent < 300 * MB, sent)

    def test_a_large_answer_to_an_unfinished_upload_arrives_whole(self) -> None:
        """Both directions are in full flow when the origin has said all and closes."""
        content = hashlib.sha256(b"x").digest() * (4 * MB // 32)

        def answer(connection: socket.socket, _number: int) -> None:
            read_head(connection)
            connection.sendall(b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: %d\r\n\r\n" % len(content) + content)
            # It has sent all; its kernel, which would drop the rest at a close, needs a moment.
            time.sleep(2)

        origin = self.scripted(answer)
        client = self.client(self.proxy())
        client.sock.settimeout(20)
        client.send(get(origin.port, "/", f"Content-Length: {self.size}", method="POST") + b"u" * MB)
        stop = threading.Event()

        def go_on() -> None:
            while not stop.wait(0.05):
                client.sock.sendall(b"u" * 1000)

        thread = threading.Thread(target=go_on, daemon=True)
        thread.start()
        time.sleep(4)
        self.assertEqual(client.answer().body, content)
        stop.set()
        thread.join()

    def test_an_origin_that_answers_early_and_reads_on_keeps_its_connection(self) -> None:
        """The upload goes on to its end, and both connections carry the next request."""

        def answer(connection: socket.socket, _number: int) -> None:
            head = read_head(connection)
            connection.sendall(OK)
            read_exactly(connection, 8 * MB - len(head.partition(b"\r\n\r\n")[2]))
            read_head(connection)
            connection.sendall(OK)
            read_head(connection)

        origin = self.scripted(answer)
        client = self.client(self.proxy())
        client.send(get(origin.port, "/", f"Content-Length: {8 * MB}", method="POST"))
        self.assertEqual(client.answer().body, b"ok")
        for _ in range(8):
            client.send(b"u" * MB)
        self.assertEqual(client.ask(get(origin.port)).body, b"ok")
        self.assertEqual(origin.connections, 1)


class RetryTests(ExchangeCase):
    """A kept connection that dies is replaced, once, and only while it has said nothing."""

    def requests(self, *last_words: bytes, method: str = "GET", body: bytes = b"") -> tuple[int, list[bytes]]:
        """The status of a second request, when each connection but the last answers one request and then ends with one of C{last_words} in
        place of a second answer; and all requests that arrived."""
        heads: list[bytes] = []

        def script(connection: socket.socket, number: int) -> None:
            if number == 0:
                heads.append(read_head(connection))
                connection.sendall(OK)
            heads.append(read_head(connection))
            if number < len(last_words):
                connection.sendall(last_words[number])
            else:
                connection.sendall(OK)
                read_head(connection)

        origin = self.scripted(script)
        client = self.client(self.port)
        self.assertEqual(client.ask(get(origin.port)).status, 200)
        lines = (f"Content-Length: {len(body)}",) if body else ()
        return client.ask(get(origin.port, "/second", *lines, method=method) + body).status, heads[1:]

    def setUp(self) -> None:
        super().setUp()
        self.port = self.proxy()

    def test_once_over_a_new_connection_with_its_body(self) -> None:
        for method, body in (("GET", b""), ("PUT", b"hello")):
            status, heads = self.requests(b"", method=method, body=body)
            self.assertEqual(status, 200)
            self.assertEqual(len(heads), 2)
            self.assertEqual(heads[0], heads[1])
            self.assertTrue(heads[1].endswith(b"\r\n\r\n" + body))

    def test_not_where_twice_is_not_once(self) -> None:
        """RFC 9110 section 9.2.2: POST, PATCH and methods we do not know."""
        for method in ("POST", "PATCH", "SPEND"):
            status, heads = self.requests(b"", method=method, body=b"hello")
            self.assertEqual((status, len(heads)), (502, 1), method)

    def test_a_connection_that_has_closed_carries_nothing(self) -> None:
        """A POST in the moment after the origin has closed goes over a new connection."""
        closed = threading.Event()

        def script(connection: socket.socket, _number: int) -> None:
            read_head(connection)
            connection.sendall(OK)
            connection.shutdown(socket.SHUT_RDWR)
            closed.set()

        origin = self.scripted(script)
        client = self.client(self.port)
        for number in range(1, 20):
            self.assertEqual(client.ask(get(origin.port, "/", "Content-Length: 5", method="POST") + b"hello").status, 200)
            self.assertEqual(origin.connections, number)
            self.assertTrue(closed.wait(10))
            closed.clear()

    def test_not_twice(self) -> None:
        status, heads = self.requests(b"", b"")
        self.assertEqual((status, len(heads)), (502, 2))

    def test_not_after_a_byte_of_an_answer(self) -> None:
        """Part of a head, or an interim answer: the request was seen."""
        for words in (b"H", b"HTTP/1.1 200 OK\r\n", b"HTTP/1.1 100 Continue\r\n\r\n", b"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n"):
            status, heads = self.requests(words)
            self.assertEqual((status, len(heads)), (502, 1), words)

    def test_not_on_a_new_connection(self) -> None:
        def nothing(connection: socket.socket, _number: int) -> None:
            read_head(connection)

        origin = self.scripted(nothing)
        self.assertEqual(self.client(self.port).ask(get(origin.port)).status, 502)
        self.assertEqual(origin.connections, 1)

    def test_what_an_idle_origin_said_unasked_is_no_answer(self) -> None:
        """A 408 that some send before they close."""

        def script(connection: socket.socket, _number: int) -> None:
            read_head(connection)
            connection.sendall(OK)
            answered.wait(20)
            connection.sendall(b"HTTP/1.1 408 Request Timeout\r\nConnection: close\r\nContent-Length: 0\r\n\r\n")
            said.set()

        answered, said = threading.Event(), threading.Event()
        origin = self.scripted(script)
        client = self.client(self.port)
        for _ in range(2):
            said.clear()
            answered.clear()
            self.assertEqual(client.ask(get(origin.port)).status, 200)
            answered.set()
            self.assertTrue(said.wait(20))
            time.sleep(0.3)


class BoundedTests(ExchangeCase):
    """What one side offers and the other does not take costs a bounded amount of memory."""

    def test_pipelined_answers_that_nobody_reads(self) -> None:
        """Thousands of requests, each with an answer of 15 KB: the proxy stops asking. Once read, all arrive."""
        body = b"b" * 15000

        def script(connection: socket.socket, _number: int) -> None:
            while head := read_head(connection):
                connection.sendall((b"HTTP/1.1 200 OK\r\nContent-Length: 15000\r\n\r\n" + body) * head.count(b"\r\n\r\n"))

        origin = self.scripted(script)
        client = self.client(self.proxy())
        client.sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 65536)
        count = 3000

        def send() -> None:
            for _ in range(count):
                client.sock.sendall(get(origin.port))

        def work() -> None:
            thread = threading.Thread(target=send, daemon=True)
            thread.start()
            time.sleep(2)
            self.addCleanup(thread.join, 10)

        self.assertLess(self.grown(work), 12)
        for number in range(count):
            self.assertEqual(len(client.answer().body), 15000, number)

    def test_answers_without_a_length_that_nobody_reads(self) -> None:
        """The origin is not read faster than the client reads: in chunks, taken out of them, and until the connection closes."""
        chunk = b"10000\r\n" + b"c" * 65536 + b"\r\n"

        def script(connection: socket.socket, _number: int) -> None:
            chunked = b"/chunked" in read_head(connection)
            connection.sendall(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" if chunked else b"HTTP/1.1 200 OK\r\n\r\n")
            for _ in range(500):
                connection.sendall(chunk)

        origin = self.scripted(script)
        port = self.proxy()

        def work() -> None:
            for path, version in (("/chunked", "1.1"), ("/chunked", "1.0"), ("/", "1.1")):
                for _ in range(2):
                    self.client(port).send(get(origin.port, path, version=version))
            time.sleep(1.5)

        self.assertLess(self.grown(work), 12)

    def test_uploads_that_nobody_takes(self) -> None:
        """By length and in chunks, to an origin that reads no more than the head, and to one that is still being connected to."""
        full = socket.create_server(("127.0.0.1", 0), backlog=0)
        self.addCleanup(full.close)
        for _ in range(2):
            waiting = socket.socket()
            waiting.setblocking(False)
            waiting.connect_ex(full.getsockname())
            self.addCleanup(waiting.close)

        def script(connection: socket.socket, _number: int) -> None:
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 65536)
            connection.recv(100)
            done.wait(60)

        done = threading.Event()
        self.addCleanup(done.set)
        origin = self.scripted(script)
        port = self.proxy()
        piece = b"8000\r\n" + b"u" * 32768 + b"\r\n"

        def work() -> None:
            clients = []
            for target in (origin.port, full.getsockname()[1]):
                for framing in (f"Content-Length: {50 * MB}", "Transfer-Encoding: chunked"):
                    client = self.client(port)
                    client.send(get(target, "/", framing, method="POST"))
                    client.sock.setblocking(False)
                    client.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
                    clients.append((client.sock, bytearray()))
            end = time.monotonic() + 2
            while time.monotonic() < end:
                for sock, unsent in clients:
                    unsent += b"" if unsent else piece * 32
                    with contextlib.suppress(BlockingIOError):
                        del unsent[: sock.send(unsent)]
                time.sleep(0.005)

        self.assertLess(self.grown(work), 12)

    def test_interim_answers_without_end(self) -> None:
        """So many, and then it is a 502."""

        def script(connection: socket.socket, _number: int) -> None:
            read_head(connection)
            while True:
                connection.sendall(b"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n" * 100)

        origin = self.scripted(script)
        client = self.client(self.proxy())
        client.send(get(origin.port))
        self.assertIn(b"HTTP/1.1 502 ", client.everything())

    def test_a_slow_client_is_not_cut_while_the_answer_is_on_its_way(self) -> None:
        """It has sent more than one request, which is not served, and reads the only answer slowly: all of it arrives."""
        content = b"c" * (3 * MB)

        def script(connection: socket.socket, _number: int) -> None:
            read_head(connection)
            connection.sendall(b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n" + content)

        origin = self.scripted(script)
        client = self.client(self.proxy())
        client.send(get(origin.port, "/", "Connection: close") + b"\r\n\r\nmore")
        client.sock.settimeout(10)
        got = 0
        for _ in range(6):
            got += len(client.sock.recv(100000))
            time.sleep(0.7)
        while data := client.sock.recv(MB):
            got += len(data)
        self.assertGreater(got, len(content))


class OldOriginTests(ExchangeCase):
    """HTTP/1.0 origins."""

    def test_what_they_say_is_passed_on_as_http_1_1(self) -> None:
        """Interim and final (RFC 9112 section 2.3: the version is that of the sender, which is us)."""

        def script(connection: socket.socket, _number: int) -> None:
            read_head(connection)
            connection.sendall(b"HTTP/1.0 103 Early Hints\r\nLink: </a>\r\n\r\nHTTP/1.0 200 OK\r\nContent-Length: 0\r\n\r\n")

        client = self.client(self.proxy())
        client.send(get(self.scripted(script).port, "/", "Connection: close"))
        got = client.everything()
        self.assertEqual([line for line in got.split(b"\r\n") if b"HTTP/" in line], [b"HTTP/1.1 103 Early Hints", b"HTTP/1.1 200 OK"])


class OldClientTests(ExchangeCase):
    """HTTP/1.0 clients."""

    def test_a_chunked_answer_is_taken_out_of_its_chunks(self) -> None:
        """An origin that sends chunks to HTTP/1.0 all the same: our close is the end, and a fault is a reset."""
        pieces = [
            b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTrailer: X\r\nX-A: 1\r\n\r\n5\r\nhel",
            b"lo\r\n6;a=b\r\n world\r",
            b"\n0\r\nX: y\r\n\r\n",
        ]

        def script(connection: socket.socket, _number: int) -> None:
            for piece in pieces if b"/good" in read_head(connection) else [*pieces[:2], b"\nno size\r\n"]:
                connection.sendall(piece)
                time.sleep(0.1)
            read_head(connection)

        origin = self.scripted(script)
        port = self.proxy()
        client = self.client(port)
        client.send(get(origin.port, "/good", "Connection: keep-alive", version="1.0"))
        head, _, body = client.everything().partition(b"\r\n\r\n")
        self.assertEqual(body, b"hello world")
        self.assertNotIn(b"chunked", head)
        self.assertNotIn(b"Trailer", head)
        self.assertIn(b"X-A: 1", head)
        client = self.client(port)
        client.send(get(origin.port, "/bad", version="1.0"))
        with self.assertRaises(ConnectionResetError):
            while client.sock.recv(65536):
                pass

    def test_no_interim_answer(self) -> None:
        def script(connection: socket.socket, _number: int) -> None:
            read_head(connection)
            connection.sendall(b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\n\r\n" + OK)
            read_head(connection)

        client = self.client(self.proxy())
        client.send(get(self.scripted(script).port, version="1.0"))
        self.assertTrue(client.everything().startswith(b"HTTP/1.1 200 OK\r\n"))


class BodylessTests(ExchangeCase):
    """Answers that have no body whatever their fields say (RFC 9112 section 6.3)."""

    def test_head_204_304_and_length_0_leave_both_connections_in_step(self) -> None:
        answers = {
            b"/head": b"HTTP/1.1 200 OK\r\nContent-Length: 500\r\n\r\n",
            b"/chunked": b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n",
            b"/204": b"HTTP/1.1 204 No Content\r\n\r\n",
            b"/304": b"HTTP/1.1 304 Not Modified\r\nContent-Length: 500\r\n\r\n",
            b"/0": b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n",
            b"/ok": OK,
        }

        def script(connection: socket.socket, _number: int) -> None:
            while head := read_head(connection):
                for request in head.split(b"\r\n\r\n")[:-1]:
                    connection.sendall(answers[request.split(b" ")[1]])

        origin = self.scripted(script)
        client = self.client(self.proxy())
        order = [("HEAD", "/head"), ("HEAD", "/chunked"), ("GET", "/204"), ("GET", "/304"), ("GET", "/0"), ("GET", "/ok")]
        client.send(b"".join(get(origin.port, path, method=method) for method, path in order))
        self.assertEqual([client.answer(method).status for method, _ in order], [200, 200, 204, 304, 200, 200])
        self.assertEqual(origin.connections, 1)

    def test_what_comes_behind_an_answer_is_nobody_s(self) -> None:
        """A body that answers HEAD or comes with 204 or 304, and more than Content-Length: gone, and so is the connection."""
        answers = (b"200 OK\r\nContent-Length: 2\r\n\r\nok" + OK, b"204 No Content\r\n\r\nok", b"304 Not Modified\r\n\r\nok")

        def script(connection: socket.socket, _number: int) -> None:
            while head := read_head(connection):
                connection.sendall(OK if b"/next" in head else b"HTTP/1.1 " + answers[int(head.split(b" ")[1][1:])])

        origin = self.scripted(script)
        client = self.client(self.proxy())
        for number, (method, path) in enumerate((("HEAD", "/0"), ("GET", "/0"), ("GET", "/1"), ("GET", "/2")), 1):
            client.ask(get(origin.port, path, method=method), method)
            self.assertEqual(client.ask(get(origin.port, "/next")).body, b"ok")
            self.assertEqual(origin.connections, 1 + number, (method, path))

    def test_errors_among_pipelined_answers_keep_their_places(self) -> None:
        """The last one that is no request ends it."""
        origin = self.origin()
        client = self.client(self.proxy())
        dead = free_port()
        client.send(get(origin.port) + get(dead) + get(dead, method="HEAD") + get(origin.port) + get(80, host="127.0.0.2") + b"nonsense\r\n\r\n")
        got = [client.answer(method).status for method in ("GET", "GET", "HEAD", "GET", "GET", "GET")]
        self.assertEqual(got, [200, 521, 521, 200, 403, 400])
        self.assertTrue(client.ended())


class HalfClosedTests(ExchangeCase):
    """A client that has closed its sending side, as netcat does, gets every answer it asked for, and the end."""

    def test_what_was_asked_whole_is_answered(self) -> None:
        def script(connection: socket.socket, _number: int) -> None:
            while head := read_head(connection):
                time.sleep(0.3 if b"/slow" in head else 0)
                connection.sendall(OK * head.count(b"\r\n\r\n"))

        origin = self.scripted(script)
        port = self.proxy()
        one, slow = get(origin.port), get(origin.port, "/slow")
        started = time.monotonic()
        for data, answers in ((one, 1), (one + one, 2), (slow + slow, 2), (slow + one[:30], 1), (one[:30], 0), (b"", 0), (one[:-2] + b"Content-", 0)):
            client = self.client(port)
            client.send(data)
            client.sock.shutdown(socket.SHUT_WR)
            self.assertEqual(client.everything().count(b"HTTP/1.1 200"), answers, data)
        self.assertLess(time.monotonic() - started, 15, "ended at once, by no timeout")


class BytePerByteTests(ExchangeCase):
    """Nothing depends on how the bytes are cut."""

    def test_requests_and_answers_one_byte_at_a_time(self) -> None:
        answer = b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3;x\r\nabc\r\n0\r\nT: 1\r\n\r\n"
        seen: list[bytes] = []

        def script(connection: socket.socket, _number: int) -> None:
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            for _ in range(2):
                head = read_head(connection)
                while not head.endswith(b"0\r\n\r\n"):
                    head += connection.recv(1)
                seen.append(head)
                for at in range(len(answer)):
                    connection.sendall(answer[at : at + 1])
                    time.sleep(0.001)

        origin = self.scripted(script)
        client = self.client(self.proxy())
        client.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        body = b"5\r\nhello\r\n0\r\n\r\n"
        request = get(origin.port, "/", "Transfer-Encoding: chunked", method="POST") + body
        for _ in range(2):
            for at in range(len(request)):
                client.send(request[at : at + 1])
                time.sleep(0.001)
            self.assertEqual(client.answer().body, b"abc")
        self.assertEqual([head.partition(b"\r\n\r\n")[2] for head in seen], [body, body])
        self.assertEqual(origin.connections, 1)


class KeptConnectionTests(ExchangeCase):
    """Who is carried by which upstream connection."""

    def test_shared_idle_connections_end_without_clients_too(self) -> None:
        """idle_expire holds when the last client has gone."""
        origin = self.origin()
        port = self.proxy("    http_forward_upstream_keepalive: {shared: true, idle_expire: 1s}")
        with self.client(port) as client:
            client.ask(get(origin.port))
        self.assertTrue(origin.wait_for(lambda: origin.ended == 1, 4))

    def test_an_idle_connection_ends_after_idle_expire(self) -> None:
        origin = self.origin()
        client = self.client(self.proxy("    http_forward_upstream_keepalive: {idle_expire: 1s}"))
        client.ask(get(origin.port))
        self.assertTrue(origin.wait_for(lambda: origin.ended == 1, 4))
        self.assertEqual(client.ask(get(origin.port)).status, 200)

    def test_none_is_kept_when_told_so(self) -> None:
        """http_forward_upstream_keepalive false: Connection: close upstream, and the client's own connection stays."""
        origin = self.origin()
        client = self.client(self.proxy("    http_forward_upstream_keepalive: false"))
        for _ in range(2):
            self.assertEqual(client.ask(get(origin.port)).status, 200)
        self.assertEqual(origin.connections, 2)
        self.assertEqual(origin.everything.count(b"Connection: close\r\n"), 2)


class WhoIsCarriedTests(ExchangeCase):
    """A kept connection is not used for what it was not made for."""

    def config(self, port: int, more: str = "", escaper: str = "e") -> str:  # type: ignore[override]
        text = BASE.format(port=port, more=more, escaper=escaper)
        return text.replace("    resolver: r\n", f"    resolver: r\n{self.escaper}", 1)

    def test_another_way_out_is_another_connection(self) -> None:
        """egress_path_selection_header: each number has its own bind address; a bad one is a 400 that closes, and the origin never sees it."""
        self.escaper = "    bind_ip: [127.0.0.1, 127.0.0.3]\n    enable_path_selection: true\n"
        peers: list[str] = []

        def script(connection: socket.socket, _number: int) -> None:
            while head := read_head(connection):
                peers.append(connection.getpeername()[0])
                connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\n%d" % (b"way" in head.lower()))

        origin = self.scripted(script)
        for more in ("", "\n    http_forward_upstream_keepalive: {shared: true}"):
            peers.clear()
            port = self.proxy("    egress_path_selection_header: X-Way" + more)
            client = self.client(port)
            for way in ("1", "2", "2", "1"):
                self.assertEqual(client.ask(get(origin.port, "/", f"x-way: {way}")).body, b"0")
            self.assertEqual(len(set(peers)), 2)
            self.assertEqual([peers[0], peers[1]], [peers[3], peers[2]])
            self.assertNotEqual(peers[0], peers[1])
            self.assertEqual(client.ask(get(origin.port, "/", "x-way: one")).status, 400)
            self.assertTrue(client.ended())
            self.daemon.quit()

    def test_a_connection_that_told_who_its_client_is_is_not_shared(self) -> None:
        """use_proxy_protocol: the header at its start names one client."""
        self.escaper = "    use_proxy_protocol: 1\n"
        origin = self.origin()
        port = self.proxy("    http_forward_upstream_keepalive: {shared: true}")
        for _ in range(2):
            with RawClient(port) as client:
                address = f"PROXY TCP4 127.0.0.1 127.0.0.1 {client.sock.getsockname()[1]} {port}\r\n"
                for _ in range(2):
                    self.assertEqual(client.ask(get(origin.port)).status, 200)
            self.assertTrue(origin.everything.count(address.encode()) == 1)
        self.assertEqual(origin.connections, 2)

    def test_another_tls_name_is_another_connection(self) -> None:
        """The Host of an https:// request is the name that is asked for and verified."""
        self.escaper = ""
        names: list[str | None] = []
        authority = Authority()
        (self.directory / "rootCA.pem").write_bytes(pem(authority.certificate))
        authority.write(self.directory / "o.pem", self.directory / "o-key.pem", "a.test", "b.test")
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(self.directory / "o.pem", self.directory / "o-key.pem")
        context.sni_callback = lambda _sock, name, _context: names.append(name)

        def script(connection: socket.socket, _number: int) -> None:
            with context.wrap_socket(connection, server_side=True) as secure:
                while read_head(secure):
                    secure.sendall(OK)

        origin = self.scripted(script)
        client = self.client(self.proxy("    tls_client: {ca_certificate: rootCA.pem}"))
        asked = [
            client.ask(f"GET https://127.0.0.1:{origin.port}/ HTTP/1.1\r\nHost: {name}\r\n\r\n".encode()).status
            for name in ("a.test", "a.test", "b.test", "c.test")
        ]
        self.assertEqual(asked, [200, 200, 200, 525])
        self.assertEqual(names, ["a.test", "b.test", "c.test"])
        request = f"POST https://127.0.0.1:{origin.port}/ HTTP/1.1\r\nHost: a.test\r\nContent-Length: 5\r\n\r\nhello".encode()
        self.assertEqual([client.ask(request).status for _ in range(3)], [200, 200, 200])
        self.assertEqual(names[3:], ["a.test"], "one that was looked at first is used again, too")


class TruncationTests(ExchangeCase):
    """An https:// origin whose answer ends with the connection."""

    def test_only_a_close_of_tls_is_the_end_of_an_answer(self) -> None:
        """Anybody on the way can close TCP: without close_notify (RFC 8446 section 6.1) the client gets a reset, not an end."""
        authority = Authority()
        (self.directory / "rootCA.pem").write_bytes(pem(authority.certificate))
        authority.write(self.directory / "o.pem", self.directory / "o-key.pem", "a.test")
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(self.directory / "o.pem", self.directory / "o-key.pem")

        def script(connection: socket.socket, _number: int) -> None:
            with context.wrap_socket(connection, server_side=True) as secure:
                head = read_head(secure)
                secure.sendall(b"HTTP/1.1 200 OK\r\n\r\n" + b"x" * (MB if b"/much" in head else 5))
                if b"/whole" in head:
                    secure.unwrap()

        origin = self.scripted(script)
        port = self.proxy("    tls_client: {ca_certificate: rootCA.pem}")
        for path, whole in (("/whole", True), ("/cut", False), ("/whole/much", True), ("/cut/much", False)):
            client = self.client(port)
            client.send(f"GET https://127.0.0.1:{origin.port}{path} HTTP/1.1\r\nHost: a.test\r\n\r\n".encode())
            try:
                while client.sock.recv(MB):
                    pass
            except ConnectionResetError:
                self.assertFalse(whole, path)
            else:
                self.assertTrue(whole, path)


class OtherKeysTests(ExchangeCase):
    """Keys that nothing else here looks at."""

    def test_they_have_their_effect(self) -> None:
        """ingress_network_filter, tcp_misc_opts on the client's socket, body_line_max_length both ways."""
        need("ip")  # whose package brings ss

        def script(connection: socket.socket, _number: int) -> None:
            while head := read_head(connection):
                line = b"0;x=" + b"y" * (200 if b"/long" in head else 20)
                connection.sendall(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" + line + b"\r\n\r\n")

        origin = self.scripted(script)
        port = self.proxy(
            "    ingress_network_filter: {default: forbid, allow: 127.0.0.1}\n"
            "    tcp_misc_opts: {congestion_control: reno}\n"
            "    body_line_max_length: 100"
        )
        client = self.client(port)
        self.assertEqual(client.ask(get(origin.port)).status, 200)
        own = f"( sport = :{port} and dport = :{client.sock.getsockname()[1]} )"
        said = subprocess.run(["ss", "-Htin", own], capture_output=True, text=True, check=True).stdout
        self.assertIn(" reno ", said)
        self.assertEqual(client.ask(get(origin.port, "/long")).status, 502)
        for length, status in ((20, 200), (200, 400)):
            client = self.client(port)
            body = b"0;x=" + b"y" * length + b"\r\n\r\n"
            self.assertEqual(client.ask(get(origin.port, "/", "Transfer-Encoding: chunked", method="POST") + body).status, status)
        stranger = socket.create_connection(("127.0.0.1", port), 10, ("127.0.0.2", 0))
        self.addCleanup(stranger.close)
        self.assertTrue(RawClient(port, sock=stranger).ended(), "closed without a word")


class LocalRequestTests(ExchangeCase):
    """Requests for the proxy itself."""

    def test_local_server_names_decide_what_is_local(self) -> None:
        """With names: a Host among them is local, also in absolute form; any other relative request is a 501."""
        origin = self.origin()
        port = self.proxy("    local_server_name: [proxy.test, 127.0.0.9]")
        easy = f"/.well-known/easy-proxy/http/127.0.0.1/{origin.port}/e"
        for target, host, status in (
            (easy, "proxy.test", 200),
            (easy, "PROXY.test:3128", 200),
            (easy, "127.0.0.9", 200),
            (f"http://proxy.test{easy}", "proxy.test", 200),
            (easy, "other.test", 501),
            (f"http://127.0.0.1:{origin.port}/", "proxy.test", 501),
            (f"http://127.0.0.1:{origin.port}/", "other.test", 200),
        ):
            got = self.client(port).ask(f"GET {target} HTTP/1.1\r\nHost: {host}\r\n\r\n".encode())
            self.assertEqual(got.status, status, (target, host))

    def test_a_default_port_is_dropped_and_no_other(self) -> None:
        """drop_default_port_in_host, seen by a next proxy that is sent what an origin would be."""
        seen: list[bytes] = []

        def script(connection: socket.socket, _number: int) -> None:
            while head := read_head(connection):
                seen.append(next(line for line in head.split(b"\r\n") if line.startswith(b"Host:")))
                connection.sendall(OK)

        origin = self.scripted(script)
        text = BASE.replace("type: dummy_deny}}", f'type: proxy_http, proxy_addr: "127.0.0.1:{origin.port}"}}}}')
        port = free_port()
        self.daemon = self.start_daemon(text.format(port=port, more="    drop_default_port_in_host: true", escaper="nowhere"), ports=[port])
        client = self.client(port)
        for uri, host in (
            ("http://a.test/", "a.test:80"),
            ("http://a.test:80/", "a.test:80"),
            ("http://a.test/", "a.test:8080"),
            ("http://a.test:8080/", "a.test:8080"),
            ("http://a.test/", "[::1]:80"),
        ):
            self.assertEqual(client.ask(f"GET {uri} HTTP/1.1\r\nHost: {host}\r\n\r\n".encode()).status, 200)
        self.assertEqual(seen, [b"Host: a.test", b"Host: a.test", b"Host: a.test:8080", b"Host: a.test:8080", b"Host: [::1]"])

    def test_no_early_error_reply(self) -> None:
        """What is no request is closed without a word."""
        port = self.proxy("    no_early_error_reply: true")
        for words in (b"nonsense\r\n\r\n", b"GET / HTTP/1.1\r\nHost: x\r\n\r\n", b"GET http://x/ HTTP/1.1\r\n\r\n"):
            client = self.client(port)
            client.send(words)
            self.assertEqual(client.everything(), b"")


class VanishingTests(ExchangeCase):
    """A client or an origin that is gone leaves nothing behind, in whatever phase."""

    #: Bytes of body sent before the upstream is there.
    sent_ahead = 200_000
    #: The port of what answers no connect, and how many have asked it that are not the daemon's.
    slow = others_ask = 0

    def connections(self, port: int, state: str) -> int:
        """How many to a port of loopback are in a state of the kernel's."""
        return Path("/proc/net/tcp").read_text().count(f" 0100007F:{port:04X} {state} ")

    def none_alive(self, origin: ScriptedOrigin) -> None:
        """Soon no task is counted, no connection to C{origin} is open, and none to what does not answer is being made."""
        deadline = time.monotonic() + 20
        while self.tasks_alive() or self.connections(origin.port, "01") or self.connections(self.slow, "02") > self.others_ask:
            self.assertLess(time.monotonic(), deadline, f"{self.tasks_alive()} tasks are alive")
            time.sleep(0.1)

    @staticmethod
    def origin_script(connection: socket.socket, _number: int) -> None:
        """Answers as the path says, or never."""
        head = read_head(connection)
        if b"/pipe" in head:
            connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 100000000\r\n\r\n" + b"p" * 40 * MB)
        elif b"/chunks" in head:
            connection.sendall(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
            for _ in range(200):
                connection.sendall(b"10000\r\n" + b"c" * 65536 + b"\r\n")
        elif b"/length" in head:
            connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nhello")
        while connection.recv(65536):
            pass

    def requests(self, origin: ScriptedOrigin) -> list[bytes]:
        """One for each phase: while it connects, sends its body, waits for the head, reads by length, in chunks and by pipe, reads nothing, is in
        a tunnel, was refused, has sent half a head, and nothing."""
        stuck = socket.create_server(("127.0.0.1", 0), backlog=0)
        self.addCleanup(stuck.close)
        # Its backlog is full: whoever connects now waits.
        for _ in range(2):
            waiting = socket.socket()
            waiting.setblocking(False)
            waiting.connect_ex(stuck.getsockname())
            self.addCleanup(waiting.close)
        self.slow = slow = stuck.getsockname()[1]
        self.others_ask, port = self.connections(slow, "02"), origin.port
        return [
            get(slow),
            get(slow, "/", "Content-Length: 100000000", method="POST") + b"x" * self.sent_ahead,
            b"CONNECT 127.0.0.1:%d HTTP/1.1\r\nHost: x\r\n\r\nearly" % slow,
            get(port, "/wait"),
            get(port, "/wait", "Content-Length: 100", method="POST") + b"part",
            get(port, "/wait", "Content-Length: 100000000", method="POST") + b"x" * MB,
            get(port, "/wait", "Transfer-Encoding: chunked", method="POST") + b"5\r\nhel",
            get(port, "/pipe"),
            get(port, "/pipe", "Content-Length: 100000000", method="POST") + b"x" * MB,
            get(port, "/chunks"),
            get(port, "/length"),
            get(port, "/wait") * 30,
            b"CONNECT 127.0.0.1:%d HTTP/1.1\r\nHost: x\r\n\r\n" % port,
            get(free_port(), "/", "Content-Length: 100000000", method="POST") + b"x" * MB,
            b"GET http://half/",
            b"",
        ]

    def begin(self, port: int, request: bytes) -> RawClient:
        client = self.client(port)
        client.sock.settimeout(1)
        with contextlib.suppress(TimeoutError):
            client.send(request)
        client.sock.settimeout(20)
        return client

    def test_clients_that_vanish(self) -> None:
        """By reset, in whatever phase."""
        origin = self.scripted(self.origin_script)
        port = self.proxy()
        clients = [self.begin(port, request) for request in self.requests(origin)]
        self.daemon.wait_until(lambda: self.tasks_alive() > 10, "they are served")
        self.daemon.wait_until(lambda: self.connections(self.slow, "02") - self.others_ask == 3, "three are being connected")
        for client in clients:
            client.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
            client.close()
        self.none_alive(origin)

    def test_clients_that_end_in_the_middle(self) -> None:
        """In order, before the request is complete, or as the only side of a tunnel that was open."""
        origin = self.scripted(self.origin_script)
        port = self.proxy()
        requests = [request for request in self.requests(origin) if (b"wait" in request and b"Content-" in request) or b"half" in request]
        requests.append(b"CONNECT 127.0.0.1:%d HTTP/1.1\r\nHost: x\r\n\r\n" % origin.port)
        clients = [self.begin(port, request) for request in requests]
        time.sleep(0.3)
        for client in clients:
            client.sock.shutdown(socket.SHUT_WR)
        self.none_alive(origin)
        for client in clients:
            client.everything()

    def test_origins_that_vanish(self) -> None:
        """By reset, at every point of the exchange; the client hears 502 or is cut off, and is never left waiting."""
        points = [
            (b"", 502),
            (b"HTTP/1.1 2", 502),
            (b"HTTP/1.1 100 Continue\r\n\r\n", 502),
            (b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhello", 0),
            (b"HTTP/1.1 200 OK\r\nContent-Length: 1000000\r\n\r\nhello", 0),
            (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n", 0),
            (b"HTTP/1.1 200 OK\r\n\r\nhello", 0),
        ]

        def script(connection: socket.socket, number: int) -> None:
            read_head(connection)
            connection.sendall(points[number % len(points)][0])
            time.sleep(0.1)
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)

        origin = self.scripted(script)
        port = self.proxy()
        for lines, body in (((), b""), (("Content-Length: 100000000",), b"x" * MB), (("Transfer-Encoding: chunked",), b"5\r\nhel")):
            for words, status in points:
                client = self.client(port)
                client.send(get(origin.port, "/", *lines, method="POST" if body else "GET") + body)
                if status:
                    self.assertEqual(client.answer().status, status, (words, body[:10]))
                else:
                    self.assertRaises(ConnectionResetError, self._read_all, client)
        self.none_alive(origin)

    @staticmethod
    def _read_all(client: RawClient) -> None:
        while client.sock.recv(65536):
            pass


class StoppingTests(ExchangeCase):
    """Reload, force-quit and the end of the daemon."""

    def test_an_answer_is_not_cut_by_the_end_of_the_daemon(self) -> None:
        """SIGTERM while a slow client reads: the daemon ends once all is with the client's kernel."""
        content = b"s" * (6 * MB)

        def script(connection: socket.socket, _number: int) -> None:
            read_head(connection)
            connection.sendall(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n%x\r\n" % len(content) + content + b"\r\n0\r\n\r\n")
            read_head(connection)

        origin = self.scripted(script)
        port = free_port()
        runtime = "runtime: {thread_number: 0, server_offline_delay: 0s, task_wait_delay: 0s}"
        config = self.config(port).replace("runtime: {thread_number: 0}", runtime, 1)
        self.daemon = self.start_daemon(config, ports=[port])
        client = self.client(port)
        client.sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 20000)
        client.send(get(origin.port))
        got = client.sock.recv(1000)
        self.daemon.send_signal(signal.SIGTERM)
        while not got.endswith(b"\r\n0\r\n\r\n"):
            data = client.sock.recv(20000)
            self.assertTrue(data, f"ended after {len(got)} bytes")
            got += data
            time.sleep(0.01)
        client.close()
        self.assertEqual(self.daemon.wait(), 0)

    def test_a_reload_refuses_and_resets_nobody(self) -> None:
        """SIGHUP with changed rules: a kept connection gets its answer and is told that it closes, a tunnel and a download go on, new connections
        meet the new rules, and at no moment is one refused."""
        content = b"d" * (4 * MB)
        begun = threading.Event()
        go = threading.Event()

        def script(connection: socket.socket, _number: int) -> None:
            while head := read_head(connection):
                if b"/download" not in head:
                    connection.sendall(OK)
                    continue
                connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(content) + content[:MB])
                begun.set()
                go.wait(10)
                connection.sendall(content[MB:])

        origin = self.scripted(script)
        port = self.proxy()
        kept, tunnel, download = (self.client(port) for _ in range(3))
        self.assertEqual(kept.ask(get(origin.port)).status, 200)
        self.assertEqual(tunnel.ask(b"CONNECT 127.0.0.1:%d HTTP/1.1\r\nHost: x\r\n\r\n" % origin.port, "CONNECT").status, 200)
        download.send(get(origin.port, "/download"))
        self.assertTrue(begun.wait(5))
        statuses: list[int] = []
        stop = threading.Event()

        def knock() -> None:
            while not stop.is_set():
                with RawClient(port) as client:
                    statuses.append(client.ask(get(origin.port)).status)

        thread = threading.Thread(target=knock)
        thread.start()
        self.daemon.wait_until(lambda: 200 in statuses, "one was served by the old rules")
        self.write("g3proxy.yaml", self.config(port, "    dst_port_filter: [1]"))
        self.daemon.send_signal(signal.SIGHUP)
        self.daemon.wait_until(lambda: 403 in statuses, "one was refused by the new rules")
        stop.set()
        thread.join()
        self.assertEqual(sorted(set(statuses)), [200, 403])
        self.assertEqual(statuses, sorted(statuses))
        answer = kept.ask(get(origin.port))
        self.assertEqual((answer.status, answer.headers["Connection"].lower()), (200, "close"))
        self.assertTrue(kept.ended())
        self.assertEqual(tunnel.ask(b"GET / HTTP/1.1\r\n\r\n").body, b"ok")
        go.set()
        self.assertEqual(download.answer().body, content)
        self.assertEqual(self.client(port).ask(get(origin.port)).status, 403)

    def test_a_forced_quit_answers_who_waits_and_cuts_the_rest(self) -> None:
        """500 for a request without an answer yet, a reset in the middle of one, the end of a tunnel; nothing else ends."""

        def script(connection: socket.socket, _number: int) -> None:
            if b"/body" in read_head(connection):
                connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nhello")
            read_head(connection)

        origin = self.scripted(script)
        patient = "    task_idle_max_count: 60"
        port = self.proxy(patient)
        waiting, body, tunnel, uploading = (self.client(port) for _ in range(4))
        waiting.send(get(origin.port))
        body.send(get(origin.port, "/body"))
        uploading.send(get(origin.port, "/", "Content-Length: 100", method="POST") + b"u")
        self.assertEqual(tunnel.ask(b"CONNECT 127.0.0.1:%d HTTP/1.1\r\nHost: x\r\n\r\n" % origin.port, "CONNECT").status, 200)
        self.daemon.wait_until(lambda: self.tasks_alive() == 4, "all are served")
        self.write("g3proxy.yaml", self.config(port, f"{patient}\n    pipeline_size: 5"))
        self.assertEqual(self.daemon.ctl("reload").returncode, 0)
        fresh = self.client(port)
        fresh.send(get(origin.port, "/fresh"))
        self.daemon.wait_until(lambda: self.tasks_alive() == 5, "the new one, too")
        self.assertEqual(self.daemon.ctl("force-quit", "http").returncode, 0)
        for client in (waiting, uploading):
            self.assertEqual(client.answer().status, 500)
            self.assertTrue(client.ended())
        with self.assertRaises((ConnectionResetError, http.client.IncompleteRead)):
            body.answer()
        self.assertTrue(tunnel.ended())
        self.assertEqual(self.tasks_alive(), 1)
        fresh.sock.settimeout(0.3)
        self.assertRaises(TimeoutError, fresh.sock.recv, 1)


class StuckBodyTests(ExchangeCase):
    """Who holds up the body of a request is who is told of, and to."""

    def test_an_origin_that_stops_reading_is_not_the_clients_fault(self) -> None:
        """504, though all that the proxy has taken is with the kernel: in a pipe, and in the socket. A client that stops sending is told 408."""

        def stop(connection: socket.socket, _number: int) -> None:
            read_head(connection)
            done.wait(60)

        def read(connection: socket.socket, _number: int) -> None:
            while connection.recv(65536):
                pass

        done = threading.Event()
        self.addCleanup(done.set)
        port = self.proxy("    task_idle_max_count: 1")
        eager, lazy = self.begin(port, self.scripted(stop).port, 64 * MB), self.begin(port, self.scripted(read).port, MB)
        self.assertEqual([client.answer("POST").status for client in (eager, lazy)], [504, 408])

    def begin(self, port: int, origin: int, size: int) -> RawClient:
        """A client that has sent as much as it could of a body, C{size} bytes at most, which is not all of it."""
        client = self.client(port)
        client.send(get(origin, "/", f"Content-Length: {size + 1}", method="POST"))
        client.sock.settimeout(1)
        with contextlib.suppress(TimeoutError):
            client.send(bytes(size))
        client.sock.settimeout(20)
        return client


class SlowLorisTests(ExchangeCase):
    """Many clients that trickle their heads."""

    def test_they_end_at_the_header_timeout_and_nobody_else_notices(self) -> None:
        """500 of them, a byte each now and then; counted from the first byte. 50 others go on working."""
        origin = self.origin()
        port = self.proxy("    req_header_recv_timeout: 3s")
        good = [self.client(port) for _ in range(50)]
        began: dict[socket.socket, float] = {}
        for _ in range(500):
            sock = socket.create_connection(("127.0.0.1", port))
            self.addCleanup(sock.close)
            sock.sendall(b"G")
            sock.setblocking(False)
            began[sock] = time.monotonic()
        started, longest = time.monotonic(), 0.0
        while began:
            self.assertLess(time.monotonic() - started, 15, f"{len(began)} trickle on")
            for client in good:
                asked = time.monotonic()
                self.assertEqual(client.ask(get(origin.port)).status, 200)
                longest = max(longest, time.monotonic() - asked)
            for sock in list(began):
                if self.trickle(sock):
                    continue
                # Never before its time, however often it was looked at.
                self.assertGreater(time.monotonic() - began.pop(sock), 2.9)
        self.assertLess(longest, 2)

    @staticmethod
    def trickle(sock: socket.socket) -> bool:
        """Send another byte; False when the connection has ended, without a word."""
        try:
            sock.send(b"E")
            return bool(sock.recv(10))
        except BlockingIOError:
            return True
        except OSError:
            return False


class LimitedTests(ExchangeCase):
    """tcp_sock_speed_limit of the server holds for forwarded bodies, piped or not, in both directions."""

    def test_bodies_take_their_time(self) -> None:
        """1.5 MB at 500K a second, in either direction, by length and in chunks."""
        size = 1_500_000

        def script(connection: socket.socket, _number: int) -> None:
            head = read_head(connection)
            if b"/up" in head:
                body = head.partition(b"\r\n\r\n")[2]
                read_exactly(connection, size - len(body))
                connection.sendall(OK)
            elif b"/chunks" in head:
                chunk = b"%x\r\n" % (size // 100) + b"c" * (size // 100) + b"\r\n"
                connection.sendall(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" + chunk * 100 + b"0\r\n\r\n")
            else:
                connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % size + b"b" * size)
            read_head(connection)

        origin = self.scripted(script)
        port = self.proxy("    tcp_sock_speed_limit: 500K")
        spent: list[float] = []

        def ask(request: bytes) -> None:
            client = self.client(port)
            client.sock.settimeout(20)
            started = time.monotonic()
            if client.ask(request).status == 200:
                spent.append(time.monotonic() - started)

        requests = [
            get(origin.port, "/"),
            get(origin.port, "/chunks"),
            get(origin.port, "/up", f"Content-Length: {size}", method="POST") + b"u" * size,
        ]
        threads = [threading.Thread(target=ask, args=(request,)) for request in requests]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(20)
        self.assertEqual(len(spent), 3)
        self.assertTrue(all(1.8 < seconds < 6 for seconds in spent), spent)


class TLSListenerTests(ExchangeCase):
    """How a TLS client ends its side."""

    def test_half_close_goes_through_a_tunnel_and_truncation_does_not_pass_for_it(self) -> None:
        """After close_notify the client still gets its answer; after a bare FIN the origin is reset, since bytes may be missing."""
        ends: list[str] = []

        def script(connection: socket.socket, _number: int) -> None:
            received = 0
            try:
                while data := connection.recv(65536):
                    received += len(data)
                ends.append("end")
                connection.sendall(b"%d" % received)
            except ConnectionResetError:
                ends.append("reset")

        origin = self.scripted(script)
        port = self.proxy(listener_tls(self)[0])
        for notify in (True, False):
            sock = socket.create_connection(("127.0.0.1", port), 10)
            sock.settimeout(None)
            tls = SSL.Connection(SSL.Context(SSL.TLS_CLIENT_METHOD), sock)
            tls.set_connect_state()
            tls.do_handshake()
            tls.sendall(b"CONNECT 127.0.0.1:%d HTTP/1.1\r\nHost: x\r\n\r\n" % origin.port)
            self.assertTrue(tls.recv(1000).startswith(b"HTTP/1.1 200"))
            tls.sendall(b"t" * 100000)
            if notify:
                tls.shutdown()
                self.assertEqual(tls.recv(100), b"100000")
            else:
                sock.shutdown(socket.SHUT_WR)
            deadline = time.monotonic() + 5
            while len(ends) < (1 if notify else 2) and time.monotonic() < deadline:
                time.sleep(0.02)
            sock.close()
        self.assertEqual(ends, ["end", "reset"])
