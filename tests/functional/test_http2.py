# SPDX-License-Identifier: Apache-2.0
"""HTTP/2 with clients of an http_proxy: requests, tunnels, windows, and what is answered to those who do not mean well."""

from __future__ import annotations

import hashlib
import io
import os
import signal
import socket
import struct
import threading
import time

import pycurl
from h2.errors import ErrorCodes
from h2.settings import SettingCodes
from hyperframe.frame import ContinuationFrame, DataFrame, GoAwayFrame, HeadersFrame, PingFrame, PriorityFrame, SettingsFrame, WindowUpdateFrame

from tests.functional.h2client import H2Client
from tests.functional.observed import ObservedCase
from tests.functional.peers import RecordingOrigin, ScriptedOrigin, answer_ok, read_head
from tests.functional.processes import free_port
from tests.functional.streams import DigestUpstream, digest

SERVER = """
  - name: http
    type: http_proxy
    listen: 127.0.0.1:{port}
    escaper: e
    task_idle_check_interval: 2s
    {more}
    tls_server:
      cert_pairs: {{certificate: server.pem, private_key: server-key.pem}}
"""
MB = 1 << 20


class HTTP2Case(ObservedCase):
    """One http_proxy with TLS."""

    def setUp(self) -> None:
        super().setUp()
        self.certificate("server", "g3proxy.local", "127.0.0.1")
        self.port = free_port()

    def proxy(self, more: str = "enable_http2: true") -> None:
        self.daemon = self.serve(SERVER.format(port=self.port, more=more), self.port)

    def client(self, **options: object) -> H2Client:
        client = H2Client(self.port, self.directory / "ca.pem", **options)  # type: ignore[arg-type]
        self.addCleanup(client.close)
        return client

    def recording(self, answer: object = answer_ok) -> RecordingOrigin:
        origin = RecordingOrigin(answer)  # type: ignore[arg-type]
        self.addCleanup(origin.close)
        return origin

    def scripted(self, script: object) -> ScriptedOrigin:
        origin = ScriptedOrigin(script)  # type: ignore[arg-type]
        self.addCleanup(origin.close)
        return origin


