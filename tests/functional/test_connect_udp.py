# SPDX-License-Identifier: Apache-2.0
"""CONNECT-UDP in http_proxy: datagrams in capsules, who may send where, and how it ends."""

from __future__ import annotations

import hashlib
import io
import os
import socket
import struct
import time
from pathlib import Path

import pycurl

from tests.functional.h3origin import HTTP3Origin
from tests.functional.observed import ObservedCase
from tests.functional.processes import free_port
from tests.functional.rawhttp import RawClient
from tests.functional.socks_client import UDPEcho

SERVER = """
  - name: http
    type: http_proxy
    listen: 127.0.0.1:{port}
    escaper: {escaper}
    task_idle_check_interval: 2s
    {more}
"""
ON = "enable_masque_udp: true"


def integer(number: int) -> bytes:
    """A QUIC integer in its longest form, which is allowed everywhere (RFC 9000 section 16)."""
    return struct.pack(">Q", number | 3 << 62)


class ConnectUDPCase(ObservedCase):
    """One http_proxy."""

    def proxy(self, more: str = ON, escaper: str = "e") -> None:
        self.port = free_port()
        self.daemon = self.serve(SERVER.format(port=self.port, more=more, escaper=escaper), self.port)

    def echo(self, host: str = "127.0.0.1") -> UDPEcho:
        echo = UDPEcho(host)
        self.addCleanup(echo.close)
        return echo

    def ask(
        self, host: str, port: object, *, form: str = "", upgrade: str = "connect-udp", method: str = "GET", ahead: bytes = b""
    ) -> tuple[int, RawClient]:
        """The status of the answer, and the connection."""
        client = RawClient(self.port)
        self.addCleanup(client.close)
        head = f"{method} {form}/.well-known/masque/udp/{host}/{port}/ HTTP/1.1\r\nHost: proxy.test\r\n"
        client.send(head.encode() + f"Connection: Upgrade\r\nUpgrade: {upgrade}\r\nCapsule-Protocol: ?1\r\n\r\n".encode() + ahead)
        line = client.file.readline().split()
        self.fields = {}
        while (field := client.file.readline().strip()) != b"":
            name, _, value = field.partition(b":")
            self.fields[name.lower()] = value.strip()
        return int(line[1]), client

    @staticmethod
    def send(client: RawClient, payload: bytes, context: int = 0) -> None:
        value = integer(context) + payload
        client.send(integer(0) + integer(len(value)) + value)

    def receive(self, client: RawClient) -> bytes:
        """The payload of the next datagram."""
        self.assertEqual(self.number(client), 0)
        size = self.number(client)
        value = client.file.read(size)
        self.assertEqual(value[:1], b"\0")
        return value[1:]

    @staticmethod
    def number(client: RawClient) -> int:
        first = client.file.read(1)[0]
        rest = client.file.read((1 << (first >> 6)) - 1)
        return int.from_bytes(bytes([first & 63]) + rest, "big")