class RequestTests(HTTP2Case):
    """What is asked, and what is answered."""

    def test_many_requests_over_one_connection(self) -> None:
        """Each its own task; connections to the origin are used again."""
        self.proxy()
        origin = self.recording(lambda request: b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\nX-Path: %b\r\n\r\nabc" % request.split()[1])
        client = self.client()
        self.assertEqual(client.alpn, "h2")
        numbers = [client.request("GET", f"http://127.0.0.1:{origin.port}/{n}") for n in range(20)]
        for n, number in enumerate(numbers):
            stream = client.wait(number)
            self.assertEqual((stream.status, stream.body, stream.fields[b"x-path"], stream.reset), (200, b"abc", b"/%d" % n, None))
        for n in range(5):
            self.assertEqual(client.wait(client.request("GET", f"http://127.0.0.1:{origin.port}/again")).body, b"abc", n)
        self.assertLessEqual(len(origin.received), 20)
        records = self.tasks(25)
        self.assertEqual({record["uri"].rpartition("/")[0] for record in records}, {f"http://127.0.0.1:{origin.port}"})
        self.assertNotIn(b"connection", {name for name in stream.fields if name != b":status"})

    def test_the_head_an_origin_gets(self) -> None:
        """One Host, one Cookie, nothing of the proxy's own; no pseudo-header."""
        self.proxy()
        origin = self.recording()
        client = self.client()
        fields = [("cookie", "a=1"), ("x-y", "z"), ("cookie", "b=2"), ("te", "trailers"), ("proxy-authorization", "Basic eDp5")]
        self.assertEqual(client.wait(client.request("GET", f"http://127.0.0.1:{origin.port}/p?q", *fields)).status, 200)
        lines = bytes(origin.received[0]).split(b"\r\n")
        self.assertEqual(lines[0], b"GET /p?q HTTP/1.1")
        self.assertEqual(sorted(line.lower() for line in lines[1:] if line)[:5], sorted(
            [b"host: 127.0.0.1:%d" % origin.port, b"x-y: z", b"cookie: a=1; b=2", b"te: trailers", b"connection: te"]
        ))  # fmt: skip

    def test_bodies_both_ways(self) -> None:
        """With a length and without, far larger than any window, while other streams go on."""
        self.proxy()
        data = os.urandom(3 * MB)

        def script(connection: socket.socket, _number: int) -> None:
            head = read_head(connection)
            head, _, body = head.partition(b"\r\n\r\n")
            if b"chunked" in head.lower():
                while not body.endswith(b"\r\n0\r\n\r\n"):
                    body += connection.recv(1 << 16)
                body = unchunked(body)
            else:
                while len(body) < len(data):
                    body += connection.recv(1 << 16)
            answer = hashlib.sha256(body).hexdigest().encode()
            connection.sendall(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTrailer: X-Sum\r\n\r\n")
            for at in range(0, len(data), 50000):
                piece = data[at : at + 50000]
                connection.sendall(b"%x\r\n%b\r\n" % (len(piece), piece))
            connection.sendall(b"0\r\nX-Sum: %b\r\n\r\n" % answer)

        origin = self.scripted(script)
        client = self.client()
        url = f"http://127.0.0.1:{origin.port}/"
        numbers = [client.request("POST", url, end=False), client.request("POST", url, ("content-length", str(len(data))), end=False)]
        for number in numbers:
            client.send(number, data, end=True)
        for number in numbers:
            stream = client.wait(number)
            self.assertEqual((stream.status, stream.reset, len(stream.body)), (200, None, len(data)))
            self.assertEqual(stream.body, data)
            self.assertEqual(stream.trailers[b"x-sum"], hashlib.sha256(data).hexdigest().encode())

    def test_interim_answers_and_no_bodies(self) -> None:
        """103 is passed on; HEAD, 204 and 304 end at their head."""
        self.proxy()
        answers = {
            b"/early": b"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\nx",
            b"/none": b"HTTP/1.1 204 No Content\r\n\r\n",
            b"/same": b"HTTP/1.1 304 Not Modified\r\nETag: x\r\n\r\n",
            b"/head": b"HTTP/1.1 200 OK\r\nContent-Length: 77\r\n\r\n",
            b"/close": b"HTTP/1.0 200 OK\r\n\r\nuntil the end",
        }
        origin = self.scripted(lambda connection, _: connection.sendall(answers[read_head(connection).split()[1]]))
        client = self.client()
        for path, method, status, body in (
            ("/early", "GET", 200, b"x"),
            ("/none", "GET", 204, b""),
            ("/same", "GET", 304, b""),
            ("/head", "HEAD", 200, b""),
            ("/close", "GET", 200, b"until the end"),
        ):
            stream = client.wait(client.request(method, f"http://127.0.0.1:{origin.port}{path}"))
            self.assertEqual((stream.status, stream.body, stream.ended, stream.reset), (status, body, True, None), path)
        self.assertEqual(client.streams[1].interim, [103])

    def test_what_fails_is_answered_on_its_stream(self) -> None:
        """Forbidden, unreachable, not implemented, and a body that breaks off: that one is reset, and the connection goes on."""
        self.proxy()

        def script(connection: socket.socket, _number: int) -> None:
            read_head(connection)
            connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nshort")

        origin = self.scripted(script)
        client = self.client()
        self.assertEqual(client.wait(client.request("GET", "http://127.0.0.9/")).status, 403)
        self.assertGreaterEqual(client.wait(client.request("GET", f"http://127.0.0.1:{free_port()}/")).status, 500)
        self.assertEqual(client.wait(client.request("GET", "gopher://127.0.0.1/")).status, 501)
        stream = client.wait(client.request("GET", f"http://127.0.0.1:{origin.port}/"))
        self.assertEqual((stream.status, stream.body, stream.ended, stream.reset), (200, b"short", False, int(ErrorCodes.INTERNAL_ERROR)))
        self.assertEqual(client.wait(client.request("GET", "http://127.0.0.9/")).status, 403)

    def test_an_answer_before_the_end_of_the_request(self) -> None:
        """Is sent whole, and the rest of the request is not wanted."""
        self.proxy()

        def script(connection: socket.socket, _number: int) -> None:
            read_head(connection)
            connection.sendall(b"HTTP/1.1 413 Payload Too Large\r\nContent-Length: 4\r\nConnection: close\r\n\r\nmuch")

        origin = self.scripted(script)
        client = self.client()
        number = client.request("POST", f"http://127.0.0.1:{origin.port}/", end=False)
        stream = client.wait_body(number, 4)
        self.assertEqual((stream.status, stream.body), (413, b"much"))
        self.assertEqual(client.wait(client.request("GET", "http://127.0.0.9/")).status, 403)

    def test_without_the_key_there_is_none(self) -> None:
        self.proxy("")
        self.assertNotEqual(self.client_alpn(), "h2")

    def client_alpn(self) -> str | None:
        import ssl

        context = ssl.create_default_context(cafile=str(self.directory / "ca.pem"))
        context.set_alpn_protocols(["h2", "http/1.1"])
        with socket.create_connection(("127.0.0.1", self.port), 10) as sock, context.wrap_socket(sock, server_hostname="g3proxy.local") as secure:
            return secure.selected_alpn_protocol()


def unchunked(body: bytes) -> bytes:
    """The content of a chunked body."""
    content, at = [], 0
    while True:
        end = body.index(b"\r\n", at)
        size = int(body[at:end], 16)
        if not size:
            return b"".join(content)
        content.append(body[end + 2 : end + 2 + size])
        at = end + 4 + size


class TunnelTests(HTTP2Case):
    """CONNECT."""

    def test_bytes_pass_and_so_does_each_end(self) -> None:
        self.proxy()
        upstream = DigestUpstream(b"hello ")
        self.addCleanup(upstream.close)
        client = self.client()
        number = client.request("CONNECT", f"127.0.0.1:{upstream.port}", end=False)
        self.assertEqual(client.wait_head(number).status, 200)
        data = os.urandom(2 * MB)
        client.send(number, data, end=True)
        stream = client.wait(number)
        self.assertEqual((stream.body, stream.ended, stream.reset), (b"hello " + digest(data), True, None))
        record = self.finished()
        told = {"task_type": "TcpConnect", "r_wr_bytes": str(len(data)), "r_rd_bytes": "70", "reason": "ClosedByClient"}
        self.assertEqual({key: record[key] for key in told}, told)

    def test_an_upstream_that_ends_first_is_still_sent_to(self) -> None:
        """Its end is passed on, and the client's direction goes on."""
        self.proxy()
        heard: list[bytes] = []
        over = threading.Event()

        def script(connection: socket.socket, _number: int) -> None:
            connection.sendall(b"all")
            connection.shutdown(socket.SHUT_WR)
            while data := connection.recv(65536):
                heard.append(data)
            over.set()

        upstream = self.scripted(script)
        client = self.client()
        number = client.request("CONNECT", f"127.0.0.1:{upstream.port}", end=False)
        stream = client.wait(number)
        self.assertEqual((stream.body, stream.ended, stream.reset), (b"all", True, None))
        client.send(number, b"x" * 300000, end=True)
        self.assertEqual(self.finished()["reason"], "ClosedByUpstream")
        self.assertTrue(over.wait(20))
        self.assertEqual(sum(map(len, heard)), 300000)

    def test_curl_tunnels_over_it(self) -> None:
        """libcurl with HTTP/2 to the proxy; how it leaves is no fault."""
        self.proxy()
        origin = self.recording()
        body = io.BytesIO()
        curl = pycurl.Curl()
        options = {"URL": f"http://127.0.0.1:{origin.port}/", "PROXY": f"https://127.0.0.1:{self.port}", "PROXYTYPE": 3, "HTTPPROXYTUNNEL": 1}
        options |= {"PROXY_CAINFO": str(self.directory / "ca.pem"), "NOPROXY": "", "TIMEOUT": 20, "WRITEDATA": body}
        for name, value in options.items():
            curl.setopt(getattr(pycurl, name), value)
        curl.perform()
        self.assertEqual((curl.getinfo(pycurl.RESPONSE_CODE), body.getvalue()), (200, b"ok"))
        curl.close()
        record = self.finished()
        self.assertEqual((record["task_type"], record["reason"]), ("TcpConnect", "ClosedByClient"))

    def test_a_reset_is_passed_on(self) -> None:
        """Either way: a client's reaches the upstream, an upstream's the client."""
        self.proxy()
        heard: list[str] = []

        def script(connection: socket.socket, number: int) -> None:
            if number == 0:
                try:
                    heard.append(repr(connection.recv(100)))
                except ConnectionResetError:
                    heard.append("reset")
            else:
                connection.recv(1)
                connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))

        upstream = self.scripted(script)
        client = self.client()
        number = client.request("CONNECT", f"127.0.0.1:{upstream.port}", end=False)
        client.wait_head(number)
        client.h2.reset_stream(number, ErrorCodes.CANCEL)
        client.flush()
        number = client.request("CONNECT", f"127.0.0.1:{upstream.port}", end=False)
        client.wait_head(number)
        client.send(number, b"x")
        self.assertEqual(client.wait(number).reset, int(ErrorCodes.INTERNAL_ERROR))
        deadline = time.monotonic() + 10
        while not heard and time.monotonic() < deadline:
            time.sleep(0.02)
        self.assertEqual(heard, ["reset"])

    def test_a_refused_tunnel(self) -> None:
        self.proxy("enable_http2: true\n    dst_port_filter: 443")
        stream = self.client()
        self.assertEqual(stream.wait(stream.request("CONNECT", "127.0.0.1:80", end=False)).status, 403)

    def test_what_comes_with_a_refused_tunnel_is_no_request(self) -> None:
        """Though it looks like one, and there is an idle connection that it could go by."""
        self.proxy()
        origin = self.recording()
        client = self.client()
        url = f"http://127.0.0.1:{origin.port}/"
        self.assertEqual(client.wait(client.request("GET", url)).status, 200)
        inside = f"GET {url}inside HTTP/1.1\r\nHost: x\r\n\r\n".encode()
        number = client.request("CONNECT", f"127.0.0.1:{free_port()}", end=False, ahead=inside)
        self.assertEqual(client.wait(number).status, 521)
        self.assertEqual(client.wait(client.request("GET", url + "last")).status, 200)
        self.assertEqual([bytes(received).count(b"GET ") for received in origin.received], [2])
        self.assertNotIn(b"inside", origin.everything)