class ConnectUDPTests(ConnectUDPCase):
    """A path that is open."""

    def test_datagrams_go_both_ways(self) -> None:
        """Each as it was, empty ones and long ones too; the record has what was moved."""
        self.proxy()
        echo = self.echo()
        status, client = self.ask("127.0.0.1", echo.port)
        self.assertEqual((status, self.fields[b"upgrade"], self.fields[b"connection"]), (101, b"connect-udp", b"Upgrade"))
        self.assertEqual(self.fields[b"capsule-protocol"], b"?1")
        for payload in (b"one", b"", b"x" * 9000):
            self.send(client, payload)
            self.assertEqual(self.receive(client), payload)
        client.close()
        record = self.finished()
        where = f"127.0.0.1:{echo.port}"
        told = {"task_type": "UdpConnect", "upstream": where, "next_peer_addr": where, "reason": "ClosedByClient"}
        told |= {"stage": "Relaying", "r_rd_packets": "3", "r_wr_packets": "3", "r_rd_bytes": "9003", "r_wr_bytes": "9003", "escaper": "e"}
        self.assertEqual({key: record[key] for key in told}, told)

    def test_curl_speaks_http_3_through_it(self) -> None:
        """libcurl's own CONNECT-UDP: QUIC with the origin, its certificate verified, 1 MB each way."""
        self.proxy()
        self.certificate("origin", "127.0.0.1")
        up, down, body = os.urandom(1 << 20), os.urandom(1 << 20), io.BytesIO()
        origin = HTTP3Origin(self.directory, "origin", down)
        self.addCleanup(origin.close)
        curl = pycurl.Curl()
        options = {"URL": f"https://127.0.0.1:{origin.port}/", "PROXY": f"http://127.0.0.1:{self.port}", "HTTPPROXYTUNNEL": 1, "NOPROXY": ""}
        options |= {"HTTP_VERSION": pycurl.CURL_HTTP_VERSION_3ONLY, "CAINFO": str(self.directory / "ca.pem"), "TIMEOUT": 60, "POSTFIELDS": up}
        for name, value in {**options, "WRITEDATA": body}.items():
            curl.setopt(getattr(pycurl, name), value)
        curl.perform()
        self.assertEqual((curl.getinfo(pycurl.RESPONSE_CODE), curl.getinfo(pycurl.INFO_HTTP_VERSION)), (200, pycurl.CURL_HTTP_VERSION_3))
        self.assertTrue(body.getvalue() == hashlib.sha256(up).digest() + down)
        curl.close()
        record = self.finished()
        self.assertEqual((record["task_type"], record["upstream"], record["reason"]), ("UdpConnect", f"127.0.0.1:{origin.port}", "ClosedByClient"))

    def test_every_spelling_of_the_request(self) -> None:
        """Absolute form as in the RFC's example, an IPv6 host percent-encoded, a name, datagrams sent ahead of the answer."""
        self.proxy()
        echo, six = self.echo(), self.echo("::1")
        ahead = integer(0) + integer(13) + integer(0) + b"early"
        for host, port, form in (
            ("127.0.0.1", echo.port, "https://proxy.test"),
            ("%3A%3A1", six.port, ""),
            ("127.0.0.1", echo.port, "http://a.test:1"),
        ):
            status, client = self.ask(host, port, form=form, ahead=ahead, upgrade="Connect-UDP")
            self.assertEqual((status, self.receive(client)), (101, b"early"), host)

    def test_what_is_not_known_is_passed_over(self) -> None:
        self.proxy()
        status, client = self.ask("127.0.0.1", self.echo().port)
        client.send(integer(0x1234) + integer(70000) + b"?" * 70000)
        self.send(client, b"of another context", 4)
        self.send(client, b"known")
        self.assertEqual((status, self.receive(client)), (101, b"known"))

    def test_a_datagram_that_cannot_be_ends_it(self) -> None:
        """Longer than UDP carries."""
        self.proxy()
        _, client = self.ask("127.0.0.1", self.echo().port)
        client.send(integer(0) + integer(1 << 20))
        self.assertTrue(client.ended())
        self.assertEqual(self.finished()["reason"], "InvalidClientProtocol")

    def test_a_client_that_reads_nothing_costs_no_memory(self) -> None:
        """The answers it does not take are dropped."""
        self.proxy()
        _, client = self.ask("127.0.0.1", self.echo().port)
        client.sock.settimeout(30)
        before = self.daemon.memory()
        for _ in range(8000):
            self.send(client, b"x" * 8000)
        self.assertLess(self.daemon.memory() - before, 16 << 20)
        client.close()
        record = self.finished(20)
        self.assertLess(int(record["r_rd_packets"]), int(record["r_wr_packets"]))

    def test_however_they_end_nothing_is_left(self) -> None:
        """By a datagram that cannot be, by the end of the client's direction, by a reset, in order."""
        self.proxy()
        echo = self.echo()
        _, client = self.ask("127.0.0.1", echo.port)
        self.send(client, b"first")
        self.receive(client)
        client.close()
        self.finished()
        self.statsd.wait(bool)  # its socket is made for the first sample
        before = self.descriptors()
        clients = [self.ask("127.0.0.1", echo.port)[1] for _ in range(40)]
        self.assertGreater(self.descriptors(), before + 70)
        for number, client in enumerate(clients):
            self.send(client, b"x")
            self.receive(client)
            if number % 4 == 0:
                client.send(integer(0) + integer(1 << 20))
            elif number % 4 == 1:
                client.sock.shutdown(socket.SHUT_WR)
            else:
                if number % 4 == 2:
                    client.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                client.close()
        deadline = time.monotonic() + 20
        while self.descriptors() > before and time.monotonic() < deadline:
            time.sleep(0.05)
        self.assertLessEqual(self.descriptors(), before)

    def descriptors(self) -> int:
        return len(list(Path(f"/proc/{self.daemon.pid}/fd").iterdir()))

    def test_a_path_that_runs_outlives_a_reload(self) -> None:
        self.proxy()
        _, client = self.ask("127.0.0.1", self.echo().port)
        self.rewrite(SERVER.format(port=self.port, escaper="e", more=ON + "\n    task_idle_max_count: 9"))
        self.assertEqual(self.daemon.ctl("reload").returncode, 0)
        self.send(client, b"after")
        self.assertEqual(self.receive(client), b"after")

    def test_one_that_moves_nothing_ends(self) -> None:
        self.proxy(ON + "\n    task_idle_max_count: 1")
        _, client = self.ask("127.0.0.1", self.echo().port)
        self.assertTrue(client.ended())
        self.assertEqual(self.finished()["reason"], "Idle")


class RefusalTests(ConnectUDPCase):
    """Who gets no path."""

    def test_without_the_key_it_is_not_implemented(self) -> None:
        self.proxy("")
        self.assertEqual(self.ask("127.0.0.1", 9)[0], 501)

    def test_bad_requests(self) -> None:
        """400 for what names nobody, 501 for another protocol."""
        self.proxy()
        for host, port in (("", 9), ("a%zz", 9), ("127.0.0.1", 0), ("127.0.0.1", 65536), ("127.0.0.1", "x"), ("a%20b", 9)):
            self.assertIn(self.ask(host, port)[0], (400, 501), (host, port))
        self.assertEqual(self.ask("127.0.0.1", 0)[0], 400)
        self.assertEqual(self.ask("127.0.0.1", 9, method="POST")[0], 400)
        self.assertEqual(self.ask("127.0.0.1", 9, upgrade="websocket")[0], 501)

    def test_rules_hold(self) -> None:
        """The server's on ports, the escaper's on addresses."""
        self.proxy(ON + "\n    dst_port_filter: 53")
        self.assertEqual(self.ask("127.0.0.1", 54)[0], 403)
        self.assertEqual(self.ask("127.0.0.9", 53)[0], 403)

    def test_a_name_that_does_not_resolve(self) -> None:
        self.proxy()
        self.assertGreaterEqual(self.ask("nowhere.test", 53)[0], 500)