class WindowTests(HTTP2Case):
    """Whoever does not read is waited for, and costs no memory."""

    def test_windows_opened_for_what_was_sent_are_no_flood(self) -> None:
        """However often a client does it that reads little at a time."""
        self.proxy()
        size = 10 * MB
        origin = self.recording(lambda _: b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % size + bytes(size))
        client = self.client()
        client.reads = False
        number = client.request("GET", f"http://127.0.0.1:{origin.port}/")
        stream, opened = client.wait_head(number), 0
        while not stream.over and client.step():
            count = (len(stream.body) - opened) // 1024
            if count and not stream.ended:
                opened += 1024 * count
                client.h2.increment_flow_control_window(1024 * count - count)
                client.h2.increment_flow_control_window(1024 * count - count, number)
                client.raw((WindowUpdateFrame(0, window_increment=1).serialize() + WindowUpdateFrame(number, window_increment=1).serialize()) * count)
        self.assertEqual((len(stream.body), stream.ended, client.goaway), (size, True, None))

    def hole(self) -> int:
        """The port of one that never answers: nobody accepts, and nobody more can wait."""
        listener = socket.socket()
        self.addCleanup(listener.close)
        listener.bind(("127.0.0.1", 0))
        listener.listen(0)
        for _ in range(4):
            filler = socket.socket()
            self.addCleanup(filler.close)
            filler.setblocking(False)
            filler.connect_ex(listener.getsockname())
        return int(listener.getsockname()[1])

    def test_streams_that_stall_take_nothing_from_others(self) -> None:
        """Tunnels whose upstream is not there yet, each with what is sent ahead and another window."""
        self.proxy()
        hole, other = self.hole(), DigestUpstream()
        self.addCleanup(other.close)
        client = self.client()
        before = self.daemon.memory()
        for _ in range(40):
            client.send(client.request("CONNECT", f"127.0.0.1:{hole}", end=False), bytes(110000))
        number = client.request("CONNECT", f"127.0.0.1:{other.port}", end=False)
        data = os.urandom(200000)
        client.send(number, data, end=True)
        self.assertEqual(client.wait(number).body, digest(data))
        self.assertLess(self.daemon.memory() - before, 32 * MB)

    def test_pieces_of_one_byte_cost_no_more_than_others(self) -> None:
        self.proxy()
        hole = self.hole()
        client = self.client()
        numbers = [client.request("CONNECT", f"127.0.0.1:{hole}", end=False) for _ in range(4)]
        for number in numbers:
            client.send(number, bytes(70000))
        self.assertEqual(client.wait(client.request("GET", "http://127.0.0.9/")).status, 403)
        before = self.daemon.memory()
        for number in numbers:
            client.raw(DataFrame(number, b"x").serialize() * 50000)
        self.assertEqual(client.wait(client.request("GET", "http://127.0.0.9/")).status, 403)
        self.assertLess(self.daemon.memory() - before, 8 * MB)

    def test_a_client_that_opens_no_window(self) -> None:
        """50 streams of 64 MiB each: what waits is bounded; a small window is filled to the last byte."""
        self.proxy()
        total = 64 * MB

        def script(connection: socket.socket, _number: int) -> None:
            read_head(connection)
            connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % total)
            piece = bytes(MB)
            for _ in range(total // MB):
                connection.sendall(piece)

        origin = self.scripted(script)
        before = self.daemon.memory()
        client = self.client(window=1000)
        client.reads = False
        numbers = [client.request("GET", f"http://127.0.0.1:{origin.port}/") for _ in range(50)]
        for number in numbers:
            self.assertEqual(len(client.wait_body(number, 1000).body), 1000)
        self.assertLess(self.daemon.memory() - before, 48 * MB)

    def test_an_origin_that_does_not_read(self) -> None:
        """What a client may send ahead ends; other streams go on."""
        self.proxy()
        done = threading.Event()
        self.addCleanup(done.set)

        def script(connection: socket.socket, _number: int) -> None:
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            read_head(connection)
            done.wait(30)

        origin, other = self.scripted(script), self.recording()
        client = self.client()
        number = client.request("POST", f"http://127.0.0.1:{origin.port}/", ("content-length", str(1 << 30)), end=False)
        client.sock.settimeout(1.5)
        sent = 0
        try:
            for _ in range(1024):
                client.send(number, bytes(16384))
                sent += 16384
        except TimeoutError:
            pass
        self.assertLess(sent, 16 * MB)
        client.sock.settimeout(20)
        self.assertEqual(client.wait(client.request("GET", f"http://127.0.0.1:{other.port}/")).status, 200)


class MalformedTests(HTTP2Case):
    """Requests that are none reach nobody."""

    def test_each_is_reset_and_the_origin_stays_clean(self) -> None:
        """RFC 9113 section 8: what would mean something else in HTTP/1.1 above all."""
        self.proxy()
        origin = self.recording()
        authority = f"127.0.0.1:{origin.port}"
        good = [(":method", "GET"), (":scheme", "http"), (":authority", authority), (":path", "/")]
        bad: list[list[tuple[str, str]]] = [
            [*good, ("x", "a\r\nHost: evil")],
            [*good, ("x", "a\nb")],
            [*good, ("x", "a\0b")],
            [*good, ("x y", "a")],
            [*good, ("X-Upper", "a")],
            [*good, ("x:", "a")],
            [*good, ("connection", "close")],
            [*good, ("transfer-encoding", "chunked")],
            [*good, ("upgrade", "websocket")],
            [*good, ("te", "gzip")],
            [*good, ("host", "other.test")],
            [*good, ("content-length", "5")],
            [*good[:3], (":path", "/a b")],
            [*good[:3], (":path", "/a HTTP/1.1\r\nx: y")],
            [*good[:3], (":path", "relative")],
            [*good[:3], (":path", "")],
            [*good, (":path", "/two")],
            [("x", "y"), *good],
            [good[0], good[1], (":authority", f"user@{authority}"), good[3]],
            [good[0], (":scheme", "http://x/"), good[2], good[3]],
            [(":method", "G ET"), *good[1:]],
            [(":method", "GET"), *good[2:]],
            [*good, (":unknown", "x")],
            [(":method", "CONNECT"), (":authority", authority), (":path", "/")],
        ]
        client = self.client(lenient=True)
        for fields in bad:
            stream = client.wait(client.send_head(fields))
            self.assertTrue(stream.reset is not None or stream.status >= 400, fields)
        self.assertEqual((origin.received, client.goaway), ([], None))
        silent = self.recording(None)
        number = client.send_head([(":method", "POST"), good[1], (":authority", f"127.0.0.1:{silent.port}"), good[3]], end=False)
        client.h2.send_headers(number, [(":path", "/")], end_stream=True)
        client.flush()
        self.assertEqual(client.wait(number).reset, int(ErrorCodes.PROTOCOL_ERROR))
        self.assertEqual(client.wait(client.send_head(good)).status, 200)

    def test_a_body_that_is_not_as_long_as_it_says(self) -> None:
        """Is never a whole request to the origin."""
        self.proxy()
        origin = self.recording(None)
        client = self.client()
        number = client.request("POST", f"http://127.0.0.1:{origin.port}/", ("content-length", "10"), end=False)
        client.h2.send_data(number, b"short")
        client.flush()
        client.raw(DataFrame(number, b"", flags=["END_STREAM"]).serialize())
        stream = client.wait(number)
        self.assertTrue(stream.reset is not None or client.goaway, stream.fields)


class AbuseTests(HTTP2Case):
    """Frames that cost us and bring the client nothing."""

    def calmed(self, client: H2Client) -> None:
        """The client is told to calm down, and closed."""
        client.wait_closed()
        self.assertIn(client.goaway, {int(ErrorCodes.ENHANCE_YOUR_CALM), None if client.was_reset else int(ErrorCodes.ENHANCE_YOUR_CALM)})

    def flood(self, *frames: bytes) -> None:
        client = self.client()
        try:
            for frame in frames:
                client.raw(frame * 100)
        except OSError:
            pass
        self.calmed(client)

    def test_floods_are_answered_with_enhance_your_calm(self) -> None:
        """PING, SETTINGS, PRIORITY; others do not notice."""
        self.proxy()
        good = self.client()
        self.flood(*[PingFrame(0, b"12345678").serialize()] * 30)
        self.flood(*[SettingsFrame(0, settings={4: 65535}).serialize()] * 30)
        self.flood(*[PriorityFrame(1, depends_on=0, stream_weight=1).serialize()] * 30)
        self.assertEqual(good.wait(good.request("GET", "http://127.0.0.9/")).status, 403)

    def test_who_stops_then_is_told_so(self) -> None:
        """Little more than is let pass, and not a byte behind it: nothing can take GOAWAY away from this client."""
        self.proxy()
        for frame in (PingFrame(0, b"12345678"), SettingsFrame(0, settings={4: 65535}), PriorityFrame(1, depends_on=0, stream_weight=1)):
            client = self.client()
            client.step()  # it acknowledges our SETTINGS now, not behind the flood
            client.raw(frame.serialize() * 1200)
            client.wait_closed()
            self.assertEqual(client.goaway, int(ErrorCodes.ENHANCE_YOUR_CALM), frame)

    def test_empty_data(self) -> None:
        self.proxy()
        origin = self.recording(None)
        client = self.client()
        number = client.request("POST", f"http://127.0.0.1:{origin.port}/", end=False)
        try:
            for _ in range(30):
                client.raw(DataFrame(number, b"").serialize() * 100)
        except OSError:
            pass
        self.calmed(client)

    def test_long_answers_do_not_count_as_the_clients_doing(self) -> None:
        """Heads of 16 KiB on many streams, while the client sends."""
        self.proxy()
        origin = self.recording(lambda _: b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\nX-Long: " + os.urandom(8000).hex().encode() + b"\r\n\r\n")
        upstream = DigestUpstream()
        self.addCleanup(upstream.close)
        client = self.client()
        tunnel = client.request("CONNECT", f"127.0.0.1:{upstream.port}", end=False)
        client.wait_head(tunnel)
        for _ in range(8):
            numbers = [client.request("GET", f"http://127.0.0.1:{origin.port}/") for _ in range(20)]
            for number in numbers:
                client.send(tunnel, bytes(1000))
                self.assertEqual(client.wait(number).status, 200)

    def test_a_large_table_is_not_filled(self) -> None:
        """What a client lets us keep of earlier fields, for ever, is not what is kept."""
        self.proxy()
        client = self.client()
        client.h2.update_settings({SettingCodes.HEADER_TABLE_SIZE: 1 << 24})
        client.flush()
        origin = self.recording(lambda _: b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\nX-A: " + os.urandom(500).hex().encode() + b"\r\n\r\n")
        for _ in range(10):
            self.assertEqual(client.wait(client.request("GET", f"http://127.0.0.1:{origin.port}/")).status, 200)
        self.assertLessEqual(client.h2.decoder.header_table_size, 4096)

    def test_frames_for_streams_that_are_over(self) -> None:
        """Each is answered with a reset, which costs as much as it."""
        self.proxy()
        client = self.client()
        number = client.request("GET", "http://127.0.0.9/")
        client.wait(number)
        try:
            for _ in range(30):
                client.raw(DataFrame(number, b"").serialize() * 100)
        except OSError:
            pass
        client.wait_closed()
        self.assertTrue(client.goaway or client.was_reset)

    def test_requests_that_are_taken_back_at_once(self) -> None:
        """Rapid reset: they end, and so do the connections made for them."""
        self.proxy()
        origin = self.recording(None)
        client = self.client()
        try:
            for _ in range(400):
                number = client.request("GET", f"http://127.0.0.1:{origin.port}/")
                client.h2.reset_stream(number, ErrorCodes.CANCEL)
                client.flush()
        except OSError:
            pass
        self.calmed(client)
        deadline = time.monotonic() + 15
        while origin.ended < len(origin.received) and time.monotonic() < deadline:
            time.sleep(0.05)
        self.assertEqual(origin.ended, len(origin.received))

    def test_a_head_without_end(self) -> None:
        """CONTINUATION for ever, and a head larger than any may be."""
        self.proxy()
        client = self.client()
        try:
            client.raw(HeadersFrame(1, b"\x40\x01a\x7f" + b"\xff" * 100).serialize())
            for _ in range(2000):
                client.raw(ContinuationFrame(1, b"\xff" * 1000).serialize())
        except OSError:
            pass
        client.wait_closed()
        client = self.client()
        number = client.request("GET", "http://127.0.0.9/", *[(f"x-{n}", "y" * 1000) for n in range(100)])
        client.wait(number)
        self.assertTrue(client.goaway not in (None, 0) or client.streams[number].status == 431)

    def test_more_streams_than_it_may_have(self) -> None:
        """A hundred; those it has are refused with it, since it was told."""
        self.proxy()
        origin = self.recording(None)
        client = self.client()
        client.step()
        client.h2.remote_settings.max_concurrent_streams = 1000
        client.h2.remote_settings.acknowledge()
        try:
            for _ in range(150):
                client.request("GET", f"http://127.0.0.1:{origin.port}/")
        except OSError:
            pass
        client.wait_closed()
        self.assertLessEqual(len(origin.received), 100)


class EndTests(HTTP2Case):
    """How connections end."""

    def test_a_client_that_goes_away_gets_what_it_asked_for(self) -> None:
        """GOAWAY without an error ends no stream (RFC 9113 section 6.8); then the connection is closed."""
        self.proxy()
        go = threading.Event()
        self.addCleanup(go.set)

        def script(connection: socket.socket, _number: int) -> None:
            read_head(connection)
            go.wait(20)
            connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nlate")

        origin = self.scripted(script)
        client = self.client()
        client.request("GET", f"http://127.0.0.1:{origin.port}/")
        while not origin.connections:
            time.sleep(0.02)
        client.raw(GoAwayFrame(0).serialize() + PingFrame(0, b"12345678").serialize())
        go.set()
        raw = b""
        while piece := client.sock.recv(65536):
            raw += piece
        self.assertIn(b"late", raw)
        self.assertEqual(self.finished()["reason"], "Finished")

    def test_the_end_waits_for_the_client_to_take_the_answer(self) -> None:
        """A daemon that is to end when it can has a client with a closed window, which opens it then."""
        self._head = self._head.replace("thread_number: 0", "thread_number: 0, server_offline_delay: 0s, task_wait_delay: 0s")
        self.proxy()
        go = threading.Event()
        self.addCleanup(go.set)

        def script(connection: socket.socket, _number: int) -> None:
            read_head(connection)
            go.wait(20)
            connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 50000\r\n\r\n" + bytes(50000))

        origin = self.scripted(script)
        client = self.client(window=1000)
        number = client.request("GET", f"http://127.0.0.1:{origin.port}/")
        while not origin.connections:
            time.sleep(0.02)
        self.daemon.process.send_signal(signal.SIGTERM)
        raw = b""
        while b"\0\0\x08\x07" not in raw:
            raw += client.sock.recv(65536)
        go.set()
        self.finished()
        time.sleep(0.5)  # one that did not wait would be gone
        client.raw(WindowUpdateFrame(number, window_increment=60000).serialize())
        while piece := client.sock.recv(65536):
            raw += piece
        self.assertGreater(len(raw), 50000)
        self.assertEqual(self.daemon.process.wait(20), 0)

    def test_one_with_nothing_to_do_is_told_and_closed(self) -> None:
        self.proxy("enable_http2: true\n    pipeline_read_idle_timeout: 1s")
        client = self.client()
        self.assertEqual(client.wait(client.request("GET", "http://127.0.0.9/")).status, 403)
        client.wait_closed()
        self.assertEqual(client.goaway, 0)

    def test_one_that_says_nothing_is_closed(self) -> None:
        self.proxy("enable_http2: true\n    req_header_recv_timeout: 1s")
        client = self.client()
        client.wait_closed()
        self.assertEqual(client.goaway, 0)

    def test_a_reload_lets_what_runs_end(self) -> None:
        """GOAWAY at once, the answer still comes, then the end."""
        self.proxy()
        go = threading.Event()
        self.addCleanup(go.set)

        def script(connection: socket.socket, _number: int) -> None:
            read_head(connection)
            go.wait(20)
            connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nlate")

        origin = self.scripted(script)
        client = self.client()
        number = client.request("GET", f"http://127.0.0.1:{origin.port}/")
        while not origin.connections:
            time.sleep(0.02)
        self.rewrite(SERVER.format(port=self.port, more="enable_http2: true\n    task_idle_max_count: 7"))
        self.assertEqual(self.daemon.ctl("reload").returncode, 0)
        raw = b""
        client.sock.settimeout(10)
        # h2 says nothing more after GOAWAY, so that the frames are read by hand from here.
        while b"\0\0\x08\x07" not in raw:
            raw += client.sock.recv(65536)
        go.set()
        while piece := client.sock.recv(65536):
            raw += piece
        self.assertIn(b"late", raw)
        self.assertGreater(number, 0)
